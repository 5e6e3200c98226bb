//! A database: the engine, and what every session on it shares.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use driftdb_engine::Engine;
use driftdb_types::Result;

use crate::query::QueryRuntime;
use crate::session::Session;

/// Bounds of the SQL layer.
#[derive(Clone, Debug)]
pub struct SqlOptions {
    /// Memory that all running queries together may use, in bytes; past it they spill or fail with 53200.
    pub memory_limit_bytes: usize,
    /// Where queries past that bound put what does not fit; `None`: nowhere, they fail.
    pub spill_dir: Option<PathBuf>,
    /// Rows a result hands on at a time.
    pub batch_rows: usize,
    /// How many queries that take long run at a time; the others wait, in turn.
    pub long_queries_max: usize,
}

impl Default for SqlOptions {
    fn default() -> SqlOptions {
        SqlOptions { memory_limit_bytes: 256 << 20, spill_dir: None, batch_rows: 2048, long_queries_max: 8 }
    }
}

/// Who connects, and how.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The user's name, kept with every commit.
    pub user: String,
    /// The program's name (`application_name`), kept with every commit.
    pub application: String,
    /// The client's address, kept with every commit.
    pub client: Option<String>,
    /// The database's name: anything, or `name@2026-11-01T10:00:00Z` / `name@42` to read as of that point.
    pub database: String,
    /// The number that `pg_backend_pid()` gives, and that a client cancels by; 0 for a session without a connection.
    pub backend_pid: i32,
    /// Settings to start with, as in the connection option `-c name=value`.
    pub settings: Vec<(String, String)>,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            user: "driftdb".to_owned(),
            application: String::new(),
            client: None,
            database: "driftdb".to_owned(),
            backend_pid: 0,
            settings: Vec::new(),
        }
    }
}

/// sqlparser and DataFusion look at each level of a deep statement whether so much stack is left, and go on with more if not.
/// Their own bound, 128 KiB, is less than what is called between two such looks in a debug build, where a function of the parser
/// takes 40 KiB by itself.
const STACK_LEFT_BYTES: usize = 512 << 10;
/// How much more it is then.
const STACK_MORE_BYTES: usize = 8 << 20;

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) runtime: Arc<QueryRuntime>,
}

/// A database handle; clones share everything.
///
/// ```
/// use driftdb_engine::{Engine, EngineOptions};
/// use driftdb_env::Env;
/// use driftdb_sql::{Database, SessionOptions, SqlOptions};
/// use driftdb_types::{Result, Value};
///
/// fn prices(directory: &std::path::Path) -> Result<()> {
///     let engine = Engine::open(Env::real(), directory, EngineOptions::default())?;
///     let database = Database::new(engine.clone(), SqlOptions::default())?;
///     let mut session = database.session(SessionOptions::default())?;
///     session.run("CREATE TABLE price (item text PRIMARY KEY, cents int)")?;
///     session.run("INSERT INTO price VALUES ('tea', 250)")?;
///     let before = engine.stamp().seq;
///     session.run("UPDATE price SET cents = cents + 20 WHERE item = 'tea'")?;
///
///     let now = session.run("SELECT cents FROM price WHERE item = 'tea'")?;
///     assert_eq!(now, [[Value::Int4(270)]]);
///     let then = session.run(&format!("SELECT cents FROM price FOR SYSTEM_TIME AS OF @SEQ:{before} WHERE item = 'tea'"))?;
///     assert_eq!(then, [[Value::Int4(250)]]);
///     engine.close()
/// }
///
/// let directory = tempfile::tempdir()?;
/// prices(directory.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Database {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// SQL on `engine`.
    pub fn new(engine: Engine, options: SqlOptions) -> Result<Database> {
        recursive::set_minimum_stack_size(STACK_LEFT_BYTES);
        recursive::set_stack_allocation_size(STACK_MORE_BYTES);
        let runtime = Arc::new(QueryRuntime::new(&options)?);
        Ok(Database { shared: Arc::new(Shared { engine, runtime }) })
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// A new session. Fails on a setting that does not exist or cannot take its value.
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        Session::new(self.clone(), options)
    }
}
