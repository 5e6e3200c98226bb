//! Sessions that meet on the same rows.

use std::sync::mpsc;
use std::time::Duration;

use crate::runner::{Fixture, simple};

/// Runs `sql` in a session of its own on another thread; its result comes through the channel.
fn start(fixture: &Fixture, sql: &'static [&'static str]) -> mpsc::Receiver<Result<Vec<String>, String>> {
    let mut session = fixture.session();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut last = Ok(Vec::new());
        for sql in sql {
            last = simple(&mut session, sql)
                .map(|answer| if answer.rows.is_empty() { vec![answer.tag] } else { answer.rows })
                .map_err(|error| error.state.code().to_owned());
            if last.is_err() {
                break;
            }
        }
        let _ = sender.send(last);
    });
    receiver
}

const SOON: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(20);

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    simple(&mut session, "CREATE TABLE t (id int PRIMARY KEY, v int, tag text)").unwrap();
    simple(&mut session, "INSERT INTO t VALUES (1, 0, 'a'), (2, 0, 'b'), (3, 0, 'c')").unwrap();
    fixture
}

#[test]
fn read_committed_runs_again_on_what_the_other_committed() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "BEGIN; UPDATE t SET v = v + 1 WHERE id = 1").unwrap();
    let other = start(&fixture, &["UPDATE t SET v = v + 10 WHERE id = 1 RETURNING v"]);
    assert!(other.recv_timeout(SOON).is_err(), "waits for the row's lock");
    simple(&mut session, "COMMIT").unwrap();
    assert_eq!(other.recv_timeout(LATE).unwrap(), Ok(vec!["11".to_owned()]));
}

#[test]
fn read_committed_looks_at_its_condition_again() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "BEGIN; UPDATE t SET v = 7 WHERE id = 1").unwrap();
    let other = start(&fixture, &["UPDATE t SET tag = 'x' WHERE v = 0 AND id = 1"]);
    assert!(other.recv_timeout(SOON).is_err());
    simple(&mut session, "COMMIT").unwrap();
    assert_eq!(other.recv_timeout(LATE).unwrap(), Ok(vec!["UPDATE 0".to_owned()]));
}

#[test]
fn repeatable_read_fails_instead() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "BEGIN; UPDATE t SET v = 7 WHERE id = 1").unwrap();
    let other = start(&fixture, &["BEGIN ISOLATION LEVEL REPEATABLE READ", "UPDATE t SET v = 8 WHERE id = 1"]);
    assert!(other.recv_timeout(SOON).is_err());
    simple(&mut session, "COMMIT").unwrap();
    assert_eq!(other.recv_timeout(LATE).unwrap(), Err("40001".to_owned()));
}

#[test]
fn nowait_and_skip_locked_do_not_wait() {
    let fixture = fixture();
    let mut session = fixture.session();
    let mut other = fixture.session();
    simple(&mut session, "BEGIN; SELECT * FROM t WHERE id = 1 FOR UPDATE").unwrap();
    let error = simple(&mut other, "SELECT * FROM t WHERE id = 1 FOR UPDATE NOWAIT").map(|_| ()).unwrap_err();
    assert_eq!(error.state.code(), "55P03");
    let rows = simple(&mut other, "SELECT id FROM t WHERE id > 0 FOR UPDATE SKIP LOCKED").unwrap().rows;
    assert_eq!(rows, ["2", "3"]);
    // A queue: LIMIT counts the rows that could be locked.
    let rows = simple(&mut other, "SELECT id FROM t ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED").unwrap().rows;
    assert_eq!(rows, ["2"]);
    simple(&mut session, "ROLLBACK").unwrap();
}

#[test]
fn a_deadlock_is_found() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "BEGIN; UPDATE t SET v = 1 WHERE id = 1").unwrap();
    let other =
        start(&fixture, &["BEGIN", "UPDATE t SET v = 2 WHERE id = 2", "UPDATE t SET v = 2 WHERE id = 1", "COMMIT"]);
    assert!(other.recv_timeout(SOON).is_err());
    let mine = simple(&mut session, "UPDATE t SET v = 1 WHERE id = 2").map(|answer| answer.tag);
    match mine {
        Err(error) => {
            assert_eq!(error.state.code(), "40P01");
            simple(&mut session, "ROLLBACK").unwrap();
            assert!(other.recv_timeout(LATE).unwrap().is_ok());
        }
        Ok(_) => {
            assert_eq!(other.recv_timeout(LATE).unwrap(), Err("40P01".to_owned()));
            simple(&mut session, "COMMIT").unwrap();
        }
    }
}

