//! The store: where row versions live once they are committed.
//!
//! It knows ordered *trees* of `key bytes → row versions`, and nothing of SQL. A version lives in exactly one of three
//! places, as any [`StoreView`] sees them:
//!
//! ```text
//!   memtable   versions since the last checkpoint           memory     memtable.rs
//!   base       the version of every row that was current
//!              at the checkpoint, and the manifest          one redb   base.rs
//!   history    versions closed at or before the checkpoint  Parquet    history/
//! ```
//!
//! *Flush* moves a sealed memtable down: the newest version of each key into the base, every other one (and the base
//! row it supersedes) into history; one redb commit makes all of it true at once. *Compaction* merges small history
//! segments.
//!
//! *Invariants of absence.* Nothing here knows a transaction, a lock or the commit log; nothing above knows redb or
//! Parquet files.

mod base;
mod batch;
mod check;
mod compaction;
mod error;
mod flush;
mod history;
mod layers;
mod memtable;
mod options;
mod readers;
mod salvage;
mod scan;
mod store;
mod version;
mod view;

pub use batch::{CommitBatch, Write};
pub use check::{Finding, check, is_there, read_checkpoint};
pub use error::StoreError;
pub use options::{NoSchemas, SchemaSource, StoreOptions, TreeSchema};
pub use readers::Hold;
pub use salvage::{LostHistory, LostRows, Salvage, history_dir, salvage};
pub use scan::Scan;
pub use store::{Erasure, Store};
pub use version::{Checkpoint, ErasedWrite, Period, ReadPoint, Version};
pub use view::StoreView;

/// A result with the store's error.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
