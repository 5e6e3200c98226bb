//! INSERT … ON CONFLICT.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::sql::sqlparser::ast::{ConflictTarget, DoUpdate, OnConflict, OnConflictAction};
use driftdb_engine::{InsertOutcome, Isolation, LockWait, RowLock, StatementError};
use driftdb_types::{ColumnId, DataType, Error, Result, SqlState, TableSchema, Value, decode_row};
use parking_lot::Mutex;

use super::expressions::{Computed, Part};
use super::insert::{Cell, default_of};
use super::{assign, check_assignable, slot, target_column};
use crate::parse::{Source, name_of, set_columns};
use crate::point::{Compiler, ParamTypes, Scope};
use crate::read::QueryContext;
use crate::session::{Exec, Run};

/// Where a new value of SET comes from.
enum NewValue {
    /// A position among the computed expressions.
    Computed(usize),
    /// DEFAULT.
    Default(Option<Cell>),
}

struct Update {
    set: Vec<(ColumnId, DataType, NewValue)>,
    computed: Computed,
    /// Whether the last computed expression is WHERE's condition.
    filtered: bool,
}

/// What to do about a row whose key is taken.
pub(super) struct Conflict {
    /// The constraint that is meant; `None`: any.
    arbiter: Option<String>,
    /// `None`: DO NOTHING.
    update: Option<Update>,
    execution: Mutex<Execution>,
}

/// What belongs to one execution.
#[derive(Default)]
struct Execution {
    /// Rows it has inserted or updated, none of which it may touch twice.
    touched: HashSet<Bytes>,
    /// What subqueries in SET and WHERE read.
    before: Option<QueryContext>,
}

impl Conflict {
    pub(super) fn new(
        exec: &Exec<'_>,
        source: &Source,
        table: &Arc<TableSchema>,
        qualifier: &str,
        on: &OnConflict,
        types: &mut Vec<Option<DataType>>,
    ) -> Result<Conflict> {
        let OnConflict { conflict_target, action } = on;
        let arbiter = conflict_target.as_ref().map(|target| arbiter(source, table, target)).transpose()?;
        let update = match action {
            OnConflictAction::DoNothing => None,
            OnConflictAction::DoUpdate(_) if arbiter.is_none() => {
                let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).hint("For example, ON CONFLICT (column_name)."));
            }
            OnConflictAction::DoUpdate(update) => Some(plan_update(exec, source, table, qualifier, update, types)?),
        };
        Ok(Conflict { arbiter, update, execution: Mutex::default() })
    }

    /// A new execution begins.
    pub(super) fn begin(&self, exec: &Exec<'_>) {
        let before = self.update.as_ref().and_then(|update| update.computed.before(exec));
        *self.execution.lock() = Execution { touched: HashSet::new(), before };
    }

    /// Inserts a row, or does what is to be done instead. Gives the row as stored, or `None` when nothing was.
    pub(super) fn insert(
        &self,
        exec: &mut Exec<'_>,
        table: &Arc<TableSchema>,
        row: Vec<Value>,
    ) -> Run<Option<Vec<Value>>> {
        let key = match exec.txn.insert_row_unless(table, row.clone(), self.arbiter.as_deref()) {
            Err(error) => return Err(super::refused(exec, table, &row, error).into()),
            Ok(InsertOutcome::Inserted { key }) => {
                if self.update.is_some() {
                    self.execution.lock().touched.insert(key);
                }
                return Ok(Some(row));
            }
            Ok(InsertOutcome::Conflict { constraint, key }) => {
                if self.arbiter.as_ref().is_some_and(|arbiter| *arbiter != constraint) {
                    return Err(super::taken(exec, table, &constraint, &row).into());
                }
                key
            }
        };
        let Some(update) = &self.update else { return Ok(None) };
        if self.execution.lock().touched.contains(&key) {
            let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
            return Err(Error::new(SqlState::CARDINALITY_VIOLATION, message)
                .hint(
                    "Ensure that no rows proposed for insertion within the same command have duplicate constrained \
                     values.",
                )
                .into());
        }
        let mode = super::lock_mode(table, update.set.iter().map(|(column, ..)| *column));
        if exec.txn.lock_row(table, &key, mode, LockWait::Wait)? != RowLock::Unchanged {
            return Err(StatementError::Restart);
        }
        let Some(found) = exec.txn.get(table.id, &key)? else {
            // The other row is newer than the snapshot.
            return Err(match exec.txn.isolation() {
                Isolation::ReadCommitted => StatementError::Restart,
                Isolation::RepeatableRead | Isolation::Serializable => {
                    Error::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
                        .into()
                }
            });
        };
        let old = decode_row(table, &found.payload).map_err(Error::from)?;
        let before = self.execution.lock().before.clone();
        match update.apply(exec, before.as_ref(), &old, row)? {
            None => Ok(None),
            Some(new) => {
                let key = super::update_row(exec, table, &key, &old, new.clone())?;
                self.execution.lock().touched.insert(key);
                Ok(Some(new))
            }
        }
    }
}

