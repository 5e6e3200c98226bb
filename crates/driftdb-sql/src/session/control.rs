//! BEGIN, COMMIT, ROLLBACK and savepoints.

use std::sync::Arc;

use driftdb_engine::TxnOptions;
use driftdb_types::{CommitSeq, Error, Result, SqlState};

use super::{Active, Characteristics, NamedSavepoint, Session, State};
use crate::outcome::{Outcome, Severity};
use crate::parse::TransactionModes;
use crate::system_time;

impl Session {
    /// Begins a transaction; none may be in progress.
    pub(super) fn start(&mut self, characteristics: Characteristics, block: bool) {
        let Characteristics { level, read_only, deferrable, as_of } = characteristics;
        let options = TxnOptions { isolation: level.isolation(), read_only };
        let txn = self.db.shared.engine.begin_in(&self.locks, options, Arc::clone(&self.cancel));
        let settings_before = Arc::clone(&self.lasting);
        let began_us = self.now_us();
        let began = self.db.shared.engine.env().clock.monotonic();
        self.limit_transaction(began);
        self.state = State::Active(Box::new(Active {
            txn,
            block,
            savepoints: Vec::new(),
            level,
            deferrable,
            settings_before,
            as_of,
            began_us,
            began,
        }));
    }

    pub(super) fn begin(&mut self, tag: &'static str, modes: &TransactionModes) -> Result<Outcome> {
        if matches!(&self.state, State::Active(active) if active.block) {
            let message = "there is already a transaction in progress";
            self.notice(Severity::Warning, SqlState::ACTIVE_SQL_TRANSACTION, message);
        }
        // Where the modes are wrong there is no block to end.
        self.set_modes(modes)?;
        self.ensure_transaction()?.block = true;
        Ok(Outcome::command(tag))
    }

