//! The table of a benchmark, as Markdown.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::pgbench::Sample;
use super::suites::Case;
use crate::run;

/// The samples of one case: the peer's and DriftDB's.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) case: Case,
    pub(super) samples: [Vec<Sample>; 2],
}

impl Measured {
    pub(super) fn new(case: Case) -> Measured {
        Measured { case, samples: [Vec::new(), Vec::new()] }
    }

    /// The median rates of the peer and DriftDB.
    fn rates(&self) -> [f64; 2] {
        self.samples.each_ref().map(|samples| median_of(samples, |sample| Some(sample.rate)))
    }

    /// The median of the rounds' ratios: what slowed the machine in one of them slowed both.
    fn ratio(&self) -> f64 {
        let [peer, driftdb] = &self.samples;
        let ratios = driftdb.iter().zip(peer).map(|(driftdb, peer)| driftdb.rate / peer.rate);
        median(&ratios.collect::<Vec<f64>>())
    }
}

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// Rates side by side.
    Rates,
    /// Rates side by side, and how much more each is than with the fewest clients.
    SpeedUps,
    /// What a scan does to the latency of commits.
    Latencies,
    /// Rates side by side, and how many transactions were tried again.
    Retries,
}

/// What a suite gave.
pub(super) struct Report {
    pub(super) measured: Vec<Measured>,
    pub(super) columns: Columns,
    /// What DriftDB is measured beside.
    pub(super) peer: &'static str,
    /// Of the peer and DriftDB.
    pub(super) versions: [String; 2],
    pub(super) settings: String,
}

impl Report {
    /// The table with what is needed to repeat it.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("{}\n{}; {}.\n\n", machine(), self.settings, date());
        match self.columns {
            Columns::Rates | Columns::SpeedUps | Columns::Retries => self.rates(&mut text),
            Columns::Latencies => self.latencies(&mut text),
        }
        text
    }

    fn rates(&self, text: &mut String) {
        let ([peer, driftdb], name) = (&self.versions, self.peer);
        let _ = write!(text, "| workload | clients | {peer} | {driftdb} | DriftDB ÷ {name} |");
        let more = match self.columns {
            Columns::SpeedUps => Some("'s speed-up"),
            Columns::Retries => Some(" tries again"),
            _ => None,
        };
        let _ = match more {
            Some(what) => writeln!(text, " {name}{what} | DriftDB{what} |\n|---|---:|---:|---:|---:|---:|---:|"),
            None => writeln!(text, "\n|---|---:|---:|---:|---:|"),
        };
        for measured in &self.measured {
            let Case { workload, clients, .. } = measured.case;
            let [peer, driftdb] = measured.rates();
            let ratio = measured.ratio();
            let _ = write!(text, "| {} | {clients} | {peer:.0} | {driftdb:.0} | {ratio:.2} |", workload.name);
            if self.columns == Columns::SpeedUps {
                let [peer_few, driftdb_few] = self.rates_of_fewest_clients(workload.name);
                let _ = write!(text, " {:.2} | {:.2} |", peer / peer_few, driftdb / driftdb_few);
            }
            if self.columns == Columns::Retries {
                for samples in &measured.samples {
                    let _ = write!(text, " {:.2} % |", median_of(samples, |sample| sample.retries) * 100.0);
                }
            }
            text.push('\n');
        }
    }

    fn rates_of_fewest_clients(&self, workload: &str) -> [f64; 2] {
        let same = self.measured.iter().filter(|measured| measured.case.workload.name == workload);
        same.min_by_key(|measured| measured.case.clients).map_or([f64::NAN; 2], Measured::rates)
    }

    /// Each case without the scan is followed by the same with it.
    fn latencies(&self, text: &mut String) {
        text.push_str(
            "| clients | commits/s asked for | system | p50 ms, alone | beside the scan | change \
             | p99 ms, alone | beside the scan | change | commits/s, alone | beside the scan | change | s a scan |\n\
             |---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for pair in self.measured.chunks_exact(2) {
            let [alone, beside] = pair else { continue };
            let asked = alone.case.rate.map_or_else(|| "all".to_owned(), |rate| rate.to_string());
            for ((version, alone_samples), beside_samples) in
                self.versions.iter().zip(&alone.samples).zip(&beside.samples)
            {
                let _ = write!(text, "| {} | {asked} | {version} |", alone.case.clients);
                let mut change = |digits: usize, what: fn(&Sample) -> Option<f64>| {
                    let (alone, beside) = (median_of(alone_samples, what), median_of(beside_samples, what));
                    let percent = (beside / alone - 1.0) * 100.0;
                    let _ = write!(text, " {alone:.digits$} | {beside:.digits$} | {percent:+.0} % |");
                };
                change(2, |sample| Some(sample.latency?.p50_ms));
                change(2, |sample| Some(sample.latency?.p99_ms));
                change(0, |sample| Some(sample.rate));
                let scan_ms = median_of(beside_samples, |sample| sample.scan_ms);
                let _ = writeln!(text, " {:.1} |", scan_ms / 1000.0);
            }
        }
    }
}

fn median_of(samples: &[Sample], what: impl Fn(&Sample) -> Option<f64>) -> f64 {
    median(&samples.iter().filter_map(what).collect::<Vec<f64>>())
}

fn median(rates: &[f64]) -> f64 {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    let at = |place: usize| rates.get(place).copied().unwrap_or(f64::NAN);
    if rates.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 }
}

fn date() -> String {
    run::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))
        .map_or_else(|_| String::new(), |day| day.trim().to_owned())
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = run::output(Command::new("uname").arg("-r")).unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}.", kernel.trim())
}

