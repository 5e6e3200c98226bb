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
