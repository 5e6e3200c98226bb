//! How many long queries run at a time.
//!
//! Each query that runs holds memory that no budget counts: the batches on their way through its plan. Short ones are gone
//! before they have many. Long ones (`query::pace`) take one of a few lanes to go on, and one that has had its turn makes
//! way for those that wait at its next batch of a scan, in the order they came; what it keeps meanwhile is what the budget counts.
//! (Round-robin scheduling with a bound on the multiprogramming level.)

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How often who waits looks whether the query is wanted still.
const LOOK: Duration = Duration::from_millis(20);

/// The lanes of a database.
#[derive(Debug)]
pub(super) struct Lanes {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits, in the order of coming.
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// A place in a lane, given back when it goes.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Lanes>,
}

impl Lanes {
    pub(super) fn new(count: usize) -> Arc<Lanes> {
        let state = State { free: count.max(1), waiting: VecDeque::new(), next_ticket: 0 };
        Arc::new(Lanes { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Waits for a place. `wanted` is asked now and then whether to go on waiting; its error ends that.
    pub(super) fn enter<E>(self: &Arc<Self>, wanted: impl Fn() -> Result<(), E>) -> Result<Lane, E> {
        let mut state = self.state.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        while state.free == 0 || state.waiting.front() != Some(&ticket) {
            if let Err(error) = wanted() {
                state.waiting.retain(|waiting| *waiting != ticket);
                self.changed.notify_all();
                return Err(error);
            }
            self.changed.wait_for(&mut state, LOOK);
        }
        state.waiting.pop_front();
        state.free -= 1;
        // The next in line may find a place too.
        self.changed.notify_all();
        Ok(Lane { lanes: Arc::clone(self) })
    }

    /// Whether somebody waits.
    pub(super) fn is_crowded(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.state.lock().free += 1;
        self.lanes.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_than_the_lanes_run_at_a_time_and_all_come_to_run() {
        let lanes = Lanes::new(2);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lane = lanes.enter(|| Ok::<(), ()>(())).unwrap();
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(lane);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert_eq!(lanes.state.lock().free, 2);
    }

    #[test]
    fn who_is_not_wanted_any_more_leaves_the_line() {
        let lanes = Lanes::new(1);
        let held = lanes.enter(|| Ok::<(), ()>(())).unwrap();
        assert_eq!(lanes.enter(|| Err("cancelled")).unwrap_err(), "cancelled");
        assert!(!lanes.is_crowded());
        drop(held);
        lanes.enter(|| Err("asked though there was a place")).unwrap();
    }
}
