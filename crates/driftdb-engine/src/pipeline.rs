//! The commit pipeline: the one place where commits get their order.
//!
//! ```text
//!   sessions ──► queue ──► validate ─ stamp ─ log.append (one fdatasync a group) ─ store.apply ─ publish ─► locks go, answers
//! ```
//!
//! Whoever writes owns the [`Writer`]. A session that finds nobody at it writes its own commit on its own thread: the
//! latency of a single client has no change of threads in it. Commits that arrive meanwhile gather in the queue; when
//! the session is done it hands over to the pipeline's thread, which takes all that wait as one group, again and again
//! until the queue is empty. (Group commit: DeWitt et al., "Implementation Techniques for Main Memory Database
//! Systems", 1984.)
//!
//! *Gathering.* Who was answered a moment ago is likely to be back soon with another commit. Without care, sessions
//! split in two halves that take turns, each waiting for the sync of the other; so the thread waits a little, a
//! fraction of what the last sync took, for as many commits as there were sessions lately, and less long each time
//! that was in vain. A session that is alone never waits. (The adaptive form of PostgreSQL's `commit_delay`.)
//!
//! *Order within a group*: everything is durable before anything is visible; catalog and view are set together; locks
//! are released after that, so who gets one finds the commit it waited for; answers come last.
//!
//! *Validation.* What a SERIALIZABLE transaction read must be true still at the place its commit takes: its reads are held
//! against the keys of all commits after its snapshot, those before it in its own group included. The session does so up to
//! the last commit before it enters the queue; the few that come between are left for here.
//!
//! *Failures.* An error that leaves the log usable (no space) fails the group, and its stamps are given again. After
//! any other the state of the disk is unknown, and the engine is read-only from then on.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use driftdb_env::Env;
use driftdb_log::{Log, LogError};
use driftdb_store::{CommitBatch, Store, Write};
use driftdb_types::{CommitSeq, Digest, Error, Lsn, Result, SqlState, Stamp, TreeId};

use crate::budget::Charge;
use crate::cancel::Cancel;
use crate::catalog::{Catalog, CatalogChange, Catalogs};
use crate::commits::{commit_key, entry_digest};
use crate::counters::Counters;
use crate::error::{log_error, shutting_down};
use crate::reads::ReadTracker;
use crate::recent::{RecentCommit, RecentWrites, Written};
use crate::record::RecordBuffer;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::times::Times;
use crate::transaction::HeldLocks;

/// A commit that is to be written.
pub(crate) struct CommitRequest {
    /// Encoded but for its stamp.
    pub(crate) record: RecordBuffer,
    pub(crate) writes: Vec<Write>,
    /// Their keys.
    pub(crate) written: Arc<Written>,
    /// What has to be true still.
    pub(crate) reads: Option<UncheckedReads>,
    pub(crate) catalog: Vec<CatalogChange>,
    /// Released when the commit is visible, or has failed.
    pub(crate) locks: HeldLocks,
    /// For record and writes, given back at the same time.
    pub(crate) charge: Charge,
}

/// The reads of a transaction, which are true as of a commit and are to be found true as of later ones.
#[derive(Debug)]
pub(crate) struct UncheckedReads {
    reads: Arc<ReadTracker>,
    true_at: CommitSeq,
}

impl UncheckedReads {
    pub(crate) fn new(reads: Arc<ReadTracker>) -> UncheckedReads {
        reads.settle();
        UncheckedReads { true_at: reads.snapshot(), reads }
    }

    fn check(&mut self, seq: CommitSeq, written: &Written) -> Result<(), Outdated> {
        match self.reads.outdated_by(seq, written) {
            Some(tree) => Err(Outdated { seq, tree }),
            None => {
                self.true_at = seq;
                Ok(())
            }
        }
    }
}

/// A commit changed what a transaction had read of a tree.
struct Outdated {
    seq: CommitSeq,
    tree: TreeId,
}

/// What the owner of the pipeline works with.
#[derive(Debug)]
struct Writer {
    log: Log,
    last: Stamp,
    /// Of the last commit's entry.
    last_digest: Digest,
    /// The clock was found behind by more than the bound, and that was said.
    skewed: bool,
    /// How long the last append took.
    append_time: Duration,
}

