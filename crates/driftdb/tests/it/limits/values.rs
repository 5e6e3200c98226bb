//! Values, rows and transactions: as large as they may be, and one step beyond.

use std::iter;

use crate::client::{Client, state};
use crate::process::MemoryWatch;
use crate::server::{PASSWORD, Server, driftdb, setting};

const MIB: usize = 1 << 20;

/// A server with a memory limit, and where its data is until the test has ended.
fn server(limit: &str) -> (Server, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let mut command = driftdb();
    command.env("DRIFTDB_PASSWORD", PASSWORD).env("DRIFTDB_MEMORY_LIMIT", limit);
    (Server::launch(&place.path().join("data"), &mut command), place)
}

/// So many letters, each line of them other than the one before, and how to know them again.
fn letters(count: usize) -> (String, String) {
    let text: String = (b'a'..=b'z').cycle().map(char::from).take(count - 3).collect::<String>() + "end";
    let known = format!("length(v) = {count} AND left(v, 26) = 'abcdefghijklmnopqrstuvwxyz' AND right(v, 3) = 'end'");
    (text, known)
}

/// 64 MiB, in an unoptimised server's time 8 MiB by the ways that have it read as a part of a statement.
#[test]
fn a_value_of_64_mib_comes_and_goes_every_way() {
    let (server, place) = server("2GiB");
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE large (id int PRIMARY KEY, v text); CREATE TABLE bytes (id int PRIMARY KEY, v bytea)");
    let in_a_statement = usize::try_from(setting("VALUE_MIB", 8, 64)).unwrap() * MIB;
    let (text, known) = letters(64 * MIB);
    let (short, short_known) = letters(in_a_statement);

    client.query(&format!("INSERT INTO large VALUES (1, '{short}')"));
    let returned = client.with_text("INSERT INTO large VALUES (2, $1) RETURNING v", &[&text]).unwrap();
    assert!(returned == std::slice::from_ref(&text));
    let lines = ["3\t".to_owned(), short, "\n".to_owned()];
    assert_eq!(client.copy_in("COPY large FROM STDIN", lines.into_iter()).unwrap(), 1);
    client.query("INSERT INTO large SELECT 4, v FROM large WHERE id = 2");
    client.query(&format!("INSERT INTO bytes VALUES (1, decode(repeat('00ff', {}), 'hex'))", in_a_statement / 2));
    let inserted = client.number("SELECT max(seq) FROM driftdb.commits");
    client.query("UPDATE large SET v = 'short' WHERE id <= 3; DELETE FROM large WHERE id = 4");
    assert_eq!(client.number("SELECT count(*) FROM large WHERE v = 'short'"), 3);

    let check = |client: &mut Client| {
        let at = format!("FROM large FOR SYSTEM_TIME AS OF @SEQ:{inserted} WHERE");
        assert_eq!(client.number(&format!("SELECT count(*) {at} id IN (1, 3) AND {short_known}")), 2);
        assert_eq!(client.number(&format!("SELECT count(*) {at} id IN (2, 4) AND {known}")), 2);
        assert!(client.value(&format!("SELECT v {at} id = 4")) == text);
        let bytes = i64::try_from(in_a_statement).unwrap();
        assert_eq!(client.number("SELECT length(v) FROM bytes"), bytes);
    };
    check(&mut client);
    server.stop();
    // Now they are in history, and in the base.
    let server = Server::start(&place.path().join("data"));
    check(&mut Client::connect(&server));
    server.stop();
}

#[test]
fn a_row_has_at_most_256_mib() {
    let (server, _place) = server("2GiB");
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE wide (id int PRIMARY KEY, a text, b text, c text, d text)");
    let columns = vec![format!("repeat('x', {})", 64 * MIB); 4].join(", ");
    let refused = ("54000".to_owned(), "row is too big: size 268435485, maximum size 268435456".to_owned());
    assert_eq!(client.refused(&format!("INSERT INTO wide VALUES (1, {columns})")), refused);
    client.query("INSERT INTO wide VALUES (1, 'a', 'b', 'c', 'd')");
    let columns = vec![format!("repeat(a, {})", 64 * MIB); 4].join(", ");
    assert_eq!(client.refused(&format!("UPDATE wide SET (a, b, c, d) = ({columns})")), refused);
    assert_eq!(client.value("SELECT a || b || c || d FROM wide"), "abcd");
    server.stop();
}

