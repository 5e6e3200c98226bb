//! Money that moves between accounts: whatever is added up, at any level, now or as of any commit, comes to what there
//! was in the beginning. And owners who have money in several rows and may overdraw one as long as the others cover it,
//! which snapshots alone do not keep (write skew) and SERIALIZABLE does.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio_postgres::Config;

use super::connection::{Connection, Failure};
use super::history::Level;
use super::{MIXES, STANDSTILL, runtime};
use crate::client::{Client, config};
use crate::server::{Dice, PASSWORD, Server, setting};

const CLIENTS: usize = 64;
const READERS: usize = 2;
const ACCOUNTS: u64 = 100;
const OWNERS: u64 = 20;
/// What is in each account in the beginning.
const DEPOSIT: i64 = 100;
const TOTAL: i64 = DEPOSIT * ACCOUNTS as i64;

/// What all clients of one sort share.
struct Load {
    to: Config,
    /// The levels of each phase; a transaction takes one of them.
    mixes: &'static [&'static [Level]],
    phase: AtomicUsize,
    connected: Barrier,
    /// How many transactions have been committed in this phase.
    committed: AtomicU64,
}

impl Load {
    /// Makes a transaction of `statements` until the server is gone, rolling back what is in another's way.
    async fn repeat(&self, mut dice: Dice, statements: impl Statements) {
        let connection = Connection::open(&self.to).await.expect("the server is up");
        self.connected.wait().await;
        loop {
            let levels = self.mixes[self.phase.load(Ordering::SeqCst)];
            let level = levels[dice.below(levels.len() as u64) as usize];
            let transaction = async {
                connection.run(&format!("BEGIN ISOLATION LEVEL {}", level.sql())).await?;
                statements(&connection, level, &mut dice).await?;
                connection.run("COMMIT").await
            };
            match transaction.await {
                Ok(()) => {
                    self.committed.fetch_add(1, Ordering::SeqCst);
                }
                Err(Failure::Conflict) if connection.run("ROLLBACK").await.is_ok() => {}
                Err(_) => return,
            }
        }
    }

