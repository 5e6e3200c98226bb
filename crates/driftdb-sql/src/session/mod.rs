//! A session: one client's settings, transaction and prepared statements.
//!
//! Statements run inside a transaction always. Outside BEGIN … COMMIT it is an *implicit* one, which spans a whole query
//! string of the simple protocol, or everything up to a Sync of the extended one, and ends by itself. A statement that
//! fails fails its transaction: an implicit one is rolled back, a block waits for ROLLBACK (25P02 till then).

mod control;
pub(crate) mod copy;
mod execute;
mod plan;
mod prepared_sql;
mod set;
mod simple;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use driftdb_engine::{Cancel, CommitMeta, Savepoint, SessionLocks, SessionTxid, Transaction, transaction_timeout};
use driftdb_types::{CommitSeq, DataType, Error, Result, SqlState, TimeZone, Value};

pub(crate) use self::execute::{Exec, Run};
pub use self::plan::Prepared;
use self::prepared_sql::NamedStatement;
pub use self::simple::SimpleQuery;
use crate::database::{Database, SessionOptions};
use crate::outcome::{Notice, Outcome, Severity, TransactionStatus};
use crate::parse::{self, IsolationLevel, Statement};
use crate::read::Client;
use crate::settings::Settings;
use crate::system_time;

/// Texts shorter than this are not counted as memory of transactions.
const SQL_BYTES_FREE: usize = 4096;

/// A transaction in progress.
struct Active {
    txn: Transaction,
    /// Between BEGIN and COMMIT; else implicit.
    block: bool,
    savepoints: Vec<NamedSavepoint>,
    /// As it was asked for.
    level: IsolationLevel,
    /// Says that a read-only SERIALIZABLE transaction may wait for a snapshot that cannot fail: here none can.
    deferrable: bool,
    /// The lasting settings before the transaction, for a rollback.
    settings_before: Arc<Settings>,
    /// BEGIN READ ONLY AS OF.
    as_of: Option<CommitSeq>,
    /// The clock at its begin: `now()`.
    began_us: i64,
    /// The same on the monotonic clock.
    began: Duration,
}

struct NamedSavepoint {
    name: String,
    at: Savepoint,
    settings: Arc<Settings>,
    lasting: Arc<Settings>,
}

enum State {
    Idle,
    Active(Box<Active>),
    /// A statement failed. What is kept is the transaction a savepoint can go back into.
    Failed {
        block: bool,
        settings_before: Arc<Settings>,
        characteristics: Characteristics,
        kept: Option<Box<Active>>,
    },
}

/// What a transaction begins with; AND CHAIN gives it to the next one.
#[derive(Clone, Copy)]
struct Characteristics {
    level: IsolationLevel,
    read_only: bool,
    deferrable: bool,
    as_of: Option<CommitSeq>,
}

impl Active {
    fn characteristics(&self) -> Characteristics {
        Characteristics {
            level: self.level,
            read_only: self.txn.read_only(),
            deferrable: self.deferrable,
            as_of: self.as_of,
        }
    }
}

/// One client's session. Not shared: a connection owns it.
pub struct Session {
    db: Database,
    client: Arc<Client>,
    /// As the session began: what RESET returns to.
    start: Arc<Settings>,
    /// In force, SET LOCAL included.
    settings: Arc<Settings>,
    /// What stays after the transaction.
    lasting: Arc<Settings>,
    /// What the client was last told.
    reported: Vec<(String, String)>,
    /// The settings it was told of, so that nothing is compared while they are the same.
    reported_of: Arc<Settings>,
    state: State,
    statements: HashMap<String, NamedStatement>,
    cancel: Arc<Cancel>,
    locks: Arc<SessionLocks>,
    txid: Arc<SessionTxid>,
    notices: Vec<Notice>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Plans and results may outlive the session, and with them the handle on its locks.
        self.abort();
        self.locks.unlock_all();
        self.txid.end();
    }
}

