//! What keeps `AS OF <time>` true: the answer, once given, stays.
//!
//! A commit gets its time before it is durable and is visible only after that, and the wall clock may be set back. So
//! the pipeline and those who ask about a time later than the last visible commit's agree here on two things:
//!
//! - who asks about a time at which a group of commits is on its way waits until it is visible, or has failed;
//! - no commit gets a time at or before one that was asked about.
//!
//! A group whose fate is known only after a restart leaves the times from its first commit on unanswered until then.

use std::time::Duration;

use driftdb_types::{Error, Result, SqlState};

use crate::cancel::Cancel;
use crate::sync::{Condvar, Mutex};

/// How long who waits sleeps before looking at its [`Cancel`].
const LOOK: Duration = Duration::from_millis(20);

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Times {
    state: Mutex<State>,
    /// No group is on its way any more.
    settled: Condvar,
}

#[derive(Debug)]
struct State {
    /// The latest time that was asked about.
    asked_us: i64,
    /// The time of the first commit of the group that is on its way.
    in_flight_us: Option<i64>,
    /// What became of it is known only after a restart.
    lost: bool,
}

impl Times {
    pub(crate) fn new() -> Times {
        let state = State { asked_us: i64::MIN, in_flight_us: None, lost: false };
        Times { state: Mutex::new(state), settled: Condvar::new() }
    }

    /// The time of the first commit of a group, not before `earliest_us`. The group is on its way until
    /// [`Times::settle`] or [`Times::lose`].
    pub(crate) fn begin_group(&self, earliest_us: i64) -> i64 {
        let mut state = self.state.lock();
        let first_us = earliest_us.max(state.asked_us.saturating_add(1));
        state.in_flight_us = Some(first_us);
        first_us
    }

    /// The group is visible, or nothing of it is left.
    pub(crate) fn settle(&self) {
        self.state.lock().in_flight_us = None;
        self.settled.notify_all();
    }

    /// Nobody knows what became of the group.
    pub(crate) fn lose(&self) {
        self.state.lock().lost = true;
        self.settled.notify_all();
    }

    /// After this, every commit at or before `time_us` is visible and none will be added. 22023 when the time is
    /// neither at or before `now_us` nor was asked about before, 57014 when the wait was cancelled.
    pub(crate) fn ask(&self, time_us: i64, now_us: i64, cancel: &Cancel) -> Result<()> {
        let mut state = self.state.lock();
        if time_us > now_us.max(state.asked_us) {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "the point of system time is in the future"));
        }
        while state.in_flight_us.is_some_and(|first_us| first_us <= time_us) {
            if state.lost {
                let message = "what was committed at this point of system time is not known until a restart";
                return Err(Error::new(SqlState::IO_ERROR, message)
                    .detail("A commit was on its way to the disk when the database became read-only."));
            }
            cancel.check()?;
            self.settled.wait_for(&mut state, LOOK);
        }
        state.asked_us = state.asked_us.max(time_us);
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod shuttle_tests;
