//! Runs pgbench, and reads what it says: its summary, and its log with a line for every transaction.

use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Options;
use super::suites::Case;
use super::systems::System;
use super::workloads;
use crate::{run, tools};

/// How long the scan runs before the commits begin, and as long at least after them.
const SCAN_LEAD_SECONDS: u32 = 1;

/// What one run gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Transactions per second.
    pub(super) rate: f64,
    /// Where the case asks for it.
    pub(super) latency: Option<Latency>,
    /// How long one scan took on average, where there was one.
    pub(super) scan_ms: Option<f64>,
    /// How often a transaction was tried again, for each that committed, where that is done.
    pub(super) retries: Option<f64>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s", self.rate)?;
        if let Some(Latency { p50_ms, p99_ms }) = self.latency {
            write!(f, ", p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms")?;
        }
        if let Some(retries) = self.retries {
            write!(f, ", {:.2} % tried again", retries * 100.0)?;
        }
        match self.scan_ms {
            Some(scan_ms) => write!(f, ", {scan_ms:.0} ms a scan"),
            None => Ok(()),
        }
    }
}

/// How long transactions took from when they should have begun: one that a slow one before it kept waiting, in a run at a
/// fixed rate, counts from its time in the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Runs pgbench for one case on one system.
pub(super) fn measure(
    options: &Options,
    tools: &tools::Postgres,
    system: &dyn System,
    case: &Case,
    directory: &Path,
) -> Result<Sample> {
    let scan =
        if case.beside_scan == Some(true) { Some(Scan::start(options, tools, system, directory)?) } else { None };
    let mut pgbench = command(options, tools, system, options.seconds);
    let threads = case.clients.min(2).to_string();
    pgbench.args(["-c", &case.clients.to_string(), "-j", &threads]);
    if let Some(rate) = case.rate {
        pgbench.args(["-R", &rate.to_string()]);
    }
    for (number, script) in case.workload.scripts(system.name()).iter().enumerate() {
        let path = directory.join(format!("{}-{}-{number}.sql", system.name(), case.workload.file_name()));
        std::fs::write(&path, script)?;
        pgbench.arg("-f").arg(path);
    }
    if case.retries {
        // Without a bound but the time.
        pgbench.args(["--max-tries", "0"]);
    }
    let log = directory.join("transactions");
    if case.beside_scan.is_some() {
        std::fs::create_dir(&log)?;
        pgbench.arg("-l").arg("--log-prefix").arg(log.join("log"));
    }
    let output = run::output(&mut pgbench)?;
    let rate = summary(&output, "tps = ").with_context(|| format!("{} on {}", case.workload.name, system.name()))?;
    let latency = case.beside_scan.map(|_| take_log(&log)).transpose()?;
    let scan_ms = scan.map(Scan::finish).transpose()?;
    let retries = case.retries.then(|| retries_per_transaction(&output)).transpose()?;
    Ok(Sample { rate, latency, scan_ms, retries })
}

fn command(options: &Options, tools: &tools::Postgres, system: &dyn System, seconds: u32) -> Command {
    let mut pgbench = Command::new(tools.program("pgbench"));
    system.address(&mut pgbench);
    pgbench.args(["-n", "-M", &options.protocol, "-T", &seconds.to_string(), "-s", &options.scale.to_string()]);
    pgbench
}

/// The number behind `label` in what pgbench prints at its end. That a transaction failed is an error.
fn summary(output: &str, label: &str) -> Result<f64> {
    if !output.contains("number of failed transactions: 0 ") {
        bail!("transactions failed\n{output}");
    }
    let number = output.lines().find_map(|line| line.strip_prefix(label)?.split(' ').next()?.parse().ok());
    number.with_context(|| format!("pgbench gave no \"{label}\":\n{output}"))
}

fn retries_per_transaction(output: &str) -> Result<f64> {
    let transactions = summary(output, "number of transactions actually processed: ")?;
    Ok(summary(output, "total number of retries: ")? / transactions)
}

/// A client that scans the large table again and again.
struct Scan(Child);