impl Update {
    /// The new row; `None` when WHERE does not hold.
    fn apply(
        &self,
        exec: &Exec<'_>,
        before: Option<&QueryContext>,
        old: &[Value],
        excluded: Vec<Value>,
    ) -> Result<Option<Vec<Value>>> {
        let mut both = old.to_vec();
        both.extend(excluded);
        let computed = self.computed.eval(exec, before, &[both])?.pop().unwrap_or_default();
        if self.filtered && computed.last() != Some(&Value::Bool(true)) {
            return Ok(None);
        }
        let mut new = old.to_vec();
        for (column, data_type, value) in &self.set {
            let value = match value {
                NewValue::Computed(position) => {
                    assign(computed.get(*position).cloned().unwrap_or(Value::Null), *data_type, exec.time_zone())?
                }
                NewValue::Default(Some(cell)) => cell.value(exec, *data_type)?,
                NewValue::Default(None) => Value::Null,
            };
            *slot(&mut new, *column)? = value;
        }
        Ok(Some(new))
    }
}

/// The constraint that the target names, or that has exactly the named columns.
fn arbiter(source: &Source, table: &TableSchema, target: &ConflictTarget) -> Result<String> {
    let constraints = || {
        let primary = table.primary_key.iter().map(|key| (&key.name, &key.columns));
        primary.chain(table.indexes.iter().filter(|index| index.unique).map(|index| (&index.name, &index.columns)))
    };
    match target {
        ConflictTarget::Columns(idents) => {
            let mut wanted = HashSet::new();
            for ident in idents {
                wanted.insert(target_column(source, table, ident)?.id);
            }
            let same = |columns: &Vec<ColumnId>| columns.iter().copied().collect::<HashSet<_>>() == wanted;
            constraints().find(|(_, columns)| same(columns)).map(|(name, _)| name.clone()).ok_or_else(|| {
                Error::new(
                    SqlState::INVALID_COLUMN_REFERENCE,
                    "there is no unique or exclusion constraint matching the ON CONFLICT specification",
                )
            })
        }
        ConflictTarget::OnConstraint(object) => {
            let name = object.0.last().and_then(|part| part.as_ident()).map(name_of).unwrap_or_default();
            constraints().find(|(known, _)| **known == name).map(|(name, _)| name.clone()).ok_or_else(|| {
                Error::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("constraint \"{name}\" for table \"{}\" does not exist", table.name),
                )
            })
        }
    }
}

fn plan_update(
    exec: &Exec<'_>,
    source: &Source,
    table: &Arc<TableSchema>,
    qualifier: &str,
    update: &DoUpdate,
    types: &mut Vec<Option<DataType>>,
) -> Result<Update> {
    let DoUpdate { assignments, selection } = update;
    let mut scope = Scope::table(table, qualifier);
    scope.add_table(table, "excluded", false);
    let mut set: Vec<(ColumnId, DataType, NewValue)> = Vec::new();
    let mut exprs = Vec::new();
    for assignment in set_columns(source, assignments.clone())? {
        let column = target_column(source, table, &assignment.column)?;
        if set.iter().any(|(known, ..)| *known == column.id) {
            let message = format!("multiple assignments to same column \"{}\"", column.name);
            return Err(source.locate(Error::new(SqlState::SYNTAX_ERROR, message), &assignment.column));
        }
        let value = match assignment.value {
            None => NewValue::Default(default_of(exec, column)?),
            Some(expr) => {
                exprs.push((expr, column));
                NewValue::Computed(exprs.len() - 1)
            }
        };
        set.push((column.id, column.data_type, value));
    }
    let mut compiler = Compiler::new(&scope, ParamTypes(types.clone()), exec.time_zone());
    let mut scalars = Some(Vec::new());
    for (expr, column) in &exprs {
        scalars = scalars.zip(compiler.assigned(expr, column.data_type)).map(|(mut all, scalar)| {
            all.push(scalar);
            all
        });
    }
    if let Some(selection) = selection {
        scalars = scalars.zip(compiler.condition(selection)).map(|(mut all, scalar)| {
            all.push(scalar);
            all
        });
    }
    let filtered = selection.is_some();
    if let Some(scalars) = scalars {
        *types = compiler.params.0;
        return Ok(Update { set, computed: Computed::Compiled(scalars), filtered });
    }
    let mut list = Vec::new();
    for (expr, column) in &exprs {
        list.push(super::typed_for(expr.clone(), column.data_type, types)?.to_string());
    }
    list.extend(selection.iter().map(ToString::to_string));
    let parts = vec![
        Part { alias: qualifier.to_owned(), table: Arc::clone(table), offset: 0 },
        Part { alias: "excluded".to_owned(), table: Arc::clone(table), offset: table.columns.len() },
    ];
    let computed = Computed::general(exec, &list.join(", "), parts, types)?;
    if let Computed::General { planned, .. } = &computed {
        for ((_, column), result) in exprs.iter().zip(planned.columns.iter()) {
            check_assignable(column, result.data_type)?;
        }
    }
    Ok(Update { set, computed, filtered })
}
