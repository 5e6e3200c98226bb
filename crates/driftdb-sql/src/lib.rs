//! SQL on DriftDB: what a session of a client, a shell or an embedding program talks to.
//!
//! A [`Database`] is the engine with a query runtime; a [`Session`] is one client's state: settings, transaction and
//! prepared statements. Statement text goes through three gates: the parser (PostgreSQL's dialect and the system-time
//! clauses), an allow-list that refuses with 0A000 whatever is not done rightly, and the planner, which compiles a
//! *point plan* where rows are reached by key and hands the rest to DataFusion. Writing is always ours: DataFusion
//! only ever finds keys and new values.
//!
//! This crate alone knows sqlparser and DataFusion. It knows nothing of the wire protocol.

mod copy;
mod database;
mod ddl;
mod dml;
mod outcome;
mod parse;
mod point;
mod query;
mod read;
mod session;
mod settings;
mod system_time;

pub use database::{Database, SessionOptions, SqlOptions};
pub use outcome::{CopyIn, CopyOut, Notice, Outcome, ResultColumn, RowStream, Severity, TransactionStatus};
pub use parse::Statement;
pub use session::{Prepared, Session, SimpleQuery};
