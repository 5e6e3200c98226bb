//! What executing a statement gives.

use std::fmt;
use std::sync::Arc;

use driftdb_types::{DataType, Result, SqlState, Value};

pub use crate::session::copy::{CopyIn, CopyOut};

/// One column of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// The table and the column number (from 1) it comes from, when it is a plain column.
    pub table: Option<(u32, i16)>,
}

impl ResultColumn {
    /// A computed column.
    pub fn new(name: impl Into<String>, data_type: DataType) -> ResultColumn {
        ResultColumn { name: name.into(), data_type, table: None }
    }
}

/// Where a [`RowStream`] takes its rows from.
pub(crate) trait RowSource: Send {
    /// The next rows, never an empty batch; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<Vec<Vec<Value>>>>;
}

/// Rows that are all there already.
pub(crate) struct ReadyRows(pub(crate) Option<Vec<Vec<Value>>>);

impl RowSource for ReadyRows {
    fn next_batch(&mut self) -> Result<Option<Vec<Vec<Value>>>> {
        Ok(self.0.take().filter(|rows| !rows.is_empty()))
    }
}

/// How the command tag of a statement with rows reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowsTag {
    /// `SELECT n`
    Select,
    /// `INSERT 0 n`
    Insert,
    /// `UPDATE n`
    Update,
    /// `DELETE n`
    Delete,
    /// The same text whatever the number of rows.
    Fixed(&'static str),
}

impl RowsTag {
    pub(crate) fn text(self, rows: u64) -> String {
        match self {
            RowsTag::Select => format!("SELECT {rows}"),
            RowsTag::Insert => format!("INSERT 0 {rows}"),
            RowsTag::Update => format!("UPDATE {rows}"),
            RowsTag::Delete => format!("DELETE {rows}"),
            RowsTag::Fixed(text) => text.to_owned(),
        }
    }
}

/// The rows of a result, produced while they are read: at most a batch is in memory.
pub struct RowStream {
    columns: Arc<[ResultColumn]>,
    source: Box<dyn RowSource>,
    tag: RowsTag,
    /// Whether every row is there already, so that the transaction may end before they are read.
    ready: bool,
}

impl RowStream {
    pub(crate) fn new(columns: Arc<[ResultColumn]>, source: Box<dyn RowSource>) -> RowStream {
        RowStream { columns, source, tag: RowsTag::Select, ready: false }
    }

    pub(crate) fn ready(columns: Arc<[ResultColumn]>, rows: Vec<Vec<Value>>, tag: RowsTag) -> RowStream {
        RowStream { columns, source: Box::new(ReadyRows(Some(rows))), tag, ready: true }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// The columns of every row.
    pub fn columns(&self) -> &Arc<[ResultColumn]> {
        &self.columns
    }

    /// The next rows, never an empty batch; `None` at the end. After an error call [`Session::fail`](crate::Session::fail).
    pub fn next_batch(&mut self) -> Result<Option<Vec<Vec<Value>>>> {
        self.source.next_batch()
    }

    /// All rows that are left.
    pub fn collect(mut self) -> Result<Vec<Vec<Value>>> {
        let mut all = Vec::new();
        while let Some(batch) = self.next_batch()? {
            all.extend(batch);
        }
        Ok(all)
    }

    /// The command tag, such as `SELECT 5`, after `rows` rows.
    pub fn tag(&self, rows: u64) -> String {
        self.tag.text(rows)
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// What executing a statement gives.
#[derive(Debug)]
pub enum Outcome {
    /// Rows.
    Rows(RowStream),
    /// No rows, only a command tag such as `INSERT 0 5`.
    Command {
        /// The tag.
        tag: String,
    },
    /// The statement waits for the client's data.
    CopyIn(CopyIn),
    /// The statement gives data in COPY's format.
    CopyOut(CopyOut),
    /// The text held no statement.
    Empty,
}

impl Outcome {
    pub(crate) fn command(tag: impl Into<String>) -> Outcome {
        Outcome::Command { tag: tag.into() }
    }
}

/// How serious a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// Probably not what was meant.
    Warning,
}

impl Severity {
    /// The word PostgreSQL's protocol uses.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
        }
    }
}

/// Something said beside a statement's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// How serious it is.
    pub severity: Severity,
    /// Its class.
    pub state: SqlState,
    /// What there is to say.
    pub message: String,
}

/// What ReadyForQuery tells a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction block.
    Idle,
    /// In a transaction block.
    InTransaction,
    /// In a transaction block that failed and waits for ROLLBACK.
    Failed,
}
