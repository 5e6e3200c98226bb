//! The random schedule: two sessions take turns at statements, and the model says what each must come to.
//!
//! The sessions run on one thread, so no statement may wait for the other session: one that would is left out. What a
//! REPEATABLE READ transaction must be refused, because the other session was faster, is not.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb::{Database, OpenOptions, Rows, Session, SqlState, ToValue, Value};
use driftdb_engine::{Engine, EngineOptions};
use driftdb_env::{Env, SimEnv};

use super::state::{Cell, Definition, Locks, Overlay, State, Uid};

/// What went wrong, in words.
pub(super) type Check<T = ()> = Result<T, String>;

/// Random numbers of one step: a step that is left out does not change those of the next.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64, step: u64) -> Random {
        Random(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ step.wrapping_mul(0x2545_F491_4F6C_DD1D))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A transaction block, as the model knows it.
#[derive(Default)]
pub(super) struct Block {
    pub(super) repeatable: bool,
    /// How many commits its snapshot shows, once it has one that stays.
    pub(super) snapshot: Option<usize>,
    pub(super) overlay: Overlay,
    savepoints: Vec<(String, Overlay)>,
    failed: bool,
    locks: Locks,
}

pub(super) struct Client {
    pub(super) session: Session,
    pub(super) block: Option<Block>,
}

pub(super) enum Expect {
    Count(u64),
    Fail(HashSet<SqlState>),
}

/// A statement, what it must come to, and what it changes.
pub(super) struct Planned {
    pub(super) sql: String,
    pub(super) params: Vec<Value>,
    pub(super) expect: Expect,
    pub(super) overlay: Overlay,
    pub(super) locks: Locks,
    /// What RETURNING gives, with the definition that says the types.
    pub(super) returning: Option<(Arc<Definition>, Vec<Vec<Cell>>)>,
}

pub(super) struct Case {
    pub(super) sim: SimEnv,
    /// The directory, where this case uses the real disk.
    real: Option<tempfile::TempDir>,
    options: EngineOptions,
    pub(super) engine: Engine,
    pub(super) db: Database,
    pub(super) clients: Vec<Client>,
    /// The state after each commit, the first before any.
    pub(super) commits: Vec<State>,
    /// How many rows each commit wrote.
    pub(super) written: Vec<u64>,
    pub(super) trace: Vec<String>,
    pub(super) random: Random,
    next_uid: Uid,
    next_row: u64,
}

fn connect(db: &Database) -> Session {
    let session = db.session().unwrap();
    session.execute("SET TIME ZONE 'UTC'", &[]).unwrap();
    session.execute("SET lock_timeout = '5s'", &[]).unwrap();
    session
}

fn open(env: &Env, path: &Path, options: &EngineOptions) -> (Engine, Database) {
    let engine = Engine::open(env.clone(), path, options.clone()).unwrap();
    let options = OpenOptions { application: "model".to_owned(), ..OpenOptions::default() };
    let db = Database::with_engine(engine.clone(), options).unwrap();
    (engine, db)
}

impl Case {
    pub(super) fn new(seed: u64) -> Case {
        let sim = Env::sim(seed);
        let mut options = EngineOptions { background: seed % 4 == 1, ..EngineOptions::default() };
        options.log.segment_bytes = 64 << 10;
        options.store.cache_bytes = 4 << 20;
        options.store.history_cache_bytes = 1 << 20;
        options.store.compaction_fan_in = 2;
        if seed % 3 == 1 {
            // Whoever reads an old state is moved to newer layers at each flush.
            options.store.held_bytes_max = 0;
        }
        options.store.memtable_bytes = if options.background { 8 << 10 } else { 1 << 20 };
        let real = (seed % 32 == 5).then(|| tempfile::tempdir().unwrap());
        let (env, path) = place(&sim, real.as_ref());
        let (engine, db) = open(&env, &path, &options);
        let mut case = Case {
            sim,
            real,
            options,
            engine,
            db,
            clients: Vec::new(),
            commits: vec![State::new()],
            written: vec![0],
            trace: Vec::new(),
            random: Random::new(seed, 0),
            next_uid: 1,
            next_row: 1,
        };
        case.reconnect();
        case
    }

    fn reconnect(&mut self) {
        self.clients = (0..2).map(|_| Client { session: connect(&self.db), block: None }).collect();
    }

