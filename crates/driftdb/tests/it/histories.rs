//! Histories of concurrent transactions, and whether they have the isolation that was asked for.
//!
//! Each round, sixteen sessions append to lists and read them ([`workload`]) while the server is killed, more than once,
//! and started again on its directory. Then everything that was done and answered is checked ([`checker`]): what each
//! level forbids has not happened, nothing that was acknowledged is lost, and what was in flight at a kill happened wholly
//! or not at all. Reads that noted the commit they saw are repeated AS OF it, meanwhile and after the restart.

mod anomaly;
mod bank;
mod checker;
mod checker_tests;
mod connection;
mod executor;
mod graph;
mod history;
mod keys;
mod workload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::Config;

use crate::client::{Client, config};
use crate::server::{Dice, PASSWORD, Server, setting};
use connection::Connection;
use history::{Level, Outcome};
use workload::{Note, Workload};

const SESSIONS: usize = 16;
/// Kills a round.
const KILLS: u64 = 2;
/// What has to be committed before a kill, however slow the machine is.
const COMMITTED_MIN: usize = 20;
/// Who has done next to nothing for so long does not wait for a processor: transactions wait for each other.
const STANDSTILL: Duration = Duration::from_secs(120);
/// Reads of a round that are repeated at its end, and of each earlier round at the end of each later.
const REPEATED: u64 = 100;
const REPEATED_LATER: u64 = 10;

/// The levels that are used together.
const MIXES: [&[Level]; 4] = [
    &[Level::Serializable],
    &[Level::RepeatableRead],
    &[Level::ReadCommitted],
    &[Level::ReadCommitted, Level::RepeatableRead, Level::Serializable],
];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Lets sessions work until the server has been killed.
fn work_until_killed(runtime: &Runtime, server: Server, workload: &Arc<Workload>, time: Duration, dice: &mut Dice) {
    let to = config(&server, PASSWORD);
    let mut tasks: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (workload, to, dice) = (Arc::clone(workload), to.clone(), dice.fork());
            runtime.spawn(async move { workload.session(to, dice).await })
        })
        .collect();
    let (watched, dice) = (Arc::clone(workload), dice.fork());
    let watch = runtime.spawn(async move { watched.read_again_and_again(to, dice).await });
    let before = workload.committed();
    std::thread::sleep(time);
    let began = Instant::now();
    while workload.committed() < before + COMMITTED_MIN && !tasks.iter().all(|task| task.is_finished()) {
        assert!(began.elapsed() < STANDSTILL, "{} transactions in {STANDSTILL:?}", workload.committed() - before);
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill();
    tasks.push(watch);
    for task in tasks {
        runtime.block_on(task).expect("no session met an error before the kill");
    }
}

/// Repeats some of the reads that were noted.
async fn repeat(to: &Config, workload: &Workload, notes: &[Note], times: u64, dice: &mut Dice) {
    let connection = Connection::open(to).await.expect("the server is up");
    for _ in 0..times.min(notes.len() as u64) {
        let note = &notes[dice.below(notes.len() as u64) as usize];
        workload.read_again(&connection, note).await.expect("the server is up");
    }
}

#[test]
fn every_level_isolates_as_it_says_through_kills() {
    let rounds = setting("ROUNDS", 4, 16);
    let seconds = setting("SECONDS", 2, 30);
    // Plans are slow in a build without optimisation, where the short form runs.
    let elements_one_in = if cfg!(debug_assertions) { 16 } else { 4 };
    let mut dice = Dice::new("histories");
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let runtime = runtime();
    let mut server = Server::start_trusting(&data);
    Client::connect(&server).query(workload::TABLES);
    let mut earlier: Vec<(Arc<Workload>, Vec<Note>)> = Vec::new();

    for round in 1..=rounds {
        let levels = MIXES[(round as usize - 1) % MIXES.len()];
        let first_key = earlier.last().map_or(1, |(workload, _)| workload.end_key());
        let workload = Arc::new(Workload::new(levels, elements_one_in, first_key, &mut dice));
        for _ in 0..KILLS {
            let time = Duration::from_millis(seconds * 1000 / KILLS / 2 + dice.below(seconds * 1000 / KILLS));
            work_until_killed(&runtime, server, &workload, time, &mut dice);
            server = Server::start_trusting(&data);
        }
        let to = config(&server, PASSWORD);
        runtime.block_on(workload.read_everything(&to));
        let (history, notes) = (workload.history(), workload.notes());
        let [committed, aborted, unknown] = [Outcome::Committed, Outcome::Aborted, Outcome::Unknown]
            .map(|outcome| history.iter().filter(|transaction| transaction.outcome == outcome).count());
        let noted = notes.len();
        println!(
            "round {round}, {levels:?}: {committed} committed, {aborted} aborted, {unknown} unknown, {noted} noted"
        );
        let anomalies = checker::check(&history);
        let told: Vec<String> = anomalies.iter().take(5).map(ToString::to_string).collect();
        assert!(told.is_empty(), "round {round}: {} anomalies, of which\n{}", anomalies.len(), told.join("\n"));

        runtime.block_on(repeat(&to, &workload, &notes, REPEATED, &mut dice));
        for (workload, notes) in &earlier {
            runtime.block_on(repeat(&to, workload, notes, REPEATED_LATER, &mut dice));
        }
        earlier.push((workload, notes));
    }
    server.stop();
}
