//! Running one statement.

use std::sync::Arc;

use driftdb_engine::{Cancel, Catalog, Engine, SessionLocks, SessionTxid, StatementError, Transaction};
use driftdb_types::{CommitSeq, Error, Result, SqlState, TimeZone, Value};

use super::plan::{Plan, Planned};
use super::{Active, Prepared, Session, State};
use crate::ddl;
use crate::outcome::{Notice, Outcome, RowStream, RowsTag, Severity};
use crate::parse::{ExplainStatement, Kind, Statement};
use crate::point::scalar::Env;
use crate::query::{self, QueryRuntime};
use crate::read::{Client, QueryContext, ReadState};
use crate::settings::Settings;

/// The result of a step that may ask for the statement to run again on a newer snapshot.
pub(crate) type Run<T> = Result<T, StatementError>;

/// One statement in execution (or in planning): its transaction and what it needs of the session.
pub(crate) struct Exec<'a> {
    pub(crate) txn: &'a mut Transaction,
    pub(crate) engine: &'a Engine,
    runtime: &'a Arc<QueryRuntime>,
    pub(crate) settings: &'a Arc<Settings>,
    pub(crate) cancel: &'a Arc<Cancel>,
    locks: &'a Arc<SessionLocks>,
    txid: &'a Arc<SessionTxid>,
    client: &'a Arc<Client>,
    /// The read point for tables without a clause of their own.
    pub(crate) system_time: Option<CommitSeq>,
    began_us: i64,
    statement_us: i64,
    pub(crate) params: &'a [Value],
    pub(crate) notices: Vec<Notice>,
}

impl Exec<'_> {
    /// The tables of now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.txn.catalog()
    }

    pub(crate) fn time_zone(&self) -> &TimeZone {
        self.settings.time_zone()
    }

    /// What a query of this statement reads and needs.
    pub(crate) fn context(&self) -> QueryContext {
        let snapshot = self.txn.view();
        QueryContext {
            runtime: Arc::clone(self.runtime),
            read: ReadState {
                engine: self.engine.clone(),
                reader: self.txn.reader(),
                view: match self.system_time {
                    Some(seq) => self.engine.view_as_of(snapshot, seq),
                    None => Arc::clone(snapshot),
                },
                catalog: self.txn.catalog(),
                system_time: self.system_time,
            },
            settings: Arc::clone(self.settings),
            cancel: Arc::clone(self.cancel),
            locks: Arc::clone(self.locks),
            txid: Arc::clone(self.txid),
            client: Arc::clone(self.client),
            statement_time_us: self.statement_us,
            transaction_time_us: self.began_us,
            row_keys: false,
            inputs: Vec::new(),
        }
    }

    /// The context of a query that also reads the keys of rows.
    pub(crate) fn row_key_context(&self) -> QueryContext {
        QueryContext { row_keys: true, ..self.context() }
    }

    /// What a compiled expression needs beside its row.
    pub(crate) fn env(&self) -> Env<'_> {
        Env {
            params: self.params,
            tz: self.settings.time_zone(),
            transaction_us: self.began_us,
            statement_us: self.statement_us,
        }
    }

    /// The clock at the statement's begin.
    pub(crate) fn now_us(&self) -> i64 {
        self.statement_us
    }

    /// 25006 where writing is not possible.
    pub(crate) fn check_writable(&self, what: &str) -> Result<()> {
        if self.system_time.is_some() {
            return Err(Error::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {what} while reading as of a point in the past"),
            )
            .hint("SET driftdb.system_time = DEFAULT returns to the present."));
        }
        if self.txn.read_only() {
            let message = format!("cannot execute {what} in a read-only transaction");
            return Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    pub(crate) fn notice(&mut self, state: SqlState, message: impl Into<String>) {
        self.notices.push(Notice { severity: Severity::Notice, state, message: message.into() });
    }
}

impl Session {
    /// Takes the statement's snapshot.
    pub(super) fn begin_statement(&mut self) -> Result<()> {
        self.ensure_transaction()?.txn.begin_statement()
    }

    /// The statement's view of the session. The transaction must have begun a statement.
    pub(super) fn exec<'a>(&'a mut self, params: &'a [Value]) -> Result<Exec<'a>> {
        let system_time = self.system_time()?;
        let statement_us = self.now_us();
        let lock_timeout = self.settings.limit("lock_timeout");
        let State::Active(active) = &mut self.state else {
            return Err(Error::internal("a statement runs outside of a transaction"));
        };
        let Active { txn, began_us, .. } = active.as_mut();
        txn.set_lock_timeout(lock_timeout);
        Ok(Exec {
            txn,
            engine: &self.db.shared.engine,
            runtime: &self.db.shared.runtime,
            settings: &self.settings,
            cancel: &self.cancel,
            locks: &self.locks,
            txid: &self.txid,
            client: &self.client,
            system_time,
            began_us: *began_us,
            statement_us,
            params,
            notices: Vec::new(),
        })
    }

