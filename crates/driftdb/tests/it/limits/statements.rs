//! Statements and their results: as long and as deep as they may be, and beyond that an error, and never the server's end.

use std::time::Instant;

use super::server;
use crate::client::Client;

/// Statements that are answered.
fn done() -> Vec<(&'static str, String)> {
    let chain = |one: &str, sign: &str, count: usize| vec![one; count].join(sign);
    let mut done = vec![
        ("parentheses", format!("SELECT {}1{}", "(".repeat(120), ")".repeat(120))),
        ("subqueries", format!("SELECT * FROM {}(SELECT 1) x{}", "(SELECT * FROM ".repeat(60), ") x".repeat(60))),
        ("functions", format!("SELECT {}1{}", "abs(".repeat(60), ")".repeat(60))),
        ("CASE", format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(100), " END".repeat(100))),
        ("casts", format!("SELECT 1{}", "::int".repeat(200))),
        ("UNION ALL", format!("SELECT count(*) - 999 FROM ({}) x", chain("SELECT 1", " UNION ALL ", 1_000))),
        ("OR", format!("SELECT count(*) FROM t WHERE {}", chain("v = 0", " OR ", 500))),
        ("statements", chain("SELECT 1", ";", 300)),
        ("target list", format!("SELECT {}", chain("1", ", ", 1_700))),
        ("alias", format!("SELECT 1 AS {}", "a".repeat(10_000))),
        ("text", format!("SELECT length('{}') - 999999", "x".repeat(1_000_000))),
        ("numeric", format!("SELECT ('1{}'::numeric - 1{}::numeric)::int", "0".repeat(37), "0".repeat(37))),
        ("json", format!("SELECT length('{}1{}'::jsonb::text) - 1024", "[".repeat(512), "]".repeat(512))),
    ];
    if crate::server::setting("LONG", 0, 1) == 1 {
        // Planning them takes the square of their length, a minute in a debug build.
        done.push(("+", format!("SELECT {} - 998", chain("1", " + ", 999))));
        done.push(("1,000 casts", format!("SELECT 1{}", "::int".repeat(1_000))));
    }
    done
}

/// Statements that are refused, with SQLSTATE and message.
fn refused() -> Vec<(String, &'static str, &'static str)> {
    let deep = "the statement is nested too deeply";
    let long = "an expression has more than 1000 operators in a row";
    let chain = |one: &str, sign: &str, count: usize| vec![one; count].join(sign);
    let mut refused = vec![
        (format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)), "54000", deep),
        (format!("SELECT * FROM {}(SELECT 1) x{}", "(SELECT * FROM ".repeat(200), ") x".repeat(200)), "54000", deep),
        (format!("SELECT {}", chain("1", " + ", 2_000)), "54000", long),
        (chain("SELECT 1", " UNION ALL ", 2_000), "54000", long),
        (format!("SELECT 1{}", "::int".repeat(1_001)), "54000", long),
        (
            format!("SELECT length('{}{}'::json::text)", "[".repeat(513), "]".repeat(513)),
            "54000",
            "json is nested more than 512 levels deep",
        ),
        ("PREPARE p AS SELECT $65536::int".to_owned(), "42P02", "there is no parameter $65536"),
        ("PREPARE p AS SELECT $0::int".to_owned(), "42P02", "there is no parameter $0"),
    ];
    let short = [
        ("SELECT repeat('x', 67108865)", "54000", "requested length too large"),
        ("SELECT lpad('', 67108865)", "54000", "requested length too large"),
        ("SELECT 99999999999999999999999999999999999999::numeric + 1", "22003", "value overflows numeric format"),
        ("CREATE TABLE n (v numeric(39,0))", "0A000", "numeric(39,0) is not supported"),
        ("SELECT 9223372036854775807 + 1", "22003", "bigint out of range"),
        (
            "CREATE TABLE n (v varchar(10485761))",
            "22023",
            "length 10485761 for a character type must be between 1 and 10485760",
        ),
        ("SELECT timestamp '294276-12-31'", "0A000", "a timestamp after 294247-01-10 04:00:54.775806 is not supported"),
        ("SELECT timestamp '4714-01-01 BC'", "22008", "timestamp out of range: \"4714-01-01 BC\""),
        ("SELECT date '5874898-01-01'", "22008", "date out of range: \"5874898-01-01\""),
        ("SELECT date '4715-01-01 BC'", "22008", "date out of range: \"4715-01-01 BC\""),
        ("SELECT interval '178956971 years'", "22008", "interval out of range"),
        (
            "SELECT * FROM t FOR SYSTEM_TIME AS OF @SEQ:1000000",
            "22023",
            "commit 1000000 is in the future: the last one is 1",
        ),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF '2200-01-01'", "22023", "the point of system time is in the future"),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF @SEQ:0", "42P01", "relation \"t\" does not exist as of commit 0"),
    ];
    refused.extend(short.map(|(sql, state, message)| (sql.to_owned(), state, message)));
    refused
}

#[test]
fn deep_and_long_statements_are_answered_or_refused() {
    let (server, _place) = server();
    let mut client = Client::connect(&server);
    for (what, sql) in done() {
        let begun = Instant::now();
        let rows = client.try_query(&sql).unwrap_or_else(|error| panic!("{what}: {error}: {:?}", error.as_db_error()));
        assert!(
            rows.iter().flatten().all(|value| matches!(value.as_deref(), Some("0" | "1" | "2"))),
            "{what}: {rows:?}"
        );
        println!("{what}: {:.1?}", begun.elapsed());
    }
    for (sql, state, message) in refused() {
        let shown: String = sql.chars().take(80).collect();
        assert_eq!(client.refused(&sql), (state.to_owned(), message.to_owned()), "{shown}");
        assert_eq!(client.number("SELECT 1"), 1, "{shown}");
    }
    server.stop();
}

#[test]
fn a_statement_has_at_most_65535_parameters() {
    let (server, _place) = server();
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE p (id text PRIMARY KEY, a text, b text)");
    let insert = |rows: usize| {
        let row = |row: usize| format!("(${}, ${}, ${})", 3 * row + 1, 3 * row + 2, 3 * row + 3);
        format!("INSERT INTO p VALUES {} RETURNING a", (0..rows).map(row).collect::<Vec<_>>().join(", "))
    };
    let values: Vec<String> = (0..65_535).map(|number| number.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    assert_eq!(client.with_text(&insert(21_845), &values).unwrap().len(), 21_845);
    assert_eq!(client.refused(&format!("PREPARE more AS {}", insert(21_846))).0, "42P02");
    server.stop();
}

/// A result is as long as it is: it is sent while it is made.
#[test]
fn a_result_is_not_held() {
    let (server, _place) = server();
    let mut client = Client::connect(&server);
    let watch = crate::process::MemoryWatch::begin(server.pid());
    let before_mib = crate::process::memory_mib(server.pid());
    let rows = client.query("SELECT i, repeat('x', 1000) FROM generate_series(1, 100000) s(i)");
    assert_eq!(rows.len(), 100_000);
    let peak_mib = watch.take_peak_mib();
    assert!(peak_mib <= before_mib + 48, "{before_mib} MiB, then {peak_mib} MiB");
    watch.end();
    server.stop();
}
