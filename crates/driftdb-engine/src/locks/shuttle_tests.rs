//! The table of locks under shuttle.

use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::thread;

use super::*;
use crate::shuttle_tests::{SteppingClock, choose, explore};

const MODES: [LockMode; 4] = [LockMode::KeyShare, LockMode::Share, LockMode::NoKeyUpdate, LockMode::Update];

fn row(key: usize) -> Resource {
    Resource::Row(TreeId(100), Bytes::from(vec![u8::try_from(key).unwrap()]))
}

/// A table of locks, and who is told to have which.
struct Fixture {
    locks: LockTable,
    /// Not one of shuttle's: a look at it is no point where another thread may go on.
    held: std::sync::Mutex<Vec<(TxnId, Resource, LockMode)>>,
}

impl Fixture {
    fn new() -> Arc<Fixture> {
        let locks = LockTable::new(Arc::new(SteppingClock::default()));
        Arc::new(Fixture { locks, held: std::sync::Mutex::default() })
    }

    /// Who waits for this at the moment.
    fn queue(&self, resource: &Resource) -> Vec<(TxnId, LockMode)> {
        let shard = self.locks.shard(resource).lock();
        let waiters = shard.get(resource).into_iter().flat_map(|lock| &lock.queue);
        waiters.map(|waiter| (waiter.txn, waiter.mode)).collect()
    }

    fn take(&self, txn: u64, resource: &Resource, mode: LockMode) -> Result<Acquired, LockFailure> {
        self.take_within(txn, resource, mode, None, &Arc::new(Cancel::new()))
    }

    /// Takes a lock and looks that it goes with what others have, and that nobody was overtaken.
    fn take_within(
        &self,
        txn: u64,
        resource: &Resource,
        mode: LockMode,
        timeout: Option<Duration>,
        cancel: &Arc<Cancel>,
    ) -> Result<Acquired, LockFailure> {
        let txn = TxnId(txn);
        let before = self.queue(resource);
        let acquired =
            self.locks.acquire(&LockRequest { txn, resource: resource.clone(), mode, wait: true, timeout, cancel })?;
        // A holder that wants more goes first.
        if acquired == Acquired::New {
            for waiter in self.queue(resource) {
                let overtaken = before.contains(&waiter) && waiter.1.conflicts(mode);
                assert!(!overtaken, "{txn:?} for {mode:?} has overtaken {waiter:?}");
            }
        }
        let mut held = self.held.lock().unwrap();
        for (other, what, theirs) in held.iter() {
            let apart = *other == txn || what != resource || !theirs.conflicts(mode);
            assert!(apart, "{txn:?} has {mode:?} beside {theirs:?} of {other:?}");
        }
        held.push((txn, resource.clone(), mode));
        Ok(acquired)
    }

    fn release(&self, txn: u64, resource: &Resource) {
        self.held.lock().unwrap().retain(|(holder, what, _)| holder.0 != txn || what != resource);
        self.locks.release(TxnId(txn), resource);
    }

    fn assert_empty(&self) {
        assert_eq!(self.locks.len(), 0);
        assert!(self.locks.waiting.lock().is_empty());
    }
}