    /// Lets a phase last for some time, and until something has been done in it.
    async fn pass(&self, time: Duration, readers: &Load) {
        for (phase, levels) in self.mixes.iter().enumerate() {
            for load in [self, readers] {
                load.phase.store(phase, Ordering::SeqCst);
                load.committed.store(0, Ordering::SeqCst);
            }
            tokio::time::sleep(time).await;
            let committed = || [self, readers].map(|load| load.committed.load(Ordering::SeqCst));
            let began = Instant::now();
            while committed().contains(&0) {
                assert!(began.elapsed() < STANDSTILL, "{levels:?}: {:?} transactions in {STANDSTILL:?}", committed());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let [written, read] = committed();
            println!("{levels:?}: {written} written, {read} read");
        }
    }
}

/// The statements of a transaction.
trait Statements: AsyncFn(&Connection, Level, &mut Dice) -> Result<(), Failure> {}
impl<F: AsyncFn(&Connection, Level, &mut Dice) -> Result<(), Failure>> Statements for F {}

async fn number(connection: &Connection, sql: &str) -> Result<i64, Failure> {
    Ok(connection.query(sql).await?.0[0][0].parse().expect("a number"))
}

async fn transfer(connection: &Connection, level: Level, dice: &mut Dice) -> Result<(), Failure> {
    let (one, other) = (dice.below(ACCOUNTS), dice.below(ACCOUNTS - 1));
    let other = if other >= one { other + 1 } else { other };
    let amount = dice.below(20) as i64 - 10;
    // In the order of ids nobody waits for whom waits for it.
    for (id, amount) in [(one.min(other), -amount), (one.max(other), amount)] {
        let sql = if level == Level::ReadCommitted {
            format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {id}")
        } else {
            let balance = number(connection, &format!("SELECT balance FROM accounts WHERE id = {id}")).await?;
            format!("UPDATE accounts SET balance = {} WHERE id = {id}", balance + amount)
        };
        connection.run(&sql).await?;
    }
    Ok(())
}

/// Adds up all accounts, in one statement or, where the snapshot stays, in two.
async fn add_up(connection: &Connection, level: Level, dice: &mut Dice) -> Result<(), Failure> {
    let mut total = 0;
    if level == Level::ReadCommitted || dice.below(2) == 0 {
        total += number(connection, "SELECT sum(balance) FROM accounts").await?;
    } else {
        for condition in ["id < 50", "id >= 50"] {
            total += number(connection, &format!("SELECT sum(balance) FROM accounts WHERE {condition}")).await?;
        }
    }
    assert_eq!(total, TOTAL, "{level:?}");
    Ok(())
}

/// Takes what an owner has, or puts something in: into one of two rows, or as a row of its own, so that what a
/// concurrent transaction must not miss are changes of rows that were read, or rows that were not there.
async fn withdraw(connection: &Connection, _: Level, dice: &mut Dice) -> Result<(), Failure> {
    let owner = dice.below(OWNERS);
    let change = |covered: i64| if covered > 0 { -covered } else { DEPOSIT };
    if dice.below(2) == 0 {
        let covered = number(connection, &format!("SELECT sum(balance) FROM entries WHERE owner = {owner}")).await?;
        let (n, change) = (dice.below(1 << 31), change(covered));
        return connection.run(&format!("INSERT INTO entries VALUES ({owner}, {n}, {change})")).await;
    }
    let mut covered = 0;
    for account in 0..2 {
        let sql = format!("SELECT balance FROM pairs WHERE owner = {owner} AND account = {account}");
        covered += number(connection, &sql).await?;
    }
    let condition = format!("owner = {owner} AND account = {}", dice.below(2));
    connection.run(&format!("UPDATE pairs SET balance = balance + {} WHERE {condition}", change(covered))).await
}

/// Finds the owner with the least.
async fn find_overdrawn(connection: &Connection, level: Level, dice: &mut Dice) -> Result<(), Failure> {
    let table = if dice.below(2) == 0 { "pairs" } else { "entries" };
    let sums = format!("SELECT sum(balance) AS covered FROM {table} GROUP BY owner");
    let least = number(connection, &format!("SELECT min(covered) FROM ({sums}) AS s")).await?;
    assert!(least >= 0, "{level:?}: an owner has {least} in {table}");
    Ok(())
}

/// The sums of a table's balances after each commit, by the first column named in `group`.
fn sums(client: &mut Client, table: &str, group: &str) -> BTreeMap<i64, HashMap<String, i64>> {
    let versions = client.query(&format!(
        "SELECT {group}, balance, _from_seq, _to_seq FROM driftdb.history('{table}') WHERE op <> 'delete'"
    ));
    let mut changes: BTreeMap<i64, Vec<(String, i64)>> = BTreeMap::new();
    for version in versions {
        let [group, balance, from, to] = version.as_slice() else { panic!("{version:?}") };
        let parse = |text: &String| text.parse::<i64>().expect("a number");
        let (group, balance) = (group.clone().expect("a group"), balance.as_ref().map(parse).expect("a balance"));
        if let Some(to) = to.as_ref().map(parse) {
            changes.entry(to).or_default().push((group.clone(), -balance));
        }
        changes.entry(from.as_ref().map(parse).expect("a commit")).or_default().push((group, balance));
    }
    let mut sums: HashMap<String, i64> = HashMap::new();
    changes
        .into_iter()
        .map(|(seq, changes)| {
            for (group, change) in changes {
                *sums.entry(group).or_default() += change;
            }
            (seq, sums.clone())
        })
        .collect()
}

struct Bank {
    place: tempfile::TempDir,
    dice: Dice,
}

impl Bank {
    fn new(test: &str) -> Bank {
        Bank { place: tempfile::tempdir().unwrap(), dice: Dice::new(test) }
    }

