//! Sessions that append to lists and read them, and write down what they did and were answered.
//!
//! Lists are kept in two ways. Most are a text in a row of `lists`: appending is an upsert, an UPDATE or, where the level
//! has to notice a change in between, a SELECT and an UPDATE that puts the longer text; reading is a read of one row. The
//! others are rows of `elements`: appending is an INSERT behind the greatest place, which has to notice rows that were
//! not there before, and reading is a scan of a range.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::{Config, Statement};

use super::connection::{Connection, Failure};
use super::history::{Element, Key, Level, Op, Outcome, Transaction};
use super::keys::Keys;
use crate::server::Dice;

pub(super) const TABLES: &str = "
    CREATE TABLE lists (k int PRIMARY KEY, list text NOT NULL);
    CREATE TABLE elements (k int, place int, v int NOT NULL, PRIMARY KEY (k, place));
";
const READ: &str = "SELECT list FROM lists WHERE k = $1";
const UPSERT: &str =
    "INSERT INTO lists VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET list = lists.list || ',' || excluded.list";

/// What a transaction read, and the last commit that it saw.
#[derive(Clone, Debug)]
pub(super) struct Note {
    seq: String,
    key: Key,
    list: Vec<Element>,
}

pub(super) struct Workload {
    levels: &'static [Level],
    /// One key in so many is kept in `elements`.
    elements_one_in: Key,
    clock: AtomicU64,
    sessions: AtomicU64,
    first_key: Key,
    keys: Mutex<Keys>,
    history: Mutex<Vec<Transaction>>,
    notes: Mutex<Vec<Note>>,
}

pub(super) fn parse(list: &str) -> Vec<Element> {
    list.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().expect("a number")).collect()
}

impl Workload {
    pub(super) fn new(levels: &'static [Level], elements_one_in: Key, first_key: Key, dice: &mut Dice) -> Workload {
        Workload {
            levels,
            elements_one_in,
            clock: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            first_key,
            keys: Mutex::new(Keys::new(first_key, dice)),
            history: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn is_elements(&self, key: Key) -> bool {
        key.is_multiple_of(self.elements_one_in)
    }

    pub(super) fn history(&self) -> Vec<Transaction> {
        self.history.lock().unwrap().clone()
    }

    pub(super) fn committed(&self) -> usize {
        let history = self.history.lock().unwrap();
        history.iter().filter(|transaction| transaction.outcome == Outcome::Committed).count()
    }

    pub(super) fn notes(&self) -> Vec<Note> {
        self.notes.lock().unwrap().clone()
    }

    /// The first key that this workload has not used.
    pub(super) fn end_key(&self) -> Key {
        self.keys.lock().unwrap().end()
    }

    /// Transactions until the server is gone.
    pub(super) async fn session(&self, config: Config, mut dice: Dice) {
        while let Ok(connection) = Connection::open(&config).await {
            let prepared = match dice.below(2) {
                0 => None,
                _ => match (connection.prepare(READ).await, connection.prepare(UPSERT).await) {
                    (Ok(read), Ok(upsert)) => Some((read, upsert)),
                    _ => return,
                },
            };
            let number = self.sessions.fetch_add(1, Ordering::SeqCst);
            let mut session = Session { workload: self, connection, prepared, dice: dice.fork(), number };
            while session.dice.below(200) > 0 {
                if session.transaction().await.is_err() {
                    return;
                }
            }
            session.leave_midway().await;
        }
    }

    /// One transaction that reads every list, when nobody writes.
    pub(super) async fn read_everything(&self, config: &Config) {
        let connection = Connection::open(config).await.expect("the server is up");
        let keys = self.first_key..self.end_key();
        let invoked = self.tick();
        connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        let mut lists: Vec<Vec<Element>> = vec![Vec::new(); keys.len()];
        let (rows, _) =
            connection.query(&format!("SELECT k, list FROM lists WHERE k >= {}", keys.start)).await.unwrap();
        for row in rows {
            lists[(row[0].parse::<Key>().unwrap() - keys.start) as usize] = parse(&row[1]);
        }
        let elements = format!("SELECT k, v, place FROM elements WHERE k >= {} ORDER BY k, place", keys.start);
        for row in connection.query(&elements).await.unwrap().0 {
            lists[(row[0].parse::<Key>().unwrap() - keys.start) as usize].extend(parse(&row[1]));
        }
        connection.run("COMMIT").await.unwrap();
        let (level, ops) = (Level::RepeatableRead, keys.zip(lists).map(|(key, list)| Op::Read(key, list)).collect());
        let (session, completed, outcome) = (u64::MAX, self.tick(), Outcome::Committed);
        self.history.lock().unwrap().push(Transaction { session, level, ops, invoked, completed, outcome });
    }

    /// Reads again what was read, as of the commit that was the last then.
    pub(super) async fn read_again(&self, connection: &Connection, note: &Note) -> Result<(), Failure> {
        let Note { seq, key, list } = note;
        let point = format!("FOR SYSTEM_TIME AS OF @SEQ:{seq} WHERE k = {key}");
        let sql = match self.is_elements(*key) {
            true => format!("SELECT v FROM elements {point} ORDER BY place"),
            false => format!("SELECT list FROM lists {point}"),
        };
        let again = flat(connection.query(&sql).await?.0);
        assert_eq!(again, *list, "k{key} as of {seq} is not what was read then");
        Ok(())
    }

    /// Reads again what others have noted, until the server is gone.
    pub(super) async fn read_again_and_again(&self, config: Config, mut dice: Dice) {
        let Ok(connection) = Connection::open(&config).await else { return };
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let note = {
                let notes = self.notes.lock().unwrap();
                (!notes.is_empty()).then(|| notes[dice.below(notes.len() as u64) as usize].clone())
            };
            let answered = match note {
                Some(note) => self.read_again(&connection, &note).await,
                None => connection.run("SELECT 1").await,
            };
            if answered.is_err() {
                return;
            }
        }
    }
}

/// A list from the rows it is in.
fn flat(rows: Vec<Vec<String>>) -> Vec<Element> {
    rows.iter().flat_map(|row| parse(&row[0])).collect()
}

struct Session<'a> {
    workload: &'a Workload,
    connection: Connection,
    /// Reading and appending to a list, where this session prepares its statements.
    prepared: Option<(Statement, Statement)>,
    dice: Dice,
    number: u64,
}

