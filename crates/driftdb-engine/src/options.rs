//! How an engine is set up.

use std::time::Duration;

use driftdb_log::LogOptions;
use driftdb_store::StoreOptions;

/// Bounds and sizes.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The store's own.
    pub store: StoreOptions,
    /// The commit log's own.
    pub log: LogOptions,
    /// How much memory the changes and locks of all transactions may take together (53200 beyond it).
    pub transaction_bytes_max: usize,
    /// How many locks one transaction may hold (53200 beyond it).
    pub locks_max: usize,
    /// How many commits may wait to be written; further ones wait for a place.
    pub commit_queue_max: usize,
    /// By how much the last commit's time may be ahead of the wall clock before that is logged as a warning.
    pub clock_skew_max: Duration,
    /// How long commits wait for the store to have room before they are refused.
    pub room_timeout: Duration,
    /// Whether flush and compaction run in the background. Without it they run when asked for
    /// ([`Engine::store`](crate::Engine::store)): for tests that must know what happens when.
    pub background: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            store: StoreOptions::default(),
            log: LogOptions::default(),
            transaction_bytes_max: 512 << 20,
            locks_max: 2_000_000,
            commit_queue_max: 4_096,
            clock_skew_max: Duration::from_secs(60),
            room_timeout: Duration::from_secs(60),
            background: true,
        }
    }
}
