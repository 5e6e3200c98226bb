//! RETURNING.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Expr, SelectItem};
use driftdb_types::{DataType, Error, Result, Value};

use super::expressions::{Computed, Part};
use crate::outcome::{Outcome, ResultColumn, RowStream, RowsTag};
use crate::parse::name_of;
use crate::point::{Compiler, ParamTypes, Scope, compile_items};
use crate::query::is_hidden_column;
use crate::read::QueryContext;
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
        for item in items {
            refuse_hidden(item, scope)?;
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
}

/// The hidden columns say what a commit made of a row: there is no commit yet.
fn refuse_hidden(item: &SelectItem, scope: &Scope) -> Result<()> {
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { return Ok(()) };
    let idents = match expr {
        Expr::Identifier(ident) => std::slice::from_ref(ident),
        Expr::CompoundIdentifier(idents) => idents.as_slice(),
        _ => return Ok(()),
    };
    match idents.last().map(name_of) {
        Some(name) if is_hidden_column(&name) && scope.find(idents).is_none() => {
            Err(Error::unsupported(format!("{name} in RETURNING")))
        }
        _ => Ok(()),
    }
}

/// What a statement did: how many rows, and those that RETURNING looks at.
pub(super) struct Written {
    pub(super) count: u64,
    pub(super) rows: Vec<Vec<Value>>,
    /// What subqueries in RETURNING read.
    before: Option<QueryContext>,
}

impl Written {
    /// Nothing yet: before the statement's first write.
    pub(super) fn new(exec: &Exec<'_>, returning: Option<&Returning>) -> Written {
        let before = returning.and_then(|returning| returning.computed.before(exec));
        Written { count: 0, rows: Vec::new(), before }
    }

    /// The statement's outcome.
    pub(super) fn outcome(self, exec: &Exec<'_>, returning: Option<&Returning>, tag: RowsTag) -> Result<Outcome> {
        match returning {
            None => Ok(Outcome::command(tag.text(self.count))),
            Some(returning) => {
                let rows = returning.computed.eval(exec, self.before.as_ref(), &self.rows)?;
                Ok(Outcome::Rows(RowStream::ready(Arc::clone(&returning.columns), rows, tag)))
            }
        }
    }
}
