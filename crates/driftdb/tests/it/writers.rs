//! Writers that record every COMMIT that was answered, and what must be true of the database after whatever became of it.
//!
//! Each writer commits transactions numbered 1, 2, … that touch three tables. So of any state, now or as of then, one can
//! say how far each writer had come, and whether a transaction is there by halves; and afterwards
//! - every acknowledged transaction is there, and at most the one that was in flight beyond;
//! - the three tables agree (a transaction is there whole or not at all), now and as of commits in between;
//! - the answers AS OF that were noted before are the same after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use crate::client::{self, Client, Row, config};
use crate::server::{Dice, PASSWORD, Server};

pub(crate) const WRITERS: usize = 8;

pub(crate) const TABLES: &str = "
    CREATE TABLE entries (writer int, n bigint, filler text, PRIMARY KEY (writer, n));
    CREATE TABLE twins (id text PRIMARY KEY, writer int, n bigint);
    CREATE TABLE totals (writer int PRIMARY KEY, n bigint);
    INSERT INTO totals SELECT i, 0 FROM generate_series(0, 7) AS s(i);
";

/// What a writer puts into each transaction beside its number.
const FILLER_BYTES: usize = 1_500;
/// How long a writer that was refused waits before it tries again.
const RETRY: Duration = Duration::from_millis(20);

/// What the writers have met.
#[derive(Default)]
struct Tally {
    /// What each has been told is committed: the number of its last transaction.
    acknowledged: [AtomicU64; WRITERS],
    /// How often each was refused.
    refused: [AtomicU64; WRITERS],
    stopping: AtomicBool,
}

/// How each writer works.
#[derive(Clone)]
struct Manner {
    filler: Arc<str>,
    /// Errors after which it goes on; any other ends the test.
    refusals: &'static [&'static str],
}

/// Eight writers and what they know.
pub(crate) struct Writers {
    runtime: Runtime,
    tally: Arc<Tally>,
    manner: Manner,
}

fn loaded(numbers: &[AtomicU64; WRITERS]) -> Vec<u64> {
    numbers.iter().map(|n| n.load(Ordering::SeqCst)).collect()
}

