//! The store: one writer's memtable, the views published from it, and what moves versions down.
//!
//! | lock | serialises |
//! |---|---|
//! | `state` | the writer's apply and publish with a flush or compaction installing its result; held for microseconds |
//! | `writing` | whoever writes the base: one flush or one compaction's commit at a time |
//! | `compacting` | compactions |
//!
//! Taken in the order `compacting`, `writing`, `state`. Readers take none: they load the view.
//!
//! *When something fails.* A flush or a compaction that fails leaves everything as it was, and is tried again. Whether a
//! failed redb commit happened after all is not known from the error; so before the next write the store looks
//! ([`Shared::settle`]) and goes on from what it finds. Only a failed *sync* is final: what is durable is then unknown,
//! nothing more is written and commits are refused with the cause until the store is opened again, and what is visible
//! stays readable.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use driftdb_env::{Disk, Env, TaskHandle};
use driftdb_types::{CommitSeq, KeyRange, TreeId};
use parking_lot::{Condvar, Mutex};

use crate::base::{Base, BaseSnapshot};
use crate::compaction::{self, CompactTo, Job};
use crate::flush::FlushTo;
use crate::history::{
    HistoryCursor, Manifest, Segment, SegmentCache, SegmentMeta, is_segment_file_name, segment_file_name,
};
use crate::layers::Layers;
use crate::memtable::Memtable;
use crate::readers::{Hold, Readers};
use crate::{Checkpoint, CommitBatch, Period, Result, SchemaSource, StoreError, StoreOptions, StoreView, Version};

mod background;
mod erase;
mod install;

pub use erase::Erasure;

pub(crate) const HISTORY_DIR: &str = "history";

/// The store. A clone is another handle of the same.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    options: StoreOptions,
    history_dir: PathBuf,
    schemas: Arc<dyn SchemaSource>,
    base: Arc<Base>,
    cache: Arc<SegmentCache>,
    readers: Arc<Readers>,
    view: ArcSwap<StoreView>,
    state: Mutex<State>,
    /// A memtable was sealed or flushed, or the background is to stop.
    changed: Condvar,
    writing: Mutex<Writing>,
    compacting: Mutex<Compacting>,
    next_segment: AtomicU64,
    /// Memtables that are flushed, and still in memory for those who read them.
    held_bytes: Arc<AtomicUsize>,
    background: Mutex<Vec<TaskHandle>>,
}

struct State {
    active: Memtable,
    /// The active memtable as of the last publication.
    visible: Memtable,
    /// Newest first.
    sealed: VecDeque<Memtable>,
    base: BaseSnapshot,
    /// The views that are out, and some that are gone.
    views: Views,
    failure: Option<Failure>,
    /// The background threads are to end.
    stopping: bool,
    /// Counts what a compaction may be due after: flushes, and horizons that moved.
    occasions: u64,
    on_checkpoint: Option<Arc<dyn Fn(Checkpoint) + Send + Sync>>,
    /// The checkpoint that `on_checkpoint` was called with last, or that was there before.
    told: Checkpoint,
}

/// Flushes fail.
struct Failure {
    /// When they began to, on the monotonic clock.
    since: Duration,
    error: Arc<StoreError>,
    /// Nobody tries again.
    is_final: bool,
}

/// What only the writer of the base touches.
#[derive(Default)]
struct Writing {
    /// A write failed, and what it left is not known yet.
    unsettled: bool,
    /// Files of writes that failed: no one's, unless the manifest turns out to name them.
    undecided: Vec<PathBuf>,
    /// Segments that the manifest names no more, but some view may still read.
    obsolete: Vec<Arc<Segment>>,
}

/// What compactions remember.
#[derive(Default)]
struct Compacting {
    /// The trees whose last compaction failed.
    failing: HashMap<TreeId, Failing>,
}

/// A tree whose compactions fail.
struct Failing {
    /// How long it is left alone after this failure; longer after each.
    pause: Duration,
    /// Until when; `None`: until the store is opened again, because what is wrong with it does not pass.
    until: Option<Duration>,
}

/// How long a tree is left alone at most.
const COMPACTION_PAUSE_MAX: Duration = Duration::from_secs(300);

