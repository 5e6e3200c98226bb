//! The library's face: open, session, execute, query, close.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftdb_engine::Engine;
use driftdb_env::Env;
use driftdb_sql::{Outcome, ResultColumn, RowStream, SessionOptions};
use driftdb_types::{CommitSeq, Error, Result, SqlState, Value};

use crate::memory;
use crate::value::{FromValue, ToValue};

/// Where queries put what does not fit into their memory, in the data directory.
const SPILL_DIR: &str = "spill";

/// How to open a database.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Memory the database may use, in bytes; [`memory`] says how it is divided. Default 2 GiB.
    pub memory_limit_bytes: u64,
    /// Kept with every commit as the user. Default `driftdb`.
    pub user: String,
    /// Kept with every commit as the application's name. Default: empty.
    pub application: String,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            memory_limit_bytes: memory::LIMIT_DEFAULT_BYTES,
            user: "driftdb".to_owned(),
            application: String::new(),
        }
    }
}

/// An open database. Clones are the same database. [`Database::close`] ends it in order; without it the last one dropped
/// ends it as a crash would: nothing committed is lost, and the next start reads it from the log.
#[derive(Clone)]
pub struct Database {
    engine: Engine,
    sql: driftdb_sql::Database,
    options: Arc<OpenOptions>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database in the directory `path`, or makes one there. Fails with 55006 when another process has it
    /// open, and with XX001, naming file and offset, when a file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Database> {
        Database::open_with(path, OpenOptions::default())
    }

    /// [`Database::open`] with options.
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Database> {
        if options.memory_limit_bytes < memory::LIMIT_MIN_BYTES {
            let least = memory::LIMIT_MIN_BYTES;
            let message = format!("a memory limit of {} bytes is below {least}", options.memory_limit_bytes);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let (env, path) = (Env::real(), path.as_ref());
        let (engine_options, mut sql_options) = memory::split(options.memory_limit_bytes);
        let engine = Engine::open(env.clone(), path, engine_options)?;
        let spill_dir = path.join(SPILL_DIR);
        // The directory is ours by now, so what is there was left by a crash.
        env.disk.empty_dir(&spill_dir).map_err(|error| {
            Error::new(SqlState::IO_ERROR, format!("cannot empty {}: {error}", spill_dir.display()))
        })?;
        sql_options.spill_dir = Some(spill_dir);
        let sql = driftdb_sql::Database::new(engine.clone(), sql_options)?;
        Ok(Database { engine, sql, options: Arc::new(options) })
    }

    /// A database on an engine that the caller has opened: with bounds of its own, or on a simulated machine. The memory
    /// limit in `options` is that of queries, which do not spill.
    #[doc(hidden)]
    pub fn with_engine(engine: Engine, options: OpenOptions) -> Result<Database> {
        let (_, sql_options) = memory::split(options.memory_limit_bytes);
        let sql = driftdb_sql::Database::new(engine.clone(), sql_options)?;
        Ok(Database { engine, sql, options: Arc::new(options) })
    }

    /// The SQL layer below, for the server.
    #[doc(hidden)]
    pub fn sql(&self) -> &driftdb_sql::Database {
        &self.sql
    }

    /// A new session.
    pub fn session(&self) -> Result<Session> {
        Ok(Session { inner: Mutex::new(self.sql_session()?) })
    }

    /// A session with everything a client's session has, for the shell.
    #[doc(hidden)]
    pub fn sql_session(&self) -> Result<driftdb_sql::Session> {
        let options = SessionOptions {
            user: self.options.user.clone(),
            application: self.options.application.clone(),
            ..SessionOptions::default()
        };
        self.sql.session(options)
    }

    /// The seq of the newest commit that is visible; 0 before the first.
    pub fn last_commit(&self) -> CommitSeq {
        self.engine.stamp().seq
    }

    /// Waits for the commits in flight, writes a checkpoint and closes the files. Sessions that are still there fail
    /// from now on.
    pub fn close(&self) -> Result<()> {
        self.engine.close()
    }
}

