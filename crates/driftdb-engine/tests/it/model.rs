//! Random schedules against a plain list of states.
//!
//! One transaction after the other changes rows and definitions, with savepoints, failures and no-ops, between flushes,
//! compactions, restarts and power cuts. The model keeps a copy of everything at every commit, as plain maps. In the
//! end (and now and then) every table is read at every stamp and compared, with its indexes and its definition.
//!
//! `DRIFTDB_MODEL_CASES` sets how many seeds are run, `DRIFTDB_MODEL_SEED` runs one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_engine::{
    Engine, EngineOptions, IndexDefinition, InsertOutcome, Isolation, LockMode, LockWait, RowLock, Savepoint,
    Transaction, clustered_key, index_entry,
};
use driftdb_env::{Env, Rand, SimEnv, SimRand};
use driftdb_store::{Period, ReadPoint, StoreView};
use driftdb_types::{
    Column, ColumnId, CommitSeq, DataType, KeyRange, SqlState, Stamp, TableSchema, TreeId, Value, decode_row,
};

use crate::support::*;

const CASES: u64 = 150;

/// A table as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Table {
    schema: Arc<TableSchema>,
    rows: BTreeMap<Bytes, Row>,
}

/// Everything, at one moment.
type State = BTreeMap<TreeId, Table>;

struct Model {
    sim: SimEnv,
    options: EngineOptions,
    engine: Engine,
    random: SimRand,
    /// The state after every commit, the first of them before any.
    commits: Vec<(Stamp, State)>,
    /// Transactions that only read, and what they are to see.
    readers: Vec<(Transaction, State)>,
    names: u32,
}

/// A transaction under way.
struct Running {
    txn: Transaction,
    state: State,
    savepoints: Vec<(Savepoint, State)>,
    /// A TRUNCATE may make versions where nothing changed.
    truncated: bool,
}

#[test]
fn every_stamp_is_as_it_was() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = variable("DRIFTDB_MODEL_SEED") {
        return run(seed);
    }
    for seed in 0..variable("DRIFTDB_MODEL_CASES").unwrap_or(CASES) {
        eprintln!("DRIFTDB_MODEL_SEED={seed}");
        run(seed);
    }
}

fn run(seed: u64) {
    let sim = Env::sim(seed);
    let mut options = options();
    options.log.segment_bytes = 16 << 10;
    options.store.compaction_fan_in = 2;
    options.background = seed.is_multiple_of(5);
    if seed.is_multiple_of(2) {
        // Whoever reads an old state is moved to newer layers at each flush.
        options.store.held_bytes_max = 0;
    }
    if options.background {
        options.store.memtable_bytes = 20_000;
    }
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), options.clone()).unwrap();
    let commits = vec![(Stamp::ZERO, State::new())];
    let random = SimRand::new(seed);
    let mut model = Model { sim, options, engine, random, commits, readers: Vec::new(), names: 0 };
    for _ in 0..30 {
        model.transaction();
        model.accident();
        if std::env::var_os("DRIFTDB_MODEL_SEED").is_some() {
            model.check();
        }
    }
    model.check();
    model.reopen(true);
    model.check();
}