impl Compacting {
    /// Whether the tree is left alone.
    fn pauses(&self, tree: TreeId, now: Duration) -> bool {
        self.failing.get(&tree).is_some_and(|failing| failing.until.is_none_or(|until| now < until))
    }

    fn note_failure(&mut self, tree: TreeId, error: &StoreError, now: Duration, first_pause: Duration) {
        let before = self.failing.get(&tree).map(|failing| failing.pause.saturating_mul(2));
        let pause = before.unwrap_or(first_pause).min(COMPACTION_PAUSE_MAX.max(first_pause));
        let passes = !matches!(error, StoreError::Damaged { .. } | StoreError::Internal(_));
        let until = passes.then(|| now.saturating_add(pause));
        self.failing.insert(tree, Failing { pause, until });
    }

    /// Forgets the failures whose time to try again has come, when there is nothing to try.
    fn forget_past(&mut self, now: Duration) {
        self.failing.retain(|_, failing| failing.until.is_none_or(|until| now < until));
    }

    /// When the next tree is to be tried again.
    fn next_try(&self) -> Option<Duration> {
        self.failing.values().filter_map(|failing| failing.until).min()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("view", &self.view()).finish_non_exhaustive()
    }
}

/// The views that were made, in the order of the layers they read.
#[derive(Default)]
struct Views {
    views: VecDeque<Weak<StoreView>>,
    /// At how many to look for those that are gone: so it is done for each view once or twice.
    sweep_at: usize,
}

impl Views {
    fn add(&mut self, view: &Arc<StoreView>) {
        if self.views.len() >= self.sweep_at {
            self.views.retain(|view| view.strong_count() > 0);
            self.sweep_at = 2 * self.views.len().max(64);
        }
        self.views.push_back(Arc::downgrade(view));
    }

    /// The least stamp of those that are there.
    fn oldest(&mut self) -> Option<CommitSeq> {
        self.views.retain(|view| view.strong_count() > 0);
        self.views.iter().filter_map(|view| Some(view.upgrade()?.stamp().seq)).min()
    }

    /// All that are there.
    fn all(&self) -> Vec<Arc<StoreView>> {
        self.views.iter().filter_map(Weak::upgrade).collect()
    }

    /// Takes out the one that reads the oldest layers.
    fn pop_oldest(&mut self) -> Option<Arc<StoreView>> {
        loop {
            if let Some(view) = self.views.pop_front()?.upgrade() {
                return Some(view);
            }
        }
    }
}

impl State {
    fn publish(&mut self) {
        self.visible = self.active.clone();
    }

    fn seal(&mut self) {
        if !self.active.is_empty() {
            self.sealed.push_front(std::mem::take(&mut self.active));
            self.visible = Memtable::default();
        }
    }

    fn view(&mut self, cache: &Arc<SegmentCache>, readers: &Arc<Readers>) -> Arc<StoreView> {
        let memtables = std::iter::once(&self.visible).chain(&self.sealed).cloned().collect();
        let layers = Arc::new(Layers::new(memtables, self.base.clone(), Arc::clone(cache)));
        readers.set_newest(&layers);
        let view = Arc::new(StoreView::new(layers, Arc::clone(readers)));
        self.views.add(&view);
        view
    }
}

