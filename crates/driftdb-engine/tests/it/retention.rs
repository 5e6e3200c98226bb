//! Retention and pins: what may go goes, and nothing that anybody could still ask for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driftdb_engine::{Engine, Pin};
use driftdb_env::{DiskOpKind, FailMode, OpenOptions, SimEnv};
use driftdb_store::{Period, ReadPoint, StoreError};
use driftdb_types::{CommitSeq, Interval, KeyRange, SqlState, TableSchema, TreeId, Value, decode_row};

use crate::support::{DIR, Row, begin, commit, create, definition, index, insert, open, row, sim, statement, update};

const DAY: Duration = Duration::from_secs(86_400);

fn days(days: i32) -> Interval {
    Interval { days, ..Interval::default() }
}

/// A table with an index, kept for ten days, and a row that changed once a day for thirty; and a table that is kept for ever.
fn database(seed: u64) -> (SimEnv, Engine, Arc<TableSchema>) {
    let (sim, engine) = sim(seed);
    let mut schema = definition("t", true);
    schema.indexes.push(index("t_a", 1, false));
    schema.retention = Some(days(10));
    let table = create(&engine, schema);
    let kept = create(&engine, definition("kept", true));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, "same")).unwrap();
    insert(&mut txn, &table, row(2, 0, "untouched")).unwrap();
    insert(&mut txn, &kept, row(1, 0, "kept")).unwrap();
    commit(txn);
    for day in 1..=30 {
        sim.clock.advance(DAY);
        let mut txn = begin(&engine);
        for table in [&table, &kept] {
            update(&mut txn, table, |row| (row[0] == Value::Int4(1)).then(|| self::row(1, day, "same"))).unwrap();
        }
        commit(txn);
        if day % 4 == 0 {
            engine.store().flush().unwrap();
        }
    }
    (sim, engine, table)
}

/// The commit of a day: the first two made the tables, the third the rows.
fn day(day: u64) -> CommitSeq {
    CommitSeq(3 + day)
}

fn rows_at(engine: &Engine, table: &TableSchema, seq: CommitSeq) -> Result<Vec<Row>, StoreError> {
    let scan = engine.view().scan(table.id, &KeyRange::all(), ReadPoint::AsOf(seq), false)?;
    scan.map(|version| Ok(decode_row(table, &version?.payload).unwrap())).collect()
}

fn values_of(day: i32) -> Vec<Row> {
    vec![row(1, day, "same"), row(2, 0, "untouched")]
}

fn history_rows(engine: &Engine, tree: TreeId) -> usize {
    engine.view().versions(tree, &KeyRange::all(), Period::All).unwrap().count()
}

fn sound(engine: &Engine) {
    assert_eq!(engine.verify(&[]).unwrap().findings, Vec::<String>::new());
}

fn is_beyond(result: Result<Vec<Row>, StoreError>) -> bool {
    matches!(result, Err(StoreError::BeyondHorizon { .. }))
}

fn check_kept(engine: &Engine, table: &TableSchema) {
    for old in 0..20 {
        assert!(is_beyond(rows_at(engine, table, day(old))), "day {old}");
    }
    for kept in 20..=30 {
        assert_eq!(rows_at(engine, table, day(kept)).unwrap(), values_of(kept as i32), "day {kept}");
    }
    let view = engine.view();
    let error = engine.check_horizon(&view, table, day(19)).unwrap_err();
    assert_eq!(error.state, SqlState::BEYOND_RETENTION_HORIZON);
    assert!(error.hint.unwrap().contains(&format!("@SEQ:{}", day(20))));
    engine.check_horizon(&view, table, day(20)).unwrap();
    let from = |start| view.versions(table.id, &KeyRange::all(), Period::Overlaps { start, end: day(25) });
    assert!(matches!(from(day(19)), Err(StoreError::BeyondHorizon { .. })));
    assert_eq!(from(day(20)).unwrap().count(), 5 + 1);
    let kept = engine.catalog().table("kept").unwrap().clone();
    assert_eq!(history_rows(engine, kept.id), 31, "another table's history is not touched");
    sound(engine);
}