impl Model {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % bound as u64) as usize
    }

    fn one_in(&self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn state(&self) -> &State {
        &self.commits.last().unwrap().1
    }

    fn transaction(&mut self) {
        let level = if self.one_in(2) { Isolation::RepeatableRead } else { Isolation::ReadCommitted };
        let mut running = Running {
            txn: begin_at(&self.engine, level),
            state: self.state().clone(),
            savepoints: Vec::new(),
            truncated: false,
        };
        for _ in 0..=self.below(12) {
            self.step(&mut running);
        }
        self.check_running(&running);
        if self.one_in(6) {
            return running.txn.rollback();
        }
        let expected = running.state != *self.state();
        self.sim.clock.advance(std::time::Duration::from_micros(self.below(5) as u64));
        let stamp = running.txn.commit(&meta()).unwrap();
        assert!(stamp.is_some() == expected || running.truncated, "changed: {expected}, {stamp:?}");
        if let Some(stamp) = stamp {
            assert_eq!(stamp.seq, self.commits.last().unwrap().0.seq.next());
            self.commits.push((stamp, running.state));
        }
    }

    fn step(&mut self, running: &mut Running) {
        match self.below(40) {
            0..=1 => self.create_table(running),
            2 if self.one_in(2) => self.drop_table(running),
            3..=5 => self.alter(running),
            6..=7 => self.create_index(running),
            8 => self.drop_index(running),
            9 if self.one_in(2) => self.truncate(running),
            10..=12 => running.savepoints.push((running.txn.savepoint(), running.state.clone())),
            13..=14 => {
                if !running.savepoints.is_empty() {
                    let at = self.below(running.savepoints.len());
                    running.savepoints.truncate(at + 1);
                    let (savepoint, state) = &running.savepoints[at];
                    running.txn.rollback_to(savepoint);
                    running.state = state.clone();
                }
            }
            15..=26 => self.insert(running),
            27..=34 => self.update(running),
            _ => self.delete(running),
        }
    }

    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    fn some_table(&self, running: &Running) -> Option<Arc<TableSchema>> {
        let tables: Vec<_> = running.state.values().collect();
        (!tables.is_empty()).then(|| Arc::clone(&tables[self.below(tables.len())].schema))
    }

    fn some_row(&self, running: &Running, table: &TableSchema) -> Option<(Bytes, Row)> {
        let rows = &running.state[&table.id].rows;
        let at = (!rows.is_empty()).then(|| self.below(rows.len()))?;
        rows.iter().nth(at).map(|(key, row)| (key.clone(), row.clone()))
    }

    fn some_value(&self, column: &Column) -> Value {
        if column.dropped || (!column.not_null && self.one_in(5)) {
            return Value::Null;
        }
        let number = self.below(30) as i32;
        match column.data_type {
            DataType::Int4 => Value::Int4(number - 10),
            DataType::Int8 => Value::Int8(i64::from(number) << 40),
            DataType::Bool => Value::Bool(number % 2 == 0),
            DataType::Text => Value::Text(["", "a", "ab", "b", "ccc\0d"][number as usize % 5].to_owned()),
            other => panic!("no value for {other:?}"),
        }
    }

    fn some_values(&self, table: &TableSchema) -> Row {
        table.columns.iter().map(|column| self.some_value(column)).collect()
    }

    fn create_table(&mut self, running: &mut Running) {
        if running.state.len() > 4 {
            return;
        }
        let mut schema = definition(&self.name("t"), self.one_in(2));
        if let Some(key) = schema.primary_key.as_mut().filter(|_| self.one_in(3)) {
            key.columns = vec![ColumnId(2), ColumnId(0)];
        }
        if self.one_in(2) {
            schema.indexes.push(index(&self.name("i"), 1, self.one_in(3)));
        }
        let schema = running.txn.create_table(schema).unwrap();
        running.state.insert(schema.id, Table { schema, rows: BTreeMap::new() });
    }

    fn drop_table(&mut self, running: &mut Running) {
        let Some(table) = self.some_table(running) else { return };
        running.txn.drop_table(table.id).unwrap();
        running.state.remove(&table.id);
    }

    fn alter(&mut self, running: &mut Running) {
        let Some(table) = self.some_table(running) else { return };
        let mut next = TableSchema::clone(&table);
        match self.below(4) {
            0 => next.name = self.name("t"),
            1 => {
                let used = |id: ColumnId| {
                    let in_key = table.primary_key.iter().any(|key| key.columns.contains(&id));
                    in_key || table.indexes.iter().any(|index| index.columns.contains(&id))
                };
                let free: Vec<_> =
                    table.live_columns().filter(|column| !used(column.id)).map(|column| column.id).collect();
                if free.is_empty() {
                    return;
                }
                let id = free[self.below(free.len())];
                next.columns[usize::from(id.0)].dropped = true;
                next.columns[usize::from(id.0)].not_null = false;
            }
            2 => {
                let types =
                    [(DataType::Int4, "7"), (DataType::Int8, "-1"), (DataType::Bool, "t"), (DataType::Text, "missing")];
                let (data_type, text) = types[self.below(types.len())];
                let id = next.columns.len() as u16;
                let missing = self.one_in(2).then(|| text.to_owned());
                let not_null = missing.is_some() && self.one_in(2);
                next.columns.push(Column { missing, not_null, ..column(id, &self.name("c"), data_type) });
            }
            _ => {
                let live: Vec<_> = table.live_columns().map(|column| column.id).collect();
                if live.is_empty() {
                    return;
                }
                let id = live[self.below(live.len())];
                next.columns[usize::from(id.0)].not_null ^= true;
            }
        }
        let savepoint = running.txn.savepoint();
        match running.txn.put_table(table.id, next) {
            Ok(schema) => {
                let known = running.state.get_mut(&table.id).unwrap();
                for row in known.rows.values_mut() {
                    for column in &schema.columns[row.len()..] {
                        row.push(missing_value(column));
                    }
                }
                known.schema = schema;
            }
            Err(error) => {
                assert_eq!(error.into_error().state, SqlState::NOT_NULL_VIOLATION);
                running.txn.rollback_to(&savepoint);
            }
        }
    }

    fn create_index(&mut self, running: &mut Running) {
        let Some(table) = self.some_table(running).filter(|table| table.indexes.len() < 3) else { return };
        let live: Vec<_> = table.live_columns().map(|column| column.id).collect();
        if live.is_empty() {
            return;
        }
        let columns = vec![live[self.below(live.len())]];
        let unique = self.one_in(2);
        let name = self.name("i");
        let savepoint = running.txn.savepoint();
        let made = if table.primary_key.is_none() && self.one_in(3) {
            running.txn.add_primary_key(table.id, &name, &columns)
        } else {
            running.txn.create_index(table.id, IndexDefinition { name, columns, unique, constraint: unique })
        };
        match made {
            Ok(schema) => running.state.get_mut(&table.id).unwrap().schema = schema,
            Err(error) => {
                let state = error.into_error().state;
                assert!([SqlState::UNIQUE_VIOLATION, SqlState::NOT_NULL_VIOLATION].contains(&state), "{state}");
                running.txn.rollback_to(&savepoint);
            }
        }
        check_unique(&running.state[&table.id]);
    }

    fn drop_index(&mut self, running: &mut Running) {
        let Some(table) = self.some_table(running).filter(|table| !table.indexes.is_empty()) else { return };
        let index = table.indexes[self.below(table.indexes.len())].id;
        let schema = running.txn.drop_index(table.id, index).unwrap();
        running.state.get_mut(&table.id).unwrap().schema = schema;
    }

    fn truncate(&mut self, running: &mut Running) {
        let Some(table) = self.some_table(running) else { return };
        let known = running.state.get_mut(&table.id).unwrap();
        assert_eq!(running.txn.truncate(table.id).unwrap(), known.rows.len() as u64);
        known.rows.clear();
        running.truncated = true;
    }

    fn insert(&mut self, running: &mut Running) {
        let Some(table) = self.some_table(running) else { return };
        for _ in 0..=self.below(4) {
            let row = self.some_values(&table);
            let known = running.state.get_mut(&table.id).unwrap();
            let conflict = conflicts(known, &row, None);
            match running.txn.insert_row(&table, row.clone()).unwrap() {
                InsertOutcome::Inserted { key } => {
                    assert!(!conflict, "a duplicate was taken");
                    assert!(known.rows.insert(key, row).is_none());
                }
                InsertOutcome::Conflict { key, .. } => {
                    assert!(conflict, "{row:?} is no duplicate");
                    assert!(known.rows.contains_key(&key), "the conflict is with a row");
                }
            }
        }
    }

    fn update(&mut self, running: &mut Running) {
        let Some(table) = self.some_table(running) else { return };
        let Some((key, old)) = self.some_row(running, &table) else { return };
        let mut new = self.some_values(&table);
        for (column, value) in table.columns.iter().zip(&mut new) {
            if column.dropped || self.one_in(2) {
                *value = old[usize::from(column.id.0)].clone();
            }
        }
        let nulls = table.live_columns().any(|column| column.not_null && new[usize::from(column.id.0)].is_null());
        let known = running.state.get_mut(&table.id).unwrap();
        let conflict = conflicts(known, &new, Some(&key));
        assert_eq!(running.txn.lock_row(&table, &key, LockMode::Update, LockWait::NoWait).unwrap(), RowLock::Unchanged);
        match running.txn.update_row(&table, &key, &old, new.clone()) {
            Ok(moved) => {
                assert!(!conflict && !nulls);
                known.rows.remove(&key);
                known.rows.insert(moved, new);
            }
            Err(error) if nulls => assert_eq!(error.state, SqlState::NOT_NULL_VIOLATION),
            Err(error) => {
                assert_eq!(error.state, SqlState::UNIQUE_VIOLATION);
                assert!(conflict, "{new:?} is no duplicate: {error}");
            }
        }
    }

    fn delete(&mut self, running: &mut Running) {
        let Some(table) = self.some_table(running) else { return };
        let Some((key, old)) = self.some_row(running, &table) else { return };
        assert_eq!(running.txn.lock_row(&table, &key, LockMode::Update, LockWait::NoWait).unwrap(), RowLock::Unchanged);
        running.txn.delete_row(&table, &key, &old).unwrap();
        running.state.get_mut(&table.id).unwrap().rows.remove(&key);
    }

    /// What may happen between two transactions.
    fn accident(&mut self) {
        match self.below(14) {
            0..=2 => drop(self.engine.store().flush().unwrap()),
            3..=4 => while self.engine.store().compact().unwrap() {},
            5 => self.reopen(true),
            6 => self.reopen(false),
            7 => self.check(),
            8 if self.readers.len() < 3 => {
                let reader = begin_at(&self.engine, Isolation::RepeatableRead);
                self.readers.push((reader, self.state().clone()));
            }
            9 => {
                if let Some((reader, state)) = self.readers.pop() {
                    check_transaction(&reader, &state);
                }
            }
            _ => {}
        }
    }

    /// Ends the engine, in order or with a power cut, and opens it again. Everything acknowledged is there.
    fn reopen(&mut self, in_order: bool) {
        self.readers.clear();
        if in_order {
            self.engine.close().unwrap();
        }
        // Ends the threads of the old engine, which is the last of its handles.
        let elsewhere = Env::sim(0);
        self.engine = open(&elsewhere.env);
        self.sim.disk.crash();
        self.engine = Engine::open(self.sim.env.clone(), Path::new(DIR), self.options.clone()).unwrap();
        assert_eq!(self.engine.stamp(), self.commits.last().unwrap().0);
    }

    fn check_running(&self, running: &Running) {
        check_transaction(&running.txn, &running.state);
    }

    /// Reads everything at every stamp.
    fn check(&self) {
        let view = self.engine.view();
        for (stamp, state) in &self.commits {
            let catalog = self.engine.catalog_at(&view, stamp.seq).unwrap();
            let tables: Vec<_> = catalog.tables().cloned().collect();
            let expected: Vec<_> = state.values().map(|table| Arc::clone(&table.schema)).collect();
            assert_eq!(tables, expected, "catalog at {}", stamp.seq);
            for table in state.values() {
                let scan = view.scan(table.schema.id, &KeyRange::all(), ReadPoint::AsOf(stamp.seq), false).unwrap();
                let found: Vec<_> = scan.map(|version| version.unwrap()).collect();
                let decoded: Vec<_> = found
                    .iter()
                    .map(|version| (version.key.clone(), decode_row(&table.schema, &version.payload).unwrap()))
                    .collect();
                let expected: Vec<_> = table.rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
                assert_eq!(decoded, expected, "table {} at {}", table.schema.name, stamp.seq);
                check_indexes_at(&view, table, stamp.seq);
            }
            if stamp.seq != CommitSeq::ZERO {
                let record = self.engine.commit_record(&view, stamp.seq).unwrap().unwrap();
                assert_eq!(record.stamp, *stamp);
                assert_eq!(self.engine.seq_at_time(&view, stamp.time_us).unwrap(), stamp.seq);
            }
        }
        self.check_versions(&view);
    }

    /// The versions of each table, over all time, are those that the states at the stamps say.
    fn check_versions(&self, view: &Arc<StoreView>) {
        let trees: std::collections::BTreeSet<TreeId> =
            self.commits.iter().flat_map(|(_, state)| state.keys().copied()).collect();
        for tree in trees {
            let versions: Vec<_> =
                view.versions(tree, &KeyRange::all(), Period::All).unwrap().map(|version| version.unwrap()).collect();
            assert!(versions.is_sorted_by_key(|version| (version.key.clone(), version.from)));
            for version in &versions {
                assert_eq!(self.commits[version.from.seq.0 as usize].0, version.from);
                assert!(version.to.is_none_or(|to| to > version.from));
            }
            for (stamp, state) in &self.commits {
                let Some(table) = state.get(&tree) else { continue };
                let alive = versions
                    .iter()
                    .filter(|version| version.from.seq <= stamp.seq && version.to.is_none_or(|to| to.seq > stamp.seq));
                let keys: Vec<_> = alive.map(|version| version.key.clone()).collect();
                assert!(keys.iter().eq(table.rows.keys()), "versions of {tree} at {}", stamp.seq);
            }
        }
    }
}

