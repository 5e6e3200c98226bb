//! Changing definitions, as part of a transaction like any other change.
//!
//! A definition is changed under the table's exclusive lock: nobody else writes its rows meanwhile, and readers go on
//! with the catalog of their snapshot. The new definition is an own change of the transaction until it commits, and
//! becomes visible to all together with the rows and index entries that go with it.
//!
//! Nothing is rewritten: a dropped table leaves its rows where they are, for queries of the past; a dropped column stays
//! in the definition; an added one has its value for older rows in the definition ([`Column::missing`]).
//!
//! Names of tables and indexes are locked too, so that of two who want the same name the second waits, and then is
//! told.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_store::ReadPoint;
use driftdb_types::{
    Column, ColumnId, DataType, Error, IndexSchema, KeyRange, PrimaryKey, Result, SqlState, TableSchema, TreeId,
    decode_row,
};

use crate::catalog::{catalog_key, names_of};
use crate::error::{StatementError, serialization_failure};
use crate::keys::{check_key_size, describe_key, index_entry, value_of};
use crate::reader::TxnReader;
use crate::transaction::{Isolation, TableLock, Transaction};

/// How many columns a table may have, dropped ones included (PostgreSQL's bound).
const COLUMNS_MAX: usize = 1_600;

/// An index that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Its name, unique among tables and indexes.
    pub name: String,
    /// The indexed columns in order.
    pub columns: Vec<ColumnId>,
    /// Whether two rows may not hold the same non-NULL values.
    pub unique: bool,
    /// Whether it belongs to a constraint.
    pub constraint: bool,
}

impl Transaction {
    /// Makes a table. The ids (the table's and its indexes') and the version in `schema` are ignored and given anew; column ids must
    /// be the columns' positions; a primary key must have no index: it orders the rows. Gives the definition as stored.
    /// 42P07 when a name is taken.
    pub fn create_table(&mut self, mut schema: TableSchema) -> Result<Arc<TableSchema>, StatementError> {
        self.check_writable()?;
        schema.id = self.engine.next_object()?;
        schema.version = 1;
        for index in &mut schema.indexes {
            index.id = self.engine.next_object()?;
        }
        if schema.primary_key.as_ref().is_some_and(|key| key.index.is_some()) {
            return Err(Error::internal("a new table's primary key has an index").into());
        }
        set_key_not_null(&mut schema);
        check_definition(&schema)?;
        let names: Vec<String> = names_of(&schema).map(str::to_owned).collect();
        self.claim_names(&names)?;
        self.lock_table(schema.id, TableLock::Exclusive)?;
        let schema = Arc::new(schema);
        self.put_schema(schema.id, None, Some(Arc::clone(&schema)))?;
        Ok(schema)
    }

    /// Drops a table. Its rows stay readable as of the stamps at which it was there.
    pub fn drop_table(&mut self, table: TreeId) -> Result<(), StatementError> {
        let schema = self.begin_change(table)?;
        for name in names_of(&schema) {
            // Who wants to use the name anew waits for this transaction's end.
            self.lock_name(name)?;
        }
        self.put_schema(table, Some(&schema), None)?;
        // What no committed definition ever knew of, nobody could ever read.
        let is_own =
            self.writes.get(TreeId::CATALOG, &catalog_key(table)).is_some_and(|change| change.before.is_none());
        if is_own {
            self.writes.forget(table);
        }
        for index in &schema.indexes {
            self.forget_own_index(table, index.id);
        }
        Ok(())
    }

    /// Replaces a table's definition: its name, columns (added, dropped, renamed, NOT NULL, defaults), options and the
    /// names of its indexes. Its version is given anew. Gives the definition as stored.
    ///
    /// A column can change its type only where stored values stay what they are (0A000). 23502 when a column becomes NOT
    /// NULL and a row holds NULL; 42P07 when a name is taken; 2BP01 when a dropped column is still in a key or an index.
    /// Indexes and keys are made and dropped by their own methods.
    pub fn put_table(&mut self, table: TreeId, mut schema: TableSchema) -> Result<Arc<TableSchema>, StatementError> {
        let old = self.begin_change(table)?;
        schema.id = table;
        schema.version = next_version(&old)?;
        set_key_not_null(&mut schema);
        check_definition(&schema)?;
        check_same_keys(&old, &schema)?;
        check_columns_follow(&old, &schema)?;
        let taken: HashSet<&str> = names_of(&old).collect();
        let fresh: Vec<String> = names_of(&schema).filter(|name| !taken.contains(name)).map(str::to_owned).collect();
        self.claim_names(&fresh)?;
        let kept: HashSet<&str> = names_of(&schema).collect();
        for name in names_of(&old).filter(|name| !kept.contains(name)) {
            self.lock_name(name)?;
        }
        let newly_not_null: Vec<&Column> = schema
            .live_columns()
            .filter(|column| column.not_null && needs_null_check(old.column_by_id(column.id), column))
            .collect();
        self.check_no_nulls(&schema, &newly_not_null)?;
        let schema = Arc::new(schema);
        self.put_schema(table, Some(&old), Some(Arc::clone(&schema)))?;
        Ok(schema)
    }