/// How long, and for how many commits, the thread waits before it writes.
#[derive(Clone, Copy, Debug, Default)]
struct Gather {
    /// The size of the group before.
    last_group: usize,
    /// How many commits are waited for; 0: none.
    target: usize,
    /// How often waiting was in vain lately.
    misses: u32,
    /// How many groups were not waited for since.
    skipped: u32,
}

/// How long who waits to be written looks away from the wish to cancel that.
const LOOK: Duration = Duration::from_millis(50);
/// The share of the last append's time for which the thread waits at most.
const GATHER_SHARE: u32 = 3;
/// Less than this is not worth a sleep.
const GATHER_MIN: Duration = Duration::from_micros(20);
/// More than this is too long for who waits already.
const GATHER_MAX: Duration = Duration::from_millis(2);
/// After so many waits in vain the wait has become short enough.
const MISSES_MAX: u32 = 5;
/// After so many groups it is tried again.
const SKIPS_MAX: u32 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    Session,
    Thread,
}

struct Queue {
    waiting: VecDeque<(CommitRequest, Arc<Answer>)>,
    owner: Owner,
    gather: Gather,
    /// The log before this is not needed any more.
    trim: Option<Lsn>,
    closed: bool,
    stop: bool,
}

/// A group has at most this many bytes of records, or one commit: the store takes a group as a whole, and so does memory.
const GROUP_BYTES_MAX: usize = 64 << 20;

impl Queue {
    /// Takes those who are to be written together out of the queue.
    fn take_group(&mut self) -> Vec<(CommitRequest, Arc<Answer>)> {
        let sizes = self.waiting.iter().map(|(request, _)| request.record.as_ref().len());
        let count = group_len(sizes);
        self.waiting.drain(..count).collect()
    }
}

/// How many of the records with these sizes make a group.
fn group_len(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0_usize;
    let fits = |size: &usize| {
        let is_first = bytes == 0;
        bytes = bytes.saturating_add(*size);
        is_first || bytes <= GROUP_BYTES_MAX
    };
    sizes.take_while(fits).count()
}

/// Where a session waits for its commit.
#[derive(Debug, Default)]
struct Answer {
    result: Mutex<Option<Result<Stamp>>>,
    given: Condvar,
}

impl Answer {
    fn give(&self, result: Result<Stamp>) {
        *self.result.lock() = Some(result);
        self.given.notify_one();
    }

    /// The answer; `None` when there is none within this time.
    fn wait(&self, within: Duration) -> Option<Result<Stamp>> {
        let mut result = self.result.lock();
        if result.is_none() {
            self.given.wait_for(&mut result, within);
        }
        result.take()
    }
}

/// See the head of the file.
pub(crate) struct Pipeline {
    env: Env,
    store: Store,
    catalogs: Arc<Catalogs>,
    counters: Arc<Counters>,
    queue_max: usize,
    clock_skew_max: Duration,
    room_timeout: Duration,
    queue: Mutex<Queue>,
    /// The thread became the owner, or is to stop.
    work: Condvar,
    /// The queue was emptied.
    room: Condvar,
    /// Nobody is the owner.
    idle: Condvar,
    /// Locked by the owner; and by the engine's close, which trims the log when nobody is the owner any more.
    writer: Mutex<Writer>,
    times: Times,
    recent: Arc<RecentWrites>,
    read_only: ArcSwapOption<Error>,
}

/// What a pipeline is made from.
pub(crate) struct PipelineParts {
    pub(crate) env: Env,
    pub(crate) store: Store,
    pub(crate) catalogs: Arc<Catalogs>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Log,
    pub(crate) last: Stamp,
    pub(crate) last_digest: Digest,
    pub(crate) recent: RecentWrites,
    pub(crate) queue_max: usize,
    pub(crate) clock_skew_max: Duration,
    pub(crate) room_timeout: Duration,
}