/// What has come of a line counts as it comes, so one without an end is not kept until there is no memory.
#[test]
fn a_line_of_copy_there_is_no_memory_for_is_refused() {
    let (server, _place) = server("128MiB");
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (v text)");
    let before_mib = crate::process::memory_mib(server.pid());
    let watch = MemoryWatch::begin(server.pid());
    for sql in ["COPY t FROM STDIN", "COPY t FROM STDIN WITH (FORMAT csv)"] {
        let endless = iter::repeat_n("x".repeat(64 << 10), 1 << 10);
        let error = client.copy_in(sql, endless).expect_err("there is no memory for it");
        assert_eq!(state(&error).as_deref(), Some("53200"), "{error:?}");
        assert_eq!(client.number("SELECT count(*) FROM t"), 0);
    }
    // A seventh of what is for transactions, four times, beside a half of that which the buffer may be larger.
    let peak_mib = watch.take_peak_mib();
    assert!(peak_mib <= before_mib + 28, "{before_mib} MiB, then {peak_mib} MiB");
    watch.end();
    let long = iter::repeat_n("x".repeat(64 << 10), 64).chain(["\n".to_owned()]);
    assert_eq!(client.copy_in("COPY t FROM STDIN", long).unwrap(), 1);
    assert_eq!(client.number("SELECT length(v) FROM t"), 4 << 20);
    server.stop();
}

/// By default a transaction may write a million rows, again, and delete them.
#[test]
fn a_transaction_of_a_million_rows() {
    let (server, _place) = server("2GiB");
    let mut client = Client::connect(&server);
    let rows = i64::try_from(setting("ROWS", 50_000, 1_000_000)).unwrap();
    client.query("CREATE TABLE many (id bigint PRIMARY KEY, v int NOT NULL, filler text)");
    client.query(&format!("INSERT INTO many SELECT i, 0, 'filler ' || i FROM generate_series(1, {rows}) s(i)"));
    client.query("UPDATE many SET v = v + 1");
    client.query(&format!("BEGIN; UPDATE many SET v = v + 1; SAVEPOINT s; DELETE FROM many WHERE id > {}", rows / 2));
    assert_eq!(client.number("SELECT sum(v) FROM many"), rows / 2 * 2);
    client.query("ROLLBACK TO s; COMMIT");
    assert_eq!(client.number("SELECT sum(v) FROM many"), rows * 2);
    client.query("DELETE FROM many");
    assert_eq!(client.number("SELECT count(*) FROM many FOR SYSTEM_TIME AS OF @SEQ:4"), rows);
    assert_eq!(client.number("SELECT count(*) FROM many FOR SYSTEM_TIME ALL"), rows * 3);
    server.stop();
}

#[test]
fn a_transaction_there_is_no_memory_for_is_refused() {
    let (server, _place) = server("128MiB");
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE many (id bigint PRIMARY KEY, v int NOT NULL)");
    let (state, message) = client.refused("INSERT INTO many SELECT i, 0 FROM generate_series(1, 200000) s(i)");
    let bound = "the statements, changes and locks of all transactions take more than 29360128 bytes";
    assert_eq!((state.as_str(), message.as_str()), ("53200", bound));
    // A savepoint with something new before it takes 8 KiB.
    let savepoint = |number| format!("INSERT INTO many VALUES ({number}, 0); SAVEPOINT s{number};");
    let savepoints: String = (0..4_000).map(savepoint).collect();
    assert_eq!(client.refused(&format!("BEGIN; {savepoints}")), (state, message));
    client.query("ROLLBACK");
    client.query("INSERT INTO many SELECT i, 0 FROM generate_series(1, 20000) s(i)");
    assert_eq!(client.number("SELECT count(*) FROM many"), 20_000);
    server.stop();
}
