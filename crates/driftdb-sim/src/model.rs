//! What the database is to be: everything, at every commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use driftdb_engine::index_entry;
use driftdb_types::{Column, ColumnId, CommitSeq, DataType, IndexSchema, Stamp, TableSchema, TreeId, Value};
use imbl::OrdMap;

pub(crate) type Row = Arc<Vec<Value>>;

/// A table at one moment. A copy costs nothing.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) rows: OrdMap<Bytes, Row>,
}

/// Everything at one moment.
pub(crate) type State = BTreeMap<TreeId, Table>;

/// The keys that tables ever had rows of.
pub(crate) type Keys = BTreeMap<TreeId, BTreeSet<Bytes>>;

/// The list of commits, with what each left.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The first stands for the time before any.
    commits: Vec<(Stamp, State)>,
    /// What a commit would have left of which nobody knows whether it is there.
    pub(crate) unsettled: Option<State>,
}

/// The keys of all rows in these states.
pub(crate) fn keys_of<'s>(states: impl IntoIterator<Item = &'s State>) -> Keys {
    let mut keys = Keys::new();
    for (id, table) in states.into_iter().flatten() {
        keys.entry(*id).or_default().extend(table.rows.keys().cloned());
    }
    keys
}

impl Model {
    pub(crate) fn new() -> Model {
        Model { commits: vec![(Stamp::ZERO, State::new())], unsettled: None }
    }

    pub(crate) fn commits(&self) -> &[(Stamp, State)] {
        &self.commits
    }

    pub(crate) fn last(&self) -> Stamp {
        self.commits.last().map_or(Stamp::ZERO, |(stamp, _)| *stamp)
    }

    pub(crate) fn state(&self) -> State {
        self.commits.last().map(|(_, state)| state.clone()).unwrap_or_default()
    }

    pub(crate) fn at(&self, seq: CommitSeq) -> Option<&(Stamp, State)> {
        self.commits.get(usize::try_from(seq.0).ok()?)
    }

    pub(crate) fn push(&mut self, stamp: Stamp, state: State) {
        self.commits.push((stamp, state));
    }

    /// The last commit at or before a time.
    pub(crate) fn seq_at(&self, time_us: i64) -> CommitSeq {
        self.commits.iter().rev().find(|(stamp, _)| stamp.time_us <= time_us).map_or(CommitSeq::ZERO, |(at, _)| at.seq)
    }

    /// The keys of all rows that there ever were.
    pub(crate) fn keys_ever(&self) -> Keys {
        keys_of(self.commits.iter().map(|(_, state)| state))
    }

    /// There never were rows of these keys.
    pub(crate) fn erase(&mut self, table: TreeId, keys: &BTreeSet<Bytes>) {
        for table in self.commits.iter_mut().filter_map(|(_, state)| state.get_mut(&table)) {
            for key in keys {
                table.rows.remove(key);
            }
        }
    }

    /// The model of a database that has lost what came after a commit.
    pub(crate) fn until(&self, last: CommitSeq) -> Model {
        let commits = self.commits.iter().take_while(|(stamp, _)| stamp.seq <= last);
        Model { commits: commits.cloned().collect(), unsettled: None }
    }
}

impl Table {
    pub(crate) fn value(row: &[Value], id: ColumnId) -> &Value {
        row.get(usize::from(id.0)).unwrap_or(&Value::Null)
    }

    /// Takes another definition, which may have more columns.
    pub(crate) fn define(&mut self, schema: Arc<TableSchema>) {
        let widened = self.rows.iter().map(|(key, row)| {
            let mut row = Vec::clone(row);
            row.extend(schema.columns.iter().skip(row.len()).map(missing_value));
            (key.clone(), Arc::new(row))
        });
        self.rows = widened.collect();
        self.schema = schema;
    }

    /// Whether a row like this cannot be beside the others (`own` is the one it replaces).
    pub(crate) fn conflicts(&self, row: &[Value], own: Option<&Bytes>) -> bool {
        let key = self.schema.primary_key.iter().map(|key| &key.columns);
        let unique = self.schema.indexes.iter().filter(|index| index.unique).map(|index| &index.columns);
        let mut groups = key.chain(unique).filter(|columns| columns.iter().all(|id| !Table::value(row, *id).is_null()));
        groups.any(|columns| {
            let same = |other: &Row| columns.iter().all(|id| Table::value(row, *id) == Table::value(other, *id));
            self.rows.iter().any(|(key, other)| Some(key) != own && same(other))
        })
    }

    /// What an index is to hold: keys, and the rows they lead to.
    pub(crate) fn entries(&self, index: &IndexSchema) -> Vec<(Bytes, Bytes)> {
        let entry = |(key, row): (&Bytes, &Row)| (index_entry(index, row, key).key, key.clone());
        let mut entries: Vec<_> = self.rows.iter().map(entry).collect();
        entries.sort();
        entries
    }
}

/// The value in rows of before the column.
fn missing_value(column: &Column) -> Value {
    match (column.missing.as_deref(), column.data_type) {
        (None, _) => Value::Null,
        (Some(text), DataType::Int4) => text.parse().map_or(Value::Null, Value::Int4),
        (Some(text), DataType::Int8) => text.parse().map_or(Value::Null, Value::Int8),
        (Some(text), DataType::Bool) => Value::Bool(text == "t"),
        (Some(text), _) => Value::Text(text.to_owned()),
    }
}
