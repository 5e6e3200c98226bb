//! DriftDB in a program's own process: a SQL database that never overwrites.
//!
//! Every commit gets a stamp, every row version is kept with the period in which it was the truth, and any query can
//! be asked as of any stamp:
//!
//! ```
//! # fn main() -> driftdb::Result<()> {
//! # let place = tempfile::tempdir().map_err(|error| driftdb::Error::internal(error.to_string()))?;
//! # let path = place.path().join("data");
//! use driftdb::Database;
//!
//! let db = Database::open(&path)?;
//! let session = db.session()?;
//! session.execute("CREATE TABLE orders (id int PRIMARY KEY, state text)", &[])?;
//! session.execute("INSERT INTO orders VALUES ($1, $2)", &[&1, &"open"])?;
//! let before = db.last_commit();
//!
//! session.execute("UPDATE orders SET state = 'paid' WHERE id = 1", &[])?;
//! let now = session.query("SELECT state FROM orders WHERE id = $1", &[&1])?;
//! assert_eq!(now.value::<String>(0, "state")?, "paid");
//!
//! // The same question as of the commit before: the answer it had then, and will have for ever.
//! let then = session.query("SELECT state FROM orders FOR SYSTEM_TIME AS OF $1 WHERE id = $2", &[&before, &1])?;
//! assert_eq!(then.value::<String>(0, "state")?, "open");
//!
//! let versions = session.query("SELECT state FROM orders FOR SYSTEM_TIME ALL ORDER BY _from_seq", &[])?;
//! assert_eq!(versions.len(), 2);
//! db.close()
//! # }
//! ```
//!
//! [`Database`] is one shared handle: clone it, use it from any thread. A [`Session`] is one conversation: it has at
//! most one transaction, and its calls take turns.
//!
//! *Invariants of absence.* Nothing here knows DataFusion, PostgreSQL's messages or a file's format: this crate only
//! opens, wires together and closes.

mod embedded;
pub mod memory;
mod value;

pub use driftdb_types::{CommitSeq, DataType, Error, Result, SqlState, Stamp, Value};
pub use embedded::{Database, OpenOptions, Rows, Session};
pub use value::{FromValue, ToValue};
