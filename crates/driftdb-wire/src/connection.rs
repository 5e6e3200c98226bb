//! One connection from its first byte to its last: start, authentication, then message after message.
//!
//! ```text
//!   read_opening ─ Cancel ─→ deliver, close
//!        │ Session
//!   SCRAM ─→ place under the limit ─→ session ─→ parameters, key, ReadyForQuery
//!        │
//!   ┌─→ read a message ─→ act: simple (this file) · extended (extended.rs) · COPY (copy.rs)
//!   │         │ error in the extended protocol: say so at once, skip everything up to Sync
//!   └─────────┘ error elsewhere: ReadyForQuery at once;  fatal error: say so, close
//! ```
//!
//! Everything runs on the connection's own thread, and blocks there: reading, executing, writing (docs/adr/0004).

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftdb_engine::{Cancel, Charge};
use driftdb_sql::{Outcome, ResultColumn, RowStream, Session, SessionOptions, TransactionStatus};
use driftdb_types::{Error, Result, SqlState, Value};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, ReadyForQuery};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, SecretKey};

use crate::auth::Auth;
use crate::extended::{Portal, PreparedStatement};
use crate::frontend::{Frame, Message, decode, is_extended};
use crate::input::{Input, ReadError};
use crate::output::{Output, Severity};
use crate::registry::{CancelKey, Registration};
use crate::rows::{Formats, encode_row, row_description};
use crate::scram::{Exchange, MECHANISM};
use crate::server::Shared;
use crate::startup::{Opening, StartupRequest, read_opening};

/// What ends the handling of a message early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The statement failed; the connection goes on.
    Statement(Error),
    /// The connection ends, and the client is told why.
    Fatal(Error),
    /// The client is gone or has said goodbye.
    Gone,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Statement(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        tracing::debug!(%error, "a connection broke");
        Stop::Gone
    }
}

/// Serves a connection until it ends.
pub(crate) fn serve(stream: Arc<TcpStream>, peer: SocketAddr, registration: Registration, shared: &Shared) {
    let input = Input::new(Arc::clone(&stream), shared.options.message_bytes_max, Arc::clone(&shared.env.clock));
    let mut start = Start { input, output: Output::new(Arc::clone(&stream)), peer, registration, shared };
    let stopped = match start.open() {
        Ok(None) => return,
        Ok(Some(session)) => {
            let Start { input, output, registration, .. } = start;
            let mut connection = Connection::new(session, input, output, registration);
            let stopped = connection.run();
            let Connection { mut session, input, output, registration, .. } = connection;
            // Before the entry goes, so that no session outlives the server's shutdown.
            session.abandon();
            drop(session);
            finish(stopped, input, output, &stream);
            drop(registration);
            return;
        }
        Err(stopped) => stopped,
    };
    let Start { input, output, registration, .. } = start;
    finish(stopped, input, output, &stream);
    drop(registration);
}

/// Tells the client why the connection ends, if there is something to tell, and closes it.
fn finish(stopped: Stop, mut input: Input, mut output: Output, stream: &TcpStream) {
    let (Stop::Fatal(error) | Stop::Statement(error)) = stopped else { return };
    let told = output.error(Severity::Fatal, &error).and_then(|()| output.flush());
    if told.and_then(|()| stream.shutdown(Shutdown::Write)).is_ok() {
        input.drain();
    }
}

/// A connection before it has a session.
struct Start<'a> {
    input: Input,
    output: Output,
    peer: SocketAddr,
    registration: Registration,
    shared: &'a Shared,
}

