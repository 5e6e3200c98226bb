//! COPY: rows in from the client, rows out to it.

use std::fmt;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use driftdb_engine::{Charge, StatementError, TableLock};
use driftdb_types::{ColumnId, Error, Result, SqlState, TableSchema, Value};

use super::Session;
use crate::copy::{CopyDecoder, CopyEncoder, CopyHeader, CopyOptions, CopyRow};
use crate::dml::Defaults;
use crate::outcome::{Outcome, RowStream};
use crate::parse::{CopyStatement, CopyWhat, Statement, TableName, name_of};
use crate::query;

/// How much of COPY's data is handed to the client at a time, roughly.
const CHUNK_BYTES: usize = 64 << 10;

/// An unfinished line up to this size is not counted as memory of transactions: each session may have one.
const LINE_BYTES_FREE: usize = 16 << 10;
/// How many copies of a line there are while it is acted on: the buffer that it is gathered in has grown by doubling, and its
/// fields become values and a row.
const LINE_COPIES: usize = 4;

/// A COPY FROM STDIN that waits for data.
pub struct CopyIn {
    table: Arc<TableSchema>,
    columns: Vec<ColumnId>,
    defaults: Arc<Defaults>,
    decoder: CopyDecoder,
    rows: u64,
    ends_query: bool,
    batch: Vec<CopyRow>,
    /// For an unfinished line that is long, and how much of it is counted.
    line: Option<(Charge, usize)>,
}

impl fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").field("table", &self.table.name).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl CopyIn {
    /// How many columns each line has; all are in text format.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The implicit transaction is committed by [`CopyIn::finish`], before the client is answered.
    pub(super) fn commits_at_end(&mut self, last: bool) {
        self.ends_query = last;
    }

    /// Takes data, split anywhere. An error fails the transaction.
    pub fn write(&mut self, session: &mut Session, data: &[u8]) -> Result<()> {
        let decoded = self.decoder.push(data, &mut self.batch);
        let stored = self.store(session).and(decoded.map_err(|error| self.place(error)));
        let counted = stored.and_then(|()| self.count_line(session));
        session.failing(counted)
    }

    /// Counts what is there of an unfinished line: one without an end would be any amount of memory.
    fn count_line(&mut self, session: &Session) -> Result<()> {
        let bytes = self.decoder.unfinished_bytes();
        match &mut self.line {
            _ if bytes <= LINE_BYTES_FREE => self.line = None,
            Some((charge, counted)) if bytes >= *counted => {
                let more = bytes - *counted;
                *counted = bytes;
                charge.add(more.saturating_mul(LINE_COPIES))?;
            }
            line => *line = Some((session.db.engine().charge(bytes.saturating_mul(LINE_COPIES))?, bytes)),
        }
        Ok(())
    }

    /// Ends the data and gives the command tag. An error fails the transaction.
    pub fn finish(mut self, session: &mut Session) -> Result<String> {
        let decoded = self.decoder.finish(&mut self.batch);
        let stored = self.store(session).and(decoded.map_err(|error| self.place(error)));
        session.failing(stored)?;
        if self.ends_query {
            session.sync()?;
        }
        Ok(format!("COPY {}", self.rows))
    }

    /// The client broke off: fails the transaction and gives the error to answer with.
    pub fn fail(self, session: &mut Session, message: &str) -> Error {
        session.fail_transaction();
        Error::new(SqlState::QUERY_CANCELED, format!("COPY from stdin failed: {message}")).detail(format!(
            "COPY {}, line {}",
            self.table.name,
            self.rows + 1
        ))
    }

    /// Says in which table and line.
    fn place(&self, mut error: Error) -> Error {
        error.detail = Some(match error.detail {
            Some(detail) => format!("COPY {}, {detail}", self.table.name),
            None => format!("COPY {}", self.table.name),
        });
        error
    }

    /// Inserts what was decoded.
    fn store(&mut self, session: &mut Session) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let mut lines = batch.into_iter();
        // Taken row by row, because a snapshot is not read here and so nothing can ask for a restart.
        session.statement(&[], |exec| {
            for CopyRow { line, values } in lines.by_ref() {
                exec.cancel.check()?;
                let mut row = vec![Value::Null; self.table.columns.len()];
                self.defaults.fill(exec, &mut row)?;
                for (column, value) in self.columns.iter().zip(values) {
                    if let Some(slot) = row.get_mut(usize::from(column.0)) {
                        *slot = value;
                    }
                }
                crate::dml::insert_plain(exec, &self.table, row).map_err(|error| {
                    let context = format!("COPY {}, line {line}", self.table.name);
                    StatementError::Error(match &error.detail {
                        Some(detail) => Error { detail: Some(format!("{detail} {context}")), ..error },
                        None => error.detail(context),
                    })
                })?;
            }
            Ok(())
        })?;
        self.rows += count;
        Ok(())
    }
}

