//! SERIALIZABLE: what was read is true at the commit, or there is no commit.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use driftdb_engine::{Cancel, Engine, EngineOptions, Isolation, LockMode, LockWait, Transaction, TxnOptions};
use driftdb_env::Env;
use driftdb_types::{Error, KeyRange, SqlState, TableSchema, Value, decode_row, encode_key};

use crate::support::{
    DIR, Row, begin, begin_at, commit, committed, create, definition, index, insert, meta, options, row, sim, values,
};

/// A table with the rows 1 to 5, `a` being ten times the id, and an index on `a`.
fn fixture(engine: &Engine) -> Arc<TableSchema> {
    let mut schema = definition("t", true);
    schema.indexes.push(index("t_a", 1, false));
    let table = create(engine, schema);
    let mut txn = begin(engine);
    for id in 1..=5 {
        insert(&mut txn, &table, row(id, 10 * id, "")).unwrap();
    }
    commit(txn);
    table
}

fn serializable(engine: &Engine) -> Transaction {
    begin_at(engine, Isolation::Serializable)
}

fn key(id: i32) -> Vec<u8> {
    encode_key(&[Value::Int4(id)])
}

/// The row of that key, locked.
fn locked(txn: &mut Transaction, table: &TableSchema, id: i32) -> Row {
    txn.lock_row(table, &key(id), LockMode::Update, LockWait::Wait).unwrap();
    decode_row(table, &txn.get(table.id, &key(id)).unwrap().unwrap().payload).unwrap()
}

/// Changes a row without a look at others.
fn put(txn: &mut Transaction, table: &Arc<TableSchema>, new: Row) {
    let Value::Int4(id) = new[0] else { panic!("{new:?}") };
    let old = locked(txn, table, id);
    txn.update_row(table, &key(id), &old, new).unwrap();
}

fn remove(txn: &mut Transaction, table: &Arc<TableSchema>, id: i32) {
    let old = locked(txn, table, id);
    txn.delete_row(table, &key(id), &old).unwrap();
}

fn read(txn: &Transaction, table: &TableSchema, id: i32) -> bool {
    txn.get(table.id, &key(id)).unwrap().is_some()
}

fn range(from: i32, to: i32) -> KeyRange {
    KeyRange { start: Bound::Included(key(from)), end: Bound::Excluded(key(to)) }
}

fn fails(txn: Transaction) -> Error {
    let error = txn.commit(&meta()).unwrap_err();
    assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE);
    error
}

#[test]
fn of_two_that_read_what_the_other_writes_the_second_fails() {
    let (_sim, engine) = sim(1);
    let table = fixture(&engine);
    let (mut first, mut second) = (serializable(&engine), serializable(&engine));
    assert!(read(&first, &table, 1) && read(&first, &table, 2));
    assert!(read(&second, &table, 1) && read(&second, &table, 2));
    put(&mut first, &table, row(1, 11, "first"));
    put(&mut second, &table, row(2, 21, "second"));
    let stamp = commit(first);
    let error = fails(second);
    assert_eq!(
        error.detail.unwrap(),
        format!("Commit {} changed what this transaction had read of relation \"t\".", stamp.seq)
    );
    assert_eq!(committed(&engine, &table)[1], row(2, 20, ""));
}

#[test]
fn what_was_not_there_when_it_was_looked_for_may_not_come() {
    let (_sim, engine) = sim(2);
    let table = fixture(&engine);
    for look in [
        // A key, a range of keys, a range of an index.
        (|txn: &Transaction, table: &TableSchema| assert!(!read(txn, table, 7))) as fn(&Transaction, &TableSchema),
        |txn, table| assert_eq!(txn.scan(table.id, &range(6, 9), false).unwrap().count(), 0),
        |txn, table| assert_eq!(txn.scan(table.indexes[0].id, &range(65, 75), true).unwrap().count(), 0),
    ] {
        let mut txn = serializable(&engine);
        look(&txn, &table);
        put(&mut txn, &table, row(1, 10, "looked"));
        let mut other = begin(&engine);
        insert(&mut other, &table, row(7, 70, "")).unwrap();
        commit(other);
        fails(txn);
        let mut other = begin(&engine);
        remove(&mut other, &table, 7);
        commit(other);
    }
}

#[test]
fn what_lies_outside_of_the_range_that_was_read_may_change() {
    let (_sim, engine) = sim(3);
    let table = fixture(&engine);
    let mut txn = serializable(&engine);
    assert_eq!(txn.scan(table.id, &range(2, 4), false).unwrap().count(), 2);
    // Of this one only the first row was asked for.
    let first = txn.scan(table.id, &range(4, 100), false).unwrap().next().unwrap().unwrap();
    assert_eq!(first.key, key(4));
    put(&mut txn, &table, row(3, 30, "read"));
    let mut other = begin(&engine);
    put(&mut other, &table, row(1, 11, "below"));
    put(&mut other, &table, row(5, 51, "beyond"));
    insert(&mut other, &table, row(50, 0, "")).unwrap();
    commit(other);
    commit(txn);
}

