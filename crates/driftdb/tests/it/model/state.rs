//! What the model knows: tables, columns and rows as plain data, the whole of it once for every commit.
//!
//! Values are kept as the text PostgreSQL prints; [`None`] is NULL. Two values are equal when their texts are, which
//! the pools of values see to.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driftdb::{DataType, Value};
use driftdb_types::{TimeZone, format_value, parse_value};

pub(super) type Cell = Option<String>;
pub(super) type Uid = u64;
/// What a row is known by: the primary key's values where it orders the rows, else a number of the model's own.
pub(super) type Key = Vec<String>;

/// A type and some of its values.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) sql: &'static str,
    pub(super) data: DataType,
    pub(super) pool: &'static [&'static str],
    /// Whether literals may stand without quotes.
    pub(super) bare: bool,
    /// Whether the model knows its order.
    pub(super) ordered: bool,
}

macro_rules! types {
    ($($name:ident $sql:literal $data:expr, $bare:literal $ordered:literal [$($value:literal)*];)*) => {
        $(static $name: Type = Type { sql: $sql, data: $data, bare: $bare, ordered: $ordered, pool: &[$($value),*] };)*
        pub(super) static TYPES: &[&Type] = &[$(&$name),*];
    };
}

types! {
    INT4 "integer" DataType::Int4, true true ["-3" "0" "1" "2" "3" "5" "7" "100"];
    INT4_AGAIN "int" DataType::Int4, true true ["1" "2" "3" "4" "6"];
    INT8 "bigint" DataType::Int8, true true ["-9007199254740993" "-1" "0" "1" "2" "9007199254740993"];
    INT2 "smallint" DataType::Int2, true true ["-300" "0" "1" "2" "300"];
    TEXT "text" DataType::Text, false true ["" "a" "ab" "b" "it's" "é" "NULL" "a b"];
    VARCHAR "varchar(6)" DataType::Varchar(Some(6)), false true ["" "x" "xyz" "xyzxyz"];
    CHAR "char(4)" DataType::Char(4), false true ["    " "ab  " "abcd"];
    BOOL "boolean" DataType::Bool, false false ["t" "f"];
    NUMERIC "numeric(8,2)" DataType::Numeric(Some((8, 2))), true true ["-12.34" "0.00" "1.50" "2.00" "999999.99"];
    FREE "numeric" DataType::Numeric(None), true true ["-0.001" "0" "1" "12345678901234567890.5"];
    FLOAT8 "double precision" DataType::Float8, true true ["-0.25" "0" "1.5" "100" "1e+20"];
    DATE "date" DataType::Date, false true ["1999-12-31" "2024-02-29" "2026-11-01"];
    TIME "time" DataType::Time, false true ["00:00:00" "12:34:56.789" "23:59:59.999999"];
    STAMP "timestamp" DataType::Timestamp, false true ["1999-12-31 23:59:59.999999" "2024-02-29 12:34:56"];
    ZONED "timestamptz" DataType::TimestampTz, false true ["2024-02-29 12:34:56+00" "2026-11-01 10:00:00.5+00"];
    BYTEA "bytea" DataType::Bytea, false true ["\\x" "\\x00" "\\x00ff" "\\xff"];
    UUID "uuid" DataType::Uuid, false true
        ["00000000-0000-0000-0000-000000000001" "6ba7b810-9dad-11d1-80b4-00c04fd430c8" "ffffffff-ffff-ffff-ffff-ffffffffffff"];
    INTERVAL "interval" DataType::Interval, false false ["1 day" "02:03:04.5" "1 year 2 mons"];
    JSONB "jsonb" DataType::Jsonb, false false ["null" "1" "{\"a\": [1, \"b\"]}"];
}

impl Type {
    /// Whether a key may have it.
    pub(super) fn can_be_key(&self) -> bool {
        self.ordered && !matches!(self.data, DataType::Float8 | DataType::Time)
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(self.data, DataType::Int2 | DataType::Int4 | DataType::Int8)
    }

    pub(super) fn value(&self, cell: &Cell) -> Value {
        match cell {
            None => Value::Null,
            Some(text) => parse_value(self.data, text, &TimeZone::utc()).unwrap(),
        }
    }

    pub(super) fn cell(&self, value: &Value) -> Cell {
        (!value.is_null()).then(|| format_value(value, self.data, &TimeZone::utc()))
    }

