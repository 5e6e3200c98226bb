//! What is measured. Both systems are given the same statements wherever SQL allows; the past, PostgreSQL has to keep
//! by itself: a trigger writes each superseded row to a history table with its period, under a range index.

use std::sync::OnceLock;

use anyhow::Result;

use super::systems::System;

/// Rows of the table that is read as of the past, and how often each is updated before.
const VERSIONED_ROWS: u32 = 100_000;
const VERSIONED_UPDATES: u32 = 10;

/// One kind of transaction.
pub(super) struct Workload {
    pub(super) name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    TpcB,
    Insert,
    PointSelect,
    PointSelectAsOf,
}

/// All of them, in the order of the table.
pub(super) fn all() -> Vec<Workload> {
    vec![
        Workload { name: "TPC-B", kind: Kind::TpcB },
        Workload { name: "single-row insert", kind: Kind::Insert },
        Workload { name: "point select", kind: Kind::PointSelect },
        Workload { name: "point select AS OF", kind: Kind::PointSelectAsOf },
    ]
}

const TPC_B: &str = include_str!("../../../bench/tpcb.sql");

const INSERT: &str = include_str!("../../../bench/insert.sql");

const POINT_SELECT: &str = include_str!("../../../bench/point-select.sql");

/// One row by its key as of an instant, which stands for INSTANT.
const AS_OF_POSTGRESQL: &str = include_str!("../../../bench/point-select-as-of.postgresql.sql");
const AS_OF_DRIFTDB: &str = include_str!("../../../bench/point-select-as-of.driftdb.sql");

/// The instants after each of the updates, by system: those of one are not those of the other.
static INSTANTS: [OnceLock<Vec<String>>; 2] = [OnceLock::new(), OnceLock::new()];

fn instants(system: &str) -> &'static OnceLock<Vec<String>> {
    let [postgres, driftdb] = &INSTANTS;
    if system == "PostgreSQL" { postgres } else { driftdb }
}

impl Workload {
    /// The scripts, of which each transaction takes one at random.
    pub(super) fn scripts(&self, system: &str) -> Vec<String> {
        match self.kind {
            Kind::TpcB => vec![TPC_B.to_owned()],
            Kind::Insert => vec![INSERT.to_owned()],
            Kind::PointSelect => vec![POINT_SELECT.to_owned()],
            Kind::PointSelectAsOf => {
                let instants = instants(system).get().map(Vec::as_slice).unwrap_or_default();
                instants.iter().map(|instant| as_of(system, instant)).collect()
            }
        }
    }

    /// The name without blanks.
    pub(super) fn file_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "-")
    }
}

fn as_of(system: &str, instant: &str) -> String {
    let script = if system == "PostgreSQL" { AS_OF_POSTGRESQL } else { AS_OF_DRIFTDB };
    script.replace("INSTANT", instant).replace("ROWS", &VERSIONED_ROWS.to_string())
}

const HISTORY_BY_TRIGGER: &str = include_str!("../../../bench/postgresql-history.sql");

/// Makes and fills the tables.
pub(super) fn load(system: &dyn System, scale: u32) -> Result<()> {
    println!("loading {} at scale {scale}", system.name());
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
