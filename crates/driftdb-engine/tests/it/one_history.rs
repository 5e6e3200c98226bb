//! Threads that commit at once, and the one history their commits make.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_engine::{Engine, InsertOutcome, Isolation, clustered_key, index_entry};
use driftdb_env::{Env, Rand, SimRand};
use driftdb_store::{ReadPoint, StoreView};
use driftdb_types::{CommitSeq, IndexSchema, KeyRange, SqlState, Stamp, TableSchema, decode_row};

use crate::support::*;

/// A table at one moment.
struct Table {
    schema: Arc<TableSchema>,
    rows: BTreeMap<Bytes, Row>,
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

fn check_indexes_at(view: &Arc<StoreView>, table: &Table, seq: CommitSeq) {
    for index in &table.schema.indexes {
        let scan = view.scan(index.id, &KeyRange::all(), ReadPoint::AsOf(seq), false).unwrap();
        let found: Vec<_> = scan.map(|entry| entry.unwrap()).map(|entry| (entry.key, entry.payload)).collect();
        assert_eq!(found, entries(table, index), "index {} at {seq}", index.name);
    }
}

fn entries(table: &Table, index: &IndexSchema) -> Vec<(Bytes, Bytes)> {
    let mut entries: Vec<_> =
        table.rows.iter().map(|(key, row)| (index_entry(index, row, key).key, key.clone())).collect();
    entries.sort();
    entries
}