/// A COPY TO STDOUT: data, produced while it is read.
pub struct CopyOut {
    rows: RowStream,
    encoder: CopyEncoder,
    header: bool,
    count: u64,
}

impl fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut").field("rows", &self.count).finish_non_exhaustive()
    }
}

impl CopyOut {
    /// How many columns each line has; all are in text format.
    pub fn columns(&self) -> usize {
        self.rows.columns().len()
    }

    /// The next bytes; `None` at the end. After an error call [`Session::fail`].
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.next_lines()?.map(|(chunk, _)| chunk))
    }

    /// The next bytes, and where in them each row ends (a row of CSV may span lines): PostgreSQL's protocol sends rows
    /// one by one.
    pub fn next_lines(&mut self) -> Result<Option<(Vec<u8>, Vec<usize>)>> {
        let (mut chunk, mut ends) = (Vec::new(), Vec::new());
        if std::mem::take(&mut self.header) {
            self.encoder.header(&mut chunk);
            ends.push(chunk.len());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(batch) = self.rows.next_batch()? else { break };
            for row in &batch {
                self.encoder.row(row, &mut chunk);
                ends.push(chunk.len());
                self.count += 1;
            }
        }
        Ok(if chunk.is_empty() { None } else { Some((chunk, ends)) })
    }

    /// The command tag, right after the last chunk.
    pub fn tag(&self) -> String {
        format!("COPY {}", self.count)
    }
}

impl Session {
    pub(super) fn copy(&mut self, statement: &Statement, copy: &CopyStatement) -> Result<Outcome> {
        if copy.from_stdin {
            return self.copy_in(statement, copy).map(Outcome::CopyIn);
        }
        self.begin_statement()?;
        let exec = self.exec(&[])?;
        let context = exec.context();
        let query = match &copy.what {
            CopyWhat::Query(query) => query.as_ref().clone(),
            CopyWhat::Table { table, columns } => table_query(table, columns)?,
        };
        let planned = query::plan_query(&context, &query, &[])?;
        let rows = query::run_query(&context, &planned, &[])?;
        let encoder = CopyEncoder::new(copy.options.clone(), &planned.columns, exec.time_zone().clone());
        let header = copy.options.header != CopyHeader::No;
        Ok(Outcome::CopyOut(CopyOut { rows, encoder, header, count: 0 }))
    }

    fn copy_in(&mut self, statement: &Statement, copy: &CopyStatement) -> Result<CopyIn> {
        let CopyWhat::Table { table, columns } = &copy.what else {
            return Err(Error::internal("COPY FROM of a query"));
        };
        let name = TableName::new(statement.source(), table)?;
        let options: CopyOptions = copy.options.clone();
        self.statement(&[], |exec| {
            exec.check_writable("COPY FROM")?;
            let catalog = exec.catalog();
            let Some(table) = catalog.table(&name.name) else {
                return Err(name.undefined(statement.source()).into());
            };
            exec.txn.lock_table(table.id, TableLock::Write)?;
            let ids = copied_columns(table, columns)?;
            let types = ids
                .iter()
                .filter_map(|id| table.column_by_id(*id))
                .map(|column| (column.name.clone(), column.data_type))
                .collect();
            let defaults = Arc::new(Defaults::new(exec, table, &ids)?);
            let decoder = CopyDecoder::new(options.clone(), types, exec.time_zone().clone());
            Ok(CopyIn {
                table: Arc::clone(table),
                columns: ids,
                defaults,
                decoder,
                rows: 0,
                ends_query: false,
                batch: Vec::new(),
                line: None,
            })
        })
    }
}

fn copied_columns(table: &TableSchema, columns: &[Ident]) -> Result<Vec<ColumnId>> {
    if columns.is_empty() {
        return Ok(table.live_columns().map(|column| column.id).collect());
    }
    let mut ids = Vec::with_capacity(columns.len());
    for ident in columns {
        let name = name_of(ident);
        let Some(column) = table.column(&name) else {
            return Err(Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            ));
        };
        if ids.contains(&column.id) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        ids.push(column.id);
    }
    Ok(ids)
}

/// COPY of a table reads what `SELECT columns FROM table` reads.
fn table_query(table: &ObjectName, columns: &[Ident]) -> Result<datafusion::sql::sqlparser::ast::Query> {
    let list = match columns.is_empty() {
        true => "*".to_owned(),
        false => columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    crate::parse::parse_query(&format!("SELECT {list} FROM {table}"))
}