impl Store {
    /// Opens the store in `dir`, making an empty one where there is none. The caller holds the directory's lock, and
    /// applies the commits after [`Store::checkpoint`] again.
    pub fn open(env: Env, dir: &Path, options: StoreOptions, schemas: Arc<dyn SchemaSource>) -> Result<Store> {
        let history_dir = dir.join(HISTORY_DIR);
        env.disk.create_dir_all(&history_dir).map_err(|error| StoreError::io("creating", &history_dir, error))?;
        check_base_is_there(&env.disk, dir, &history_dir)?;
        let base = Arc::new(Base::open(Arc::clone(&env.disk), dir, options.cache_bytes)?);
        let committed = base.committed()?;
        let segments = committed.segments.iter().cloned().map(|meta| Arc::new(Segment::new(meta, &history_dir)));
        let manifest = Manifest::new(segments);
        clear_orphans(&env.disk, &history_dir, &manifest)?;
        let base_snapshot =
            BaseSnapshot { checkpoint: committed.checkpoint, manifest, rows: base.rows(committed.checkpoint)? };
        let cache = Arc::new(SegmentCache::new(Arc::clone(&env.disk), options.history_cache_bytes));
        let mut state = State {
            active: Memtable::default(),
            visible: Memtable::default(),
            sealed: VecDeque::new(),
            base: base_snapshot,
            views: Views::default(),
            failure: None,
            stopping: false,
            occasions: 0,
            on_checkpoint: None,
            told: committed.checkpoint,
        };
        let readers = Arc::new(Readers::default());
        let shared = Shared {
            view: ArcSwap::new(state.view(&cache, &readers)),
            readers,
            env,
            options,
            history_dir,
            schemas,
            base,
            cache,
            state: Mutex::new(state),
            changed: Condvar::new(),
            writing: Mutex::default(),
            compacting: Mutex::default(),
            next_segment: AtomicU64::new(committed.next_segment),
            held_bytes: Arc::default(),
            background: Mutex::default(),
        };
        Ok(Store { shared: Arc::new(shared) })
    }

    /// Up to where everything is durable here.
    pub fn checkpoint(&self) -> Checkpoint {
        self.view().checkpoint()
    }

    /// Takes a commit's changes into the active memtable; readers see them after [`Store::publish`]. One caller only,
    /// in stamp order. A commit at or before the checkpoint (read again at recovery) is ignored.
    pub fn apply(&self, commit: &CommitBatch<'_>) {
        let mut state = self.shared.state.lock();
        if commit.stamp.seq > state.base.checkpoint.stamp.seq {
            state.active.apply(commit);
        }
    }

    /// Makes every applied commit visible.
    pub fn publish(&self) {
        self.shared.publish(&mut self.shared.state.lock());
    }