    /// A session beside those of the schedule, for looking.
    pub(super) fn observer(&self) -> Session {
        connect(&self.db)
    }

    pub(super) fn fresh_uid(&mut self) -> Uid {
        self.next_uid += 1;
        self.next_uid
    }

    pub(super) fn fresh_row(&mut self) -> u64 {
        self.next_row += 1;
        self.next_row
    }

    pub(super) fn last(&self) -> &State {
        self.commits.last().unwrap()
    }

    /// What a session sees.
    pub(super) fn seen(&self, who: usize) -> State {
        match &self.clients[who].block {
            None => self.last().clone(),
            Some(block) => match block.snapshot.filter(|_| block.repeatable) {
                Some(snapshot) => block.overlay.on(&self.commits[snapshot]),
                None => block.overlay.on(self.last()),
            },
        }
    }

    /// The newest committed state with the session's own changes: what constraints are checked against.
    pub(super) fn newest(&self, who: usize) -> State {
        match &self.clients[who].block {
            None => self.last().clone(),
            Some(block) => block.overlay.on(self.last()),
        }
    }

    pub(super) fn overlay(&self, who: usize) -> Overlay {
        self.clients[who].block.as_ref().map(|block| block.overlay.clone()).unwrap_or_default()
    }

    /// The commit that a session's snapshot ends with, where it is one that stays.
    pub(super) fn snapshot(&self, who: usize) -> Option<usize> {
        self.clients[who].block.as_ref().filter(|block| block.repeatable)?.snapshot
    }

    /// Whether the table has another definition now than in the session's snapshot.
    pub(super) fn is_outdated(&self, who: usize, uid: Uid) -> bool {
        let own = |block: &Block| block.overlay.definitions.contains_key(&uid);
        let (Some(snapshot), false) = (self.snapshot(who), self.clients[who].block.as_ref().is_some_and(own)) else {
            return false;
        };
        let version = |state: &State| state.get(&uid).map(|table| table.definition.version);
        version(&self.commits[snapshot]) != version(self.last())
    }

    /// One step of the schedule.
    pub(super) fn step(&mut self) -> Check {
        self.sim.clock.advance(std::time::Duration::from_micros(*self.random.pick(&[0, 0, 1, 3, 1_000_000])));
        if self.random.one_in(12) {
            return self.accident();
        }
        let who = self.random.below(2);
        match &self.clients[who].block {
            Some(block) if block.failed => {
                let can_go_back = !block.savepoints.is_empty();
                match self.random.below(5) {
                    0 => self.end(who, "COMMIT"),
                    1 => self.end(who, "ROLLBACK"),
                    2 => {
                        let error = self.run(who, "SELECT 1", &[]).err().map(|error| error.state);
                        same("a statement in a failed transaction", &error, &Some(SqlState::IN_FAILED_SQL_TRANSACTION))
                    }
                    _ if can_go_back => self.rollback_to(who),
                    _ => self.end(who, "ROLLBACK"),
                }
            }
            Some(_) => match self.random.below(20) {
                0..=2 => self.end(who, "COMMIT"),
                3 => self.end(who, "ROLLBACK"),
                4..=5 => self.savepoint(who),
                6..=7 => self.rollback_to(who),
                8 => self.release(who),
                9 => self.check_session(who),
                _ => self.statement(who),
            },
            None if self.random.one_in(3) => self.begin(who),
            None => self.statement(who),
        }
    }

    fn begin(&mut self, who: usize) -> Check {
        let repeatable = self.random.one_in(2);
        let sql = if repeatable { "BEGIN ISOLATION LEVEL REPEATABLE READ" } else { "BEGIN" };
        self.run(who, sql, &[]).map_err(|error| error.message)?;
        self.clients[who].block = Some(Block { repeatable, ..Block::default() });
        Ok(())
    }

    fn end(&mut self, who: usize, sql: &str) -> Check {
        let Some(block) = self.clients[who].block.take() else { return Ok(()) };
        let done = self.run(who, sql, &[]);
        if let Err(error) = done {
            return Err(format!("{sql}: {} {}", error.state, error.message));
        }
        if sql == "COMMIT" && !block.failed {
            return self.commit(&block.overlay);
        }
        self.check_count()
    }

    fn commit(&mut self, overlay: &Overlay) -> Check {
        let seq = self.commits.len() as u64;
        if let Some((state, written)) = overlay.commit(self.last(), seq) {
            self.commits.push(state);
            self.written.push(written);
        }
        self.check_count()
    }

