//! The view: memtables, base and history manifest as of one moment, together answering one snapshot.

use driftdb_types::{CommitSeq, KeyRange, Stamp, TreeId};

use crate::memtable::{MemCursor, MemVersion, Memtable, Seek};
use crate::scan::{Mode, Scan, resolve, version_of};
use crate::{Period, ReadPoint, Result, Version};

/// What the store held at one moment; it does not change. Reading it takes no lock.
///
/// A read at `s` is a disjoint union: of each key the memtables' newest version at or before `s`; if they have none, the
/// base's row if its `from ≤ s`; else the one history row with `from ≤ s < to`.
#[derive(Debug)]
pub struct StoreView {
    stamp: Stamp,
    /// Newest first.
    memtables: Vec<Memtable>,
}

impl StoreView {
    pub(crate) fn new(stamp: Stamp, memtables: Vec<Memtable>) -> StoreView {
        StoreView { stamp, memtables }
    }

    /// The newest commit visible in this view.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The version of one key.
    pub fn get(&self, tree: TreeId, key: &[u8], at: ReadPoint) -> Result<Option<Version>> {
        let (version, closer) = match at {
            ReadPoint::Latest => (self.memtables.iter().find_map(|table| table.latest(tree, key)), None),
            ReadPoint::AsOf(seq) => resolve(self.memtables.iter().map(|table| table.hit(tree, key, seq))),
        };
        Ok(match version {
            Some(MemVersion { from, payload: Some(payload) }) => {
                Some(version_of(bytes::Bytes::copy_from_slice(key), from, payload, closer))
            }
            _ => None,
        })
    }

    /// The visible versions of a range of keys, in key order or against it.
    pub fn scan(&self, tree: TreeId, range: &KeyRange, at: ReadPoint, reverse: bool) -> Result<Scan> {
        let seq = match at {
            ReadPoint::Latest => CommitSeq::MAX,
            ReadPoint::AsOf(seq) => seq,
        };
        let cursors = self.memtables.iter().filter_map(|table| MemCursor::new(table, tree, range, Seek::At(seq), reverse));
        Ok(Scan::new(cursors.collect(), Mode::At(seq), reverse))
    }

    /// All versions of a range of keys that belong to a period, ordered by key, then from the oldest on.
    pub fn versions(&self, tree: TreeId, range: &KeyRange, period: Period) -> Result<Scan> {
        let cursors = self.memtables.iter().filter_map(|table| MemCursor::new(table, tree, range, Seek::Versions, false));
        Ok(Scan::new(cursors.collect(), Mode::Period(period), false))
    }
}