/// One conversation with the database: settings and at most one transaction. Its calls take turns, so it may be
/// shared, but two sessions do more at once than one.
pub struct Session {
    inner: Mutex<driftdb_sql::Session>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Runs one statement and gives the number of rows it wrote or returned. `$1`, `$2`, … stand for `params`.
    pub fn execute(&self, statement: &str, params: &[&dyn ToValue]) -> Result<u64> {
        let mut count = 0;
        let tag = self.run(statement, params, &mut |_, batch| {
            count += batch.len() as u64;
            Ok(())
        })?;
        // "INSERT 0 5", "UPDATE 5", "CREATE TABLE"
        Ok(tag.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(count))
    }

    /// Runs one statement and gives all its rows.
    pub fn query(&self, statement: &str, params: &[&dyn ToValue]) -> Result<Rows> {
        let mut rows = Rows::default();
        self.run(statement, params, &mut |columns, batch| {
            rows.columns = Arc::clone(columns);
            rows.rows.extend(batch);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Runs one statement and gives its rows to `each` as they come, so that a result of any size takes little memory.
    /// An error of `each` ends the statement.
    pub fn query_each(
        &self,
        statement: &str,
        params: &[&dyn ToValue],
        mut each: impl FnMut(Vec<Value>) -> Result<()>,
    ) -> Result<()> {
        self.run(statement, params, &mut |_, batch| batch.into_iter().try_for_each(&mut each))?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, driftdb_sql::Session> {
        // A panic elsewhere leaves a session with a transaction at worst, which the next statement reports.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, statement: &str, params: &[&dyn ToValue], take: TakeBatch<'_>) -> Result<String> {
        let params = params.iter().map(|param| param.to_value()).collect();
        let mut session = self.lock();
        let done = perform(&mut session, statement, params, take);
        if done.is_err() {
            session.fail();
        }
        // Outside BEGIN … COMMIT this commits, or rolls back what failed.
        let ended = session.sync();
        let tag = done?;
        ended.map(|()| tag)
    }
}

/// Prepares and runs one statement, and gives its command tag.
fn perform(
    session: &mut driftdb_sql::Session,
    statement: &str,
    params: Vec<Value>,
    take: TakeBatch<'_>,
) -> Result<String> {
    let Some(statement) = session.parse_one(statement)? else { return Ok(String::new()) };
    let prepared = session.prepare_for(&statement, &params)?;
    match session.execute(&prepared, params)? {
        Outcome::Rows(stream) => drain(stream, take),
        Outcome::Command { tag } => Ok(tag),
        Outcome::Empty => Ok(String::new()),
        Outcome::CopyIn(_) | Outcome::CopyOut(_) => Err(Error::unsupported("COPY through Session::execute")),
    }
}

/// Takes a batch of rows with their columns.
type TakeBatch<'a> = &'a mut dyn FnMut(&Arc<[ResultColumn]>, Vec<Vec<Value>>) -> Result<()>;

fn drain(mut stream: RowStream, take: TakeBatch<'_>) -> Result<String> {
    let columns = Arc::clone(stream.columns());
    take(&columns, Vec::new())?;
    let mut count = 0;
    while let Some(batch) = stream.next_batch()? {
        count += batch.len() as u64;
        take(&columns, batch)?;
    }
    Ok(stream.tag(count))
}

/// The rows of a result.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Arc<[ResultColumn]>,
    rows: Vec<Vec<Value>>,
}

impl Default for Rows {
    fn default() -> Rows {
        Rows { columns: Arc::from([]), rows: Vec::new() }
    }
}

impl Rows {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The values, row by row.
    pub fn iter(&self) -> impl Iterator<Item = &[Value]> {
        self.rows.iter().map(Vec::as_slice)
    }

    /// The value of `column` in the row `row` (from 0). Fails when there is no such row (22023)
    /// or column (42703), or the value is no `T` (42846).
    pub fn value<T: FromValue>(&self, row: usize, column: &str) -> Result<T> {
        let values = self.rows.get(row).ok_or_else(|| {
            let message = format!("row {row} of a result of {} rows", self.rows.len());
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
        })?;
        let place = self.columns.iter().position(|known| known.name == column);
        let value = place
            .and_then(|place| values.get(place))
            .ok_or_else(|| Error::new(SqlState::UNDEFINED_COLUMN, format!("the result has no column \"{column}\"")))?;
        T::from_value(value)
    }
}
