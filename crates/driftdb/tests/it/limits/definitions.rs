//! Tables, columns, keys, indexes and names: as many and as long as they may be, and one more.

use super::server;
use crate::client::Client;
use crate::server::{Server, setting};

/// The most columns a table may have.
const COLUMNS: usize = 1_600;

fn columns(count: usize) -> String {
    (0..count).map(|number| format!("c{number} int")).collect::<Vec<_>>().join(", ")
}

fn numbers(from: usize, count: usize) -> String {
    (from..from + count).map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_table_has_at_most_1600_columns() {
    let (server, place) = server();
    let mut client = Client::connect(&server);
    client.query(&format!("CREATE TABLE wide ({}, PRIMARY KEY (c0))", columns(COLUMNS)));
    client.query(&format!("INSERT INTO wide VALUES ({})", numbers(0, COLUMNS)));
    let line = numbers(10, COLUMNS).replace(", ", "\t") + "\n";
    assert_eq!(client.copy_in("COPY wide FROM STDIN", std::iter::once(line)).unwrap(), 1);
    client.query("UPDATE wide SET c1599 = c1599 + c1; CREATE INDEX last_column ON wide (c1599)");
    let check = |client: &mut Client| {
        let row = client.query("SELECT * FROM wide WHERE c1599 = 1600").remove(0);
        assert_eq!((row.len(), row[7].as_deref(), row[1599].as_deref()), (COLUMNS, Some("7"), Some("1600")));
        let then = client.query("SELECT * FROM wide FOR SYSTEM_TIME AS OF @SEQ:4 WHERE c0 = 10").remove(0);
        assert_eq!((then.len(), then[1599].as_deref()), (COLUMNS, Some("1609")));
    };
    check(&mut client);

    let refused = ("54011".to_owned(), "tables can have at most 1600 columns".to_owned());
    assert_eq!(client.refused(&format!("CREATE TABLE wider ({})", columns(COLUMNS + 1))), refused);
    assert_eq!(client.refused("ALTER TABLE wide ADD COLUMN one_more int"), refused);
    // The versions there are have the dropped column.
    assert_eq!(client.refused("ALTER TABLE wide DROP COLUMN c3; ALTER TABLE wide ADD COLUMN one_more int"), refused);
    server.stop();
    let server = Server::start(&place.path().join("data"));
    check(&mut Client::connect(&server));
    server.stop();
}

#[test]
fn a_key_has_at_most_8_kib() {
    let (server, place) = server();
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE long (k text PRIMARY KEY, i text, u text); CREATE INDEX long_i ON long (i)");
    client.query("CREATE UNIQUE INDEX long_u ON long (u)");
    let long = |letter: &str| format!("repeat('{letter}', 8192)");
    client.query(&format!("INSERT INTO long VALUES ({}, 'i', 'u')", long("k")));
    client.query(&format!("INSERT INTO long VALUES ('k', {}, {})", long("i"), long("u")));
    let check = |client: &mut Client| {
        for (column, other) in [("k", "u"), ("i", "k"), ("u", "k")] {
            let found = format!("SELECT {other} FROM long WHERE {column} = {}", long(column));
            assert_eq!(client.value(&found), other, "{column}");
        }
        assert_eq!(client.refused(&format!("INSERT INTO long VALUES ({}, '', '')", long("k"))).0, "23505");
    };
    check(&mut client);
    // As stored: with the end of the text and, in an index that is not unique, with the row's key.
    for (index, values, size) in [
        ("long_pkey", "repeat('x', 9000), '', ''", 9_003),
        ("long_i", "'key', repeat('x', 9000), ''", 9_009),
        ("long_u", "'key', '', repeat('x', 9000)", 9_003),
    ] {
        let message = format!("index row size {size} exceeds maximum 8704 for index \"{index}\"");
        assert_eq!(client.refused(&format!("INSERT INTO long VALUES ({values})")), ("54000".to_owned(), message));
    }
    let update = "UPDATE long SET i = repeat('x', 9000) WHERE k = 'k'";
    assert_eq!(client.refused(update).0, "54000");
    client.query("CREATE TABLE free (v text); INSERT INTO free VALUES (repeat('x', 9000))");
    assert_eq!(client.refused("CREATE INDEX free_v ON free (v)").0, "54000");
    assert_eq!(client.refused("ALTER TABLE free ADD PRIMARY KEY (v)").0, "54000");
    // What is asked for may be longer than what there can be.
    assert_eq!(client.query("SELECT * FROM long WHERE k = repeat('x', 100000) FOR UPDATE"), Vec::<Vec<_>>::new());
    server.stop();
    let server = Server::start(&place.path().join("data"));
    check(&mut Client::connect(&server));
    server.stop();
}

/// There is no bound of its own on the columns of a key.
#[test]
fn a_key_may_have_as_many_columns_as_its_table() {
    let (server, _place) = server();
    let mut client = Client::connect(&server);
    let names: Vec<String> = (0..200).map(|number| format!("c{number}")).collect();
    client.query(&format!("CREATE TABLE keyed ({}, PRIMARY KEY ({}))", columns(200), names.join(", ")));
    client.query(&format!("CREATE INDEX keyed_all ON keyed ({})", names.join(", ")));
    client.query(&format!("INSERT INTO keyed VALUES ({})", numbers(1, 200)));
    assert_eq!(client.refused(&format!("INSERT INTO keyed VALUES ({})", numbers(1, 200))).0, "23505");
    assert_eq!(client.number("SELECT c199 FROM keyed WHERE c0 = 1"), 200);
    server.stop();
}

#[test]
fn a_table_may_have_many_indexes() {
    let (server, _place) = server();
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE indexed (id int PRIMARY KEY, v int)");
    let indexes: String = (0..100).map(|number| format!("CREATE INDEX indexed_{number} ON indexed (v);")).collect();
    client.query(&indexes);
    client.query("INSERT INTO indexed SELECT i, -i FROM generate_series(1, 100) s(i); UPDATE indexed SET v = v - 1");
    assert_eq!(client.number("SELECT id FROM indexed WHERE v = -51"), 50);
    server.stop();
}

#[test]
fn a_name_has_at_most_63_bytes() {
    let (server, _place) = server();
    let mut client = Client::connect(&server);
    let (longest, longer) = ("ä".repeat(31) + "b", "ä".repeat(32));
    client.query(&format!("CREATE TABLE {longest} ({longest} int PRIMARY KEY); CREATE INDEX ON {longest} ({longest})"));
    let refused = ("42622".to_owned(), format!("the name \"{longer}\" is longer than 63 bytes"));
    for sql in [
        format!("CREATE TABLE {longer} (a int)"),
        format!("CREATE TABLE named (a int, {longer} int)"),
        format!("CREATE INDEX {longer} ON {longest} ({longest})"),
        format!("ALTER TABLE {longest} RENAME TO {longer}"),
        format!("ALTER TABLE {longest} ADD COLUMN {longer} int"),
    ] {
        assert_eq!(client.refused(&sql), refused, "{sql}");
    }
    server.stop();
}

/// What `psql` asks for `\d`.
const LIST: &str = "SELECT n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', '') AND n.nspname = 'public' ORDER BY 1, 2";

#[test]
fn many_tables() {
    let (server, place) = server();
    let mut client = Client::connect(&server);
    let tables = setting("TABLES", 500, 10_000);
    for from in (0..tables).step_by(100) {
        let define = |number: u64| {
            format!("CREATE TABLE t{number} (id int PRIMARY KEY, v text, w int); CREATE INDEX ON t{number} (w);")
        };
        client.query(&(from..tables.min(from + 100)).map(define).collect::<String>());
    }
    client.query("INSERT INTO t7 VALUES (1, 'seven', 7); DROP TABLE t8; ALTER TABLE t9 ADD COLUMN x int");
    let check = |client: &mut Client| {
        let listed = client.query(LIST);
        // One was dropped, and there was one before.
        assert_eq!(listed.len() as u64, tables);
        assert_eq!(client.value("SELECT v FROM t7 WHERE w = 7"), "seven");
        assert_eq!(client.refused("SELECT * FROM t8").0, "42P01");
        assert_eq!(client.number("SELECT count(*) FROM t9 WHERE x IS NULL"), 0);
    };
    check(&mut client);
    server.stop();
    let server = Server::start_small(&place.path().join("data"));
    check(&mut Client::connect(&server));
    server.stop();
}