    /// Applies a group of commits, as [`Store::apply`] does, and makes it visible as one: nobody, not even a flush, sees or
    /// seals a part of it. `before_visible` is called when that is about to happen, for what must not be older than the
    /// view; it must not call the store's writing methods.
    pub fn commit(&self, group: &[CommitBatch<'_>], before_visible: impl FnOnce()) {
        let mut state = self.shared.state.lock();
        // A copy, which costs nothing: should one of the steps panic, no part of the group stays.
        let mut active = state.active.clone();
        for commit in group.iter().filter(|commit| commit.stamp.seq > state.base.checkpoint.stamp.seq) {
            active.apply(commit);
        }
        before_visible();
        state.active = active;
        self.shared.publish(&mut state);
    }

    /// Waits while too many sealed memtables wait for their flush; to be called before a commit is taken on. Fails when
    /// there was no room within `timeout`, when the flush has been failing for longer than
    /// [`StoreOptions::error_grace`], or at once when a sync failed: the commit is then to be refused with this error.
    pub fn wait_for_room(&self, timeout: Duration) -> Result<()> {
        /// How long to rest between two looks.
        const LOOK: Duration = Duration::from_millis(2);
        let clock = &self.shared.env.clock;
        let deadline = clock.monotonic().saturating_add(timeout);
        loop {
            let now = clock.monotonic();
            {
                let state = self.shared.state.lock();
                if let Some(failure) = &state.failure
                    && (failure.is_final
                        || self.shared.base.sync_failed()
                        || now.saturating_sub(failure.since) >= self.shared.options.error_grace)
                {
                    return Err(StoreError::FlushFails(Arc::clone(&failure.error)));
                }
                let sealed = state.sealed.len();
                if sealed < self.shared.options.sealed_max {
                    return Ok(());
                }
                if now >= deadline {
                    let cause = state.failure.as_ref().map(|failure| Arc::clone(&failure.error));
                    return Err(StoreError::NoRoom { sealed, cause });
                }
            }
            clock.sleep(LOOK);
        }
    }

    /// How much memory flushed memtables take that views hold, in bytes; see [`StoreOptions::held_bytes_max`].
    pub fn held_bytes(&self) -> usize {
        self.shared.held_bytes.load(Ordering::Relaxed)
    }

    /// What is visible now. Takes no lock.
    pub fn view(&self) -> Arc<StoreView> {
        self.shared.view.load_full()
    }

    /// Seals the active memtable (publishing it first) and flushes what is sealed then, before it returns. Whether there
    /// was anything.
    pub fn flush(&self) -> Result<bool> {
        self.shared.base.check_open()?;
        let last = {
            let mut state = self.shared.state.lock();
            state.publish();
            state.seal();
            let view = state.view(&self.shared.cache, &self.shared.readers);
            self.shared.view.store(view);
            state.sealed.front().map_or(state.base.checkpoint.stamp, Memtable::last)
        };
        let mut any = false;
        while self.shared.flush_oldest()? {
            any = true;
            // What was sealed meanwhile is not waited for: under constant writes there always is something.
            if self.shared.state.lock().base.checkpoint.stamp >= last {
                break;
            }
        }
        Ok(any)
    }

    /// Ends the background threads and gives the files up, without a flush: from then on they may be another process's.
    /// Views that are still there answer from memory what they can, and fail where they would need the base's file.
    pub fn close(&self) {
        self.stop_background();
        let _compacting = self.shared.compacting.lock();
        let _writing = self.shared.writing.lock();
        self.shared.base.close();
    }

    /// Holds a commit: as of it, everything that can be read now can be read for as long as it is held.
    pub fn hold(&self, seq: CommitSeq) -> Hold {
        self.shared.readers.hold(seq)
    }

    /// Moves the horizon of some trees forward: to what `wanted` gives, or only so far as nobody reads behind it. Gives where it is
    /// then. No version goes by this: [`SchemaSource::horizon`] says which may. While `wanted` is asked nobody begins to hold a
    /// commit; it must not read the past itself.
    pub fn raise_horizon<E>(
        &self,
        trees: &[TreeId],
        wanted: impl FnOnce() -> Result<CommitSeq, E>,
    ) -> Result<CommitSeq, E> {
        let oldest = self.shared.state.lock().views.oldest().unwrap_or(CommitSeq::MAX);
        self.shared.readers.raise(trees, || Ok(wanted()?.min(oldest)))
    }

    /// Moves the horizon of some trees back to where it was before [`Store::raise_horizon`], when what was to follow failed.
    pub fn lower_horizon(&self, trees: &[TreeId], horizon: CommitSeq) {
        self.shared.readers.lower(trees, horizon);
    }

    /// About how many bytes of history's files the versions of a tree take that ended at or before a commit.
    pub fn garbage_bytes(&self, tree: TreeId, horizon: CommitSeq) -> Result<u64> {
        let manifest = self.shared.state.lock().base.manifest.clone();
        let mut bytes = 0;
        for segment in manifest.of(tree).iter().filter(|segment| segment.meta.bounds.to_min <= horizon) {
            let meta = &segment.meta;
            let gone = if meta.bounds.to_max <= horizon {
                meta.rows
            } else {
                let period = Period::ContainedIn { start: CommitSeq::ZERO, end: horizon };
                HistoryCursor::new(&self.shared.cache, segment, &KeyRange::all(), period, false)?.count()?
            };
            bytes +=
                u64::try_from(u128::from(meta.bytes) * u128::from(gone) / u128::from(meta.rows.max(1))).unwrap_or(0);
        }
        Ok(bytes)
    }

    /// Has the background look now for versions that may go.
    pub fn horizons_moved(&self) {
        self.shared.state.lock().occasions += 1;
        self.shared.changed.notify_all();
    }

    /// Makes one compaction, if one is due. Whether one was.
    pub fn compact(&self) -> Result<bool> {
        self.shared.compact(Pick::Any)
    }
}

/// Which trees a compaction may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    Any,
    /// Not those that are left alone since their last compaction failed.
    Promising,
}

