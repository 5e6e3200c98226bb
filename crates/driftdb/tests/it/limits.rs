//! Limits of time and cancel requests, as clients meet them: what has to end ends with the right SQLSTATE, what it held
//! is free for others, and where only a statement ended the session goes on.
//!
//! The limits of sizes and numbers are in the modules below, a kind each; `docs/limits.md` lists them all.

mod definitions;
mod statements;
mod values;

use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::server::{Server, setting};

/// Short enough for a test, and long enough that a busy machine gets statements that are to succeed done.
const LIMIT: &str = "400ms";
/// Longer than [`LIMIT`].
const LONGER: &str = "SELECT pg_sleep(1)";
const FOR_EVER: &str = "SELECT pg_sleep(600)";

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)";

/// A server with [`TABLE`], and where its data is until the test has ended.
fn server() -> (Server, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("data"));
    Client::connect(&server).query(TABLE);
    (server, place)
}

/// A client that has a limit.
fn limited(server: &Server, setting: &str) -> Client {
    let mut client = Client::connect(server);
    client.query(&format!("SET {setting} = '{LIMIT}'"));
    client
}

#[test]
fn an_idle_transaction_ends_and_lets_go_of_its_locks() {
    let (server, _place) = server();
    let mut idle = limited(&server, "idle_in_transaction_session_timeout");
    // One message: the session is never idle within it.
    idle.query(&format!("BEGIN; {LONGER}; COMMIT"));
    // Idle, but not in a transaction.
    thread::sleep(Duration::from_secs(1));
    idle.query("BEGIN; UPDATE t SET v = 100 WHERE id = 1; SELECT pg_advisory_xact_lock(7)");
    let mut other = Client::connect(&server);
    other.query("UPDATE t SET v = v + 1 WHERE id = 1; SELECT pg_advisory_xact_lock(7)");
    assert_eq!(idle.ended(), "25P03");
    assert_eq!(other.number("SELECT v FROM t WHERE id = 1"), 1);

    // A failed transaction is idle as well, and holds what it held.
    let mut failed = limited(&server, "idle_in_transaction_session_timeout");
    assert_eq!(failed.error("BEGIN; UPDATE t SET v = 100 WHERE id = 2; SELECT 1 / 0"), "22012");
    assert_eq!(failed.ended(), "25P03");
    server.stop();
}

#[test]
fn an_idle_session_ends() {
    let (server, _place) = server();
    let mut idle = limited(&server, "idle_session_timeout");
    idle.query(&format!("BEGIN; {LONGER}"));
    // In a transaction it is not the session that is idle.
    thread::sleep(Duration::from_secs(1));
    idle.query("COMMIT");
    assert_eq!(idle.ended(), "57P05");
    server.stop();
}

#[test]
fn a_long_transaction_ends() {
    let (server, _place) = server();
    // Outside of transactions the limit is for each statement, and the session is not in one while idle.
    let mut running = limited(&server, "transaction_timeout");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(running.error(&format!("BEGIN; UPDATE t SET v = 100 WHERE id = 1; {FOR_EVER}")), "25P04");
    assert!(running.try_query("SELECT 1").is_err(), "the session has ended with its transaction");

    let mut idle = limited(&server, "transaction_timeout");
    idle.query("BEGIN; UPDATE t SET v = 100 WHERE id = 1");
    let mut other = Client::connect(&server);
    other.query("UPDATE t SET v = v + 1 WHERE id = 1");
    assert_eq!(idle.ended(), "25P04");
    assert_eq!(other.number("SELECT v FROM t WHERE id = 1"), 1);

    // It waits for a lock: no less a part of the transaction.
    other.query("BEGIN; UPDATE t SET v = v + 1 WHERE id = 1");
    let mut waiting = limited(&server, "transaction_timeout");
    assert_eq!(waiting.error("UPDATE t SET v = 100 WHERE id = 1"), "25P04");
    other.query("COMMIT");
    assert_eq!(other.number("SELECT v FROM t WHERE id = 1"), 2);
    server.stop();
}

