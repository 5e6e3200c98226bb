//! NOT NULL, keys, unique indexes, and what is written at all.

use std::sync::Arc;

use driftdb_engine::{InsertOutcome, LockMode, LockWait, TxnOptions, index_entry};
use driftdb_store::ReadPoint;
use driftdb_types::{ColumnId, KeyRange, SqlState, TableSchema, Value};

use crate::support::*;

/// Every index of a table holds exactly one entry for each row, with the row's key.
pub(crate) fn check_indexes(engine: &driftdb_engine::Engine, table: &TableSchema) {
    let view = engine.view();
    let rows = rows(&begin(engine), table);
    for index in &table.indexes {
        let mut expected: Vec<_> =
            rows.iter().map(|(key, values)| (index_entry(index, values, key).key, key.clone())).collect();
        expected.sort();
        let entries = view.scan(index.id, &KeyRange::all(), ReadPoint::Latest, false).unwrap();
        let found: Vec<_> = entries.map(|entry| entry.unwrap()).map(|entry| (entry.key, entry.payload)).collect();
        assert_eq!(found, expected, "index {}", index.name);
    }
}

#[test]
fn not_null_and_key_violations_are_worded_as_postgresql_does() {
    let (_sim, engine) = sim(20);
    let mut schema = definition("t", true);
    schema.columns[1].not_null = true;
    schema.indexes = vec![index("t_b_key", 2, true)];
    let table = create(&engine, schema);
    let mut txn = begin(&engine);
    let error = txn.insert_row(&table, vec![Value::Int4(1), Value::Null, Value::Text("x".to_owned())]).unwrap_err();
    assert_eq!(error.state, SqlState::NOT_NULL_VIOLATION);
    assert_eq!(error.message, "null value in column \"a\" of relation \"t\" violates not-null constraint");
    assert_eq!(error.detail.as_deref(), Some("Failing row contains (1, null, x)."));
    let error = txn.insert_row(&table, vec![Value::Null, Value::Int4(1), Value::Null]).unwrap_err();
    assert!(error.message.contains("column \"id\""), "a key is never NULL: {error}");
    insert(&mut txn, &table, row(1, 2, "x")).unwrap();
    let error = insert(&mut txn, &table, row(1, 3, "y")).unwrap_err();
    assert_eq!(error.state, SqlState::UNIQUE_VIOLATION);
    assert_eq!(error.message, "duplicate key value violates unique constraint \"t_pkey\"");
    assert_eq!(error.detail.as_deref(), Some("Key (id)=(1) already exists."));
    let error = insert(&mut txn, &table, row(2, 3, "x")).unwrap_err();
    assert_eq!(error.message, "duplicate key value violates unique constraint \"t_b_key\"");
    assert_eq!(error.detail.as_deref(), Some("Key (b)=(x) already exists."));
    commit(txn);
    assert_eq!(committed(&engine, &table), [row(1, 2, "x")]);
    check_indexes(&engine, &table);
}

#[test]
fn a_conflict_names_the_arbiter_and_the_other_row_and_leaves_no_lock() {
    let (_sim, engine) = sim(21);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_b_key", 2, true)];
    let table = create(&engine, schema);
    let mut setup = begin(&engine);
    let first = insert(&mut setup, &table, row(1, 0, "x")).unwrap();
    let second = insert(&mut setup, &table, row(2, 0, "y")).unwrap();
    commit(setup);
    let mut txn = begin(&engine);
    let conflict = |constraint: &str, key: &bytes::Bytes| InsertOutcome::Conflict {
        constraint: constraint.to_owned(),
        key: key.clone(),
    };
    assert_eq!(txn.insert_row(&table, row(1, 0, "y")).unwrap(), conflict("t_pkey", &first));
    assert_eq!(txn.insert_row_unless(&table, row(1, 0, "y"), Some("t_b_key")).unwrap(), conflict("t_b_key", &second));
    let mut other = begin(&engine);
    other.lock_row(&table, &first, LockMode::Update, LockWait::NoWait).unwrap();
    other.lock_row(&table, &second, LockMode::Update, LockWait::NoWait).unwrap();
    assert!(txn.commit(&meta()).unwrap().is_none());
}

