//! The wish that a running statement end.
//!
//! A session hands one [`Cancel`] to everything it starts. Long work calls [`Cancel::check`] now and then; a lock wait
//! leaves a [`Wake`] with it, so that it ends at once and not at its next look.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use driftdb_env::Clock;
use driftdb_types::{Error, Result, SqlState};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const RUN: u8 = 0;
const REQUESTED: u8 = 1;
const TIMED_OUT: u8 = 2;
const TRANSACTION_TIMED_OUT: u8 = 3;
const NO_DEADLINE: u64 = u64::MAX;

/// Something that sleeps and can be woken to look around.
pub(crate) trait Wake: Send + Sync {
    /// Wakes it; it then looks at its [`Cancel`] again.
    fn wake(&self);
}

/// A flag that ends the statement that runs under it, by wish or at a point in time.
pub struct Cancel {
    state: AtomicU8,
    /// Monotonic microseconds, or [`NO_DEADLINE`]; meaningless without a clock.
    deadline_us: AtomicU64,
    /// The same for the transaction, however many statements it has.
    transaction_deadline_us: AtomicU64,
    clock: Option<Arc<dyn Clock>>,
    sleeper: Mutex<Option<Arc<dyn Wake>>>,
}

impl Cancel {
    /// A flag that is only ever set by [`Cancel::cancel`].
    pub fn new() -> Cancel {
        Cancel {
            state: AtomicU8::new(RUN),
            deadline_us: AtomicU64::new(NO_DEADLINE),
            transaction_deadline_us: AtomicU64::new(NO_DEADLINE),
            clock: None,
            sleeper: Mutex::new(None),
        }
    }

    /// A flag that can also have a deadline, told by this clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Cancel {
        Cancel { clock: Some(clock), ..Cancel::new() }
    }

    /// Ends what runs, or the next thing that looks.
    pub fn cancel(&self) {
        self.state.store(REQUESTED, Ordering::SeqCst);
        self.wake_sleeper();
    }

    /// Makes the flag good for the next statement: neither cancelled nor with a deadline of its own.
    pub fn reset(&self) {
        self.state.store(RUN, Ordering::SeqCst);
        self.deadline_us.store(NO_DEADLINE, Ordering::SeqCst);
    }

    /// Ends what runs after this much time (`statement_timeout`); `None` takes a deadline back. Without a clock (see
    /// [`Cancel::with_clock`]) nothing happens.
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        let Some(clock) = &self.clock else { return };
        let deadline = timeout.map_or(NO_DEADLINE, |timeout| as_us(clock.monotonic().saturating_add(timeout)));
        self.deadline_us.store(deadline, Ordering::SeqCst);
    }

    /// Ends every statement from this time of the monotonic clock on (`transaction_timeout`), until another is set.
    pub fn set_transaction_deadline(&self, deadline: Option<Duration>) {
        self.transaction_deadline_us.store(deadline.map_or(NO_DEADLINE, as_us), Ordering::SeqCst);
    }

    /// How much time the transaction has left, where that is limited.
    pub fn transaction_time_left(&self) -> Option<Duration> {
        let deadline = self.transaction_deadline_us.load(Ordering::SeqCst);
        let now_us = self.clock.as_ref().map(|clock| as_us(clock.monotonic()))?;
        (deadline != NO_DEADLINE).then(|| Duration::from_micros(deadline.saturating_sub(now_us)))
    }

    /// Whether [`Cancel::check`] would fail.
    pub fn is_cancelled(&self) -> bool {
        self.look() != RUN
    }

    /// Fails with 57014 once the statement is to end, with 25P04 once its transaction is.
    pub fn check(&self) -> Result<()> {
        match self.look() {
            RUN => Ok(()),
            TIMED_OUT => Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")),
            TRANSACTION_TIMED_OUT => Err(transaction_timeout()),
            _ => Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")),
        }
    }

    /// Whether a deadline is set, so that a sleeper has to look at the time itself.
    pub(crate) fn has_deadline(&self) -> bool {
        let is_set = |deadline: &AtomicU64| deadline.load(Ordering::Relaxed) != NO_DEADLINE;
        self.clock.is_some() && (is_set(&self.deadline_us) || is_set(&self.transaction_deadline_us))
    }

    /// Names who is to be woken by [`Cancel::cancel`]; `None` when nobody sleeps any more.
    pub(crate) fn set_sleeper(&self, sleeper: Option<Arc<dyn Wake>>) {
        *self.sleeper.lock() = sleeper;
    }

    fn look(&self) -> u8 {
        let state = self.state.load(Ordering::Relaxed);
        if state != RUN {
            return state;
        }
        if !self.has_deadline() {
            return RUN;
        }
        let now_us = self.clock.as_ref().map_or(0, |clock| as_us(clock.monotonic()));
        let passed = |deadline: &AtomicU64| now_us >= deadline.load(Ordering::Relaxed);
        match (passed(&self.transaction_deadline_us), passed(&self.deadline_us)) {
            (true, _) => TRANSACTION_TIMED_OUT,
            (false, true) => TIMED_OUT,
            (false, false) => RUN,
        }
    }

    fn wake_sleeper(&self) {
        let sleeper = self.sleeper.lock().clone();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }
}

/// The error of a transaction that took longer than `transaction_timeout`; its session ends with it.
pub fn transaction_timeout() -> Error {
    Error::new(SqlState::TRANSACTION_TIMEOUT, "terminating connection due to transaction timeout")
}

impl Default for Cancel {
    fn default() -> Self {
        Cancel::new()
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

fn as_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(NO_DEADLINE - 1)
}

#[cfg(test)]
mod tests {
    use driftdb_env::SimClock;

    use super::*;

    #[test]
    fn a_cancelled_flag_fails_until_reset() {
        let cancel = Cancel::new();
        assert_eq!(cancel.check(), Ok(()));
        cancel.cancel();
        assert_eq!(cancel.check().unwrap_err().state, SqlState::QUERY_CANCELED);
        cancel.reset();
        assert_eq!(cancel.check(), Ok(()));
    }

    #[test]
    fn a_deadline_passes_with_the_clock() {
        let clock = SimClock::new();
        let cancel = Cancel::with_clock(Arc::new(clock.clone()));
        cancel.set_timeout(Some(Duration::from_millis(10)));
        clock.advance(Duration::from_millis(9));
        assert_eq!(cancel.check(), Ok(()));
        clock.advance(Duration::from_millis(1));
        assert!(cancel.check().unwrap_err().message.contains("statement timeout"));
        cancel.set_timeout(None);
        assert_eq!(cancel.check(), Ok(()));
    }

    #[test]
    fn a_transaction_s_deadline_outlives_its_statements() {
        let clock = SimClock::new();
        let cancel = Cancel::with_clock(Arc::new(clock.clone()));
        cancel.set_transaction_deadline(Some(clock.monotonic() + Duration::from_millis(10)));
        clock.advance(Duration::from_millis(4));
        cancel.reset();
        assert_eq!(cancel.transaction_time_left(), Some(Duration::from_millis(6)));
        clock.advance(Duration::from_millis(6));
        assert_eq!(cancel.check().unwrap_err().state, SqlState::TRANSACTION_TIMEOUT);
        cancel.set_transaction_deadline(None);
        assert_eq!((cancel.check(), cancel.transaction_time_left()), (Ok(()), None));
    }
}
