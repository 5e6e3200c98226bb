//! ERASE: nothing is left in any file, the rest is what it was, and the chain of commits still holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftdb_engine::{Cancel, Certificate, CommitDigest, Engine, clustered_key};
use driftdb_env::{Disk, FailMode, OpenOptions, SimDisk, SimEnv};
use driftdb_store::{Period, ReadPoint};
use driftdb_types::{CommitSeq, DataType, Interval, KeyRange, SqlState, TableSchema, TreeId, Value, decode_row};

use crate::support::{DIR, Row, begin, column, commit, create, definition, index, insert, meta, open, sim, update};

/// What no compression makes anything else of, and no encoding of keys.
fn canary(n: u8) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(u64::from(n) + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state as u8).max(1)
    };
    std::iter::repeat_with(&mut next).take(32).collect()
}

fn person(id: i32, n: u8) -> Row {
    vec![Value::Int4(id), Value::Int4(i32::from(n)), Value::Bytea(canary(n))]
}

/// People with secrets: of each there are a version in history, one in the base, and one that only log and memtable have; and
/// one person was deleted long ago.
fn database(seed: u64, retention: Option<Interval>) -> (SimEnv, Engine, Arc<TableSchema>) {
    let (sim, engine) = sim(seed);
    let mut schema = definition("people", true);
    schema.columns[2] = column(2, "secret", DataType::Bytea);
    schema.indexes.push(index("people_secret", 2, false));
    schema.retention = retention;
    let table = create(&engine, schema);
    let mut txn = begin(&engine);
    for id in 1..=4 {
        insert(&mut txn, &table, person(id, id as u8)).unwrap();
    }
    commit(txn);
    engine.store().flush().unwrap();
    for round in 1..=2_u8 {
        for id in 1..=4 {
            let mut txn = begin(&engine);
            let change = |row: &Row| (row[0] == Value::Int4(id)).then(|| person(id, id as u8 + 10 * round));
            update(&mut txn, &table, change).unwrap();
            commit(txn);
        }
        if round == 1 {
            engine.store().flush().unwrap();
        }
    }
    let mut txn = begin(&engine);
    let key = key_of(&table, 4);
    txn.delete_row(&table, &key, &person(4, 24)).unwrap();
    commit(txn);
    (sim, engine, table)
}

fn key_of(table: &TableSchema, id: i32) -> Bytes {
    clustered_key(table, &person(id, 1)).unwrap()
}

fn erase(engine: &Engine, table: &TableSchema, ids: &[i32]) -> Certificate {
    let keys: BTreeSet<Bytes> = ids.iter().map(|id| key_of(table, *id)).collect();
    engine.erase(table, &keys, &meta(), &Arc::new(Cancel::new())).unwrap()
}

/// The files in which these bytes are found.
fn files_with(disk: &SimDisk, needle: &[u8]) -> Vec<PathBuf> {
    let dir = Path::new(DIR);
    let mut found = Vec::new();
    for place in [dir.to_owned(), dir.join("history"), dir.join("log")] {
        for name in disk.list(&place).unwrap() {
            let file = disk.open(&place.join(&name), OpenOptions::READ).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_at(0, &mut bytes).unwrap();
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(place.join(name));
            }
        }
    }
    found
}

/// The secrets of a person, oldest first.
fn secrets(id: i32) -> [Vec<u8>; 3] {
    [0, 10, 20].map(|round| canary(id as u8 + round))
}

fn ids_at(engine: &Engine, table: &TableSchema, seq: CommitSeq) -> Vec<Row> {
    let scan = engine.view().scan(table.id, &KeyRange::all(), ReadPoint::AsOf(seq), false).unwrap();
    scan.map(|version| decode_row(table, &version.unwrap().payload).unwrap()).collect()
}

fn digest(engine: &Engine) -> CommitDigest {
    let view = engine.view();
    engine.digest(&view, view.stamp().seq).unwrap().unwrap()
}

fn sound(engine: &Engine, noted: &[CommitDigest]) {
    assert_eq!(engine.verify(noted).unwrap().findings, Vec::<String>::new());
}