#[test]
fn a_scan_that_is_still_open_counts_as_a_whole() {
    let (_sim, engine) = sim(4);
    let table = fixture(&engine);
    let mut txn = serializable(&engine);
    let mut scan = txn.scan(table.id, &KeyRange::all(), false).unwrap();
    scan.next().unwrap().unwrap();
    put(&mut txn, &table, row(1, 10, "x"));
    let mut other = begin(&engine);
    put(&mut other, &table, row(5, 51, ""));
    commit(other);
    fails(txn);
    assert_eq!(scan.count(), 4, "it goes on reading its snapshot");
}

#[test]
fn who_only_reads_never_fails() {
    let (_sim, engine) = sim(5);
    let table = fixture(&engine);
    let reader = serializable(&engine);
    let read_only = {
        let options = TxnOptions { isolation: Isolation::Serializable, read_only: true };
        let mut txn = engine.begin(options, Arc::new(Cancel::new()));
        txn.begin_statement().unwrap();
        txn
    };
    let before = values(&reader, &table);
    let mut other = begin(&engine);
    put(&mut other, &table, row(1, 0, "changed"));
    commit(other);
    assert_eq!(values(&reader, &table), before);
    assert_eq!(values(&read_only, &table), before);
    assert_eq!(reader.commit(&meta()).unwrap(), None);
    assert_eq!(read_only.commit(&meta()).unwrap(), None);
}

#[test]
fn a_key_found_taken_must_stay_taken() {
    let (_sim, engine) = sim(6);
    let table = fixture(&engine);
    let mut txn = serializable(&engine);
    assert_eq!(insert(&mut txn, &table, row(1, 0, "")).unwrap_err().state, SqlState::UNIQUE_VIOLATION);
    put(&mut txn, &table, row(2, 20, "since 1 is taken"));
    let mut other = begin(&engine);
    remove(&mut other, &table, 1);
    commit(other);
    fails(txn);
}

#[test]
fn a_key_taken_since_the_snapshot_is_no_duplicate_but_a_reason_to_retry() {
    let (_sim, engine) = sim(7);
    let table = fixture(&engine);
    let mut txn = serializable(&engine);
    assert!(!read(&txn, &table, 9));
    let mut other = begin(&engine);
    insert(&mut other, &table, row(9, 0, "")).unwrap();
    commit(other);
    assert_eq!(insert(&mut txn, &table, row(9, 1, "")).unwrap_err().state, SqlState::SERIALIZATION_FAILURE);
}

#[test]
fn another_definition_of_a_table_that_was_read_is_a_change() {
    let (_sim, engine) = sim(8);
    let table = fixture(&engine);
    let other_table = create(&engine, definition("u", true));
    for (fresh, fails_on_it) in [("unread", false), ("t_renamed", true)] {
        let mut txn = serializable(&engine);
        assert_eq!(txn.scan(table.indexes[0].id, &range(10, 20), false).unwrap().count(), 1);
        insert(&mut txn, &other_table, row(i32::from(fails_on_it), 0, "")).unwrap();
        let mut ddl = begin(&engine);
        if fails_on_it {
            ddl.put_table(table.id, TableSchema { name: fresh.to_owned(), ..TableSchema::clone(&table) }).unwrap();
        } else {
            ddl.create_table(definition(fresh, true)).unwrap();
        }
        commit(ddl);
        if fails_on_it {
            fails(txn);
        } else {
            commit(txn);
        }
    }
}

#[test]
fn a_lock_makes_sure_that_the_commit_goes_through() {
    let (_sim, engine) = sim(9);
    let table = fixture(&engine);
    let mut txn = serializable(&engine);
    txn.lock_row(&table, &key(1), LockMode::Update, LockWait::Wait).unwrap();
    assert!(read(&txn, &table, 1));
    let mut other = begin(&engine);
    put(&mut other, &table, row(2, 21, ""));
    commit(other);
    put(&mut txn, &table, row(1, 11, ""));
    commit(txn);
}

#[test]
fn who_is_older_than_what_is_kept_is_told_so() {
    let sim = Env::sim(10);
    let options = EngineOptions { transaction_bytes_max: 64 << 10, ..options() };
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), options).unwrap();
    let table = fixture(&engine);
    let mut txn = serializable(&engine);
    assert!(read(&txn, &table, 1));
    put(&mut txn, &table, row(1, 11, ""));
    for round in 0..200 {
        let mut other = begin(&engine);
        put(&mut other, &table, row(5, round, ""));
        commit(other);
    }
    let error = fails(txn);
    assert!(error.message.contains("more was written"), "{error:?}");
}