impl Scan {
    fn start(options: &Options, tools: &tools::Postgres, system: &dyn System, directory: &Path) -> Result<Scan> {
        let script = directory.join("scan.sql");
        std::fs::write(&script, workloads::SCAN_LOOP)?;
        let mut pgbench = command(options, tools, system, options.seconds + 2 * SCAN_LEAD_SECONDS);
        pgbench.arg("-f").arg(script).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = pgbench.spawn().context("cannot start pgbench")?;
        thread::sleep(Duration::from_secs(SCAN_LEAD_SECONDS.into()));
        Ok(Scan(child))
    }

    /// Waits for the last scan, which must not reach into the next measurement, and gives how long one took.
    fn finish(self) -> Result<f64> {
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("the scan failed with {}: {}{text}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        summary(&text, "latency average = ")
    }
}

/// Reads the log files in `directory`, one of each of pgbench's threads, and removes them.
fn take_log(directory: &Path) -> Result<Latency> {
    let mut times_us = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        times_us.extend(log_times_us(&std::fs::read_to_string(entry?.path())?)?);
    }
    std::fs::remove_dir_all(directory)?;
    times_us.sort_unstable();
    let at = |percent| percentile_ms(&times_us, percent).context("pgbench logged no transaction");
    Ok(Latency { p50_ms: at(50)?, p99_ms: at(99)? })
}

/// The third field of each line: client, transaction, time in µs, script, end in s and µs; with a rate, how late it began.
fn log_times_us(log: &str) -> Result<Vec<u64>> {
    let time = |line: &str| line.split(' ').nth(2)?.parse().ok();
    log.lines().map(|line| time(line).with_context(|| format!("not a line of pgbench's log: {line}"))).collect()
}

/// The smallest of the sorted times that `percent` in a hundred do not exceed.
fn percentile_ms(sorted_us: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted_us.len() * percent).div_ceil(100);
    let time_us = *sorted_us.get(rank.checked_sub(1)?)?;
    Some(Duration::from_micros(time_us).as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "number of transactions actually processed: 7\n\
                          number of failed transactions: 0 (0.000%)\n\
                          latency average = 0.495 ms\n\
                          tps = 2021.054824 (without initial connection time)\n";

    #[test]
    fn the_summary_is_read() {
        assert_eq!(summary(OUTPUT, "tps = ").unwrap(), 2021.054824);
        assert_eq!(summary(OUTPUT, "latency average = ").unwrap(), 0.495);
        assert!(summary(OUTPUT, "latency stddev = ").unwrap_err().to_string().contains("latency stddev"));
    }

    #[test]
    fn retries_are_counted_for_each_transaction() {
        let retried = format!("number of transactions retried: 2 (28.571%)\ntotal number of retries: 14\n{OUTPUT}");
        assert_eq!(retries_per_transaction(&retried).unwrap(), 2.0);
        assert!(retries_per_transaction(OUTPUT).unwrap_err().to_string().contains("total number of retries"));
    }

    #[test]
    fn a_failed_transaction_is_an_error() {
        let failed = OUTPUT.replace("failed transactions: 0", "failed transactions: 1");
        assert!(summary(&failed, "tps = ").unwrap_err().to_string().starts_with("transactions failed"));
    }

    #[test]
    fn times_are_read_from_the_logs_of_all_threads() {
        let directory = std::env::temp_dir().join(format!("driftdb-bench-log-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        // With a rate there is a seventh field, how late the transaction began.
        std::fs::write(directory.join("log.7"), "0 1 2500 0 1764099999 900100\n0 2 500 0 1764099999 900700\n").unwrap();
        std::fs::write(directory.join("log.7.1"), "1 1 1500 0 1764099999 900200 31\n").unwrap();
        assert_eq!(take_log(&directory).unwrap(), Latency { p50_ms: 1.5, p99_ms: 2.5 });
        assert!(!directory.exists());
    }

    #[test]
    fn a_line_without_a_time_is_an_error() {
        assert!(log_times_us("0 1 2500 0 1764099999 900100\n0 2 failed 0 1764099999 900700\n").is_err());
    }

    #[test]
    fn percentiles_are_of_what_occurred() {
        let times: Vec<u64> = (1..=200).map(|ms| ms * 1000).collect();
        assert_eq!(percentile_ms(&times, 50), Some(100.0));
        assert_eq!(percentile_ms(&times, 99), Some(198.0));
        assert_eq!(percentile_ms(&[7000], 50), Some(7.0));
        assert_eq!(percentile_ms(&[], 50), None);
    }
}
