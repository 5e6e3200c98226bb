//! Defining: tables, columns, keys and indexes. All of it is transactional, like any other writing.

mod alter;
mod create;
mod keeping;

use datafusion::sql::sqlparser::ast::Ident;
use driftdb_engine::NamedObject;
use driftdb_types::{Column, ColumnId, Error, Result, SqlState, TableSchema};

use crate::outcome::Outcome;
use crate::parse::{Kind, Statement, TableName, name_of};
use crate::query::is_hidden_column;
use crate::session::{Exec, Run};

/// The longest name, in bytes, as in PostgreSQL.
const NAME_MAX: usize = 63;

/// Runs a statement that defines something.
pub(crate) fn run(exec: &mut Exec<'_>, statement: &Statement) -> Run<Outcome> {
    let source = statement.source();
    match statement.kind() {
        Kind::CreateTable(create) => create::create_table(exec, create),
        Kind::CreateTableAs(create) => create::create_table_as(exec, create),
        Kind::CreateIndex(create) => create::create_index(exec, source, create),
        Kind::DropTable { names, if_exists } => drop_tables(exec, names, *if_exists),
        Kind::DropIndex { names, if_exists } => drop_indexes(exec, names, *if_exists),
        Kind::AlterTable(alter) => alter::alter_table(exec, source, alter),
        Kind::SetRetention { table, if_exists, retention } => {
            keeping::set_retention(exec, source, table, *if_exists, *retention)
        }
        Kind::CreatePin(create) => keeping::create_pin(exec, create),
        Kind::DropPin { names, if_exists } => keeping::drop_pins(exec, names, *if_exists),
        Kind::Truncate { names } => {
            exec.check_writable("TRUNCATE TABLE")?;
            for name in names {
                let catalog = exec.catalog();
                let Some(table) = catalog.table(&name.name) else {
                    return Err(name.undefined(source).into());
                };
                exec.txn.truncate(table.id)?;
            }
            Ok(Outcome::command("TRUNCATE TABLE"))
        }
        _ => Err(Error::internal("a statement was taken for a definition").into()),
    }
}

fn drop_tables(exec: &mut Exec<'_>, names: &[TableName], if_exists: bool) -> Run<Outcome> {
    exec.check_writable("DROP TABLE")?;
    for name in names {
        let catalog = exec.catalog();
        match catalog.object_named(&name.name) {
            Some(NamedObject::Table(table)) => exec.txn.drop_table(table.id)?,
            Some(_) => {
                let message = format!("\"{}\" is not a table", name.name);
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .hint("Use DROP INDEX to remove an index.")
                    .into());
            }
            None if if_exists => {
                exec.notice(SqlState::SUCCESS, format!("table \"{}\" does not exist, skipping", name.name));
            }
            None => {
                let message = format!("table \"{}\" does not exist", name.name);
                return Err(Error::new(SqlState::UNDEFINED_TABLE, message).into());
            }
        }
    }
    Ok(Outcome::command("DROP TABLE"))
}

fn drop_indexes(exec: &mut Exec<'_>, names: &[TableName], if_exists: bool) -> Run<Outcome> {
    exec.check_writable("DROP INDEX")?;
    for name in names {
        let catalog = exec.catalog();
        let constraint = |table: &TableSchema| {
            Error::new(
                SqlState::DEPENDENT_OBJECTS,
                format!("cannot drop index {0} because constraint {0} on table {1} requires it", name.name, table.name),
            )
            .hint(format!("You can drop constraint {} on table {} instead.", name.name, table.name))
        };
        match catalog.object_named(&name.name) {
            Some(NamedObject::Index(table, index)) if index.constraint => return Err(constraint(table).into()),
            Some(NamedObject::PrimaryKey(table)) => return Err(constraint(table).into()),
            Some(NamedObject::Index(table, index)) => {
                exec.txn.drop_index(table.id, index.id)?;
            }
            Some(NamedObject::Table(_)) => {
                let message = format!("\"{}\" is not an index", name.name);
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .hint("Use DROP TABLE to remove a table.")
                    .into());
            }
            None if if_exists => {
                exec.notice(SqlState::SUCCESS, format!("index \"{}\" does not exist, skipping", name.name));
            }
            None => {
                let message = format!("index \"{}\" does not exist", name.name);
                return Err(Error::new(SqlState::UNDEFINED_OBJECT, message).into());
            }
        }
    }
    Ok(Outcome::command("DROP INDEX"))
}

/// A name to be given, checked.
fn new_name(ident: &Ident) -> Result<String> {
    let name = name_of(ident);
    check_name(&name)?;
    Ok(name)
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "zero-length delimited identifier"));
    }
    if name.len() > NAME_MAX {
        let message = format!("the name \"{name}\" is longer than {NAME_MAX} bytes");
        return Err(Error::new(SqlState::NAME_TOO_LONG, message));
    }
    Ok(())
}

fn new_column_name(ident: &Ident) -> Result<String> {
    let name = new_name(ident)?;
    if is_hidden_column(&name) {
        let message = format!("column name \"{name}\" conflicts with a system column name");
        return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
    }
    Ok(name)
}

/// A name of the form PostgreSQL gives, cut to its length and with a number where it is taken.
fn free_name(exec: &Exec<'_>, taken: &[String], parts: &[&str], suffix: &str) -> String {
    let catalog = exec.catalog();
    let mut stem = parts.join("_");
    while stem.len() + suffix.len() + 3 > NAME_MAX {
        stem.pop();
    }
    let free = |name: &String| catalog.object_named(name).is_none() && !taken.contains(name);
    let first = format!("{stem}_{suffix}");
    if free(&first) {
        return first;
    }
    let mut number = 1_u32;
    loop {
        let name = format!("{stem}_{suffix}{number}");
        if free(&name) {
            return name;
        }
        number += 1;
    }
}

/// The ids of named columns of a key or index.
fn key_columns(columns: &[Column], idents: &[Ident], what: &str) -> Result<Vec<ColumnId>> {
    let mut ids = Vec::with_capacity(idents.len());
    for ident in idents {
        let name = name_of(ident);
        let Some(column) = columns.iter().find(|column| !column.dropped && column.name == name) else {
            let message = format!("column \"{name}\" named in {what} does not exist");
            return Err(Error::new(SqlState::UNDEFINED_COLUMN, message));
        };
        if ids.contains(&column.id) {
            let message = format!("column \"{name}\" appears twice in {what}");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        ids.push(column.id);
    }
    Ok(ids)
}