fn check_transaction(txn: &Transaction, state: &State) {
    let tables: Vec<_> = txn.catalog().tables().cloned().collect();
    assert_eq!(tables, state.values().map(|table| Arc::clone(&table.schema)).collect::<Vec<_>>());
    for table in state.values() {
        let expected: Vec<_> = table.rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        assert_eq!(rows(txn, &table.schema), expected);
        for (key, row) in &expected {
            let found = txn.get(table.schema.id, key).unwrap().unwrap();
            assert_eq!(decode_row(&table.schema, &found.payload).unwrap(), *row);
        }
        for index in &table.schema.indexes {
            let scan = txn.scan(index.id, &KeyRange::all(), false).unwrap();
            let found: Vec<_> = scan.map(|entry| entry.unwrap()).map(|entry| (entry.key, entry.payload)).collect();
            assert_eq!(found, entries(table, index));
        }
    }
}

fn check_indexes_at(view: &Arc<StoreView>, table: &Table, seq: CommitSeq) {
    for index in &table.schema.indexes {
        let scan = view.scan(index.id, &KeyRange::all(), ReadPoint::AsOf(seq), false).unwrap();
        let found: Vec<_> = scan.map(|entry| entry.unwrap()).map(|entry| (entry.key, entry.payload)).collect();
        assert_eq!(found, entries(table, index), "index {} at {seq}", index.name);
    }
}

