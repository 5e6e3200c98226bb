//! Long queries give way to short statements.
//!
//! A query begins on its session's thread. When it has run for a while, its scans ask for a pause, in which the rest of it
//! is moved to a thread of lower priority; the session waits there for batches, as it would here. So what takes
//! milliseconds costs no change of threads, and what takes seconds leaves the cores to commits and point reads where
//! there are not enough for all. Results are as they would be: nothing is read ahead but one batch. Only so many go on at
//! a time (`query::lanes`): the others wait, which their sessions' cancel ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::task::Poll;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result as DfResult;
use datafusion::execution::SendableRecordBatchStream;
use driftdb_engine::Cancel;
use driftdb_env::Clock;
use driftdb_types::{Error, Result, SqlState};
use futures::StreamExt;
use parking_lot::Mutex;

use super::errors::into_datafusion;
use super::lanes::{Lane, Lanes};
use crate::read::QueryContext;

/// So long a query runs on its session's thread.
const FOREGROUND: Duration = Duration::from_millis(50);

/// So long it keeps others waiting in the background.
const TURN: Duration = Duration::from_secs(1);

const IN_FOREGROUND: u8 = 0;
/// A scan pauses, so that the query can be moved.
const PAUSED: u8 = 1;
const IN_BACKGROUND: u8 = 2;

/// Where a query runs: shared by who runs it and its scans.
#[derive(Debug)]
pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    foreground_until: Duration,
    place: AtomicU8,
    /// Nobody wants the rest.
    abandoned: AtomicBool,
    cancel: Arc<Cancel>,
    lanes: Arc<Lanes>,
    /// While it runs in the background: its place in a lane, and since when it has that.
    turn: Mutex<Option<(Lane, Duration)>>,
}

impl Pace {
    pub(super) fn new(ctx: &QueryContext) -> Arc<Pace> {
        let clock = Arc::clone(&ctx.read.engine.env().clock);
        Arc::new(Pace {
            foreground_until: clock.monotonic().saturating_add(FOREGROUND),
            place: AtomicU8::new(IN_FOREGROUND),
            abandoned: AtomicBool::new(false),
            cancel: Arc::clone(&ctx.cancel),
            lanes: Arc::clone(&ctx.runtime.lanes),
            turn: Mutex::new(None),
            clock,
        })
    }

    /// Asked by scans before each batch: whether to pause now, and be called again at another place. In the background
    /// others may have their turn first.
    pub(super) fn pauses(&self) -> bool {
        if self.is_in_background() {
            self.make_way();
            return false;
        }
        if self.clock.monotonic() < self.foreground_until {
            return false;
        }
        self.place.store(PAUSED, Ordering::Release);
        true
    }

    pub(super) fn is_in_background(&self) -> bool {
        self.place.load(Ordering::Acquire) == IN_BACKGROUND
    }

    /// Waits for a turn.
    fn begin_turn(&self) -> Result<()> {
        let wanted = || {
            self.check()?;
            self.cancel.check()
        };
        let lane = self.lanes.enter(wanted)?;
        *self.turn.lock() = Some((lane, self.clock.monotonic()));
        Ok(())
    }

    fn end_turn(&self) {
        *self.turn.lock() = None;
    }

    fn make_way(&self) {
        let is_over = |(_, since): &(Lane, Duration)| self.clock.monotonic().saturating_sub(*since) >= TURN;
        if self.turn.lock().as_ref().is_some_and(is_over) && self.lanes.is_crowded() {
            self.end_turn();
            // Where it fails nobody wants the rows, and the scan is about to find the same.
            let _ = self.begin_turn();
        }
    }

    /// 57014 where nobody wants the rest of the query.
    pub(super) fn check(&self) -> Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(Error::new(SqlState::QUERY_CANCELED, "nobody wants the rest of the query's rows"));
        }
        Ok(())
    }
}

/// The batches of a running query.
pub(super) struct Batches {
    ctx: QueryContext,
    pace: Arc<Pace>,
    running: Running,
}

enum Running {
    Here(SendableRecordBatchStream),
    /// On a thread of its own.
    Elsewhere(Receiver<DfResult<RecordBatch>>),
}

impl Batches {
    pub(super) fn new(ctx: &QueryContext, pace: Arc<Pace>, stream: SendableRecordBatchStream) -> Batches {
        Batches { ctx: ctx.clone(), pace, running: Running::Here(stream) }
    }

    /// The next batch; `None` at the end.
    pub(super) fn next(&mut self) -> Option<DfResult<RecordBatch>> {
        let pace = &self.pace;
        if let Running::Here(stream) = &mut self.running {
            let _tasks = self.ctx.runtime.enter();
            let next = futures::executor::block_on(futures::future::poll_fn(|context| {
                match stream.poll_next_unpin(context) {
                    Poll::Pending if pace.place.load(Ordering::Acquire) == PAUSED => Poll::Ready(None),
                    polled => polled.map(Some),
                }
            }));
            match next {
                Some(batch) => return batch,
                None => self.go_elsewhere(),
            }
        }
        match &self.running {
            Running::Elsewhere(batches) => batches.recv().ok(),
            // There was no thread to be had.
            Running::Here(_) => self.next(),
        }
    }

    fn go_elsewhere(&mut self) {
        self.pace.place.store(IN_BACKGROUND, Ordering::Release);
        let (sender, receiver) = sync_channel(1);
        let handed = Running::Elsewhere(receiver);
        let Running::Here(stream) = std::mem::replace(&mut self.running, handed) else { return };
        let place = Arc::new(Mutex::new(Some(stream)));
        let theirs = Arc::clone(&place);
        let runtime = Arc::clone(&self.ctx.runtime);
        let pace = Arc::clone(&self.pace);
        let work = move || {
            let Some(mut stream) = theirs.lock().take() else { return };
            let _tasks = runtime.enter();
            loop {
                let next = match pace.begin_turn() {
                    Ok(()) => catch_unwind(AssertUnwindSafe(|| futures::executor::block_on(stream.next()))),
                    Err(error) => Ok(Some(Err(into_datafusion(error)))),
                };
                // Not while the client takes its rows, as long as that may be.
                pace.end_turn();
                let last = !matches!(next, Ok(Some(Ok(_))));
                let batch = match next {
                    Ok(None) => return,
                    Ok(Some(batch)) => batch,
                    Err(_) => Err(into_datafusion(Error::internal("a query panicked"))),
                };
                if sender.send(batch).is_err() || last {
                    return;
                }
            }
        };
        let spawner = &self.ctx.read.engine.env().spawner;
        if let Err(error) = spawner.spawn_background("driftdb-scan", Box::new(work)) {
            tracing::warn!(%error, "a long query goes on where it is: there is no thread for it");
            if let Some(stream) = place.lock().take() {
                self.running = Running::Here(stream);
            }
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.pace.abandoned.store(true, Ordering::Relaxed);
    }
}