#[test]
fn nothing_is_left_in_any_file_and_the_rest_is_what_it_was() {
    let (sim, engine, table) = database(1, None);
    let noted = digest(&engine);
    engine.store().flush().unwrap();
    for secret in secrets(2) {
        assert!(!files_with(&sim.disk, &secret).is_empty(), "the test could not fail");
    }
    let before: Vec<Vec<Row>> = (1..=noted.seq.0).map(|seq| ids_at(&engine, &table, CommitSeq(seq))).collect();
    // The one who was deleted long ago, too.
    let certificate = erase(&engine, &table, &[2, 4]);
    assert_eq!((certificate.rows, certificate.versions, certificate.table), (2, 6, table.id));
    let check = |engine: &Engine, disk: &SimDisk| {
        for id in [2, 4] {
            for secret in secrets(id) {
                assert_eq!(files_with(disk, &secret), Vec::<PathBuf>::new(), "person {id}");
            }
        }
        for (seq, rows) in (1..).zip(&before) {
            let kept: Vec<Row> =
                rows.iter().filter(|row| ![Value::Int4(2), Value::Int4(4)].contains(&row[0])).cloned().collect();
            assert_eq!(ids_at(engine, &table, CommitSeq(seq)), kept, "as of {seq}");
        }
        let index = table.indexes[0].id;
        assert_eq!(engine.view().versions(index, &KeyRange::all(), Period::All).unwrap().count(), 6);
        sound(engine, &[noted]);
    };
    check(&engine, &sim.disk);
    for kept in [1, 3] {
        for secret in secrets(kept) {
            assert!(!files_with(&sim.disk, &secret).is_empty(), "person {kept}");
        }
    }
    let later = digest(&engine);
    engine.close().unwrap();
    let engine = open(&sim.env);
    check(&engine, &sim.disk);
    // Once more, of a commit some of whose writes are erased already; and of somebody who comes again.
    let mut txn = begin(&engine);
    insert(&mut txn, &table, person(2, 99)).unwrap();
    commit(txn);
    assert_eq!(erase(&engine, &table, &[1]).versions, 3);
    sound(&engine, &[noted, later]);
    assert_eq!(erase(&engine, &table, &[2, 3]).versions, 4);
    sound(&engine, &[noted, later]);
    for id in 1..=4 {
        assert!(secrets(id).iter().all(|secret| files_with(&sim.disk, secret).is_empty()));
    }
    assert!(files_with(&sim.disk, &canary(99)).is_empty());
    assert_eq!(erase(&engine, &table, &[7]).versions, 0, "nobody of that name");
    sound(&engine, &[noted, later]);
    engine.close().unwrap();
    sound(&open(&sim.env), &[noted, later]);
}

/// An index that was dropped has entries still, for those who read when it was there.
#[test]
fn a_dropped_index_keeps_nothing_either() {
    let (sim, engine, table) = database(6, None);
    let mut txn = begin(&engine);
    let index = table.indexes[0].id;
    txn.drop_index(table.id, index).unwrap();
    commit(txn);
    engine.store().flush().unwrap();
    let schema = engine.catalog().table("people").unwrap().clone();
    erase(&engine, &schema, &[1, 4]);
    for id in [1, 4] {
        for secret in secrets(id) {
            assert_eq!(files_with(&sim.disk, &secret), Vec::<PathBuf>::new(), "person {id}");
        }
    }
    assert_eq!(engine.view().versions(index, &KeyRange::all(), Period::All).unwrap().count(), 6);
    sound(&engine, &[]);
}

/// What is kept in place of what was erased is no place to hide something.
#[test]
fn an_erasure_without_its_certificate_is_found() {
    let (_sim, engine, table) = database(2, None);
    let certificate = erase(&engine, &table, &[1]);
    sound(&engine, &[]);
    let forged = driftdb_store::ErasedWrite {
        tree: table.id,
        seq: CommitSeq(2),
        place: 3,
        erasure: certificate.number + 1,
        digest: certificate.digest,
    };
    let none: &dyn Fn(TreeId, &driftdb_store::Version) -> bool = &|_, _| false;
    let erasure = driftdb_store::Erasure { trees: &[], goes: none, erased: &[forged], erasing: "" };
    engine.store().erase(&erasure).unwrap();
    let findings = engine.verify(&[]).unwrap().findings;
    assert!(findings.iter().any(|what| what.contains("has no certificate")), "{findings:?}");
}

