//! parking_lot's interface, as far as it is used, on shuttle's mutexes.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use shuttle::sync::atomic;
use shuttle::{rand as choice, sync};

/// Who waits for less than this waits for the time to pass; who waits for longer, for a wake-up, and looks around now and
/// then.
const LOOK_MIN: Duration = Duration::from_millis(10);
/// Of ten looks so many come at once. That stands for every later moment too: whose time is over may go on late. The
/// others never come, so that a missing wake-up is a deadlock.
const LOOKS_OF_TEN: u64 = 3;
/// For so many turns of the mutex a short wait lasts at most.
const TURNS_MAX: u64 = 8;

/// The same hashes each time, or a seed would not give the same schedules.
pub(crate) type RandomState = BuildHasherDefault<DefaultHasher>;

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, locked: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` only while a condition variable has it.
    locked: Option<sync::MutexGuard<'a, T>>,
}

impl<T> MutexGuard<'_, T> {
    /// Gives the mutex away and takes it again.
    fn relock(&mut self) {
        self.locked = None;
        *self = self.mutex.lock();
    }
}

#[expect(clippy::expect_used, reason = "nobody looks at a guard that a condition variable has")]
impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.locked.as_ref().expect("the mutex is locked")
    }
}

#[expect(clippy::expect_used, reason = "nobody looks at a guard that a condition variable has")]
impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.locked.as_mut().expect("the mutex is locked")
    }
}

pub(crate) struct WaitTimeoutResult {
    timed_out: bool,
}

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar {
    waiters: sync::Condvar,
    /// How often somebody was woken, or would have been. Not one of shuttle's: it is nothing to wait at.
    notified: AtomicU64,
}

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let locked = guard.locked.take();
        guard.locked = locked.map(|locked| self.waiters.wait(locked).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> WaitTimeoutResult {
        let chosen = choice::RngCore::next_u64(&mut choice::thread_rng());
        if time < LOOK_MIN {
            let before = self.notified.load(Ordering::Relaxed);
            let mut turns = 0..=chosen % TURNS_MAX;
            let mut is_woken = || {
                guard.relock();
                self.notified.load(Ordering::Relaxed) != before
            };
            return WaitTimeoutResult { timed_out: !turns.any(|_| is_woken()) };
        }
        let timed_out = chosen % 10 < LOOKS_OF_TEN;
        if timed_out {
            guard.relock();
        } else {
            self.wait(guard);
        }
        WaitTimeoutResult { timed_out }
    }

    pub(crate) fn notify_one(&self) {
        self.notified.fetch_add(1, Ordering::Relaxed);
        self.waiters.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.notified.fetch_add(1, Ordering::Relaxed);
        self.waiters.notify_all();
    }
}