#[test]
fn a_wait_can_be_cancelled() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "BEGIN; UPDATE t SET v = 1 WHERE id = 1").unwrap();
    let mut waiter = fixture.session();
    let cancel = waiter.cancel_handle();
    let thread = std::thread::spawn(move || {
        simple(&mut waiter, "UPDATE t SET v = 2 WHERE id = 1").map(|_| ()).unwrap_err().state.code()
    });
    std::thread::sleep(SOON);
    cancel.cancel();
    assert_eq!(thread.join().unwrap(), "57014");
}

#[test]
fn a_wait_ends_at_its_time_limit() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "BEGIN; UPDATE t SET v = 1 WHERE id = 1").unwrap();
    for (limit, state) in [("statement_timeout", "57014"), ("lock_timeout", "55P03")] {
        let mut waiter = fixture.session();
        simple(&mut waiter, &format!("SET {limit} = '100ms'")).unwrap();
        let error = simple(&mut waiter, "UPDATE t SET v = 2 WHERE id = 1").map(|_| ()).unwrap_err();
        assert_eq!(error.state.code(), state, "{error:?}");
        simple(&mut waiter, &format!("SET {limit} = 0")).unwrap();
        assert_eq!(simple(&mut waiter, "UPDATE t SET v = 2 WHERE id = 2").unwrap().tag, "UPDATE 1");
    }
}

#[test]
fn on_conflict_sees_the_row_of_a_later_commit() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "BEGIN; INSERT INTO t VALUES (9, 1, 'mine')").unwrap();
    let other = start(
        &fixture,
        &["INSERT INTO t VALUES (9, 1, 'theirs') ON CONFLICT (id) DO UPDATE SET v = t.v + excluded.v RETURNING v, tag"],
    );
    assert!(other.recv_timeout(SOON).is_err());
    simple(&mut session, "COMMIT").unwrap();
    assert_eq!(other.recv_timeout(LATE).unwrap(), Ok(vec!["2 | mine".to_owned()]));
}

