//! Memtables, base and history as of one moment: where the versions of a view are found.

use std::sync::Arc;

use bytes::Bytes;
use driftdb_types::{CommitSeq, KeyRange, Stamp, TreeId};

use crate::base::{BaseCursor, BaseRow, BaseSnapshot};
use crate::history::{HistoryCursor, SegmentCache};
use crate::memtable::{MemCursor, MemVersion, Memtable, Seek};
use crate::scan::{Cursors, resolve, version_of};
use crate::{Period, Result, Version};

/// What the store held at one moment. A read at `s` is a disjoint union: of each key the memtables' newest version at or
/// before `s`; if they have none, the base's row if its `from ≤ s`; else the one history row with `from ≤ s < to`.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The newest commit in them.
    pub(crate) stamp: Stamp,
    /// Newest first.
    pub(crate) memtables: Vec<Memtable>,
    pub(crate) base: BaseSnapshot,
    cache: Arc<SegmentCache>,
}

impl Layers {
    pub(crate) fn new(memtables: Vec<Memtable>, base: BaseSnapshot, cache: Arc<SegmentCache>) -> Layers {
        let newest = memtables.iter().find(|table| !table.is_empty());
        let stamp = newest.map_or(base.checkpoint.stamp, Memtable::last);
        Layers { stamp, memtables, base, cache }
    }

    /// The newest version of a key. Never looks into history.
    pub(crate) fn get_latest(&self, tree: TreeId, key: &[u8]) -> Result<Option<Version>> {
        let found = match self.memtables.iter().find_map(|table| table.latest(tree, key)) {
            Some(MemVersion { from, payload }) => payload.map(|payload| BaseRow { from, payload }),
            None => self.base.rows.get(tree, key)?,
        };
        Ok(found.map(|BaseRow { from, payload }| version_of(Bytes::copy_from_slice(key), from, payload, None)))
    }

    /// The version of a key that is visible at a commit.
    pub(crate) fn get_at(&self, tree: TreeId, key: &[u8], seq: CommitSeq) -> Result<Option<Version>> {
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

    /// Cursors over what the layers have of a range of keys; over history only where it is asked for a period.
    pub(crate) fn cursors(
        &self,
        tree: TreeId,
        range: &KeyRange,
        seek: Seek,
        period: Option<Period>,
        reverse: bool,
    ) -> Result<Cursors> {
        let memtables = self
            .memtables
            .iter()
            .enumerate()
            .filter(|(_, table)| !table.is_empty_range(tree, range))
            .map(|(place, _)| (place, MemCursor::new(tree, range, seek, reverse)));
        let history = match period {
            Some(period) => self.history(tree, range, period, reverse)?,
            None => Vec::new(),
        };
        let base = BaseCursor::new(&self.base.rows, tree, range, reverse);
        Ok(Cursors { memtables: memtables.collect(), base, history })
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
pub(crate) fn visible_at(seq: CommitSeq) -> Period {
    Period::Overlaps { start: seq, end: seq.next() }
}