/// Runs tasks and waits for all of them.
fn run(tasks: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = tasks.into_iter().map(thread::spawn).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn shuttle_modes_that_conflict_are_never_held_together_and_nobody_is_overtaken() {
    explore(2_000, || {
        let fixture = Fixture::new();
        let task = |session: u64| -> Box<dyn FnOnce() + Send> {
            let fixture = Arc::clone(&fixture);
            Box::new(move || {
                for turn in 0..2 {
                    let txn = 10 * session + turn;
                    let mode = MODES[usize::try_from(choose(4)).unwrap()];
                    fixture.take(txn, &row(0), mode).unwrap();
                    thread::yield_now();
                    fixture.release(txn, &row(0));
                }
            })
        };
        run((1..=4).map(task).collect());
        fixture.assert_empty();
    });
}

/// Each has one row and wants the next one's.
#[test]
fn shuttle_of_a_cycle_one_gives_way_and_only_where_it_is_one() {
    const SESSIONS: usize = 3;
    explore(2_000, || {
        let fixture = Fixture::new();
        let (having, at_once, gave_way) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = |session: usize| -> Box<dyn FnOnce() + Send> {
            let (fixture, having) = (Arc::clone(&fixture), Arc::clone(&having));
            let (at_once, gave_way) = (Arc::clone(&at_once), Arc::clone(&gave_way));
            Box::new(move || {
                let txn = session as u64 + 1;
                let (own, next) = (row(session), row((session + 1) % SESSIONS));
                fixture.take(txn, &own, LockMode::Update).unwrap();
                at_once.fetch_max(having.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                match fixture.take(txn, &next, LockMode::NoKeyUpdate) {
                    Ok(_) => fixture.release(txn, &next),
                    Err(LockFailure::Deadlock(cycle)) => {
                        assert_eq!(cycle.len(), SESSIONS, "{cycle:?}");
                        gave_way.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(failure) => panic!("{failure:?}"),
                }
                having.fetch_sub(1, Ordering::SeqCst);
                fixture.release(txn, &own);
            })
        };
        run((0..SESSIONS).map(task).collect());
        let is_cycle = at_once.load(Ordering::SeqCst) == SESSIONS;
        assert_eq!(gave_way.load(Ordering::SeqCst), usize::from(is_cycle));
        fixture.assert_empty();
    });
}

/// Two share a row and want it alone; a third waits for both.
#[test]
fn shuttle_of_two_upgrades_one_gives_way() {
    explore(2_000, || {
        let fixture = Fixture::new();
        let (sharing, at_once, gave_way) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let upgrade = |txn: u64| -> Box<dyn FnOnce() + Send> {
            let (fixture, sharing) = (Arc::clone(&fixture), Arc::clone(&sharing));
            let (at_once, gave_way) = (Arc::clone(&at_once), Arc::clone(&gave_way));
            Box::new(move || {
                fixture.take(txn, &row(0), LockMode::Share).unwrap();
                at_once.fetch_max(sharing.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                match fixture.take(txn, &row(0), LockMode::Update) {
                    Ok(acquired) => assert_eq!(acquired, Acquired::Held),
                    Err(LockFailure::Deadlock(_)) => {
                        gave_way.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(failure) => panic!("{failure:?}"),
                }
                sharing.fetch_sub(1, Ordering::SeqCst);
                fixture.release(txn, &row(0));
            })
        };
        let third = {
            let fixture = Arc::clone(&fixture);
            Box::new(move || {
                fixture.take(3, &row(0), LockMode::Update).unwrap();
                fixture.release(3, &row(0));
            })
        };
        run(vec![upgrade(1), upgrade(2), third]);
        let is_cycle = at_once.load(Ordering::SeqCst) == 2;
        assert_eq!(gave_way.load(Ordering::SeqCst), usize::from(is_cycle));
        fixture.assert_empty();
    });
}

/// A third would go with who has the row, but not with who waits for it before him; and who has it waits for the third.
#[test]
fn shuttle_a_cycle_through_a_queue_is_found() {
    explore(1_000, || {
        let fixture = Fixture::new();
        fixture.take(1, &row(0), LockMode::Share).unwrap();
        fixture.take(3, &row(1), LockMode::Update).unwrap();
        let gave_way = Arc::new(AtomicUsize::new(0));
        let wants = |txn: u64, key: usize, mode: LockMode, own: Option<usize>| -> Box<dyn FnOnce() + Send> {
            let (fixture, gave_way) = (Arc::clone(&fixture), Arc::clone(&gave_way));
            Box::new(move || {
                match fixture.take(txn, &row(key), mode) {
                    Ok(_) => fixture.release(txn, &row(key)),
                    Err(LockFailure::Deadlock(_)) => {
                        gave_way.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(failure) => panic!("{failure:?}"),
                }
                own.into_iter().for_each(|own| fixture.release(txn, &row(own)));
            })
        };
        run(vec![
            wants(1, 1, LockMode::Update, Some(0)),
            wants(2, 0, LockMode::Update, None),
            wants(3, 0, LockMode::KeyShare, Some(1)),
        ]);
        assert!(gave_way.load(Ordering::SeqCst) <= 1);
        fixture.assert_empty();
    });
}

/// The one in the middle of the queue is cancelled, or its time passes, while the lock may be handed to it.
#[test]
fn shuttle_a_wait_that_ends_while_it_is_granted_leaves_nothing_behind() {
    explore(2_000, || {
        let fixture = Fixture::new();
        fixture.take(1, &row(0), LockMode::Update).unwrap();
        let cancel = Arc::new(Cancel::new());
        let timeout = (choose(2) == 0).then(|| Duration::from_millis(choose(6)));
        let ends = {
            let (fixture, cancel) = (Arc::clone(&fixture), Arc::clone(&cancel));
            Box::new(move || match fixture.take_within(2, &row(0), LockMode::NoKeyUpdate, timeout, &cancel) {
                Ok(_) => fixture.release(2, &row(0)),
                Err(LockFailure::Cancelled(_) | LockFailure::TimedOut) => {}
                Err(failure) => panic!("{failure:?}"),
            })
        };
        let other = |txn: u64, mode: LockMode| -> Box<dyn FnOnce() + Send> {
            let fixture = Arc::clone(&fixture);
            Box::new(move || {
                fixture.take(txn, &row(0), mode).unwrap();
                fixture.release(txn, &row(0));
            })
        };
        let holder = Arc::clone(&fixture);
        run(vec![
            ends,
            Box::new(move || cancel.cancel()),
            other(3, LockMode::Share),
            other(4, LockMode::KeyShare),
            Box::new(move || holder.release(1, &row(0))),
        ]);
        fixture.assert_empty();
    });
}

/// Nothing but the cancel ends the wait, and nothing but that end lets those behind it in.
#[test]
fn shuttle_a_cancel_is_never_missed() {
    explore(1_000, || {
        let fixture = Fixture::new();
        fixture.take(1, &row(0), LockMode::Share).unwrap();
        let cancel = Arc::new(Cancel::new());
        let waits = {
            let (fixture, cancel) = (Arc::clone(&fixture), Arc::clone(&cancel));
            Box::new(move || {
                let ended = fixture.take_within(2, &row(0), LockMode::Update, None, &cancel);
                assert!(matches!(ended, Err(LockFailure::Cancelled(_))));
            })
        };
        let behind = {
            let fixture = Arc::clone(&fixture);
            Box::new(move || {
                fixture.take(3, &row(0), LockMode::Share).unwrap();
                fixture.release(3, &row(0));
            })
        };
        run(vec![waits, behind, Box::new(move || cancel.cancel())]);
        fixture.release(1, &row(0));
        fixture.assert_empty();
    });
}

#[test]
fn shuttle_a_weakened_lock_lets_others_in() {
    explore(1_000, || {
        let fixture = Fixture::new();
        fixture.take(1, &row(0), LockMode::Update).unwrap();
        let reader = |txn: u64| -> Box<dyn FnOnce() + Send> {
            let fixture = Arc::clone(&fixture);
            Box::new(move || {
                fixture.take(txn, &row(0), LockMode::Share).unwrap();
                fixture.release(txn, &row(0));
            })
        };
        let weakens = {
            let fixture = Arc::clone(&fixture);
            Box::new(move || {
                fixture.held.lock().unwrap().clear();
                fixture.locks.weaken(TxnId(1), &row(0), LockMode::Share);
            })
        };
        run(vec![reader(2), reader(3), weakens]);
        fixture.release(1, &row(0));
        fixture.assert_empty();
    });
}
