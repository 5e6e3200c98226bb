//! One random transaction, on the database and on the model at once.

use std::sync::Arc;

use bytes::Bytes;
use driftdb_engine::{
    Cancel, CommitMeta, Engine, IndexDefinition, InsertOutcome, Isolation, LockMode, LockWait, RowLock, Savepoint,
    Transaction, TxnOptions,
};
use driftdb_types::{
    Column, ColumnId, DataType, Error, IndexSchema, Interval, PrimaryKey, SqlState, Stamp, TableSchema, TreeId, Value,
};
use imbl::OrdMap;

use crate::dice::Dice;
use crate::halt::{Halt, Result, hold, wrong};
use crate::model::{Row, State, Table, keys_of};

/// The names of tables, indexes and columns: none is used twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    given: u32,
}

impl Names {
    fn next(&mut self, what: &str) -> String {
        self.given += 1;
        format!("{what}{}", self.given)
    }
}

/// A transaction under way.
pub(crate) struct Work<'a> {
    dice: &'a Dice,
    names: &'a mut Names,
    txn: Transaction,
    /// What it is to see.
    state: State,
    savepoints: Vec<(Savepoint, State)>,
    /// A TRUNCATE may make versions where nothing changed.
    truncated: bool,
}

/// What became of a transaction's commit.
pub(crate) enum Outcome {
    Committed(Stamp, State),
    /// There was nothing to commit, or it was rolled back.
    Nothing,
    /// The commit failed; had it not, it would have left this.
    Failed(Error, State),
}

pub(crate) fn begin(engine: &Engine, isolation: Isolation) -> Result<Transaction> {
    let mut txn = engine.begin(TxnOptions { isolation, read_only: false }, Arc::new(Cancel::new()));
    txn.begin_statement()?;
    Ok(txn)
}