#[test]
fn null_is_no_duplicate() {
    let (_sim, engine) = sim(22);
    let mut schema = definition("t", false);
    schema.indexes = vec![index("t_a_key", 1, true)];
    let table = create(&engine, schema);
    let mut txn = begin(&engine);
    for id in 0..3 {
        insert(&mut txn, &table, vec![Value::Int4(id), Value::Null, Value::Null]).unwrap();
    }
    commit(txn);
    check_indexes(&engine, &table);
    let mut txn = begin(&engine);
    let error = update(&mut txn, &table, |row| {
        let mut row = row.clone();
        row[1] = Value::Int4(1);
        Some(row)
    });
    assert_eq!(error.unwrap_err().state, SqlState::UNIQUE_VIOLATION);
}

#[test]
fn keys_move_and_indexes_follow() {
    let (_sim, engine) = sim(23);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_key", 1, true), index("t_b_idx", 2, false)];
    let table = create(&engine, schema);
    let mut txn = begin(&engine);
    for id in 0..10 {
        insert(&mut txn, &table, row(id, id * 10, if id % 2 == 0 { "even" } else { "odd" })).unwrap();
    }
    commit(txn);
    check_indexes(&engine, &table);
    // Downwards, so that no key is taken yet when it is needed.
    let mut txn = begin(&engine);
    update(&mut txn, &table, |row| {
        let mut row = row.clone();
        row[0] = Value::Int4(int(&row, 0) - 1);
        row[1] = Value::Int4(int(&row, 1) - 10);
        row[2] = Value::Text("same".to_owned());
        Some(row)
    })
    .unwrap();
    commit(txn);
    check_indexes(&engine, &table);
    let expected: Vec<_> = (-1..9).map(|id| row(id, id * 10, "same")).collect();
    assert_eq!(committed(&engine, &table), expected);
    // Upwards the first row meets the second, as in PostgreSQL.
    let mut txn = begin(&engine);
    let error = update(&mut txn, &table, |row| {
        let mut row = row.clone();
        row[0] = Value::Int4(int(&row, 0) + 1);
        Some(row)
    })
    .unwrap_err();
    assert_eq!(error.detail.as_deref(), Some("Key (id)=(0) already exists."));
    // The failed statement left nothing.
    assert_eq!(values(&txn, &table), expected);
    delete(&mut txn, &table, |row| int(row, 0) > 3).unwrap();
    commit(txn);
    check_indexes(&engine, &table);
}

#[test]
fn what_comes_to_nothing_is_no_commit_and_no_version() {
    let (_sim, engine) = sim(24);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_key", 1, true)];
    let table = create(&engine, schema);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 1, "x")).unwrap();
    let first = commit(txn);

    let mut txn = begin(&engine);
    assert_eq!(update(&mut txn, &table, |row| Some(row.clone())).unwrap(), 1);
    insert(&mut txn, &table, row(2, 2, "y")).unwrap();
    delete(&mut txn, &table, |row| int(row, 0) == 2).unwrap();
    delete(&mut txn, &table, |_| true).unwrap();
    insert(&mut txn, &table, row(1, 1, "x")).unwrap();
    assert!(txn.has_writes());
    assert_eq!(txn.commit(&meta()).unwrap(), None);
    assert_eq!(engine.stamp(), first);

    // Of several changes of one row in a commit, the last makes the version.
    let mut txn = begin(&engine);
    for b in ["p", "q", "r"] {
        update(&mut txn, &table, |_| Some(row(1, 1, b))).unwrap();
    }
    let second = commit(txn);
    assert_eq!(second.seq, first.seq.next());
    let versions = engine.view().versions(table.id, &KeyRange::all(), driftdb_store::Period::All).unwrap();
    assert_eq!(versions.count(), 2);
    check_indexes(&engine, &table);
}

#[test]
fn savepoints_take_back_rows_and_definitions() {
    let (_sim, engine) = sim(25);
    let table = create(&engine, definition("t", true));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 1, "kept")).unwrap();
    let savepoint = txn.savepoint();
    insert(&mut txn, &table, row(2, 2, "lost")).unwrap();
    update(&mut txn, &table, |old| Some(row(int(old, 0), 9, "lost"))).unwrap();
    txn.create_table(definition("u", true)).unwrap();
    assert!(txn.catalog().table("u").is_some());
    txn.rollback_to(&savepoint);
    assert!(txn.catalog().table("u").is_none());
    assert_eq!(values(&txn, &table), [row(1, 1, "kept")]);
    insert(&mut txn, &table, row(2, 3, "again")).unwrap();
    txn.rollback_to(&savepoint);
    commit(txn);
    assert_eq!(committed(&engine, &table), [row(1, 1, "kept")]);
}

