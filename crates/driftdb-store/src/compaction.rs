//! Compaction: small history segments of a tree are merged into one.
//!
//! Size-tiered (as in Cassandra and others): segments are of a tier when their sizes are within one factor of the
//! fan-in of each other; when a tier has as many as the fan-in they become one of the next. So a version is rewritten
//! about log(fan-in, data ÷ flush) times, and a tree has few segments a tier. Of a tier, those oldest by `to` are
//! merged, so that the periods of segments overlap little and reads of the past find few of them.
//!
//! What is merged is compared with its checksums first: the new file's is made of what was read, and the old files go.

use std::path::Path;
use std::sync::Arc;

use driftdb_env::Disk;
use driftdb_types::{KeyRange, TreeId};

use crate::history::{HistoryCursor, Manifest, Segment, SegmentCache, SegmentMeta, SegmentWriter};
use crate::{Period, Result, SchemaSource, StoreError, StoreOptions};

/// Segments up to this size are of the lowest tier.
const TIER_BYTES: u64 = 64 << 10;

/// Which segments to merge next, if any, of the trees that it may be.
pub(crate) fn pick(
    manifest: &Manifest,
    options: &StoreOptions,
    may_be: impl Fn(TreeId) -> bool,
) -> Option<(TreeId, Vec<Arc<Segment>>)> {
    let fan_in = options.compaction_fan_in.max(2);
    manifest.trees().filter(|tree| may_be(*tree)).find_map(|tree| {
        let mut tiers: std::collections::BTreeMap<u32, Vec<&Arc<Segment>>> = std::collections::BTreeMap::new();
        for segment in manifest.of(tree).iter().filter(|segment| segment.meta.bytes < options.segment_bytes_max) {
            let tier = (segment.meta.bytes / TIER_BYTES).max(1).ilog(fan_in as u64);
            tiers.entry(tier).or_default().push(segment);
        }
        let mut due = tiers.into_values().find(|segments| segments.len() >= fan_in)?;
        due.sort_by_key(|segment| segment.meta.bounds.to_min);
        Some((tree, due.into_iter().take(fan_in).cloned().collect()))
    })
}

/// What a compaction needs of the store around it.
pub(crate) struct CompactTo<'s> {
    pub(crate) disk: &'s Arc<dyn Disk>,
    pub(crate) history_dir: &'s Path,
    pub(crate) schemas: &'s dyn SchemaSource,
    pub(crate) cache: &'s Arc<SegmentCache>,
    pub(crate) number: u64,
    /// Whether to give up: merging large segments takes long, and the end of the process is not to wait for it.
    pub(crate) stopping: &'s dyn Fn() -> bool,
}

/// After how many versions it looks whether to give up.
const STOPPING_LOOK_VERSIONS: u64 = 1024;

impl CompactTo<'_> {
    /// Writes the one segment that holds what `segments` hold. [`StoreError::Closed`] when it gave up.
    pub(crate) fn run(&self, tree: TreeId, segments: &[Arc<Segment>]) -> Result<SegmentMeta> {
        for segment in segments {
            self.go_on()?;
            self.cache.verify(segment)?;
        }
        let level = segments.iter().map(|segment| segment.meta.level).max().unwrap_or(0) + 1;
        let schema = self.schemas.tree_schema(tree);
        let mut writer = SegmentWriter::create(self.disk, self.history_dir, tree, self.number, level, schema)?;
        let mut cursors = segments
            .iter()
            .map(|segment| HistoryCursor::new(self.cache, segment, &KeyRange::all(), Period::All, false))
            .collect::<Result<Vec<_>>>()?;
        for count in 0_u64.. {
            if count % STOPPING_LOOK_VERSIONS == 0 {
                self.go_on()?;
            }
            for cursor in &mut cursors {
                cursor.fill()?;
            }
            let next = cursors.iter_mut().filter(|cursor| cursor.head().is_some()).min_by(|a, b| {
                let order = |cursor: &HistoryCursor| cursor.head().map(|version| (version.key.clone(), version.from));
                order(a).cmp(&order(b))
            });
            let Some(version) = next.and_then(HistoryCursor::pop) else { break };
            writer.push(version)?;
        }
        let meta = writer.finish()?;
        let rows: u64 = segments.iter().map(|segment| segment.meta.rows).sum();
        if meta.rows != rows {
            let what = format!("compaction of tree {tree} read {} versions of {rows}", meta.rows);
            return Err(StoreError::Internal(what));
        }
        Ok(meta)
    }

    fn go_on(&self) -> Result<()> {
        if (self.stopping)() { Err(StoreError::Closed) } else { Ok(()) }
    }
}
