//! The extended protocol message by message: which answers come, in which order, and in which state it leaves the
//! session. These tests were also run against PostgreSQL 15, which passed them, except that it gives 08P01 for a binary
//! integer of the wrong length and ends a connection that sends a query into a COPY.

use crate::harness::{Raw, TestServer};

fn parse(name: &str, sql: &str) -> Vec<u8> {
    format!("{name}\0{sql}\0\0\0").into_bytes()
}

/// Without parameters; all results as text.
fn bind(portal: &str, statement: &str) -> Vec<u8> {
    [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0", &[0; 6]].concat()
}

fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    [portal.as_bytes(), b"\0", &rows_max.to_be_bytes()].concat()
}

fn send_all(raw: &mut Raw, messages: &[(u8, Vec<u8>)]) {
    for (tag, body) in messages {
        raw.send(*tag, body);
    }
}

fn run(raw: &mut Raw, sql: &str) {
    send_all(raw, &[(b'P', parse("", sql)), (b'B', bind("", "")), (b'E', execute("", 0))]);
}

const SYNC: (u8, Vec<u8>) = (b'S', Vec::new());

#[test]
fn the_usual_round() {
    let server = TestServer::trust();
    let mut raw = server.session();
    send_all(
        &mut raw,
        &[
            (b'P', parse("", "select 1 as one, null::text")),
            (b'D', b"S\0".to_vec()),
            (b'B', bind("", "")),
            (b'D', b"P\0".to_vec()),
            (b'E', execute("", 0)),
            (b'C', b"S\0".to_vec()),
            (b'C', b"Pnever there\0".to_vec()),
            SYNC,
        ],
    );
    let replies = raw.until_ready();
    let shape: String = replies.iter().map(|reply| reply.tag).collect();
    assert_eq!(shape, "1tT2TDC33Z");
    assert_eq!(replies[5].row(), [Some(b"1".to_vec()), None]);
}

#[test]
fn what_gives_no_rows_and_what_is_nothing() {
    let server = TestServer::trust();
    let mut raw = server.session();
    send_all(&mut raw, &[(b'P', parse("", "create table t (a int)")), (b'D', b"S\0".to_vec()), (b'B', bind("", ""))]);
    send_all(&mut raw, &[(b'D', b"P\0".to_vec()), (b'E', execute("", 0)), SYNC]);
    assert_eq!(raw.shape(), "1tn2nCZI");
    send_all(&mut raw, &[(b'P', parse("", "")), (b'D', b"S\0".to_vec()), (b'B', bind("", "")), (b'E', execute("", 0))]);
    send_all(&mut raw, &[SYNC]);
    assert_eq!(raw.shape(), "1tn2IZI");
    raw.send(b'Q', b"\0");
    assert_eq!(raw.shape(), "IZI");
    raw.send(b'Q', b" ; -- nothing\n ;\0");
    assert_eq!(raw.shape(), "IZI");
    raw.send(b'S', b"");
    assert_eq!(raw.shape(), "ZI");
}

#[test]
fn an_error_skips_to_the_sync_and_undoes_the_batch() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table t (a int)"), ["CREATE TABLE"]);
    run(&mut raw, "insert into t values (1)");
    run(&mut raw, "insert into no_such_table values (1)");
    run(&mut raw, "insert into t values (2)");
    raw.send(b'S', b"");
    let replies = raw.until_ready();
    let shape: String = replies.iter().map(|reply| reply.tag).collect();
    assert_eq!(shape, "12CEZ");
    assert_eq!(replies[3].error(), "ERROR 42P01");
    assert_eq!(raw.query("select * from t").iter().filter(|reply| reply.tag == 'D').count(), 0);
    run(&mut raw, "insert into t values (3)");
    run(&mut raw, "insert into t values (4)");
    raw.send(b'S', b"");
    assert_eq!(raw.shape(), "12C12CZI");
    assert_eq!(raw.query("select * from t").iter().filter(|reply| reply.tag == 'D').count(), 2);
}

#[test]
fn the_state_of_the_transaction_is_told() {
    let server = TestServer::trust();
    let mut raw = server.session();
    let status = |replies: Vec<crate::harness::Reply>| char::from(replies.last().unwrap().body[0]);
    assert_eq!(status(raw.query("begin")), 'T');
    assert_eq!(status(raw.query("select 1")), 'T');
    assert_eq!(status(raw.query("select nonsense")), 'E');
    assert_eq!(raw.query("select 1")[0].error(), "ERROR 25P02");
    run(&mut raw, "select 1");
    raw.send(b'S', b"");
    assert_eq!(raw.shape(), "EZE");
    assert_eq!(status(raw.query("rollback")), 'I');
    // An error found before the session sees the statement fails the transaction too.
    assert_eq!(status(raw.query("begin")), 'T');
    raw.send(b'B', &bind("", "no such statement"));
    raw.send(b'S', b"");
    assert_eq!(raw.shape(), "EZE");
    assert_eq!(raw.query_tags("commit"), ["ROLLBACK"]);
}