impl Session {
    pub(crate) fn new(db: Database, options: SessionOptions) -> Result<Session> {
        let SessionOptions { user, application, client: address, database, settings: given, backend_pid } = options;
        let mut settings = Settings::new();
        settings.set_internal("session_authorization", &user);
        settings.set("application_name", Some(&application))?;
        let mut given = given;
        let database = match database.split_once('@') {
            Some((name, "")) => {
                let message = format!("database \"{name}@\" names no point of time behind its @");
                return Err(Error::new(SqlState::INVALID_CATALOG_NAME, message));
            }
            Some((name, point)) => {
                // A bare number is a commit's number.
                let point = match point.parse::<u64>() {
                    Ok(seq) => format!("@SEQ:{seq}"),
                    Err(_) => point.to_owned(),
                };
                given.push(("driftdb.system_time".to_owned(), point));
                name.to_owned()
            }
            None => database,
        };
        for (name, value) in &given {
            settings.set(name, Some(value))?;
        }
        let point = system_time::fixed(&db.shared.engine, settings.raw("driftdb.system_time"), settings.time_zone())?;
        settings.set("driftdb.system_time", Some(&point))?;
        let cancel = Arc::new(Cancel::with_clock(Arc::clone(&db.shared.engine.env().clock)));
        let locks = db.shared.engine.session_locks();
        let txid = db.shared.engine.session_txid();
        let settings = Arc::new(settings);
        let mut session = Session {
            db,
            client: Arc::new(Client { user, address, database, backend_pid }),
            start: Arc::clone(&settings),
            lasting: Arc::clone(&settings),
            reported: settings.reported(),
            reported_of: Arc::clone(&settings),
            settings,
            state: State::Idle,
            statements: HashMap::new(),
            cancel,
            locks,
            txid,
            notices: Vec::new(),
        };
        session.check_start()?;
        Ok(session)
    }

    /// A read point given at connection time is looked up once, so that a wrong one fails the connection.
    fn check_start(&mut self) -> Result<()> {
        if self.settings.get("driftdb.system_time").is_some_and(|point| !point.is_empty()) {
            self.ensure_transaction()?;
            let checked = self.system_time().map(|_| ());
            self.end_implicit(checked.is_ok())?;
            return checked;
        }
        Ok(())
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// Parses the single statement of an extended-protocol Parse. `None` for an empty text.
    pub fn parse_one(&self, sql: &str) -> Result<Option<Statement>> {
        let mut statements = self.parse(sql)?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
        Ok(statements.pop())
    }

    /// Parses all statements of a text. 53200 when it is long and all transactions' memory has no room for them.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>> {
        if sql.len() < SQL_BYTES_FREE {
            return parse::parse(sql);
        }
        let charge = self.db.engine().charge(parse::memory_bytes(sql))?;
        parse::parse_charged(sql, Some(charge))
    }

    /// Finds the types of parameters and results. `types` are those the client names, from `$1` on. A failure fails the
    /// transaction.
    pub fn prepare(&mut self, statement: &Statement, types: &[Option<DataType>]) -> Result<Prepared> {
        let prepared = self.prepare_statement(statement, types, &[]);
        self.failing(prepared)
    }

    /// [`Session::prepare`] for a single execution with these values. Where a parameter is a point of system time, the
    /// tables and columns are those of that point; prepared without its value they are those of now.
    pub fn prepare_for(&mut self, statement: &Statement, params: &[Value]) -> Result<Prepared> {
        let types: Vec<Option<DataType>> = params.iter().map(Value::data_type).collect();
        let prepared = self.prepare_statement(statement, &types, params);
        self.failing(prepared)
    }

    /// Runs a prepared statement. A failure fails the transaction.
    pub fn execute(&mut self, prepared: &Prepared, params: Vec<Value>) -> Result<Outcome> {
        self.start_timing();
        let outcome = self.execute_prepared(prepared, &params);
        self.failing(outcome)
    }

    /// Parses, prepares and runs one statement without parameters, then commits unless in a transaction block: the short
    /// way for programs that embed the database. Rows come back whole.
    pub fn run(&mut self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let mut query = self.simple_query(sql);
        let mut rows = Vec::new();
        while let Some(outcome) = query.next(self)? {
            if let Outcome::Rows(stream) = outcome {
                let collected = stream.collect();
                rows = self.failing(collected)?;
            }
        }
        Ok(rows)
    }

    /// Begins a query string of the simple protocol; see [`SimpleQuery`].
    pub fn simple_query(&mut self, sql: &str) -> SimpleQuery {
        SimpleQuery::new(sql)
    }

    /// The extended protocol's Sync: ends the implicit transaction, by commit, or by rollback if it failed.
    pub fn sync(&mut self) -> Result<()> {
        let ok = !matches!(self.state, State::Failed { block: false, .. });
        self.end_implicit(ok)
    }

    /// Fails the transaction, as when reading a [`RowStream`](crate::RowStream) gave an error or the client broke off.
    pub fn fail(&mut self) {
        self.fail_transaction();
    }

    /// Rolls back whatever is open, as when the client is gone.
    pub fn abandon(&mut self) {
        self.abort();
    }