/// Puts a suite's table between its marks in the document.
pub(super) fn write(path: &Path, suite: &str, markdown: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let replaced = replace(&text, suite, markdown)
        .with_context(|| format!("{} lacks {} and its end", path.display(), mark(suite, "begin")))?;
    std::fs::write(path, replaced).with_context(|| format!("cannot write {}", path.display()))
}

fn mark(suite: &str, which: &str) -> String {
    format!("<!-- bench {suite}: {which} -->")
}

/// The document with the suite's table in it, if it has the marks.
pub(super) fn replace(text: &str, suite: &str, markdown: &str) -> Option<String> {
    let (begin, end) = (mark(suite, "begin"), mark(suite, "end"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", markdown.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::super::pgbench::Latency;
    use super::super::workloads;
    use super::*;

    const POSTGRESQL: usize = 0;
    const DRIFTDB: usize = 1;

    fn measured(clients: u32, beside_scan: Option<bool>) -> Measured {
        let workload = workloads::HOT_ROW[0];
        Measured::new(Case { workload, clients, rate: None, beside_scan, retries: false })
    }

    fn rate(rate: f64) -> Sample {
        Sample { rate, latency: None, scan_ms: None, retries: None }
    }

    fn table(measured: Vec<Measured>, columns: Columns) -> Vec<String> {
        let versions = ["PostgreSQL 15".into(), "DriftDB 0".into()];
        let text = Report { measured, columns, peer: "PostgreSQL", versions, settings: String::new() }.markdown();
        text.lines().filter(|line| line.starts_with('|')).map(str::to_owned).collect()
    }

    #[test]
    fn medians_and_ratios_are_in_the_table() {
        let mut sixteen = measured(16, None);
        sixteen.samples[POSTGRESQL] = [100.0, 300.0, 200.0].map(rate).to_vec();
        sixteen.samples[DRIFTDB] = [50.0, 60.0, 20.0].map(rate).to_vec();
        assert_eq!(
            table(vec![sixteen], Columns::Rates),
            [
                "| workload | clients | PostgreSQL 15 | DriftDB 0 | DriftDB ÷ PostgreSQL |",
                "|---|---:|---:|---:|---:|",
                "| update of one row | 16 | 200 | 50 | 0.20 |",
            ]
        );
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[1.0, 3.0]), 2.0);
    }

    #[test]
    fn speed_ups_are_over_the_fewest_clients() {
        let rows = [(4, 300.0, 400.0), (2, 200.0, 100.0)].map(|(clients, postgres, driftdb)| {
            let mut measured = measured(clients, None);
            measured.samples = [vec![rate(postgres)], vec![rate(driftdb)]];
            measured
        });
        assert_eq!(
            table(rows.into(), Columns::SpeedUps),
            [
                "| workload | clients | PostgreSQL 15 | DriftDB 0 | DriftDB ÷ PostgreSQL \
                 | PostgreSQL's speed-up | DriftDB's speed-up |",
                "|---|---:|---:|---:|---:|---:|---:|",
                "| update of one row | 4 | 300 | 400 | 1.33 | 1.50 | 4.00 |",
                "| update of one row | 2 | 200 | 100 | 0.50 | 1.00 | 1.00 |",
            ]
        );
    }

    #[test]
    fn retries_are_of_a_hundred_transactions() {
        let mut four = measured(4, None);
        four.samples =
            [(100.0, 0.5), (200.0, 0.125)].map(|(of, retries)| vec![Sample { retries: Some(retries), ..rate(of) }]);
        assert_eq!(
            table(vec![four], Columns::Retries)[2..],
            ["| update of one row | 4 | 100 | 200 | 2.00 | 50.00 % | 12.50 % |"]
        );
    }

    #[test]
    fn latencies_with_the_scan_are_beside_those_without() {
        let sample = |rate, p50_ms, p99_ms, scan_ms| {
            let latency = Some(Latency { p50_ms, p99_ms });
            Sample { rate, latency, scan_ms, retries: None }
        };
        let (mut alone, mut beside) = (measured(4, Some(false)), measured(4, Some(true)));
        alone.samples = [vec![sample(400.0, 1.0, 3.0, None)], vec![sample(1000.0, 0.5, 2.0, None)]];
        beside.samples = [vec![sample(200.0, 1.5, 3.0, Some(900.0))], vec![sample(990.0, 0.4, 5.0, Some(1200.0))]];
        assert_eq!(
            table(vec![alone, beside], Columns::Latencies)[2..],
            [
                "| 4 | all | PostgreSQL 15 | 1.00 | 1.50 | +50 % | 3.00 | 3.00 | +0 % | 400 | 200 | -50 % | 0.9 |",
                "| 4 | all | DriftDB 0 | 0.50 | 0.40 | -20 % | 2.00 | 5.00 | +150 % | 1000 | 990 | -1 % | 1.2 |",
            ]
        );
    }

    #[test]
    fn a_table_replaces_the_one_before_and_no_other() {
        let (begin, end) = (mark("scan", "begin"), mark("scan", "end"));
        let other = format!("{}\nkept\n{}\n", mark("rates", "begin"), mark("rates", "end"));
        let text = format!("{other}a\n{begin}\nold\n{end}\nb\n");
        let once = replace(&text, "scan", "new\n").unwrap();
        assert_eq!(once, format!("{other}a\n{begin}\n\nnew\n\n{end}\nb\n"));
        assert_eq!(replace(&once, "scan", "new\n").unwrap(), once);
        assert!(replace(&once, "hot-row", "new").is_none());
    }
}
