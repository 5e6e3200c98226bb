//! What a statement reads from, and what its planning needs to know of the session.

use std::sync::Arc;

use driftdb_engine::{Cancel, Catalog, Engine, SessionLocks, SessionTxid, TxnReader};
use driftdb_store::StoreView;
use driftdb_types::{CommitSeq, DataType, Result, Value};

use crate::query::QueryRuntime;
use crate::settings::Settings;

/// Who a session is for.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) user: String,
    /// The client's address, where it is not in this process.
    pub(crate) address: Option<String>,
    /// The database's name, without a point of time.
    pub(crate) database: String,
    pub(crate) backend_pid: i32,
}

/// The data a statement reads: one view of the store, the transaction's own writes over it, and the catalog of both.
#[derive(Clone)]
pub(crate) struct ReadState {
    pub(crate) engine: Engine,
    /// The view with the transaction's own uncommitted writes over it: what "now" reads.
    pub(crate) reader: TxnReader,
    /// The view alone: what a read of the past reads.
    pub(crate) view: Arc<StoreView>,
    /// The tables of now, the transaction's own uncommitted changes included.
    pub(crate) catalog: Arc<Catalog>,
    /// The session's or the transaction's read point, for each table that has no clause of its own.
    pub(crate) system_time: Option<CommitSeq>,
}

impl ReadState {
    /// The tables that system tables and functions tell of: those of the session's read point.
    pub(crate) fn catalog_shown(&self) -> Result<Arc<Catalog>> {
        match self.system_time {
            Some(seq) => self.engine.catalog_at(&self.view, seq),
            None => Ok(Arc::clone(&self.catalog)),
        }
    }
}

/// Rows that a statement already holds, readable as a table of the name `name` by the queries it runs on the way.
#[derive(Debug)]
pub(crate) struct InputRows {
    pub(crate) name: String,
    pub(crate) columns: Vec<(String, DataType)>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// Everything planning and running a query needs; cheap to clone.
#[derive(Clone)]
pub(crate) struct QueryContext {
    pub(crate) runtime: Arc<QueryRuntime>,
    pub(crate) read: ReadState,
    pub(crate) settings: Arc<Settings>,
    pub(crate) cancel: Arc<Cancel>,
    /// Where advisory locks are taken.
    pub(crate) locks: Arc<SessionLocks>,
    /// The name of the transaction.
    pub(crate) txid: Arc<SessionTxid>,
    pub(crate) client: Arc<Client>,
    /// The clock's reading when the statement began, microseconds since 1970 UTC.
    pub(crate) statement_time_us: i64,
    /// The clock's reading when the transaction began: `now()`.
    pub(crate) transaction_time_us: i64,
    /// Whether the hidden column of row keys can be named: only in queries that DML builds.
    pub(crate) row_keys: bool,
    pub(crate) inputs: Vec<Arc<InputRows>>,
}
