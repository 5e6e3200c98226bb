//! How long history is kept: ALTER TABLE … SET RETENTION, CREATE PIN, DROP PIN.

use driftdb_types::{Error, Interval, SqlState};

use super::check_name;
use crate::outcome::Outcome;
use crate::parse::{CreatePin, Source, TableName};
use crate::session::{Exec, Run};
use crate::system_time::resolve_as_of;

pub(super) fn set_retention(
    exec: &mut Exec<'_>,
    source: &Source,
    table: &TableName,
    if_exists: bool,
    retention: Option<Interval>,
) -> Run<Outcome> {
    exec.check_writable("ALTER TABLE")?;
    let catalog = exec.catalog();
    match catalog.table(&table.name) {
        Some(found) => {
            let mut schema = found.as_ref().clone();
            schema.retention = retention;
            exec.txn.put_table(found.id, schema)?;
        }
        None if if_exists => {
            exec.notice(SqlState::SUCCESS, format!("relation \"{}\" does not exist, skipping", table.name));
        }
        None => return Err(table.undefined(source).into()),
    }
    Ok(Outcome::command("ALTER TABLE"))
}

pub(super) fn create_pin(exec: &mut Exec<'_>, create: &CreatePin) -> Run<Outcome> {
    exec.check_writable("CREATE PIN")?;
    let CreatePin { name, if_not_exists, as_of, retain } = create;
    check_name(name)?;
    let seq = match as_of {
        Some(point) => resolve_as_of(&exec.context(), point, exec.params)?,
        None => exec.txn.stamp().seq,
    };
    let until_us = retain.map(|retain| retain.after(exec.now_us()).ok_or_else(too_long)).transpose()?;
    match exec.txn.create_pin(name, seq, until_us) {
        Err(error) if *if_not_exists && error.state == SqlState::DUPLICATE_OBJECT => {
            exec.notice(SqlState::DUPLICATE_OBJECT, format!("pin \"{name}\" already exists, skipping"));
        }
        done => done?,
    }
    Ok(Outcome::command("CREATE PIN"))
}

pub(super) fn drop_pins(exec: &mut Exec<'_>, names: &[String], if_exists: bool) -> Run<Outcome> {
    exec.check_writable("DROP PIN")?;
    for name in names {
        if exec.txn.drop_pin(name)? {
            continue;
        }
        if !if_exists {
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("pin \"{name}\" does not exist")).into());
        }
        exec.notice(SqlState::SUCCESS, format!("pin \"{name}\" does not exist, skipping"));
    }
    Ok(Outcome::command("DROP PIN"))
}

fn too_long() -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "the pin's end is out of range")
}
