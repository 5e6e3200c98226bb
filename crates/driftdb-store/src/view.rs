//! The view: memtables, base and history manifest as of one moment, together answering one snapshot.

use std::sync::Arc;

use bytes::Bytes;
use driftdb_types::{CommitSeq, KeyRange, Stamp, TreeId};

use crate::base::{BaseCursor, BaseRow, BaseSnapshot};
use crate::history::{HistoryCursor, SegmentCache};
use crate::memtable::{MemCursor, MemVersion, Memtable, Seek};
use crate::scan::{Mode, Scan, Sources, resolve, version_of};
use crate::{Checkpoint, Period, ReadPoint, Result, Version};

/// What the store held at one moment; it does not change. Reading it takes no lock, and it may be held for as long as
/// one likes: it then keeps its memtables in memory, its pages in the base and its history files on disk.
///
/// A read at `s` is a disjoint union: of each key the memtables' newest version at or before `s`; if they have none, the
/// base's row if its `from ≤ s`; else the one history row with `from ≤ s < to`.
#[derive(Debug)]
pub struct StoreView {
    stamp: Stamp,
    /// Newest first.
    memtables: Vec<Memtable>,
    base: BaseSnapshot,
    cache: Arc<SegmentCache>,
}

impl StoreView {
    pub(crate) fn new(memtables: Vec<Memtable>, base: BaseSnapshot, cache: Arc<SegmentCache>) -> StoreView {
        let newest = memtables.iter().find(|table| !table.is_empty());
        let stamp = newest.map_or(base.checkpoint.stamp, Memtable::last);
        StoreView { stamp, memtables, base, cache }
    }

    /// The newest commit visible in this view.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Up to where base and history were durable when the view was made.
    pub fn checkpoint(&self) -> Checkpoint {
        self.base.checkpoint
    }

    /// The version of one key.
    pub fn get(&self, tree: TreeId, key: &[u8], at: ReadPoint) -> Result<Option<Version>> {
        let ReadPoint::AsOf(seq) = at else { return self.get_latest(tree, key) };
        let (recent, closer) = resolve(self.memtables.iter().map(|table| table.hit(tree, key, seq)));
        if let Some(MemVersion { from, payload }) = recent {
            return Ok(payload.map(|payload| version_of(Bytes::copy_from_slice(key), from, payload, closer)));
        }
        if let Some(BaseRow { from, payload }) = self.base.rows.get(tree, key)?
            && from.seq <= seq
        {
            return Ok(Some(version_of(Bytes::copy_from_slice(key), from, payload, closer)));
        }
        for mut cursor in self.history(tree, &KeyRange::point(key), visible_at(seq), false)? {
            cursor.fill()?;
            if let Some(version) = cursor.pop() {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    fn get_latest(&self, tree: TreeId, key: &[u8]) -> Result<Option<Version>> {
        let found = match self.memtables.iter().find_map(|table| table.latest(tree, key)) {
            Some(MemVersion { from, payload }) => payload.map(|payload| BaseRow { from, payload }),
            None => self.base.rows.get(tree, key)?,
        };
        Ok(found.map(|BaseRow { from, payload }| version_of(Bytes::copy_from_slice(key), from, payload, None)))
    }

    /// The visible versions of a range of keys, in key order or against it.
    pub fn scan(&self, tree: TreeId, range: &KeyRange, at: ReadPoint, reverse: bool) -> Result<Scan> {
        let (mode, seq, history) = match at {
            ReadPoint::Latest => (Mode::Latest, CommitSeq::MAX, Vec::new()),
            ReadPoint::AsOf(seq) => (Mode::At(seq), seq, self.history(tree, range, visible_at(seq), reverse)?),
        };
        Ok(self.merge(tree, range, Seek::At(seq), history, mode, reverse))
    }

    /// All versions of a range of keys that belong to a period, ordered by key, then from the oldest on.
    pub fn versions(&self, tree: TreeId, range: &KeyRange, period: Period) -> Result<Scan> {
        let history = self.history(tree, range, period, false)?;
        Ok(self.merge(tree, range, Seek::Versions, history, Mode::Period(period), false))
    }

    fn merge(
        &self,
        tree: TreeId,
        range: &KeyRange,
        seek: Seek,
        history: Vec<HistoryCursor>,
        mode: Mode,
        reverse: bool,
    ) -> Scan {
        let memtables = self.memtables.iter().filter_map(|table| MemCursor::new(table, tree, range, seek, reverse));
        let base = BaseCursor::new(&self.base.rows, tree, range, reverse);
        Scan::new(Sources { memtables: memtables.collect(), base, history }, mode, reverse)
    }

    /// Cursors over the segments that may hold what is asked for.
    fn history(&self, tree: TreeId, range: &KeyRange, period: Period, reverse: bool) -> Result<Vec<HistoryCursor>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let segments = self.base.manifest.of(tree).iter().filter(|segment| segment.meta.bounds.may_hold(range, period));
        segments.map(|segment| HistoryCursor::new(&self.cache, segment, range, period, reverse)).collect()
    }
}

/// The versions visible at a commit: `from ≤ s < to`.
fn visible_at(seq: CommitSeq) -> Period {
    Period::Overlaps { start: seq, end: seq.next() }
}