/// Commits transactions number `from`, `from` + 1, … until the connection breaks or it is told to stop.
async fn write(config: tokio_postgres::Config, writer: usize, tally: Arc<Tally>, manner: Manner) {
    let Ok((client, connection)) = config.connect(NoTls).await else { return };
    tokio::spawn(connection);
    let filler = &manner.filler;
    while !tally.stopping.load(Ordering::SeqCst) {
        let n = tally.acknowledged[writer].load(Ordering::SeqCst) + 1;
        let transaction = format!(
            "BEGIN;
             INSERT INTO entries VALUES ({writer}, {n}, '{filler}');
             INSERT INTO twins VALUES ('{writer}-{n}', {writer}, {n});
             UPDATE totals SET n = {n} WHERE writer = {writer};
             COMMIT"
        );
        match client.batch_execute(&transaction).await {
            Ok(()) => tally.acknowledged[writer].store(n, Ordering::SeqCst),
            Err(error) => match client::state(&error) {
                None => return, // killed
                Some(state) => {
                    assert!(
                        manner.refusals.contains(&state.as_str()),
                        "writer {writer}, transaction {n}: {:?}",
                        error.as_db_error()
                    );
                    tally.refused[writer].fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(RETRY).await;
                    // A statement that was refused leaves the block open, a COMMIT does not.
                    if client.batch_execute("ROLLBACK").await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

impl Writers {
    pub(crate) fn new() -> Writers {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let manner = Manner { filler: "x".repeat(FILLER_BYTES).into(), refusals: &[] };
        Writers { runtime, tally: Arc::default(), manner }
    }

    /// Each transaction has this much in it: more of it for checkpoints more often.
    pub(crate) fn with_filler(mut self, bytes: usize) -> Writers {
        self.manner.filler = "x".repeat(bytes).into();
        self
    }

    /// They go on after errors with these SQLSTATEs.
    pub(crate) fn bearing(mut self, refusals: &'static [&'static str]) -> Writers {
        self.manner.refusals = refusals;
        self
    }

    /// Lets them work, with a connection each, until `meanwhile` is done or their connections break.
    pub(crate) fn work<R>(&self, server: &Server, meanwhile: impl FnOnce() -> R) -> R {
        self.tally.stopping.store(false, Ordering::SeqCst);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (tally, manner) = (Arc::clone(&self.tally), self.manner.clone());
                self.runtime.spawn(write(config(server, PASSWORD), writer, tally, manner))
            })
            .collect();
        let done = meanwhile();
        self.tally.stopping.store(true, Ordering::SeqCst);
        for writer in writers {
            self.runtime.block_on(writer).expect("no writer met an error that it cannot bear");
        }
        done
    }

    /// The number of the last transaction of each that was acknowledged.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        loaded(&self.tally.acknowledged)
    }

    /// How often each was refused.
    pub(crate) fn refused(&self) -> Vec<u64> {
        loaded(&self.tally.refused)
    }

    /// Nothing acknowledged is missing, nothing is there by halves, and nothing came from nowhere: of each writer at most
    /// what was in flight is there beside. That counts from now on. The writers must not be at work.
    pub(crate) fn check(&self, client: &mut Client, what: &str) {
        let acknowledged = self.acknowledged();
        let last = client.number("SELECT max(seq) FROM driftdb.commits");
        let rows = state(client, &format!("@SEQ:{last}"));
        let reached = consistent(&rows, what);
        for (writer, (reached, acknowledged)) in reached.iter().zip(&acknowledged).enumerate() {
            assert!(reached >= acknowledged, "{what}: writer {writer} lost {reached} < {acknowledged}");
            assert!(*reached <= acknowledged + 1, "{what}: writer {writer}: {reached} from nowhere");
            self.tally.acknowledged[writer].store(*reached, Ordering::SeqCst);
        }
        let current = client.query("SELECT writer, n FROM totals ORDER BY writer");
        assert!(
            current.iter().zip(&rows).all(|(now, then)| now[..] == then[..2]),
            "{what}: {current:?} is not {rows:?}"
        );
        // seq is dense: no commit has vanished between two others.
        assert_eq!(client.number("SELECT count(*) FROM driftdb.commits"), last, "{what}");
    }

    /// [`Writers::check`], where nothing was in flight: what was refused is not there either.
    pub(crate) fn check_exactly(&self, client: &mut Client, what: &str) {
        let acknowledged = self.acknowledged();
        self.check(client, what);
        assert_eq!(self.acknowledged(), acknowledged, "{what}: what was refused is there");
    }
}

/// The state as of a point: per writer what each of the three tables knows.
fn state(client: &mut Client, point: &str) -> Vec<Row> {
    client.query(&state_query(point))
}

/// Asks for that.
pub(crate) fn state_query(point: &str) -> String {
    let of = |table: &str| format!("{table} FOR SYSTEM_TIME AS OF {point}");
    format!(
        "SELECT t.writer, t.n, e.count, e.max, w.count, w.max FROM {} AS t
         LEFT JOIN (SELECT writer, count(*) AS count, max(n) AS max FROM {} AS x GROUP BY writer) AS e ON e.writer = t.writer
         LEFT JOIN (SELECT writer, count(*) AS count, max(n) AS max FROM {} AS y GROUP BY writer) AS w ON w.writer = t.writer
         ORDER BY t.writer",
        of("totals"),
        of("entries"),
        of("twins")
    )
}

/// Whether the three tables tell the same story, in which transactions 1 to n of each writer happened; the n.
pub(crate) fn consistent(rows: &[Row], what: &str) -> Vec<u64> {
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

/// Some of the past, noted while the writers go on, to be the same for ever.
#[derive(Default)]
pub(crate) struct Past {
    noted: Vec<(String, Vec<Row>)>,
}

impl Past {
    /// Notes the state as of three commits, of which the first made the writers' tables.
    pub(crate) fn note(&mut self, client: &mut Client, dice: &mut Dice) {
        let last = client.number("SELECT max(seq) FROM driftdb.commits");
        for _ in 0..3 {
            let seq = 1 + dice.below(u64::try_from(last).unwrap());
            let point = format!("@SEQ:{seq}");
            let rows = state(client, &point);
            consistent(&rows, &point);
            self.noted.push((point, rows));
        }
    }

    /// The points and states noted.
    pub(crate) fn noted(&self) -> &[(String, Vec<Row>)] {
        &self.noted
    }

    pub(crate) fn check(&self, client: &mut Client, what: &str) {
        for (point, before) in &self.noted {
            assert_eq!(state(client, point), *before, "{what}: {point}");
        }
    }
}