    fn check_count(&self) -> Check {
        same("the last commit", &self.db.last_commit().0, &(self.commits.len() as u64 - 1))
    }

    fn savepoint(&mut self, who: usize) -> Check {
        let name = format!("s{}", self.random.below(3));
        self.run(who, &format!("SAVEPOINT {name}"), &[]).map_err(|error| error.message)?;
        let block = self.clients[who].block.as_mut().unwrap();
        block.savepoints.push((name, block.overlay.clone()));
        Ok(())
    }

    fn rollback_to(&mut self, who: usize) -> Check {
        let name = format!("s{}", self.random.below(3));
        let done = self.run(who, &format!("ROLLBACK TO SAVEPOINT {name}"), &[]).map_err(|error| error.state);
        let block = self.clients[who].block.as_mut().unwrap();
        let found = block.savepoints.iter().rposition(|(known, _)| *known == name);
        let expected = found.map(drop).ok_or(SqlState::INVALID_SAVEPOINT);
        if let Some(at) = found {
            block.savepoints.truncate(at + 1);
            block.overlay = block.savepoints[at].1.clone();
        }
        block.failed = found.is_none();
        same("ROLLBACK TO", &done.map(drop), &expected)
    }

    fn release(&mut self, who: usize) -> Check {
        let name = format!("s{}", self.random.below(3));
        let done = self.run(who, &format!("RELEASE SAVEPOINT {name}"), &[]).map_err(|error| error.state);
        let block = self.clients[who].block.as_mut().unwrap();
        let found = block.savepoints.iter().rposition(|(known, _)| *known == name);
        match found {
            Some(at) => block.savepoints.truncate(at),
            None => block.failed = true,
        }
        same("RELEASE", &done.map(drop), &found.map(drop).ok_or(SqlState::INVALID_SAVEPOINT))
    }

    fn statement(&mut self, who: usize) -> Check {
        let planned = match self.random.below(32) {
            0..=1 => self.plan_create_table(who),
            2 => self.plan_drop_table(who),
            3..=7 => self.plan_alter(who),
            8..=9 => self.plan_create_index(who),
            10 => self.plan_drop_index(who),
            11 => self.plan_truncate(who),
            12..=20 => self.plan_insert(who),
            21..=26 => self.plan_update(who),
            _ => self.plan_delete(who),
        };
        match planned {
            Some(planned) => self.perform(who, planned),
            None => Ok(()),
        }
    }

    fn perform(&mut self, who: usize, planned: Planned) -> Check {
        let other = self.clients[1 - who].block.as_ref().map(|block| &block.locks);
        if other.is_some_and(|other| planned.locks.collide(other)) {
            return Ok(());
        }
        self.note_statement(who);
        if let Some(block) = &mut self.clients[who].block {
            block.locks.add(&planned.locks);
        }
        let found = self.run_counted(who, &planned);
        match (found, planned.expect) {
            (Ok((count, rows)), Expect::Count(expected)) => {
                same("rows written", &count, &expected)?;
                if let (Some(rows), Some((definition, expected))) = (rows, &planned.returning) {
                    let found = cells(definition, &rows, 0)?;
                    same("RETURNING", &sorted(found), &sorted(expected.clone()))?;
                }
                match &mut self.clients[who].block {
                    Some(block) => {
                        block.overlay = planned.overlay;
                        Ok(())
                    }
                    None => self.commit(&planned.overlay),
                }
            }
            (Err(error), Expect::Fail(states)) if states.contains(&error.state) => {
                if let Some(block) = &mut self.clients[who].block {
                    block.failed = true;
                }
                self.check_count()
            }
            (Ok((count, _)), Expect::Fail(states)) => Err(format!("{count} rows instead of the error {states:?}")),
            (Err(error), Expect::Fail(states)) => {
                Err(format!("{} {} instead of {states:?}", error.state, error.message))
            }
            (Err(error), Expect::Count(count)) => {
                Err(format!("{} {} {:?} instead of {count} rows", error.state, error.message, error.detail))
            }
        }
    }

    /// A statement that reads or writes begins: a snapshot that stays is taken by the first.
    pub(super) fn note_statement(&mut self, who: usize) {
        let last = self.commits.len() - 1;
        if let Some(block) = &mut self.clients[who].block {
            block.snapshot.get_or_insert(last);
        }
    }