impl Start<'_> {
    /// Brings the connection to its session; `None` if it wanted none.
    fn open(&mut self) -> Result<Option<Session>, Stop> {
        let shutting_down = || Stop::Fatal(cannot_connect_now());
        // Until it has a session the connection only ever waits for its client: shutting down need not wait for it.
        if !self.registration.begin_wait() {
            return Err(shutting_down());
        }
        let timeout = Some(self.shared.options.startup_timeout);
        self.input.set_deadline(timeout)?;
        self.output.set_timeout(timeout)?;
        let request = match self.input_opening()? {
            Opening::Session(request) => request,
            Opening::Cancel(key) => {
                self.registration.registry().cancel(&key);
                return Ok(None);
            }
        };
        if self.registration.registry().is_stopping() {
            return Err(shutting_down());
        }
        self.negotiate(&request)?;
        self.authenticate(&request.user).map_err(|stopped| match stopped {
            Stop::Gone if self.registration.was_let_go() => Stop::Fatal(too_many_clients()),
            stopped => stopped,
        })?;
        // Only who has proved who they are counts against the limit of sessions.
        if !self.registration.take_place(self.shared.options.max_connections) {
            return Err(Stop::Fatal(too_many_clients()));
        }
        self.output.send(&Authentication::Ok)?;
        let session = self.begin_session(&request)?;
        self.input.set_deadline(None)?;
        self.input.begin_session(self.shared.db.engine().clone());
        self.output.set_timeout(None)?;
        self.registration.end_wait();
        Ok(Some(session))
    }

    fn input_opening(&mut self) -> Result<Opening, Stop> {
        let opening = read_opening(&mut self.input, &self.output);
        opening.map_err(before_session)
    }

    /// Tells a client that speaks a newer protocol, or options of it that are unknown here, what is spoken.
    fn negotiate(&mut self, request: &StartupRequest) -> Result<(), Stop> {
        let spoken = request.minor_spoken();
        if spoken != request.minor_version || !request.unknown_options.is_empty() {
            let version = (3 << 16) | i32::from(spoken);
            self.output.send(&NegotiateProtocolVersion::new(version, request.unknown_options.clone()))?;
        }
        Ok(())
    }

    fn authenticate(&mut self, user: &str) -> Result<(), Stop> {
        if let Auth::Scram(credentials) = &self.shared.options.auth {
            let verifier = credentials.verifier(user, &*self.shared.env.rand);
            self.output.send(&Authentication::SASL(vec![MECHANISM.to_owned()]))?;
            self.output.flush()?;
            let (exchange, data) = Exchange::begin(self.answer()?, &verifier).map_err(Stop::Fatal)?;
            self.output.send(&Authentication::SASLContinue(data))?;
            self.output.flush()?;
            let Some(data) = exchange.finish(&self.answer()?).map_err(Stop::Fatal)? else {
                tracing::info!(user, peer = %self.peer, "password authentication failed");
                let message = format!("password authentication failed for user \"{user}\"");
                return Err(Stop::Fatal(Error::new(SqlState::INVALID_PASSWORD, message)));
            };
            self.output.send(&Authentication::SASLFinal(data))?;
        }
        Ok(())
    }

    /// The body of the client's next message, which must be an authentication answer.
    fn answer(&mut self) -> Result<Bytes, Stop> {
        self.input.answer().map_err(before_session)
    }

    fn begin_session(&mut self, request: &StartupRequest) -> Result<Session, Stop> {
        let options = SessionOptions {
            user: request.user.clone(),
            application: request.application.clone(),
            client: Some(self.peer.to_string()),
            database: request.database.clone(),
            backend_pid: self.registration.pid(),
            settings: request.settings.clone(),
        };
        let session = self.shared.db.session(options).map_err(Stop::Fatal)?;
        for (name, value) in session.reported_parameters() {
            self.output.parameter(&name, &value)?;
        }
        let long_secret = request.minor_spoken() >= 2;
        let CancelKey { pid, secret } =
            self.registration.open(session.cancel_handle(), &*self.shared.env.rand, long_secret);
        self.output.send(&BackendKeyData::new(pid, SecretKey::Bytes(Bytes::from(secret))))?;
        Ok(session)
    }
}

fn before_session(error: ReadError) -> Stop {
    match error {
        ReadError::Gone => Stop::Gone,
        ReadError::TimedOut => {
            Stop::Fatal(Error::new(SqlState::QUERY_CANCELED, "canceling authentication due to timeout"))
        }
        ReadError::Malformed(error) => Stop::Fatal(error),
    }
}

/// A connection with its session.
pub(crate) struct Connection {
    pub(crate) session: Session,
    pub(crate) input: Input,
    pub(crate) output: Output,
    registration: Registration,
    pub(crate) cancel: Arc<Cancel>,
    /// The session keeps those with names, as SQL reaches them too.
    pub(crate) unnamed: Option<PreparedStatement>,
    /// Names under which Parse has put the empty statement.
    pub(crate) empty: HashSet<String>,
    pub(crate) portals: HashMap<String, Portal>,
    /// For the message that is being acted on.
    pub(crate) charge: Option<Charge>,
    /// Messages of the extended protocol have come since the last ReadyForQuery.
    in_batch: bool,
    /// One of them failed: the rest is skipped.
    skip_until_sync: bool,
}

