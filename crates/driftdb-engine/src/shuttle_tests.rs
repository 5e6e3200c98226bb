//! Tests under shuttle (Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010):
//! all threads are coroutines of one, and a seeded scheduler decides at each mutex, condition variable and atomic of
//! [`crate::sync`] which of them goes on. Where none can it is a deadlock, and the test fails.
//!
//! What is below (the store, the commit log, the simulated disk) has mutexes of its own, which shuttle does not know. That
//! is good as long as nothing of `crate::sync` is touched while one of those is held: all threads are one to it, which would
//! wait for itself for ever. The store calls its clock, which is a point where others may go on, outside of them only.
//!
//! Each test was seen failing. What was broken for that, and is worth breaking again after a change to these tests:
//!
//! - *Locks:* a grant does not notify, or before it is noted; who asks overtakes the queue, or the queue itself; a wake-up
//!   without the waiter's mutex; a wait that ends keeps what it was granted, or lets nobody behind it in; cycles are looked for
//!   after `waiting` was let go, in holders only, or not at all; a lock that is made weaker lets nobody in.
//! - *Pipeline:* a session that is done leaves the queue, or does not wake the thread; an answer, or a lock, is given before the
//!   commit is visible; a commit that is written counts as taken back, or its locks stay; two own the pipeline; closing does not
//!   wait, or nobody tells it; the queue's room is not told of; reads are not held against the own group, or against what came
//!   since; times are not settled.
//! - *Recent writes, times:* a snapshot is taken before it counts, or does not count; an answer about a time does not bind.
//! - *Rows, numbers:* a row is not looked at again under its lock; a unique key is looked up before it is locked; a number that
//!   is also shared is given back as a whole.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driftdb_env::{Clock, Env, OsRand, Rand as _, RealClock, RunningTask, Spawner, TaskHandle, TaskPanicked};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, Runner, thread};

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::{Cancel, Engine, EngineOptions, Transaction, TxnOptions};

/// How many times as many schedules are tried in the long form.
const LONG: u64 = 20;
/// Between how many points of a schedule the second scheduler looks for an order that matters.
const PCT_DEPTH: usize = 3;
/// The engine's recursion and what it opens need more than shuttle's stacks have.
const STACK_BYTES: usize = 1 << 20;
/// Far more than any of the tests takes: who goes round in circles is told.
const STEPS_MAX: usize = 200_000;

/// Runs a test under so many schedules, half of them at random, half of them by priorities that change a few times.
///
/// `DRIFTDB_TEST_LONG=1`: twenty times as many, which are others each time; `DRIFTDB_TEST_ROUNDS=n`: so many;
/// `DRIFTDB_TEST_SECONDS=n`: for so long; `DRIFTDB_TEST_SEED=n`: from that seed on. `DRIFTDB_TEST_SCHEDULE=…` is the one
/// that a failure printed, and nothing else.
pub(crate) fn explore(schedules: u64, test: impl Fn() + Copy + Send + Sync + 'static) {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = shuttle::MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    if let Ok(schedule) = std::env::var("DRIFTDB_TEST_SCHEDULE") {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config).run(test);
        return;
    }
    let is_long = std::env::var_os("DRIFTDB_TEST_LONG").is_some();
    let time = variable("DRIFTDB_TEST_SECONDS").map(Duration::from_secs);
    // For a time it is one seed after the other, with as many schedules as in the short form.
    let usual = if is_long && time.is_none() { schedules * LONG } else { schedules };
    let rounds = variable("DRIFTDB_TEST_ROUNDS").unwrap_or(usual);
    let mut seed = variable("DRIFTDB_TEST_SEED").unwrap_or_else(|| if is_long { OsRand::new().next_u64() } else { 0 });
    let clock = RealClock::new();
    let begun = clock.monotonic();
    loop {
        println!("DRIFTDB_TEST_SEED={seed} DRIFTDB_TEST_ROUNDS={rounds}");
        explore_seed(seed, rounds, &config, test);
        if time.is_none_or(|time| clock.monotonic().saturating_sub(begun) >= time) {
            return;
        }
        seed = seed.wrapping_add(1);
    }
}

