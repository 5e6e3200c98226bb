//! Calls of the operating system that fail with EIO, one kind at a time and at random.
//!
//! What is written to the log and may or may not be there makes the database read-only until it is started again (58030); so
//! does a sync of base or history that fails. A write of base or history is made again. A read that fails is an error that
//! names the file, and nothing else.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::database::{assert_sound, make_with_log_segment};
use super::rounds;
use super::shim::{ALL, FDATASYNC, FSYNC, Order, PREAD, PWRITE, RENAME, Shim, wait_until};
use crate::client::{Client, PATIENCE, state};
use crate::server::{Dice, Server, setting};
use crate::writers::{Past, TABLES, Writers, consistent, state_query};

const IO_ERROR: &str = "58030";
/// What the first log segment takes: little, so that the log comes to its end at once.
const LOG_FIRST: u64 = 512 << 10;
/// For a flush now and then.
const FILLER_BYTES: usize = 12_000;

/// What an order is to lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Nothing is committed until the database is started again.
    ReadOnly,
    /// Some commits are refused; the next ones are not.
    RefusedOnce,
    /// Nobody notices.
    TriedAgain,
}

/// What fails under writers, and what that leads to.
fn cases() -> Vec<(Order, Then)> {
    vec![
        // The log: the group's write, its sync; at the end of a segment, the spare's write, its name, and that name's sync.
        (Order::once(PWRITE, ".log"), Then::ReadOnly),
        (Order::once(FDATASYNC, ".log"), Then::ReadOnly),
        (Order::once(PWRITE, ".spare"), Then::ReadOnly),
        (Order::once(FDATASYNC, ".spare"), Then::ReadOnly),
        (Order::once(RENAME, ".spare"), Then::ReadOnly),
        (Order::once(FSYNC, "/log"), Then::RefusedOnce),
        (Order::once(FSYNC, "/log").after(1, 1), Then::ReadOnly),
        // The base and history: writes are made again, syncs never.
        (Order::once(PWRITE, "base.redb").after(0, 3), Then::TriedAgain),
        (Order::once(PWRITE, "/history/").after(0, 3), Then::TriedAgain),
        (Order::once(FDATASYNC, "base.redb"), Then::ReadOnly),
        (Order::once(FSYNC | FDATASYNC, "/history/"), Then::ReadOnly),
        (Order::once(FSYNC, "/history").after(1, 1), Then::ReadOnly),
    ]
}

fn oldest_log(data: &Path) -> bool {
    data.join("log").join(format!("{:020}.log", 0)).exists()
}

/// After a fault that leaves open what is on the disk: nothing is committed, also now that the disk is well, and all that was
/// is read.
fn check_read_only(server: &Server, past: &Past, what: &str) {
    let mut client = Client::connect(server);
    for _ in 0..2 {
        let error = client.try_query("INSERT INTO twins VALUES ('refused', -1, 0)").expect_err(what);
        let error = error.as_db_error().unwrap_or_else(|| panic!("{what}: {error}"));
        let says_so = ["is read-only since", "until the database is started again"];
        assert!(
            error.code().code() == IO_ERROR && says_so.iter().any(|text| error.message().contains(text)),
            "{what}: {error:?}"
        );
    }
    let last = client.number("SELECT max(seq) FROM driftdb.commits");
    consistent(&client.query(&state_query(&format!("@SEQ:{last}"))), what);
    past.check(&mut client, what);
}

