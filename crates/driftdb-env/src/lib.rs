//! The seams between DriftDB and the machine: disk, clock, randomness and threads.
//!
//! Everything above this crate reaches the machine through the four traits here, carried together in an [`Env`].
//! That is what lets the whole database run in a simulator: on a [`SimDisk`] that forgets what was not synced and
//! fails when told to, with a [`SimClock`] that a test moves and a [`SimRand`] that repeats itself. The lints of the
//! workspace ban the originals (`std::fs`, `SystemTime::now`, `thread::spawn`, …) everywhere else.
//!
//! *Invariants of absence.* Nothing here knows what a commit, a page or a row is; and nothing above knows
//! `std::fs` or a wall clock.
#![allow(clippy::disallowed_methods, reason = "this crate is the owner of what the workspace bans elsewhere")]

mod clock;
mod disk;
mod overlay_disk;
mod rand;
mod real_disk;
mod sim_disk;
mod spawner;

use std::sync::Arc;

pub use clock::{Clock, RealClock, SimClock};
pub use disk::{Disk, DiskFile, DiskLock, OpenOptions};
pub use overlay_disk::OverlayDisk;
pub use rand::{OsRand, Rand, SimRand};
pub use real_disk::RealDisk;
pub use sim_disk::{DiskOp, DiskOpKind, FailMode, Loss, Pause, SimDisk};
pub use spawner::{DEFAULT_STACK_BYTES, RunningTask, Spawner, TaskHandle, TaskPanicked, ThreadSpawner};

/// The machine, as everything above this crate sees it. A cheap clone.
#[derive(Clone, Debug)]
pub struct Env {
    /// Files and directories.
    pub disk: Arc<dyn Disk>,
    /// Wall clock and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub rand: Arc<dyn Rand>,
    /// Threads.
    pub spawner: Arc<dyn Spawner>,
}

impl Env {
    /// The real machine.
    pub fn real() -> Env {
        Env {
            disk: Arc::new(RealDisk::new()),
            clock: Arc::new(RealClock::new()),
            rand: Arc::new(OsRand::new()),
            spawner: Arc::new(ThreadSpawner::new()),
        }
    }

    /// A simulated machine whose accidents follow from `seed`. Threads are real: what is simulated is what can be
    /// lost and what can fail, not the scheduling.
    pub fn sim(seed: u64) -> SimEnv {
        let disk = SimDisk::new(seed);
        let clock = SimClock::new();
        let env = Env {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(clock.clone()),
            rand: Arc::new(SimRand::new(seed)),
            spawner: Arc::new(ThreadSpawner::new()),
        };
        SimEnv { env, disk, clock }
    }
}

/// A simulated [`Env`] together with the controls of it.
#[derive(Clone, Debug)]
pub struct SimEnv {
    /// What the database is given.
    pub env: Env,
    /// The same disk as `env.disk`, with its controls: crash, faults, counters.
    pub disk: SimDisk,
    /// The same clock as `env.clock`, with its controls.
    pub clock: SimClock,
}