#[test]
fn retention_and_erasure_go_together() {
    let ten_days = Interval { days: 10, ..Interval::default() };
    let (sim, engine, table) = database(3, Some(ten_days));
    let noted = digest(&engine);
    sim.clock.advance(Duration::from_secs(11 * 86_400));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, person(5, 5)).unwrap();
    commit(txn);
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    sound(&engine, &[noted]);
    erase(&engine, &table, &[1]);
    sound(&engine, &[noted]);
    assert!(secrets(1).iter().all(|secret| files_with(&sim.disk, secret).is_empty()));
    sim.clock.advance(Duration::from_secs(11 * 86_400));
    engine.collect_garbage().unwrap();
    engine.store().flush().unwrap();
    while engine.store().compact().unwrap() {}
    sound(&engine, &[noted]);
    engine.close().unwrap();
    sound(&open(&sim.env), &[noted]);
}

/// Whoever reads an older state goes on to its end; and a wait for him can be cancelled.
#[test]
fn it_waits_for_those_who_read() {
    let (_sim, engine, table) = database(4, None);
    let old = engine.view();
    let cancel = Arc::new(Cancel::new());
    let keys = BTreeSet::from([key_of(&table, 1)]);
    std::thread::scope(|scope| {
        let erasing = scope.spawn(|| engine.erase(&table, &keys, &meta(), &cancel));
        while engine.stamp() == old.stamp() {
            std::thread::yield_now();
        }
        assert!(old.get(table.id, &keys.first().unwrap().clone(), ReadPoint::Latest).unwrap().is_some());
        cancel.cancel();
        assert_eq!(erasing.join().unwrap().unwrap_err().state, SqlState::QUERY_CANCELED);
    });
    assert_eq!(
        old.get(table.id, &keys.first().unwrap().clone(), ReadPoint::Latest).unwrap().unwrap().key,
        key_of(&table, 1)
    );
    drop(old);
    sound(&engine, &[]);
    // The row is deleted; what it was is erased by the next attempt.
    assert_eq!(erase(&engine, &table, &[1]).versions, 3);
    sound(&engine, &[]);
}

/// A power cut at any change of the disk: afterwards all of it is erased with its certificate, or nothing is.
#[test]
fn a_crash_leaves_it_done_or_not_begun() {
    let changes = {
        let (sim, engine, table) = database(5, None);
        let before = sim.disk.changes();
        erase(&engine, &table, &[2]);
        sim.disk.changes() - before
    };
    let (mut done, mut undone) = (0, 0);
    for nth in 1..=changes {
        let (sim, engine, table) = database(5, None);
        let noted = digest(&engine);
        sim.disk.fail_after(nth, FailMode::Crash);
        let keys = BTreeSet::from([key_of(&table, 2)]);
        let result = engine.erase(&table, &keys, &meta(), &Arc::new(Cancel::new()));
        drop(engine);
        sim.disk.crash();
        let engine = open(&sim.env);
        let versions =
            engine.view().versions(table.id, &KeyRange::point(&key_of(&table, 2)), Period::All).unwrap().count();
        let left: Vec<Vec<u8>> =
            secrets(2).into_iter().filter(|secret| !files_with(&sim.disk, secret).is_empty()).collect();
        if versions == 0 {
            assert!(left.is_empty(), "{nth}: {} secrets are left", left.len());
            done += 1;
        } else {
            assert!(result.is_err() && versions == 3, "{nth}: {versions} versions");
            undone += 1;
        }
        sound(&engine, &[noted]);
        assert_eq!(erase(&engine, &table, &[2]).versions, if versions == 0 { 0 } else { 3 });
        assert!(secrets(2).iter().all(|secret| files_with(&sim.disk, secret).is_empty()));
        sound(&engine, &[noted]);
    }
    assert!(done > 3 && undone > 3, "{done} done, {undone} not");
}