/// One case, on a database of its own.
fn run(order: &Order, then: Then, dice: &mut Dice) {
    let what = format!("{order:?}");
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    make_with_log_segment(&data, LOG_FIRST);
    let shim = Shim::build(place.path());
    let server = shim.launch(&data);
    Client::connect(&server).query(TABLES);
    let refusals: &[&str] = if then == Then::TriedAgain { &[] } else { &[IO_ERROR] };
    let writers = Writers::new().with_filler(FILLER_BYTES).bearing(refusals);
    let mut past = Past::default();
    past.note(&mut Client::connect(&server), dice);
    writers.work(&server, || {
        shim.arm(order);
        shim.wait_until_struck(order.times);
        let (refused, acknowledged) = (writers.refused(), writers.acknowledged());
        let all_more = |now: Vec<u64>, before: &[u64]| now.iter().zip(before).all(|(now, before)| now > before);
        match then {
            Then::ReadOnly => wait_until(&what, || all_more(writers.refused(), &refused)),
            Then::RefusedOnce => wait_until(&what, || all_more(writers.acknowledged(), &acknowledged)),
            // The checkpoint is past what the failed flush had: the log's first segment is not needed any more.
            Then::TriedAgain => wait_until(&what, || !oldest_log(&data)),
        }
        assert_eq!(shim.struck(), order.times, "{what}");
        past.note(&mut Client::connect(&server), dice);
    });
    if then == Then::ReadOnly {
        check_read_only(&server, &past, &what);
    } else {
        writers.check(&mut Client::connect(&server), &what);
    }
    // Both ways out lead to the same.
    if dice.below(2) == 0 {
        server.kill();
    } else {
        let (status, _, errors) = server.terminate();
        // It cannot make its last checkpoint where base or history must not be written any more, and says so.
        assert!(status.success() || then == Then::ReadOnly && errors.contains("driftdb: syncing "), "{what}: {errors}");
    }
    let server = Server::start_trusting(&data);
    let mut client = Client::connect(&server);
    writers.check(&mut client, &what);
    past.check(&mut client, &what);
    client.query("INSERT INTO twins VALUES ('accepted', -1, 0); DELETE FROM twins WHERE writer = -1");
    drop(client);
    server.stop();
    assert_sound(&data);
    println!(
        "faults: {then:?} after {what}: {} refused, {} acknowledged",
        writers.refused().iter().sum::<u64>(),
        writers.acknowledged().iter().sum::<u64>()
    );
}

#[test]
fn what_is_acknowledged_survives_each_failed_call() {
    let mut dice = Dice::new("faults: failing");
    for _ in 0..1 + rounds() / 10 {
        for (order, then) in cases() {
            run(&order, then, &mut dice);
        }
    }
}

/// A compaction that cannot read, or cannot write, is made again.
#[test]
fn a_compaction_that_fails_is_made_again() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let shim = Shim::build(place.path());
    let server = shim.launch(&data);
    let mut client = Client::connect(&server);
    client.query(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, '' FROM generate_series(1, 64) s(i)",
    );
    let orders = [
        Order::once(PREAD, "/history/").by("compaction"),
        Order::once(PWRITE, "/history/").by("compaction"),
        Order::once(PWRITE, "base.redb").by("compaction"),
    ];
    // Each state of the table is one letter; in the commits from the third on.
    let mut letters = Vec::new();
    for order in orders {
        shim.arm(&order);
        let files = || std::fs::read_dir(data.join("history")).unwrap().count();
        let mut most = 0;
        // Until it was struck, and then until there are fewer files, which only a compaction brings about.
        while shim.struck() == 0 || files() >= most {
            assert!(letters.len() < 2_000, "{order:?}: no compaction; {} files", files());
            let letter = char::from(b'a' + (letters.len() % 26) as u8);
            client.query(&format!("UPDATE t SET v = repeat('{letter}', 40000)"));
            letters.push(letter);
            most = most.max(files());
        }
        assert_eq!(shim.struck(), 1, "{order:?}");
        println!("faults: {order:?}: after {} commits", letters.len());
    }
    let check = |client: &mut Client| {
        for (seq, letter) in (2..).zip(&letters).step_by(7) {
            let sql =
                format!("SELECT count(*) FROM t FOR SYSTEM_TIME AS OF @SEQ:{seq} WHERE v = repeat('{letter}', 40000)");
            assert_eq!(client.number(&sql), 64, "{seq}");
        }
    };
    check(&mut client);
    server.kill();
    let server = Server::start_trusting(&data);
    check(&mut Client::connect(&server));
    server.stop();
    assert_sound(&data);
}