#[test]
fn own_changes_are_read_forwards_backwards_and_in_ranges() {
    let (_sim, engine) = sim(26);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    for id in (0..1_000).step_by(2) {
        insert(&mut setup, &table, row(id, 0, "old")).unwrap();
    }
    commit(setup);
    let mut txn = begin(&engine);
    delete(&mut txn, &table, |row| int(row, 0) % 10 == 0).unwrap();
    for id in (1..1_000).step_by(2) {
        insert(&mut txn, &table, row(id, 0, "new")).unwrap();
    }
    let expected: Vec<i32> = (0..1_000).filter(|id| id % 10 != 0).collect();
    let ids = |range: &KeyRange, reverse| -> Vec<i32> {
        let scan = txn.scan(table.id, range, reverse).unwrap();
        scan.map(|entry| int(&driftdb_types::decode_row(&table, &entry.unwrap().payload).unwrap(), 0)).collect()
    };
    assert_eq!(ids(&KeyRange::all(), false), expected);
    let backwards: Vec<i32> = expected.iter().rev().copied().collect();
    assert_eq!(ids(&KeyRange::all(), true), backwards);
    let key = |id: i32| driftdb_types::encode_key(&[Value::Int4(id)]);
    for (low, high) in [(0, 0), (5, 5), (7, 3), (99, 400), (-5, 2_000)] {
        use std::ops::Bound::{Excluded, Included};
        let range = KeyRange { start: Included(key(low)), end: Excluded(key(high)) };
        let within: Vec<i32> = expected.iter().copied().filter(|id| (low..high).contains(id)).collect();
        assert_eq!(ids(&range, false), within, "{low}..{high}");
        assert_eq!(ids(&range, true), within.iter().rev().copied().collect::<Vec<_>>());
        let range = KeyRange { start: Excluded(key(low)), end: Included(key(high)) };
        let within: Vec<i32> = expected.iter().copied().filter(|id| *id > low && *id <= high).collect();
        assert_eq!(ids(&range, false), within, "({low}..{high}]");
    }
    // A reader does not see what is written after it was made.
    let reader = txn.reader();
    let before = reader.scan(table.id, &KeyRange::all(), false).unwrap();
    delete(&mut txn, &table, |_| true).unwrap();
    assert_eq!(before.count(), expected.len());
    assert_eq!(values(&txn, &table).len(), 0);
}

#[test]
fn bounds_are_errors() {
    let sim = driftdb_env::Env::sim(27);
    let options = driftdb_engine::EngineOptions { transaction_bytes_max: 20_000, locks_max: 50, ..options() };
    let engine = driftdb_engine::Engine::open(sim.env.clone(), std::path::Path::new(DIR), options).unwrap();
    let table = create(&engine, definition("t", false));
    let mut txn = begin(&engine);
    let error = (0..1_000).find_map(|id| insert(&mut txn, &table, row(id, 0, "0123456789")).err()).unwrap();
    assert_eq!(error.state, SqlState::OUT_OF_MEMORY);
    drop(txn);
    let keyed = create(&engine, definition("k", true));
    let mut txn = begin(&engine);
    let error = (0..1_000).find_map(|id| insert(&mut txn, &keyed, row(id, 0, "")).err()).unwrap();
    assert!(error.message.contains("locks"), "{error}");
    drop(txn);
    let mut txn = engine.begin(TxnOptions { read_only: true, ..TxnOptions::default() }, Arc::default());
    let error = insert(&mut txn, &table, row(1, 1, "")).unwrap_err();
    assert_eq!(error.state, SqlState::READ_ONLY_SQL_TRANSACTION);
}

#[test]
fn keys_have_a_bound() {
    let (_sim, engine) = sim(29);
    let mut schema = definition("t", true);
    schema.primary_key.as_mut().unwrap().columns = vec![ColumnId(2), ColumnId(0)];
    let clustered = create(&engine, schema);
    let mut schema = definition("h", false);
    schema.indexes = vec![index("h_b_idx", 2, false)];
    let heap = create(&engine, schema);
    let plain = create(&engine, definition("p", false));
    let (long, short) = ("x".repeat(9_000), "x".repeat(7_000));
    let mut txn = begin(&engine);
    for (table, name) in [(&clustered, "t_pkey"), (&heap, "h_b_idx")] {
        let key = insert(&mut txn, table, row(1, 1, &short)).unwrap();
        let inserted = insert(&mut txn, table, row(2, 2, &long)).unwrap_err();
        let updated = txn.update_row(table, &key, &row(1, 1, &short), row(1, 1, &long)).unwrap_err();
        for error in [inserted, updated] {
            assert_eq!(error.state, SqlState::PROGRAM_LIMIT_EXCEEDED);
            assert!(error.message.contains(name) && error.message.contains("90"), "{error}");
        }
        assert_eq!(values(&txn, table), [row(1, 1, &short)]);
    }
    insert(&mut txn, &plain, row(1, 1, &long)).unwrap();
    let definition = driftdb_engine::IndexDefinition {
        name: "p_b_idx".to_owned(),
        columns: vec![ColumnId(2)],
        unique: false,
        constraint: false,
    };
    let error = txn.create_index(plain.id, definition).unwrap_err().into_error();
    assert_eq!(error.state, SqlState::PROGRAM_LIMIT_EXCEEDED);
}

