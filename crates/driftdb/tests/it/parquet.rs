//! History segments are Parquet for anyone: pyarrow reads them and finds the closed versions that SQL gives.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::python::python;
use crate::server::{Server, succeed};

/// Prints each row of the segments of the table that has the column `marker`, as text like PostgreSQL's, tab between.
const READER: &str = r#"
import datetime, decimal, glob, sys
import pyarrow.parquet

def text(value):
    if value is None: return r"\N"
    if isinstance(value, bool): return "t" if value else "f"
    if isinstance(value, bytes): return r"\x" + value.hex()
    if isinstance(value, datetime.datetime):
        shown = value.strftime("%Y-%m-%d %H:%M:%S")
        if value.microsecond: shown += (".%06d" % value.microsecond).rstrip("0")
        return shown + ("+00" if value.tzinfo else "")
    if isinstance(value, float): return repr(int(value)) if value.is_integer() else repr(value)
    return str(value)

columns = sys.argv[2].split(",")
for path in sorted(glob.glob(sys.argv[1] + "/*.parquet")):
    table = pyarrow.parquet.read_table(path)
    if "marker" not in table.column_names: continue
    for row in table.select(columns).to_pylist():
        print("\t".join(text(row[column]) for column in columns))
"#;

/// The columns as SQL names them, and as the segments do.
const COLUMNS: &[(&str, &str)] = &[
    ("marker", "marker"),
    ("name", "name"),
    ("amount", "amount"),
    ("flag", "flag"),
    ("big", "big"),
    ("ratio", "ratio"),
    ("raw", "raw"),
    ("day", "day"),
    ("at", "at"),
    ("_from_seq", "_from_seq"),
    ("_to_seq", "_to_seq"),
    ("_system_from", "_from_time"),
    ("_system_to", "_to_time"),
];

#[test]
fn pyarrow_reads_the_versions_that_sql_gives() {
    succeed(python().args(["-c", "import pyarrow.parquet"]));
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::start_small(&data);
    let mut client = Client::connect(&server);
    client.query(
        "CREATE TABLE facts (marker int PRIMARY KEY, name text, amount numeric(12,2), flag boolean, big bigint,
             ratio double precision, raw bytea, day date, at timestamptz)",
    );
    client.query(
        "INSERT INTO facts SELECT i, 'name ' || i, i * 1.25, i % 2 = 0, i * 10000000000, i / 4.0, NULL,
             DATE '2026-11-01' + i, TIMESTAMPTZ '2026-11-01 10:00:00.5+00' FROM generate_series(1, 3000) AS s(i)",
    );
    client.query("UPDATE facts SET name = NULL, raw = '\\xdeadbeef' WHERE marker <= 1000");
    client.query("UPDATE facts SET amount = -amount WHERE marker % 3 = 0");
    client.query("DELETE FROM facts WHERE marker > 2500");
    drop(client);
    // Stopping writes a checkpoint: every closed version is in history then.
    server.stop();

    let history = data.join("history");
    let names: Vec<&str> = COLUMNS.iter().map(|(_, stored)| *stored).collect();
    let out = succeed(python().args(["-c", READER]).arg(&history).arg(names.join(",")));
    let stored: BTreeSet<String> = out.lines().map(str::to_owned).collect();

    let server = Server::start_small(&data);
    let mut client = Client::connect(&server);
    client.query("SET TIME ZONE 'UTC'");
    let asked: Vec<&str> = COLUMNS.iter().map(|(asked, _)| *asked).collect();
    let rows =
        client.query(&format!("SELECT {} FROM facts FOR SYSTEM_TIME ALL WHERE _to_seq IS NOT NULL", asked.join(", ")));
    let given: BTreeSet<String> = rows
        .iter()
        .map(|row| row.iter().map(|value| value.as_deref().unwrap_or(r"\N")).collect::<Vec<_>>().join("\t"))
        .collect();
    // 1000 changed, then every third of 3000, then 500 deleted.
    assert_eq!(rows.len(), 1000 + 1000 + 500);
    assert_eq!(given.len(), rows.len());
    let (missing, extra): (Vec<_>, Vec<_>) =
        (given.difference(&stored).take(3).collect(), stored.difference(&given).take(3).collect());
    assert!(missing.is_empty() && extra.is_empty(), "only in SQL: {missing:#?}\nonly in Parquet: {extra:#?}");
    server.stop();
}
