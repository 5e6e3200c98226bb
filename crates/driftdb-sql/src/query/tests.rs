#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and this one needs a thread"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use driftdb_engine::{Engine, EngineOptions};
use driftdb_env::Env;
use driftdb_types::{DataType, Value};

use crate::{Database, Outcome, Session, SessionOptions, SqlOptions};

struct Fixture {
    session: Session,
    _dir: tempfile::TempDir,
}

fn fixture(memory_limit_bytes: usize, spills: bool) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Env::real(), dir.path(), EngineOptions::default()).unwrap();
    let spill_dir: Option<PathBuf> = spills.then(|| dir.path().join("tmp"));
    if let Some(dir) = &spill_dir {
        std::fs::create_dir_all(dir).unwrap();
    }
    let options = SqlOptions { memory_limit_bytes, spill_dir, ..SqlOptions::default() };
    let session = Database::new(engine, options).unwrap().session(SessionOptions::default()).unwrap();
    Fixture { session, _dir: dir }
}

impl Fixture {
    fn run(&mut self, sql: &str) -> driftdb_types::Result<Vec<Vec<Value>>> {
        self.session.run(sql)
    }

    fn prepared(&mut self, sql: &str, params: Vec<Value>) -> Vec<Vec<Value>> {
        let statement = self.session.parse_one(sql).unwrap().unwrap();
        let prepared = self.session.prepare(&statement, &[]).unwrap();
        let rows = match self.session.execute(&prepared, params).unwrap() {
            Outcome::Rows(rows) => rows.collect().unwrap(),
            other => panic!("{other:?}"),
        };
        self.session.sync().unwrap();
        rows
    }
}

/// Sorts more than fits into a few megabytes.
const SORT: &str =
    "SELECT n FROM (SELECT s.n, repeat(md5(s.n::text), 10) AS k FROM generate_series(1, 100000) s(n)) q ORDER BY k";

#[test]
fn memory_is_bounded() {
    let state = fixture(4 << 20, false).run(SORT).map(|rows| rows.len()).map_err(|error| error.state.code());
    assert_eq!(state, Err("53200"));
}

#[test]
fn past_the_bound_a_sort_spills() {
    let mut f = fixture(16 << 20, true);
    assert_eq!(f.run(SORT).unwrap().len(), 100_000);
}

#[test]
fn a_running_query_can_be_cancelled() {
    let mut f = fixture(256 << 20, false);
    let cancel = f.session.cancel_handle();
    let start = Instant::now();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        cancel.cancel();
    });
    let sql =
        "SELECT count(*) FROM generate_series(1, 100000) a(n), generate_series(1, 100000) b(n) WHERE a.n + b.n = 5";
    let error = f.run(sql).unwrap_err();
    canceller.join().unwrap();
    assert_eq!(error.state.code(), "57014", "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(20), "cancelled after {:?}", start.elapsed());
}

#[test]
fn a_plan_outlives_its_moment() {
    let mut f = fixture(256 << 20, false);
    f.run("CREATE TABLE t (id int PRIMARY KEY, v int)").unwrap();
    f.run("INSERT INTO t VALUES (1, 10)").unwrap();
    let statement = f.session.parse_one("SELECT sum(v + $1), now() > '2020-01-01' FROM t").unwrap().unwrap();
    let prepared = f.session.prepare(&statement, &[]).unwrap();
    assert_eq!(prepared.params(), [DataType::Int4]);
    let sum = |f: &mut Fixture| {
        let outcome = f.session.execute(&prepared, vec![Value::Int4(1)]).unwrap();
        let Outcome::Rows(rows) = outcome else { panic!("{outcome:?}") };
        let rows = rows.collect().unwrap();
        f.session.sync().unwrap();
        rows
    };
    assert_eq!(sum(&mut f), vec![vec![Value::Int8(11), Value::Bool(true)]]);
    f.run("INSERT INTO t VALUES (2, 20)").unwrap();
    assert_eq!(sum(&mut f), vec![vec![Value::Int8(32), Value::Bool(true)]]);
}

#[test]
fn parameters_take_the_types_of_their_places() {
    let mut f = fixture(256 << 20, false);
    let one = |f: &mut Fixture, sql: &str| {
        let statement = f.session.parse_one(sql).unwrap().unwrap();
        f.session.prepare(&statement, &[]).unwrap().params().to_vec()
    };
    assert_eq!(one(&mut f, "SELECT * FROM generate_series(1, 3) s(n) WHERE s.n = $1"), [DataType::Int4]);
    assert_eq!(one(&mut f, "SELECT $1 || 'x', $2 + 1.5"), [DataType::Text, DataType::Numeric(None)]);
    assert_eq!(one(&mut f, "SELECT 1 LIMIT $1"), [DataType::Int8]);
    assert_eq!(one(&mut f, "SELECT $1::varchar(3), $2"), [DataType::Varchar(None), DataType::Text]);
    assert_eq!(one(&mut f, "SELECT date_trunc('day', $1)"), [DataType::TimestampTz]);
    assert_eq!(one(&mut f, "SELECT CASE WHEN $1 THEN 1 ELSE $2 END"), [DataType::Bool, DataType::Int4]);
    assert_eq!(f.prepared("SELECT $1 + $1::int", vec![Value::Int4(4)]), vec![vec![Value::Int4(8)]]);
}

/// The list of what is not done shrinks when something is.
#[test]
fn what_is_said_not_to_be_done_is_not() {
    for name in include_str!("functions/not_done.txt").lines() {
        assert!(super::functions::is_not_done(name));
        assert!(super::functions::builtin(name).is_none(), "{name} is a function");
        assert!(super::aggregates::aggregate(name).is_none(), "{name} is an aggregate");
    }
}
