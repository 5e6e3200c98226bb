//! Stamps, and what is kept of commits.

use std::time::Duration;

use driftdb_engine::CommitMeta;
use driftdb_types::{CommitSeq, Value};

use crate::support::*;

#[test]
fn stamps_are_dense_and_rise_even_when_the_clock_jumps() {
    let sim = driftdb_env::Env::sim(60);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let start = engine.stamp();
    let mut last = start;
    for id in 0..10 {
        match id {
            3 => sim.clock.set_now_us(start.time_us - 1_000_000),
            7 => sim.clock.set_now_us(start.time_us + 5_000_000),
            _ => sim.clock.advance(Duration::from_nanos(1)),
        }
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(id, 0, "")).unwrap();
        let stamp = commit(txn);
        assert_eq!(stamp.seq, last.seq.next());
        assert!(stamp.time_us > last.time_us);
        last = stamp;
    }
    assert!(last.time_us >= start.time_us + 5_000_000);
}

#[test]
fn a_time_finds_its_commit() {
    let sim = driftdb_env::Env::sim(61);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let mut stamps = vec![engine.stamp()];
    for id in 0..40 {
        sim.clock.advance(Duration::from_micros(10 * (id as u64 % 4 + 1)));
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(id, 0, "")).unwrap();
        stamps.push(commit(txn));
        if id == 20 {
            engine.store().flush().unwrap();
        }
    }
    let view = engine.view();
    assert_eq!(engine.seq_at_time(&view, stamps[0].time_us - 1).unwrap(), CommitSeq::ZERO);
    for pair in stamps.windows(2) {
        for time_us in [pair[0].time_us, pair[0].time_us + 1, pair[1].time_us - 1] {
            let expected = if time_us >= pair[1].time_us { pair[1].seq } else { pair[0].seq };
            assert_eq!(engine.seq_at_time(&view, time_us).unwrap(), expected);
        }
    }
    let last = stamps.last().unwrap();
    assert_eq!(engine.seq_at_time(&view, last.time_us + 1_000).unwrap(), last.seq);
}

#[test]
fn a_commit_says_who_and_what() {
    let (_sim, engine) = sim(62);
    let table = create(&engine, definition("t", true));
    let mut schema = definition("u", true);
    schema.indexes = vec![index("u_a_idx", 1, false)];
    let indexed = create(&engine, schema);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, "")).unwrap();
    insert(&mut txn, &indexed, row(1, 0, "")).unwrap();
    insert(&mut txn, &indexed, row(2, 0, "")).unwrap();
    let meta = CommitMeta {
        user: "ann".to_owned(),
        application: "psql".to_owned(),
        client: "10.0.0.1".to_owned(),
        comment: Some("import".to_owned()),
    };
    let stamp = txn.commit(&meta).unwrap().unwrap();
    let view = engine.view();
    let record = engine.commit_record(&view, stamp.seq).unwrap().unwrap();
    assert_eq!((record.stamp, record.meta, record.rows), (stamp, meta, 3));
    assert_eq!(record.tables, [table.id, indexed.id]);
    assert_eq!(engine.commit_record(&view, stamp.seq.next()).unwrap(), None);
    let made = engine.commit_record(&view, CommitSeq(1)).unwrap().unwrap();
    assert_eq!((made.tables, made.rows), (vec![table.id], 0));
    let seqs = |reverse| -> Vec<u64> {
        let commits = engine.commits(&view, CommitSeq(2)..=CommitSeq(9), reverse).unwrap();
        commits.map(|commit| commit.unwrap().stamp.seq.0).collect()
    };
    assert_eq!(seqs(false), [2, 3]);
    assert_eq!(seqs(true), [3, 2]);
}

#[test]
fn row_numbers_and_ids_are_never_given_again() {
    let sim = driftdb_env::Env::sim(63);
    let mut keys = std::collections::BTreeSet::new();
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..6 {
        let engine = open(&sim.env);
        let table = match engine.catalog().table("t") {
            Some(table) => table.clone(),
            None => create(&engine, definition("t", false)),
        };
        let mut txn = begin(&engine);
        for id in 0..3 {
            let key = insert(&mut txn, &table, row(id, round, "")).unwrap();
            assert!(keys.insert(key), "a row number was given twice");
        }
        commit(txn);
        // The newest rows go: their numbers must not come back.
        let mut txn = begin(&engine);
        delete(&mut txn, &table, |_| true).unwrap();
        commit(txn);
        let extra = create(&engine, definition(&format!("extra{round}"), true));
        assert!(ids.insert(extra.id));
        let mut txn = begin(&engine);
        txn.drop_table(extra.id).unwrap();
        commit(txn);
        if round % 2 == 0 {
            engine.store().flush().unwrap();
        }
        if round % 3 == 0 {
            engine.close().unwrap();
        }
    }
    assert!(keys.iter().is_sorted());
    let last = driftdb_types::decode_key(keys.last().unwrap(), &[driftdb_types::DataType::Int8]).unwrap();
    assert!(matches!(last[0], Value::Int8(number) if number >= 18));
}