    /// The modes of BEGIN or SET TRANSACTION.
    pub(super) fn set_modes(&mut self, modes: &TransactionModes) -> Result<()> {
        let TransactionModes { isolation, read_only, deferrable, as_of } = modes;
        let active = self.ensure_transaction()?;
        let begun = active.txn.has_begun();
        let level = isolation.unwrap_or(active.level);
        if begun && level != active.level {
            let message = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        if begun && active.txn.read_only() && *read_only == Some(false) {
            let message = "transaction read-write mode must be set before any query";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        if begun && deferrable.is_some_and(|deferrable| deferrable != active.deferrable) {
            let message = "SET TRANSACTION [NOT] DEFERRABLE must be called before any query";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let read_only = match (as_of, read_only) {
            (Some(_), Some(false)) => {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "AS OF needs READ ONLY: the past only reads"));
            }
            (Some(_), _) => true,
            (None, given) => given.unwrap_or(active.txn.read_only()),
        };
        active.level = level;
        active.deferrable = deferrable.unwrap_or(active.deferrable);
        active.txn.set_options(TxnOptions { isolation: level.isolation(), read_only });
        if let Some(point) = as_of {
            if begun {
                let message = "AS OF must be set before any query";
                return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
            }
            active.txn.begin_statement()?;
            let seq = system_time::resolve_as_of(&self.exec(&[])?.context(), point, &[])?;
            let active = self.ensure_transaction()?;
            active.as_of = Some(seq);
            // Whoever reads a state of the past goes on doing so until the end.
            active.txn.hold(seq);
        }
        Ok(())
    }

    /// The read point of statements without a clause of their own.
    pub(super) fn system_time(&mut self) -> Result<Option<CommitSeq>> {
        if self.settings.raw("driftdb.system_time").is_empty() {
            return Ok(self.ensure_transaction()?.as_of);
        }
        let text = self.settings.raw("driftdb.system_time").to_owned();
        let tz = self.settings.time_zone().clone();
        let active = self.ensure_transaction()?;
        if active.as_of.is_some() {
            return Ok(active.as_of);
        }
        if !active.txn.has_begun() {
            active.txn.begin_statement()?;
        }
        let engine = self.db.shared.engine.clone();
        let State::Active(active) = &self.state else { return Ok(None) };
        system_time::resolve_text(&engine, active.txn.view(), &text, &tz).map(Some)
    }

    pub(super) fn commit(&mut self, chain: bool) -> Result<Outcome> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                self.check_chain(chain, "COMMIT")?;
                self.warn_no_transaction();
                Ok(Outcome::command("COMMIT"))
            }
            State::Active(active) => {
                if !active.block {
                    self.check_chain(chain, "COMMIT")?;
                    self.warn_no_transaction();
                }
                let characteristics = active.characteristics();
                self.finish(*active)?;
                if chain {
                    self.start(characteristics, true);
                }
                Ok(Outcome::command("COMMIT"))
            }
            // PostgreSQL's COMMIT of a failed transaction rolls back and says so in the tag.
            State::Failed { settings_before, characteristics, kept, .. } => {
                self.back_to(settings_before);
                drop(kept);
                if chain {
                    self.start(characteristics, true);
                }
                Ok(Outcome::command("ROLLBACK"))
            }
        }
    }

    pub(super) fn rollback(&mut self, chain: bool) -> Result<Outcome> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                self.check_chain(chain, "ROLLBACK")?;
                self.warn_no_transaction();
            }
            State::Active(active) => {
                if !active.block {
                    self.check_chain(chain, "ROLLBACK")?;
                    self.warn_no_transaction();
                }
                let characteristics = active.characteristics();
                self.back_to(Arc::clone(&active.settings_before));
                active.txn.rollback();
                if chain {
                    self.start(characteristics, true);
                }
            }
            State::Failed { settings_before, characteristics, kept, .. } => {
                self.back_to(settings_before);
                drop(kept);
                if chain {
                    self.start(characteristics, true);
                }
            }
        }
        Ok(Outcome::command("ROLLBACK"))
    }

    fn check_chain(&self, chain: bool, what: &str) -> Result<()> {
        match chain {
            true => Err(Error::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                format!("{what} AND CHAIN can only be used in transaction blocks"),
            )),
            false => Ok(()),
        }
    }

    fn warn_no_transaction(&mut self) {
        let message = "there is no transaction in progress";
        self.notice(Severity::Warning, SqlState::NO_ACTIVE_SQL_TRANSACTION, message);
    }

    /// Commits; settings made with SET stay, those made with SET LOCAL go.
    fn finish(&mut self, active: Active) -> Result<()> {
        let meta = self.commit_meta();
        let before = Arc::clone(&active.settings_before);
        let committed = active.txn.commit(&meta);
        // Not before: until now it was not decided.
        self.txid.end();
        match committed {
            Ok(_) => {
                self.settings = Arc::clone(&self.lasting);
                Ok(())
            }
            Err(error) => {
                self.back_to(before);
                Err(error)
            }
        }
    }

    fn back_to(&mut self, settings: Arc<crate::settings::Settings>) {
        self.lasting = Arc::clone(&settings);
        self.settings = settings;
        self.txid.end();
    }

    /// Ends an implicit transaction; a block stays.
    pub(super) fn end_implicit(&mut self, commit: bool) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Active(active) if !active.block => match commit {
                true => self.finish(*active),
                false => {
                    self.back_to(Arc::clone(&active.settings_before));
                    Ok(())
                }
            },
            State::Failed { block: false, settings_before, .. } => {
                self.back_to(settings_before);
                Ok(())
            }
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// After an error. Without savepoints nothing can come back, so that locks go at once.
    pub(super) fn fail_transaction(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => State::Idle,
            State::Active(active) => {
                let block = active.block;
                let settings_before = Arc::clone(&active.settings_before);
                let characteristics = active.characteristics();
                let kept = if active.savepoints.is_empty() { None } else { Some(active) };
                State::Failed { block, settings_before, characteristics, kept }
            }
            failed => failed,
        };
    }

    /// Rolls back whatever there is.
    pub(super) fn abort(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            State::Active(active) => self.back_to(active.settings_before),
            State::Failed { settings_before, .. } => self.back_to(settings_before),
        }
    }

    fn block(&mut self, what: &str) -> Result<&mut Active> {
        match &mut self.state {
            State::Active(active) if active.block => Ok(active),
            State::Failed { block: true, .. } => Err(Error::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            _ => Err(Error::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                format!("{what} can only be used in transaction blocks"),
            )),
        }
    }

    pub(super) fn savepoint(&mut self, name: &str) -> Result<Outcome> {
        let (settings, lasting) = (Arc::clone(&self.settings), Arc::clone(&self.lasting));
        let active = self.block("SAVEPOINT")?;
        let at = active.txn.savepoint();
        active.savepoints.push(NamedSavepoint { name: name.to_owned(), at, settings, lasting });
        Ok(Outcome::command("SAVEPOINT"))
    }

    pub(super) fn release(&mut self, name: &str) -> Result<Outcome> {
        let active = self.block("RELEASE SAVEPOINT")?;
        let index = find(&active.savepoints, name)?;
        active.savepoints.truncate(index);
        Ok(Outcome::command("RELEASE"))
    }

    pub(super) fn rollback_to(&mut self, name: &str) -> Result<Outcome> {
        let (mut active, failed) = match std::mem::replace(&mut self.state, State::Idle) {
            State::Active(active) if active.block => (active, false),
            State::Failed { block: true, settings_before, characteristics, kept } => match kept {
                Some(active) => (active, true),
                None => {
                    self.state = State::Failed { block: true, settings_before, characteristics, kept: None };
                    return Err(unknown_savepoint(name));
                }
            },
            other => {
                self.state = other;
                return self.block("ROLLBACK TO SAVEPOINT").map(|_| Outcome::Empty);
            }
        };
        let index = match find(&active.savepoints, name) {
            Ok(index) => index,
            Err(error) => {
                let settings_before = Arc::clone(&active.settings_before);
                let characteristics = active.characteristics();
                self.state = match failed {
                    true => State::Failed { block: true, settings_before, characteristics, kept: Some(active) },
                    false => State::Active(active),
                };
                return Err(error);
            }
        };
        if let Some(savepoint) = active.savepoints.get(index) {
            active.txn.rollback_to(&savepoint.at);
            self.settings = Arc::clone(&savepoint.settings);
            self.lasting = Arc::clone(&savepoint.lasting);
        }
        active.savepoints.truncate(index + 1);
        self.state = State::Active(active);
        Ok(Outcome::command("ROLLBACK"))
    }
}

fn find(savepoints: &[NamedSavepoint], name: &str) -> Result<usize> {
    savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or_else(|| unknown_savepoint(name))
}

fn unknown_savepoint(name: &str) -> Error {
    Error::new(SqlState::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
}