/// An engine whose transactions may take this much memory together.
fn with_budget(bytes: usize) -> driftdb_engine::Engine {
    let options = driftdb_engine::EngineOptions { transaction_bytes_max: bytes, ..options() };
    driftdb_engine::Engine::open(driftdb_env::Env::sim(30).env, std::path::Path::new(DIR), options).unwrap()
}

#[test]
fn what_savepoints_hold_is_counted() {
    let engine = with_budget(1 << 20);
    let table = create(&engine, definition("t", true));
    let text = |round: i32| format!("{round}{}", "x".repeat(50_000));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, &text(0))).unwrap();
    let mut savepoints = Vec::new();
    let mut rounds = 0..1_000;
    let error = rounds
        .find_map(|round| {
            savepoints.push(txn.savepoint());
            update(&mut txn, &table, |_| Some(row(1, 0, &text(round)))).err()
        })
        .expect("a savepoint a round, and no bound");
    assert_eq!(error.state, SqlState::OUT_OF_MEMORY);
    // Released, or rolled back to, they give it back.
    let last = savepoints.swap_remove(0);
    savepoints.clear();
    txn.rollback_to(&last);
    for round in 0..1_000 {
        update(&mut txn, &table, |_| Some(row(1, 0, &text(round)))).unwrap();
    }
    drop(last);
    commit(txn);
}

#[test]
fn all_transactions_share_one_budget() {
    let engine = with_budget(100_000);
    let table = create(&engine, definition("t", true));
    let mut first = begin(&engine);
    let text = "x".repeat(60_000);
    insert(&mut first, &table, row(1, 0, &text)).unwrap();
    let mut second = begin(&engine);
    let error = insert(&mut second, &table, row(2, 0, &text)).unwrap_err();
    assert_eq!(error.state, SqlState::OUT_OF_MEMORY);
    commit(first);
    insert(&mut second, &table, row(2, 0, &text)).unwrap();
    drop(second);
    // Locks count too.
    let mut locker = begin(&engine);
    let error = (0..10_000)
        .find_map(|id| {
            locker
                .lock_row(&table, &driftdb_types::encode_key(&[Value::Int4(id)]), LockMode::Update, LockWait::Wait)
                .err()
        })
        .unwrap();
    assert_eq!(error.state, SqlState::OUT_OF_MEMORY);
    drop(locker);
    let mut last = begin(&engine);
    insert(&mut last, &table, row(2, 0, &text)).unwrap();
    commit(last);
}

#[test]
fn composite_keys_and_row_numbers() {
    let (_sim, engine) = sim(28);
    let mut schema = definition("t", true);
    schema.primary_key.as_mut().unwrap().columns = vec![ColumnId(2), ColumnId(0)];
    let table = create(&engine, schema);
    let mut txn = begin(&engine);
    for (id, b) in [(1, "b"), (2, "a"), (3, "b"), (1, "a")] {
        insert(&mut txn, &table, row(id, 0, b)).unwrap();
    }
    commit(txn);
    let expected = [row(1, 0, "a"), row(2, 0, "a"), row(1, 0, "b"), row(3, 0, "b")];
    assert_eq!(committed(&engine, &table), expected);

    let heap = create(&engine, definition("h", false));
    let mut txn = begin(&engine);
    for id in [3, 1, 2] {
        insert(&mut txn, &heap, row(id, 0, "")).unwrap();
    }
    commit(txn);
    let order: Vec<i32> = committed(&engine, &heap).iter().map(|row| int(row, 0)).collect();
    assert_eq!(order, [3, 1, 2], "rows without a key stand in the order of their insertion");
}