impl Pipeline {
    pub(crate) fn new(parts: PipelineParts) -> Pipeline {
        Pipeline {
            env: parts.env,
            store: parts.store,
            catalogs: parts.catalogs,
            counters: parts.counters,
            queue_max: parts.queue_max.max(1),
            clock_skew_max: parts.clock_skew_max,
            room_timeout: parts.room_timeout,
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                owner: Owner::Nobody,
                gather: Gather::default(),
                trim: None,
                closed: false,
                stop: false,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            idle: Condvar::new(),
            writer: Mutex::new(Writer {
                log: parts.log,
                last: parts.last,
                last_digest: parts.last_digest,
                skewed: false,
                append_time: Duration::ZERO,
            }),
            times: Times::new(),
            recent: Arc::new(parts.recent),
            read_only: ArcSwapOption::empty(),
        }
    }

    /// Writes a commit and waits until it is durable and visible.
    ///
    /// `cancel` ends waiting for a place in the queue, and in it; not the write.
    pub(crate) fn commit(&self, mut request: CommitRequest, cancel: &Cancel) -> Result<Stamp> {
        self.check_writable()?;
        // As far as it can be done here it need not be done where all have to wait for it.
        if let Some(reads) = &mut request.reads {
            self.check_recent(reads)?;
        }
        let answer = Arc::new(Answer::default());
        let mut queue = self.queue.lock();
        while queue.waiting.len() >= self.queue_max && !queue.closed {
            cancel.check()?;
            self.room.wait_for(&mut queue, LOOK);
        }
        if queue.closed {
            return Err(shutting_down());
        }
        if queue.owner == Owner::Nobody {
            queue.owner = Owner::Session;
            drop(queue);
            let mut group = vec![(request, Arc::clone(&answer))];
            self.write_group(&mut group);
            self.hand_over();
        } else {
            queue.waiting.push_back((request, Arc::clone(&answer)));
            let is_complete = queue.waiting.len() == queue.gather.target;
            drop(queue);
            if is_complete {
                self.work.notify_one();
            }
        }
        loop {
            if let Some(result) = answer.wait(LOOK) {
                return result;
            }
            if let Err(cancelled) = cancel.check()
                && self.withdraw(&answer)
            {
                return Err(cancelled);
            }
        }
    }

    /// Takes a commit out of the queue. `false`: it is being written, or was.
    fn withdraw(&self, answer: &Arc<Answer>) -> bool {
        let mut queue = self.queue.lock();
        let place = queue.waiting.iter().position(|(_, waiting)| Arc::ptr_eq(waiting, answer));
        let withdrawn = place.and_then(|place| queue.waiting.remove(place));
        drop(queue);
        // All: who enters now may find no owner, and leave the place to the next.
        self.room.notify_all();
        // Its locks go with it, outside of the queue's mutex.
        withdrawn.is_some()
    }

    /// Fails when the engine is read-only, with the reason.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.read_only.load().as_deref() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// What was committed of late.
    pub(crate) fn recent(&self) -> &Arc<RecentWrites> {
        &self.recent
    }

    /// Where those who ask about a time meet the commits that are on their way.
    pub(crate) fn times(&self) -> &Times {
        &self.times
    }