/// Reads of a file that cannot be read are errors that name it, whatever has been read before; what is elsewhere is read, and
/// all of it when the disk can be read again.
#[test]
fn a_read_that_fails_is_an_error_that_names_the_file() {
    const ROWS: i64 = 20_000;
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let shim = Shim::build(place.path());
    let server = shim.launch(&data);
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (id int PRIMARY KEY, v int, filler text)");
    client.query(&format!("INSERT INTO t SELECT i, i, repeat('x', 100) FROM generate_series(1, {ROWS}) s(i)"));
    client.query("UPDATE t SET v = -v");
    drop(client);
    server.stop();

    let sum = ROWS * (ROWS + 1) / 2;
    let cases = [("base.redb", "", -sum), ("/history/", "FOR SYSTEM_TIME AS OF @SEQ:2", sum)];
    let mut failures = 0;
    for (within, clause, sum) in cases {
        let queries = [
            (format!("SELECT sum(v) FROM t {clause}"), sum.to_string()),
            (format!("SELECT abs(v) FROM t {clause} WHERE id = 7777"), "7777".to_owned()),
        ];
        for order in [Order::once(PREAD, within), Order::once(PREAD, within).after(2, 1), Order::always(PREAD, within)]
        {
            // What was read before a restart may be in memory; nothing is after it.
            let server = shim.launch(&data);
            let mut client = Client::connect(&server);
            shim.arm(&order);
            for (sql, right) in queries.iter().cycle().take(6) {
                let before = shim.struck();
                match client.try_query(sql) {
                    Ok(rows) => assert_eq!(rows, [[Some(right.clone())]], "{order:?}: {sql}"),
                    Err(error) => {
                        let told = error.as_db_error().unwrap_or_else(|| panic!("{order:?}: {sql}: {error}"));
                        assert_eq!(state(&error).as_deref(), Some(IO_ERROR), "{order:?}: {sql}: {told:?}");
                        let name = within.trim_matches('/');
                        assert!(told.message().contains(name), "{order:?}: {sql}: {told:?}");
                        assert!(shim.struck() > before, "{order:?}: {sql}: an error without a failed read: {told:?}");
                        failures += 1;
                    }
                }
            }
            assert!(shim.struck() > 0, "{order:?}: nothing was read");
            shim.disarm();
            for (sql, right) in &queries {
                assert_eq!(client.value(sql), *right, "{order:?}: after it, {sql}");
            }
            server.kill();
        }
    }
    assert!(failures >= 6, "{failures}");
    println!("faults: {failures} queries met a failed read");
    assert_sound(&data);
}

/// The exit code and standard error of a server that cannot open its data directory.
fn refused_start(shim: &Shim, data: &Path) -> (Option<i32>, String) {
    let mut command = shim.command(data);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it started");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A database that cannot be opened for a disk that fails is not called damaged, and opens when the disk is well.
#[test]
fn a_start_that_fails_names_the_file_and_the_next_one_succeeds() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let shim = Shim::build(place.path());
    let server = shim.launch(&data);
    let mut client = Client::connect(&server);
    client.query(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 1000) s(i)",
    );
    drop(client);
    server.stop();
    let server = shim.launch(&data);
    Client::connect(&server).query("UPDATE t SET v = 1");
    server.kill();

    let orders = [
        (Order::once(PREAD, ".log"), ".log"),
        (Order::once(PREAD, ".log").after(1, 1), ".log"),
        (Order::once(PWRITE, ".log"), ".log"),
        (Order::once(FDATASYNC, ".log"), ".log"),
        (Order::once(FSYNC, "/log"), "/log"),
        (Order::once(PREAD, "base.redb"), "base.redb"),
        (Order::once(PREAD, "base.redb").after(3, 1), "base.redb"),
        (Order::once(FSYNC, ""), "data"),
    ];
    for (order, name) in &orders {
        shim.arm(order);
        let (code, errors) = refused_start(&shim, &data);
        assert_eq!(shim.struck(), 1, "{order:?}: {errors}");
        assert!(code == Some(1) && errors.contains(name), "{order:?}: {code:?}: {errors}");
        assert!(!errors.contains("damaged") && !errors.contains("panicked"), "{order:?}: {errors}");
    }
    shim.disarm();
    let server = shim.launch(&data);
    let mut client = Client::connect(&server);
    assert_eq!(client.number("SELECT sum(v) FROM t"), 1_000);
    assert_eq!(client.number("SELECT sum(v) FROM t FOR SYSTEM_TIME AS OF @SEQ:1"), 0);
    drop(client);
    server.stop();
    assert_sound(&data);
    println!("faults: {} starts refused for a call that failed", orders.len());
}