    /// Makes an index of a table's rows, those already there included. Gives the table's new definition. 23505 when the
    /// index is unique and two rows hold the same values; 42P07 when the name is taken.
    pub fn create_index(
        &mut self,
        table: TreeId,
        definition: IndexDefinition,
    ) -> Result<Arc<TableSchema>, StatementError> {
        let old = self.begin_change(table)?;
        let (schema, index) = self.with_index(&old, definition)?;
        let schema = Arc::new(schema);
        self.put_schema(table, Some(&old), Some(Arc::clone(&schema)))?;
        self.fill_index(&schema, &index)?;
        Ok(schema)
    }

    /// Gives a table a primary key: a unique index, and NOT NULL on its columns. Gives the table's new definition. 42P16
    /// when it has one; 23502 and 23505 when rows break it.
    pub fn add_primary_key(
        &mut self,
        table: TreeId,
        name: &str,
        columns: &[ColumnId],
    ) -> Result<Arc<TableSchema>, StatementError> {
        let old = self.begin_change(table)?;
        if old.primary_key.is_some() {
            let message = format!("multiple primary keys for table \"{}\" are not allowed", old.name);
            return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message).into());
        }
        let definition =
            IndexDefinition { name: name.to_owned(), columns: columns.to_vec(), unique: true, constraint: true };
        let (mut schema, index) = self.with_index(&old, definition)?;
        schema.primary_key =
            Some(PrimaryKey { name: name.to_owned(), columns: columns.to_vec(), index: Some(index.id) });
        set_key_not_null(&mut schema);
        check_definition(&schema)?;
        let newly_not_null: Vec<&Column> = schema
            .live_columns()
            .filter(|column| column.not_null && needs_null_check(old.column_by_id(column.id), column))
            .collect();
        self.check_no_nulls(&schema, &newly_not_null)?;
        let schema = Arc::new(schema);
        self.put_schema(table, Some(&old), Some(Arc::clone(&schema)))?;
        self.fill_index(&schema, &index)?;
        Ok(schema)
    }

    /// Drops an index, and the constraint it serves. Its entries stay, for queries of the past. Gives the table's new
    /// definition.
    pub fn drop_index(&mut self, table: TreeId, index: TreeId) -> Result<Arc<TableSchema>, StatementError> {
        let old = self.begin_change(table)?;
        let mut schema = TableSchema::clone(&old);
        schema.version = next_version(&old)?;
        let Some(position) = schema.indexes.iter().position(|candidate| candidate.id == index) else {
            let message = format!("table \"{}\" has no index {index}", old.name);
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, message).into());
        };
        let dropped = schema.indexes.remove(position);
        if schema.primary_key.as_ref().is_some_and(|key| key.index == Some(index)) {
            schema.primary_key = None;
        }
        self.lock_name(&dropped.name)?;
        let schema = Arc::new(schema);
        self.put_schema(table, Some(&old), Some(Arc::clone(&schema)))?;
        self.forget_own_index(table, index);
        Ok(schema)
    }

    /// Forgets the entries of a dropped index that the transaction had made itself.
    fn forget_own_index(&mut self, table: TreeId, index: TreeId) {
        let committed = self.engine.newest_catalog();
        let known = committed.table_by_id(table).is_some_and(|schema| schema.indexes.iter().any(|of| of.id == index));
        if !known {
            self.writes.forget(index);
        }
    }

    /// Deletes all rows of a table, those committed since the snapshot included. Says how many.
    pub fn truncate(&mut self, table: TreeId) -> Result<u64, StatementError> {
        let schema = self.begin_change(table)?;
        let mut rows = 0;
        for row in self.newest_reader().scan(table, &KeyRange::all(), false)? {
            self.cancel().check()?;
            let row = row?;
            let values = decode_row(&schema, &row.payload).map_err(Error::from)?;
            // A copy: the key is a slice of what the scan read, all of which it would keep in memory.
            self.put_row(table, Bytes::copy_from_slice(&row.key), Some(gone(&row.payload)), None)?;
            for index in &schema.indexes {
                let entry = index_entry(index, &values, &row.key);
                self.put_entry(table, index.id, entry.key, Some(gone(&row.key)), None)?;
            }
            rows += 1;
        }
        Ok(rows)
    }

    /// Locks a table to change its definition, and gives the present one.
    fn begin_change(&mut self, table: TreeId) -> Result<Arc<TableSchema>, StatementError> {
        self.check_writable()?;
        self.lock_table(table, TableLock::Exclusive)?;
        match self.catalog().table_by_id(table) {
            Some(schema) => Ok(Arc::clone(schema)),
            None => Err(Error::new(SqlState::UNDEFINED_TABLE, format!("there is no table {table}")).into()),
        }
    }

    /// Locks names and makes sure that nobody has them.
    fn claim_names(&mut self, names: &[String]) -> Result<()> {
        for name in names {
            self.lock_name(name)?;
            // Taken after the lock: who used it before is visible in it.
            if self.newest_catalog().is_named(name) {
                return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
            }
        }
        Ok(())
    }

    /// The definition with one more index.
    fn with_index(
        &mut self,
        old: &TableSchema,
        definition: IndexDefinition,
    ) -> Result<(TableSchema, IndexSchema), StatementError> {
        let IndexDefinition { name, columns, unique, constraint } = definition;
        self.claim_names(std::slice::from_ref(&name))?;
        let index = IndexSchema { id: self.engine.next_object()?, name, columns, unique, constraint };
        let mut schema = old.clone();
        schema.version = next_version(old)?;
        schema.indexes.push(index.clone());
        check_definition(&schema)?;
        Ok((schema, index))
    }

    /// Makes the entries of the rows that are already there.
    fn fill_index(&mut self, schema: &TableSchema, index: &IndexSchema) -> Result<()> {
        self.check_rows_stand(schema.id)?;
        for row in self.newest_reader().scan(schema.id, &KeyRange::all(), false)? {
            self.cancel().check()?;
            let row = row?;
            let values = decode_row(schema, &row.payload)?;
            let entry = index_entry(index, &values, &row.key);
            check_key_size(&index.name, &entry.key)?;
            if entry.exclusive && self.writes.get(index.id, &entry.key).is_some() {
                let message = format!("could not create unique index \"{}\"", index.name);
                let key = describe_key(schema, &index.columns, &values);
                return Err(Error::new(SqlState::UNIQUE_VIOLATION, message).detail(format!("Key {key} is duplicated.")));
            }
            // A copy, as in TRUNCATE.
            self.put_entry(schema.id, index.id, entry.key, None, Some(Bytes::copy_from_slice(&row.key)))?;
        }
        Ok(())
    }

    /// 23502 when a row holds NULL in one of the columns.
    fn check_no_nulls(&self, schema: &TableSchema, columns: &[&Column]) -> Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        for row in self.newest_reader().scan(schema.id, &KeyRange::all(), false)? {
            self.cancel().check()?;
            let values = decode_row(schema, &row?.payload)?;
            if let Some(column) = columns.iter().find(|column| value_of(&values, column.id).is_null()) {
                let message =
                    format!("column \"{}\" of relation \"{}\" contains null values", column.name, schema.name);
                return Err(Error::new(SqlState::NOT_NULL_VIOLATION, message));
            }
        }
        Ok(())
    }

    /// The rows as they are under an exclusive lock: the newest committed ones and the transaction's own.
    fn newest_reader(&self) -> TxnReader {
        TxnReader::new(self.engine.view(), self.writes.clone(), None)
    }

    /// A new index holds the newest rows, so a REPEATABLE READ snapshot must show the same ones: 40001 if it does not.
    fn check_rows_stand(&self, table: TreeId) -> Result<()> {
        let (seen, newest) = (self.view(), self.engine.view());
        if self.isolation() == Isolation::ReadCommitted || seen.stamp() == newest.stamp() {
            return Ok(());
        }
        let mut count = 0_u64;
        for row in newest.scan(table, &KeyRange::all(), ReadPoint::Latest, false)? {
            if row?.from.seq > seen.stamp().seq {
                return Err(serialization_failure());
            }
            count += 1;
        }
        for row in seen.scan(table, &KeyRange::all(), ReadPoint::Latest, false)? {
            row?;
            count = count.checked_sub(1).ok_or_else(serialization_failure)?;
        }
        Ok(())
    }
}