    /// Lets the thread delete log segments that are not needed to recover. Nothing happens once the pipeline is closed: a
    /// checkpoint can be told of when there is no thread any more to become the owner, and to give that up.
    pub(crate) fn trim_log(&self, before: Lsn) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        queue.trim = Some(before);
        if queue.owner == Owner::Nobody {
            queue.owner = Owner::Thread;
            self.work.notify_one();
        }
    }

    /// The thread's work, until [`Pipeline::stop`].
    pub(crate) fn run(&self) {
        // After a panic the thread goes on, so that those who wait are answered: that nothing is written any more.
        while panic::catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            self.write_panicked();
        }
    }

    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if queue.owner != Owner::Thread {
                if queue.stop {
                    return;
                }
                self.work.wait(&mut queue);
                continue;
            }
            self.gather(&mut queue);
            let trim = queue.trim.take();
            let mut group = queue.take_group();
            if group.is_empty() && trim.is_none() {
                queue.owner = Owner::Nobody;
                self.idle.notify_all();
                continue;
            }
            queue.gather.last_group = group.len();
            self.room.notify_all();
            drop(queue);
            if !group.is_empty() {
                self.write_group(&mut group);
            }
            if let Some(before) = trim {
                self.remove_log_before(before);
            }
            queue = self.queue.lock();
        }
    }

    /// Refuses further commits and waits for those under way.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        self.room.notify_all();
        while queue.owner != Owner::Nobody {
            self.idle.wait(&mut queue);
        }
    }

    /// [`Pipeline::close`], and ends [`Pipeline::run`].
    pub(crate) fn stop(&self) {
        self.close();
        self.queue.lock().stop = true;
        self.work.notify_all();
    }

    /// A session is done with its own commit.
    fn hand_over(&self) {
        let mut queue = self.queue.lock();
        if queue.waiting.is_empty() && queue.trim.is_none() {
            queue.owner = Owner::Nobody;
            // Only close() waits for this.
            if queue.closed {
                self.idle.notify_all();
            }
        } else {
            queue.owner = Owner::Thread;
            queue.gather.last_group = 1;
            self.work.notify_one();
        }
    }

    /// Waits a little for the commits that are likely to come: as many as the last group had, and those that came
    /// while it was written.
    fn gather(&self, queue: &mut MutexGuard<'_, Queue>) {
        if self.check_writable().is_err() {
            return;
        }
        let target = queue.gather.last_group + queue.waiting.len();
        queue.gather.last_group = 0;
        // The owner alone writes, so this is free; only close() may have it, to trim, and then there is no group.
        let append_time = self.writer.lock().append_time;
        let patience = (append_time / GATHER_SHARE).min(GATHER_MAX) / (1 << queue.gather.misses);
        if target < 2 || queue.waiting.len() >= target || queue.closed {
            return;
        }
        if patience < GATHER_MIN {
            // Not now; but the sessions may do otherwise some time later.
            queue.gather.skipped += 1;
            if queue.gather.skipped >= SKIPS_MAX {
                queue.gather.skipped = 0;
                queue.gather.misses = 0;
            }
            return;
        }
        queue.gather.target = target;
        let timed_out = self.work.wait_for(queue, patience).timed_out();
        queue.gather.target = 0;
        queue.gather.misses = if timed_out && queue.waiting.len() < target {
            (queue.gather.misses + 1).min(MISSES_MAX)
        } else {
            queue.gather.misses.saturating_sub(1)
        };
    }

    /// Has the next commit begin a new log segment, so that the ones before can go.
    pub(crate) fn end_log_segment(&self) {
        self.writer.lock().log.end_segment();
    }

    pub(crate) fn remove_log_before(&self, before: Lsn) {
        match self.writer.lock().log.remove_before(before) {
            Ok(0) => {}
            Ok(segments) => tracing::debug!(segments, %before, "log segments removed"),
            // They are removed with the next checkpoint, or the next but one: nothing depends on it.
            Err(error) => tracing::warn!(%error, "log segments could not be removed"),
        }
    }

    /// Commits a group: all of it, or none.
    fn write_group(&self, group: &mut Vec<(CommitRequest, Arc<Answer>)>) {
        // Those who wait are answered whatever happens, also where the code is wrong.
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            self.reject_outdated(group);
            if group.is_empty() { Ok(Vec::new()) } else { self.try_write_group(group) }
        }))
        .unwrap_or_else(|_| Err(self.write_panicked()));
        match result {
            Ok(stamps) => {
                self.times.settle();
                for ((request, answer), stamp) in group.drain(..).zip(stamps) {
                    drop((request.locks, request.charge));
                    answer.give(Ok(stamp));
                }
            }
            Err(error) => {
                match self.check_writable() {
                    Ok(()) => self.times.settle(),
                    Err(_) => self.times.lose(),
                }
                for (request, answer) in group.drain(..) {
                    drop((request.locks, request.charge));
                    answer.give(Err(error.clone()));
                }
            }
        }
    }

    /// Answers those whose reads are no longer true where their turn has come; the others stay in the group.
    fn reject_outdated(&self, group: &mut Vec<(CommitRequest, Arc<Answer>)>) {
        if group.iter().all(|(request, _)| request.reads.is_none()) {
            return;
        }
        let verdicts = self.check_group(group);
        let mut kept = Vec::with_capacity(group.len());
        for ((request, answer), verdict) in group.drain(..).zip(verdicts) {
            match verdict {
                Ok(()) => kept.push((request, answer)),
                Err(error) => {
                    drop((request.locks, request.charge));
                    answer.give(Err(error));
                }
            }
        }
        *group = kept;
    }

    /// Holds the reads of each against all that comes before it: what is recorded, and those of the group that pass.
    fn check_group(&self, group: &mut [(CommitRequest, Arc<Answer>)]) -> Vec<Result<()>> {
        let mut next = self.writer.lock().last.seq.next();
        let mut passed: Vec<RecentCommit> = Vec::new();
        let mut verdicts = Vec::with_capacity(group.len());
        for (request, _) in group {
            let verdict = match &mut request.reads {
                None => Ok(()),
                Some(reads) => self.check_recent(reads).and_then(|()| self.check_against(reads, &passed)),
            };
            if verdict.is_ok() {
                passed.push((next, Arc::clone(&request.written)));
                next = next.next();
            }
            verdicts.push(verdict);
        }
        verdicts
    }

    /// 40001 unless the reads are true at the last commit that is recorded.
    fn check_recent(&self, reads: &mut UncheckedReads) -> Result<()> {
        loop {
            let commits = self.recent.after(reads.true_at)?;
            if commits.is_empty() {
                return Ok(());
            }
            self.check_against(reads, &commits)?;
        }
    }

    fn check_against(&self, reads: &mut UncheckedReads, commits: &[RecentCommit]) -> Result<()> {
        let mut each = commits.iter();
        each.try_for_each(|(seq, written)| reads.check(*seq, written)).map_err(|outdated| self.outdated(&outdated))
    }

    fn outdated(&self, Outdated { seq, tree }: &Outdated) -> Error {
        let what = self.catalogs.newest().describe(*tree);
        Error::new(
            SqlState::SERIALIZATION_FAILURE,
            "could not serialize access due to read/write dependencies among transactions",
        )
        .detail(format!("Commit {seq} changed what this transaction had read of {what}."))
        .hint("The transaction might succeed if retried.")
    }

    fn try_write_group(&self, group: &mut [(CommitRequest, Arc<Answer>)]) -> Result<Vec<Stamp>> {
        self.check_writable()?;
        self.store.wait_for_room(self.room_timeout)?;
        let mut writer = self.writer.lock();
        let (stamps, digest) = self.stamp_group(&mut writer, group)?;
        let records: Vec<&RecordBuffer> = group.iter().map(|(request, _)| &request.record).collect();
        let begun = self.env.clock.monotonic();
        let ends = match writer.log.append(&records) {
            Ok(ends) => ends,
            Err(error) => return Err(self.log_failed(&error)),
        };
        writer.append_time = self.env.clock.monotonic().saturating_sub(begun);
        if let Some(last) = stamps.last() {
            writer.last = *last;
            writer.last_digest = digest;
        }
        self.apply_group(group, &stamps, &ends);
        Ok(stamps)
    }

    /// Gives each commit its place in history, and adds its entry to the tree of commits. Their stamps, and the digest of the
    /// last entry.
    fn stamp_group(
        &self,
        writer: &mut Writer,
        group: &mut [(CommitRequest, Arc<Answer>)],
    ) -> Result<(Vec<Stamp>, Digest)> {
        let now_us = self.env.clock.now_us();
        self.watch_clock(writer, now_us);
        let floors = self.counters.floors();
        let mut next = Stamp {
            seq: writer.last.seq.next(),
            time_us: self.times.begin_group(now_us.max(writer.last.time_us.saturating_add(1))),
        };
        let mut stamps = Vec::with_capacity(group.len());
        let mut digest = writer.last_digest;
        for (request, _) in group.iter_mut() {
            let entry = request.record.stamp(next, floors, digest)?;
            digest = entry_digest(&entry);
            request.writes.push(Write { tree: TreeId::COMMITS, key: commit_key(next.seq), payload: Some(entry) });
            stamps.push(next);
            next = Stamp { seq: next.seq.next(), time_us: next.time_us.saturating_add(1) };
        }
        Ok((stamps, digest))
    }

    fn apply_group(&self, group: &[(CommitRequest, Arc<Answer>)], stamps: &[Stamp], ends: &[Lsn]) {
        let mut catalog: Option<Catalog> = None;
        let mut changed: Vec<CommitSeq> = Vec::new();
        let mut batches = Vec::with_capacity(group.len());
        for (((request, _), stamp), end) in group.iter().zip(stamps).zip(ends) {
            if !request.catalog.is_empty() {
                self.catalogs.learn(&request.catalog);
                let after = match &catalog {
                    Some(catalog) => catalog.after(stamp.seq, &request.catalog),
                    None => self.catalogs.newest().after(stamp.seq, &request.catalog),
                };
                catalog = Some(after);
                changed.push(stamp.seq);
            }
            self.recent.record(stamp.seq, &request.written);
            batches.push(CommitBatch { stamp: *stamp, end_lsn: *end, writes: &request.writes });
        }
        self.store.commit(&batches, || {
            if let Some(catalog) = catalog {
                self.catalogs.publish(Arc::new(catalog), &changed);
            }
        });
        if let Some(last) = stamps.last() {
            self.recent.visible(last.seq);
        }
    }

    /// Says so, once, when the wall clock is far behind the last commit.
    fn watch_clock(&self, writer: &mut Writer, now_us: i64) {
        let ahead_us = writer.last.time_us.saturating_sub(now_us);
        let skewed = ahead_us > i64::try_from(self.clock_skew_max.as_micros()).unwrap_or(i64::MAX);
        if skewed && !writer.skewed {
            tracing::warn!(
                ahead_us,
                "the last commit is ahead of the wall clock; commit times go on in steps of 1 µs until it has caught up"
            );
        }
        writer.skewed = skewed;
    }

    /// How far it came is not known.
    fn write_panicked(&self) -> Error {
        let refused = Error::internal("the database is read-only since writing a commit ended in a panic")
            .hint("Restart the database: it recovers every commit that was acknowledged.");
        tracing::error!("writing a commit panicked; the database is read-only until it is restarted");
        self.read_only.store(Some(Arc::new(refused.clone())));
        refused
    }

    /// What a failed append means for this group and for the engine.
    fn log_failed(&self, error: &LogError) -> Error {
        if !matches!(error, LogError::Poisoned { .. }) {
            return log_error(error);
        }
        let refused = Error::new(
            SqlState::IO_ERROR,
            format!("the database is read-only since writing its commit log failed: {error}"),
        )
        .detail("After a failed write or sync nobody knows what the disk holds, so nothing more is committed.")
        .hint("Look after the disk, then restart the database: it recovers every commit that was acknowledged.");
        tracing::error!(%error, "the commit log failed; the database is read-only until it is restarted");
        self.read_only.store(Some(Arc::new(refused.clone())));
        refused
    }
}

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod shuttle_tests;
#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::path::Path;

    use super::*;
    use crate::{Cancel, CommitMeta, Engine, EngineOptions, TxnOptions};

    fn engine() -> Engine {
        let mut options = EngineOptions { background: false, ..EngineOptions::default() };
        options.log.segment_bytes = 1 << 20;
        Engine::open(Env::sim(1).env, Path::new("/db"), options).unwrap()
    }

    /// A session's CHECKPOINT may come to an end when the engine is closed already.
    #[test]
    fn a_checkpoint_told_of_after_the_end_holds_nobody_up() {
        // Not dropped where the test fails: that is what would hang.
        let engine = ManuallyDrop::new(engine());
        engine.close().unwrap();
        engine.pipeline().trim_log(Lsn(1));
        assert_eq!(engine.pipeline().queue.lock().owner, Owner::Nobody);
        drop(ManuallyDrop::into_inner(engine));
    }

    /// What waits to be written takes its memory still.
    #[test]
    fn a_commit_counts_until_it_is_written() {
        let engine = engine();
        let mut txn = engine.begin(TxnOptions::default(), Arc::new(Cancel::new()));
        txn.begin_statement().unwrap();
        txn.put(TreeId(100), bytes::Bytes::from_static(b"k"), None, Some(vec![b'x'; 10_000].into())).unwrap();
        let wait_for = |owner: Owner| {
            while engine.pipeline().queue.lock().owner != owner {
                engine.env().clock.sleep(Duration::from_millis(1));
            }
        };
        let writer = engine.pipeline().writer.lock();
        let commit = Box::new(move || assert!(txn.commit(&CommitMeta::default()).unwrap().is_some()));
        let session = engine.env().spawner.spawn("session", commit).unwrap();
        wait_for(Owner::Session);
        assert!(engine.budget().used_bytes() > 10_000);
        drop(writer);
        session.join().unwrap();
        assert_eq!(engine.budget().used_bytes(), 0);
    }

    /// A commit that waits for its turn can be taken back; and what it held goes with it.
    #[test]
    fn a_cancel_takes_a_commit_out_of_the_queue() {
        let engine = engine();
        let begin = |key: &'static [u8], cancel: &Arc<Cancel>| {
            let mut txn = engine.begin(TxnOptions::default(), Arc::clone(cancel));
            txn.begin_statement().unwrap();
            txn.put(TreeId(100), bytes::Bytes::from_static(key), None, Some(bytes::Bytes::new())).unwrap();
            txn.lock_name(std::str::from_utf8(key).unwrap()).unwrap();
            txn
        };
        let (first, second) = (Arc::new(Cancel::new()), Arc::new(Cancel::new()));
        let (writes, waits) = (begin(b"a", &first), begin(b"b", &second));
        let writer = engine.pipeline().writer.lock();
        let spawn = |txn: crate::Transaction| {
            let (sender, answer) = std::sync::mpsc::channel();
            let task = Box::new(move || sender.send(txn.commit(&CommitMeta::default())).unwrap());
            (engine.env().spawner.spawn("session", task).unwrap(), answer)
        };
        let (owner, written) = spawn(writes);
        while engine.pipeline().queue.lock().owner != Owner::Session {
            engine.env().clock.sleep(Duration::from_millis(1));
        }
        let (waiter, withdrawn) = spawn(waits);
        while engine.pipeline().queue.lock().waiting.is_empty() {
            engine.env().clock.sleep(Duration::from_millis(1));
        }
        second.cancel();
        assert_eq!(withdrawn.recv().unwrap().unwrap_err().state, SqlState::QUERY_CANCELED);
        // Too late for the one that is being written.
        first.cancel();
        begin(b"b", &Arc::new(Cancel::new())).rollback();
        drop(writer);
        assert!(written.recv().unwrap().unwrap().is_some());
        owner.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(engine.stamp().seq, CommitSeq(1));
    }

    /// Whatever the thread does beside writing may be wrong too.
    #[test]
    fn a_panic_of_the_thread_ends_writing_and_holds_nobody_up() {
        let engine = ManuallyDrop::new(engine());
        let mut txn = engine.begin(TxnOptions::default(), Arc::new(Cancel::new()));
        txn.begin_statement().unwrap();
        txn.put(TreeId(100), bytes::Bytes::from_static(b"k"), None, Some(bytes::Bytes::new())).unwrap();
        // What the thread computes from this overflows.
        engine.pipeline().queue.lock().gather.misses = u32::MAX;
        engine.pipeline().trim_log(Lsn(1));
        assert_eq!(txn.commit(&CommitMeta::default()).unwrap_err().state, SqlState::INTERNAL_ERROR);
        assert!(engine.read_only_reason().is_some());
        drop(ManuallyDrop::into_inner(engine));
    }

    #[test]
    fn a_group_is_bounded_in_bytes() {
        let group = |sizes: &[usize]| group_len(sizes.iter().copied());
        assert_eq!(group(&[]), 0);
        assert_eq!(group(&[100; 50]), 50);
        assert_eq!(group(&[GROUP_BYTES_MAX + 1, 1]), 1, "one commit is always written");
        assert_eq!(group(&[1, GROUP_BYTES_MAX - 1, 1]), 2);
        assert_eq!(group(&[1, GROUP_BYTES_MAX]), 1);
    }
}