    /// Runs `step` on a fresh snapshot, and again on a newer one whenever it asks for that. Locks stay from one time to
    /// the next, so that it gets further each time.
    pub(super) fn statement<T>(
        &mut self,
        params: &[Value],
        mut step: impl FnMut(&mut Exec<'_>) -> Run<T>,
    ) -> Result<T> {
        loop {
            self.begin_statement()?;
            let mut exec = self.exec(params)?;
            let before = exec.txn.savepoint();
            match step(&mut exec) {
                Ok(done) => {
                    let notices = std::mem::take(&mut exec.notices);
                    for notice in notices {
                        self.notice(notice.severity, notice.state, notice.message);
                    }
                    return Ok(done);
                }
                Err(StatementError::Restart) => {
                    exec.txn.restart_from(&before);
                    exec.cancel.check()?;
                }
                Err(StatementError::Error(error)) => return Err(error),
            }
        }
    }

    /// Runs a statement of the simple protocol.
    pub(super) fn run_statement(&mut self, statement: &Statement) -> Result<Outcome> {
        if statement.parameters() > 0 {
            return Err(Error::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        if !statement.kind().is_planned() {
            return self.command(statement);
        }
        let prepared = self.prepare_statement(statement, &[], &[])?;
        self.execute_prepared(&prepared, &[])
    }

    pub(super) fn execute_prepared(&mut self, prepared: &Prepared, params: &[Value]) -> Result<Outcome> {
        let statement = prepared.statement();
        if !statement.kind().is_planned() {
            return self.command(statement);
        }
        if params.len() != prepared.params().len() {
            return Err(Error::new(
                SqlState::PROTOCOL_VIOLATION,
                format!("the statement takes {} parameters but {} were given", prepared.params().len(), params.len()),
            ));
        }
        if let Kind::Erase(_) = statement.kind() {
            return self.erase(prepared, params);
        }
        self.statement(params, |exec| {
            let planned = prepared.planned(exec)?;
            run_planned(exec, statement, statement.kind(), &planned)
        })
    }

    /// Statements without a plan.
    fn command(&mut self, statement: &Statement) -> Result<Outcome> {
        match statement.kind() {
            Kind::Begin { tag, modes } => self.begin(tag, modes),
            Kind::Commit { chain } => self.commit(*chain),
            Kind::Rollback { chain } => self.rollback(*chain),
            Kind::Savepoint(name) => self.savepoint(name),
            Kind::Release(name) => self.release(name),
            Kind::RollbackTo(name) => self.rollback_to(name),
            Kind::SetTransaction { modes, session } => self.set_transaction(modes, *session),
            Kind::Set { local, name, value } => self.set(*local, name, value.as_deref()),
            Kind::Reset(name) => self.set(false, name, None).map(|_| Outcome::command("RESET")),
            Kind::ResetAll => self.reset_all(),
            Kind::Nothing(tag) => {
                self.ensure_transaction()?;
                Ok(Outcome::command(*tag))
            }
            Kind::Show(name) => self.show(name),
            Kind::ShowAll => self.show_all(),
            Kind::Discard(tag) => self.discard(tag),
            Kind::Prepare(prepare) => self.prepare_named(prepare),
            Kind::Execute { name, arguments } => self.execute_named(name, arguments),
            Kind::Deallocate(name) => self.deallocate(name.as_deref()),
            Kind::Copy(copy) => self.copy(statement, copy),
            Kind::Checkpoint => {
                self.ensure_transaction()?;
                self.db.shared.engine.store().flush().map_err(Error::from)?;
                Ok(Outcome::command("CHECKPOINT"))
            }
            Kind::Maintain { tag, names } => {
                if *tag == "VACUUM" {
                    self.check_no_block("VACUUM")?;
                }
                self.begin_statement()?;
                let exec = self.exec(&[])?;
                for name in names {
                    if exec.catalog().table(&name.name).is_none() {
                        return Err(name.undefined(statement.source()));
                    }
                }
                Ok(Outcome::command(*tag))
            }
            _ => self.statement(&[], |exec| ddl::run(exec, statement)),
        }
    }
}

impl Session {
    /// 25001 within a transaction block.
    fn check_no_block(&self, what: &str) -> Result<()> {
        match &self.state {
            State::Active(active) if active.block => Err(Error::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                format!("{what} cannot run inside a transaction block"),
            )),
            _ => Ok(()),
        }
    }

    /// ERASE commits by itself, and waits for the snapshots of all others: it is the only statement of its transaction.
    fn erase(&mut self, prepared: &Prepared, params: &[Value]) -> Result<Outcome> {
        self.check_no_block("ERASE")?;
        if matches!(&self.state, State::Active(active) if active.txn.has_writes()) {
            let message = "ERASE cannot run together with other statements that write";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let (table, (keys, _charge)) = self.statement(params, |exec| {
            exec.check_writable("ERASE")?;
            match &prepared.planned(exec)?.plan {
                Plan::Erase(plan) => Ok((Arc::clone(plan.table()), plan.keys(exec)?)),
                _ => Err(Error::internal("ERASE without its plan").into()),
            }
        })?;
        let meta = self.commit_meta();
        self.end_implicit(false)?;
        let certificate = self.db.shared.engine.erase(&table, &keys, &meta, &self.cancel)?;
        Ok(Outcome::command(format!("ERASE {}", certificate.rows)))
    }
}

fn run_planned(exec: &mut Exec<'_>, statement: &Statement, kind: &Kind, planned: &Planned) -> Run<Outcome> {
    match &planned.plan {
        Plan::Command | Plan::Erase(_) => Err(Error::internal("a command was planned as a query").into()),
        Plan::Point(point) => match point.run(exec)? {
            Some(rows) => Ok(Outcome::Rows(rows)),
            None => {
                let Kind::Query(query) = kind else {
                    return Err(Error::internal("a point plan of something else than a query").into());
                };
                let types: Vec<_> = planned.params.iter().copied().map(Some).collect();
                let general = query::plan_query(&exec.context(), &query.query, &types)?;
                if !super::plan::same_shape(Some(&general.columns), planned.columns.as_ref()) {
                    return Err(super::plan::changed_shape().into());
                }
                Ok(Outcome::Rows(query::run_query(&exec.context(), &general, exec.params)?))
            }
        },
        Plan::Query(query) => Ok(Outcome::Rows(query::run_query(&exec.context(), query, exec.params)?)),
        Plan::Locking(plan) => plan.run(exec),
        Plan::Insert(plan) => plan.run(exec),
        Plan::Update(plan) => plan.run(exec),
        Plan::Delete(plan) => plan.run(exec),
        Plan::Explain(inner) => {
            let (Kind::Explain(explain), Some(columns)) = (kind, &planned.columns) else {
                return Err(Error::internal("EXPLAIN without its statement").into());
            };
            let lines = explain_planned(exec, statement, explain, inner)?;
            let rows = lines.into_iter().map(|line| vec![Value::Text(line)]).collect();
            Ok(Outcome::Rows(RowStream::ready(Arc::clone(columns), rows, RowsTag::Fixed("EXPLAIN"))))
        }
    }
}

fn explain_planned(
    exec: &mut Exec<'_>,
    statement: &Statement,
    explain: &ExplainStatement,
    planned: &Planned,
) -> Run<Vec<String>> {
    let ExplainStatement { options, statement: kind } = explain;
    if let (Plan::Query(_), Kind::Query(query)) = (&planned.plan, kind) {
        return Ok(query::explain(&exec.context(), &query.query, options, exec.params)?);
    }
    let mut lines = match &planned.plan {
        Plan::Point(point) => point.explain(),
        Plan::Locking(plan) => plan.explain(exec)?,
        Plan::Insert(plan) => plan.explain(exec)?,
        Plan::Update(plan) => plan.explain(exec)?,
        Plan::Delete(plan) => plan.explain(exec)?,
        Plan::Command | Plan::Erase(_) | Plan::Explain(_) | Plan::Query(_) => Vec::new(),
    };
    if options.analyze {
        let clock = Arc::clone(&exec.engine.env().clock);
        let began = clock.monotonic();
        let rows = match run_planned(exec, statement, kind, planned)? {
            Outcome::Rows(rows) => rows.collect()?.len().to_string(),
            Outcome::Command { tag } => tag.rsplit(' ').next().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        if let Some(first) = lines.first_mut() {
            first.push_str(&format!(" (actual rows={rows})"));
        }
        let took = clock.monotonic().saturating_sub(began);
        lines.push(format!("Execution Time: {:.3} ms", took.as_secs_f64() * 1000.0));
    }
    Ok(lines)
}
