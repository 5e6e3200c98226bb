//! What can be asked for: each suite is a list of cases, the tables that they need, and the form of its table of results.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use super::Options;
use super::report::Columns;
use super::systems::System;
use super::workloads::{self, Workload};

/// A group of measurements with a table of its own in docs/performance.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Suite {
    /// The rates of TPC-B, inserts and point reads.
    Rates,
    /// Point reads and updates of distinct rows, from 1 to 64 clients.
    Scaling,
    /// The latency of commits with and without a scan of a large table beside them.
    Scan,
    /// Updates of one row by many clients.
    HotRow,
    /// Transactions at SERIALIZABLE, and how many of them have to be tried again.
    Serializable,
}

/// One thing that is measured, on each system in each round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) workload: Workload,
    pub(super) clients: u32,
    /// Transactions a second that all clients together are held to; otherwise each goes as fast as it is answered.
    pub(super) rate: Option<u32>,
    /// Whether another client scans the large table all the time; nothing where latencies are not asked for.
    pub(super) beside_scan: Option<bool>,
    /// Whether a transaction that fails for others' sake is tried again, until it commits; otherwise none may fail.
    pub(super) retries: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} clients", self.workload.name, self.clients)?;
        if let Some(rate) = self.rate {
            write!(f, " at {rate}/s")?;
        }
        f.write_str(if self.beside_scan == Some(true) { " beside the scan" } else { "" })
    }
}

impl Suite {
    /// Its name on the command line and in the marks of the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Suite::Rates => "rates",
            Suite::Scaling => "scaling",
            Suite::Scan => "scan",
            Suite::HotRow => "hot-row",
            Suite::Serializable => "serializable",
        }
    }

    /// What is measured, in the order of the table.
    pub(super) fn cases(self, options: &Options) -> Vec<Case> {
        let clients: &[u32] = match self {
            Suite::Rates | Suite::HotRow => &[1, 16],
            Suite::Serializable => &[4, 16],
            Suite::Scaling => &[1, 2, 4, 8, 16, 32, 64],
            Suite::Scan => &[1, 4],
        };
        let clients = if options.clients.is_empty() { clients } else { &options.clients };
        let wanted =
            |workload: &Workload| options.only.as_ref().is_none_or(|only| workload.name.contains(only.as_str()));
        let mut cases = Vec::new();
        for workload in self.workloads().iter().copied().filter(wanted) {
            for &clients in clients {
                let retries = self == Suite::Serializable;
                let case = Case { workload, clients, rate: None, beside_scan: None, retries };
                if self == Suite::Scan {
                    for rate in [Some(clients * options.commit_rate), None] {
                        cases.extend([false, true].map(|scan| Case { rate, beside_scan: Some(scan), ..case }));
                    }
                } else {
                    cases.push(case);
                }
            }
        }
        cases
    }

    fn workloads(self) -> &'static [Workload] {
        match self {
            Suite::Rates => &workloads::RATES,
            Suite::Scaling => &workloads::SCALING,
            Suite::Scan => &workloads::SCAN,
            Suite::HotRow => &workloads::HOT_ROW,
            Suite::Serializable => &workloads::SERIALIZABLE,
        }
    }

    /// Makes and fills its tables, for as many clients as there may be.
    pub(super) fn load(self, system: &dyn System, options: &Options, clients_max: u32) -> Result<()> {
        println!("loading {} for {}", system.name(), self.name());
        match self {
            Suite::Rates => workloads::load_rates(system, options.scale),
            Suite::Scaling | Suite::HotRow => {
                workloads::load_rows(system, "own_rows", workloads::own_rows(clients_max))
            }
            Suite::Serializable => workloads::load_rows(system, "ranges", workloads::RANGES_ROWS),
            Suite::Scan => {
                let rows = options.scan_rows.max(workloads::own_rows(clients_max));
                workloads::load_rows(system, "scanned", rows)
            }
        }
    }

    /// The columns of its table.
    pub(super) fn columns(self) -> Columns {
        match self {
            Suite::Rates => Columns::Rates,
            Suite::Scaling | Suite::HotRow => Columns::SpeedUps,
            Suite::Scan => Columns::Latencies,
            Suite::Serializable => Columns::Retries,
        }
    }

    /// What was chosen, for who wants to repeat it.
    pub(super) fn settings(self, options: &Options) -> String {
        let size = match self {
            Suite::Rates => format!("scale {}, ", options.scale),
            Suite::Scan => format!("a table of {} rows, ", options.scan_rows),
            Suite::Serializable => format!("a table of {} rows, ", workloads::RANGES_ROWS),
            Suite::Scaling | Suite::HotRow => String::new(),
        };
        let what = if self == Suite::Scan { "medians" } else { "median transactions per second" };
        format!(
            "pgbench {} protocol, {size}{} rounds of {} s each, {what}",
            options.protocol, options.rounds, options.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;
    use crate::bench::report;
    use crate::run;

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        let arguments = std::iter::once("bench").chain(arguments.iter().copied());
        Options::from_arg_matches(&Options::augment_args(Command::new("bench")).try_get_matches_from(arguments)?)
    }

    #[test]
    fn a_case_with_the_scan_follows_the_same_without() {
        let cases = Suite::Scan.cases(&options(&["--clients", "3", "--commit-rate", "50"]).unwrap());
        let seen: Vec<_> = cases.iter().map(|case| (case.clients, case.rate, case.beside_scan)).collect();
        assert_eq!(
            seen,
            [(3, Some(150), Some(false)), (3, Some(150), Some(true)), (3, None, Some(false)), (3, None, Some(true)),]
        );
    }

    #[test]
    fn only_what_is_named_is_measured() {
        let cases = Suite::Scaling.cases(&options(&["--only", "update"]).unwrap());
        assert_eq!(cases.iter().map(|case| case.clients).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64]);
        assert!(cases.iter().all(|case| case.workload.name == "update, own rows"));
    }

    #[test]
    fn a_given_binary_is_not_written_down_as_the_commit_at_hand() {
        assert!(options(&["--binary", "driftdb"]).is_ok());
        assert!(options(&["--binary", "driftdb", "--write"]).is_err());
    }

    /// Found out here, and not after half an hour of measuring.
    #[test]
    fn the_document_has_a_place_for_every_table() {
        let document = std::fs::read_to_string(run::repository().unwrap().join("docs/performance.md")).unwrap();
        for suite in Suite::value_variants() {
            let value = suite.to_possible_value().unwrap();
            assert_eq!(value.get_name(), suite.name());
            assert!(report::replace(&document, suite.name(), "table").is_some(), "{} has none", suite.name());
        }
    }
}
