//! More clients than there are places, each of them trying again and again: what they do, and what they may be told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Config, NoTls};

use super::raw::Raw;
use crate::client;
use crate::server::Dice;

pub(super) const ACCOUNTS: u64 = 100;
/// What all accounts have together, always.
pub(super) const TOTAL: i64 = 100_000;

pub(super) const TABLES: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, v bigint);
    INSERT INTO accounts SELECT i, 1000 FROM generate_series(0, 99) s(i);
    CREATE TABLE notes (client int, n bigint, PRIMARY KEY (client, n));
    CREATE TABLE bulk (id bigint PRIMARY KEY, filler text);
    CREATE TABLE papers (id int PRIMARY KEY, filler text);
    INSERT INTO papers SELECT i, repeat(i || 'abcdefghij', 500) FROM generate_series(10001, 10500) s(i);
    INSERT INTO papers SELECT i, repeat(i || 'abcdefghij', 500) FROM generate_series(10501, 11000) s(i);
    INSERT INTO papers SELECT i, repeat(i || 'abcdefghij', 500) FROM generate_series(11001, 11500) s(i);
    INSERT INTO papers SELECT i, repeat(i || 'abcdefghij', 500) FROM generate_series(11501, 12000) s(i);
    INSERT INTO papers SELECT i, repeat(i || 'abcdefghij', 500) FROM generate_series(12001, 12500) s(i);
    INSERT INTO papers SELECT i, repeat(i || 'abcdefghij', 500) FROM generate_series(12501, 13000) s(i);
";

/// More than the buffers of a connection hold.
const LONG_RESULT: &str = "SELECT * FROM papers";

/// Memory that runs out for a statement, conflicts, limits of time.
const ALLOWED: &[&str] = &["53200", "40001", "40P01", "55P03", "57014"];

/// Sorts and groups more than the memory for queries.
const HEAVY: &[&str] = &[
    "SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY filler DESC, id) AS r FROM papers) x WHERE r > 5",
    "SELECT count(*) FROM (SELECT filler || id % 7 AS f, count(*) FROM papers GROUP BY 1) x",
    "SELECT count(*) FROM papers a JOIN papers b ON a.filler = b.filler",
    "SELECT id, filler FROM papers ORDER BY filler DESC LIMIT 10",
];

/// The number of clients a role is for, of every ten.
const ROLES: [Role; 10] = [
    Role::Transfer,
    Role::Transfer,
    Role::Note,
    Role::Read,
    Role::Heavy,
    Role::TooMuch,
    Role::Bulk,
    Role::Slow,
    Role::Snapshot,
    Role::Lock,
];

#[derive(Clone, Copy)]
enum Role {
    /// Moves money between accounts.
    Transfer,
    /// Writes down what was acknowledged.
    Note,
    /// Reads single rows.
    Read,
    /// Asks one of [`HEAVY`].
    Heavy,
    /// A transaction that is larger than all may be together.
    TooMuch,
    /// Commits half a memtable.
    Bulk,
    /// Does not read its results for a while.
    Slow,
    /// Reads the same twice from one snapshot.
    Snapshot,
    /// Holds a row for a while, then gives up.
    Lock,
}

/// What the clients of a wave share.
pub(super) struct Load {
    pub(super) config: Config,
    pub(super) port: u16,
    /// What each client was told is committed.
    pub(super) acknowledged: Vec<AtomicU64>,
    /// Keys for `bulk`.
    pub(super) last_bulk: AtomicU64,
    tally: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    pub(super) fn new(config: Config, port: u16, clients: usize) -> Load {
        let acknowledged = (0..clients).map(|_| AtomicU64::new(0)).collect();
        Load {
            config,
            port,
            acknowledged,
            last_bulk: AtomicU64::new(0),
            tally: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    /// Has all clients connect at once, and try until `until`.
    pub(super) async fn wave(self: &Arc<Load>, until: Instant, dice: &mut Dice) {
        let clients: Vec<_> = (0..self.acknowledged.len())
            .map(|number| {
                let client = Visitor { load: Arc::clone(self), number, dice: dice.fork() };
                tokio::spawn(client.come_again(until))
            })
            .collect();
        for client in clients {
            client.await.expect("no client panics");
        }
    }

    /// How often what happened.
    pub(super) fn take_tally(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.tally.lock().unwrap())
    }

    pub(super) fn take_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.wrong.lock().unwrap())
    }

    fn count(&self, what: &str) {
        *self.tally.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// Notes an error within a session.
    fn failed(&self, state: Option<&str>, what: &str) {
        match state {
            Some(state) if ALLOWED.contains(&state) => self.count(state),
            other => self.wrong(format!("{what}: {other:?}")),
        }
    }

    /// Notes how a connection was refused. Beyond what the server lets start at a time it closes connections unread.
    fn refused(&self, state: Option<&str>) {
        match state {
            Some("53300") => self.count("53300"),
            None => self.count("closed unread"),
            Some(other) => self.wrong(format!("refused with {other}")),
        }
    }
}

/// One client, which comes again after each visit.
struct Visitor {
    load: Arc<Load>,
    number: usize,
    dice: Dice,
}