fn entries(table: &Table, index: &driftdb_types::IndexSchema) -> Vec<(Bytes, Bytes)> {
    let mut entries: Vec<_> =
        table.rows.iter().map(|(key, row)| (index_entry(index, row, key).key, key.clone())).collect();
    entries.sort();
    entries
}

fn missing_value(column: &Column) -> Value {
    match (column.missing.as_deref(), column.data_type) {
        (None, _) => Value::Null,
        (Some(text), DataType::Int4) => Value::Int4(text.parse().unwrap()),
        (Some(text), DataType::Int8) => Value::Int8(text.parse().unwrap()),
        (Some(text), DataType::Bool) => Value::Bool(text == "t"),
        (Some(text), _) => Value::Text(text.to_owned()),
    }
}

/// Whether a row like this cannot be beside the others (`own` is the one it replaces).
fn conflicts(table: &Table, row: &Row, own: Option<&Bytes>) -> bool {
    let others = || table.rows.iter().filter(|(key, _)| Some(*key) != own).map(|(_, row)| row);
    let same = |columns: &[ColumnId], other: &Row| {
        columns.iter().all(|id| {
            let (mine, theirs) = (&row[usize::from(id.0)], &other[usize::from(id.0)]);
            !mine.is_null() && mine == theirs
        })
    };
    let key = table.schema.primary_key.as_ref().map(|key| key.columns.clone());
    let unique = table.schema.indexes.iter().filter(|index| index.unique).map(|index| index.columns.clone());
    key.into_iter().chain(unique).any(|columns| others().any(|other| same(&columns, other)))
}

