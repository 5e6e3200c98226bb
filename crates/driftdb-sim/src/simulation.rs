//! The run: one step after the other, and what is to come of each.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftdb_engine::{Cancel, CommitMeta, Engine, EngineOptions, Isolation, Transaction};
use driftdb_env::{Clock as _, Env, Pause, SimEnv};
use driftdb_store::StoreView;
use driftdb_types::{CommitSeq, Error, SqlState, TableSchema};
use parking_lot::Mutex;

use crate::compare;
use crate::dice::Dice;
use crate::fault::{FAULTS, Fault, WRONG_BYTES};
use crate::halt::{Halt, Result, hold, wrong};
use crate::model::{Model, State, Table};
use crate::rot;
use crate::tally::Tally;
use crate::work::{self, Names, Outcome, Work};

const DIR: &str = "/db";
/// How many readers stay at a time.
const READERS_MAX: usize = 3;
/// How many reads a disk that gives wrong bytes is asked for.
const WRONG_READS: usize = 8;
/// How often an opening may fail before it is tried without a fault.
const OPENINGS_MAX: u32 = 3;
/// How the store says that a sync of its files has failed: it writes none of them any more.
const UNTIL_RESTART: &str = "until the database is started again";
const DAY_US: usize = 86_400_000_000;

/// A run that went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Failure {
    /// The seed: with as many steps or more, the same happens again.
    pub seed: u64,
    /// The step in which it went wrong, the first being 0.
    pub step: u32,
    /// What was done, as of the last restart.
    pub story: Vec<String>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let story: String = self.story.iter().map(|line| format!("\n  {line}")).collect();
        write!(f, "seed {}, step {}: {}{story}", self.seed, self.step, self.what)
    }
}

/// Runs `steps` steps that follow from `seed`, then a last restart and a comparison of everything.
pub fn simulate(seed: u64, steps: u32) -> Result<Tally, Failure> {
    let mut step = 0;
    let mut simulation = Simulation::new(seed);
    let mut run = || -> Result<()> {
        simulation.open()?;
        while step < steps {
            simulation.step()?;
            step += 1;
        }
        simulation.restart(End::Close)?;
        compare::everything(simulation.engine()?, &simulation.model)
    };
    let result = panic::catch_unwind(AssertUnwindSafe(&mut run))
        .unwrap_or_else(|panicked| Err(Halt::Wrong(format!("a panic: {}", panic_message(panicked.as_ref())))));
    let story = std::mem::take(&mut simulation.story);
    let failure = |what| Failure { seed, step, story, what };
    match result {
        Ok(()) => Ok(simulation.finish()),
        Err(Halt::Wrong(what)) => Err(failure(what)),
        Err(Halt::Refused(error)) => Err(failure(format!("an error without a fault: {error:?}"))),
    }
}

fn panic_message(panicked: &(dyn Any + Send)) -> &str {
    let text = panicked.downcast_ref::<&str>().copied();
    text.or_else(|| panicked.downcast_ref::<String>().map(String::as_str)).unwrap_or("of another kind")
}

/// How the engine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In good order, and then the power goes.
    Close,
    /// The process is killed; the system lives on.
    Kill,
    /// The power goes.
    PowerCut,
}