/// A session of it.
struct Visit {
    client: tokio_postgres::Client,
    connection: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Visit {
    async fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// What the error says; where it only says that the connection is closed, why that is.
    async fn state(self, error: tokio_postgres::Error) -> Option<String> {
        match client::state(&error) {
            Some(state) => Some(state),
            None => self.connection.await.unwrap().err().and_then(|error| client::state(&error)),
        }
    }
}

impl Visitor {
    async fn come_again(mut self, until: Instant) {
        while Instant::now() < until {
            let came_in = match ROLES[self.number % ROLES.len()] {
                Role::Slow => self.visit_slowly().await,
                role => self.visit(role).await,
            };
            let pause = if came_in { 50 } else { 200 };
            self.rest(pause).await;
        }
    }

    async fn rest(&mut self, milliseconds_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.dice.below(milliseconds_max))).await;
    }

    /// A visit of an ordinary client; `false` if it was not let in.
    async fn visit(&mut self, role: Role) -> bool {
        let (client, connection) = match self.load.config.connect(NoTls).await {
            Ok((client, connection)) => (client, tokio::spawn(connection)),
            Err(error) => {
                self.load.refused(client::state(&error).as_deref());
                return false;
            }
        };
        self.load.count("visit");
        let visit = Visit { client, connection };
        let worked = match visit.run("SET lock_timeout = '1s'; SET statement_timeout = '20s'").await {
            Ok(()) => self.work(role, &visit).await.map_err(|error| ("work", error)),
            Err(error) => Err(("setting", error)),
        };
        if let Err((what, error)) = worked {
            let text = format!("client {}, {what}: {error}", self.number);
            self.load.failed(visit.state(error).await.as_deref(), &text);
        }
        true
    }

    async fn work(&mut self, role: Role, visit: &Visit) -> Result<(), tokio_postgres::Error> {
        match role {
            Role::Transfer => {
                for _ in 0..5 {
                    let (from, to) = (self.dice.below(ACCOUNTS), self.dice.below(ACCOUNTS));
                    let half = |sign, id| format!("UPDATE accounts SET v = v {sign} 7 WHERE id = {id}");
                    visit.run(&format!("BEGIN; {}; {}; COMMIT", half('-', from), half('+', to))).await?;
                }
            }
            Role::Note => {
                for _ in 0..5 {
                    let acknowledged = &self.load.acknowledged[self.number];
                    let next = acknowledged.load(Ordering::Relaxed) + 1;
                    visit.run(&format!("INSERT INTO notes VALUES ({}, {next})", self.number)).await?;
                    acknowledged.store(next, Ordering::Relaxed);
                }
            }
            Role::Read => {
                for _ in 0..10 {
                    let id = i32::try_from(self.dice.below(ACCOUNTS)).unwrap();
                    visit.client.query_one("SELECT v FROM accounts WHERE id = $1", &[&id]).await?;
                }
            }
            Role::Heavy => {
                let which = usize::try_from(self.dice.below(4)).unwrap();
                visit.run(HEAVY[which]).await?;
            }
            Role::TooMuch => {
                visit.run("BEGIN").await?;
                for _ in 0..20 {
                    visit.run(&self.insert_bulk()).await?;
                }
                visit.run("COMMIT").await?;
            }
            Role::Bulk => visit.run(&self.insert_bulk()).await?,
            Role::Snapshot => self.look_twice(visit).await?,
            Role::Lock => {
                let id = self.dice.below(ACCOUNTS);
                visit.run(&format!("BEGIN; UPDATE accounts SET v = 0 WHERE id = {id}")).await?;
                self.rest(500).await;
            }
            Role::Slow => panic!("that is no ordinary client"),
        }
        Ok(())
    }

    /// Inserts 2 MB.
    fn insert_bulk(&self) -> String {
        let last = self.load.last_bulk.fetch_add(200, Ordering::Relaxed) + 200;
        let first = last - 199;
        format!("INSERT INTO bulk SELECT i, repeat('x', 10000) FROM generate_series({first}, {last}) s(i)")
    }

    async fn look_twice(&mut self, visit: &Visit) -> Result<(), tokio_postgres::Error> {
        visit.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        for _ in 0..2 {
            let sums = "SELECT sum(v)::bigint, (SELECT count(*) FROM notes) FROM accounts";
            let row = visit.client.query_one(sums, &[]).await?;
            if row.get::<_, i64>(0) != TOTAL {
                self.load.wrong(format!("the accounts have {} together", row.get::<_, i64>(0)));
            }
            self.rest(2_000).await;
        }
        visit.run("COMMIT").await
    }

    /// A visit of a client that asks for much and reads nothing for a while.
    async fn visit_slowly(&mut self) -> bool {
        let mut raw = match Raw::connect(self.load.port).await {
            Ok(Ok(raw)) => raw,
            Ok(Err(refused)) => {
                self.load.refused(refused.error.as_deref());
                return false;
            }
            Err(_) => {
                self.load.refused(None);
                return false;
            }
        };
        self.load.count("slow visit");
        if raw.begin(LONG_RESULT).await.is_ok() {
            self.rest(4_000).await;
            if self.dice.below(2) == 0 {
                let ended = raw.read_to_end().await;
                match ended.error {
                    None if ended.open => self.load.count("slow but whole"),
                    state => self.load.failed(state.as_deref(), "a slow reader"),
                }
            }
        }
        true
    }
}
