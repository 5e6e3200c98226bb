//! Writing rows: NOT NULL, primary key and unique constraints, and the indexes that follow.
//!
//! Every method checks first and writes then, so that one that fails has changed nothing. What it checks is the newest
//! committed state together with the transaction's own changes, under locks on the very keys: who wants a key that a
//! running transaction is about to create or free waits for that transaction's end.

use std::sync::Arc;

use bytes::Bytes;
use driftdb_store::ReadPoint;
use driftdb_types::{
    ColumnId, Error, Result, SqlState, TableSchema, TimeZone, TreeId, Value, encode_row, format_value,
};

use crate::error::serialization_failure;
use crate::keys::{IndexEntry, check_key_size, clustered_key, describe_key, index_entry, row_number_key, value_of};
use crate::transaction::{Isolation, Transaction};

/// What came of an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InsertOutcome {
    /// The row is there.
    Inserted {
        /// Its key.
        key: Bytes,
    },
    /// Nothing was written: another row has the same key.
    Conflict {
        /// The constraint (or unique index) that says so.
        constraint: String,
        /// The other row's key. That row may be newer than the snapshot.
        key: Bytes,
    },
}

/// A key that no other row may have.
struct UniqueKey {
    tree: TreeId,
    key: Bytes,
    /// The position in `TableSchema::indexes`; `None`: the primary key that orders the rows.
    index: Option<usize>,
}

/// How long a row may be, as it is stored. A row is handled whole, in several copies at a time, on its way into the log, the
/// base and history and out to a client.
const ROW_BYTES_MAX: usize = 256 << 20;

