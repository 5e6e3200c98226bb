//! Random schedules of SQL against a plain list of commits.
//!
//! Two sessions take turns: rows and definitions change, in transaction blocks at both levels, with savepoints,
//! refused statements and no-ops, between flushes, compactions, restarts and power cuts. The model ([`state`]) keeps
//! everything as plain maps, once for every commit; it says beforehand what each statement must come to. In the end, and
//! now and then, every table is asked for at every commit, by number and by time, and every version of every row.
//!
//! Each step has random numbers of its own, so that a failing schedule can be made shorter by leaving steps out: what is
//! printed is the shortest that was found, and its seed.
//!
//! `DRIFTDB_MODEL_CASES` sets how many seeds are run, `DRIFTDB_MODEL_SEED` where they begin (alone: that one only).

mod check;
mod rows;
mod schedule;
mod state;
mod tables;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use schedule::{Case, Random};

const CASES: u64 = 200;
const CASES_LONG: u64 = 3000;
const STEPS: u64 = 60;
/// For how long a failing schedule is made shorter.
const SHRINK_TIME: Duration = Duration::from_secs(40);

#[test]
fn every_answer_is_that_of_its_commit() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let long = std::env::var_os("DRIFTDB_TEST_LONG").is_some();
    let first = variable("DRIFTDB_MODEL_SEED").or_else(|| variable("DRIFTDB_TEST_SEED"));
    let cases = variable("DRIFTDB_MODEL_CASES").or_else(|| variable("DRIFTDB_TEST_ROUNDS"));
    let cases = cases.unwrap_or(if first.is_some() {
        1
    } else if long {
        CASES_LONG
    } else {
        CASES
    });
    let first = first.unwrap_or(0);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + cases {
                break;
            }
            if let Err(report) = run(seed, &BTreeSet::new()) {
                failed.store(true, Ordering::Relaxed);
                panic!("{}", shortest(seed, report));
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..1).map(|_| scope.spawn(work)).collect();
        work();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

/// What went wrong, and the statements until then.
struct Report {
    message: String,
    trace: Vec<String>,
    /// The last step that was made.
    step: u64,
}

/// Runs the steps of a seed but for those in `without`.
fn run(seed: u64, without: &BTreeSet<u64>) -> Result<(), Report> {
    let mut case = Case::new(seed);
    let mut step = 0;
    let done = catch_unwind(AssertUnwindSafe(|| {
        while step < STEPS {
            step += 1;
            if !without.contains(&step) {
                case.random = Random::new(seed, step);
                case.step()?;
            }
        }
        case.random = Random::new(seed, STEPS + 1);
        case.check_all()?;
        case.reopen(true)?;
        case.check_all()
    }));
    let message = match done {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(message)) => message,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    Err(Report { message, trace: std::mem::take(&mut case.trace), step })
}

/// Leaves out what steps it can while something still goes wrong.
fn shortest(seed: u64, mut report: Report) -> String {
    let began = Instant::now();
    let mut without: BTreeSet<u64> = (report.step + 1..=STEPS).collect();
    let mut chunk = STEPS / 2;
    while chunk > 0 {
        let mut start = 1;
        while start <= STEPS && began.elapsed() < SHRINK_TIME {
            let mut fewer = without.clone();
            fewer.extend(start..(start + chunk).min(STEPS + 1));
            if fewer != without
                && let Err(shorter) = run(seed, &fewer)
            {
                (without, report) = (fewer, shorter);
            }
            start += chunk;
        }
        chunk /= 2;
    }
    let Report { message, trace, .. } = report;
    let version = "statement -- rows or error @last commit";
    format!("DRIFTDB_MODEL_SEED={seed}\n{version}\n{}\n\n{message}\nDRIFTDB_MODEL_SEED={seed}", trace.join("\n"))
}
