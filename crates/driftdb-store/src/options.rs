//! How the store is set up, and what it asks of the catalog.

use std::sync::Arc;
use std::time::Duration;

use driftdb_types::{CommitSeq, TableSchema, TreeId};

/// Bounds and sizes.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// At how many bytes the active memtable is sealed.
    pub memtable_bytes: usize,
    /// How many sealed memtables may wait for their flush before commits are made to wait.
    pub sealed_max: usize,
    /// How much memory flushed memtables may take that views hold, before the oldest views are moved to newer layers.
    pub held_bytes_max: usize,
    /// How much of the base file is cached in memory.
    pub cache_bytes: usize,
    /// How much memory the opened history segments' indexes, blooms and decoded pages may take.
    pub history_cache_bytes: usize,
    /// How many history segments of one tree and about one size are merged into one.
    pub compaction_fan_in: usize,
    /// History segments above this size are left alone by compaction.
    pub segment_bytes_max: u64,
    /// How long to wait before a failed flush is tried again.
    pub retry_delay: Duration,
    /// For how long a failing flush may be retried before [`crate::Store::wait_for_room`] reports its error although
    /// there is still room.
    pub error_grace: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            memtable_bytes: 64 << 20,
            sealed_max: 2,
            held_bytes_max: 128 << 20,
            cache_bytes: 256 << 20,
            history_cache_bytes: 128 << 20,
            compaction_fan_in: 8,
            segment_bytes_max: 1 << 30,
            retry_delay: Duration::from_millis(500),
            error_grace: Duration::from_secs(30),
        }
    }
}

/// What a tree's payloads are.
#[derive(Clone, Debug)]
pub enum TreeSchema {
    /// Rows of a table, encoded by `driftdb_types::encode_row`: history keeps their columns apart.
    Rows(Arc<TableSchema>),
    /// Bytes the store does not look into (index entries, catalog, commits).
    Opaque,
}

/// Where flush and compaction learn what a tree holds.
pub trait SchemaSource: Send + Sync {
    /// The latest definition the tree ever had, dropped tables too. `None` when it has none: its payloads are then kept
    /// as bytes.
    fn tree_schema(&self, tree: TreeId) -> Option<TreeSchema>;

    /// Versions of the tree that ended at or before this commit may go. It is durable, and not ahead of what
    /// [`crate::Store::raise_horizon`] gave.
    fn horizon(&self, _tree: TreeId) -> CommitSeq {
        CommitSeq::ZERO
    }
}

/// Knows no definitions. For those who look at files in doubt, which is where the definitions are too: all is bytes.
#[derive(Clone, Copy, Debug)]
pub struct NoSchemas;

impl SchemaSource for NoSchemas {
    fn tree_schema(&self, _tree: TreeId) -> Option<TreeSchema> {
        None
    }
}