    fn run_counted(&mut self, who: usize, planned: &Planned) -> driftdb::Result<(u64, Option<Rows>)> {
        if planned.returning.is_some() {
            let rows = self.run(who, &planned.sql, &planned.params)?;
            return Ok((rows.len() as u64, Some(rows)));
        }
        let params: Vec<&dyn ToValue> = planned.params.iter().map(|value| value as &dyn ToValue).collect();
        let done = self.clients[who].session.execute(&planned.sql, &params);
        self.note(who, &planned.sql, &planned.params, done.as_ref().map(|count| *count as usize));
        done.map(|count| (count, None))
    }

    pub(super) fn run(&mut self, who: usize, sql: &str, params: &[Value]) -> driftdb::Result<Rows> {
        let given: Vec<&dyn ToValue> = params.iter().map(|value| value as &dyn ToValue).collect();
        let done = self.clients[who].session.query(sql, &given);
        self.note(who, sql, params, done.as_ref().map(Rows::len));
        done
    }

    fn note(&mut self, who: usize, sql: &str, params: &[Value], done: Result<usize, &driftdb::Error>) {
        let params = if params.is_empty() { String::new() } else { format!(" {params:?}") };
        let done = match done {
            Ok(count) => count.to_string(),
            Err(error) => format!("{} {}", error.state, error.message),
        };
        let seq = self.db.last_commit().0;
        self.trace.push(format!("{}: {sql};{params} -- {done} @{seq}", ["a", "b"][who]));
    }

    /// What may happen between statements.
    fn accident(&mut self) -> Check {
        match self.random.below(8) {
            0..=2 => {
                let who = self.random.below(2);
                if self.clients[who].block.as_ref().is_some_and(|block| block.failed) {
                    return Ok(());
                }
                self.run(who, "CHECKPOINT", &[]).map_err(|error| error.message)?;
                Ok(())
            }
            3..=4 => {
                self.trace.push("-- compaction".to_owned());
                while self.engine.store().compact().map_err(|error| format!("{error}"))? {}
                Ok(())
            }
            5 => self.reopen(true),
            6 => self.reopen(false),
            _ => self.check_some_stamps(),
        }
    }

    /// Closes the database or, not in order, cuts the power, and opens it again. Transactions that ran are gone.
    pub(super) fn reopen(&mut self, in_order: bool) -> Check {
        self.trace.push(if in_order { "-- close and open" } else { "-- power cut and open" }.to_owned());
        self.clients.clear();
        if in_order {
            self.db.close().map_err(|error| error.message)?;
        }
        // The last handles of the old engine end its threads.
        let elsewhere = Env::sim(0);
        (self.engine, self.db) = open(&elsewhere.env, Path::new("/elsewhere"), &self.options);
        self.sim.disk.crash();
        let (env, path) = place(&self.sim, self.real.as_ref());
        (self.engine, self.db) = open(&env, &path, &self.options);
        self.reconnect();
        self.check_count()
    }
}

fn place(sim: &SimEnv, real: Option<&tempfile::TempDir>) -> (Env, PathBuf) {
    match real {
        Some(real) => (Env { clock: Arc::clone(&sim.env.clock), ..Env::real() }, real.path().join("data")),
        None => (sim.env.clone(), PathBuf::from("/db")),
    }
}

pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Check {
    if found == expected { Ok(()) } else { Err(format!("{what}:\n   found {found:?}\nexpected {expected:?}")) }
}

pub(super) fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

/// Rows as texts: the live columns of `definition`, and after them `more` columns of whole numbers or text.
pub(super) fn cells(definition: &Definition, rows: &Rows, more: usize) -> Check<Vec<Vec<Cell>>> {
    let names: Vec<&str> = definition.live().map(|(_, column)| column.name.as_str()).collect();
    let found: Vec<&str> = rows.columns().collect();
    same("columns", &found[..found.len().saturating_sub(more)].to_vec(), &names)?;
    let other = |value: &Value| match value {
        Value::Null => None,
        Value::Int8(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    };
    let row = |row: &[Value]| {
        let kinds = definition.live().map(|(_, column)| column.kind());
        let values: Vec<Cell> = kinds.zip(row).map(|(kind, value)| kind.cell(value)).collect();
        let rest = row.iter().skip(values.len()).map(other).collect::<Vec<_>>();
        values.into_iter().chain(rest).collect()
    };
    Ok(rows.iter().map(row).collect())
}
