//! `cargo xtask test` and the long forms of the black-box tests.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{run, tools};

/// What `cargo xtask test` takes.
#[derive(Args)]
pub(crate) struct TestOptions {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// What the long tests take.
#[derive(Args)]
pub(crate) struct LongOptions {
    /// Rounds of the crash, fault and isolation tests, cases of the model test, schedules of each test under shuttle; the
    /// default is the long test's.
    #[arg(long)]
    rounds: Option<u32>,
    /// Seed of the random schedules, as a failed run printed it.
    #[arg(long)]
    seed: Option<u64>,
    /// Scale factor of the pgbench test.
    #[arg(long)]
    scale: Option<u32>,
    /// Seconds a protocol in the pgbench test, a round in the isolation test and that of random faults, a test under
    /// shuttle.
    #[arg(long)]
    seconds: Option<u32>,
    /// Use the optimised build.
    #[arg(long)]
    release: bool,
}

/// What the test of sizes takes.
#[derive(Args)]
pub(crate) struct SizeOptions {
    /// Rows of the table.
    #[arg(long, default_value_t = 5_000_000)]
    rows: u64,
    /// How many times each row is updated: so there is one version more of each.
    #[arg(long, default_value_t = 9)]
    updates: u64,
    /// The server's memory limit, in whole MiB.
    #[arg(long, default_value = "512MiB", value_name = "N[MiB]")]
    memory: String,
    /// Seed of the random reads, as a failed run printed it.
    #[arg(long)]
    seed: Option<u64>,
    /// Use the optimised build.
    #[arg(long)]
    release: bool,
}

/// A test with a long form.
#[derive(Clone, Copy)]
pub(crate) enum Long {
    /// pgbench's tables balance as of every commit.
    Pgbench,
    /// kill -9 under load loses nothing acknowledged.
    Crash,
    /// Random schedules against a plain list of commits.
    Model,
    /// Schedules of the threads that meet in the engine.
    Shuttle,
    /// More clients than places, and slow readers, within the memory limit.
    Overload,
    /// Histories of concurrent transactions have the isolation that was asked for.
    Histories,
    /// Faults of the real machine under the real binary.
    Faults,
}

/// Where the tests under shuttle are: they want the engine built with mutexes of their own.
pub(crate) const SHUTTLE: [&str; 5] = ["-p", "driftdb-engine", "--features", "shuttle", "--lib"];

/// Runs all tests and ends with a line `N passed, N failed`.
pub(crate) fn test(options: &TestOptions) -> Result<bool> {
    let environment = environment()?;
    let mut arguments = vec!["test", "--workspace", "--no-fail-fast"];
    if let Some(filter) = &options.filter {
        arguments.extend(["--", filter]);
    }
    let mut command = run::cargo_command(&arguments)?;
    command.envs(environment);
    let (mut success, mut tally) = count(&mut command)?;
    let filter = options.filter.as_deref().unwrap_or("shuttle");
    if filter.contains("shuttle") {
        let arguments = [&["test", "--no-fail-fast"], &SHUTTLE[..], &["--", filter]].concat();
        let (passes, more) = count(&mut run::cargo_command(&arguments)?)?;
        success &= passes;
        tally.passed += more.passed;
        tally.failed += more.failed;
    }
    // A test binary that does not build or dies has no result line: that is a failure too.
    let failed = if !success && tally.failed == 0 { 1 } else { tally.failed };
    println!("{} passed, {} failed", tally.passed, failed);
    Ok(success && failed == 0)
}

/// Runs one test in its long form.
pub(crate) fn long(which: Long, options: &LongOptions) -> Result<bool> {
    let mut arguments = vec!["test", "--no-fail-fast"];
    if options.release {
        arguments.push("--release");
    }
    let (targets, filter): (&[&str], _) = match which {
        Long::Pgbench => (&["-p", "driftdb", "--test", "it"], "pgbench"),
        Long::Crash => (&["-p", "driftdb", "--test", "it"], "crash"),
        Long::Faults => (&["-p", "driftdb", "--test", "it"], "faults"),
        Long::Histories => (&["-p", "driftdb", "--test", "it"], "histories"),
        Long::Model => (&["-p", "driftdb-store", "-p", "driftdb", "--test", "it"], "model"),
        Long::Overload => (&["-p", "driftdb", "--test", "it"], "overload"),
        Long::Shuttle => (&SHUTTLE, "shuttle"),
    };
    arguments.extend(targets);
    arguments.extend([filter, "--", "--nocapture"]);
    let mut command = run::cargo_command(&arguments)?;
    if !matches!(which, Long::Shuttle) {
        command.envs(environment()?);
    }
    let settings = [
        ("DRIFTDB_TEST_ROUNDS", options.rounds.map(u64::from)),
        ("DRIFTDB_TEST_SEED", options.seed),
        ("DRIFTDB_TEST_SCALE", options.scale.map(u64::from)),
        ("DRIFTDB_TEST_SECONDS", options.seconds.map(u64::from)),
    ];
    long_run(command, &settings)
}

/// Runs the test of sizes.
pub(crate) fn sizes(options: &SizeOptions) -> Result<bool> {
    let mebibytes = options.memory.strip_suffix("MiB").unwrap_or(&options.memory);
    let memory_mib = mebibytes.parse().with_context(|| format!("{} is not a number of MiB", options.memory))?;
    let mut arguments = vec!["test", "-p", "driftdb", "--test", "it", "sizes::", "--no-fail-fast"];
    if options.release {
        arguments.push("--release");
    }
    arguments.extend(["--", "--nocapture"]);
    let settings = [
        ("DRIFTDB_TEST_ROWS", Some(options.rows)),
        ("DRIFTDB_TEST_UPDATES", Some(options.updates)),
        ("DRIFTDB_TEST_MEMORY_MIB", Some(memory_mib)),
        ("DRIFTDB_TEST_SEED", options.seed),
    ];
    long_run(run::cargo_command(&arguments)?, &settings)
}

/// Runs a test command in its long form with these settings.
fn long_run(mut command: Command, settings: &[(&str, Option<u64>)]) -> Result<bool> {
    command.env("DRIFTDB_TEST_LONG", "1");
    for &(name, value) in settings {
        if let Some(value) = value {
            command.env(name, value.to_string());
        }
    }
    let (success, tally) = count(&mut command)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(success && tally.passed > 0)
}

/// What the black-box tests find in their environment: PostgreSQL's clients in `PATH`, a Python with its packages.
fn environment() -> Result<HashMap<&'static str, OsString>> {
    let mut environment = HashMap::from([("DRIFTDB_TEST_PYTHON", tools::python()?.into_os_string())]);
    let clients = ["psql", "pgbench"];
    let postgres = tools::postgres(&clients)?;
    let old = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&old).collect();
    let on_path = |program: &&str| directories.iter().any(|directory| directory.join(program).is_file());
    // Another PATH has cargo build again what asks for it.
    if !clients.iter().all(on_path) {
        let directories = std::iter::once(postgres.directory().to_path_buf()).chain(directories);
        environment.insert("PATH", std::env::join_paths(directories).context("PATH cannot be extended")?);
    }
    Ok(environment)
}

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Adds what a line of the test harness reports, if it is one of its result lines.
    fn add_line(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = rest.split_whitespace().collect();
        for pair in words.windows(2) {
            let [number, what] = pair else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what.trim_end_matches(';') {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
    }
}

/// Runs a test command, passing its output on and counting its results.
fn count(command: &mut Command) -> Result<(bool, Tally)> {
    run::announce(command);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut tally = Tally::default();
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.add_line(&line);
    }
    Ok((child.wait()?.success(), tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_others_are_not() {
        let mut tally = Tally::default();
        tally
            .add_line("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s");
        tally.add_line("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.add_line("7 passed, 7 failed");
        assert_eq!(tally, Tally { passed: 13, failed: 2 });
    }
}
