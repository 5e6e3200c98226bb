//! How long the store's operations take, on the real disk: `cargo bench -p driftdb-store`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a measurement that fails is to stop")]

#[path = "../tests/it/schemas.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod schemas;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftdb_env::Env;
use driftdb_store::{CommitBatch, Period, ReadPoint, Store, StoreOptions, Write};
use driftdb_types::{CommitSeq, DataType, KeyRange, Lsn, Stamp, TableSchema, Value, encode_row};
use parking_lot::Mutex;

use schemas::{Dice, ROWS, Schemas, column, table};

const ROWS_TOTAL: u64 = 200_000;

fn accounts() -> TableSchema {
    let columns = vec![
        column(0, "id", DataType::Int8),
        column(1, "name", DataType::Text),
        column(2, "balance", DataType::Numeric(Some((12, 2)))),
        column(3, "changed", DataType::TimestampTz),
    ];
    TableSchema { columns, ..table() }
}

fn write(table: &TableSchema, key: u64, seq: u64) -> Write {
    let balance = driftdb_types::Decimal::new(i128::from(key * 7 + seq), 2).unwrap();
    let values = [
        Value::Int8(key.cast_signed()),
        Value::Text(format!("account number {key}")),
        Value::Numeric(balance),
        Value::TimestampTz(seq.cast_signed()),
    ];
    let payload = Some(Bytes::from(encode_row(table, &values).unwrap()));
    Write { tree: ROWS, key: Bytes::from(key.to_be_bytes().to_vec()), payload }
}

struct Measure {
    env: Env,
    store: Store,
    table: TableSchema,
    seq: u64,
}

impl Measure {
    fn time(&self, what: &str, count: u64, run: impl FnOnce() -> u64) {
        let start = self.env.clock.monotonic();
        let done = run();
        let took = self.env.clock.monotonic().saturating_sub(start);
        assert_eq!(done, count, "{what}");
        let each = took.as_secs_f64() * 1e6 / count as f64;
        println!("{what:42} {count:>8} in {:>7.1} ms, {each:>8.2} µs each", took.as_secs_f64() * 1e3);
    }

    fn commit(&mut self, keys: impl Iterator<Item = u64>, batch: usize) -> u64 {
        let keys: Vec<u64> = keys.collect();
        for keys in keys.chunks(batch) {
            self.seq += 1;
            let writes: Vec<Write> = keys.iter().map(|key| write(&self.table, *key, self.seq)).collect();
            let stamp = Stamp { seq: CommitSeq(self.seq), time_us: self.seq.cast_signed() };
            self.store.apply(&CommitBatch { stamp, end_lsn: Lsn(self.seq), writes: &writes });
            self.store.publish();
        }
        keys.len() as u64
    }

    fn gets(&self, what: &str, at: ReadPoint) {
        let (view, dice) = (self.store.view(), Dice::new(7));
        let keys: Vec<[u8; 8]> = (0..20_000).map(|_| dice.below(ROWS_TOTAL).to_be_bytes()).collect();
        self.time(what, 20_000, || {
            keys.iter().filter(|key| view.get(ROWS, key.as_slice(), at).unwrap().is_some()).count() as u64
        });
    }

    fn scan(&self, what: &str, at: ReadPoint) {
        let view = self.store.view();
        self.time(what, ROWS_TOTAL, || view.scan(ROWS, &KeyRange::all(), at, false).unwrap().flatten().count() as u64);
    }
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::real();
    let schemas = Arc::new(Schemas { table: Mutex::new(Arc::new(accounts())) });
    let options = StoreOptions { memtable_bytes: usize::MAX, ..StoreOptions::default() };
    let store = Store::open(env.clone(), dir.path(), options, schemas).unwrap();
    let mut run = Measure { env: env.clone(), store, table: accounts(), seq: 0 };

    let start = env.clock.monotonic();
    let count = run.commit(0..ROWS_TOTAL, 10);
    report("apply + publish, 10 rows a commit", count, env.clock.monotonic().saturating_sub(start));
    run.gets("get latest, in the memtable", ReadPoint::Latest);
    run.scan("scan latest, in the memtable", ReadPoint::Latest);
    run.time("flush of inserts", ROWS_TOTAL, || u64::from(run.store.flush().unwrap()) * ROWS_TOTAL);
    run.gets("get latest, in the base", ReadPoint::Latest);
    run.scan("scan latest, in the base", ReadPoint::Latest);

    let first = run.seq;
    for round in 0..3 {
        let dice = Dice::new(round);
        let keys: Vec<u64> = (0..100_000).map(|_| dice.below(ROWS_TOTAL)).collect();
        run.commit(keys.into_iter(), 10);
        run.time("flush of random updates", 100_000, || u64::from(run.store.flush().unwrap()) * 100_000);
    }
    run.gets("get as of the inserts, cold", ReadPoint::AsOf(CommitSeq(first)));
    run.gets("get as of the inserts, again", ReadPoint::AsOf(CommitSeq(first)));
    run.scan("scan as of the inserts", ReadPoint::AsOf(CommitSeq(first)));
    run.scan("scan latest, with history below", ReadPoint::Latest);
    let view = run.store.view();
    let start = env.clock.monotonic();
    let all = view.versions(ROWS, &KeyRange::all(), Period::All).unwrap().flatten().count() as u64;
    report("all versions", all, env.clock.monotonic().saturating_sub(start));
    let small = run.store.view();
    run.time("scan of one row", 20_000, || {
        let one = |n: u64| small.scan(ROWS, &KeyRange::point(&n.to_be_bytes()), ReadPoint::Latest, false).unwrap();
        (0..20_000).map(|n| one(n).count() as u64).sum()
    });
    let bytes = std::fs::metadata(dir.path().join("base.redb")).unwrap().len();
    println!("base {} MB", bytes >> 20);
    for entry in std::fs::read_dir(dir.path().join("history")).unwrap() {
        let entry = entry.unwrap();
        println!("{:?} {} KB", entry.file_name(), entry.metadata().unwrap().len() >> 10);
    }
}

fn report(what: &str, count: u64, took: Duration) {
    let each = took.as_secs_f64() * 1e6 / count as f64;
    println!("{what:42} {count:>8} in {:>7.1} ms, {each:>8.2} µs each", took.as_secs_f64() * 1e3);
}