#[test]
fn names_are_taken_once_and_must_exist() {
    let server = TestServer::trust();
    let mut raw = server.session();
    let mut error = |messages: &[(u8, Vec<u8>)]| {
        send_all(&mut raw, messages);
        raw.send(b'S', b"");
        raw.until_ready().iter().find(|reply| reply.tag == 'E').map(crate::harness::Reply::error)
    };
    assert_eq!(error(&[(b'P', parse("s", "select 1"))]), None);
    assert_eq!(error(&[(b'P', parse("s", "select 2"))]), Some("ERROR 42P05".into()));
    assert_eq!(error(&[(b'B', bind("p", "s")), (b'B', bind("p", "s"))]), Some("ERROR 42P03".into()));
    assert_eq!(error(&[(b'B', bind("", "t"))]), Some("ERROR 26000".into()));
    assert_eq!(error(&[(b'D', b"St\0".to_vec())]), Some("ERROR 26000".into()));
    assert_eq!(error(&[(b'D', b"Pp\0".to_vec())]), Some("ERROR 34000".into()));
    // The portal of an earlier transaction is gone.
    assert_eq!(error(&[(b'B', bind("p", "s"))]), None);
    assert_eq!(error(&[(b'E', execute("p", 0))]), Some("ERROR 34000".into()));
    assert_eq!(error(&[(b'C', b"Ss\0".to_vec()), (b'P', parse("s", "select 2"))]), None);
    assert_eq!(error(&[(b'P', parse("", "select 1; select 2"))]), Some("ERROR 42601".into()));
    // The unnamed statement goes with the next simple query.
    assert_eq!(error(&[(b'P', parse("", "select 1"))]), None);
    assert_eq!(raw.query_tags("select 1"), ["SELECT 1"]);
    raw.send(b'B', &bind("", ""));
    raw.send(b'S', b"");
    assert_eq!(raw.until_ready()[0].error(), "ERROR 26000");
}

#[test]
fn named_statements_are_sqls_too() {
    let server = TestServer::trust();
    let mut raw = server.session();
    send_all(&mut raw, &[(b'P', parse("s", "select 5 as five")), SYNC]);
    assert_eq!(raw.shape(), "1ZI");
    assert_eq!(raw.query("execute s")[1].row(), [Some(b"5".to_vec())]);
    assert_eq!(raw.query_tags("deallocate s"), ["DEALLOCATE"]);
    send_all(&mut raw, &[(b'B', bind("", "s")), SYNC]);
    assert_eq!(raw.until_ready()[0].error(), "ERROR 26000");
    assert_eq!(raw.query_tags("prepare t as select 6 as six"), ["PREPARE"]);
    send_all(&mut raw, &[(b'B', bind("", "t")), (b'E', execute("", 0)), (b'C', b"St\0".to_vec()), SYNC]);
    assert_eq!(raw.shape(), "2DC3ZI");
    assert_eq!(raw.query_tags("execute t"), ["ERROR 26000"]);
}

#[test]
fn copy_out_sends_a_message_a_row() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table t (a int, b text)"), ["CREATE TABLE"]);
    assert_eq!(raw.query_tags("insert into t values (1, 'x\ny'), (2, null)"), ["INSERT 0 2"]);
    for (sql, rows) in [
        ("copy (select * from t order by a) to stdout", &["1\tx\\ny\n", "2\t\\N\n"][..]),
        ("copy (select * from t order by a) to stdout (format csv, header)", &["a,b\n", "1,\"x\ny\"\n", "2,\n"]),
    ] {
        let data = raw.query(sql).into_iter().filter(|reply| reply.tag == 'd');
        let data: Vec<String> = data.map(|reply| String::from_utf8(reply.body).unwrap()).collect();
        assert_eq!(data, rows, "{sql}");
    }
}

