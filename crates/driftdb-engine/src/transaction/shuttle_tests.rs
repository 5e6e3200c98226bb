//! Whole transactions under shuttle: what they do to rows of a table, at all levels at once.

use std::sync::Mutex as StdMutex;

use driftdb_store::ReadPoint;
use driftdb_types::{Column, ColumnId, DataType, KeyRange, PrimaryKey, Value, decode_row};
use shuttle::thread;

use super::*;
use crate::InsertOutcome;
use crate::shuttle_tests::{begin, choose, env, explore, open};

const LEVELS: [Isolation; 3] = [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];
const QUEUE_MAX: usize = 2;

fn any_level() -> TxnOptions {
    TxnOptions { isolation: LEVELS[usize::try_from(choose(3)).unwrap()], read_only: false }
}

fn start(engine: &Engine, options: TxnOptions) -> Transaction {
    begin(engine, options, &Arc::new(Cancel::new()))
}

/// An engine with a table `(id integer primary key, n integer)`.
fn with_table() -> (Engine, Arc<TableSchema>) {
    let engine = open(&env(), QUEUE_MAX);
    let column = |position, name: &str| Column {
        id: ColumnId(position),
        name: name.to_owned(),
        data_type: DataType::Int4,
        not_null: false,
        default: None,
        missing: None,
        dropped: false,
    };
    let schema = TableSchema {
        id: TreeId(0),
        name: "t".to_owned(),
        version: 0,
        columns: vec![column(0, "id"), column(1, "n")],
        primary_key: Some(PrimaryKey { name: "t_pkey".to_owned(), columns: vec![ColumnId(0)], index: None }),
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    };
    let mut txn = start(&engine, TxnOptions::default());
    let table = txn.create_table(schema).unwrap();
    txn.commit(&CommitMeta::default()).unwrap();
    (engine, table)
}

fn row(id: i32, n: i32) -> Vec<Value> {
    vec![Value::Int4(id), Value::Int4(n)]
}

fn insert(txn: &mut Transaction, table: &Arc<TableSchema>, id: i32) -> Result<InsertOutcome> {
    txn.insert_row(table, row(id, 0))
}

/// Inserts a row that nobody else does, and commits.
fn insert_alone(engine: &Engine, table: &Arc<TableSchema>, id: i32) -> (Bytes, Stamp) {
    let mut txn = start(engine, TxnOptions::default());
    let InsertOutcome::Inserted { key } = insert(&mut txn, table, id).unwrap() else { panic!("{id} is there") };
    (key, txn.commit(&CommitMeta::default()).unwrap().unwrap())
}

fn number(table: &TableSchema, payload: &[u8]) -> i32 {
    match decode_row(table, payload).unwrap().as_slice() {
        [Value::Int4(_), Value::Int4(n)] => *n,
        other => panic!("{other:?}"),
    }
}

/// `UPDATE t SET n = n + 1 WHERE id = 0`: gives the new `n`.
fn add_one(txn: &mut Transaction, table: &Arc<TableSchema>, key: &Bytes) -> Result<i32> {
    loop {
        txn.begin_statement()?;
        let before = number(table, &txn.get(table.id, key)?.unwrap().payload);
        if txn.lock_row(table, key, LockMode::NoKeyUpdate, LockWait::Wait)? == RowLock::Unchanged {
            txn.update_row(table, key, &row(0, before), row(0, before + 1))?;
            return Ok(before + 1);
        }
        assert_eq!(txn.isolation(), Isolation::ReadCommitted);
    }
}

fn assert_nothing_is_left(engine: &Engine) {
    assert_eq!(engine.locks().len(), 0);
    // What was read of late is forgotten with the next commit.
    let mut txn = start(engine, TxnOptions::default());
    txn.put(TreeId(1_000), Bytes::new(), None, Some(Bytes::new())).unwrap();
    txn.commit(&CommitMeta::default()).unwrap();
    assert_eq!(engine.budget().used_bytes(), 0);
}