/// A history whose base is gone belongs to nothing, but it is not ours to throw away.
fn check_base_is_there(disk: &Arc<dyn Disk>, dir: &Path, history_dir: &Path) -> Result<()> {
    if !Base::is_new(disk, dir)? {
        return Ok(());
    }
    let names = disk.list(history_dir).map_err(|error| StoreError::io("listing", history_dir, error))?;
    match names.into_iter().filter(|name| is_segment_file_name(name)).min() {
        Some(name) => {
            let what = format!("it is missing or empty, but there is history, such as {name}");
            Err(StoreError::damaged(&dir.join(crate::base::FILE_NAME), what))
        }
        None => Ok(()),
    }
}

/// Removes the segments in the history directory that the manifest does not name; misses those it does.
fn clear_orphans(disk: &Arc<dyn Disk>, dir: &Path, manifest: &Manifest) -> Result<()> {
    let mut live: HashSet<String> = manifest.segments().map(|segment| segment.meta.file_name()).collect();
    for name in disk.list(dir).map_err(|error| StoreError::io("listing", dir, error))? {
        if !live.remove(&name) && is_segment_file_name(&name) {
            let path = dir.join(name);
            disk.remove(&path).map_err(|error| StoreError::io("removing", &path, error))?;
        }
    }
    match live.into_iter().min() {
        Some(missing) => Err(StoreError::damaged(&dir.join(missing), "it is missing, but the manifest names it")),
        None => Ok(()),
    }
}

impl Shared {
    fn publish(&self, state: &mut State) {
        state.publish();
        if state.active.bytes() >= self.options.memtable_bytes {
            state.seal();
            self.changed.notify_all();
        }
        self.view.store(state.view(&self.cache, &self.readers));
    }

    /// Where views hold more flushed memtables than they may: moves the oldest ones to what is newest, until enough of them
    /// are free.
    fn move_old_views(&self) {
        let (newest, views) = {
            let state = self.state.lock();
            (self.view.load_full(), state.views.views.len())
        };
        for _ in 0..views {
            if self.held_bytes.load(Ordering::Relaxed) <= self.options.held_bytes_max {
                return;
            }
            let oldest = self.state.lock().views.pop_oldest();
            let Some(oldest) = oldest else { return };
            // Younger ones may have been published meanwhile: those stay.
            if oldest.stamp() <= newest.stamp() {
                oldest.move_to(&newest.layers());
            }
            self.state.lock().views.add(&oldest);
        }
    }