#[test]
fn binds_that_do_not_fit_the_statement() {
    let server = TestServer::trust();
    let mut raw = server.session();
    let bodies: [(&[u8], &str); 6] = [
        (b"\0s\0\x00\x00\x00\x00\x00\x00", "08P01"), // no parameters
        (b"\0s\0\x00\x02\x00\x00\x00\x00\x00\x01\x00\x00\x00\x011\x00\x00", "08P01"), // two formats
        (b"\0s\0\x00\x01\x00\x07\x00\x01\x00\x00\x00\x011\x00\x00", "22023"), // no such format
        (b"\0s\0\x00\x00\x00\x01\x00\x00\x00\x01x\x00\x00", "22P02"), // not an integer
        (b"\0s\0\x00\x01\x00\x01\x00\x01\x00\x00\x00\x011\x00\x00", "22P03"), // not its binary form
        (b"\0s\0\x00\x00\x00\x01\x00\x00\x00\x011\x00\x02\x00\x00\x00\x00", "08P01"), // formats for two columns
    ];
    send_all(&mut raw, &[(b'P', parse("s", "select $1::int4")), SYNC]);
    assert_eq!(raw.shape(), "1ZI");
    for (body, state) in bodies {
        raw.send(b'B', body);
        raw.send(b'S', b"");
        assert_eq!(raw.until_ready()[0].error(), format!("ERROR {state}"), "{body:?}");
    }
    raw.send(b'B', b"\0s\0\x00\x01\x00\x01\x00\x01\x00\x00\x00\x04\x00\x00\x01\x00\x00\x01\x00\x01");
    send_all(&mut raw, &[(b'D', b"P\0".to_vec()), (b'E', execute("", 0)), SYNC]);
    let replies = raw.until_ready();
    assert_eq!(replies[2].row(), [Some(vec![0, 0, 1, 0])]);
}

#[test]
fn portals_stop_at_the_row_limit_and_go_on() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table n (i int)"), ["CREATE TABLE"]);
    let insert = "insert into n values (1), (2), (3), (4), (5)";
    assert_eq!(raw.query_tags(insert), ["INSERT 0 5"]);
    assert_eq!(raw.query_tags("begin"), ["BEGIN"]);
    send_all(&mut raw, &[(b'P', parse("", "select i from n order by i")), (b'B', bind("p", ""))]);
    send_all(&mut raw, &[(b'E', execute("p", 2)), (b'E', execute("p", 2)), SYNC]);
    assert_eq!(raw.shape(), "12DDsDDsZT");
    // Another statement between, then the rest.
    assert_eq!(raw.query_tags("select 1"), ["SELECT 1"]);
    send_all(&mut raw, &[(b'E', execute("p", 2)), (b'E', execute("p", 2)), SYNC]);
    let replies = raw.until_ready();
    let shape: String = replies.iter().map(|reply| reply.tag).collect();
    assert_eq!(shape, "DCCZ");
    assert_eq!((replies[1].text(), replies[2].text()), ("SELECT 1".into(), "SELECT 0".into()));
    // What changes rows runs whole at once, whatever the limit on rows returned.
    send_all(&mut raw, &[(b'P', parse("", "insert into n values (6), (7) returning i")), (b'B', bind("q", ""))]);
    send_all(&mut raw, &[(b'E', execute("q", 1)), SYNC]);
    assert_eq!(raw.shape(), "12DsZT");
    assert_eq!(raw.query("select * from n").iter().filter(|reply| reply.tag == 'D').count(), 7);
    assert_eq!(raw.query_tags("commit"), ["COMMIT"]);
    // Cannot run twice.
    send_all(&mut raw, &[(b'P', parse("", "insert into n values (8)")), (b'B', bind("", ""))]);
    send_all(&mut raw, &[(b'E', execute("", 0)), (b'E', execute("", 0)), SYNC]);
    let replies = raw.until_ready();
    assert_eq!(replies[3].error(), "ERROR 55000");
}

#[test]
fn flush_brings_answers_before_sync() {
    let server = TestServer::trust();
    let mut raw = server.session();
    send_all(&mut raw, &[(b'P', parse("", "select 1")), (b'H', Vec::new())]);
    assert_eq!(raw.reply().unwrap().tag, '1');
    send_all(&mut raw, &[(b'B', bind("", "")), (b'E', execute("", 0)), (b'H', Vec::new())]);
    let tags: String = (0..3).map(|_| raw.reply().unwrap().tag).collect();
    assert_eq!(tags, "2DC");
    raw.send(b'S', b"");
    assert_eq!(raw.shape(), "ZI");
}

