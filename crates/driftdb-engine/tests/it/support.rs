//! What the tests share: engines on simulated disks, a table or two, and statements as a session would run them.

use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;
use driftdb_engine::{
    Cancel, CommitMeta, Engine, EngineOptions, InsertOutcome, Isolation, LockMode, LockWait, RowLock, StatementError,
    TableLock, Transaction, TxnOptions,
};
use driftdb_env::{Env, SimEnv};
use driftdb_types::{
    Column, ColumnId, DataType, Error, IndexSchema, KeyRange, PrimaryKey, Stamp, TableSchema, TreeId, Value, decode_row,
};

pub(crate) const DIR: &str = "/db";

pub(crate) type Row = Vec<Value>;

/// Small enough that tests reach the bounds; flush and compaction only by hand.
pub(crate) fn options() -> EngineOptions {
    let mut options = EngineOptions { background: false, ..EngineOptions::default() };
    options.log.segment_bytes = 1 << 20;
    options.store.cache_bytes = 8 << 20;
    options.store.history_cache_bytes = 8 << 20;
    options
}

pub(crate) fn open(env: &Env) -> Engine {
    Engine::open(env.clone(), Path::new(DIR), options()).unwrap()
}

/// A new engine on a simulated machine.
pub(crate) fn sim(seed: u64) -> (SimEnv, Engine) {
    let sim = Env::sim(seed);
    let engine = open(&sim.env);
    (sim, engine)
}

pub(crate) fn column(position: u16, name: &str, data_type: DataType) -> Column {
    Column {
        id: ColumnId(position),
        name: name.to_owned(),
        data_type,
        not_null: false,
        default: None,
        missing: None,
        dropped: false,
    }
}

/// `(id integer [primary key], a integer, b text)`.
pub(crate) fn definition(name: &str, clustered: bool) -> TableSchema {
    let key = PrimaryKey { name: format!("{name}_pkey"), columns: vec![ColumnId(0)], index: None };
    TableSchema {
        id: TreeId(0),
        name: name.to_owned(),
        version: 0,
        columns: vec![column(0, "id", DataType::Int4), column(1, "a", DataType::Int4), column(2, "b", DataType::Text)],
        primary_key: clustered.then_some(key),
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    }
}

pub(crate) fn index(name: &str, column: u16, unique: bool) -> IndexSchema {
    IndexSchema { id: TreeId(0), name: name.to_owned(), columns: vec![ColumnId(column)], unique, constraint: unique }
}

pub(crate) fn create(engine: &Engine, schema: TableSchema) -> Arc<TableSchema> {
    let mut txn = begin(engine);
    let table = txn.create_table(schema).unwrap();
    commit(txn);
    table
}

pub(crate) fn row(id: i32, a: i32, b: &str) -> Row {
    vec![Value::Int4(id), Value::Int4(a), Value::Text(b.to_owned())]
}

pub(crate) fn begin(engine: &Engine) -> Transaction {
    begin_at(engine, Isolation::ReadCommitted)
}

pub(crate) fn begin_at(engine: &Engine, isolation: Isolation) -> Transaction {
    let mut txn = engine.begin(TxnOptions { isolation, read_only: false }, Arc::new(Cancel::new()));
    txn.begin_statement().unwrap();
    txn
}

pub(crate) fn meta() -> CommitMeta {
    CommitMeta { user: "tester".to_owned(), ..CommitMeta::default() }
}

pub(crate) fn commit(txn: Transaction) -> Stamp {
    txn.commit(&meta()).unwrap().unwrap()
}

pub(crate) fn insert(txn: &mut Transaction, table: &Arc<TableSchema>, values: Row) -> Result<Bytes, Error> {
    match txn.insert_row(table, values.clone())? {
        InsertOutcome::Inserted { key } => Ok(key),
        InsertOutcome::Conflict { constraint, .. } => Err(txn.unique_violation(table, &constraint, &values)),
    }
}

/// The rows a transaction sees, decoded, in the order of their keys.
pub(crate) fn rows(txn: &Transaction, table: &TableSchema) -> Vec<(Bytes, Row)> {
    let scan = txn.scan(table.id, &KeyRange::all(), false).unwrap();
    scan.map(|row| row.unwrap()).map(|row| (row.key, decode_row(table, &row.payload).unwrap())).collect()
}

pub(crate) fn values(txn: &Transaction, table: &TableSchema) -> Vec<Row> {
    rows(txn, table).into_iter().map(|(_, row)| row).collect()
}

pub(crate) fn committed(engine: &Engine, table: &TableSchema) -> Vec<Row> {
    values(&begin(engine), table)
}

/// One statement as a session runs it: in READ COMMITTED again on a new snapshot whenever it has to be.
pub(crate) fn statement<T>(
    txn: &mut Transaction,
    mut run: impl FnMut(&mut Transaction) -> Result<T, StatementError>,
) -> Result<T, Error> {
    loop {
        txn.begin_statement()?;
        let savepoint = txn.savepoint();
        match run(txn) {
            Ok(result) => return Ok(result),
            Err(StatementError::Restart) => txn.restart_from(&savepoint),
            Err(StatementError::Error(error)) => {
                txn.rollback_to(&savepoint);
                return Err(error);
            }
        }
    }
}

/// UPDATE … WHERE: changes each row that `choose` wants and says how many there were.
pub(crate) fn update(
    txn: &mut Transaction,
    table: &Arc<TableSchema>,
    mut choose: impl FnMut(&Row) -> Option<Row>,
) -> Result<u64, Error> {
    statement(txn, |txn| {
        txn.lock_table(table.id, TableLock::Write)?;
        let mut count = 0;
        for (key, old) in rows(txn, table) {
            let Some(new) = choose(&old) else { continue };
            if txn.lock_row(table, &key, LockMode::Update, LockWait::Wait)? == RowLock::Changed {
                return Err(StatementError::Restart);
            }
            txn.update_row(table, &key, &old, new)?;
            count += 1;
        }
        Ok(count)
    })
}

/// DELETE … WHERE.
pub(crate) fn delete(
    txn: &mut Transaction,
    table: &Arc<TableSchema>,
    mut choose: impl FnMut(&Row) -> bool,
) -> Result<u64, Error> {
    statement(txn, |txn| {
        txn.lock_table(table.id, TableLock::Write)?;
        let mut count = 0;
        for (key, old) in rows(txn, table) {
            if !choose(&old) {
                continue;
            }
            if txn.lock_row(table, &key, LockMode::Update, LockWait::Wait)? == RowLock::Changed {
                return Err(StatementError::Restart);
            }
            txn.delete_row(table, &key, &old)?;
            count += 1;
        }
        Ok(count)
    })
}

/// Runs on a thread of its own.
pub(crate) fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().spawn(run).unwrap()
}

/// Rests long enough for another thread to begin its wait. A test that depends on it having begun is written so that
/// it passes for another reason if it has not.
pub(crate) fn rest() {
    std::thread::sleep(std::time::Duration::from_millis(40));
}

pub(crate) fn int(row: &Row, column: usize) -> i32 {
    match row[column] {
        Value::Int4(value) => value,
        ref other => panic!("{other:?} is no integer"),
    }
}