    fn new_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::AcqRel)
    }

    /// Flushes the oldest sealed memtable. Whether there was one.
    fn flush_oldest(&self) -> Result<bool> {
        let mut writing = self.writing.lock();
        let result = self.settle(&mut writing).and_then(|()| {
            let oldest = self.state.lock().sealed.back().cloned();
            let Some(table) = oldest else { return Ok(false) };
            self.flush_table(&mut writing, &table).map(|()| true)
        });
        match &result {
            Ok(_) => {
                let mut state = self.state.lock();
                if state.failure.as_ref().is_some_and(|failure| !failure.is_final) {
                    state.failure = None;
                }
            }
            Err(error) => {
                tracing::error!(%error, "a flush failed");
                self.note_failure(error);
                // Free what the attempt left, now rather than at the next one; if that fails, then.
                if let Err(error) = self.settle(&mut writing) {
                    tracing::warn!(%error, "the failed flush is not settled yet");
                }
            }
        }
        drop(writing);
        self.changed.notify_all();
        self.tell_checkpoint();
        result
    }

    /// Calls the hook if the checkpoint moved, by whatever means: also a write that reported an error may turn out to
    /// have happened.
    fn tell_checkpoint(&self) {
        let (hook, checkpoint) = {
            let mut state = self.state.lock();
            let checkpoint = state.base.checkpoint;
            let Some(hook) = state.on_checkpoint.clone().filter(|_| state.told != checkpoint) else { return };
            state.told = checkpoint;
            (hook, checkpoint)
        };
        hook(checkpoint);
    }

    fn flush_table(&self, writing: &mut Writing, table: &Memtable) -> Result<()> {
        let files = std::cell::RefCell::new(Vec::new());
        let result = self.flush_into_base(table, &|tree| {
            let number = self.new_segment();
            files.borrow_mut().push(self.history_dir.join(segment_file_name(tree, number)));
            number
        });
        self.finish_write(writing, result, files.into_inner())
    }

    fn flush_into_base(&self, table: &Memtable, next_segment: &dyn Fn(TreeId) -> u64) -> Result<()> {
        let write = self.base.begin_write()?;
        let flush = FlushTo {
            disk: &self.env.disk,
            history_dir: &self.history_dir,
            schemas: self.schemas.as_ref(),
            next_segment,
        };
        let segments = flush.run(table, &mut write.rows()?)?;
        write.set_checkpoint(&Checkpoint { stamp: table.last(), lsn: table.end_lsn() })?;
        write.edit_manifest(&[], &segments, self.next_segment.load(Ordering::Acquire))?;
        write.commit()
    }

    fn compact(&self, trees: Pick) -> Result<bool> {
        let mut compacting = self.compacting.lock();
        self.base.check_open()?;
        // Its commit would be refused; do not begin the work.
        self.base.check_synced()?;
        let manifest = self.state.lock().base.manifest.clone();
        let now = self.env.clock.monotonic();
        let due = |tree| trees == Pick::Any || !compacting.pauses(tree, now);
        let Some(job) = compaction::pick(&manifest, &self.options, self.schemas.as_ref(), due) else {
            compacting.forget_past(now);
            return Ok(false);
        };
        drop(manifest);
        let tree = job.tree;
        let result = self.compact_tree(job);
        match &result {
            Ok(()) => {
                compacting.failing.remove(&tree);
            }
            // It was told to stop, and will be begun again.
            Err(StoreError::Closed) => {}
            Err(error) => {
                tracing::error!(%tree, %error, "a compaction failed");
                compacting.note_failure(tree, error, self.env.clock.monotonic(), self.options.retry_delay);
            }
        }
        drop(compacting);
        self.tell_checkpoint();
        result.map(|()| true)
    }

    /// Writes segment `number`: what the job's segments hold, without what `goes`.
    fn merge(&self, job: &Job, number: u64, goes: &dyn Fn(&Version) -> bool) -> Result<Option<SegmentMeta>> {
        let compact = CompactTo {
            disk: &self.env.disk,
            history_dir: &self.history_dir,
            schemas: self.schemas.as_ref(),
            cache: &self.cache,
            number,
            stopping: &|| self.state.lock().stopping,
        };
        compact.run(job, goes)
    }

    fn compact_tree(&self, job: Job) -> Result<()> {
        let tree = job.tree;
        let number = self.new_segment();
        let file = self.history_dir.join(segment_file_name(tree, number));
        // The merging goes on beside flushes; only the commit takes turns with them. It decodes files: a defect there that
        // one tree's files bring out is that tree's failure, and not the end of the thread and with it of all commits.
        let merged = panic::catch_unwind(AssertUnwindSafe(|| self.merge(&job, number, &|_| false)))
            .unwrap_or_else(|_| Err(StoreError::Internal(format!("merging the history of tree {tree} panicked"))));
        let removed: Vec<u64> = job.merged.iter().chain(&job.dropped).map(|segment| segment.meta.number).collect();
        drop(job);
        let mut writing = self.writing.lock();
        let result = merged.and_then(|meta| {
            self.settle(&mut writing)?;
            let write = self.base.begin_write()?;
            write.edit_manifest(&removed, meta.as_slice(), self.next_segment.load(Ordering::Acquire))?;
            write.commit()
        });
        let result = self.finish_write(&mut writing, result, vec![file]);
        if let Err(error) = &result {
            if self.base.sync_failed() {
                self.note_failure(error);
            }
            if let Err(error) = self.settle(&mut writing) {
                tracing::warn!(%error, "the failed compaction is not settled yet");
            }
        }
        result
    }

    fn note_failure(&self, error: &StoreError) {
        let now = self.env.clock.monotonic();
        let mut state = self.state.lock();
        let earlier = state.failure.as_ref();
        if earlier.is_none_or(|failure| !failure.is_final) {
            let since = earlier.map_or(now, |failure| failure.since);
            state.failure = Some(Failure { since, error: Arc::new(error.clone()), is_final: false });
        }
    }
}
