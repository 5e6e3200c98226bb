//! pgbench, unmodified, in its three protocols; then its books must balance as of every commit.
//!
//! TPC-B's invariant: each transaction adds one delta to an account, a teller and a branch and writes it to the history
//! table, so the four sums are equal in every committed state. They are asked AS OF random commits, by seq and by time,
//! and once more after a restart, where they must be the same.

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
        let out = succeed(&mut command);
        assert!(out.contains("number of failed transactions: 0 (0.000%)"), "{protocol}:\n{out}");
        let processed = out.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let processed: u64 = processed.expect("a count").trim().parse().unwrap();
        assert!(processed > 0, "{protocol}:\n{out}");
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