impl<'a> Work<'a> {
    pub(crate) fn begin(engine: &Engine, state: State, dice: &'a Dice, names: &'a mut Names) -> Result<Work<'a>> {
        let levels = [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];
        let level = dice.pick(&levels).copied().unwrap_or_default();
        let txn = begin(engine, level)?;
        Ok(Work { dice, names, txn, state, savepoints: Vec::new(), truncated: false })
    }

    /// Some changes, then the end.
    pub(crate) fn run(mut self, before: &State) -> Result<Outcome> {
        for _ in 0..=self.dice.below(12) {
            self.change()?;
        }
        crate::compare::transaction(&self.txn, &self.state, &keys_of([before]))?;
        if self.dice.one_in(6) {
            self.txn.rollback();
            return Ok(Outcome::Nothing);
        }
        let changed = !same(&self.state, before);
        let meta = CommitMeta { user: "simulator".to_owned(), ..CommitMeta::default() };
        match self.txn.commit(&meta) {
            Err(error) => Ok(Outcome::Failed(error, self.state)),
            Ok(Some(stamp)) => {
                hold!(changed || self.truncated, "a commit at {stamp:?} where nothing had changed");
                Ok(Outcome::Committed(stamp, self.state))
            }
            Ok(None) => {
                hold!(!changed, "no commit although something had changed");
                Ok(Outcome::Nothing)
            }
        }
    }

    fn change(&mut self) -> Result<()> {
        match self.dice.below(40) {
            0..=1 => self.create_table(),
            2 if self.dice.one_in(2) => self.drop_table(),
            3..=5 => self.alter(),
            6..=7 => self.create_index(),
            8 => self.drop_index(),
            9 if self.dice.one_in(2) => self.truncate(),
            10..=12 => {
                self.savepoints.push((self.txn.savepoint(), self.state.clone()));
                Ok(())
            }
            13..=14 => {
                self.roll_back_to_savepoint();
                Ok(())
            }
            15..=26 => self.insert(),
            27..=34 => self.update(),
            _ => self.delete(),
        }
    }

    fn roll_back_to_savepoint(&mut self) {
        self.savepoints.truncate(self.dice.below(self.savepoints.len()) + 1);
        if let Some((savepoint, state)) = self.savepoints.last() {
            self.txn.rollback_to(savepoint);
            self.state = state.clone();
        }
    }

    fn some_table(&self) -> Option<Arc<TableSchema>> {
        let tables: Vec<_> = self.state.values().map(|table| &table.schema).collect();
        self.dice.pick(&tables).map(|schema| Arc::clone(schema))
    }

    fn some_row(&self, table: TreeId) -> Option<(Bytes, Row)> {
        let rows = &self.state.get(&table)?.rows;
        rows.iter().nth(self.dice.below(rows.len())).map(|(key, row)| (key.clone(), Arc::clone(row)))
    }

    fn some_column(&self, columns: impl Iterator<Item = ColumnId>) -> Option<ColumnId> {
        self.dice.pick(&columns.collect::<Vec<_>>()).copied()
    }

    fn some_value(&self, column: &Column) -> Value {
        if column.dropped || (!column.not_null && self.dice.one_in(5)) {
            return Value::Null;
        }
        let number = self.dice.below(30) as i32;
        match column.data_type {
            DataType::Int4 => Value::Int4(number - 10),
            DataType::Int8 => Value::Int8(i64::from(number) << 40),
            DataType::Bool => Value::Bool(number % 2 == 0),
            _ if self.dice.one_in(20) => Value::Text("long ".repeat(self.dice.below(700))),
            _ => {
                let texts = ["", "a", "ab", "b", "ccc\0d"];
                Value::Text(self.dice.pick(&texts).copied().unwrap_or_default().to_owned())
            }
        }
    }

    fn some_values(&self, table: &TableSchema) -> Vec<Value> {
        table.columns.iter().map(|column| self.some_value(column)).collect()
    }

    /// The model's side of a table.
    fn known(&mut self, table: TreeId) -> Result<&mut Table> {
        self.state.get_mut(&table).ok_or_else(|| Halt::Wrong(format!("the model has no table {table}")))
    }

    fn create_table(&mut self) -> Result<()> {
        if self.state.len() > 4 {
            return Ok(());
        }
        let name = self.names.next("t");
        let columns =
            vec![column(0, "id", DataType::Int4), column(1, "a", DataType::Int4), column(2, "b", DataType::Text)];
        let key_columns = if self.dice.one_in(3) { vec![ColumnId(2), ColumnId(0)] } else { vec![ColumnId(0)] };
        let key = PrimaryKey { name: format!("{name}_pkey"), columns: key_columns, index: None };
        let mut schema = TableSchema {
            id: TreeId(0),
            name,
            version: 0,
            columns,
            primary_key: self.dice.one_in(2).then_some(key),
            indexes: Vec::new(),
            options: Vec::new(),
            retention: self.dice.one_in(3).then(|| self.some_retention()),
        };
        if self.dice.one_in(2) {
            let unique = self.dice.one_in(3);
            let (id, name) = (TreeId(0), self.names.next("i"));
            schema.indexes.push(IndexSchema { id, name, columns: vec![ColumnId(1)], unique, constraint: unique });
        }
        let schema = self.txn.create_table(schema)?;
        self.state.insert(schema.id, Table { schema, rows: OrdMap::new() });
        Ok(())
    }

    /// From the time of some steps to some hours.
    fn some_retention(&self) -> Interval {
        let micros = if self.dice.one_in(2) { 20_000_000 } else { 20_000_000_000 };
        Interval { micros: 1 + self.dice.below(micros) as i64, ..Interval::default() }
    }

    fn drop_table(&mut self) -> Result<()> {
        let Some(table) = self.some_table() else { return Ok(()) };
        self.txn.drop_table(table.id)?;
        self.state.remove(&table.id);
        Ok(())
    }

    fn alter(&mut self) -> Result<()> {
        let Some(table) = self.some_table() else { return Ok(()) };
        let mut next = TableSchema::clone(&table);
        match self.dice.below(4) {
            0 => next.name = self.names.next("t"),
            1 => {
                let in_key = |id| table.primary_key.iter().any(|key| key.columns.contains(&id));
                let in_index = |id| table.indexes.iter().any(|index| index.columns.contains(&id));
                let free = table.live_columns().map(|column| column.id).filter(|id| !in_key(*id) && !in_index(*id));
                let Some(id) = self.some_column(free) else { return Ok(()) };
                for column in next.columns.iter_mut().filter(|column| column.id == id) {
                    column.dropped = true;
                    column.not_null = false;
                }
            }
            2 => {
                let types =
                    [(DataType::Int4, "7"), (DataType::Int8, "-1"), (DataType::Bool, "t"), (DataType::Text, "missing")];
                let Some((data_type, text)) = self.dice.pick(&types).copied() else { return Ok(()) };
                let missing = self.dice.one_in(2).then(|| text.to_owned());
                let not_null = missing.is_some() && self.dice.one_in(2);
                let added = column(next.columns.len() as u16, &self.names.next("c"), data_type);
                next.columns.push(Column { missing, not_null, ..added });
            }
            _ => {
                let Some(id) = self.some_column(table.live_columns().map(|column| column.id)) else { return Ok(()) };
                for column in next.columns.iter_mut().filter(|column| column.id == id) {
                    column.not_null ^= true;
                }
            }
        }
        let savepoint = self.txn.savepoint();
        match self.txn.put_table(table.id, next) {
            Ok(schema) => self.known(table.id)?.define(schema),
            Err(error) => self.take_back(error.into_error(), &[SqlState::NOT_NULL_VIOLATION], &savepoint)?,
        }
        Ok(())
    }

    /// What a failed statement leaves, if it may fail so.
    fn take_back(&mut self, error: Error, may: &[SqlState], savepoint: &Savepoint) -> Result<()> {
        if !may.contains(&error.state) {
            return Err(error.into());
        }
        self.txn.rollback_to(savepoint);
        Ok(())
    }

    fn create_index(&mut self) -> Result<()> {
        let Some(table) = self.some_table().filter(|table| table.indexes.len() < 3) else { return Ok(()) };
        let Some(id) = self.some_column(table.live_columns().map(|column| column.id)) else { return Ok(()) };
        let (name, columns, unique) = (self.names.next("i"), vec![id], self.dice.one_in(2));
        let savepoint = self.txn.savepoint();
        let made = if table.primary_key.is_none() && self.dice.one_in(3) {
            self.txn.add_primary_key(table.id, &name, &columns)
        } else {
            self.txn.create_index(table.id, IndexDefinition { name, columns, unique, constraint: unique })
        };
        match made {
            Ok(schema) => {
                let known = self.known(table.id)?;
                known.schema = schema;
                let twice = known.rows.iter().any(|(key, row)| known.conflicts(row, Some(key)));
                hold!(!twice, "a unique index over duplicates in {}", table.name);
                Ok(())
            }
            Err(error) => {
                let may = [SqlState::UNIQUE_VIOLATION, SqlState::NOT_NULL_VIOLATION];
                self.take_back(error.into_error(), &may, &savepoint)
            }
        }
    }

    fn drop_index(&mut self) -> Result<()> {
        let Some(table) = self.some_table() else { return Ok(()) };
        let Some(index) = self.dice.pick(&table.indexes) else { return Ok(()) };
        let schema = self.txn.drop_index(table.id, index.id)?;
        self.known(table.id)?.schema = schema;
        Ok(())
    }

    fn truncate(&mut self) -> Result<()> {
        let Some(table) = self.some_table() else { return Ok(()) };
        let count = self.txn.truncate(table.id)?;
        let known = self.known(table.id)?;
        hold!(count == known.rows.len() as u64, "TRUNCATE of {} rows counted {count}", known.rows.len());
        known.rows.clear();
        self.truncated = true;
        Ok(())
    }

    fn insert(&mut self) -> Result<()> {
        let Some(table) = self.some_table() else { return Ok(()) };
        for _ in 0..=self.dice.below(4) {
            let row = self.some_values(&table);
            let conflict = self.known(table.id)?.conflicts(&row, None);
            match self.txn.insert_row(&table, row.clone())? {
                InsertOutcome::Inserted { key } => {
                    hold!(!conflict, "a duplicate was taken: {row:?}");
                    let old = self.known(table.id)?.rows.insert(key, Arc::new(row));
                    hold!(old.is_none(), "an insert replaced {old:?}");
                }
                InsertOutcome::Conflict { key, .. } => {
                    hold!(conflict, "{row:?} is no duplicate");
                    hold!(self.known(table.id)?.rows.contains_key(&key), "a conflict with a row that is not there");
                }
            }
        }
        Ok(())
    }

    fn lock(&mut self, table: &TableSchema, key: &[u8]) -> Result<()> {
        match self.txn.lock_row(table, key, LockMode::Update, LockWait::NoWait)? {
            RowLock::Unchanged => Ok(()),
            changed => wrong!("the row has changed though nobody else was there: {changed:?}"),
        }
    }

    fn update(&mut self) -> Result<()> {
        let Some(table) = self.some_table() else { return Ok(()) };
        let Some((key, old)) = self.some_row(table.id) else { return Ok(()) };
        let mut new = self.some_values(&table);
        for (column, value) in table.columns.iter().zip(&mut new) {
            if column.dropped || self.dice.one_in(2) {
                *value = Table::value(&old, column.id).clone();
            }
        }
        let nulls = table.live_columns().any(|column| column.not_null && Table::value(&new, column.id).is_null());
        let conflict = self.known(table.id)?.conflicts(&new, Some(&key));
        self.lock(&table, &key)?;
        match self.txn.update_row(&table, &key, &old, new.clone()) {
            Ok(moved) => {
                hold!(!conflict && !nulls, "an update to {new:?} was taken");
                let known = self.known(table.id)?;
                known.rows.remove(&key);
                known.rows.insert(moved, Arc::new(new));
                Ok(())
            }
            Err(error) if nulls && error.state == SqlState::NOT_NULL_VIOLATION => Ok(()),
            Err(error) if conflict && error.state == SqlState::UNIQUE_VIOLATION => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn delete(&mut self) -> Result<()> {
        let Some(table) = self.some_table() else { return Ok(()) };
        let Some((key, old)) = self.some_row(table.id) else { return Ok(()) };
        self.lock(&table, &key)?;
        self.txn.delete_row(&table, &key, &old)?;
        self.known(table.id)?.rows.remove(&key);
        Ok(())
    }
}

/// Whether two moments are the same.
fn same(one: &State, other: &State) -> bool {
    let equal = |(id, table): (&TreeId, &Table)| {
        other.get(id).is_some_and(|other| table.schema == other.schema && table.rows == other.rows)
    };
    one.len() == other.len() && one.iter().all(equal)
}

fn column(position: u16, name: &str, data_type: DataType) -> Column {
    Column {
        id: ColumnId(position),
        name: name.to_owned(),
        data_type,
        not_null: false,
        default: None,
        missing: None,
        dropped: false,
    }
}
