//! Anomalies, locks and conflicts between sessions: scripts of interleaved statements, run at each isolation level.
//!
//! The anomalies are those of Adya's "Weak Consistency" (1999) as Martin Kleppmann's Hermitage project spells them out in
//! SQL (<https://github.com/ept/hermitage>), and those of the papers that the scripts name. A script (`*.txt`) is:
//!
//! ```text
//! # A comment.
//! setup: CREATE TABLE …            before the first `==`, for every case of the file; after it, for that case
//!
//! == anomaly G0: write cycle       a case; one that begins with "anomaly" is a row of the table in docs/consistency.md
//! T1: BEGIN                        a session and its statement; where no outcome is given it has to succeed
//! T2: UPDATE test SET …
//!     -> waits
//! T1: COMMIT
//! T2 ends                          the outcome of the statement that waited
//!     RC -> UPDATE 1
//!     RR SER -> 40001
//! T3 waits                         it waits still
//! ```
//!
//! A line `LEVELS SYSTEM -> outcome` holds at the levels (RC, RR, SER) and on the system (DriftDB, PostgreSQL) that it
//! names, of each kind all if it names none; the first that holds counts. An outcome is rows `(1, 10) (2, 20)`, `no rows`,
//! `UPDATE 1` and the like, `ok`, an SQLSTATE, `waits`, or `skip`: the statement is not sent. A trailing ` !` says that
//! this outcome shows the anomaly. From those marks the table of the documentation is made, and compared with it.
//!
//! Every session begins its transactions at the level under test. Sessions are T1, T2, …; each is a connection.
//!
//! With `DRIFTDB_TEST_PEER=postgresql://postgres@host:port/postgres` the scripts also run on that PostgreSQL, in a database
//! made for it (the user has to be a superuser). `DRIFTDB_TEST_CASE` names the only case to run, by a part of its name.

mod run;
mod script;
mod table;

use std::str::FromStr as _;

use tokio_postgres::Config;

use crate::client::config;
use crate::server::{PASSWORD, Server};
use run::Runner;
use script::{Case, Level, System};

/// The scripts in the order of the table.
const SCRIPTS: &[(&str, &str)] = &[
    ("hermitage.txt", include_str!("hermitage.txt")),
    ("skew.txt", include_str!("skew.txt")),
    ("phantoms.txt", include_str!("phantoms.txt")),
    ("reads.txt", include_str!("reads.txt")),
    ("unique.txt", include_str!("unique.txt")),
    ("references.txt", include_str!("references.txt")),
    ("locks.txt", include_str!("locks.txt")),
    ("shares.txt", include_str!("shares.txt")),
    ("ddl.txt", include_str!("ddl.txt")),
    ("savepoints.txt", include_str!("savepoints.txt")),
];

fn cases() -> Vec<Case> {
    SCRIPTS.iter().flat_map(|(file, text)| script::parse(file, text)).collect()
}

/// Runs every case at one level on DriftDB, and on the peer if there is one.
fn run_all(level: Level) {
    let only = std::env::var("DRIFTDB_TEST_CASE").unwrap_or_default();
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.name.contains(&only)).collect();
    assert!(!cases.is_empty(), "no case is named {only}");
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("data"));
    let mut failures = Runner::new(config(&server, PASSWORD), level, System::DriftDb).run(&cases);
    server.stop();
    if let Ok(peer) = std::env::var("DRIFTDB_TEST_PEER") {
        failures.extend(run_on_peer(&Config::from_str(&peer).expect("DRIFTDB_TEST_PEER"), level, &cases));
    }
    assert!(failures.is_empty(), "{} of {} cases:\n\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}

fn run_on_peer(peer: &Config, level: Level, cases: &[Case]) -> Vec<String> {
    let database = format!("driftdb_anomalies_{}_{}", std::process::id(), level.short().to_lowercase());
    let keeper = Runner::new(peer.clone(), level, System::PostgreSql);
    keeper.command(&format!("CREATE DATABASE {database}"));
    let mut inside = peer.clone();
    inside.dbname(&database);
    let failures = Runner::new(inside, level, System::PostgreSql).run(cases);
    keeper.command(&format!("DROP DATABASE {database} WITH (FORCE)"));
    failures
}

#[test]
fn read_committed() {
    run_all(Level::ReadCommitted);
}

#[test]
fn repeatable_read() {
    run_all(Level::RepeatableRead);
}

#[test]
fn serializable() {
    run_all(Level::Serializable);
}

#[test]
fn the_table_in_the_documentation_is_what_the_scripts_show() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/consistency.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- anomalies: begin -->\n", "<!-- anomalies: end -->");
    let shown = page.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).expect("the marks of the table").0;
    let made = table::markdown(&cases());
    assert!(shown.trim() == made.trim(), "{} has another table; the scripts make this one:\n{made}", path.display());
}
