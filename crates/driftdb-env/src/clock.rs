//! Time: the wall clock that commits are stamped from, and a monotonic one for timeouts.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Where the time comes from.
pub trait Clock: Send + Sync + Debug {
    /// The wall clock: microseconds since 1970-01-01 00:00:00 UTC. It may jump, back too.
    fn now_us(&self) -> i64;

    /// Time since some fixed point; it never goes back.
    fn monotonic(&self) -> Duration;

    /// Lets this thread rest for about `duration`.
    fn sleep(&self, duration: Duration);
}

/// The machine's clocks.
#[derive(Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> RealClock {
        RealClock { start: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        RealClock::new()
    }
}

impl Clock for RealClock {
    fn now_us(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A clock that stands still until it is moved. Clones share the time.
#[derive(Clone, Debug)]
pub struct SimClock {
    state: Arc<Mutex<SimTime>>,
}

#[derive(Debug)]
struct SimTime {
    now_us: i64,
    monotonic: Duration,
}

impl SimClock {
    /// A clock that says 2026-01-01 00:00:00 UTC.
    pub fn new() -> SimClock {
        SimClock::at(1_767_225_600_000_000)
    }

    /// A clock that says `now_us`.
    pub fn at(now_us: i64) -> SimClock {
        SimClock { state: Arc::new(Mutex::new(SimTime { now_us, monotonic: Duration::ZERO })) }
    }

    /// Lets time pass: both clocks go on.
    pub fn advance(&self, duration: Duration) {
        let us = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let mut state = self.state.lock();
        state.now_us = state.now_us.saturating_add(us);
        state.monotonic = state.monotonic.saturating_add(duration);
    }

    /// Makes the wall clock jump, forward or back; monotonic time is untouched.
    pub fn set_now_us(&self, now_us: i64) {
        self.state.lock().now_us = now_us;
    }
}

impl Default for SimClock {
    fn default() -> Self {
        SimClock::new()
    }
}

impl Clock for SimClock {
    fn now_us(&self) -> i64 {
        self.state.lock().now_us
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().monotonic
    }

    /// Advances the clock by `duration` at once and rests for at most a millisecond: a loop that waits by sleeping
    /// goes on without spinning, and a test with long timeouts is quick.
    fn sleep(&self, duration: Duration) {
        self.advance(duration);
        std::thread::sleep(duration.min(Duration::from_millis(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sim_clock_moves_only_when_told() {
        let clock = SimClock::at(10);
        assert_eq!(clock.now_us(), 10);
        clock.clone().advance(Duration::from_micros(5));
        assert_eq!((clock.now_us(), clock.monotonic()), (15, Duration::from_micros(5)));
        clock.set_now_us(3);
        assert_eq!((clock.now_us(), clock.monotonic()), (3, Duration::from_micros(5)));
        clock.sleep(Duration::from_secs(3600));
        assert_eq!(clock.now_us(), 3_600_000_003);
    }

    #[test]
    fn real_clock_is_of_this_century() {
        let clock = RealClock::new();
        assert!(clock.now_us() > 1_700_000_000_000_000);
        let before = clock.monotonic();
        assert!(clock.monotonic() >= before);
    }
}