#[test]
fn increments_from_many_sessions_all_count() {
    let fixture = fixture();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mut session = fixture.session();
            std::thread::spawn(move || {
                for _ in 0..50 {
                    simple(&mut session, "UPDATE t SET v = v + 1 WHERE id = 1").unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut session = fixture.session();
    assert_eq!(simple(&mut session, "SELECT v FROM t WHERE id = 1").unwrap().rows, ["200"]);
}

#[test]
fn a_prepared_statement_follows_the_catalog() {
    let fixture = fixture();
    let mut session = fixture.session();
    let mut other = fixture.session();
    simple(&mut session, "PREPARE one AS SELECT v FROM t WHERE id = $1; PREPARE star AS SELECT * FROM t WHERE id = $1")
        .unwrap();
    assert_eq!(simple(&mut session, "EXECUTE one(1)").unwrap().rows, ["0"]);
    simple(&mut other, "ALTER TABLE t DROP COLUMN tag; ALTER TABLE t ADD COLUMN w int DEFAULT 5").unwrap();
    simple(&mut other, "UPDATE t SET v = 4 WHERE id = 1").unwrap();
    assert_eq!(simple(&mut session, "EXECUTE one(1)").unwrap().rows, ["4"]);
    let error = simple(&mut session, "EXECUTE star(1)").map(|_| ()).unwrap_err();
    assert_eq!(error.message, "cached plan must not change result type");
    simple(&mut other, "DROP TABLE t").unwrap();
    let error = simple(&mut session, "EXECUTE one(1)").map(|_| ()).unwrap_err();
    assert_eq!(error.state.code(), "42P01");
}

#[test]
fn the_four_row_locks_go_together_as_postgresql_s_do() {
    let fixture = fixture();
    let modes = ["KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"];
    let mut table = Vec::new();
    for held in modes {
        let mut holder = fixture.session();
        simple(&mut holder, &format!("BEGIN; SELECT v FROM t WHERE id = 1 FOR {held}")).unwrap();
        let mut line = String::new();
        for asked in modes {
            let mut other = fixture.session();
            let sql = format!("SELECT v FROM t WHERE id = 1 FOR {asked} OF t NOWAIT");
            line.push(match simple(&mut other, &sql).map(|answer| answer.rows) {
                Ok(rows) if rows == ["0"] => '.',
                Err(error) if error.state.code() == "55P03" => 'x',
                other => panic!("{sql}: {other:?}"),
            });
        }
        table.push(line);
    }
    assert_eq!(table, ["...x", "..xx", ".xxx", "xxxx"]);
}

#[test]
fn an_update_leaves_those_alone_who_need_the_key_to_stay() {
    let fixture = fixture();
    let mut child = fixture.session();
    simple(&mut child, "BEGIN; SELECT 1 FROM t WHERE id = 1 FOR KEY SHARE").unwrap();
    let mut parent = fixture.session();
    simple(&mut parent, "SET lock_timeout = '100ms'").unwrap();
    simple(&mut parent, "UPDATE t SET v = 5 WHERE id = 1").unwrap();
    simple(&mut parent, "INSERT INTO t VALUES (1, 6) ON CONFLICT (id) DO NOTHING").map(|_| ()).unwrap_err();
    for sql in ["DELETE FROM t WHERE id = 1", "UPDATE t SET id = 9 WHERE id = 1"] {
        assert_eq!(simple(&mut parent, sql).map(|_| ()).unwrap_err().state.code(), "55P03", "{sql}");
    }
    simple(&mut child, "COMMIT").unwrap();
    simple(&mut parent, "DELETE FROM t WHERE id = 1").unwrap();
}

#[test]
fn a_savepoint_gives_the_locks_back_that_were_taken_after_it() {
    let fixture = fixture();
    let (mut session, mut other) = (fixture.session(), fixture.session());
    simple(&mut session, "BEGIN; UPDATE t SET v = 1 WHERE id = 1; SAVEPOINT s; UPDATE t SET v = 1 WHERE id = 2")
        .unwrap();
    let locked = |other: &mut driftdb_sql::Session, id: i32| {
        simple(other, &format!("SELECT 1 FROM t WHERE id = {id} FOR UPDATE NOWAIT")).is_err()
    };
    assert!(locked(&mut other, 1) && locked(&mut other, 2));
    simple(&mut session, "ROLLBACK TO s").unwrap();
    assert!(locked(&mut other, 1) && !locked(&mut other, 2));
    simple(&mut session, "UPDATE t SET v = 2 WHERE id = 2").unwrap();
    assert!(locked(&mut other, 2));
    simple(&mut session, "COMMIT").unwrap();
    assert!(!locked(&mut other, 1) && !locked(&mut other, 2));
}

#[test]
fn advisory_locks_wait_and_end_as_their_scope_says() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "SELECT pg_advisory_lock(1)").unwrap();
    simple(&mut session, "BEGIN; SELECT pg_advisory_xact_lock(2, 3)").unwrap();
    let mut other = fixture.session();
    let tried = |other: &mut driftdb_sql::Session, call: &str| {
        simple(other, &format!("SELECT pg_try_advisory_{call}")).unwrap().rows[0].clone()
    };
    assert_eq!(tried(&mut other, "lock(1)"), "f");
    assert_eq!(tried(&mut other, "lock_shared(1)"), "f");
    assert_eq!(tried(&mut other, "lock(2, 3)"), "f");
    assert_eq!(tried(&mut other, "xact_lock(4)"), "t");
    assert_eq!(tried(&mut session, "lock(4)"), "t", "the other's transaction is over");
    let waiter = start(&fixture, &["SELECT pg_advisory_lock(2, 3)"]);
    assert!(waiter.recv_timeout(SOON).is_err());
    simple(&mut session, "ROLLBACK").unwrap();
    waiter.recv_timeout(LATE).unwrap().unwrap();
    assert_eq!(tried(&mut other, "lock(1)"), "f", "it is the session's");
    assert_eq!(simple(&mut session, "SELECT pg_advisory_unlock(1), pg_advisory_unlock(1)").unwrap().rows, ["t | f"]);
    assert_eq!(tried(&mut other, "lock(1)"), "t");
    simple(&mut other, "SET lock_timeout = '50ms'").unwrap();
    assert_eq!(simple(&mut other, "SELECT pg_advisory_lock(4)").map(|_| ()).unwrap_err().state.code(), "55P03");
    simple(&mut session, "BEGIN; SELECT pg_advisory_lock(4), pg_advisory_xact_lock(5)").unwrap();
    simple(&mut session, "SELECT pg_advisory_unlock_all()").unwrap();
    assert_eq!(tried(&mut other, "lock(5)"), "f", "it is the transaction's");
    assert_eq!(tried(&mut other, "lock(4)"), "t", "it is given back as often as it was taken");
    simple(&mut session, "ROLLBACK; SELECT pg_advisory_lock(6)").unwrap();
    assert_eq!(tried(&mut other, "lock(6)"), "f");
    drop(session);
    assert_eq!(tried(&mut other, "lock(6)"), "t", "who is gone holds nothing");
}

#[test]
fn of_two_serializable_transactions_that_read_what_the_other_writes_one_fails() {
    let fixture = fixture();
    let (mut first, mut second) = (fixture.session(), fixture.session());
    for session in [&mut first, &mut second] {
        simple(session, "BEGIN ISOLATION LEVEL SERIALIZABLE").unwrap();
        assert_eq!(simple(session, "SELECT sum(v) FROM t WHERE id < 3").unwrap().rows, ["0"]);
    }
    simple(&mut first, "UPDATE t SET v = 1 WHERE id = 1").unwrap();
    simple(&mut second, "UPDATE t SET v = 1 WHERE id = 2").unwrap();
    simple(&mut first, "COMMIT").unwrap();
    let error = simple(&mut second, "COMMIT").map(|_| ()).unwrap_err();
    assert_eq!(error.state.code(), "40001");
    assert!(error.detail.unwrap().contains("relation \"t\""));
    simple(&mut second, "INSERT INTO t VALUES (7)").unwrap();
}

/// A scan by DataFusion reads the range of keys it was given, not the table.
#[test]
fn a_scan_of_a_range_is_in_the_way_of_that_range_only() {
    let fixture = fixture();
    simple(&mut fixture.session(), "CREATE INDEX t_tag ON t (tag)").unwrap();
    for (query, write, fails) in [
        ("SELECT sum(v) FROM t WHERE id BETWEEN 1 AND 2", "UPDATE t SET v = v + 1 WHERE id = 3", false),
        ("SELECT sum(v) FROM t WHERE id BETWEEN 1 AND 2", "UPDATE t SET v = v + 1 WHERE id = 2", true),
        ("SELECT sum(v) FROM t WHERE id > 10", "INSERT INTO t VALUES (11)", true),
        ("SELECT count(*) FROM t WHERE tag = 'b'", "UPDATE t SET v = v + 1 WHERE id = 3", false),
        ("SELECT count(*) FROM t WHERE tag = 'b'", "UPDATE t SET tag = 'b' WHERE id = 3", true),
        ("SELECT count(*) FROM t FOR SYSTEM_TIME AS OF @SEQ:2", "UPDATE t SET v = v + 1 WHERE id = 3", false),
        ("SELECT count(*) FROM driftdb.history('t')", "UPDATE t SET v = v + 1 WHERE id = 3", true),
        ("SELECT count(*) FROM driftdb.commits", "UPDATE t SET v = v + 1 WHERE id = 3", true),
        ("SELECT count(*) FROM pg_class", "UPDATE t SET v = v + 1 WHERE id = 3", false),
        ("SELECT count(*) FROM pg_class", "CREATE TABLE other (a int)", true),
    ] {
        let (mut reader, mut writer) = (fixture.session(), fixture.session());
        simple(
            &mut reader,
            &format!("BEGIN ISOLATION LEVEL SERIALIZABLE; {query}; UPDATE t SET v = v + 1 WHERE id = 1"),
        )
        .unwrap();
        simple(&mut writer, write).unwrap();
        let ended = simple(&mut reader, "COMMIT").map(|_| ());
        assert_eq!(ended.is_err(), fails, "{query}; {write}: {ended:?}");
    }
}

#[test]
fn a_transaction_s_name_tells_what_became_of_it() {
    let fixture = fixture();
    let (mut session, mut other) = (fixture.session(), fixture.session());
    let named = |session: &mut driftdb_sql::Session, sql: &str| {
        simple(session, sql).unwrap();
        let name = simple(session, "SELECT driftdb_txid_current()").unwrap().rows[0].clone();
        assert_eq!(simple(session, "SELECT driftdb_txid_current()").unwrap().rows, std::slice::from_ref(&name));
        name
    };
    let status = |session: &mut driftdb_sql::Session, name: &str| {
        simple(session, &format!("SELECT driftdb_txid_status('{name}')")).unwrap().rows[0].clone()
    };
    let committed = named(&mut session, "BEGIN; UPDATE t SET v = 1 WHERE id = 1");
    assert_eq!(status(&mut other, &committed), "in progress");
    simple(&mut session, "COMMIT").unwrap();
    assert_eq!(status(&mut other, &committed), "committed");
    let rolled_back = named(&mut session, "BEGIN; UPDATE t SET v = 2 WHERE id = 1");
    assert_ne!(rolled_back, committed);
    simple(&mut session, "ROLLBACK").unwrap();
    assert_eq!(status(&mut session, &rolled_back), "aborted");
    let gone = named(&mut session, "BEGIN; UPDATE t SET v = 3 WHERE id = 1");
    drop(session);
    assert_eq!(status(&mut other, &gone), "aborted");
    let mut reader = fixture.session();
    let failed =
        named(&mut reader, "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM t; UPDATE t SET v = 4 WHERE id = 2");
    simple(&mut other, "UPDATE t SET v = 5 WHERE id = 3").unwrap();
    simple(&mut reader, "COMMIT").map(|_| ()).unwrap_err();
    assert_eq!(status(&mut reader, &failed), "aborted");
    assert_eq!(status(&mut reader, &committed), "committed");
    for wrong in ["", "7", "x-0000000000000000", "1-00"] {
        let error = simple(&mut reader, &format!("SELECT driftdb_txid_status('{wrong}')")).map(|_| ()).unwrap_err();
        assert_eq!(error.state.code(), "22023", "{wrong}");
    }
}

/// It is moved to another thread on the way; its rows, its errors and its end are the same.
#[test]
fn a_long_query_gives_what_a_short_one_would() {
    let fixture = fixture();
    let mut session = fixture.session();
    simple(&mut session, "CREATE TABLE big (id int PRIMARY KEY, v int)").unwrap();
    simple(&mut session, "INSERT INTO big SELECT i, i % 100 FROM generate_series(1, 60000) AS s(i)").unwrap();
    let cross = "FROM big AS a JOIN big AS b ON a.v = b.v AND b.id <= 2000";
    assert_eq!(
        simple(&mut session, &format!("SELECT count(*), sum(a.id) {cross}")).unwrap().rows,
        ["1200000 | 36000600000"]
    );
    let error = simple(&mut session, &format!("SELECT sum(1 / (a.id - 60000)) {cross}")).map(|_| ()).unwrap_err();
    assert_eq!(error.state.code(), "22012");
    simple(&mut session, "SET statement_timeout = '150ms'").unwrap();
    let endless = "SELECT count(*) FROM big AS a, big AS b, big AS c WHERE a.v + b.v = c.v + 1000";
    assert_eq!(simple(&mut session, endless).map(|_| ()).unwrap_err().state.code(), "57014");
    simple(&mut session, "RESET statement_timeout").unwrap();
    let changed =
        simple(&mut session, "UPDATE big SET v = v + 1 WHERE id IN (SELECT id FROM big WHERE v < 1000)").unwrap();
    assert_eq!(changed.tag, "UPDATE 60000");
}