#[test]
fn a_long_statement_ends_and_the_session_goes_on() {
    let (server, _place) = server();
    let mut client = Client::connect(&server);
    for statement in [FOR_EVER, "SELECT count(*) FROM generate_series(1, 1000000000000)"] {
        client.query(&format!("BEGIN; SET LOCAL statement_timeout = '{LIMIT}'"));
        assert_eq!(client.error(statement), "57014", "{statement}");
        assert_eq!(client.error("SELECT 1"), "25P02");
        client.query("ROLLBACK");
        assert_eq!(client.number("SELECT 1"), 1);
    }
    server.stop();
}

/// What one session holds, and a statement of another that waits for it.
const WAITS: &[(&str, &str, &str)] = &[
    ("row lock of a writer", "UPDATE t SET v = v WHERE id = 1", "UPDATE t SET v = 100 WHERE id = 1"),
    ("row lock of a reader", "SELECT * FROM t WHERE id = 1 FOR UPDATE", "SELECT * FROM t WHERE id = 1 FOR SHARE"),
    ("key", "INSERT INTO t VALUES (3, 0)", "INSERT INTO t VALUES (3, 1)"),
    ("advisory lock", "SELECT pg_advisory_xact_lock(7)", "SELECT pg_advisory_lock(7)"),
    ("shared advisory lock", "SELECT pg_advisory_xact_lock(7)", "SELECT pg_advisory_xact_lock_shared(7)"),
    ("table that is written", "INSERT INTO t VALUES (3, 0)", "ALTER TABLE t ADD COLUMN w int"),
    ("index of a table that is written", "INSERT INTO t VALUES (3, 0)", "CREATE INDEX i ON t (v)"),
    ("table that is dropped", "DROP TABLE t", "INSERT INTO t VALUES (3, 0)"),
    ("name", "CREATE TABLE named (a int PRIMARY KEY)", "CREATE TABLE named (b int PRIMARY KEY)"),
];

/// Each wait of [`WAITS`]; `end` begins it, ends it with an error, and gives the SQLSTATE.
fn each_wait(state: &str, mut end: impl FnMut(&mut Client, &str, &str) -> String) {
    let (server, _place) = server();
    let (mut holder, mut waiter) = (Client::connect(&server), Client::connect(&server));
    // What is held where it should not be makes the test fail, not wait.
    for client in [&mut holder, &mut waiter] {
        client.query("SET statement_timeout = '50s'");
    }
    for (what, hold, wait) in WAITS {
        holder.query(&format!("BEGIN; {hold}"));
        assert_eq!(end(&mut waiter, what, wait), state, "{what}");
        // The session goes on, and nothing has changed.
        assert_eq!(waiter.number("SELECT sum(v) FROM t"), 0, "{what}");
        holder.query("ROLLBACK");
        // What was waited for in vain is not held, and not waited for any more.
        waiter.query(&format!("BEGIN; {wait}; ROLLBACK; SELECT pg_advisory_unlock_all()"));
    }
    server.stop();
}

#[test]
fn lock_timeout_ends_every_wait() {
    each_wait("55P03", |waiter, _, wait| {
        let error = waiter.error(&format!("BEGIN; SET LOCAL lock_timeout = '{LIMIT}'; {wait}"));
        waiter.query("ROLLBACK");
        error
    });
}

#[test]
fn a_cancel_ends_every_wait() {
    each_wait("57014", |waiter, what, wait| {
        let (error, took) = waiter.cancelled(wait, HEAD_START).expect("it waits");
        println!("{what}: went on for {took:?}");
        error
    });
}

/// How long a statement runs before it is cancelled: long enough to be at its work.
const HEAD_START: Duration = Duration::from_millis(100);