/// What a transaction has done so far.
struct Progress {
    level: Level,
    ops: Vec<Op>,
    read_only: bool,
}

impl Session<'_> {
    fn one_in(&mut self, bound: u64) -> bool {
        self.dice.below(bound) == 0
    }

    /// One transaction, written down. An error says that the server is gone.
    async fn transaction(&mut self) -> Result<(), Failure> {
        let level = self.workload.levels[self.dice.below(self.workload.levels.len() as u64) as usize];
        let read_only = self.one_in(4);
        let mut progress = Progress { level, ops: Vec::new(), read_only };
        let invoked = self.workload.tick();
        // Outside a block every statement is a READ COMMITTED transaction.
        let result = if level == Level::ReadCommitted && self.one_in(6) {
            match self.operation(&mut progress).await {
                Ok(()) => Ok(Outcome::Committed),
                Err(Failure::Conflict) => Ok(Outcome::Aborted),
                Err(Failure::Lost) => Err(Outcome::Unknown),
            }
        } else {
            self.block(&mut progress).await
        };
        let (outcome, lost) = match result {
            Ok(outcome) => (outcome, false),
            Err(outcome) => (outcome, true),
        };
        let (session, completed, ops) = (self.number, self.workload.tick(), progress.ops);
        let transaction = Transaction { session, level, ops, invoked, completed, outcome };
        self.workload.history.lock().unwrap().push(transaction);
        if lost { Err(Failure::Lost) } else { Ok(()) }
    }

    /// A transaction block; an error is the outcome of one that the server's death ended.
    async fn block(&mut self, progress: &mut Progress) -> Result<Outcome, Outcome> {
        let statements = self.statements(progress).await;
        let end = match statements {
            Err(Failure::Lost) => return Err(Outcome::Aborted),
            Ok(()) if !self.one_in(32) => "COMMIT",
            _ => "ROLLBACK",
        };
        match (self.connection.run(end).await, end) {
            (Ok(()), "COMMIT") => Ok(Outcome::Committed),
            (Err(Failure::Lost), "COMMIT") => Err(Outcome::Unknown),
            (Err(Failure::Lost), _) => Err(Outcome::Aborted),
            _ => Ok(Outcome::Aborted),
        }
    }

    async fn statements(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        let access = if progress.read_only { "READ ONLY" } else { "READ WRITE" };
        self.connection.run(&format!("BEGIN ISOLATION LEVEL {} {access}", progress.level.sql())).await?;
        // driftdb.commits is read where it changes nothing: in the snapshot of a transaction that commits nothing.
        let noted = progress.read_only && progress.level != Level::ReadCommitted && self.one_in(4);
        let seq = match noted {
            true => Some(self.connection.query("SELECT max(seq) FROM driftdb.commits").await?.0[0][0].clone()),
            false => None,
        };
        for _ in 0..=self.dice.below(5) {
            self.operation(progress).await?;
        }
        if let Some(seq) = seq {
            let notes = progress.ops.iter().filter_map(|op| match op {
                Op::Read(key, list) => Some(Note { seq: seq.clone(), key: *key, list: list.clone() }),
                _ => None,
            });
            self.workload.notes.lock().unwrap().extend(notes);
        }
        Ok(())
    }

    async fn operation(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        if progress.read_only || self.one_in(2) {
            let key = self.workload.keys.lock().unwrap().to_read(&mut self.dice);
            let list = self.read(progress, key).await?;
            progress.ops.push(Op::Read(key, list));
            return Ok(());
        }
        let (key, element) = self.workload.keys.lock().unwrap().next_append(&mut self.dice);
        if !progress.ops.is_empty() && self.one_in(16) {
            progress.ops.push(Op::Undone(key, element));
            self.connection.run("SAVEPOINT before").await?;
            self.append(key, element).await?;
            return self.connection.run("ROLLBACK TO SAVEPOINT before").await;
        }
        if progress.level != Level::ReadCommitted && !self.workload.is_elements(key) && self.one_in(3) {
            let list = self.read(progress, key).await?;
            progress.ops.push(Op::Read(key, list.clone()));
            progress.ops.push(Op::Append(key, element));
            return self.replace(key, list, element).await;
        }
        progress.ops.push(Op::Append(key, element));
        self.append(key, element).await
    }

    async fn read(&mut self, progress: &Progress, key: Key) -> Result<Vec<Element>, Failure> {
        let sql = if self.workload.is_elements(key) {
            match self.one_in(2) {
                true => format!("SELECT v FROM elements WHERE k = {key} ORDER BY place"),
                false => format!("SELECT string_agg(v::text, ',' ORDER BY place) FROM elements WHERE k = {key}"),
            }
        } else if let Some((read, _)) = &self.prepared {
            let rows = self.connection.query_prepared(read, &[&(key as i32)]).await?;
            return Ok(rows.iter().flat_map(|list| parse(list)).collect());
        } else if !progress.read_only && self.one_in(4) {
            let lock = ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"][self.dice.below(4) as usize];
            format!("SELECT list FROM lists WHERE k = {key} FOR {lock}")
        } else {
            format!("SELECT list FROM lists WHERE k = {key}")
        };
        Ok(flat(self.connection.query(&sql).await?.0))
    }

    async fn append(&mut self, key: Key, element: Element) -> Result<(), Failure> {
        if self.workload.is_elements(key) {
            let place = "SELECT coalesce(max(place), 0) + 1 AS place FROM elements";
            let sql =
                format!("INSERT INTO elements SELECT {key}, place, {element} FROM ({place} WHERE k = {key}) AS s");
            return self.connection.run(&sql).await;
        }
        if let Some((_, upsert)) = &self.prepared {
            let element = element.to_string();
            return self.connection.query_prepared(upsert, &[&(key as i32), &element]).await.map(|_| ());
        }
        let update = format!("UPDATE lists SET list = list || ',{element}' WHERE k = {key}");
        if self.one_in(2) && self.connection.query(&update).await?.1 == 1 {
            return Ok(());
        }
        let upsert = UPSERT.replace("$1", &key.to_string()).replace("$2", &format!("'{element}'"));
        self.connection.run(&upsert).await
    }

    /// Appends by writing the list that was read, and one more.
    async fn replace(&mut self, key: Key, mut list: Vec<Element>, element: Element) -> Result<(), Failure> {
        if list.is_empty() {
            return self.append(key, element).await;
        }
        list.push(element);
        let list: Vec<String> = list.iter().map(Element::to_string).collect();
        let sql = format!("UPDATE lists SET list = '{}' WHERE k = {key}", list.join(","));
        let (_, count) = self.connection.query(&sql).await?;
        assert_eq!(count, 1, "{sql}");
        Ok(())
    }

    /// Begins a transaction and drops the connection in it, after which nothing of it may be there.
    async fn leave_midway(mut self) {
        let mut progress = Progress { level: self.workload.levels[0], ops: Vec::new(), read_only: false };
        let invoked = self.workload.tick();
        // Whatever happened: it was not committed.
        let _ = self.statements(&mut progress).await;
        let (session, completed, level) = (self.number, self.workload.tick(), progress.level);
        let (ops, outcome) = (progress.ops, Outcome::Aborted);
        let transaction = Transaction { session, level, ops, invoked, completed, outcome };
        self.workload.history.lock().unwrap().push(transaction);
        self.connection.tear();
    }
}
