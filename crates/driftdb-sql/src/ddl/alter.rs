//! ALTER TABLE.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Expr, Ident, visit_expressions};
use driftdb_engine::IndexDefinition;
use driftdb_types::{Column, Error, Result, SqlState, TableSchema, TimeZone, format_value};

use super::create::{column, column_id, key_of};
use super::{new_column_name, new_name};
use crate::dml::{check_default, default_value};
use crate::outcome::Outcome;
use crate::parse::{AlterOperation, AlterTable, KeyConstraint, NewColumn, Source, name_of, parse_expression};
use crate::query::is_volatile;
use crate::session::{Exec, Run};

pub(super) fn alter_table(exec: &mut Exec<'_>, source: &Source, alter: &AlterTable) -> Run<Outcome> {
    exec.check_writable("ALTER TABLE")?;
    let catalog = exec.catalog();
    let Some(found) = catalog.table(&alter.table.name) else {
        if alter.if_exists {
            let message = format!("relation \"{}\" does not exist, skipping", alter.table.name);
            exec.notice(SqlState::SUCCESS, message);
            return Ok(Outcome::command("ALTER TABLE"));
        }
        return Err(alter.table.undefined(source).into());
    };
    let mut table = Arc::clone(found);
    for operation in &alter.operations {
        table = alter_one(exec, table, operation)?;
    }
    Ok(Outcome::command("ALTER TABLE"))
}

fn alter_one(exec: &mut Exec<'_>, table: Arc<TableSchema>, operation: &AlterOperation) -> Run<Arc<TableSchema>> {
    let mut schema = table.as_ref().clone();
    match operation {
        AlterOperation::AddColumn { column, if_not_exists, keys } => {
            return add_column(exec, &table, column, *if_not_exists, keys);
        }
        AlterOperation::DropColumn { name, if_exists } => return drop_column(exec, table, name, *if_exists),
        AlterOperation::RenameColumn { from, to } => {
            let to = new_column_name(to)?;
            if schema.column(&to).is_some() {
                let message = format!("column \"{to}\" of relation \"{}\" already exists", table.name);
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).into());
            }
            named_column(&mut schema, from)?.name = to;
        }
        AlterOperation::RenameTable { to } => {
            schema.name = new_name(to)?;
            // The engine looks at others' names; the table's own indexes have names too.
            if exec.catalog().object_named(&schema.name).is_some() {
                let message = format!("relation \"{}\" already exists", schema.name);
                return Err(Error::new(SqlState::DUPLICATE_TABLE, message).into());
            }
        }
        AlterOperation::AddKey(key) => return add_key(exec, &table, key),
        AlterOperation::DropConstraint { name, if_exists } => return drop_constraint(exec, table, name, *if_exists),
        AlterOperation::SetNotNull(name) => named_column(&mut schema, name)?.not_null = true,
        AlterOperation::DropNotNull(name) => {
            let column = named_column(&mut schema, name)?;
            column.not_null = false;
            let id = column.id;
            if schema.primary_key.as_ref().is_some_and(|key| key.columns.contains(&id)) {
                let message = format!("column \"{}\" is in a primary key", name_of(name));
                return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message).into());
            }
        }
        AlterOperation::SetDefault(name, text) => {
            let column = named_column(&mut schema, name)?;
            column.default = Some(text.clone());
            check_default(exec, column)?;
        }
        AlterOperation::DropDefault(name) => named_column(&mut schema, name)?.default = None,
    }
    exec.txn.put_table(table.id, schema)
}

fn undefined_column(table: &str, name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" of relation \"{table}\" does not exist"))
}

fn named_column<'t>(schema: &'t mut TableSchema, ident: &Ident) -> Result<&'t mut Column> {
    let name = name_of(ident);
    let table = schema.name.clone();
    schema
        .columns
        .iter_mut()
        .find(|column| !column.dropped && column.name == name)
        .ok_or_else(|| undefined_column(&table, &name))
}

