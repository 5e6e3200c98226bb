//! How a memory limit is divided.
//!
//! | share | at 2 GiB | for | at the bound |
//! |---|---|---|---|
//! | 3/32 | 3 × 64 MiB | memtables: one being written, two sealed and waiting for their flush | commits are slowed, then wait |
//! | 4/32 | 256 MiB | cache of the base file | the least used pages go |
//! | 4/32 | 256 MiB | history: opened segments' indexes, blooms and decoded pages | the least used go |
//! | 7/32 | 448 MiB | queries, all together | they spill to disk, or fail with 53200; long ones take turns |
//! | 7/32 | 448 MiB | the large statements, the changes and the locks of all transactions | 53200 |
//! | 2/32 | 128 MiB | memtables that are flushed, and that somebody reads still | the oldest snapshots read from disk from then on |
//! | 5/32 | 320 MiB | connections, result buffers, the program itself | |

use driftdb_engine::EngineOptions;
use driftdb_sql::SqlOptions;

/// The least the database is run in, in bytes.
pub const LIMIT_MIN_BYTES: u64 = 128 << 20;

/// What is used when nothing is said, in bytes.
pub const LIMIT_DEFAULT_BYTES: u64 = 2 << 30;

/// For each of so many bytes one long query more may run.
const LANE_BYTES: usize = 16 << 20;

/// The options that keep the database within `limit_bytes`.
pub fn split(limit_bytes: u64) -> (EngineOptions, SqlOptions) {
    let share = |parts: u64| usize::try_from(limit_bytes / 32 * parts).unwrap_or(usize::MAX);
    let mut engine = EngineOptions::default();
    engine.store.memtable_bytes = share(1);
    engine.store.sealed_max = 2;
    engine.store.held_bytes_max = share(2);
    engine.store.cache_bytes = share(4);
    engine.store.history_cache_bytes = share(4);
    engine.transaction_bytes_max = share(7);
    let queries = share(7);
    let long_queries_max = (queries / LANE_BYTES).clamp(4, 16);
    let sql = SqlOptions { memory_limit_bytes: queries, long_queries_max, ..SqlOptions::default() };
    (engine, sql)
}
