//! PREPARE, EXECUTE and DEALLOCATE as SQL.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Expr;
use driftdb_types::{DataType, Error, Result, SqlState};

use super::Session;
use crate::outcome::{Outcome, ResultColumn};
use crate::parse::PrepareStatement;
use crate::session::Prepared;

/// A statement made with PREPARE.
pub(super) struct NamedStatement {
    pub(super) prepared: Prepared,
}

impl Session {
    pub(super) fn prepare_named(&mut self, prepare: &PrepareStatement) -> Result<Outcome> {
        if self.statements.contains_key(&prepare.name) {
            let message = format!("prepared statement \"{}\" already exists", prepare.name);
            return Err(Error::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        let types: Vec<Option<DataType>> = prepare.types.iter().copied().map(Some).collect();
        let prepared = self.prepare_statement(&prepare.statement, &types)?;
        self.statements.insert(prepare.name.clone(), NamedStatement { prepared });
        Ok(Outcome::command("PREPARE"))
    }

    /// Evaluates the arguments and runs the statement.
    pub(super) fn execute_named(
        &mut self,
        name: &str,
        arguments: &[Expr],
    ) -> Result<Outcome> {
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
