//! The developer's commands: `cargo xtask test`, `tidy`, `fmt`, `lint`, `bench`, and the long forms of the black-box
//! tests. No step hides what it does: every program that is started is printed first.

// A developer's tool on a developer's machine: the seams of the database (files, clock, threads behind `driftdb-env`)
// are for code that has to run in the simulator, and this never does.
#![allow(clippy::disallowed_methods)]

mod bench;
mod fuzz;
mod run;
mod sim;
mod suite;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "DriftDB's developer commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test, the black-box ones with PostgreSQL's clients and Python's included; installs those when missing.
    Test(suite::TestOptions),
    /// Check the house rules: layers, owners of outside vocabularies, seams, names, file lengths, links.
    Tidy,
    /// Format the code.
    Fmt {
        /// Change nothing; fail where something would change.
        #[arg(long)]
        check: bool,
    },
    /// Run clippy over everything, warnings being errors.
    Lint,
    /// Measure DriftDB beside PostgreSQL 15 with pgbench.
    Bench(bench::Options),
    /// The long pgbench test: scale 10, 8 clients, a minute in each protocol, then AS OF at 200 commits.
    Pgbench(suite::LongOptions),
    /// The long kill -9 test: 20 rounds under 8 writers.
    Crash(suite::LongOptions),
    /// The long model test: thousands of random schedules against a plain list of commits.
    Model(suite::LongOptions),
    /// The engine's locks and pipeline under shuttle: twenty times as many schedules as in `test`.
    Shuttle(suite::LongOptions),
    /// The long overload test: waves of a minute of 500 clients at 64 places and 128 MiB, and slow readers.
    Overload(suite::LongOptions),
    /// The long test of sizes: 50,000,000 versions in 512 MiB, read, restarted and measured.
    Sizes(suite::SizeOptions),
    /// The long isolation tests: 16 sessions at every level through kills, their histories checked, and money moved.
    Histories(suite::LongOptions),
    /// The fuzz targets: decoders on bytes that are almost right, for longer than in `test`; and their corpus.
    Fuzz(fuzz::FuzzOptions),
    /// The long tests of real faults: stopped and killed servers, full disks, failing calls, flipped bits.
    Faults(suite::LongOptions),
    /// The simulator: the storage on a machine that breaks on purpose, from seeds, against a plain list of commits.
    Sim(sim::SimOptions),
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `false` means that it ran and found something wrong, and has said what.
fn dispatch(command: Command) -> Result<bool> {
    match command {
        Command::Test(options) => suite::test(&options),
        Command::Tidy => tidy::report(&run::repository()?),
        Command::Fmt { check } => {
            let mut arguments = vec!["fmt", "--all"];
            if check {
                arguments.push("--check");
            }
            run::cargo(&arguments)
        }
        Command::Lint => Ok(run::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?
            && run::cargo(&[&["clippy"], &suite::SHUTTLE[..], &["--tests", "--", "-D", "warnings"]].concat())?),
        Command::Bench(options) => bench::bench(&options),
        Command::Pgbench(options) => suite::long(suite::Long::Pgbench, &options),
        Command::Crash(options) => suite::long(suite::Long::Crash, &options),
        Command::Model(options) => suite::long(suite::Long::Model, &options),
        Command::Shuttle(options) => suite::long(suite::Long::Shuttle, &options),
        Command::Overload(options) => suite::long(suite::Long::Overload, &options),
        Command::Sizes(options) => suite::sizes(&options),
        Command::Histories(options) => suite::long(suite::Long::Histories, &options),
        Command::Fuzz(options) => fuzz::fuzz(&options),
        Command::Faults(options) => suite::long(suite::Long::Faults, &options),
        Command::Sim(options) => sim::sim(&options),
    }
}
