//! SET, RESET, SHOW and DISCARD.

use std::sync::Arc;

use driftdb_types::{DataType, Error, Result, SqlState, Value};

use super::{Session, State};
use crate::outcome::{Outcome, ResultColumn, RowStream, RowsTag, Severity};
use crate::parse::{IsolationLevel, TransactionModes};
use crate::settings::truth;
use crate::system_time;

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

impl Session {
    pub(super) fn set(&mut self, local: bool, name: &str, value: Option<&str>) -> Result<Outcome> {
        match name {
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {
                return self.set_transaction_setting(name, value);
            }
            _ => {}
        }
        // Whether inside a block: outside, SET LOCAL lasts as long as this very statement.
        let in_block = match &self.state {
            State::Active(active) => active.block,
            _ => false,
        };
        self.ensure_transaction()?;
        let default = match value {
            Some(_) => None,
            None => Some(self.start.show(name)?),
        };
        let is_point = name.eq_ignore_ascii_case("driftdb.system_time");
        let fixed = match value {
            Some(text) if is_point => {
                Some(system_time::fixed(&self.db.shared.engine, text, self.settings.time_zone())?)
            }
            _ => None,
        };
        let value = fixed.as_deref().or(value).or(default.as_deref());
        let mut settings = self.settings.as_ref().clone();
        settings.set(name, value)?;
        let before = std::mem::replace(&mut self.settings, Arc::new(settings));
        if is_point && let Err(error) = self.system_time() {
            self.settings = before;
            return Err(error);
        }
        if !local {
            let mut lasting = self.lasting.as_ref().clone();
            lasting.set(name, value)?;
            self.lasting = Arc::new(lasting);
        } else if !in_block {
            let message = "SET LOCAL can only be used in transaction blocks";
            self.notice(Severity::Warning, SqlState::NO_ACTIVE_SQL_TRANSACTION, message);
        }
        Ok(Outcome::command("SET"))
    }

    /// The settings that are the transaction's own.
    fn set_transaction_setting(&mut self, name: &str, value: Option<&str>) -> Result<Outcome> {
        let value = value.unwrap_or_default().to_ascii_lowercase();
        let mut modes = TransactionModes::default();
        match (name, IsolationLevel::named(&value), truth(&value)) {
            ("transaction_isolation", Some(level), _) => modes.isolation = Some(level),
            ("transaction_read_only", _, Some(on)) => modes.read_only = Some(on),
            ("transaction_deferrable", _, Some(on)) => modes.deferrable = Some(on),
            _ => {
                return Err(Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("invalid value for parameter \"{name}\": \"{value}\""),
                ));
            }
        }
        self.set_modes(&modes)?;
        Ok(Outcome::command("SET"))
    }

    pub(super) fn set_transaction(&mut self, modes: &TransactionModes, session: bool) -> Result<Outcome> {
        if session {
            if modes.as_of.is_some() {
                return Err(Error::unsupported("AS OF in SET SESSION CHARACTERISTICS")
                    .hint("SET driftdb.system_time does that."));
            }
            if let Some(level) = modes.isolation {
                self.set(false, "default_transaction_isolation", Some(level.name()))?;
            }
            if let Some(read_only) = modes.read_only {
                self.set(false, "default_transaction_read_only", Some(on_or_off(read_only)))?;
            }
            if let Some(deferrable) = modes.deferrable {
                self.set(false, "default_transaction_deferrable", Some(on_or_off(deferrable)))?;
            }
            return Ok(Outcome::command("SET"));
        }
        match &self.state {
            State::Active(active) if active.block => self.set_modes(modes)?,
            _ => {
                self.ensure_transaction()?;
                let message = "SET TRANSACTION can only be used in transaction blocks";
                self.notice(Severity::Warning, SqlState::NO_ACTIVE_SQL_TRANSACTION, message);
            }
        }
        Ok(Outcome::command("SET"))
    }

    pub(super) fn reset_all(&mut self) -> Result<Outcome> {
        self.ensure_transaction()?;
        self.settings = Arc::clone(&self.start);
        self.lasting = Arc::clone(&self.start);
        Ok(Outcome::command("RESET"))
    }

    pub(super) fn shown_setting(&self, name: &str) -> Result<String> {
        match (&self.state, name.to_ascii_lowercase().as_str()) {
            (State::Active(active), "transaction_isolation") => Ok(active.level.name().to_owned()),
            (State::Active(active), "transaction_read_only") => {
                Ok(on_or_off(active.txn.read_only() || active.as_of.is_some()).to_owned())
            }
            (State::Active(active), "transaction_deferrable") => Ok(on_or_off(active.deferrable).to_owned()),
            _ => self.settings.show(name),
        }
    }

    pub(super) fn show(&mut self, name: &str) -> Result<Outcome> {
        self.ensure_transaction()?;
        let value = self.shown_setting(name)?;
        let columns: Arc<[ResultColumn]> = Arc::from([self.show_column(name)]);
        Ok(Outcome::Rows(RowStream::ready(columns, vec![vec![Value::Text(value)]], RowsTag::Fixed("SHOW"))))
    }

    /// The column of SHOW, under the setting's name as it is written.
    pub(super) fn show_column(&self, name: &str) -> ResultColumn {
        let all = self.settings.all();
        let shown = all.iter().map(|(shown, ..)| *shown).find(|shown| shown.eq_ignore_ascii_case(name));
        ResultColumn::new(shown.unwrap_or(name), DataType::Text)
    }

    pub(super) fn show_all(&mut self) -> Result<Outcome> {
        self.ensure_transaction()?;
        let columns: Arc<[ResultColumn]> =
            ["name", "setting", "description"].map(|name| ResultColumn::new(name, DataType::Text)).into();
        let rows = self
            .settings
            .all()
            .into_iter()
            .map(|(name, _, description)| {
                let value = self.shown_setting(name)?;
                Ok([name.to_owned(), value, description.to_owned()].map(Value::Text).into())
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Outcome::Rows(RowStream::ready(columns, rows, RowsTag::Fixed("SHOW"))))
    }

    pub(super) fn discard(&mut self, tag: &'static str) -> Result<Outcome> {
        if tag == "DISCARD ALL" {
            if let State::Active(active) = &self.state
                && active.block
            {
                let message = "DISCARD ALL cannot run inside a transaction block";
                return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
            }
            self.reset_all()?;
            self.statements.clear();
            self.locks.unlock_all();
        }
        Ok(Outcome::command(tag))
    }
}