/// A row as it is to be stored. 54000 where it is too long.
fn encode_bounded(table: &TableSchema, values: &[Value]) -> Result<Bytes> {
    let row = encode_row(table, values)?;
    if row.len() > ROW_BYTES_MAX {
        let message = format!("row is too big: size {}, maximum size {ROW_BYTES_MAX}", row.len());
        return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    Ok(Bytes::from(row))
}

impl Transaction {
    /// Inserts a row. `values` by [`ColumnId`], one for every column the table ever had (NULL for dropped ones).
    ///
    /// Waits for a running transaction that has written the same key. 23502 for NULL where there must be none; a key
    /// that is taken is an outcome, not an error: see [`Transaction::unique_violation`].
    pub fn insert_row(&mut self, table: &Arc<TableSchema>, values: Vec<Value>) -> Result<InsertOutcome> {
        self.insert(table, values, None)
    }

    /// [`Transaction::insert_row`] for `ON CONFLICT`: of several conflicts that of the constraint named `arbiter` is told.
    /// Where the snapshot stands, the row that is in the way must be as the transaction sees it: 40001 if it is not.
    pub fn insert_row_unless(
        &mut self,
        table: &Arc<TableSchema>,
        values: Vec<Value>,
        arbiter: Option<&str>,
    ) -> Result<InsertOutcome> {
        let outcome = self.insert(table, values, arbiter)?;
        if let InsertOutcome::Conflict { constraint, key } = &outcome
            && self.isolation() != Isolation::ReadCommitted
            && arbiter.is_none_or(|arbiter| arbiter == constraint)
            && !self.is_unchanged(table.id, key)?
        {
            return Err(serialization_failure());
        }
        Ok(outcome)
    }

    fn insert(
        &mut self,
        table: &Arc<TableSchema>,
        mut values: Vec<Value>,
        arbiter: Option<&str>,
    ) -> Result<InsertOutcome> {
        self.check_writable()?;
        check_count(table, &values)?;
        for (value, column) in values.iter_mut().zip(&table.columns) {
            if column.dropped {
                *value = Value::Null;
            }
        }
        check_not_null(table, &values)?;
        self.ensure_table_lock(table)?;
        let key = clustered_key(table, &values);
        let is_clustered = key.is_some();
        let key = key.unwrap_or_else(|| row_number_key(self.engine.next_row()));
        check_key_size(key_name(table), &key)?;
        let entries: Vec<IndexEntry> = table.indexes.iter().map(|index| index_entry(index, &values, &key)).collect();
        for (index, entry) in table.indexes.iter().zip(&entries) {
            check_key_size(&index.name, &entry.key)?;
        }
        let mut unique = Vec::new();
        if is_clustered {
            unique.push(UniqueKey { tree: table.id, key: key.clone(), index: None });
        }
        for (position, (index, entry)) in table.indexes.iter().zip(&entries).enumerate() {
            if entry.exclusive {
                unique.push(UniqueKey { tree: index.id, key: entry.key.clone(), index: Some(position) });
            }
        }
        if let Some(arbiter) = arbiter {
            // Stable, so the others keep their order.
            unique.sort_by_key(|unique| constraint_name(table, unique) != arbiter);
        }
        let payload = encode_bounded(table, &values)?;
        let mark = self.locks.mark();
        if let Some((constraint, other)) = self.find_conflict(table, &unique)? {
            self.locks.release_after(mark);
            return Ok(InsertOutcome::Conflict { constraint, key: other });
        }
        self.put_row(table.id, key.clone(), None, Some(payload))?;
        for (index, entry) in table.indexes.iter().zip(entries) {
            self.put_entry(table.id, index.id, entry.key, None, Some(key.clone()))?;
        }
        Ok(InsertOutcome::Inserted { key })
    }

    /// Changes a row from `old` to `new`, both by [`ColumnId`]. The row must be locked and `old` be what the transaction
    /// sees of it. Writes nothing where nothing changes; a dropped column keeps its value. Gives the row's key, which is
    /// another one when the primary key changed. 23502 and 23505 as the constraints say.
    pub fn update_row(
        &mut self,
        table: &Arc<TableSchema>,
        key: &[u8],
        old: &[Value],
        mut new: Vec<Value>,
    ) -> Result<Bytes> {
        self.check_writable()?;
        check_count(table, old)?;
        check_count(table, &new)?;
        for ((value, before), column) in new.iter_mut().zip(old).zip(&table.columns) {
            if column.dropped {
                *value = before.clone();
            }
        }
        check_not_null(table, &new)?;
        let old_key = Bytes::copy_from_slice(key);
        let (before, after) = (Bytes::from(encode_row(table, old)?), encode_bounded(table, &new)?);
        if before == after {
            return Ok(old_key);
        }
        self.ensure_table_lock(table)?;
        let new_key = clustered_key(table, &new).unwrap_or_else(|| old_key.clone());
        let moved = new_key != old_key;
        check_key_size(key_name(table), &new_key)?;
        let mut unique = Vec::new();
        if moved {
            unique.push(UniqueKey { tree: table.id, key: new_key.clone(), index: None });
        }
        let mut entries = Vec::new();
        for (position, index) in table.indexes.iter().enumerate() {
            let old_entry = index_entry(index, old, &old_key);
            let new_entry = index_entry(index, &new, &new_key);
            if !moved && old_entry == new_entry {
                continue;
            }
            check_key_size(&index.name, &new_entry.key)?;
            if old_entry.exclusive {
                self.lock_key(table.id, index.id, &old_entry.key)?;
            }
            if new_entry.exclusive && new_entry.key != old_entry.key {
                unique.push(UniqueKey { tree: index.id, key: new_entry.key.clone(), index: Some(position) });
            }
            entries.push((index.id, old_entry.key, new_entry.key));
        }
        if let Some((constraint, _)) = self.find_conflict(table, &unique)? {
            return Err(self.unique_violation(table, &constraint, &new));
        }
        if moved {
            self.put_row(table.id, old_key.clone(), Some(before), None)?;
            self.put_row(table.id, new_key.clone(), None, Some(after))?;
        } else {
            self.put_row(table.id, old_key.clone(), Some(before), Some(after))?;
        }
        for (index, old_entry, new_entry) in entries {
            self.put_entry(table.id, index, old_entry, Some(old_key.clone()), None)?;
            self.put_entry(table.id, index, new_entry, None, Some(new_key.clone()))?;
        }
        Ok(new_key)
    }

    /// Deletes a row. It must be locked and `old` (by [`ColumnId`]) be what the transaction sees of it.
    pub fn delete_row(&mut self, table: &Arc<TableSchema>, key: &[u8], old: &[Value]) -> Result<()> {
        self.check_writable()?;
        check_count(table, old)?;
        self.ensure_table_lock(table)?;
        let before = Bytes::from(encode_row(table, old)?);
        let key = Bytes::copy_from_slice(key);
        let mut entries = Vec::with_capacity(table.indexes.len());
        for index in &table.indexes {
            let entry = index_entry(index, old, &key);
            if entry.exclusive {
                self.lock_key(table.id, index.id, &entry.key)?;
            }
            entries.push((index.id, entry.key));
        }
        self.put_row(table.id, key.clone(), Some(before), None)?;
        for (index, entry) in entries {
            self.put_entry(table.id, index, entry, Some(key.clone()), None)?;
        }
        Ok(())
    }

    /// The error of a row that has the same key as another one: 23505, as PostgreSQL words it.
    pub fn unique_violation(&self, table: &TableSchema, constraint: &str, values: &[Value]) -> Error {
        let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
        let error = Error::new(SqlState::UNIQUE_VIOLATION, message);
        match constraint_columns(table, constraint) {
            Some(columns) => error.detail(format!("Key {} already exists.", describe_key(table, columns, values))),
            None => error,
        }
    }

    /// Locks the keys and looks who has them: the first constraint broken and the row that breaks it.
    fn find_conflict(&mut self, table: &TableSchema, unique: &[UniqueKey]) -> Result<Option<(String, Bytes)>> {
        for UniqueKey { tree, key, .. } in unique {
            self.lock_key(table.id, *tree, key)?;
        }
        if unique.is_empty() {
            return Ok(None);
        }
        // Taken after the locks: who held one before is visible in it.
        let newest = self.engine.view();
        for candidate in unique {
            if let Some(payload) = self.newest(&newest, candidate.tree, &candidate.key)? {
                let other = if candidate.index.is_some() { payload } else { candidate.key.clone() };
                self.note_read(candidate.tree, &candidate.key)?;
                // Run alone, it would have seen that row before it tried.
                if self.isolation() == Isolation::Serializable && !self.is_unchanged(table.id, &other)? {
                    return Err(serialization_failure());
                }
                return Ok(Some((constraint_name(table, candidate).to_owned(), other)));
            }
            self.check_seen_free(candidate)?;
        }
        Ok(None)
    }

    /// A snapshot that stands may still have a key that somebody freed since. Written anew, the key would hide that
    /// entry in one tree while those that belong to it show in the others: 40001.
    fn check_seen_free(&self, unique: &UniqueKey) -> Result<()> {
        let UniqueKey { tree, key, .. } = unique;
        if self.isolation() != Isolation::ReadCommitted
            && self.writes.get(*tree, key).is_none()
            && self.view().get(*tree, key, ReadPoint::Latest)?.is_some()
        {
            return Err(serialization_failure());
        }
        Ok(())
    }
}

fn constraint_name<'a>(table: &'a TableSchema, unique: &UniqueKey) -> &'a str {
    match unique.index {
        Some(position) => table.indexes.get(position).map_or("", |index| index.name.as_str()),
        None => key_name(table),
    }
}

