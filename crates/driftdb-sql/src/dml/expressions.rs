//! Lists of expressions over rows that a statement holds: compiled, or, where that does not cover them, as a query over
//! those rows.

use std::sync::Arc;

use driftdb_types::{DataType, Error, Result, TableSchema, Value};

use crate::parse;
use crate::point::scalar::Scalar;
use crate::query::{self, PlannedQuery};
use crate::read::{InputRows, QueryContext};
use crate::session::Exec;

/// A relation of the row: its name in expressions, its table, and where its values begin.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) alias: String,
    pub(super) table: Arc<TableSchema>,
    pub(super) offset: usize,
}

impl Part {
    fn input_name(&self) -> String {
        format!("__{}_rows", self.offset)
    }

    fn columns(&self) -> Vec<(String, DataType)> {
        self.table.live_columns().map(|column| (column.name.clone(), column.data_type)).collect()
    }

    fn rows(&self, rows: &[Vec<Value>]) -> Vec<Vec<Value>> {
        let one = |row: &Vec<Value>| {
            self.table
                .live_columns()
                .map(|column| row.get(self.offset + usize::from(column.id.0)).cloned().unwrap_or(Value::Null))
                .collect()
        };
        rows.iter().map(one).collect()
    }
}

/// How a list of expressions is computed.
pub(super) enum Computed {
    Compiled(Vec<Scalar>),
    General { planned: PlannedQuery, parts: Vec<Part> },
}

impl Computed {
    /// Plans `list`, the text of a select list, over the parts.
    pub(super) fn general(
        exec: &Exec<'_>,
        list: &str,
        parts: Vec<Part>,
        types: &mut [Option<DataType>],
    ) -> Result<Computed> {
        let from: Vec<String> = parts
            .iter()
            .map(|part| format!("\"{}\" AS \"{}\"", part.input_name(), part.alias.replace('"', "\"\"")))
            .collect();
        let query = parse::parse_query(&format!("SELECT {list} FROM {}", from.join(" CROSS JOIN ")))?;
        let mut context = exec.context();
        context.inputs = inputs(&parts, &[]);
        let planned = super::plan_within(&context, &query, types)?;
        Ok(Computed::General { planned, parts })
    }

    /// What subqueries in the expressions read: the tables as the statement finds them, before it writes.
    pub(super) fn before(&self, exec: &Exec<'_>) -> Option<QueryContext> {
        match self {
            Computed::Compiled(_) => None,
            Computed::General { .. } => Some(exec.context()),
        }
    }

    /// The values for each row. `before` is what [`Computed::before`] gave when the statement began.
    pub(super) fn eval(
        &self,
        exec: &Exec<'_>,
        before: Option<&QueryContext>,
        rows: &[Vec<Value>],
    ) -> Result<Vec<Vec<Value>>> {
        match self {
            Computed::Compiled(scalars) => {
                let env = exec.env();
                rows.iter().map(|row| scalars.iter().map(|scalar| scalar.eval(row, &env)).collect()).collect()
            }
            // With several relations each row is a query of its own, or they would be joined across rows.
            Computed::General { planned, parts } if parts.len() > 1 => {
                let mut all = Vec::with_capacity(rows.len());
                for row in rows {
                    all.extend(run(exec, before, planned, parts, std::slice::from_ref(row))?);
                }
                Ok(all)
            }
            Computed::General { planned, parts } => run(exec, before, planned, parts, rows),
        }
    }
}

fn inputs(parts: &[Part], rows: &[Vec<Value>]) -> Vec<Arc<InputRows>> {
    let input =
        |part: &Part| Arc::new(InputRows { name: part.input_name(), columns: part.columns(), rows: part.rows(rows) });
    parts.iter().map(input).collect()
}

fn run(
    exec: &Exec<'_>,
    before: Option<&QueryContext>,
    planned: &PlannedQuery,
    parts: &[Part],
    rows: &[Vec<Value>],
) -> Result<Vec<Vec<Value>>> {
    let mut context = before.cloned().ok_or_else(|| Error::internal("a statement began without its snapshot"))?;
    context.inputs = inputs(parts, rows);
    let results = query::run_query(&context, planned, super::params_of(planned, exec.params))?.collect()?;
    if results.len() != rows.len() {
        let message = format!("expressions over {} rows gave {} results", rows.len(), results.len());
        return Err(Error::internal(message));
    }
    Ok(results)
}