/// Where collecting fails, on its way to the commit that says so or in it, nothing has changed.
#[test]
fn a_failed_collection_has_not_happened() {
    let (mut failed, mut n) = (0, 0);
    loop {
        let (sim, engine, table) = database(8);
        engine.close().unwrap();
        // Nothing is in memory yet.
        let engine = open(&sim.env);
        n += 1;
        sim.disk.fail_on(DiskOpKind::Read, n, FailMode::Error);
        let collected = engine.collect_garbage();
        if sim.disk.clear_fault() {
            assert_eq!(collected.unwrap(), 1);
            assert!(failed > 5, "it reads the state at the horizon");
            return;
        }
        failed += usize::from(collected.is_err());
        if collected.is_err() {
            assert_eq!(rows_at(&engine, &table, day(1)).unwrap(), values_of(1), "read {n}");
            sound(&engine);
            assert_eq!(engine.collect_garbage().unwrap(), 1);
        }
        check_kept(&engine, &table);
    }
}

#[test]
fn what_is_beyond_retention_goes_and_the_rest_is_what_it_was() {
    let (sim, engine, table) = database(1);
    let before: u64 = history_bytes(&sim);
    let plan = engine.retention_plan(&table).unwrap();
    assert_eq!((plan.horizon, plan.next.map(|next| next.seq), plan.versions), (None, Some(day(20)), 20));
    assert!(plan.bytes > 0 && plan.bytes < before);
    let digest = engine.digest(&engine.view(), day(5)).unwrap().unwrap();
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    assert_eq!(engine.collect_garbage().unwrap(), 0, "nothing ended since");
    check_kept(&engine, &table);
    engine.store().flush().unwrap();
    while engine.store().compact().unwrap() {}
    check_kept(&engine, &table);
    assert_eq!(history_rows(&engine, table.id), 10 + 2);
    let index = table.indexes[0].id;
    assert_eq!(history_rows(&engine, index), 10 + 2, "its index has no more than its rows");
    assert!(history_bytes(&sim) < before);
    let plan = engine.retention_plan(&table).unwrap();
    assert_eq!((plan.horizon.map(|at| at.seq), plan.next, plan.versions, plan.bytes), (Some(day(20)), None, 0, 0));
    engine.close().unwrap();
    let engine = open(&sim.env);
    check_kept(&engine, &table);
    assert_eq!(
        engine.verify(&[digest]).unwrap().findings,
        Vec::<String>::new(),
        "what was noted is still in the chain"
    );
    // Versions that end later go when they are flushed, if they are beyond it then.
    sim.clock.advance(5 * DAY);
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    engine.store().flush().unwrap();
    while engine.store().compact().unwrap() {}
    assert_eq!(history_rows(&engine, table.id), 5 + 2);
    sound(&engine);
}

fn history_bytes(sim: &SimEnv) -> u64 {
    let dir = Path::new(DIR).join("history");
    let len = |name: String| sim.env.disk.open(&dir.join(name), OpenOptions::READ).unwrap().len().unwrap();
    sim.env.disk.list(&dir).unwrap().into_iter().map(len).sum()
}

