//! Compaction: small history segments of a tree are merged into one.
//!
//! Size-tiered (as in Cassandra and others): segments are of a tier when their sizes are within one factor of the
//! fan-in of each other; when a tier has as many as the fan-in they become one of the next. So a version is rewritten
//! about log(fan-in, data ÷ flush) times, and a tree has few segments a tier. Of a tier, those oldest by `to` are
//! merged, so that the periods of segments overlap little and reads of the past find few of them.
//!
//! *Garbage collection* comes first: segments whose versions may all go (by the horizon of their tree) are dropped, and those in
//! which some may are written anew without them.
//!
//! What is merged is compared with its checksums first: the new file's is made of what was read, and the old files go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use driftdb_env::Disk;
use driftdb_types::{CommitSeq, KeyRange, TreeId};

use crate::history::{Bounds, HistoryCursor, Manifest, Segment, SegmentCache, SegmentMeta, SegmentWriter};
use crate::{Period, Result, SchemaSource, StoreError, StoreOptions, Version};

/// Segments up to this size are of the lowest tier.
const TIER_BYTES: u64 = 64 << 10;
/// A segment up to this size is written anew for every version that may go; a larger one when about half of it may. So each
/// version is written anew but a few times, and gone at last when it has been of no use for as long as it was of any.
const REWRITE_BYTES: u64 = 32 << 20;

/// What to do with segments of a tree.
pub(crate) struct Job {
    pub(crate) tree: TreeId,
    /// To become one, without versions that may go. None of them is one of which all may.
    pub(crate) merged: Vec<Arc<Segment>>,
    /// In which every version may go.
    pub(crate) dropped: Vec<Arc<Segment>>,
    /// Versions that ended at or before this commit may go.
    horizon: CommitSeq,
}

impl Job {
    /// To write one segment anew.
    pub(crate) fn of_one(segment: &Arc<Segment>, horizon: CommitSeq) -> Job {
        Job { tree: segment.meta.tree, merged: vec![Arc::clone(segment)], dropped: Vec::new(), horizon }
    }
}

/// What to do next, if anything, of the trees that it may be: first to let go what may go, then to merge.
pub(crate) fn pick(
    manifest: &Manifest,
    options: &StoreOptions,
    schemas: &dyn SchemaSource,
    may_be: impl Fn(TreeId) -> bool,
) -> Option<Job> {
    let trees = || manifest.trees().filter(|tree| may_be(*tree));
    let garbage = trees().find_map(|tree| pick_garbage(manifest, tree, schemas.horizon(tree)));
    garbage.or_else(|| trees().find_map(|tree| pick_tier(manifest, options, tree, schemas.horizon(tree))))
}

/// Segments in which every version may go, and one in which so many may that it is worth writing it anew.
fn pick_garbage(manifest: &Manifest, tree: TreeId, horizon: CommitSeq) -> Option<Job> {
    let segments = manifest.of(tree);
    let dropped: Vec<_> = segments.iter().filter(|segment| segment.meta.bounds.to_max <= horizon).cloned().collect();
    let is_worth = |segment: &&Arc<Segment>| {
        let Bounds { to_min, to_max, .. } = segment.meta.bounds;
        let goes = horizon.0.saturating_sub(to_min.0);
        to_min <= horizon
            && to_max > horizon
            && (segment.meta.bytes <= REWRITE_BYTES || goes.saturating_mul(2) >= to_max.0 - to_min.0)
    };
    let merged: Vec<_> = segments.iter().find(is_worth).cloned().into_iter().collect();
    (!dropped.is_empty() || !merged.is_empty()).then_some(Job { tree, merged, dropped, horizon })
}

fn pick_tier(manifest: &Manifest, options: &StoreOptions, tree: TreeId, horizon: CommitSeq) -> Option<Job> {
    let fan_in = options.compaction_fan_in.max(2);
    let mut tiers: BTreeMap<u32, Vec<&Arc<Segment>>> = BTreeMap::new();
    for segment in manifest.of(tree).iter().filter(|segment| segment.meta.bytes < options.segment_bytes_max) {
        let tier = (segment.meta.bytes / TIER_BYTES).max(1).ilog(fan_in as u64);
        tiers.entry(tier).or_default().push(segment);
    }
    let mut due = tiers.into_values().find(|segments| segments.len() >= fan_in)?;
    due.sort_by_key(|segment| segment.meta.bounds.to_min);
    let merged = due.into_iter().take(fan_in).cloned().collect();
    Some(Job { tree, merged, dropped: Vec::new(), horizon })
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
    /// Writes the one segment that holds what stays of those that are merged, if anything does: what may not go, and `goes` does
    /// not say of it. [`StoreError::Closed`] when it gave up.
    pub(crate) fn run(&self, job: &Job, goes: &dyn Fn(&Version) -> bool) -> Result<Option<SegmentMeta>> {
        let (tree, segments) = (job.tree, &job.merged);
        if segments.is_empty() {
            return Ok(None);
        }
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
        let mut gone = 0;
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
            if version.to.is_some_and(|to| to.seq <= job.horizon) || goes(&version) {
                gone += 1;
            } else {
                writer.push(version)?;
            }
        }
        let meta = writer.finish()?;
        let rows: u64 = segments.iter().map(|segment| segment.meta.rows).sum();
        if meta.rows + gone != rows {
            let what = format!("compaction of tree {tree} read {} versions of {rows}", meta.rows + gone);
            return Err(StoreError::Internal(what));
        }
        if meta.rows == 0 {
            let path = self.history_dir.join(meta.file_name());
            self.disk.remove(&path).map_err(|error| StoreError::io("removing", &path, error))?;
            return Ok(None);
        }
        Ok(Some(meta))
    }

    fn go_on(&self) -> Result<()> {
        if (self.stopping)() { Err(StoreError::Closed) } else { Ok(()) }
    }
}