/// Stands for a payload that was there, where only that is of interest: a TRUNCATE is to hold no copy of the table.
fn gone(_payload: &Bytes) -> Bytes {
    Bytes::new()
}

fn next_version(old: &TableSchema) -> Result<u32> {
    let limit = || Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the table was altered too often");
    old.version.checked_add(1).ok_or_else(limit)
}

fn set_key_not_null(schema: &mut TableSchema) {
    let Some(key) = &schema.primary_key else { return };
    for column in schema.columns.iter_mut().filter(|column| key.columns.contains(&column.id)) {
        column.not_null = true;
    }
}

/// Whether rows may hold NULL in a column that is NOT NULL now.
fn needs_null_check(old: Option<&Column>, new: &Column) -> bool {
    match old {
        Some(old) => !old.not_null || old.dropped,
        None => new.missing.is_none(),
    }
}

fn check_definition(schema: &TableSchema) -> Result<()> {
    if schema.columns.len() > COLUMNS_MAX {
        let message = format!("tables can have at most {COLUMNS_MAX} columns");
        return Err(Error::new(SqlState::TOO_MANY_COLUMNS, message));
    }
    let mut names = HashSet::new();
    for (position, column) in schema.columns.iter().enumerate() {
        if usize::from(column.id.0) != position {
            return Err(Error::internal(format!("column \"{}\" has not its position as its id", column.name)));
        }
        if !column.dropped && !names.insert(&column.name) {
            let message = format!("column \"{}\" specified more than once", column.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
    }
    let mut names = HashSet::new();
    if let Some(name) = names_of(schema).find(|name| !names.insert(*name)) {
        return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
    }
    if let Some(key) = &schema.primary_key {
        check_key_columns(schema, &key.name, &key.columns)?;
    }
    for index in &schema.indexes {
        check_key_columns(schema, &index.name, &index.columns)?;
    }
    Ok(())
}

fn check_key_columns(schema: &TableSchema, key: &str, columns: &[ColumnId]) -> Result<()> {
    if columns.is_empty() {
        return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, format!("\"{key}\" has no columns")));
    }
    for id in columns {
        match schema.column_by_id(*id) {
            Some(column) if column.dropped => {
                let message = format!("cannot drop column \"{}\": \"{key}\" depends on it", column.name);
                return Err(Error::new(SqlState::DEPENDENT_OBJECTS, message));
            }
            Some(_) => {}
            None => return Err(Error::internal(format!("\"{key}\" has a column {} that does not exist", id.0))),
        }
    }
    Ok(())
}

