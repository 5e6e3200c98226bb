//! `cargo xtask bench`: DriftDB and PostgreSQL 15, or another DriftDB, side by side in one run, both fully durable, driven by pgbench.
//!
//! The two servers stand on the same disk. Measurements are interleaved (in each round every workload runs on one
//! system right after the other, and the rounds alternate which goes first), because on a shared machine the hour
//! changes more than many optimisations do; the table shows medians, and the ratio is the number to look at.

mod pgbench;
mod report;
mod suites;
mod systems;
mod workloads;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{run, tools};
use report::{Measured, Report};
use suites::Suite;
use systems::{DriftDb, PostgreSql, System};

/// What the benchmark takes.
#[derive(Args)]
pub(crate) struct Options {
    /// What to measure, comma-separated.
    #[arg(long, value_enum, default_value = "rates", value_delimiter = ',')]
    suite: Vec<Suite>,
    /// Seconds a measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Rounds; the table shows the median.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// pgbench's scale factor: 100,000 accounts each.
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Clients, comma-separated [default: each suite's own].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    clients: Vec<u32>,
    /// pgbench's query mode: simple, extended or prepared.
    #[arg(long, default_value = "prepared")]
    protocol: String,
    /// Only workloads whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Rows of the table that is scanned beside commits.
    #[arg(long, default_value_t = 10_000_000)]
    scan_rows: u32,
    /// Commits a second and client, where their latency is measured at a fixed rate.
    #[arg(long, default_value_t = 100)]
    commit_rate: u32,
    /// A driftdb to measure instead of building the one of this repository.
    #[arg(long, conflicts_with = "write")]
    binary: Option<PathBuf>,
    /// Another driftdb to measure beside it, instead of PostgreSQL.
    #[arg(long, value_name = "BINARY", conflicts_with = "write")]
    against: Option<PathBuf>,
    /// Where the data directories are made [default: the system's temporary directory].
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Put each suite's table into docs/performance.md.
    #[arg(long)]
    write: bool,
}

/// Builds, loads, measures, prints.
pub(crate) fn bench(options: &Options) -> Result<bool> {
    let tools = tools::postgres(&["initdb", "pg_ctl", "postgres", "psql", "pgbench"])?;
    if options.binary.is_none() && !run::cargo(&["build", "--release", "--package", "driftdb"])? {
        bail!("the release build failed");
    }
    for suite in &options.suite {
        let directory = options.directory.clone().unwrap_or_else(std::env::temp_dir);
        let directory = directory.join(format!("driftdb-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let measured = measure_suite(*suite, options, &tools, &directory);
        // Also after a failure: a scale of 10 leaves gigabytes.
        let removed = std::fs::remove_dir_all(&directory);
        let report = measured?;
        removed.with_context(|| format!("cannot remove {}", directory.display()))?;
        let markdown = report.markdown();
        println!("\n{markdown}");
        if options.write {
            let path = run::repository()?.join("docs").join("performance.md");
            report::write(&path, suite.name(), &markdown)?;
            println!("written to {}", path.display());
        }
    }
    Ok(true)
}

/// Measures one suite on servers of its own, so that none works on what another has left in caches and files.
fn measure_suite(suite: Suite, options: &Options, tools: &tools::Postgres, directory: &Path) -> Result<Report> {
    let mut peer: Box<dyn System> = match &options.against {
        Some(other) => Box::new(DriftDb::start("other DriftDB", tools, Some(other), &directory.join("other"))?),
        None => Box::new(PostgreSql::start(tools, &directory.join("postgresql"))?),
    };
    let mut driftdb = DriftDb::start("DriftDB", tools, options.binary.as_deref(), &directory.join("driftdb"))?;
    let mut measured: Vec<Measured> = suite.cases(options).into_iter().map(Measured::new).collect();
    let clients_max = measured.iter().map(|measured| measured.case.clients).max().unwrap_or_default();
    for system in [peer.as_mut(), &mut driftdb] {
        suite.load(system, options, clients_max)?;
        system.settle()?;
    }
    let systems: [&dyn System; 2] = [peer.as_ref(), &driftdb];
    for round in 0..options.rounds {
        for measured in &mut measured {
            let case = measured.case;
            let mut turns: Vec<_> = systems.into_iter().zip(&mut measured.samples).collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for (system, samples) in turns {
                let sample = pgbench::measure(options, tools, system, &case, directory)?;
                println!("round {}/{}: {case}, {}: {sample}", round + 1, options.rounds, system.name());
                samples.push(sample);
            }
        }
    }
    Ok(Report {
        measured,
        columns: suite.columns(),
        peer: peer.name(),
        versions: [peer.version()?, driftdb.version()?],
        settings: suite.settings(options),
    })
}
