//! pgbench, unmodified, in its three protocols; then its books must balance as of every commit.
//!
//! TPC-B's invariant: each transaction adds one delta to an account, a teller and a branch and writes it to the history
//! table, so the four sums are equal in every committed state. They are asked AS OF random commits, by seq and by time,
//! and once more after a restart, where they must be the same. And under contention, at each isolation level.

use std::process::Command;

use crate::client::{Client, Row};
use crate::server::{Dice, PASSWORD, Server, clear_settings, setting, succeed};

fn pgbench(server: &Server) -> Command {
    let mut command = Command::new("pgbench");
    clear_settings(&mut command);
    server.address(&mut command, PASSWORD);
    command
}

/// The four sums as of a point.
fn sums(point: &str) -> String {
    let sum = |column: &str, table: &str| {
        format!("(SELECT coalesce(sum({column}), 0) FROM {table} FOR SYSTEM_TIME AS OF {point})")
    };
    format!(
        "SELECT {}, {}, {}, {}",
        sum("abalance", "pgbench_accounts"),
        sum("tbalance", "pgbench_tellers"),
        sum("bbalance", "pgbench_branches"),
        sum("delta", "pgbench_history"),
    )
}

fn balanced(client: &mut Client, point: &str) -> Row {
    let rows = client.query(&sums(point));
    let [row] = rows.as_slice() else { panic!("{point}: {rows:?}") };
    assert!(row[0].is_some() && row.iter().all(|sum| *sum == row[0]), "{point}: the books do not balance: {row:?}");
    row.clone()
}

/// Runs pgbench, of which no transaction may fail; how many it made.
fn processed(command: &mut Command) -> u64 {
    let out = succeed(command);
    assert!(out.contains("number of failed transactions: 0 ("), "{command:?}:\n{out}");
    let processed = out.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
    processed.expect("a count").trim().parse().unwrap()
}

#[test]
fn the_books_balance_as_of_every_commit() {
    let scale = setting("SCALE", 1, 10);
    let seconds = setting("SECONDS", 4, 60);
    let samples = setting("ROUNDS", 40, 200);
    let mut dice = Dice::new("pgbench");
    let place = tempfile::tempdir().unwrap();
    // Little memory in the short form, so that the flush to base and history is part of it.
    let start = |place: &std::path::Path| match scale {
        1 => Server::start_small(place),
        _ => Server::start(place),
    };
    let server = start(&place.path().join("data"));

    succeed(pgbench(&server).args(["-i", "-q", "-s", &scale.to_string()]));
    let mut client = Client::connect(&server);
    let first = client.number("SELECT max(seq) FROM driftdb.commits");
    for (run, protocol) in ["simple", "extended", "prepared"].into_iter().enumerate() {
        let mut command = pgbench(&server);
        command.args(["-c", "8", "-j", "2", "-T", &seconds.to_string(), "-M", protocol]);
        if run > 0 {
            // Without -n a run begins by truncating pgbench_history, and the deltas of the runs before it would be
            // missing from the balance.
            command.arg("-n");
        }
        let processed = processed(&mut command);
        assert!(processed > 0, "{command:?} did nothing");
        println!("pgbench, {protocol}: {processed} transactions in {seconds} s");
    }

    let last = client.number("SELECT max(seq) FROM driftdb.commits");
    let span = u64::try_from(last - first).unwrap() + 1;
    let mut noted = Vec::new();
    for _ in 0..samples {
        let seq = first + i64::try_from(dice.below(span)).unwrap();
        let time = client.value(&format!("SELECT time FROM driftdb.commits WHERE seq = {seq}"));
        let points = [format!("@SEQ:{seq}"), format!("TIMESTAMPTZ '{time}'")];
        let [by_seq, by_time] = points.each_ref().map(|point| balanced(&mut client, point));
        assert_eq!(by_seq, by_time, "as of {points:?}");
        noted.extend(points.map(|point| (point, by_seq.clone())));
    }
    // The newest state is no special case.
    let now = client.query("SELECT sum(delta) FROM pgbench_history");
    assert_eq!(now[0][0], balanced(&mut client, &format!("@SEQ:{last}"))[0]);
    drop(client);
    server.stop();

    let server = start(&place.path().join("data"));
    let mut client = Client::connect(&server);
    for (point, before) in &noted {
        assert_eq!(balanced(&mut client, point), *before, "{point} after the restart");
    }
    server.stop();
}

/// Sixty-four clients on one branch: all of them want the same row, and those who come late try again.
#[test]
fn the_books_balance_at_every_level() {
    let scale = setting("SCALE", 1, 10);
    let seconds = setting("SECONDS", 1, 60);
    let samples = setting("ROUNDS", 10, 200);
    let mut dice = Dice::new("pgbench at every level");
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("data"));
    succeed(pgbench(&server).args(["-i", "-q", "-s", &scale.to_string()]));
    let mut client = Client::connect(&server);
    let first = client.number("SELECT max(seq) FROM driftdb.commits");
    for level in ["read committed", "repeatable read", "serializable"] {
        let level_option = format!("-c default_transaction_isolation={}", level.replace(' ', "\\ "));
        let mut seconds = seconds;
        // On a busy machine the first of 64 clients has not done anything within a second.
        let processed = loop {
            let mut command = pgbench(&server);
            command.env("PGOPTIONS", &level_option).args(["-n", "-c", "64", "-j", "2", "-M", "prepared"]);
            match processed(command.args(["-T", &seconds.to_string(), "--max-tries", "0"])) {
                0 => seconds *= 2,
                processed => break processed,
            }
        };
        println!("pgbench, {level}: {processed} transactions in {seconds} s");
    }
    let last = client.number("SELECT max(seq) FROM driftdb.commits");
    let span = u64::try_from(last - first).unwrap() + 1;
    for _ in 0..samples {
        let seq = first + i64::try_from(dice.below(span)).unwrap();
        balanced(&mut client, &format!("@SEQ:{seq}"));
    }
    let now = client.query("SELECT sum(delta) FROM pgbench_history");
    assert_eq!(now[0][0], balanced(&mut client, &format!("@SEQ:{last}"))[0]);
    server.stop();
}