fn explore_seed(seed: u64, rounds: u64, config: &Config, test: impl Fn() + Copy + Send + Sync + 'static) {
    let half = usize::try_from(rounds.div_ceil(2)).unwrap();
    let random = Tried::new("at random");
    Runner::new(RandomScheduler::new_from_seed(seed, half), config.clone()).run(random.counted(test));
    let by_priority = Tried::new("by priority");
    Runner::new(PctScheduler::new_from_seed(seed, PCT_DEPTH, half), config.clone()).run(by_priority.counted(test));
}

/// Says how many schedules it took when one fails.
struct Tried {
    how: &'static str,
    count: Arc<std::sync::atomic::AtomicU64>,
}

impl Tried {
    fn new(how: &'static str) -> Tried {
        Tried { how, count: Arc::default() }
    }

    fn counted(&self, test: impl Fn() + Send + Sync + 'static) -> impl Fn() + Send + Sync + 'static {
        let count = Arc::clone(&self.count);
        move || {
            count.fetch_add(1, Ordering::Relaxed);
            test();
        }
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let count = self.count.load(Ordering::Relaxed);
            println!(
                "schedule {count} {} failed: DRIFTDB_TEST_SCHEDULE='<failing schedule>' repeats it alone",
                self.how
            );
        }
    }
}

/// A number below `bound`, of the schedule's choice.
pub(crate) fn choose(bound: u64) -> u64 {
    shuttle::rand::RngCore::next_u64(&mut shuttle::rand::thread_rng()) % bound
}

/// A clock that goes on by a millisecond whenever it is looked at; and whoever looks may be held up.
#[derive(Debug, Default)]
pub(crate) struct SteppingClock {
    us: AtomicU64,
}

impl SteppingClock {
    const STEP_US: u64 = 1_000;

    fn step(&self) -> u64 {
        self.us.fetch_add(Self::STEP_US, Ordering::SeqCst)
    }
}

impl Clock for SteppingClock {
    fn now_us(&self) -> i64 {
        i64::try_from(self.step()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.step())
    }

    fn sleep(&self, _duration: Duration) {
        self.step();
    }
}

#[derive(Debug)]
struct ShuttleSpawner;

#[derive(Debug)]
struct ShuttleTask {
    thread: thread::JoinHandle<()>,
    ended: Arc<AtomicBool>,
}

impl RunningTask for ShuttleTask {
    fn join(self: Box<Self>) -> Result<(), TaskPanicked> {
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        self.thread.join().map_err(|_| TaskPanicked { name })
    }

    fn is_finished(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Spawner for ShuttleSpawner {
    fn spawn(&self, name: &str, task: Box<dyn FnOnce() + Send>) -> io::Result<TaskHandle> {
        let ended = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&ended);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            task();
            tell.store(true, Ordering::SeqCst);
        })?;
        Ok(TaskHandle::new(ShuttleTask { thread, ended }))
    }
}

/// A simulated machine under shuttle.
pub(crate) fn env() -> Env {
    Env { clock: Arc::new(SteppingClock::default()), spawner: Arc::new(ShuttleSpawner), ..Env::sim(1).env }
}

/// An engine on it, with places for so many commits in its queue.
pub(crate) fn open(env: &Env, queue_max: usize) -> Engine {
    let mut options = EngineOptions { background: false, commit_queue_max: queue_max, ..EngineOptions::default() };
    options.log.segment_bytes = 64 << 10;
    options.store.cache_bytes = 1 << 20;
    options.store.history_cache_bytes = 1 << 20;
    Engine::open(env.clone(), Path::new("/db"), options).unwrap()
}

/// Begins a transaction and its first statement.
pub(crate) fn begin(engine: &Engine, options: TxnOptions, cancel: &Arc<Cancel>) -> Transaction {
    let mut txn = engine.begin(options, Arc::clone(cancel));
    txn.begin_statement().unwrap();
    txn
}
