//! RETURNING.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::SelectItem;
use driftdb_types::{DataType, Error, Result, Value};

use super::expressions::{Computed, Part};
use crate::outcome::{Outcome, ResultColumn, RowStream, RowsTag};
use crate::point::{Compiler, ParamTypes, Scope, compile_items};
use crate::session::Exec;

/// What a statement that writes gives back of each row.
pub(super) struct Returning {
    computed: Computed,
    pub(super) columns: Arc<[ResultColumn]>,
}

impl Returning {
    /// Over rows of the scope. `part` is the target, the first relation of the scope; `joined` says whether there are
    /// others, of FROM or USING.
    pub(super) fn new(
        exec: &Exec<'_>,
        items: &[SelectItem],
        scope: &Scope,
        part: Part,
        joined: bool,
        types: &mut Vec<Option<DataType>>,
    ) -> Result<Returning> {
        if joined && items.iter().any(|item| matches!(item, SelectItem::Wildcard(_))) {
            return Err(Error::unsupported("RETURNING * together with FROM or USING").hint("Name the columns."));
        }
        let mut compiler = Compiler::new(scope, ParamTypes(types.clone()), exec.time_zone());
        if let Some((scalars, columns)) = compile_items(&mut compiler, items) {
            *types = compiler.params.0;
            return Ok(Returning { computed: Computed::Compiled(scalars), columns: columns.into() });
        }
        if joined {
            return Err(Error::unsupported("this expression in RETURNING together with FROM or USING"));
        }
        let list: Vec<String> = items.iter().map(ToString::to_string).collect();
        let computed = Computed::general(exec, &list.join(", "), vec![part], types)?;
        let columns = match &computed {
            Computed::General { planned, .. } => Arc::clone(&planned.columns),
            Computed::Compiled(_) => Arc::from([]),
        };
        Ok(Returning { computed, columns })
    }

    fn rows(&self, exec: &Exec<'_>, rows: &[Vec<Value>]) -> Result<Vec<Vec<Value>>> {
        self.computed.eval(exec, rows)
    }
}

/// What a statement did: how many rows, and those that RETURNING looks at.
#[derive(Default)]
pub(super) struct Written {
    pub(super) count: u64,
    pub(super) rows: Vec<Vec<Value>>,
}

impl Written {
    /// The statement's outcome.
    pub(super) fn outcome(self, exec: &Exec<'_>, returning: Option<&Returning>, tag: RowsTag) -> Result<Outcome> {
        match returning {
            None => Ok(Outcome::command(tag.text(self.count))),
            Some(returning) => {
                let rows = returning.rows(exec, &self.rows)?;
                Ok(Outcome::Rows(RowStream::ready(Arc::clone(&returning.columns), rows, tag)))
            }
        }
    }
}
