//! The shell over a data directory opened in this process.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use driftdb::{Database, OpenOptions};
use driftdb_sql::{Outcome, ResultColumn, RowStream, Session};
use driftdb_types::{Error, TimeZone, Value, format_value};

use super::backend::{Backend, ReadChunk, Report, WriteChunk};
use super::table::Sink;

/// A session on a database of our own.
pub(super) struct Embedded {
    database: Database,
    session: Session,
    /// Listens for Ctrl-C while a statement runs.
    runtime: tokio::runtime::Runtime,
}

impl Embedded {
    /// Opens the directory.
    pub(super) fn open(data: &Path) -> Result<Embedded> {
        let options = OpenOptions { application: "driftdb sql".to_owned(), ..OpenOptions::default() };
        let database = Database::open_with(data, options)?;
        let session = database.sql_session()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let cancel = session.cancel_handle();
        runtime.spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                cancel.cancel();
            }
        });
        Ok(Embedded { database, session, runtime })
    }

    /// Closes the database with a checkpoint.
    pub(super) fn close(self) -> Result<()> {
        drop(self.session);
        self.runtime.shutdown_background();
        Ok(self.database.close()?)
    }

    /// Prepares and executes one statement.
    fn start(&mut self, statement: &str) -> Result<Outcome, Error> {
        let Some(statement) = self.session.parse_one(statement)? else { return Ok(Outcome::Empty) };
        let prepared = self.session.prepare(&statement, &[])?;
        self.session.execute(&prepared, Vec::new())
    }

    /// Ends the statement: commits it if it went well, else leaves its transaction failed.
    fn end<T>(&mut self, statement: &str, result: Result<T, Error>) -> Result<T> {
        let result = match result {
            Ok(value) => self.session.sync().map(|()| value),
            Err(error) => {
                self.session.fail();
                // Outside a block this rolls the implicit transaction back.
                self.session.sync().and(Err(error))
            }
        };
        result.map_err(|error| anyhow!(report(&error, statement)))
    }
}

impl Backend for Embedded {
    fn run(&mut self, statement: &str, sink: &mut dyn Sink) -> Result<()> {
        let result = match self.start(statement) {
            Ok(Outcome::Rows(stream)) => {
                let zone = self.session.time_zone().clone();
                show(stream, &zone, sink)
            }
            Ok(Outcome::Command { tag }) => Ok(rows_of(&tag).unwrap_or(0)),
            Ok(Outcome::Empty) => Ok(0),
            Ok(Outcome::CopyIn(_) | Outcome::CopyOut(_)) => Err(Error::unsupported(r"COPY here (use \copy)")),
            Err(error) => Err(error),
        };
        let rows = self.end(statement, result)?;
        Ok(sink.done(statement, rows)?)
    }

    fn copy_in(&mut self, statement: &str, chunks: ReadChunk<'_>) -> Result<u64> {
        let mut copy = match self.start(statement) {
            Ok(Outcome::CopyIn(copy)) => copy,
            Ok(_) => bail!("{statement}: this takes no data"),
            Err(error) => return self.end(statement, Err(error)),
        };
        let mut unread = None;
        let mut write = || -> Result<(), Error> {
            loop {
                match chunks() {
                    Ok(Some(chunk)) => copy.write(&mut self.session, &chunk)?,
                    Ok(None) => return Ok(()),
                    Err(error) => {
                        unread = Some(error);
                        return Ok(());
                    }
                }
            }
        };
        let written = write();
        let result = match (&unread, written) {
            (None, Ok(())) => copy.finish(&mut self.session),
            (None, Err(error)) => Err(error),
            (Some(error), _) => Err(copy.fail(&mut self.session, &format!("{error:#}"))),
        };
        let tag = self.end(statement, result)?;
        Ok(rows_of(&tag).unwrap_or(0))
    }

    fn copy_out(&mut self, statement: &str, chunks: WriteChunk<'_>) -> Result<Option<u64>> {
        let mut copy = match self.start(statement) {
            Ok(Outcome::CopyOut(copy)) => copy,
            Ok(_) => bail!("{statement}: this gives no data"),
            Err(error) => return self.end(statement, Err(error)),
        };
        let mut read = || -> Result<Result<(), Error>> {
            loop {
                match copy.next_chunk() {
                    Ok(Some(chunk)) => chunks(&chunk)?,
                    Ok(None) => return Ok(Ok(())),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let result = match read() {
            Ok(result) => result,
            Err(unwritten) => {
                self.session.fail();
                self.session.sync()?;
                return Err(unwritten);
            }
        };
        self.end(statement, result)?;
        Ok(rows_of(&copy.tag()))
    }

    fn notices(&mut self) -> Vec<String> {
        let notices = self.session.take_notices();
        notices
            .iter()
            .map(|notice| {
                let (severity, code) = (notice.severity.word(), notice.state.code());
                Report { severity, code, message: &notice.message, ..Report::default() }.text("")
            })
            .collect()
    }
}

fn show(mut stream: RowStream, zone: &TimeZone, sink: &mut dyn Sink) -> Result<u64, Error> {
    let unwritten = |error: std::io::Error| Error::internal(format!("cannot write the result: {error}"));
    let columns = std::sync::Arc::clone(stream.columns());
    sink.columns(columns.iter().map(|column| column.name.clone()).collect()).map_err(unwritten)?;
    let text =
        |value: &Value, column: &ResultColumn| (!value.is_null()).then(|| format_value(value, column.data_type, zone));
    let mut rows = 0;
    while let Some(batch) = stream.next_batch()? {
        for row in batch {
            rows += 1;
            sink.row(row.iter().zip(columns.iter()).map(|(value, column)| text(value, column)).collect())
                .map_err(unwritten)?;
        }
    }
    Ok(rows)
}

/// The number of rows at the end of a command tag.
fn rows_of(tag: &str) -> Option<u64> {
    tag.rsplit(' ').next().and_then(|number| number.parse().ok())
}

fn report(error: &Error, statement: &str) -> String {
    let report = Report {
        severity: "ERROR",
        code: error.state.code(),
        message: &error.message,
        detail: error.detail.as_deref(),
        hint: error.hint.as_deref(),
        position: error.position,
    };
    report.text(statement)
}
