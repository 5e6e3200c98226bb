//! A thread that stops before one of its changes of the disk, until it is told to go on.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::{Condvar, Mutex};

use super::{DiskOpKind, SimDisk};

/// Where a thread stops ([`SimDisk::pause_after`]). Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Pause {
    gate: Arc<(Mutex<Progress>, Condvar)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// On its way.
    #[default]
    Running,
    /// It has got there, and waits.
    Paused,
    /// It may go on, or has never got there.
    Passed,
}

impl Pause {
    /// Waits until the thread stops there, or has said that it will not ([`Pause::pass`]). Whether it has stopped.
    pub fn wait(&self) -> bool {
        let (progress, changed) = &*self.gate;
        let mut progress = progress.lock();
        while *progress == Progress::Running {
            changed.wait(&mut progress);
        }
        *progress == Progress::Paused
    }

    /// Lets it go on; and if it has not stopped yet, it will not.
    pub fn pass(&self) {
        self.set(Progress::Passed);
    }

    fn set(&self, to: Progress) {
        let (progress, changed) = &*self.gate;
        *progress.lock() = to;
        changed.notify_all();
    }

    fn stop_here(&self) {
        let (progress, changed) = &*self.gate;
        let mut progress = progress.lock();
        if *progress == Progress::Running {
            *progress = Progress::Paused;
            changed.notify_all();
        }
        while *progress == Progress::Paused {
            changed.wait(&mut progress);
        }
    }
}

/// A pause that is to come.
#[derive(Debug)]
pub(super) struct PausePoint {
    thread: ThreadId,
    left: u64,
    pause: Pause,
}

impl SimDisk {
    /// Lets the calling thread stop before its `n`-th change from now (1 is the next one), reads not counted, until
    /// [`Pause::pass`]; unless a fault strikes before that. Replaces a pause that was still to come.
    pub fn pause_after(&self, n: u64, pause: &Pause) {
        let point = PausePoint { thread: thread::current().id(), left: n, pause: pause.clone() };
        self.state.lock().pause = Some(point);
    }

    /// Stops, if this is the place; without the lock, so that others get to the disk.
    pub(super) fn pause_here(&self, kind: DiskOpKind) {
        let reached = {
            let mut state = self.state.lock();
            match &mut state.pause {
                Some(point) if point.thread == thread::current().id() && kind != DiskOpKind::Read => {
                    point.left = point.left.saturating_sub(1);
                    if point.left == 0 { state.pause.take() } else { None }
                }
                _ => None,
            }
        };
        if let Some(point) = reached {
            point.pause.stop_here();
        }
    }
}