struct Simulation {
    sim: SimEnv,
    options: EngineOptions,
    engine: Option<Engine>,
    dice: Dice,
    model: Model,
    names: Names,
    /// Transactions that only read, and what they are to see.
    readers: Vec<(Transaction, State)>,
    /// A fault has struck since the last restart.
    troubled: bool,
    tally: Tally,
    story: Vec<String>,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let dice = Dice::new(seed);
        let mut options = EngineOptions { background: false, ..EngineOptions::default() };
        options.log.segment_bytes = 16 << 10;
        options.store.compaction_fan_in = 2;
        // So little that most reads reach the disk, or the usual, so that few do.
        options.store.cache_bytes = if dice.one_in(2) { 64 << 10 } else { 8 << 20 };
        options.store.history_cache_bytes = if dice.one_in(2) { 16 << 10 } else { 8 << 20 };
        if dice.one_in(2) {
            // Whoever reads an old state is moved to newer layers at each flush.
            options.store.held_bytes_max = 0;
        }
        Simulation {
            sim: Env::sim(dice.seed()),
            options,
            engine: None,
            dice,
            model: Model::new(),
            names: Names::default(),
            readers: Vec::new(),
            troubled: false,
            tally: Tally::default(),
            story: Vec::new(),
        }
    }

    fn engine(&self) -> Result<&Engine> {
        self.engine.as_ref().ok_or_else(|| Halt::Wrong("no engine is open".to_owned()))
    }

    fn note(&mut self, what: impl Into<String>) {
        self.story.push(what.into());
    }

    fn step(&mut self) -> Result<()> {
        let passed = Duration::from_micros(self.dice.below(2_000_000) as u64);
        self.sim.clock.advance(passed);
        self.go_on()?;
        match self.dice.below(37) {
            0..=12 => self.under_fault("transaction", Simulation::transact),
            13..=15 => self.under_fault("flush", |run| Ok(run.engine()?.store().flush().map(|_| ())?)),
            16..=17 => self.under_fault("compaction", Simulation::compact),
            18..=19 => self.under_fault("flush in steps", Simulation::work_in_steps),
            20..=22 => self.under_fault("reads", Simulation::check_some),
            23 => self.under_fault("reader", Simulation::hold_reader),
            24 => self.under_fault("reader's end", Simulation::let_reader_go),
            25 => self.restart(End::Close),
            26 => self.restart(End::Kill),
            27 => self.restart(End::PowerCut),
            28 => self.jump_clock(),
            29 => self.fill_disk(),
            30 => self.rot(),
            31..=33 => self.under_fault("garbage collection", Simulation::collect),
            // Each writes the base anew.
            34 if self.dice.one_in(3) => self.erase(),
            35 => self.read_wrong_bytes(),
            _ => {
                self.note("everything is read");
                let result = compare::everything(self.engine()?, &self.model);
                self.excuse(result, None)
            }
        }
    }

    /// One time in four, something that is to go wrong.
    fn some_fault(&self) -> Option<Fault> {
        if self.dice.one_in(4) { self.dice.pick(FAULTS).copied() } else { None }
    }

    /// Does it with this fault on the way; the fault, if it has struck.
    fn with_fault<T>(&mut self, fault: Option<Fault>, act: impl FnOnce(&mut Simulation) -> T) -> (T, Option<Fault>) {
        if let Some(fault) = fault {
            fault.arm(&self.dice, &self.sim.disk);
        }
        let result = act(self);
        (result, fault.filter(|_| !self.sim.disk.clear_fault()))
    }

    /// A step, perhaps with a fault on the way, and what comes of that.
    fn under_fault(&mut self, what: &str, act: impl FnOnce(&mut Simulation) -> Result<()>) -> Result<()> {
        let fault = self.some_fault();
        self.under(fault, what, act)
    }

    fn under(
        &mut self,
        fault: Option<Fault>,
        what: &str,
        act: impl FnOnce(&mut Simulation) -> Result<()>,
    ) -> Result<()> {
        let (result, struck) = self.with_fault(fault, act);
        self.note(match struck {
            Some(fault) => format!("{what}: {}", fault.name),
            None => what.to_owned(),
        });
        if let Some(fault) = struck {
            self.tally.count(fault.name);
        }
        self.tally.count(what);
        self.excuse(result, struck)?;
        self.troubled |= struck.is_some();
        self.go_on()?;
        // What a fault left in the files shows when they are opened again.
        match struck {
            Some(_) if self.dice.one_in(4) => {
                let end = if self.dice.one_in(2) { End::Kill } else { End::PowerCut };
                self.restart(end)
            }
            _ => Ok(()),
        }
    }

    /// Passes over an error that the fault explains.
    fn excuse(&mut self, result: Result<()>, struck: Option<Fault>) -> Result<()> {
        match (result, struck) {
            (Err(Halt::Refused(error)), Some(fault)) if fault.excuses(&error) => {
                self.note(format!("  {error}"));
                Ok(())
            }
            (Err(Halt::Refused(error)), Some(fault)) => wrong!("\"{}\" leads to {error:?}", fault.name),
            (Err(Halt::Refused(error)), None) if self.troubled && error.message.contains(UNTIL_RESTART) => {
                self.note(format!("  {error}"));
                self.restart(End::Kill)
            }
            (result, _) => result,
        }
    }

    /// Starts again what cannot go on after a fault.
    fn go_on(&mut self) -> Result<()> {
        if self.sim.disk.is_down() {
            return self.restart(End::PowerCut);
        }
        let engine = self.engine()?;
        let store = engine.store();
        // A flush that failed is tried again, which the server does by itself.
        let room = store.wait_for_room(Duration::ZERO).or_else(|_| store.flush().map(drop));
        let Some(error) = engine.read_only_reason().or_else(|| room.err().map(Error::from)) else {
            hold!(self.model.unsettled.is_none(), "a commit failed, nobody knows how, and the engine takes the next");
            return Ok(());
        };
        hold!(self.troubled, "commits are refused without a fault: {error:?}");
        self.restart(if self.dice.one_in(2) { End::Kill } else { End::PowerCut })
    }

    fn transact(&mut self) -> Result<()> {
        let before = self.model.state();
        let engine = self.engine()?.clone();
        let work = Work::begin(&engine, before.clone(), &self.dice, &mut self.names)?;
        match work.run(&before)? {
            Outcome::Nothing => Ok(()),
            Outcome::Committed(stamp, state) => {
                let next = self.model.last();
                hold!(stamp.seq == next.seq.next() && stamp > next, "commit {stamp:?} after {next:?}");
                self.tally.count("commits");
                self.model.push(stamp, state);
                Ok(())
            }
            Outcome::Failed(error, state) => {
                if engine.read_only_reason().is_some() || self.sim.disk.is_down() {
                    self.model.unsettled = Some(state);
                }
                Err(error.into())
            }
        }
    }

    /// Moves the horizons of tables that have a retention, no further than that and the readers let them.
    fn collect(&mut self) -> Result<()> {
        let engine = self.engine()?.clone();
        let (state, now_us) = (self.model.state(), self.sim.clock.now_us());
        let horizon_of = |table: &Table| engine.view().horizon(table.schema.id);
        let before: Vec<CommitSeq> = state.values().map(horizon_of).collect();
        let collected = engine.collect_garbage();
        self.adopt_commits(&engine, &state)?;
        if let Err(error) = collected {
            if engine.read_only_reason().is_some() || self.sim.disk.is_down() {
                self.model.unsettled = Some(state);
            }
            return Err(error.into());
        }
        let held = self.readers.iter().map(|(reader, _)| reader.stamp().seq).min().unwrap_or(CommitSeq::MAX);
        for (table, before) in state.values().zip(before) {
            let horizon = horizon_of(table);
            let kept_us = table.schema.retention.and_then(|retention| retention.before(now_us));
            // One that has not moved now may be of a time before the clock was set back.
            if let (Some(kept_us), true) = (kept_us, horizon > before) {
                let reach = self.model.seq_at(kept_us).min(held);
                hold!(horizon <= reach, "table {} is kept from {horizon} on, not {reach}", table.schema.name);
                self.tally.count("horizons moved");
            }
        }
        Ok(())
    }

    /// Erases some rows of a table that are there or were once.
    fn erase(&mut self) -> Result<()> {
        // It waits for who reads, and a store that is to be put in order fails it.
        while !self.readers.is_empty() {
            self.let_reader_go()?;
        }
        let tables: Vec<Arc<TableSchema>> = self.model.state().into_values().map(|table| table.schema).collect();
        let Some(table) = self.dice.pick(&tables).filter(|_| !self.troubled) else { return Ok(()) };
        let ever = self.model.keys_ever().remove(&table.id).unwrap_or_default();
        let keys: BTreeSet<Bytes> = ever.into_iter().filter(|_| self.dice.one_in(4)).collect();
        self.note(format!("{} rows of table {} are erased", keys.len(), table.name));
        let engine = self.engine()?.clone();
        engine.erase(table, &keys, &CommitMeta::default(), &Arc::new(Cancel::new()))?;
        self.model.erase(table.id, &keys);
        let state = self.model.state();
        self.adopt_commits(&engine, &state)?;
        self.tally.count_many("rows erased", keys.len() as u64);
        compare::everything(self.engine()?, &self.model)
    }

    /// Takes in commits of the database's own, which change nothing of the tables.
    fn adopt_commits(&mut self, engine: &Engine, state: &State) -> Result<()> {
        let view = engine.view();
        while self.model.last() < view.stamp() {
            let next = self.model.last().seq.next();
            let Some(record) = engine.commit_record(&view, next)? else { wrong!("there is no commit {next}") };
            self.model.push(record.stamp, state.clone());
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        while self.engine()?.store().compact()? {}
        Ok(())
    }

    /// A flush or a compaction that stops in its midst while other things go on; or the power is cut then.
    fn work_in_steps(&mut self) -> Result<()> {
        // After a fault it may have to open the base anew first. Readers wait for that, and would wait for ever.
        if self.troubled {
            return Ok(());
        }
        let (engine, disk, pause) = (self.engine()?.clone(), self.sim.disk.clone(), Pause::default());
        let result: Arc<Mutex<Result<bool>>> = Arc::new(Mutex::new(Ok(false)));
        let compacts = self.dice.one_in(3);
        let n = 1 + self.dice.below(40) as u64;
        let task = {
            let (pause, result) = (pause.clone(), Arc::clone(&result));
            move || {
                disk.pause_after(n, &pause);
                let done = if compacts { engine.store().compact() } else { engine.store().flush() };
                *result.lock() = done.map_err(Halt::from);
                drop(engine);
                pause.pass();
            }
        };
        let thread = self.sim.env.spawner.spawn("in steps", Box::new(task));
        let thread = thread.map_err(|error| Halt::Wrong(error.to_string()))?;
        let paused = pause.wait();
        let meanwhile = if paused { self.meanwhile() } else { Ok(()) };
        let cut = paused && self.dice.one_in(4);
        if cut {
            self.sim.disk.cut_power();
        }
        pause.pass();
        if let Err(panicked) = thread.join() {
            wrong!("{panicked}");
        }
        meanwhile?;
        let done = result.lock().clone();
        // Without power it fails, or has nothing left to do.
        if cut { Ok(()) } else { done.map(drop) }
    }

    fn meanwhile(&mut self) -> Result<()> {
        self.tally.count("pauses");
        for _ in 0..=self.dice.below(4) {
            match self.dice.below(8) {
                0 => self.check_some()?,
                1 => self.hold_reader()?,
                2 => self.let_reader_go()?,
                _ => self.transact()?,
            }
        }
        Ok(())
    }

    /// The newest view, at a few stamps.
    fn check_some(&mut self) -> Result<()> {
        let view = compare::newest(self.engine()?, &self.model)?;
        self.check_view(&view)
    }

    /// A view at a few stamps: its last, and some others.
    fn check_view(&self, view: &Arc<StoreView>) -> Result<()> {
        let last = view.stamp().seq;
        let some = (0..4).map(|_| CommitSeq(self.dice.below(last.0 as usize + 1) as u64));
        let seqs: Vec<CommitSeq> = some.chain([last]).collect();
        compare::at_stamps(self.engine()?, view, &self.model, seqs)
    }

    /// For a while the disk gives wrong bytes, now and then.
    fn read_wrong_bytes(&mut self) -> Result<()> {
        for _ in 0..WRONG_READS {
            let fault = self.dice.pick(WRONG_BYTES).copied();
            self.under(fault, "reads", Simulation::check_some)?;
        }
        Ok(())
    }

    fn hold_reader(&mut self) -> Result<()> {
        if self.readers.len() < READERS_MAX {
            let reader = work::begin(self.engine()?, Isolation::RepeatableRead)?;
            self.readers.push((reader, self.model.state()));
        }
        Ok(())
    }

    fn let_reader_go(&mut self) -> Result<()> {
        let Some((reader, state)) = self.readers.pop() else { return Ok(()) };
        compare::transaction(&reader, &state, &self.model.keys_ever())?;
        self.check_view(reader.view())
    }

    fn jump_clock(&mut self) -> Result<()> {
        let jump_us = self.dice.below(2 * DAY_US) as i64 - DAY_US as i64;
        self.sim.clock.set_now_us(self.sim.clock.now_us() + jump_us);
        self.tally.count("clock jumps");
        self.note(format!("the clock jumps by {jump_us} µs"));
        Ok(())
    }

    /// Little space is left for some steps; then there is room again, and all goes on.
    fn fill_disk(&mut self) -> Result<()> {
        let room = self.dice.below(60_000) as u64;
        self.sim.disk.set_capacity_bytes(Some(self.sim.disk.used_bytes() + room));
        let was_troubled = std::mem::replace(&mut self.troubled, true);
        self.note(format!("{room} bytes are free"));
        for _ in 0..=self.dice.below(8) {
            let result = match self.dice.below(6) {
                0 => self.engine()?.store().flush().map(drop).map_err(Halt::from),
                1 => self.compact(),
                _ => self.transact(),
            };
            let Err(error) = result else { continue };
            let Halt::Refused(refused) = &error else { return Err(error) };
            if was_troubled && refused.message.contains(UNTIL_RESTART) {
                self.sim.disk.set_capacity_bytes(None);
                return self.restart(End::Kill);
            }
            hold!(refused.state == SqlState::DISK_FULL, "a full disk leads to {refused:?}");
            self.tally.count("refused for a full disk");
        }
        self.sim.disk.set_capacity_bytes(None);
        self.engine()?.store().flush()?;
        self.go_on()
    }

    fn rot(&mut self) -> Result<()> {
        self.note("a bit is flipped on a copy");
        if self.model.unsettled.is_none()
            && let Some((noticed, repaired)) =
                rot::flip_one(&self.sim, Path::new(DIR), &self.options, &self.model, &self.dice)?
        {
            self.tally.count(noticed.name());
            self.tally.count(repaired.name());
        }
        Ok(())
    }

    fn restart(&mut self, end: End) -> Result<()> {
        self.readers.clear();
        if end == End::Close && !self.sim.disk.is_down() {
            let fault = self.some_fault();
            let (result, struck) = self.with_fault(fault, |run| Ok(run.engine()?.close()?));
            self.excuse(result, struck)?;
        }
        self.engine = None;
        self.troubled = false;
        if end == End::Kill {
            self.sim.disk.kill();
        } else {
            self.sim.disk.crash();
        }
        self.story.clear();
        self.note(format!("{end:?}"));
        self.tally.count(match end {
            End::Close => "ends in order",
            End::Kill => "kills",
            End::PowerCut => "power is cut",
        });
        self.open()
    }

    /// Opens the database, a fault on the way now and then; and settles what the last end left open.
    fn open(&mut self) -> Result<()> {
        for attempt in 0..=OPENINGS_MAX {
            let fault = if attempt < OPENINGS_MAX { self.some_fault() } else { None };
            let (opened, struck) =
                self.with_fault(fault, |run| Engine::open(run.sim.env.clone(), Path::new(DIR), run.options.clone()));
            if let Some(fault) = struck {
                self.note(format!("opening: {}", fault.name));
                self.tally.count(&format!("{} at opening", fault.name));
            }
            let result = opened.map(|engine| self.engine = Some(engine)).map_err(Halt::from);
            self.excuse(result, struck)?;
            let usable = self.engine.as_ref().is_some_and(|engine| engine.read_only_reason().is_none());
            if usable && !self.sim.disk.is_down() {
                return self.settle();
            }
            self.engine = None;
            if self.dice.one_in(2) && !self.sim.disk.is_down() {
                self.sim.disk.kill();
            } else {
                self.sim.disk.crash();
            }
        }
        wrong!("the database does not open")
    }

    /// Finds out what became of the commit of which nobody knew; then all must be as the model says.
    fn settle(&mut self) -> Result<()> {
        let (found, last) = (self.engine()?.stamp(), self.model.last());
        if let Some(state) = self.model.unsettled.take()
            && found.seq == last.seq.next()
        {
            hold!(found.time_us > last.time_us, "commit {found:?} after {last:?}");
            self.tally.count("commits found after a failure");
            self.model.push(found, state);
        }
        self.check_some()
    }

    fn finish(mut self) -> Tally {
        self.tally.count_many("changes of the disk", self.sim.disk.changes());
        self.tally
    }
}
