//! The engine: transactions on the store, made durable by the commit log.
//!
//! ```text
//!   Transaction   snapshot · write set · locks        transaction.rs, rows.rs, ddl.rs, reader.rs, locks.rs, budget.rs
//!                 reads of SERIALIZABLE               reads.rs, recent.rs
//!   Session…      what outlives a transaction         advisory.rs, txid.rs
//!        │ commit
//!   Pipeline      one order of commits                pipeline.rs, times.rs, record.rs, counters.rs
//!        │
//!   log ─┴─ store                                     (crates below; recovery.rs replays one into the other)
//!
//!   Catalog       which tables there are, at a stamp  catalog.rs
//!   Commits       when, who and what                  commits.rs, chain.rs, verify.rs
//!   Retention     what may go, and what holds it      retention.rs, pins.rs, erase.rs
//!   Repair        a copy of what damage left          repair.rs
//! ```
//!
//! *Invariants of absence.* Nothing here knows SQL text, plans or the wire; nothing above knows the commit log, a lock
//! or how an index follows its table.

mod advisory;
mod budget;
mod cancel;
mod catalog;
mod chain;
mod commits;
mod counters;
mod ddl;
mod engine;
mod erase;
mod error;
#[cfg(test)]
mod fuzz_tests;
mod keys;
mod locks;
mod options;
mod pins;
mod pipeline;
mod reader;
mod reads;
mod recent;
mod record;
mod recovery;
mod repair;
mod retention;
mod rows;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod shuttle_tests;
mod sync;
mod times;
mod transaction;
mod txid;
mod verify;
mod write_set;

pub use advisory::{AdvisoryMode, AdvisoryScope, AdvisoryWait, SessionLocks};
pub use budget::Charge;
pub use cancel::{Cancel, transaction_timeout};
pub use catalog::{Catalog, NamedObject};
pub use chain::TableContents;
pub use commits::Commits;
pub use ddl::IndexDefinition;
pub use engine::{Engine, LOG_DIR, lock_directory};
pub use erase::Certificate;
pub use error::StatementError;
pub use keys::{IndexEntry, clustered_key, index_entry, row_number_key};
pub use locks::{AdvisoryKey, LockMode};
pub use options::EngineOptions;
pub use pins::Pin;
pub use reader::{RowVersion, TxnReader, TxnScan};
pub use record::{CommitMeta, CommitRecord};
pub use recovery::Recovery;
pub use repair::{Repair, check_repair_target, repair};
pub use retention::RetentionPlan;
pub use rows::InsertOutcome;
pub use transaction::{Isolation, LockWait, RowLock, Savepoint, TableLock, Transaction, TxnOptions};
pub use txid::{SessionTxid, Txid, TxidStatus};
pub use verify::{CommitDigest, Verification};
