//! The table of a benchmark, as Markdown.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run;

/// The measurements of one workload with one number of clients.
#[derive(Debug, Default)]
pub(super) struct Cell {
    workload: &'static str,
    clients: u32,
    postgres: Vec<f64>,
    driftdb: Vec<f64>,
}

impl Cell {
    /// Adds a measurement to its cell.
    pub(super) fn add(cells: &mut Vec<Cell>, workload: &'static str, clients: u32, system: &str, rate: f64) {
        let place = cells.iter().position(|cell| cell.workload == workload && cell.clients == clients);
        let place = place.unwrap_or_else(|| {
            cells.push(Cell { workload, clients, ..Cell::default() });
            cells.len() - 1
        });
        if let Some(cell) = cells.get_mut(place) {
            let rates = if system == "PostgreSQL" { &mut cell.postgres } else { &mut cell.driftdb };
            rates.push(rate);
        }
    }
}

/// A whole run.
pub(super) struct Report {
    pub(super) cells: Vec<Cell>,
    /// Of PostgreSQL and DriftDB.
    pub(super) versions: [String; 2],
    pub(super) settings: String,
}

impl Report {
    /// The table with what is needed to repeat it.
    pub(super) fn markdown(&self) -> String {
        let [postgres, driftdb] = &self.versions;
        let mut text = format!("{}\n{}; {}.\n\n", machine(), self.settings, date());
        let _ = writeln!(text, "| workload | clients | {postgres} | {driftdb} | DriftDB ÷ PostgreSQL |");
        text.push_str("|---|---:|---:|---:|---:|\n");
        for cell in &self.cells {
            let (postgres, driftdb) = (median(&cell.postgres), median(&cell.driftdb));
            let ratio = driftdb / postgres;
            let _ =
                writeln!(text, "| {} | {} | {postgres:.0} | {driftdb:.0} | {ratio:.2} |", cell.workload, cell.clients);
        }
        text
    }
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

const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// Puts the table between the marks in the document.
pub(super) fn write(path: &Path, markdown: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let replaced = replace(&text, markdown).with_context(|| format!("{} lacks {BEGIN} and {END}", path.display()))?;
    std::fs::write(path, replaced).with_context(|| format!("cannot write {}", path.display()))
}

fn replace(text: &str, markdown: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n{END}{after}", markdown.trim_end().to_owned() + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_in_the_table() {
        let mut cells = Vec::new();
        for (system, rate) in [("PostgreSQL", 100.0), ("DriftDB", 50.0), ("PostgreSQL", 300.0), ("PostgreSQL", 200.0)] {
            Cell::add(&mut cells, "TPC-B", 16, system, rate);
        }
        let report = Report { cells, versions: ["PostgreSQL 15".into(), "DriftDB 0".into()], settings: String::new() };
        assert!(report.markdown().ends_with("| TPC-B | 16 | 200 | 50 | 0.25 |\n"), "{}", report.markdown());
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[1.0, 3.0]), 2.0);
    }

    #[test]
    fn the_table_replaces_the_one_before() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let once = replace(&text, "new\n").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replace(&once, "new\n").unwrap(), once);
        assert!(replace("nothing", "new").is_none());
    }
}