fn check_unique(table: &Table) {
    for (key, row) in &table.rows {
        assert!(!conflicts(table, row, Some(key)), "a unique index over duplicates");
        if let Some(expected) = clustered_key(&table.schema, row) {
            assert_eq!(*key, expected);
        }
    }
}

/// Threads change a few rows at random; each remembers what its commits left. Put in the order of their stamps, these
/// changes give the state at every stamp.
#[test]
fn concurrent_commits_are_one_history() {
    for seed in 0..12 {
        concurrent_history(seed);
    }
}

fn concurrent_history(seed: u64) {
    let sim = Env::sim(seed);
    let mut small = options();
    small.background = true;
    small.store.memtable_bytes = 30_000;
    small.store.compaction_fan_in = 2;
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), small.clone()).unwrap();
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_idx", 1, false)];
    let table = create(&engine, schema);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (engine, table) = (engine.clone(), Arc::clone(&table));
            spawn(move || random_commits(&engine, &table, seed * 10 + thread))
        })
        .collect();
    let mut history: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    history.sort_by_key(|(stamp, _)| *stamp);
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), small).unwrap();
    let view = engine.view();
    let mut state = Table { schema: Arc::clone(&table), rows: BTreeMap::new() };
    for (stamp, changes) in history {
        for (key, row) in changes {
            match row {
                Some(row) => drop(state.rows.insert(key, row)),
                None => drop(state.rows.remove(&key)),
            }
        }
        let scan = view.scan(table.id, &KeyRange::all(), ReadPoint::AsOf(stamp.seq), false).unwrap();
        let found = scan.map(|version| version.unwrap());
        let found: Vec<_> = found.map(|version| (version.key, decode_row(&table, &version.payload).unwrap())).collect();
        assert_eq!(found, state.rows.clone().into_iter().collect::<Vec<_>>(), "seed {seed}, at {}", stamp.seq);
        check_indexes_at(&view, &state, stamp.seq);
    }
    engine.close().unwrap();
}