impl Connection {
    fn new(session: Session, input: Input, output: Output, registration: Registration) -> Connection {
        let cancel = session.cancel_handle();
        Connection {
            session,
            input,
            output,
            registration,
            cancel,
            unnamed: None,
            empty: HashSet::new(),
            portals: HashMap::new(),
            charge: None,
            in_batch: false,
            skip_until_sync: false,
        }
    }

    /// Answers messages until the connection ends; gives why.
    fn run(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.ready_then_batch() {
                return stop;
            }
        }
    }

    /// From a ReadyForQuery to what makes the next one due.
    fn ready_then_batch(&mut self) -> Result<(), Stop> {
        self.ready()?;
        loop {
            self.charge = None;
            let mut frame = self.next_frame()?;
            let tag = frame.tag;
            self.charge = frame.charge.take();
            if self.skip_until_sync && !matches!(tag, b'S' | b'X') {
                continue;
            }
            self.in_batch |= is_extended(tag);
            let ended = match decode(frame).map_err(Stop::Statement).and_then(|message| self.act(message)) {
                Ok(ended) => ended,
                // What runs when the grace of a shutdown is over is cancelled, but by nobody's request.
                Err(Stop::Statement(error))
                    if error.state == SqlState::QUERY_CANCELED && self.registration.registry().is_cancelling() =>
                {
                    return Err(Stop::Fatal(shutting_down()));
                }
                Err(Stop::Statement(error)) if error.state == SqlState::TRANSACTION_TIMEOUT => {
                    return Err(Stop::Fatal(error));
                }
                Err(Stop::Statement(error)) => {
                    self.skip_until_sync = is_extended(tag) && tag != b'S';
                    self.failed(&error)?;
                    !self.skip_until_sync
                }
                Err(stop) => return Err(stop),
            };
            if ended {
                return Ok(());
            }
        }
    }

    /// Reports a failed statement and lets the session know, which ends an implicit transaction now unless there is
    /// a Sync to come for that.
    fn failed(&mut self, error: &Error) -> Result<(), Stop> {
        self.portals.clear();
        self.session.fail();
        if !self.skip_until_sync
            && let Err(error) = self.session.sync()
        {
            tracing::warn!(%error, "a failed transaction could not be ended");
        }
        self.send_notices()?;
        self.output.error(Severity::Error, error)?;
        // A client that sent Flush and no Sync yet waits for this, and a Flush that follows is skipped.
        if self.skip_until_sync {
            self.output.flush()?;
        }
        Ok(())
    }

    /// Says that the next message may come, and writes out everything.
    fn ready(&mut self) -> Result<(), Stop> {
        self.in_batch = false;
        self.skip_until_sync = false;
        self.send_notices()?;
        for (name, value) in self.session.take_parameter_changes() {
            self.output.parameter(&name, &value)?;
        }
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => pgwire::messages::response::TransactionStatus::Idle,
            TransactionStatus::InTransaction => pgwire::messages::response::TransactionStatus::Transaction,
            TransactionStatus::Failed => pgwire::messages::response::TransactionStatus::Error,
        };
        if status == pgwire::messages::response::TransactionStatus::Idle {
            // A portal lives as long as its transaction.
            self.portals.clear();
        }
        self.output.send(&ReadyForQuery::new(status))?;
        self.output.flush()?;
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Frame, Stop> {
        let shutting_down = || Stop::Fatal(shutting_down());
        // What a client has sent up to its Sync is one piece of work: it is let finish if it is all here.
        let unfinished = self.in_batch && self.input.has_frame();
        if !self.registration.begin_wait() && !unfinished {
            return Err(shutting_down());
        }
        // Between messages of one batch nobody is idle.
        let limit = if self.in_batch { None } else { self.session.idle_limit() };
        let frame = self.frame_within(limit.as_ref().map(|(limit, _)| *limit));
        self.registration.end_wait();
        frame.map_err(|error| match error {
            ReadError::Gone if self.registration.registry().is_stopping() => shutting_down(),
            ReadError::Gone => Stop::Gone,
            ReadError::TimedOut => limit.map_or(Stop::Gone, |(_, error)| Stop::Fatal(error)),
            ReadError::Malformed(error) => Stop::Fatal(error),
        })
    }

    /// The next message. The socket is told of a limit only where there is one.
    fn frame_within(&mut self, limit: Option<Duration>) -> Result<Frame, ReadError> {
        if limit.is_none() {
            return self.input.frame();
        }
        self.input.set_deadline(limit)?;
        let frame = self.input.frame();
        self.input.set_deadline(None)?;
        frame
    }

    /// Acts on a message; true if ReadyForQuery is due.
    fn act(&mut self, message: Message) -> Result<bool, Stop> {
        match message {
            Message::Query(sql) => self.query(&sql).map(|()| true),
            Message::Parse { name, sql, param_oids } => self.parse(name, &sql, &param_oids).map(|()| false),
            Message::Bind(bind) => self.bind(bind).map(|()| false),
            Message::Describe(target) => self.describe(&target).map(|()| false),
            Message::Close(target) => self.close(&target).map(|()| false),
            Message::Execute { portal, rows_max } => self.execute(&portal, rows_max).map(|()| false),
            Message::Flush => self.output.flush().map(|()| false).map_err(Stop::from),
            Message::Sync => self.sync().map(|()| true),
            Message::Terminate => Err(Stop::Gone),
            // Left over from a COPY that failed while the client was still sending.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(false),
            Message::FunctionCall => Err(Error::unsupported("the function call message").into()),
            Message::Password => {
                let message = "an authentication message after authentication";
                Err(Stop::Fatal(Error::new(SqlState::PROTOCOL_VIOLATION, message)))
            }
        }
    }

    /// The simple protocol: all statements of the text, one after the other.
    fn query(&mut self, sql: &str) -> Result<(), Stop> {
        self.unnamed = None;
        self.portals.remove("");
        let mut query = self.session.simple_query(sql);
        while let Some(outcome) = query.next(&mut self.session)? {
            self.answer_outcome(outcome, &Formats::TEXT, true)?;
        }
        Ok(())
    }

    /// Sends an outcome whole. In the simple protocol rows are described before they come; in the extended one that
    /// is Describe's part.
    pub(crate) fn answer_outcome(&mut self, outcome: Outcome, formats: &Formats, describe: bool) -> Result<(), Stop> {
        match outcome {
            Outcome::Rows(mut rows) => {
                if describe {
                    let columns = Arc::clone(rows.columns());
                    self.output.send(&row_description(&columns, formats))?;
                }
                let count = self.send_all_rows(&mut rows, formats)?;
                self.complete(rows.tag(count))
            }
            Outcome::Command { tag } => self.complete(tag),
            Outcome::CopyIn(copy) => self.copy_in(copy),
            Outcome::CopyOut(copy) => self.copy_out(copy),
            Outcome::Empty => Ok(self.output.send(&EmptyQueryResponse::new())?),
        }
    }

    fn send_all_rows(&mut self, rows: &mut RowStream, formats: &Formats) -> Result<u64, Stop> {
        let columns = Arc::clone(rows.columns());
        let mut count = 0;
        while let Some(batch) = rows.next_batch()? {
            for row in &batch {
                self.send_row(&columns, formats, row)?;
                count += 1;
            }
        }
        Ok(count)
    }

    pub(crate) fn send_row(&mut self, columns: &[ResultColumn], formats: &Formats, row: &[Value]) -> Result<(), Stop> {
        encode_row(self.output.buffer(), columns, formats, row, self.session.time_zone())?;
        Ok(self.output.flush_if_full()?)
    }

    pub(crate) fn complete(&mut self, tag: String) -> Result<(), Stop> {
        self.send_notices()?;
        Ok(self.output.send(&CommandComplete::new(tag))?)
    }

    pub(crate) fn send_notices(&mut self) -> Result<(), Stop> {
        for notice in self.session.take_notices() {
            self.output.notice(notice.severity.word(), notice.state.code(), &notice.message)?;
        }
        Ok(())
    }
}

fn too_many_clients() -> Error {
    Error::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
}

fn cannot_connect_now() -> Error {
    Error::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down")
}

/// What a client is told when the server shuts down.
pub(crate) fn shutting_down() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}