#[test]
fn a_pin_holds_it_back() {
    let (sim, engine, table) = database(2);
    let mut txn = begin(&engine);
    txn.create_pin("report", day(7), None).unwrap();
    txn.create_pin("soon", day(5), Some(engine.env().clock.now_us() + 60_000_000)).unwrap();
    assert_eq!(txn.create_pin("report", day(8), None).unwrap_err().state, SqlState::DUPLICATE_OBJECT);
    assert_eq!(txn.create_pin("none", CommitSeq(999), None).unwrap_err().state, SqlState::INVALID_PARAMETER_VALUE);
    // Not visible yet, and holds all the same.
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    assert_eq!(engine.view().horizon(table.id), day(5));
    commit(txn);
    assert_eq!(engine.retention_plan(&table).unwrap().held_by, Some("soon".to_owned()));
    assert_eq!(engine.collect_garbage().unwrap(), 0);
    sim.clock.advance(Duration::from_secs(61));
    assert_eq!(engine.retention_plan(&table).unwrap().held_by, Some("report".to_owned()));
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    assert_eq!(engine.view().horizon(table.id), day(7));
    assert_eq!(rows_at(&engine, &table, day(7)).unwrap(), values_of(7));
    let mut txn = begin(&engine);
    let error = txn.create_pin("late", day(6), None).unwrap_err();
    assert_eq!(error.state, SqlState::BEYOND_RETENTION_HORIZON, "{error:?}");
    drop(txn);
    let engine = {
        engine.close().unwrap();
        open(&sim.env)
    };
    let mut txn = begin(&engine);
    let pins: Vec<Pin> = txn
        .scan(TreeId::PINS, &KeyRange::all(), false)
        .unwrap()
        .map(|entry| Pin::of_entry(&entry.unwrap()).unwrap())
        .collect();
    assert_eq!(
        pins.iter().map(|pin| (pin.name.as_str(), pin.stamp.seq)).collect::<Vec<_>>(),
        [("report", day(7)), ("soon", day(5))]
    );
    assert!(txn.drop_pin("report").unwrap() && !txn.drop_pin("report").unwrap());
    commit(txn);
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    assert_eq!(engine.view().horizon(table.id), day(20));
    sound(&engine);
}

#[test]
fn nobody_who_reads_is_cut_short() {
    let (_sim, engine, table) = database(3);
    let view = engine.view();
    let mut scan = view.scan(table.id, &KeyRange::all(), ReadPoint::AsOf(day(6)), false).unwrap();
    let first = scan.next().unwrap().unwrap();
    let mut old = engine.begin(Default::default(), Arc::default());
    old.begin_statement().unwrap();
    old.hold(day(9));
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    assert_eq!(engine.view().horizon(table.id), day(6));
    engine.store().flush().unwrap();
    while engine.store().compact().unwrap() {}
    let mut rows = vec![first];
    rows.extend(scan.map(|version| version.unwrap()));
    let rows: Vec<Row> = rows.iter().map(|version| decode_row(&table, &version.payload).unwrap()).collect();
    assert_eq!(rows, values_of(6));
    assert_eq!(engine.collect_garbage().unwrap(), 1, "the scan has ended");
    assert_eq!(engine.view().horizon(table.id), day(9), "the transaction has not");
    assert_eq!(rows_at(&engine, &table, day(9)).unwrap(), values_of(9));
    old.rollback();
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    assert_eq!(engine.view().horizon(table.id), day(20));
}

/// A snapshot reads what was newest when it was taken, however old that has become.
#[test]
fn a_snapshot_holds_it_back() {
    let (sim, engine, table) = database(4);
    let snapshot = engine.view();
    sim.clock.advance(20 * DAY);
    let mut txn = begin(&engine);
    statement(&mut txn, |txn| txn.truncate(table.id)).unwrap();
    commit(txn);
    sim.clock.advance(20 * DAY);
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    assert_eq!(engine.view().horizon(table.id), snapshot.stamp().seq);
    engine.store().flush().unwrap();
    while engine.store().compact().unwrap() {}
    let read = snapshot.scan(table.id, &KeyRange::all(), ReadPoint::Latest, false).unwrap();
    assert_eq!(read.collect::<Result<Vec<_>, _>>().unwrap().len(), 2);
    drop(snapshot);
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    engine.store().flush().unwrap();
    while engine.store().compact().unwrap() {}
    assert_eq!(history_rows(&engine, table.id), 0);
    sound(&engine);
}
