//! Prepared statements with names, which the extended protocol's Parse shares with PREPARE, EXECUTE and DEALLOCATE.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Expr;
use driftdb_engine::Charge;
use driftdb_types::{DataType, Error, Result, SqlState};

use super::Session;
use crate::outcome::{Outcome, ResultColumn};
use crate::parse::PrepareStatement;
use crate::session::Prepared;

/// Most named statements of a session: who forgets to deallocate them gets an error, not the server's memory.
const NAMED_MAX: usize = 10_000;

/// A statement with a name.
pub(super) struct NamedStatement {
    pub(super) prepared: Prepared,
    _charge: Charge,
}

impl Session {
    /// Keeps a statement under a name that EXECUTE and DEALLOCATE know too. 42P05 when the name is taken, 54000 when
    /// there are too many, 53200 when all transactions' memory has no room for it.
    pub fn keep_prepared(&mut self, name: &str, prepared: Prepared) -> Result<()> {
        self.check_new_name(name)?;
        let charge = self.db.engine().charge(prepared.memory_bytes())?;
        self.statements.insert(name.to_owned(), NamedStatement { prepared, _charge: charge });
        Ok(())
    }

    /// The statement kept under a name, by [`Session::keep_prepared`] or PREPARE. 26000 when there is none.
    pub fn kept_prepared(&self, name: &str) -> Result<Prepared> {
        self.named(name)
    }

    /// Forgets the statement of that name, if there is one.
    pub fn drop_prepared(&mut self, name: &str) {
        self.statements.remove(name);
    }

    fn check_new_name(&self, name: &str) -> Result<()> {
        if self.statements.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        if self.statements.len() >= NAMED_MAX {
            let message = format!("too many prepared statements: at most {NAMED_MAX} are kept");
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
                .hint("Deallocate those that are not used any more."));
        }
        Ok(())
    }

    pub(super) fn prepare_named(&mut self, prepare: &PrepareStatement) -> Result<Outcome> {
        self.check_new_name(&prepare.name)?;
        let types: Vec<Option<DataType>> = prepare.types.iter().copied().map(Some).collect();
        let prepared = self.prepare_statement(&prepare.statement, &types, &[])?;
        self.keep_prepared(&prepare.name, prepared)?;
        Ok(Outcome::command("PREPARE"))
    }

    /// Evaluates the arguments and runs the statement.
    pub(super) fn execute_named(&mut self, name: &str, arguments: &[Expr]) -> Result<Outcome> {
        let prepared = self.named(name)?;
        let wanted = prepared.params().to_vec();
        if wanted.len() != arguments.len() {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .detail(format!("Expected {} parameters but got {}.", wanted.len(), arguments.len())));
        }
        self.begin_statement()?;
        let exec = self.exec(&[])?;
        let context = exec.context();
        let mut params = Vec::with_capacity(wanted.len());
        for (argument, data_type) in arguments.iter().zip(wanted) {
            params.push(crate::dml::assigned_constant(&context, argument, data_type)?);
        }
        self.execute_prepared(&prepared, &params)
    }

    fn named(&self, name: &str) -> Result<Prepared> {
        match self.statements.get(name) {
            Some(named) => Ok(named.prepared.clone()),
            None => Err(Error::new(
                SqlState::UNDEFINED_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" does not exist"),
            )),
        }
    }

    /// The columns EXECUTE gives.
    pub(super) fn named_columns(&self, name: &str) -> Result<Option<Arc<[ResultColumn]>>> {
        Ok(self.named(name)?.columns())
    }

    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<Outcome> {
        match name {
            None => {
                self.statements.clear();
                Ok(Outcome::command("DEALLOCATE ALL"))
            }
            Some(name) => {
                self.named(name)?;
                self.statements.remove(name);
                Ok(Outcome::command("DEALLOCATE"))
            }
        }
    }
}