    pub(super) fn compare(&self, a: &str, b: &str) -> Ordering {
        match self.data {
            DataType::Int2 | DataType::Int4 | DataType::Int8 => {
                a.parse::<i64>().unwrap().cmp(&b.parse::<i64>().unwrap())
            }
            DataType::Numeric(_) | DataType::Float8 => a.parse::<f64>().unwrap().total_cmp(&b.parse::<f64>().unwrap()),
            _ => a.cmp(b),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: usize,
    pub(super) not_null: bool,
    pub(super) default: Cell,
    /// What rows have that were written before the column was added.
    pub(super) missing: Cell,
    pub(super) dropped: bool,
}

impl Column {
    pub(super) fn kind(&self) -> &'static Type {
        TYPES[self.kind]
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) columns: Vec<usize>,
    pub(super) unique: bool,
    pub(super) constraint: bool,
    pub(super) primary: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) columns: Vec<Column>,
    /// The primary key that orders the rows.
    pub(super) clustered: Option<Vec<usize>>,
    pub(super) indexes: Vec<Index>,
}

impl Definition {
    pub(super) fn live(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| !column.dropped)
    }

    pub(super) fn primary(&self) -> Option<&Vec<usize>> {
        let later = || self.indexes.iter().find(|index| index.primary).map(|index| &index.columns);
        self.clustered.as_ref().or_else(later)
    }

    /// The columns of each constraint that two rows cannot both fulfil with equal values.
    pub(super) fn unique(&self) -> impl Iterator<Item = &Vec<usize>> {
        self.clustered.iter().chain(self.indexes.iter().filter(|index| index.unique).map(|index| &index.columns))
    }

    /// Whether some key is kept beside the rows.
    pub(super) fn has_unique_index(&self) -> bool {
        self.indexes.iter().any(|index| index.unique)
    }

    /// A row's values, one for every column the table ever had.
    pub(super) fn padded(&self, values: &[Cell]) -> Vec<Cell> {
        let missing = self.columns.iter().skip(values.len()).map(|column| column.missing.clone());
        values.iter().cloned().chain(missing).collect()
    }

    /// What `SELECT *` gives.
    pub(super) fn shown(&self, values: &[Cell]) -> Vec<Cell> {
        let padded = self.padded(values);
        self.live().map(|(id, _)| padded[id].clone()).collect()
    }

    pub(super) fn key_of(&self, values: &[Cell]) -> Option<Key> {
        let key = self.clustered.as_ref()?;
        Some(key.iter().map(|id| values[*id].clone().unwrap()).collect())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) values: Vec<Cell>,
    /// The commit that made this version; 0 while it is not committed.
    pub(super) from: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) definition: Arc<Definition>,
    pub(super) rows: BTreeMap<Key, Row>,
}

impl Table {
    /// The first row other than `own` that has the same values in `columns`.
    pub(super) fn conflict(&self, columns: &[usize], values: &[Cell], own: Option<&Key>) -> Option<&Key> {
        let same = |row: &Row| {
            let other = self.definition.padded(&row.values);
            columns.iter().all(|id| values[*id].is_some() && values[*id] == other[*id])
        };
        self.rows.iter().find(|(key, row)| Some(*key) != own && same(row)).map(|(key, _)| key)
    }

    /// All rows as `SELECT *` gives them, in the order of their texts.
    pub(super) fn shown(&self) -> Vec<Vec<Cell>> {
        let mut rows: Vec<_> = self.rows.values().map(|row| self.definition.shown(&row.values)).collect();
        rows.sort();
        rows
    }
}

/// Everything at one moment.
pub(super) type State = BTreeMap<Uid, Arc<Table>>;

pub(super) fn named<'s>(state: &'s State, name: &str) -> Option<(Uid, &'s Arc<Table>)> {
    state.iter().find(|(_, table)| table.definition.name == name).map(|(uid, table)| (*uid, table))
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) row: Option<Vec<Cell>>,
    /// The definition under which the transaction first and last touched the row, and whether TRUNCATE was the first:
    /// then a version is made even where the values are the old ones.
    first_version: u32,
    last_version: u32,
    truncated: bool,
}

/// What a transaction has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Overlay {
    pub(super) definitions: BTreeMap<Uid, Option<Arc<Definition>>>,
    pub(super) rows: BTreeMap<Uid, BTreeMap<Key, Change>>,
}

impl Overlay {
    pub(super) fn put(&mut self, uid: Uid, key: Key, row: Option<Vec<Cell>>, version: u32, truncated: bool) {
        let rows = self.rows.entry(uid).or_default();
        let new = Change { row, first_version: version, last_version: version, truncated };
        rows.entry(key)
            .and_modify(|change| {
                change.row.clone_from(&new.row);
                change.last_version = version;
            })
            .or_insert(new);
    }