/// What fails at random, in turn, and at least how many of a million: one query reads thousands of pages of the base. After a
/// write of the log that failed nothing happens any more: so others come first.
const RANDOM: &[(u32, &str, u32)] = &[
    (PREAD | PWRITE | RENAME, "/history/", 500),
    (PREAD | PWRITE, "base.redb", 20),
    (PREAD, "", 20),
    (ALL, "/history/", 500),
    (ALL, "base.redb", 20),
    (ALL, "/log", 500),
    (ALL, "", 20),
];

/// What may come of a query or a commit while calls fail at random.
const RANDOM_REFUSALS: &[&str] = &[
    IO_ERROR, // The base was opened anew, and a reader of the state before it begins again.
    "40001",
];

/// Asks for the current state and for the noted past until `until`: right answers, or one of those errors.
fn read_until(server: &Server, past: &Past, until: Instant) -> (u64, u64) {
    let mut client = Client::connect(server);
    let (mut answers, mut errors) = (0, 0);
    let points = past.noted().iter().map(|(point, rows)| (state_query(point), Some(rows)));
    let points: Vec<_> = points.chain([(state_query("@SEQ:1"), None)]).collect();
    for (sql, rows) in points.iter().cycle() {
        match client.try_query(sql) {
            Ok(found) => {
                consistent(&found, sql);
                assert!(rows.is_none_or(|rows| *rows == found), "{sql}: {found:?}");
                answers += 1;
            }
            Err(error) => {
                let refusal = state(&error).unwrap_or_else(|| panic!("{sql}: {error}"));
                assert!(RANDOM_REFUSALS.contains(&refusal.as_str()), "{sql}: {:?}", error.as_db_error());
                errors += 1;
            }
        }
        if Instant::now() > until {
            break;
        }
    }
    (answers, errors)
}

#[test]
fn calls_that_fail_at_random_lose_nothing() {
    let rounds = 1 + 2 * rounds();
    let time = Duration::from_secs(setting("SECONDS", 2, 6));
    let mut dice = Dice::new("faults: failing at random");
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    make_with_log_segment(&data, LOG_FIRST);
    let shim = Shim::build(place.path());
    let writers = Writers::new().with_filler(FILLER_BYTES).bearing(RANDOM_REFUSALS);
    let mut past = Past::default();
    let mut server = shim.launch(&data);
    Client::connect(&server).query(TABLES);
    let (mut struck_in_all, mut answers_in_all, mut errors_in_all) = (0, 0, 0);
    for round in 1..=rounds {
        past.note(&mut Client::connect(&server), &mut dice);
        let (calls, within, least) = RANDOM[usize::try_from(round - 1).unwrap() % RANDOM.len()];
        // From a few that fail in a round to many.
        let per_million = least << dice.below(7);
        let order = Order::random(calls, per_million, dice.below(u64::MAX)).of(within);
        shim.arm(&order);
        let (answers, errors) = writers.work(&server, || {
            let read = read_until(&server, &past, Instant::now() + time);
            // Before the writers' last transactions, which may wait for a flush.
            shim.disarm();
            read
        });
        let struck = shim.struck();
        struck_in_all += struck;
        answers_in_all += answers;
        errors_in_all += errors;
        server.kill();
        let what = format!("round {round}, {order:?}");
        println!(
            "{what}: {struck} calls failed; readers: {answers} right answers, {errors} errors; {} commits refused",
            writers.refused().iter().sum::<u64>()
        );
        assert_sound(&data);
        server = shim.launch(&data);
        let mut client = Client::connect(&server);
        writers.check(&mut client, &what);
        past.check(&mut client, &what);
    }
    server.stop();
    println!(
        "faults: {struck_in_all} calls failed at random in {rounds} rounds; {answers_in_all} right answers, {errors_in_all} errors"
    );
    // In a few rounds the dice may say otherwise.
    assert!(rounds < 10 || struck_in_all > 0 && answers_in_all > 0);
}
