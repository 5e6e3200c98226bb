//! `cargo xtask bench`: DriftDB and PostgreSQL 15 side by side in one run, both fully durable, driven by pgbench.
//!
//! The two servers stand on the same disk. Measurements are interleaved (in each round every workload runs on one
//! system right after the other, and the rounds alternate which goes first), because on a shared machine the hour
//! changes more than many optimisations do; the table shows medians, and the ratio is the number to look at.

mod report;
mod systems;
mod workloads;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{run, tools};
use report::{Cell, Report};
use systems::{DriftDb, PostgreSql, System};
use workloads::Workload;

/// What the benchmark takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds a measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Rounds; the table shows the median.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// pgbench's scale factor: 100,000 accounts each.
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Clients, comma-separated.
    #[arg(long, default_value = "1,16", value_delimiter = ',')]
    clients: Vec<u32>,
    /// pgbench's query mode: simple, extended or prepared.
    #[arg(long, default_value = "prepared")]
    protocol: String,
    /// Only workloads whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Where the data directories are made [default: the system's temporary directory].
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Put the table into docs/performance.md.
    #[arg(long)]
    write: bool,
}

/// Builds, loads, measures, prints.
pub(crate) fn bench(options: &Options) -> Result<bool> {
    let tools = tools::postgres(&["initdb", "pg_ctl", "postgres", "psql", "pgbench"])?;
    if !run::cargo(&["build", "--release", "--package", "driftdb"])? {
        bail!("the release build failed");
    }
    let directory = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory = directory.join(format!("driftdb-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let measured = measure_all(options, &tools, &directory);
    // Also after a failure: a scale of 10 leaves gigabytes.
    let removed = std::fs::remove_dir_all(&directory);
    let report = measured?;
    removed.with_context(|| format!("cannot remove {}", directory.display()))?;
    let markdown = report.markdown();
    println!("\n{markdown}");
    if options.write {
        let path = run::repository()?.join("docs").join("performance.md");
        report::write(&path, &markdown)?;
        println!("written to {}", path.display());
    }
    Ok(true)
}

fn measure_all(options: &Options, tools: &tools::Postgres, directory: &std::path::Path) -> Result<Report> {
    let mut postgres = PostgreSql::start(tools, &directory.join("postgresql"))?;
    let mut driftdb = DriftDb::start(tools, &directory.join("driftdb"))?;
    let workloads: Vec<Workload> = workloads::all()
        .into_iter()
        .filter(|workload| options.only.as_ref().is_none_or(|only| workload.name.contains(only.as_str())))
        .collect();
    for system in [&mut postgres as &mut dyn System, &mut driftdb] {
        workloads::load(system, options.scale)?;
        system.settle()?;
    }
    let mut cells: Vec<Cell> = Vec::new();
    for round in 0..options.rounds {
        for workload in &workloads {
            for clients in &options.clients {
                let mut order: [&mut dyn System; 2] = [&mut postgres, &mut driftdb];
                if round % 2 == 1 {
                    order.reverse();
                }
                for system in order {
                    let rate = measure(options, tools, system, workload, *clients, directory)?;
                    println!(
                        "round {}/{}: {}, {clients} clients, {}: {rate:.0}/s",
                        round + 1,
                        options.rounds,
                        workload.name,
                        system.name()
                    );
                    Cell::add(&mut cells, workload.name, *clients, system.name(), rate);
                }
            }
        }
    }
    let settings = format!(
        "pgbench {} protocol, scale {}, {} rounds of {} s each, median transactions per second",
        options.protocol, options.scale, options.rounds, options.seconds
    );
    Ok(Report { cells, versions: [postgres.version()?, driftdb.version()?], settings })
}

/// One run of pgbench; transactions per second.
fn measure(
    options: &Options,
    tools: &tools::Postgres,
    system: &mut dyn System,
    workload: &Workload,
    clients: u32,
    directory: &std::path::Path,
) -> Result<f64> {
    let mut pgbench = Command::new(tools.program("pgbench"));
    system.address(&mut pgbench);
    let threads = clients.min(2).to_string();
    pgbench.args(["-n", "-M", &options.protocol, "-c", &clients.to_string(), "-j", &threads]).args([
        "-T",
        &options.seconds.to_string(),
        "-s",
        &options.scale.to_string(),
    ]);
    for (number, script) in workload.scripts(system.name()).iter().enumerate() {
        let path = directory.join(format!("{}-{}-{number}.sql", system.name(), workload.file_name()));
        std::fs::write(&path, script)?;
        pgbench.arg("-f").arg(path);
    }
    let output = run::output(&mut pgbench)?;
    if !output.contains("number of failed transactions: 0 ") {
        bail!("{} on {}: transactions failed\n{output}", workload.name, system.name());
    }
    let rate = output.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.with_context(|| format!("pgbench gave no rate:\n{output}"))
}
