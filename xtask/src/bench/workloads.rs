//! What is measured. Both systems are given the same statements wherever SQL allows; the past, PostgreSQL has to keep
//! by itself: a trigger writes each superseded row to a history table with its period, under a range index.

use std::sync::OnceLock;

use anyhow::Result;

use super::systems::System;

/// Rows of the table that is read as of the past, and how often each is updated before.
const VERSIONED_ROWS: u32 = 100_000;
const VERSIONED_UPDATES: u32 = 10;

/// Rows that each client has for itself, where clients must not meet; bench/own-row-update.sql says the same.
const ROWS_PER_CLIENT: u32 = 1000;

/// Rows that are inserted by one statement: a transaction's changes are in memory until it commits.
const LOAD_CHUNK_ROWS: u32 = 100_000;

/// One kind of transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The same script for both systems.
    Script(&'static str),
    PointSelectAsOf,
}

impl Workload {
    const fn new(name: &'static str, script: &'static str) -> Workload {
        Workload { name, kind: Kind::Script(script) }
    }
}

/// Of the rates, in the order of the table.
pub(super) const RATES: [Workload; 4] = [
    Workload::new("TPC-B", include_str!("../../../bench/tpcb.sql")),
    Workload::new("single-row insert", include_str!("../../../bench/insert.sql")),
    Workload::new("point select", include_str!("../../../bench/point-select.sql")),
    Workload { name: "point select AS OF", kind: Kind::PointSelectAsOf },
];

/// Clients that never meet.
pub(super) const SCALING: [Workload; 2] = [
    Workload::new("point select, own rows", include_str!("../../../bench/own-row-select.sql")),
    Workload::new("update, own rows", include_str!("../../../bench/own-row-update.sql")),
];

/// What commits beside the scan.
pub(super) const SCAN: [Workload; 1] =
    [Workload::new("update of the scanned table", include_str!("../../../bench/scanned-update.sql"))];

/// The scan.
pub(super) const SCAN_LOOP: &str = include_str!("../../../bench/scan.sql");

/// Clients that all want the same.
pub(super) const HOT_ROW: [Workload; 1] =
    [Workload::new("update of one row", include_str!("../../../bench/hot-row-update.sql"))];

/// Transactions that read ranges of rows others write to, at SERIALIZABLE.
pub(super) const SERIALIZABLE: [Workload; 4] = [
    Workload::new("read 10 rows, update one of them", include_str!("../../../bench/serializable-same.sql")),
    Workload::new("read 10 rows, update another", include_str!("../../../bench/serializable-update.sql")),
    Workload::new("read 100 rows, update another", include_str!("../../../bench/serializable-wide.sql")),
    Workload::new("read 10 rows, delete and insert another", include_str!("../../../bench/serializable-insert.sql")),
];

/// How many rows those scripts choose from; they say the same.
pub(super) const RANGES_ROWS: u32 = 10_000;

/// One row by its key as of an instant, which stands for INSTANT.
const AS_OF_POSTGRESQL: &str = include_str!("../../../bench/point-select-as-of.postgresql.sql");
const AS_OF_DRIFTDB: &str = include_str!("../../../bench/point-select-as-of.driftdb.sql");

/// The instants after each of the updates, by system: those of one are not those of the other.
static INSTANTS: [OnceLock<Vec<String>>; 2] = [OnceLock::new(), OnceLock::new()];

fn instants(system: &str) -> &'static OnceLock<Vec<String>> {
    let [peer, driftdb] = &INSTANTS;
    if system == "DriftDB" { driftdb } else { peer }
}

impl Workload {
    /// The scripts, of which each transaction takes one at random.
    pub(super) fn scripts(&self, system: &str) -> Vec<String> {
        match self.kind {
            Kind::Script(script) => vec![script.to_owned()],
            Kind::PointSelectAsOf => {
                let instants = instants(system).get().map(Vec::as_slice).unwrap_or_default();
                instants.iter().map(|instant| as_of(system, instant)).collect()
            }
        }
    }

    /// The name without blanks.
    pub(super) fn file_name(&self) -> String {
        self.name.to_ascii_lowercase().replace([' ', ','], "-")
    }
}

fn as_of(system: &str, instant: &str) -> String {
    let script = if system == "PostgreSQL" { AS_OF_POSTGRESQL } else { AS_OF_DRIFTDB };
    script.replace("INSTANT", instant).replace("ROWS", &VERSIONED_ROWS.to_string())
}

const HISTORY_BY_TRIGGER: &str = include_str!("../../../bench/postgresql-history.sql");

/// The rows of so many clients.
pub(super) fn own_rows(clients: u32) -> u32 {
    clients * ROWS_PER_CLIENT
}

/// Makes a table with so many rows of some sixty bytes. Inserting rows that the server itself makes is as quick as COPY on
/// either system (DriftDB) or within a third of it (PostgreSQL), and needs no file.
pub(super) fn load_rows(system: &dyn System, table: &str, rows: u32) -> Result<()> {
    system.sql(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, value bigint NOT NULL, name text)"))?;
    for first in (1..=rows).step_by(LOAD_CHUNK_ROWS as usize) {
        let last = rows.min(first + LOAD_CHUNK_ROWS - 1);
        system.sql(&format!(
            "INSERT INTO {table} SELECT i, i % 1000003, 'a name of some thirty characters' \
             FROM generate_series({first}, {last}) AS s(i)"
        ))?;
    }
    Ok(())
}

/// Makes and fills the tables of the rates.
pub(super) fn load_rates(system: &dyn System, scale: u32) -> Result<()> {
    system.client("pgbench", &["-i", "-q", "-s", &scale.to_string()])?;
    system.sql("CREATE TABLE bench_insert (id bigint PRIMARY KEY, number int, name text)")?;
    if system.name() == "PostgreSQL" {
        system.sql(HISTORY_BY_TRIGGER)?;
    } else {
        system.sql("CREATE TABLE versioned (id int PRIMARY KEY, value int, name text)")?;
    }
    system.sql(&format!(
        "INSERT INTO versioned (id, value, name) SELECT i, 0, 'a name of some thirty characters' \
         FROM generate_series(1, {VERSIONED_ROWS}) AS s(i)"
    ))?;
    let mut found = Vec::new();
    for update in 1..=VERSIONED_UPDATES {
        // All rows change, in five transactions, so that the periods of the rows differ.
        for part in 0..5 {
            system.sql(&format!("UPDATE versioned SET value = {update} WHERE id % 5 = {part}"))?;
        }
        if update % 2 == 0 {
            found.push(system.sql("SELECT now()")?);
        }
    }
    // The last instant is newer than every change: the past begins before it.
    found.pop();
    let _ = instants(system.name()).set(found);
    Ok(())
}