    /// What ReadyForQuery says.
    pub fn transaction_status(&self) -> TransactionStatus {
        match &self.state {
            State::Active(active) if active.block => TransactionStatus::InTransaction,
            State::Failed { block: true, .. } => TransactionStatus::Failed,
            _ => TransactionStatus::Idle,
        }
    }

    /// The flag with which another thread ends what this session runs.
    pub fn cancel_handle(&self) -> Arc<Cancel> {
        Arc::clone(&self.cancel)
    }

    /// What was said beside results since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// A setting's value, or `None` when there is no such setting.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.shown_setting(name).ok()
    }

    /// The settings clients are told of at the start.
    pub fn reported_parameters(&self) -> Vec<(String, String)> {
        self.settings.reported()
    }

    /// Those of them that changed since the last call.
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        if Arc::ptr_eq(&self.settings, &self.reported_of) {
            return Vec::new();
        }
        self.reported_of = Arc::clone(&self.settings);
        let now = self.settings.reported();
        let changes = now.iter().filter(|entry| !self.reported.contains(entry)).cloned().collect();
        self.reported = now;
        changes
    }

    /// The session's time zone.
    pub fn time_zone(&self) -> &TimeZone {
        self.settings.time_zone()
    }

    fn notice(&mut self, severity: Severity, state: SqlState, message: impl Into<String>) {
        let level = self.settings.get("client_min_messages").unwrap_or_default();
        let shown = match level.as_str() {
            "error" => false,
            "warning" => severity == Severity::Warning,
            _ => true,
        };
        if shown {
            self.notices.push(Notice { severity, state, message: message.into() });
        }
    }

    /// Passes a result on; an error fails the transaction.
    fn failing<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.fail_transaction();
        }
        result
    }

    /// A statement begins: what ended the last one is over, and its time limit starts.
    fn start_timing(&self) {
        self.cancel.reset();
        match &self.state {
            State::Idle => self.cancel.set_transaction_deadline(None),
            State::Active(active) => self.limit_transaction(active.began),
            // It stands as it did when the transaction failed.
            State::Failed { .. } => {}
        }
        if let Some(limit) = self.settings.limit("statement_timeout") {
            self.cancel.set_timeout(Some(limit));
        }
    }

    /// A transaction that began at this time of the monotonic clock may go on for as long as the settings say.
    fn limit_transaction(&self, began: Duration) {
        let limit = self.settings.limit("transaction_timeout");
        self.cancel.set_transaction_deadline(limit.map(|limit| began.saturating_add(limit)));
    }

    /// For how long the session may wait for its client's next statement, and the error with which it ends then.
    pub fn idle_limit(&self) -> Option<(Duration, Error)> {
        if self.transaction_status() == TransactionStatus::Idle {
            let error =
                || Error::new(SqlState::IDLE_SESSION_TIMEOUT, "terminating connection due to idle-session timeout");
            return self.settings.limit("idle_session_timeout").map(|limit| (limit, error()));
        }
        let idle = self.settings.limit("idle_in_transaction_session_timeout").map(|limit| {
            let message = "terminating connection due to idle-in-transaction timeout";
            (limit, Error::new(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, message))
        });
        let whole = self.cancel.transaction_time_left().map(|left| (left, transaction_timeout()));
        idle.into_iter().chain(whole).min_by_key(|(limit, _)| *limit)
    }

    fn now_us(&self) -> i64 {
        self.db.shared.engine.env().clock.now_us()
    }

    fn commit_meta(&self) -> CommitMeta {
        let text = |name: &'static str| Some(self.settings.raw(name).to_owned()).filter(|text| !text.is_empty());
        CommitMeta {
            user: self.client.user.clone(),
            application: text("application_name").unwrap_or_default(),
            client: self.client.address.clone().unwrap_or_default(),
            comment: text("driftdb.comment"),
            txid: self.txid.to_keep(),
        }
    }

    /// The transaction in progress, begun now if there is none. 25P02 in a failed one.
    fn ensure_transaction(&mut self) -> Result<&mut Active> {
        if let State::Idle = self.state {
            let defaults = Characteristics {
                level: self.settings.default_isolation(),
                read_only: self.settings.raw("default_transaction_read_only") == "on",
                deferrable: self.settings.raw("default_transaction_deferrable") == "on",
                as_of: None,
            };
            self.start(defaults, false);
        }
        match &mut self.state {
            State::Active(active) => Ok(active),
            _ => Err(Error::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
        }
    }
}