    fn start(&self) -> Server {
        Server::start_trusting(&self.place.path().join("data"))
    }

    /// Runs clients until the server is killed in the last phase, and starts it again.
    fn run(
        &mut self,
        server: Server,
        mixes: &'static [&'static [Level]],
        clients: usize,
        write: impl Statements,
        read: impl Statements,
    ) -> Server {
        let time = Duration::from_secs(setting("SECONDS", 1, 20));
        let load = |clients: usize| Load {
            to: config(&server, PASSWORD),
            mixes,
            phase: AtomicUsize::new(0),
            connected: Barrier::new(clients + 1),
            committed: AtomicU64::new(0),
        };
        let (writing, reading) = (load(clients), load(READERS));
        // All in one task: clients wait most of the time.
        runtime().block_on(async {
            let writers: Vec<_> = (0..clients).map(|_| writing.repeat(self.dice.fork(), &write)).collect();
            let readers: Vec<_> = (0..READERS).map(|_| reading.repeat(self.dice.fork(), &read)).collect();
            let kill = async {
                futures::join!(writing.connected.wait(), reading.connected.wait());
                writing.pass(time, &reading).await;
                server.kill();
            };
            futures::join!(futures::future::join_all(writers), futures::future::join_all(readers), kill);
        });
        self.start()
    }
}

#[test]
fn nothing_is_made_or_lost_at_any_commit() {
    let samples = setting("ROUNDS", 20, 200);
    let mut bank = Bank::new("bank");
    let server = bank.start();
    Client::connect(&server).query(&format!(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
         INSERT INTO accounts SELECT i, {DEPOSIT} FROM generate_series(0, {}) AS s(i)",
        ACCOUNTS - 1
    ));
    let server = bank.run(server, &MIXES, CLIENTS, transfer, add_up);
    let mut client = Client::connect(&server);
    assert_eq!(client.number("SELECT sum(balance) FROM accounts"), TOTAL, "after the kill");
    let sums = sums(&mut client, "accounts", "'all'");
    for (seq, sums) in &sums {
        assert_eq!(sums["all"], TOTAL, "after commit {seq}");
    }
    let seqs: Vec<&i64> = sums.keys().collect();
    for _ in 0..samples {
        let seq = seqs[bank.dice.below(seqs.len() as u64) as usize];
        let sql = format!("SELECT sum(balance) FROM accounts FOR SYSTEM_TIME AS OF @SEQ:{seq}");
        assert_eq!(client.number(&sql), TOTAL, "as of {seq}");
    }
    server.stop();
}

#[test]
fn what_covers_an_overdraft_is_not_withdrawn_at_the_same_time() {
    let mut bank = Bank::new("pairs");
    let server = bank.start();
    Client::connect(&server).query(&format!(
        "CREATE TABLE pairs (owner int, account int, balance bigint NOT NULL, PRIMARY KEY (owner, account));
         CREATE TABLE entries (owner int, n bigint, balance bigint NOT NULL, PRIMARY KEY (owner, n));
         INSERT INTO pairs SELECT i / 2, i % 2, {DEPOSIT} FROM generate_series(0, {}) AS s(i);
         INSERT INTO entries SELECT i, -1, {DEPOSIT} FROM generate_series(0, {}) AS s(i)",
        OWNERS * 2 - 1,
        OWNERS - 1
    ));
    let server = bank.run(server, &[&[Level::Serializable]], CLIENTS, withdraw, find_overdrawn);
    let mut client = Client::connect(&server);
    for table in ["pairs", "entries"] {
        for (seq, sums) in sums(&mut client, table, "owner") {
            assert_eq!(sums.len() as u64, OWNERS);
            assert!(sums.values().all(|sum| *sum >= 0), "{table} after commit {seq}: {sums:?}");
        }
    }
    server.stop();
}