/// Keys and indexes may be renamed by [`Transaction::put_table`], and nothing else.
fn check_same_keys(old: &TableSchema, new: &TableSchema) -> Result<()> {
    let plain = |index: &IndexSchema| IndexSchema { name: String::new(), ..index.clone() };
    let key = |schema: &TableSchema| schema.primary_key.as_ref().map(|key| (key.columns.clone(), key.index));
    if key(old) == key(new) && old.indexes.iter().map(plain).eq(new.indexes.iter().map(plain)) {
        return Ok(());
    }
    Err(Error::internal(format!("an index of table \"{}\" was changed together with its columns", old.name)))
}

fn check_columns_follow(old: &TableSchema, new: &TableSchema) -> Result<()> {
    if new.columns.len() < old.columns.len() {
        return Err(Error::internal(format!("columns of table \"{}\" are missing in its new definition", old.name)));
    }
    for (before, after) in old.columns.iter().zip(&new.columns) {
        if !keeps_values(before.data_type, after.data_type) {
            let what = format!(
                "changing column \"{}\" from type {} to {}",
                before.name,
                before.data_type.sql_name(),
                after.data_type.sql_name()
            );
            return Err(Error::unsupported(what));
        }
        if before.missing != after.missing {
            return Err(Error::internal(format!("the value of column \"{}\" in older rows was changed", before.name)));
        }
    }
    Ok(())
}

/// Whether every stored value of one type is the same value of the other.
fn keeps_values(before: DataType, after: DataType) -> bool {
    let longer = |from: Option<u32>, to: Option<u32>| to.is_none_or(|to| from.is_some_and(|from| to >= from));
    match (before, after) {
        (DataType::Varchar(_), DataType::Text) => true,
        (DataType::Text, DataType::Varchar(to)) => to.is_none(),
        (DataType::Varchar(from), DataType::Varchar(to)) => longer(from, to),
        _ => before == after,
    }
}