type Changes = BTreeMap<Bytes, Option<Row>>;

fn random_commits(engine: &Engine, table: &Arc<TableSchema>, seed: u64) -> Vec<(Stamp, Changes)> {
    let random = SimRand::new(seed);
    let below = |bound: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    };
    let mut history = Vec::new();
    for round in 0..40 {
        let level = if below(2) == 0 { Isolation::ReadCommitted } else { Isolation::RepeatableRead };
        let mut txn = begin_at(engine, level);
        let mut changes = Changes::new();
        let mut failed = false;
        for _ in 0..=below(3) {
            let id = below(12) as i32;
            let new = row(id, round, if below(2) == 0 { "x" } else { "yy" });
            let key = clustered_key(table, &new).unwrap();
            let result = match below(3) {
                0 => match txn.insert_row(table, new.clone()) {
                    Ok(InsertOutcome::Inserted { .. }) => {
                        changes.insert(key, Some(new));
                        Ok(())
                    }
                    Ok(InsertOutcome::Conflict { .. }) => Ok(()),
                    Err(error) => Err(error),
                },
                1 => update(&mut txn, table, |old| (int(old, 0) == id).then(|| new.clone())).map(|count| {
                    if count > 0 {
                        changes.insert(key, Some(new));
                    }
                }),
                _ => delete(&mut txn, table, |old| int(old, 0) == id).map(|count| {
                    if count > 0 {
                        changes.insert(key, None);
                    }
                }),
            };
            if let Err(error) = result {
                let expected = [SqlState::SERIALIZATION_FAILURE, SqlState::DEADLOCK_DETECTED];
                assert!(expected.contains(&error.state), "{error:?}");
                failed = true;
                break;
            }
        }
        if !failed && let Some(stamp) = txn.commit(&meta()).unwrap() {
            history.push((stamp, changes));
        }
    }
    history
}