#[test]
fn copy_in_the_extended_protocol() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table t (a int, b text)"), ["CREATE TABLE"]);
    run(&mut raw, "copy t from stdin");
    // A Sync before the data is ignored, as clients send it early.
    raw.send(b'S', b"");
    for _ in 0..2 {
        assert!("12".contains(raw.reply().unwrap().tag));
    }
    let response = raw.reply().unwrap();
    assert_eq!((response.tag, response.body.as_slice()), ('G', &b"\x00\x00\x02\x00\x00\x00\x00"[..]));
    raw.send(b'd', b"1\tone\n2\t");
    raw.send(b'd', b"two\n");
    raw.send(b'c', b"");
    raw.send(b'S', b"");
    let replies = raw.until_ready();
    assert_eq!(replies[0].text(), "COPY 2");
    // Data that does not fit: the rest of it is skipped, with the batch.
    run(&mut raw, "copy t from stdin");
    raw.send(b'd', b"x\ty\n");
    raw.send(b'd', b"3\tthree\n");
    raw.send(b'c', b"");
    raw.send(b'S', b"");
    let replies = raw.until_ready();
    let shape: String = replies.iter().map(|reply| reply.tag).collect();
    assert_eq!(shape, "12GEZ");
    assert_eq!(replies[3].error(), "ERROR 22P02");
    assert_eq!(raw.query("select * from t").iter().filter(|reply| reply.tag == 'D').count(), 2);
}

#[test]
fn copy_in_the_simple_protocol() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table t (a int)"), ["CREATE TABLE"]);
    let begin = |raw: &mut Raw| {
        raw.send(b'Q', b"copy t from stdin\0");
        assert_eq!(raw.reply().unwrap().tag, 'G');
    };
    begin(&mut raw);
    raw.send(b'd', b"1\n2\n");
    raw.send(b'c', b"");
    assert_eq!(raw.shape(), "CZI");
    begin(&mut raw);
    raw.send(b'd', b"3\n");
    raw.send(b'f', b"changed my mind\0");
    let replies = raw.until_ready();
    assert_eq!(replies[0].error(), "ERROR 57014");
    assert!(replies[0].fields()[&'M'].contains("changed my mind"));
    begin(&mut raw);
    raw.send(b'Q', b"select 1\0");
    assert_eq!(raw.until_ready()[0].error(), "ERROR 08P01");
    // Gone in the middle.
    begin(&mut raw);
    raw.send(b'd', b"4\n");
    drop(raw);
    let mut raw = server.session();
    raw.send(b'Q', b"copy t to stdout\0");
    let replies = raw.until_ready();
    let shape: String = replies.iter().map(|reply| reply.tag).collect();
    assert!(shape.starts_with("Hd") && shape.ends_with("cCZ"), "{shape}");
    let data: Vec<u8> = replies.iter().filter(|reply| reply.tag == 'd').flat_map(|reply| reply.body.clone()).collect();
    assert_eq!(data, b"1\n2\n");
}

#[test]
fn an_error_comes_before_sync() {
    let server = TestServer::trust();
    let mut raw = server.session();
    send_all(&mut raw, &[(b'P', parse("", "select nope")), (b'D', b"S\0".to_vec()), (b'H', Vec::new())]);
    assert_eq!(raw.reply().unwrap().error(), "ERROR 42703");
    raw.send(b'S', b"");
    assert_eq!(raw.shape(), "ZI");
    // What was said before it comes before it, also when the client asked for nothing to be flushed.
    send_all(&mut raw, &[(b'P', parse("", "select 1")), (b'E', execute("no portal", 0))]);
    assert_eq!(raw.reply().unwrap().tag, '1');
    assert_eq!(raw.reply().unwrap().error(), "ERROR 34000");
    run(&mut raw, "select 1");
    raw.send(b'S', b"");
    assert_eq!(raw.shape(), "ZI");
}

/// The fields of the error that a query string ends in: schema, table, column, constraint, routine.
fn subject(raw: &mut Raw, sql: &str) -> String {
    let replies = raw.query(sql);
    let error = replies.iter().find(|reply| reply.tag == 'E').unwrap_or_else(|| panic!("{sql}: {replies:?}"));
    let fields = error.fields();
    let one = |code: char| fields.get(&code).map_or("-", String::as_str);
    format!("{} {} {} {} {} {}", one('C'), one('s'), one('t'), one('c'), one('n'), one('R'))
}

