//! CREATE TABLE, CREATE TABLE AS and CREATE INDEX.

use datafusion::sql::sqlparser::ast::Ident;
use driftdb_engine::IndexDefinition;
use driftdb_types::{Column, ColumnId, Error, IndexSchema, PrimaryKey, Result, SqlState, TableSchema, TreeId, Value};

use super::{check_name, free_name, key_columns, new_column_name, new_name};
use crate::dml::{check_default, insert_plain};
use crate::outcome::Outcome;
use crate::parse::{CreateIndex, CreateTable, CreateTableAs, KeyConstraint, NewColumn, Source, TableName, name_of};
use crate::query;
use crate::session::{Exec, Run};

/// Whether the name is taken: with IF NOT EXISTS that is said, else it is an error.
fn is_taken(exec: &mut Exec<'_>, table: &TableName, if_not_exists: bool) -> Result<bool> {
    check_name(&table.name)?;
    if exec.catalog().object_named(&table.name).is_none() {
        return Ok(false);
    }
    let message = format!("relation \"{}\" already exists", table.name);
    if !if_not_exists {
        return Err(Error::new(SqlState::DUPLICATE_TABLE, message));
    }
    exec.notice(SqlState::DUPLICATE_TABLE, format!("{message}, skipping"));
    Ok(true)
}

/// A column's definition from its syntax.
pub(super) fn column(exec: &Exec<'_>, id: ColumnId, new: &NewColumn) -> Result<Column> {
    let column = Column {
        id,
        name: new_column_name(&new.name)?,
        data_type: new.data_type,
        not_null: new.not_null,
        default: new.default.clone(),
        missing: None,
        dropped: false,
    };
    check_default(exec, &column)?;
    Ok(column)
}

pub(super) fn column_id(position: usize) -> Result<ColumnId> {
    u16::try_from(position)
        .map(ColumnId)
        .map_err(|_| Error::new(SqlState::TOO_MANY_COLUMNS, "a table has too many columns"))
}

pub(super) fn create_table(exec: &mut Exec<'_>, create: &CreateTable) -> Run<Outcome> {
    exec.check_writable("CREATE TABLE")?;
    if is_taken(exec, &create.table, create.if_not_exists)? {
        return Ok(Outcome::command("CREATE TABLE"));
    }
    let mut columns = Vec::with_capacity(create.columns.len());
    for (position, new) in create.columns.iter().enumerate() {
        columns.push(column(exec, column_id(position)?, new)?);
    }
    let name = create.table.name.clone();
    let mut schema = TableSchema {
        id: TreeId(0),
        name: name.clone(),
        version: 0,
        columns,
        primary_key: None,
        indexes: Vec::new(),
        options: create.options.clone(),
        retention: None,
    };
    let mut taken = vec![name.clone()];
    for key in &create.keys {
        let (constraint, ids) = key_of(exec, &schema, key, &taken)?;
        taken.push(constraint.clone());
        if key.primary {
            if schema.primary_key.is_some() {
                let message = format!("multiple primary keys for table \"{name}\" are not allowed");
                return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message).into());
            }
            schema.primary_key = Some(PrimaryKey { name: constraint, columns: ids, index: None });
        } else {
            schema.indexes.push(IndexSchema {
                id: TreeId(0),
                name: constraint,
                columns: ids,
                unique: true,
                constraint: true,
            });
        }
    }
    exec.txn.create_table(schema)?;
    Ok(Outcome::command("CREATE TABLE"))
}

/// The name and columns of a key constraint.
pub(super) fn key_of(
    exec: &Exec<'_>,
    schema: &TableSchema,
    key: &KeyConstraint,
    taken: &[String],
) -> Result<(String, Vec<ColumnId>)> {
    let ids = key_columns(&schema.columns, &key.columns, "key")?;
    let name = match &key.name {
        Some(name) => new_name(name)?,
        None if key.primary => free_name(exec, taken, &[&schema.name], "pkey"),
        None => {
            let names: Vec<String> = key.columns.iter().map(name_of).collect();
            let parts: Vec<&str> =
                std::iter::once(schema.name.as_str()).chain(names.iter().map(String::as_str)).collect();
            free_name(exec, taken, &parts, "key")
        }
    };
    Ok((name, ids))
}

pub(super) fn create_table_as(exec: &mut Exec<'_>, create: &CreateTableAs) -> Run<Outcome> {
    exec.check_writable("CREATE TABLE AS")?;
    if is_taken(exec, &create.table, create.if_not_exists)? {
        return Ok(Outcome::command("CREATE TABLE AS"));
    }
    let context = exec.context();
    let planned = query::plan_query(&context, &create.query, &[])?;
    if create.columns.len() > planned.columns.len() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "too many column names were specified").into());
    }
    let mut columns = Vec::with_capacity(planned.columns.len());
    for (position, result) in planned.columns.iter().enumerate() {
        let name = match create.columns.get(position) {
            Some(name) => new_column_name(name)?,
            None => new_column_name(&Ident::with_quote('"', result.name.clone()))?,
        };
        columns.push(Column {
            id: column_id(position)?,
            name,
            data_type: result.data_type,
            not_null: false,
            default: None,
            missing: None,
            dropped: false,
        });
    }
    let schema = TableSchema {
        id: TreeId(0),
        name: create.table.name.clone(),
        version: 0,
        columns,
        primary_key: None,
        indexes: Vec::new(),
        options: create.options.clone(),
        retention: None,
    };
    let table = exec.txn.create_table(schema)?;
    let mut rows = 0_u64;
    let mut stream = query::run_query(&context, &planned, &[])?;
    while let Some(batch) = stream.next_batch()? {
        for row in batch {
            exec.cancel.check()?;
            let values = row
                .into_iter()
                .zip(&table.columns)
                .map(|(value, column)| match value {
                    Value::Null => Ok(Value::Null),
                    value => value.assign(column.data_type, exec.time_zone()),
                })
                .collect::<Result<Vec<_>>>()?;
            insert_plain(exec, &table, values)?;
            rows += 1;
        }
    }
    Ok(Outcome::command(format!("SELECT {rows}")))
}

pub(super) fn create_index(exec: &mut Exec<'_>, source: &Source, create: &CreateIndex) -> Run<Outcome> {
    exec.check_writable("CREATE INDEX")?;
    let catalog = exec.catalog();
    let Some(table) = catalog.table(&create.table.name) else {
        return Err(create.table.undefined(source).into());
    };
    let columns =
        key_columns(&table.columns, &create.columns, "index").map_err(|error| match create.columns.first() {
            Some(ident) => source.locate(error, ident),
            None => error,
        })?;
    let name = match &create.name {
        Some(name) => new_name(name)?,
        None => {
            let names: Vec<String> = create.columns.iter().map(name_of).collect();
            let parts: Vec<&str> =
                std::iter::once(table.name.as_str()).chain(names.iter().map(String::as_str)).collect();
            free_name(exec, &[], &parts, "idx")
        }
    };
    if create.if_not_exists && catalog.object_named(&name).is_some() {
        exec.notice(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists, skipping"));
        return Ok(Outcome::command("CREATE INDEX"));
    }
    let definition = IndexDefinition { name, columns, unique: create.unique, constraint: false };
    exec.txn.create_index(table.id, definition)?;
    Ok(Outcome::command("CREATE INDEX"))
}
