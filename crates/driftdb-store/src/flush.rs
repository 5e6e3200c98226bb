//! Flush: a sealed memtable goes down into base and history.
//!
//! Of each key, in order: the row that the base holds and every memtable version but the newest are closed, each by the
//! one after it, and go to the tree's new history segment; the newest takes the row's place in the base, or, if it
//! is a tombstone, the row is removed.
//!
//! ```text
//!   base   memtable                    history                      base
//!   a@3    a@7  a@9                →   a[3,7) a[7,9)                a@9
//!   b@2    b@8 (tombstone)         →   b[2,8) deleted               –
//!          c@6  c@7 (tombstone)    →   c[6,7) deleted               –
//! ```
//!
//! One pass over the memtable, so memory is bounded by one Parquet row group and redb's write buffer. The segments are
//! complete and durable before the redb commit that names them, which is the moment the flush happened.

use std::path::Path;
use std::sync::Arc;

use driftdb_env::Disk;
use driftdb_types::{CommitSeq, KeyRange, TreeId};

use crate::base::{BaseRow, BaseRowsWrite, encode_key};
use crate::history::{SegmentMeta, SegmentWriter};
use crate::memtable::{MemCursor, MemItem, MemVersion, Memtable, Seek};
use crate::scan::version_of;
use crate::{Result, SchemaSource, Version};

/// What a flush needs of the store around it.
pub(crate) struct FlushTo<'s> {
    pub(crate) disk: &'s Arc<dyn Disk>,
    pub(crate) history_dir: &'s Path,
    pub(crate) schemas: &'s dyn SchemaSource,
    /// Gives the next segment's number.
    pub(crate) next_segment: &'s dyn Fn(TreeId) -> u64,
}

impl FlushTo<'_> {
    /// Moves everything in `table` into `rows` and new segments; the segments written.
    pub(crate) fn run(&self, table: &Memtable, rows: &mut BaseRowsWrite<'_>) -> Result<Vec<SegmentMeta>> {
        let mut segments = Vec::new();
        for tree in table.trees() {
            let mut flush = TreeFlush { to: self, tree, horizon: self.schemas.horizon(tree), segment: None };
            let mut cursor = MemCursor::new(tree, &KeyRange::all(), Seek::Versions, false);
            while let Some(item) = cursor.next(table) {
                flush.flush_key(item, rows)?;
            }
            if let Some(segment) = flush.segment {
                segments.push(segment.finish()?);
            }
        }
        Ok(segments)
    }
}

/// One tree on its way down.
struct TreeFlush<'f> {
    to: &'f FlushTo<'f>,
    tree: TreeId,
    /// Nobody can ask for versions that ended at or before this commit.
    horizon: CommitSeq,
    /// Made with the first version that is closed.
    segment: Option<SegmentWriter>,
}

impl TreeFlush<'_> {
    fn flush_key(&mut self, item: MemItem, rows: &mut BaseRowsWrite<'_>) -> Result<()> {
        let MemItem { key, versions, .. } = item;
        let Some(newest) = versions.last() else { return Ok(()) };
        let full_key = encode_key(self.tree, &key);
        let row = newest.payload.as_ref().map(|payload| (newest.from, payload.as_ref()));
        let superseded = rows.replace(&full_key, row)?;
        let mut older = superseded.map(|BaseRow { from, payload }| MemVersion { from, payload: Some(payload) });
        for version in versions {
            let closer = version.closer();
            // A tombstone is not kept itself: it shows in what it closed.
            if let Some(MemVersion { from, payload: Some(payload) }) = older.replace(version) {
                self.close(version_of(key.clone(), from, payload, Some(closer)))?;
            }
        }
        Ok(())
    }

    fn close(&mut self, version: Version) -> Result<()> {
        if version.to.is_some_and(|to| to.seq <= self.horizon) {
            return Ok(());
        }
        if self.segment.is_none() {
            let FlushTo { disk, history_dir, schemas, next_segment } = self.to;
            let (schema, number) = (schemas.tree_schema(self.tree), next_segment(self.tree));
            self.segment = Some(SegmentWriter::create(disk, history_dir, self.tree, number, 0, schema)?);
        }
        match &mut self.segment {
            Some(segment) => segment.push(version),
            None => Ok(()),
        }
    }
}