fn add_column(
    exec: &mut Exec<'_>,
    table: &Arc<TableSchema>,
    new: &NewColumn,
    if_not_exists: bool,
    keys: &[KeyConstraint],
) -> Run<Arc<TableSchema>> {
    let name = name_of(&new.name);
    if table.column(&name).is_some() {
        let message = format!("column \"{name}\" of relation \"{}\" already exists", table.name);
        if if_not_exists {
            exec.notice(SqlState::DUPLICATE_COLUMN, format!("{message}, skipping"));
            return Ok(Arc::clone(table));
        }
        return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).into());
    }
    let mut column = column(exec, column_id(table.columns.len())?, new)?;
    if let Some(function) = column.default.as_deref().map(volatile_call).transpose()?.flatten() {
        let what = format!("ADD COLUMN with a default of {function}(), which gives each row a value of its own,");
        return Err(Error::unsupported(what)
            .hint("Add the column without a default, fill it with UPDATE, then set the default.")
            .into());
    }
    // Rows that are there take the default's value of now; it is kept beside the column, and no row is rewritten.
    let value = default_value(exec, &column)?;
    if !value.is_null() {
        column.missing = Some(format_value(&value, column.data_type, &TimeZone::utc()));
    }
    let mut schema = table.as_ref().clone();
    schema.columns.push(column);
    let mut table = exec.txn.put_table(table.id, schema)?;
    for key in keys {
        table = add_key(exec, &table, key)?;
    }
    Ok(table)
}

/// The first function in an expression that gives something else each time.
fn volatile_call(default: &str) -> Result<Option<String>> {
    let found = visit_expressions(&parse_expression(default)?, |part| {
        if let Expr::Function(function) = part
            && let Some(name) = function.name.0.last().and_then(|part| part.as_ident()).map(name_of)
            && is_volatile(&name)
        {
            return ControlFlow::Break(name);
        }
        ControlFlow::Continue(())
    });
    Ok(found.break_value())
}

fn drop_column(
    exec: &mut Exec<'_>,
    mut table: Arc<TableSchema>,
    ident: &Ident,
    if_exists: bool,
) -> Run<Arc<TableSchema>> {
    let name = name_of(ident);
    let Some(id) = table.column(&name).map(|column| column.id) else {
        if if_exists {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist, skipping", table.name);
            exec.notice(SqlState::SUCCESS, message);
            return Ok(table);
        }
        return Err(undefined_column(&table.name, &name).into());
    };
    let orders_rows = table.is_clustered() && table.primary_key.as_ref().is_some_and(|key| key.columns.contains(&id));
    if orders_rows {
        let what = format!("dropping column \"{name}\", which is in the primary key of \"{}\",", table.name);
        return Err(Error::unsupported(what).into());
    }
    // As in PostgreSQL, the indexes and constraints that have the column go with it.
    let indexes: Vec<_> =
        table.indexes.iter().filter(|index| index.columns.contains(&id)).map(|index| index.id).collect();
    for index in indexes {
        table = exec.txn.drop_index(table.id, index)?;
    }
    let mut schema = table.as_ref().clone();
    let column = named_column(&mut schema, ident)?;
    column.dropped = true;
    column.not_null = false;
    exec.txn.put_table(table.id, schema)
}

fn add_key(exec: &mut Exec<'_>, table: &Arc<TableSchema>, key: &KeyConstraint) -> Run<Arc<TableSchema>> {
    let (name, columns) = key_of(exec, table, key, &[])?;
    if key.primary {
        return exec.txn.add_primary_key(table.id, &name, &columns);
    }
    exec.txn.create_index(table.id, IndexDefinition { name, columns, unique: true, constraint: true })
}

fn drop_constraint(
    exec: &mut Exec<'_>,
    table: Arc<TableSchema>,
    ident: &Ident,
    if_exists: bool,
) -> Run<Arc<TableSchema>> {
    let name = name_of(ident);
    if table.is_clustered() && table.primary_key.as_ref().is_some_and(|key| key.name == name) {
        let what = format!("dropping the primary key with which \"{}\" was created", table.name);
        return Err(Error::unsupported(what).into());
    }
    if let Some(index) = table.indexes.iter().find(|index| index.constraint && index.name == name) {
        return exec.txn.drop_index(table.id, index.id);
    }
    let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name);
    if if_exists {
        exec.notice(SqlState::SUCCESS, format!("{message}, skipping"));
        return Ok(table);
    }
    Err(Error::new(SqlState::UNDEFINED_OBJECT, message).into())
}
