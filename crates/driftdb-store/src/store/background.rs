//! The threads that flush and compact.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use super::{Failure, Pick, Shared, Store};
use crate::{Checkpoint, Result, StoreError};

/// How long an idle thread rests between looks at whether it is to stop; it is woken for work.
const IDLE: Duration = Duration::from_secs(1);
/// How long to rest at a time while waiting to try again.
const RETRY_LOOK: Duration = Duration::from_millis(20);

impl Store {
    /// Starts the threads that flush and compact. After each checkpoint `on_checkpoint` is called, on the thread that
    /// made it. To be paired with [`Store::stop_background`], without which the store is never closed.
    pub fn start_background(&self, on_checkpoint: Arc<dyn Fn(Checkpoint) + Send + Sync>) -> Result<()> {
        {
            let mut state = self.shared.state.lock();
            state.stopping = false;
            state.on_checkpoint = Some(on_checkpoint);
        }
        for (name, task) in [("flush", Shared::flush_loop as fn(&Shared)), ("compaction", Shared::compaction_loop)] {
            let shared = Arc::clone(&self.shared);
            let guarded = move || {
                if panic::catch_unwind(AssertUnwindSafe(|| task(&shared))).is_err() {
                    shared.note_panic(name);
                }
            };
            let spawned = self.shared.env.spawner.spawn(name, Box::new(guarded));
            match spawned {
                Ok(handle) => self.shared.background.lock().push(handle),
                Err(error) => {
                    self.stop_background();
                    return Err(StoreError::Internal(format!("cannot start the {name} thread: {error}")));
                }
            }
        }
        Ok(())
    }

    /// Ends the background threads and waits for them. A flush that they are at is finished first, a compaction given up.
    pub fn stop_background(&self) {
        {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            state.on_checkpoint = None;
        }
        self.shared.changed.notify_all();
        let handles = std::mem::take(&mut *self.shared.background.lock());
        for handle in handles {
            if let Err(error) = handle.join() {
                tracing::error!(%error, "a background thread of the store");
            }
        }
        // What is compacted from now on is asked for by hand.
        self.shared.state.lock().stopping = false;
    }
}

impl Shared {
    /// A thread has ended that ought not to: commits are refused from now on, because memory would fill up.
    fn note_panic(&self, name: &str) {
        tracing::error!(name, "a background thread of the store panicked; commits are refused");
        let error = StoreError::Internal(format!("the {name} thread ended in a panic; restart the database"));
        let since = self.env.clock.monotonic();
        self.state.lock().failure = Some(Failure { since, error: Arc::new(error), is_final: true });
    }

    fn flush_loop(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while state.sealed.is_empty() && !state.stopping {
                    self.changed.wait_for(&mut state, IDLE);
                }
                if state.stopping {
                    return;
                }
            }
            // The error is kept for `wait_for_room`; after a failed sync there is nothing to try any more.
            if self.flush_oldest().is_err() && (self.base.sync_failed() || !self.rest(self.options.retry_delay)) {
                return;
            }
        }
    }

    fn compaction_loop(&self) {
        let clock = &self.env.clock;
        let mut seen = None;
        loop {
            let next_try = self.compacting.lock().next_try();
            let occasions = {
                let mut state = self.state.lock();
                if seen == Some(state.occasions) && !state.stopping && next_try.is_none() {
                    self.changed.wait_for(&mut state, IDLE);
                }
                if state.stopping {
                    return;
                }
                state.occasions
            };
            if seen == Some(occasions) && next_try.is_none_or(|at| clock.monotonic() < at) {
                self.reap_meanwhile();
                if next_try.is_some() {
                    clock.sleep(RETRY_LOOK);
                }
                continue;
            }
            seen = Some(occasions);
            if !self.compact_all() {
                return;
            }
        }
    }

    /// Makes the compactions that are due; `false` when the background is to stop.
    fn compact_all(&self) -> bool {
        loop {
            match self.compact(Pick::Promising) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) if self.base.sync_failed() => return false,
                // A tree that fails is left alone for a while; on to the next.
                Err(_) => {}
            }
            if self.state.lock().stopping {
                return false;
            }
        }
    }

    /// Rests; `false` when the background is to stop.
    fn rest(&self, delay: Duration) -> bool {
        let clock = &self.env.clock;
        let until = clock.monotonic().saturating_add(delay);
        while clock.monotonic() < until {
            if self.state.lock().stopping {
                return false;
            }
            clock.sleep(RETRY_LOOK.min(delay));
        }
        true
    }
}