/// Each commit adds one to the same row, so as of every commit it is the number of commits until then: no update is lost,
/// whoever gets the lock finds what it waited for, and a snapshot has all up to its stamp and nothing after it.
#[test]
fn shuttle_no_update_is_lost_at_any_level() {
    explore(600, || {
        let (engine, table) = with_table();
        let (key, first) = insert_alone(&engine, &table, 0);
        let session = || {
            let (engine, table, key) = (engine.clone(), Arc::clone(&table), key.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let mut txn = start(&engine, any_level());
                    let added = add_one(&mut txn, &table, &key);
                    if choose(4) == 0 {
                        continue;
                    }
                    match added.and_then(|n| Ok((n, txn.commit(&CommitMeta::default())?.unwrap()))) {
                        Ok((n, stamp)) => assert_eq!(u64::try_from(n).unwrap(), stamp.seq.0 - first.seq.0),
                        Err(error) => assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE),
                    }
                }
            })
        };
        let sessions = [session(), session(), session()];
        let observer = {
            let (engine, table, key) = (engine.clone(), Arc::clone(&table), key.clone());
            thread::spawn(move || {
                let mut last = first;
                for _ in 0..4 {
                    let (view, _) = engine.snapshot();
                    let version = view.get(table.id, &key, ReadPoint::Latest).unwrap().unwrap();
                    let n = u64::try_from(number(&table, &version.payload)).unwrap();
                    assert_eq!((n, version.from), (view.stamp().seq.0 - first.seq.0, view.stamp()));
                    assert!(view.stamp() >= last);
                    last = view.stamp();
                    thread::yield_now();
                }
            })
        };
        sessions.into_iter().chain([observer]).for_each(|session| session.join().unwrap());
        assert_nothing_is_left(&engine);
    });
}

/// All insert the same key; some take it back.
#[test]
fn shuttle_a_key_is_inserted_once() {
    explore(600, || {
        let (engine, table) = with_table();
        let inserted = Arc::new(StdMutex::new(0));
        let session = || {
            let (engine, table, inserted) = (engine.clone(), Arc::clone(&table), Arc::clone(&inserted));
            thread::spawn(move || {
                let mut txn = start(&engine, any_level());
                let outcome = insert(&mut txn, &table, 0);
                let is_kept = choose(3) > 0;
                match outcome {
                    Ok(InsertOutcome::Inserted { .. }) if is_kept => match txn.commit(&CommitMeta::default()) {
                        Ok(_) => *inserted.lock().unwrap() += 1,
                        Err(error) => assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE),
                    },
                    Ok(InsertOutcome::Inserted { .. }) => {}
                    // Only a commit that is visible stands in the way.
                    Ok(InsertOutcome::Conflict { key, .. }) => {
                        assert!(engine.view().get(table.id, &key, ReadPoint::Latest).unwrap().is_some());
                    }
                    Err(error) => assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE),
                }
            })
        };
        [session(), session(), session()].into_iter().for_each(|session| session.join().unwrap());
        let rows = start(&engine, TxnOptions::default()).scan(table.id, &KeyRange::all(), false).unwrap().count();
        assert_eq!(rows, *inserted.lock().unwrap());
        assert_nothing_is_left(&engine);
    });
}

/// Each counts all rows and inserts one with that number: one after the other, no number comes twice.
#[test]
fn shuttle_serializable_scans_miss_no_phantom() {
    explore(600, || {
        let (engine, table) = with_table();
        let numbers = Arc::new(StdMutex::new(Vec::new()));
        let session = |id: i32| {
            let (engine, table, numbers) = (engine.clone(), Arc::clone(&table), Arc::clone(&numbers));
            thread::spawn(move || {
                let options = TxnOptions { isolation: Isolation::Serializable, read_only: false };
                for turn in 0..2 {
                    let mut txn = start(&engine, options);
                    let count = txn.scan(table.id, &KeyRange::all(), choose(2) == 0).unwrap().count();
                    insert(&mut txn, &table, 2 * id + turn).unwrap();
                    match txn.commit(&CommitMeta::default()) {
                        Ok(stamp) => numbers.lock().unwrap().push((stamp, count)),
                        Err(error) => assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE),
                    }
                }
            })
        };
        [0, 1, 2].map(session).into_iter().for_each(|session| session.join().unwrap());
        let mut numbers = numbers.lock().unwrap().clone();
        numbers.sort_unstable();
        assert!(numbers.iter().map(|(_, count)| *count).eq(0..numbers.len()), "{numbers:?}");
        assert!(!numbers.is_empty());
        assert_nothing_is_left(&engine);
    });
}