    /// The state with these changes.
    pub(super) fn on(&self, base: &State) -> State {
        let mut state = base.clone();
        for (uid, definition) in &self.definitions {
            match definition {
                None => drop(state.remove(uid)),
                Some(definition) => {
                    let rows = state.get(uid).map(|table| table.rows.clone()).unwrap_or_default();
                    state.insert(*uid, Arc::new(Table { definition: Arc::clone(definition), rows }));
                }
            }
        }
        for (uid, changes) in &self.rows {
            let Some(table) = state.get_mut(uid) else { continue };
            let table = Arc::make_mut(table);
            for (key, change) in changes {
                match &change.row {
                    Some(values) => drop(table.rows.insert(key.clone(), Row { values: values.clone(), from: 0 })),
                    None => drop(table.rows.remove(key)),
                }
            }
        }
        state
    }

    /// The state after the commit `seq`, and how many rows it wrote; nothing when nothing changed.
    pub(super) fn commit(&self, last: &State, seq: u64) -> Option<(State, u64)> {
        let mut state = self.on(last);
        let mut written = 0;
        for (uid, changes) in &self.rows {
            let before = last.get(uid);
            let made_here = before.is_none();
            for (key, change) in changes {
                let old = before.and_then(|table| table.rows.get(key));
                // A table that is made and dropped at once never had rows.
                if made_here && !state.contains_key(uid) {
                    continue;
                }
                let changed = match (old, &change.row) {
                    (None, None) => false,
                    (Some(old), Some(new)) => {
                        let definition = self.definition(*uid, last);
                        let same = definition.padded(&old.values) == definition.padded(new);
                        !same || change.truncated || change.first_version != change.last_version
                    }
                    _ => true,
                };
                written += u64::from(changed);
                let Some(row) = state.get_mut(uid).and_then(|table| Arc::make_mut(table).rows.get_mut(key)) else {
                    continue;
                };
                match old {
                    Some(old) if !changed => *row = old.clone(),
                    _ => row.from = seq,
                }
            }
        }
        let definitions = self
            .definitions
            .iter()
            .any(|(uid, definition)| definition.as_ref() != last.get(uid).map(|table| &table.definition));
        (written > 0 || definitions).then_some((state, written))
    }

    fn definition(&self, uid: Uid, last: &State) -> Arc<Definition> {
        match self.definitions.get(&uid) {
            Some(Some(definition)) => Arc::clone(definition),
            _ => Arc::clone(&last[&uid].definition),
        }
    }
}

/// What a transaction may have locked, or a statement is going to.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks {
    pub(super) tables: BTreeSet<Uid>,
    pub(super) exclusive: BTreeSet<Uid>,
    /// Tables with a unique index beside the rows of which keys may be locked.
    pub(super) keys: BTreeSet<Uid>,
    pub(super) rows: BTreeSet<(Uid, Key)>,
    pub(super) names: bool,
}

impl Locks {
    /// Whether one would wait for the other.
    pub(super) fn collide(&self, other: &Locks) -> bool {
        !self.exclusive.is_disjoint(&other.tables)
            || !other.exclusive.is_disjoint(&self.tables)
            || !self.keys.is_disjoint(&other.keys)
            || !self.rows.is_disjoint(&other.rows)
            || (self.names && other.names)
    }

    pub(super) fn add(&mut self, other: &Locks) {
        self.tables.extend(&other.tables);
        self.exclusive.extend(&other.exclusive);
        self.keys.extend(&other.keys);
        self.rows.extend(other.rows.iter().cloned());
        self.names |= other.names;
    }
}

/// A version of a row over all time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Version {
    pub(super) values: Vec<Cell>,
    pub(super) from: u64,
    pub(super) to: Option<u64>,
    /// Whether another version took its place at its end.
    pub(super) replaced: bool,
    /// Whether it took the place of another one at its beginning.
    pub(super) follows: bool,
}

/// Every version of a table's rows, from the states after each commit (the first before any).
pub(super) fn versions(commits: &[State], uid: Uid) -> Vec<Version> {
    let mut done = Vec::new();
    let mut open: BTreeMap<Key, Version> = BTreeMap::new();
    for (seq, state) in commits.iter().enumerate() {
        let Some(table) = state.get(&uid) else { continue };
        let seq = seq as u64;
        let ended: Vec<Key> = open
            .iter()
            .filter(|(key, version)| table.rows.get(*key).is_none_or(|row| row.from != version.from))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended {
            let mut version = open.remove(&key).unwrap();
            version.to = Some(seq);
            version.replaced = table.rows.contains_key(&key);
            if let Some(row) = table.rows.get(&key) {
                let next = Version { values: row.values.clone(), from: seq, to: None, replaced: false, follows: true };
                open.insert(key, next);
            }
            done.push(version);
        }
        for (key, row) in &table.rows {
            open.entry(key.clone()).or_insert_with(|| Version {
                values: row.values.clone(),
                from: row.from,
                to: None,
                replaced: false,
                follows: false,
            });
        }
    }
    done.extend(open.into_values());
    done
}
