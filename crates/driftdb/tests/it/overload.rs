//! More clients, more data and slower readers than there is memory for: the server stays within its bounds, tells who has
//! to wait or to try again, and is as before when they are gone.

mod load;
mod raw;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use self::load::{Load, TABLES, TOTAL};
use self::raw::Raw;
use crate::client::{Client, PATIENCE, config};
use crate::process::{MemoryWatch, memory_mib, sockets};
use crate::server::{Dice, PASSWORD, Server, driftdb, setting};

const LIMIT_MIB: u64 = 128;
const PLACES: usize = 64;
const CLIENTS: usize = 500;
/// What the server may take in all: the limit, and 2 MiB a session for what nobody counts. That is mostly the batches of rows
/// on their way through its statement, as stored, decoded and computed; and the stacks of threads, which are deep in a debug
/// build, also of those that only come to be refused.
const BOUND_MIB: u64 = LIMIT_MIB + 2 * PLACES as u64;
/// A server that has little, and believes everyone: it is not the proofs of passwords that are to be tested.
fn small_server(data: &Path) -> Server {
    let mut command = driftdb();
    command
        .env("DRIFTDB_MEMORY_LIMIT", format!("{LIMIT_MIB}MiB"))
        .env("DRIFTDB_MAX_CONNECTIONS", PLACES.to_string())
        .env("DRIFTDB_AUTH", "trust")
        // By default glibc gives sixteen threads, on two cores, a heap each, and what is free in one is no use to another.
        .env("MALLOC_ARENA_MAX", "2");
    Server::launch(data, &mut command)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Waits until the server has no more sockets open than that.
fn wait_for_sockets(server: &Server, most: usize) {
    let began = Instant::now();
    while sockets(server.pid()) > most {
        assert!(began.elapsed() < PATIENCE, "{} connections are left", sockets(server.pid()) - most);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_crowd_is_served_in_turn_within_the_memory_limit() {
    let seconds = setting("SECONDS", 2, 60);
    let waves = setting("ROUNDS", 2, 4);
    let mut dice = Dice::new("overload");
    let place = tempfile::tempdir().unwrap();
    let server = small_server(&place.path().join("data"));
    let mut client = Client::connect(&server);
    client.query(TABLES);
    // Those it listens with, and waits for signals; the other one is the client's.
    let idle_sockets = sockets(server.pid()) - 1;
    let first = client.number("SELECT max(seq) FROM driftdb.commits");
    drop(client);
    wait_for_sockets(&server, idle_sockets);
    println!("tables made: {} MiB", memory_mib(server.pid()));

    let runtime = runtime();
    let load = Arc::new(Load::new(config(&server, PASSWORD), server.port(), CLIENTS));
    let watch = MemoryWatch::begin(server.pid());
    let mut settled = Vec::new();
    for wave in 1..=waves {
        let until = Instant::now() + Duration::from_secs(seconds);
        runtime.block_on(load.wave(until, &mut dice));
        println!("wave {wave}: {:?}", load.take_tally());
        assert_eq!(load.take_wrong(), Vec::<String>::new(), "wave {wave}");
        wait_for_sockets(&server, idle_sockets);
        check_books(&server, &load, first, &mut dice);
        let (peak_mib, settled_mib) = (watch.take_peak_mib(), memory_mib(server.pid()));
        println!("wave {wave}: at most {peak_mib} MiB, then {settled_mib} MiB");
        assert!(peak_mib <= BOUND_MIB, "wave {wave}: {peak_mib} MiB");
        settled.push(settled_mib);
    }
    watch.end();
    // What the allocator keeps for later varies; what is lost would add up.
    let (first_mib, last_mib) = (settled[0], settled[settled.len() - 1]);
    assert!(last_mib <= first_mib + LIMIT_MIB / 2, "{settled:?}");
    server.stop();
}

/// A client that comes when the crowd has gone is let in, and finds what was acknowledged and no money lost.
fn check_books(server: &Server, load: &Load, first: i64, dice: &mut Dice) {
    let mut client = Client::connect(server);
    client.query("INSERT INTO notes VALUES (-1, (SELECT count(*) FROM notes))");
    assert_eq!(client.number("SELECT sum(v) FROM accounts"), TOTAL);
    let last = client.number("SELECT max(seq) FROM driftdb.commits");
    for _ in 0..10 {
        let seq = first + i64::try_from(dice.below(u64::try_from(last - first).unwrap())).unwrap();
        let sum = format!("SELECT sum(v) FROM accounts FOR SYSTEM_TIME AS OF @SEQ:{seq}");
        assert_eq!(client.number(&sum), TOTAL, "as of {seq}");
    }
    let written = client.query("SELECT client, max(n), count(*) FROM notes WHERE client >= 0 GROUP BY client");
    for (number, acknowledged) in load.acknowledged.iter().enumerate() {
        let number = Some(number.to_string());
        let found = written.iter().find(|row| row[0] == number);
        let acknowledged = acknowledged.load(Ordering::Relaxed);
        let expected = (acknowledged > 0).then(|| Some(acknowledged.to_string()));
        assert_eq!(found.map(|row| row[1].clone()), expected, "client {number:?}");
        assert_eq!(found.map(|row| row[2].clone()), expected, "client {number:?}");
    }
}

/// What a client makes the server hold.
#[derive(Clone, Copy, Debug)]
enum Holder {
    /// A result that it does not read.
    Unread,
    /// A result that it reads, but slowly.
    Trickle,
    /// The snapshot of a transaction in which it does nothing.
    Snapshot,
    /// The rest of a result, in a transaction in which it does nothing.
    Portal,
}

const HOLDERS: [Holder; 4] = [Holder::Unread, Holder::Trickle, Holder::Snapshot, Holder::Portal];
/// How many come in a round.
const HELD: usize = 12;
/// More than a memtable and than the buffers of a connection hold.
const BULK_ROWS: usize = 800;
const BULK: &str = "SELECT * FROM bulk";

impl Holder {
    /// Begins to hold; what it gives is to be kept.
    async fn begin(self, port: u16) -> Raw {
        let mut raw = Raw::connect(port).await.unwrap().expect("there is a place");
        match self {
            Holder::Unread | Holder::Trickle => {
                raw.begin(BULK).await.unwrap();
                // The first message: it has come to its snapshot.
                raw.sip().await;
            }
            Holder::Snapshot => {
                let ended =
                    raw.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT id FROM bulk LIMIT 1").await.unwrap();
                assert!(ended.open && ended.error.is_none(), "{ended:?}");
                raw.take_last_bytes();
            }
            Holder::Portal => raw.suspend(BULK).await.unwrap(),
        }
        raw
    }

    /// Takes the rest of what it began with; the last bytes of all rows.
    async fn end(self, mut raw: Raw) -> Vec<u8> {
        let ended = match self {
            Holder::Unread | Holder::Trickle => raw.read_to_end().await,
            Holder::Snapshot => raw.run(BULK).await.unwrap(),
            Holder::Portal => raw.resume().await.unwrap(),
        };
        assert!(ended.open && ended.error.is_none(), "{self:?}: {ended:?}");
        raw.take_last_bytes()
    }
}

/// Old snapshots hold memtables in memory, up to a share of it. Those that hold more read from disk: so nobody has to go,
/// and each ends with what it began with.
#[test]
fn slow_readers_hold_no_more_than_their_share() {
    let rounds = setting("ROUNDS", 2, 8);
    let place = tempfile::tempdir().unwrap();
    let server = small_server(&place.path().join("data"));
    let mut client = Client::connect(&server);
    client.query(TABLES);
    client.query(&format!("INSERT INTO bulk SELECT i, '' FROM generate_series(1, {BULK_ROWS}) s(i)"));
    let mut letters = (b'a'..=b'z').cycle();
    let mut write = || {
        let letter = letters.next().unwrap();
        client.query(&format!("UPDATE bulk SET filler = repeat('{}', 10000)", char::from(letter)));
        letter
    };
    for _ in 0..5 {
        write();
    }
    let alone_mib = memory_mib(server.pid());

    let runtime = runtime();
    let watch = MemoryWatch::begin(server.pid());
    for round in 1..=rounds {
        let mut held = Vec::new();
        for holder in HOLDERS.into_iter().cycle().take(HELD) {
            let letter = write();
            held.push((holder, letter, runtime.block_on(holder.begin(server.port()))));
            for (_, _, raw) in held.iter_mut().filter(|(holder, ..)| matches!(holder, Holder::Trickle)) {
                runtime.block_on(raw.sip());
            }
        }
        let peak_mib = watch.take_peak_mib();
        for (holder, letter, raw) in held {
            let last_bytes = runtime.block_on(holder.end(raw));
            assert_eq!(last_bytes, vec![letter; BULK_ROWS], "round {round}: {holder:?}");
        }
        println!("round {round}: {alone_mib} MiB alone, at most {peak_mib} MiB, then {} MiB", watch.take_peak_mib());
        assert!(peak_mib <= BOUND_MIB, "round {round}: {peak_mib} MiB");
    }
    watch.end();
    server.stop();
}

/// What a client sends counts before it is there: what has no room is read past, and the session goes on.
#[test]
fn a_statement_there_is_no_memory_for_is_refused_and_the_session_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let server = small_server(&place.path().join("data"));
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let text = "x".repeat(20 << 20);
    let constants = (1..=100_000).map(|n| format!("({n}, '')")).collect::<Vec<_>>().join(",");
    let statements = [format!("INSERT INTO t VALUES (0, '{text}')"), format!("INSERT INTO t VALUES {constants}")];
    let watch = MemoryWatch::begin(server.pid());
    for statement in &statements {
        assert_eq!(client.error(statement), "53200");
        assert_eq!(client.number("SELECT count(*) FROM t"), 0);
        client.query("BEGIN; INSERT INTO t VALUES (0, '')");
        assert_eq!(client.error(statement), "53200");
        assert_eq!(client.error("SELECT 1"), "25P02");
        client.query("ROLLBACK");
    }
    runtime().block_on(async {
        let (client, connection) = config(&server, PASSWORD).connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let insert = client.prepare("INSERT INTO t VALUES (0, $1)").await.unwrap();
        let error = client.execute(&insert, &[&text]).await.unwrap_err();
        assert_eq!(crate::client::state(&error).as_deref(), Some("53200"));
        assert_eq!(client.execute(&insert, &[&&text[..1 << 20]]).await.unwrap(), 1);
    });
    assert_eq!(client.number("SELECT length(v) FROM t"), 1 << 20);
    let peak_mib = watch.take_peak_mib();
    assert!(peak_mib <= LIMIT_MIB, "{peak_mib} MiB");
    watch.end();
    server.stop();
}