/// Statements that never come to an end in a test's time.
const ENDLESS: &[(&str, &str)] = &[
    ("pg_sleep", FOR_EVER),
    ("generate_series", "SELECT count(*) FROM generate_series(1, 1000000000000)"),
    ("sort", "SELECT i FROM generate_series(1, 1000000000) s(i) ORDER BY i % 1009, -i"),
    ("hash join", "SELECT count(*) FROM many a JOIN many b ON a.k = b.k JOIN many c ON b.k = c.k"),
    (
        "nested loop join",
        "SELECT count(*) FROM many a JOIN many b ON a.id < b.id + b.k JOIN many c ON b.id < c.id + a.k",
    ),
    ("cross join", "SELECT sum(a.id + b.id + c.k) FROM many a, many b, many c"),
    (
        "aggregate",
        "SELECT count(*) FROM (SELECT i % 10007, sum(i) FROM generate_series(1, 1000000000000) s(i) GROUP BY 1) x",
    ),
    ("distinct", "SELECT count(DISTINCT i % 10007) FROM generate_series(1, 1000000000000) s(i)"),
    (
        "window",
        "SELECT max(r) FROM (SELECT sum(i) OVER (PARTITION BY i % 3 ORDER BY i) AS r FROM generate_series(1, 1000000000) s(i)) x",
    ),
    ("rows to the client", "SELECT * FROM generate_series(1, 1000000000000)"),
    (
        "recursive query",
        "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i > 0) SELECT count(*) FROM r WHERE i < 0",
    ),
    ("COPY TO", "COPY (SELECT * FROM generate_series(1, 1000000000000)) TO STDOUT"),
    ("INSERT ... SELECT", "INSERT INTO t SELECT i, 0 FROM generate_series(3, 1000000000) s(i)"),
];

/// Statements that are long because the table is.
const OVER_MANY: &[(&str, &str)] = &[
    ("UPDATE", "UPDATE many SET k = k + 1"),
    ("UPDATE of the primary key", "UPDATE many SET id = id + 10000000"),
    ("DELETE", "DELETE FROM many"),
    ("CREATE INDEX", "CREATE INDEX many_filler ON many (filler, id)"),
    ("CREATE TABLE AS", "CREATE TABLE copied AS SELECT * FROM many"),
];

#[test]
fn a_cancel_ends_every_work() {
    let (server, _place) = server();
    let mut client = Client::connect(&server);
    let many = setting("ROWS", 20_000, 500_000);
    client.query("CREATE TABLE many (id int PRIMARY KEY, k int, filler text)");
    for from in (0..many).step_by(100_000) {
        let to = many.min(from + 100_000) - 1;
        client.query(&format!(
            "INSERT INTO many SELECT i, i % 10, 'filler ' || i FROM generate_series({from}, {to}) s(i)"
        ));
    }
    let last = client.number("SELECT max(seq) FROM driftdb.commits");
    for (what, statement) in ENDLESS {
        let (error, took) = client.cancelled(statement, HEAD_START).expect("it has no end");
        println!("{what}: went on for {took:?}");
        assert_eq!(error, "57014", "{what}");
        assert_eq!(client.number("SELECT count(*) FROM t"), 2, "{what}: the session goes on");
    }
    for (what, statement) in OVER_MANY {
        client.query("BEGIN");
        let (error, took) = cancelled_within(&mut client, statement);
        println!("{what}: went on for {took:?}");
        assert_eq!(error, "57014", "{what}");
        assert_eq!(client.error("SELECT 1"), "25P02", "{what}: the session goes on");
        client.query("ROLLBACK");
    }
    assert_eq!(client.number("SELECT max(seq) FROM driftdb.commits"), last, "nothing was committed");
    assert_eq!(client.number("SELECT count(*) FROM many WHERE k < 10"), i64::try_from(many).unwrap());
    server.stop();
}

/// Cancels a statement of a transaction while it is at its work. On a fast machine that may take several attempts.
fn cancelled_within(client: &mut Client, statement: &str) -> (String, Duration) {
    let mut head_start = HEAD_START;
    loop {
        if let Some(cancelled) = client.cancelled(statement, head_start) {
            return cancelled;
        }
        client.query("ROLLBACK; BEGIN");
        head_start /= 2;
        assert!(!head_start.is_zero(), "{statement}: it is never cancelled");
    }
}
