//! COPY in and out.

use driftdb_sql::{Outcome, Session, TransactionStatus};
use driftdb_types::Error;

use crate::runner::{Fixture, simple};

/// Feeds `data` in pieces of `piece` bytes; the tag.
fn copy_in(session: &mut Session, sql: &str, data: &[u8], piece: usize) -> Result<String, Error> {
    let mut query = session.simple_query(sql);
    let Some(Outcome::CopyIn(mut copy)) = query.next(session)? else { panic!("{sql} is no COPY FROM STDIN") };
    for piece in data.chunks(piece) {
        copy.write(session, piece)?;
    }
    let tag = copy.finish(session)?;
    assert!(query.next(session)?.is_none());
    Ok(tag)
}

#[test]
fn copies_text_in_and_out() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    simple(&mut session, "CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT 'dflt', d date)").unwrap();
    let data = b"1\tone\t2026-01-02\n2\t\\N\t\\N\n3\ta\\tb\\\\\t\\N\n\\.\n";
    for piece in [1, 3, 1000] {
        simple(&mut session, "DELETE FROM t").unwrap();
        assert_eq!(copy_in(&mut session, "COPY t FROM STDIN WITH (FREEZE ON)", data, piece).unwrap(), "COPY 3");
        let rows = simple(&mut session, "SELECT * FROM t WHERE id > 0").unwrap().rows;
        assert_eq!(rows, ["1 | one | 2026-01-02", "2 | NULL | NULL", "3 | a\tb\\ | NULL"]);
    }
    assert_eq!(copy_in(&mut session, "COPY t (id) FROM STDIN", b"4\n", 10).unwrap(), "COPY 1");
    assert_eq!(simple(&mut session, "SELECT a FROM t WHERE id = 4").unwrap().rows, ["dflt"]);
    let out = simple(&mut session, "COPY (SELECT id, a FROM t WHERE id < 3 ORDER BY id) TO STDOUT").unwrap();
    assert_eq!((out.rows, out.tag.as_str()), (vec!["1\\tone".to_owned(), "2\\t\\N".to_owned()], "COPY 2"));
    let csv = simple(&mut session, "COPY t (a, id) TO STDOUT (FORMAT csv, HEADER)").unwrap();
    assert_eq!(csv.rows[..2], ["a,id", "one,1"]);
}

#[test]
fn copies_csv_in() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    simple(&mut session, "CREATE TABLE t (id int PRIMARY KEY, a text)").unwrap();
    let data = b"id,a\n1,\"x,\"\"y\"\n2,\n3,\"\"\n";
    let sql = "COPY t FROM STDIN WITH (FORMAT csv, HEADER MATCH)";
    assert_eq!(copy_in(&mut session, sql, data, 2).unwrap(), "COPY 3");
    let rows = simple(&mut session, "SELECT * FROM t WHERE id > 0").unwrap().rows;
    assert_eq!(rows, ["1 | x,\"y", "2 | NULL", "3 | (empty)"]);
}

#[test]
fn a_bad_line_says_where_it_is_and_leaves_nothing() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    simple(&mut session, "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL)").unwrap();
    for (data, state, place) in [
        (&b"1\t1\n2\tx\n"[..], "22P02", "COPY t, line 2"),
        (b"1\t1\n2\n", "22P04", "COPY t, line 2"),
        (b"1\t1\n1\t2\n", "23505", "COPY t, line 2"),
        (b"1\t1\n2\t\\N\n", "23502", "COPY t, line 2"),
    ] {
        let error = copy_in(&mut session, "COPY t FROM STDIN", data, 100).unwrap_err();
        assert_eq!(error.state.code(), state, "{error:?}");
        assert!(error.detail.as_ref().is_some_and(|detail| detail.contains(place)), "{error:?}");
        session.sync().unwrap();
        assert_eq!(session.transaction_status(), TransactionStatus::Idle);
        assert!(simple(&mut session, "SELECT id FROM t WHERE id > 0").unwrap().rows.is_empty());
    }
    for (sql, state) in [
        ("COPY nope FROM STDIN", "42P01"),
        ("COPY t (id, nope) FROM STDIN", "42703"),
        ("COPY t (id, id) FROM STDIN", "42701"),
        ("COPY nope TO STDOUT", "42P01"),
    ] {
        assert_eq!(simple(&mut session, sql).map(|_| ()).unwrap_err().state.code(), state, "{sql}");
    }
}

#[test]
fn a_client_that_breaks_off_fails_the_transaction() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    simple(&mut session, "CREATE TABLE t (id int PRIMARY KEY)").unwrap();
    simple(&mut session, "BEGIN").unwrap();
    let mut query = session.simple_query("COPY t FROM STDIN");
    let Some(Outcome::CopyIn(mut copy)) = query.next(&mut session).unwrap() else { panic!() };
    copy.write(&mut session, b"1\n").unwrap();
    let error = copy.fail(&mut session, "changed my mind");
    assert_eq!(error.state.code(), "57014");
    assert_eq!(session.transaction_status(), TransactionStatus::Failed);
    simple(&mut session, "ROLLBACK").unwrap();
    assert!(simple(&mut session, "SELECT id FROM t WHERE id > 0").unwrap().rows.is_empty());
}