fn key_name(table: &TableSchema) -> &str {
    table.primary_key.as_ref().map_or("", |key| key.name.as_str())
}

fn constraint_columns<'a>(table: &'a TableSchema, constraint: &str) -> Option<&'a [ColumnId]> {
    let primary_key = table.primary_key.as_ref().filter(|key| key.name == constraint);
    let index = || table.indexes.iter().find(|index| index.name == constraint);
    primary_key.map(|key| key.columns.as_slice()).or_else(|| index().map(|index| index.columns.as_slice()))
}

fn check_count(table: &TableSchema, values: &[Value]) -> Result<()> {
    if values.len() == table.columns.len() {
        return Ok(());
    }
    let message =
        format!("{} values for the {} columns of table \"{}\"", values.len(), table.columns.len(), table.name);
    Err(Error::internal(message))
}

fn check_not_null(table: &TableSchema, values: &[Value]) -> Result<()> {
    let key = table.primary_key.as_ref().map(|key| key.columns.as_slice()).unwrap_or_default();
    let refused = |id: ColumnId, not_null: bool| not_null || key.contains(&id);
    for column in table.live_columns() {
        if value_of(values, column.id).is_null() && refused(column.id, column.not_null) {
            let message = format!(
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                column.name, table.name
            );
            return Err(Error::new(SqlState::NOT_NULL_VIOLATION, message).detail(failing_row(table, values)));
        }
    }
    Ok(())
}

fn failing_row(table: &TableSchema, values: &[Value]) -> String {
    let utc = TimeZone::utc();
    let texts: Vec<String> = table
        .live_columns()
        .map(|column| match value_of(values, column.id) {
            Value::Null => "null".to_owned(),
            value => shorten(format_value(value, column.data_type, &utc)),
        })
        .collect();
    format!("Failing row contains ({}).", texts.join(", "))
}

/// As PostgreSQL does: at most 64 characters of each value.
fn shorten(text: String) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