#[test]
fn errors_name_what_they_are_about() {
    let server = TestServer::trust();
    let mut raw = server.session();
    let setup = "create table f (id int primary key, v text not null, u int unique); insert into f values (1, 'a', 1)";
    assert_eq!(raw.query_tags(setup), ["CREATE TABLE", "INSERT 0 1"]);
    let mut about = |sql: &str| subject(&mut raw, sql);
    assert_eq!(about("insert into f values (1, 'b', 2)"), "23505 public f - f_pkey -");
    assert_eq!(about("insert into f values (2, 'b', 1)"), "23505 public f - f_u_key -");
    assert_eq!(about("insert into f values (2, null, 2)"), "23502 public f v - -");
    assert_eq!(about("insert into f values (null, 'b', 2)"), "23502 public f id - -");
    assert_eq!(about("insert into f select 2, null, 2"), "23502 public f v - -");
    assert_eq!(about("update f set v = null"), "23502 public f v - -");
    assert_eq!(
        about("insert into f values (2, 'b', 2); update f set u = 1 where id = 2"),
        "23505 public f - f_u_key -"
    );
    assert_eq!(
        about("insert into f values (2, 'b', 2); update f set id = 1 where id = 2"),
        "23505 public f - f_pkey -"
    );
    let other = "insert into f values (3, 'b', 1) on conflict (id) do nothing";
    assert_eq!(about(other), "23505 public f - f_u_key -");
    let null = "insert into f values (1, 'b', 9) on conflict (id) do update set v = null";
    assert_eq!(about(null), "23502 public f v - -");
    assert_eq!(about("select nope"), "42703 - - - - -");
}

#[test]
fn a_result_that_changed_is_known_by_its_routine() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table f (id int primary key)"), ["CREATE TABLE"]);
    send_all(&mut raw, &[(b'P', parse("all", "select * from f")), SYNC]);
    assert_eq!(raw.shape(), "1ZI");
    assert_eq!(raw.query_tags("alter table f add column v text"), ["ALTER TABLE"]);
    send_all(&mut raw, &[(b'B', bind("", "all")), (b'E', execute("", 0)), SYNC]);
    let replies = raw.until_ready();
    let fields = replies.iter().find(|reply| reply.tag == 'E').unwrap().fields();
    assert_eq!((&*fields[&'C'], &*fields[&'R']), ("0A000", "RevalidateCachedQuery"));
}

/// The types of a statement's parameters.
fn parameter_types(raw: &mut Raw, sql: &str) -> Vec<u32> {
    send_all(raw, &[(b'P', parse("", sql)), (b'D', b"S\0".to_vec()), SYNC]);
    let replies = raw.until_ready();
    let described = replies.iter().find(|reply| reply.tag == 't').unwrap_or_else(|| panic!("{sql}: {replies:?}"));
    described.body[2..].chunks(4).map(|oid| u32::from_be_bytes(oid.try_into().unwrap())).collect()
}

#[test]
fn a_cast_types_a_parameter_wherever_it_stands() {
    let (int4, int8, text, timestamp, timestamptz, interval) = (23, 20, 25, 1114, 1184, 1186);
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("create table f (id int primary key)"), ["CREATE TABLE"]);
    let mut types = |sql: &str| parameter_types(&mut raw, sql);
    assert_eq!(types("select * from generate_series(1, $1::int)"), [int4]);
    assert_eq!(types("select * from generate_series(1, $1::bigint + 1)"), [int8]);
    assert_eq!(types("select * from generate_series(1, $1)"), [int4]);
    let moments = "select * from generate_series($1::timestamp, $2, $3)";
    assert_eq!(types(moments), [timestamp, timestamp, interval]);
    assert_eq!(types("select * from f for system_time as of $1::bigint"), [int8]);
    assert_eq!(types("select * from f for system_time as of $1::timestamptz where id = $2"), [timestamptz, int4]);
    assert_eq!(types("select * from f for system_time from $1::bigint to $2::timestamptz"), [int8, timestamptz]);
    assert_eq!(types("select * from f for system_time between $1::bigint and $2::bigint"), [int8, int8]);
    assert_eq!(types("select * from f for system_time as of $1"), [text]);
}

#[test]
fn what_a_pool_resets_a_connection_with() {
    let server = TestServer::trust();
    let mut raw = server.session();
    assert_eq!(raw.query_tags("CLOSE ALL; UNLISTEN *; RESET ALL"), ["CLOSE CURSOR ALL", "UNLISTEN", "RESET"]);
    assert_eq!(raw.query_tags("unlisten x; reset application_name"), ["UNLISTEN", "RESET"]);
    assert_eq!(raw.query_tags("DISCARD ALL"), ["DISCARD ALL"]);
    for refused in ["close x", "declare x cursor for select 1", "fetch x", "move x"] {
        assert_eq!(raw.query_tags(refused), ["ERROR 0A000"], "{refused}");
    }
    assert_eq!(raw.query_tags("begin; select nope"), ["BEGIN", "ERROR 42703"]);
    assert_eq!(raw.query_tags("close all"), ["ERROR 25P02"]);
}
