//! kill -9 under load: what was acknowledged is there, what was not is whole or absent, the past is what it was.
//!
//! Eight writers each commit transactions that touch three tables and record every COMMIT that was answered. The server
//! is killed at a random moment, started again, and must answer within five seconds. Then, for each writer:
//! - every acknowledged transaction is there, and at most the one that was in flight beyond;
//! - the three tables agree (a transaction is there whole or not at all), now and as of commits in between;
//! - the answers AS OF that were noted before the kill are the same after it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use crate::client::{Client, Row, config};
use crate::server::{Dice, PASSWORD, Server, setting};

const WRITERS: usize = 8;
/// From starting the process to the answer to a query.
const RESTART_MAX: Duration = Duration::from_secs(5);

/// What each writer has been told is committed: the number of its last transaction.
type Acknowledged = Arc<[AtomicU64; WRITERS]>;

const TABLES: &str = "
    CREATE TABLE entries (writer int, n bigint, filler text, PRIMARY KEY (writer, n));
    CREATE TABLE twins (id text PRIMARY KEY, writer int, n bigint);
    CREATE TABLE totals (writer int PRIMARY KEY, n bigint);
    INSERT INTO totals SELECT i, 0 FROM generate_series(0, 7) AS s(i);
";

/// Commits transactions number `from`, `from` + 1, … until the connection breaks.
async fn write(config: tokio_postgres::Config, writer: usize, acknowledged: Acknowledged) {
    let Ok((client, connection)) = config.connect(NoTls).await else { return };
    tokio::spawn(connection);
    let filler = "x".repeat(1_500);
    loop {
        let n = acknowledged[writer].load(Ordering::SeqCst) + 1;
        let transaction = format!(
            "BEGIN;
             INSERT INTO entries VALUES ({writer}, {n}, '{filler}');
             INSERT INTO twins VALUES ('{writer}-{n}', {writer}, {n});
             UPDATE totals SET n = {n} WHERE writer = {writer};
             COMMIT"
        );
        match client.batch_execute(&transaction).await {
            Ok(()) => acknowledged[writer].store(n, Ordering::SeqCst),
            Err(error) if error.as_db_error().is_some() => panic!("writer {writer}, transaction {n}: {error:?}"),
            Err(_) => return, // killed
        }
    }
}

/// The state as of a point: per writer what each of the three tables knows.
fn state(client: &mut Client, point: &str) -> Vec<Row> {
    let of = |table: &str| format!("{table} FOR SYSTEM_TIME AS OF {point}");
    client.query(&format!(
        "SELECT t.writer, t.n, e.count, e.max, w.count, w.max FROM {} AS t
         LEFT JOIN (SELECT writer, count(*) AS count, max(n) AS max FROM {} AS x GROUP BY writer) AS e ON e.writer = t.writer
         LEFT JOIN (SELECT writer, count(*) AS count, max(n) AS max FROM {} AS y GROUP BY writer) AS w ON w.writer = t.writer
         ORDER BY t.writer",
        of("totals"),
        of("entries"),
        of("twins")
    ))
}

/// Whether the three tables tell the same story, in which transactions 1 to n of each writer happened; the n.
fn consistent(rows: &[Row], what: &str) -> Vec<u64> {
    assert_eq!(rows.len(), WRITERS, "{what}: {rows:?}");
    let mut reached = Vec::new();
    for row in rows {
        let number = |column: usize| row[column].as_deref().map_or(0, |text| text.parse::<u64>().unwrap());
        let total = number(1);
        let told = [number(2), number(3), number(4), number(5)];
        assert_eq!(told, [total; 4], "{what}: writer {}: half a transaction: {rows:?}", number(0));
        reached.push(total);
    }
    reached
}

struct Load {
    runtime: Runtime,
    acknowledged: Acknowledged,
}

impl Load {
    fn new() -> Load {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Load { runtime, acknowledged: Arc::default() }
    }

    /// Lets the writers work until `kill` has been done.
    fn run(&self, server: &Server, kill: impl FnOnce()) {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| self.runtime.spawn(write(config(server, PASSWORD), writer, Arc::clone(&self.acknowledged))))
            .collect();
        kill();
        for writer in writers {
            self.runtime.block_on(writer).expect("no writer met an error before the kill");
        }
    }

    fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|n| n.load(Ordering::SeqCst)).collect()
    }
}

/// Starts the server again and says how long the first answer took.
fn restart(data: &Path) -> (Server, Client, Duration) {
    let start = Instant::now();
    let server = Server::start_small(data);
    let mut client = Client::connect(&server);
    assert_eq!(client.number("SELECT 1"), 1);
    (server, client, start.elapsed())
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_half_there() {
    let rounds = setting("ROUNDS", 3, 20);
    let mut dice = Dice::new("crash");
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let load = Load::new();
    let mut server = Server::start_small(&data);
    Client::connect(&server).query(TABLES);
    let mut noted: Vec<(String, Vec<Row>)> = Vec::new();

    for round in 1..=rounds {
        let pause = Duration::from_millis(300 + dice.below(2_500));
        let before = load.acknowledged();
        load.run(&server, || {
            std::thread::sleep(pause);
            // Some of the past, noted while the writers go on.
            let mut client = Client::connect(&server);
            let last = client.number("SELECT max(seq) FROM driftdb.commits");
            for _ in 0..3 {
                let seq = 1 + dice.below(u64::try_from(last).unwrap());
                let point = format!("@SEQ:{seq}");
                let rows = state(&mut client, &point);
                consistent(&rows, &point);
                noted.push((point, rows));
            }
            std::thread::sleep(Duration::from_millis(dice.below(300)));
            server.signal("KILL");
        });
        server.kill();

        let acknowledged = load.acknowledged();
        let (again, mut client, took) = restart(&data);
        println!("round {round}: killed at {acknowledged:?}; the next start answered after {took:?}");
        assert!(took <= RESTART_MAX, "round {round}: the first answer took {took:?}");
        assert!(
            acknowledged.iter().zip(&before).any(|(now, before)| now > before),
            "round {round}: nothing was written"
        );
        let last = client.number("SELECT max(seq) FROM driftdb.commits");
        let rows = state(&mut client, &format!("@SEQ:{last}"));
        let reached = consistent(&rows, "after the kill");
        for (writer, (reached, acknowledged)) in reached.iter().zip(&acknowledged).enumerate() {
            assert!(reached >= acknowledged, "round {round}: writer {writer} lost {reached} < {acknowledged}");
            assert!(*reached <= acknowledged + 1, "round {round}: writer {writer}: {reached} from nowhere");
            // What was in flight and is there counts from now on.
            load.acknowledged[writer].store(*reached, Ordering::SeqCst);
        }
        let current = client.query("SELECT writer, n FROM totals ORDER BY writer");
        assert!(current.iter().zip(&rows).all(|(now, then)| now[..] == then[..2]), "{current:?} is not {rows:?}");
        for (point, before) in &noted {
            assert_eq!(state(&mut client, point), *before, "round {round}: {point} after the kill");
        }
        // seq is dense: no commit has vanished between two others.
        assert_eq!(client.number("SELECT count(*) FROM driftdb.commits"), last);
        server = again;
    }
    server.stop();
}
