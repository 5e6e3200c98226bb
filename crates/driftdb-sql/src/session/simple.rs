//! The simple protocol: a query string, whose statements share one implicit transaction.

use std::collections::VecDeque;

use driftdb_types::Result;

use super::{Session, State};
use crate::outcome::Outcome;
use crate::parse::Statement;

/// A query string on its way. Call [`SimpleQuery::next`] until it gives `None` or an error; between calls consume the
/// outcome: read the rows, finish the copy.
///
/// All statements are parsed before the first one runs. Without BEGIN they are one transaction, committed at the end:
/// a statement that writes and is the last is answered only after that commit.
#[derive(Debug)]
pub struct SimpleQuery {
    sql: Option<String>,
    statements: VecDeque<Statement>,
    ended: bool,
}

impl SimpleQuery {
    pub(super) fn new(sql: &str) -> SimpleQuery {
        SimpleQuery { sql: Some(sql.to_owned()), statements: VecDeque::new(), ended: false }
    }

    /// Runs the next statement. After an error the transaction has failed and nothing more runs.
    pub fn next(&mut self, session: &mut Session) -> Result<Option<Outcome>> {
        if self.ended {
            return Ok(None);
        }
        let step = self.step(session);
        match &step {
            Ok(Some(_)) => {}
            Ok(None) => self.ended = true,
            Err(_) => {
                self.ended = true;
                session.fail_transaction();
                session.end_implicit(false)?;
            }
        }
        step
    }

    fn step(&mut self, session: &mut Session) -> Result<Option<Outcome>> {
        if let Some(sql) = self.sql.take() {
            // Reading the rows of an earlier string may have failed after its last statement.
            if let State::Failed { block: false, .. } = session.state {
                session.end_implicit(false)?;
            }
            self.statements = session.parse(&sql)?.into();
            if self.statements.is_empty() {
                session.end_implicit(true)?;
                self.ended = true;
                return Ok(Some(Outcome::Empty));
            }
        }
        let Some(statement) = self.statements.pop_front() else {
            session.sync()?;
            return Ok(None);
        };
        if let State::Failed { block: false, .. } = session.state {
            // Reading the last outcome failed; the rest of the string is not run.
            session.end_implicit(false)?;
            return Ok(None);
        }
        session.start_timing();
        let mut outcome = session.run_statement(&statement)?;
        let last = self.statements.is_empty();
        match &mut outcome {
            Outcome::Rows(rows) if !rows.is_ready() => {}
            Outcome::CopyOut(_) => {}
            Outcome::CopyIn(copy) => copy.commits_at_end(last),
            _ if last => session.sync()?,
            _ => {}
        }
        Ok(Some(outcome))
    }
}
