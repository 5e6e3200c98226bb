//! The engine: opening a directory, recovering it, and handing out transactions.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use driftdb_env::{DiskLock, Env, TaskHandle};
use driftdb_store::{Checkpoint, Store, StoreView};
use driftdb_types::{CommitSeq, Error, Result, SqlState, Stamp, TableSchema, TreeId, TxnId};
use parking_lot::Mutex;

use crate::advisory::SessionLocks;
use crate::budget::{Budget, Charge};
use crate::cancel::Cancel;
use crate::catalog::{Catalog, Catalogs, KnownTrees};
use crate::commits::{self, Commits};
use crate::counters::Counters;
use crate::error::{io_error, shutting_down};
use crate::locks::LockTable;
use crate::options::EngineOptions;
use crate::pipeline::{Pipeline, PipelineParts};
use crate::reads::ReadTracker;
use crate::recent::RecentWrites;
use crate::record::CommitRecord;
use crate::recovery::{Recovery, replay};
use crate::retention::{self, Collector};
use crate::transaction::{Transaction, TxnOptions};
use crate::txid::{NamedTransactions, SessionTxid};
use crate::verify::{self, CommitDigest, Verification};

/// The file whose lock says that a process has the directory.
const LOCK_FILE: &str = "LOCK";
/// The part of the transactions' memory in which recent writes are kept for those who may have read them.
const RECENT_SHARE: usize = 8;
/// Where the commit log is, in the data directory.
pub const LOG_DIR: &str = "log";

/// An open database directory. A clone is another handle of the same; the last one to go ends the threads, without a
/// checkpoint (as a crash would): see [`Engine::close`].
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    options: EngineOptions,
    store: Store,
    catalogs: Arc<Catalogs>,
    counters: Arc<Counters>,
    locks: Arc<LockTable>,
    named: NamedTransactions,
    budget: Arc<Budget>,
    pipeline: Arc<Pipeline>,
    thread: Mutex<Option<TaskHandle>>,
    collector: Arc<Collector>,
    /// Whoever erases.
    erasing: Mutex<()>,
    closed: AtomicBool,
    recovery: Recovery,
    env: Env,
    /// Held until the engine goes.
    directory: Mutex<Option<Box<dyn DiskLock>>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("stamp", &self.stamp()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens a database directory, making an empty one where there is none, and recovers what was committed.
    ///
    /// 55006 when another process has it open, 58030 when the disk fails, XX001 when files are damaged.
    pub fn open(env: Env, dir: &Path, options: EngineOptions) -> Result<Engine> {
        env.disk.create_dir_all(dir).map_err(|error| io_error(&format!("cannot make {}", dir.display()), &error))?;
        let directory = lock_directory(&env, dir)?;
        let known = Arc::new(KnownTrees::default());
        let store = Store::open(env.clone(), dir, options.store.clone(), Arc::<KnownTrees>::clone(&known))?;
        match Engine::start(env, dir, options, &store, known) {
            Ok(engine) => {
                *engine.inner.directory.lock() = Some(directory);
                Ok(engine)
            }
            Err(error) => {
                // While the directory is still ours.
                store.close();
                Err(error)
            }
        }
    }

    fn start(env: Env, dir: &Path, options: EngineOptions, store: &Store, known: Arc<KnownTrees>) -> Result<Engine> {
        // Flush needs to know the tables before the first commit is replayed.
        Catalogs::load(Arc::clone(&known), &store.view())?;
        let trimmer: Arc<OnceLock<Weak<Pipeline>>> = Arc::default();
        if options.background {
            let trimmer = Arc::clone(&trimmer);
            store.start_background(Arc::new(move |checkpoint: Checkpoint| {
                if let Some(pipeline) = trimmer.get().and_then(Weak::upgrade) {
                    pipeline.trim_log(checkpoint.lsn);
                }
            }))?;
        }
        let engine = Engine::recover(env, dir, options, store.clone(), known)?;
        let _ = trimmer.set(Arc::downgrade(&engine.inner.pipeline));
        engine.finish_erasing()?;
        let (pipeline, checkpoint) = (&engine.inner.pipeline, store.checkpoint());
        if engine.inner.options.background {
            pipeline.trim_log(checkpoint.lsn);
            engine.inner.collector.start(&engine, Arc::downgrade(&engine.inner))?;
        } else {
            pipeline.remove_log_before(checkpoint.lsn);
        }
        Ok(engine)
    }

    fn recover(env: Env, dir: &Path, options: EngineOptions, store: Store, known: Arc<KnownTrees>) -> Result<Engine> {
        let (log, recovery) = replay(&env, &dir.join(LOG_DIR), &options, &store, &known)?;
        let view = store.view();
        let catalogs = Arc::new(Catalogs::load(Arc::clone(&known), &view)?);
        for (table, horizon) in retention::horizons(&view)? {
            known.set_horizon(table, horizon.stamp.seq);
            // Nobody reads yet.
            store.raise_horizon(&known.trees_of(table), || Ok::<_, Error>(horizon.stamp.seq))?;
        }
        let (floors, digest) = commits::last(&view)?.unzip();
        let counters = Arc::new(Counters::new(floors));
        let budget = Budget::new(options.transaction_bytes_max);
        let recent_max = options.transaction_bytes_max / RECENT_SHARE;
        let pipeline = Arc::new(Pipeline::new(PipelineParts {
            env: env.clone(),
            store: store.clone(),
            catalogs: Arc::clone(&catalogs),
            counters: Arc::clone(&counters),
            log,
            last: view.stamp(),
            last_digest: digest.unwrap_or_default(),
            recent: RecentWrites::new(view.stamp().seq, recent_max, &budget),
            queue_max: options.commit_queue_max,
            clock_skew_max: options.clock_skew_max,
            room_timeout: options.room_timeout,
        }));
        let thread = {
            let pipeline = Arc::clone(&pipeline);
            env.spawner
                .spawn("commit", Box::new(move || pipeline.run()))
                .map_err(|error| io_error("cannot start the commit thread", &error))?
        };
        let inner = Inner {
            locks: Arc::new(LockTable::new(Arc::clone(&env.clock))),
            named: NamedTransactions::default(),
            budget,
            options,
            store,
            catalogs,
            counters,
            pipeline,
            thread: Mutex::new(Some(thread)),
            collector: Arc::default(),
            erasing: Mutex::default(),
            closed: AtomicBool::new(false),
            recovery,
            env,
            directory: Mutex::new(None),
        };
        Ok(Engine { inner: Arc::new(inner) })
    }

    /// Another handle, while there is one.
    pub(crate) fn of(inner: &Weak<Inner>) -> Option<Engine> {
        inner.upgrade().map(|inner| Engine { inner })
    }

    /// What was ever defined.
    pub(crate) fn known(&self) -> &KnownTrees {
        self.inner.catalogs.known()
    }

    /// Ends it in good order: refuses new commits, waits for those under way, makes a checkpoint, ends the threads and
    /// gives the directory up. A second call does nothing.
    pub fn close(&self) -> Result<()> {
        if self.inner.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.inner.collector.stop();
        self.inner.pipeline.close();
        self.inner.store.stop_background();
        // A log that failed may hold less than the store has been given; recovery is to start from the log then.
        let flushed = match self.inner.pipeline.check_writable() {
            Ok(()) => self.inner.store.flush().map(drop).map_err(Error::from),
            Err(_) => Ok(()),
        };
        if flushed.is_ok() {
            self.inner.pipeline.remove_log_before(self.inner.store.checkpoint().lsn);
        }
        self.inner.end_thread();
        // Sessions and views may outlive this; the next opener must not meet them in the files.
        self.inner.store.close();
        *self.inner.directory.lock() = None;
        flushed
    }

    /// The newest visible commit.
    pub fn stamp(&self) -> Stamp {
        self.inner.store.view().stamp()
    }

    /// The newest view: takes no lock, and stands still.
    pub fn view(&self) -> Arc<StoreView> {
        self.inner.store.view()
    }

    /// The newest view and its catalog, which belong together.
    pub fn snapshot(&self) -> (Arc<StoreView>, Arc<Catalog>) {
        loop {
            let view = self.inner.store.view();
            if let Some(catalog) = self.inner.catalogs.of(&view) {
                return (view, catalog);
            }
        }
    }

    /// [`Engine::snapshot`], with what is to be told of its reads; what is committed after it is kept for them.
    pub(crate) fn tracked_snapshot(&self) -> ((Arc<StoreView>, Arc<Catalog>), Arc<ReadTracker>) {
        let recent = self.inner.pipeline.recent();
        let (seq, snapshot) = recent.enter(|| {
            let snapshot = self.snapshot();
            (snapshot.0.stamp().seq, snapshot)
        });
        let charge = self.inner.budget.take_anyway(0);
        (snapshot, Arc::new(ReadTracker::new(Arc::clone(recent), seq, charge)))
    }

    /// The newest catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.snapshot().1
    }

    /// The catalog as of the visible commit `seq`, read as [`Engine::view_as_of`] says.
    pub fn catalog_at(&self, view: &Arc<StoreView>, seq: CommitSeq) -> Result<Arc<Catalog>> {
        self.inner.catalogs.at(&self.view_as_of(view, seq), seq)
    }

    /// The latest definition a table ever had, dropped or not.
    pub fn table_ever(&self, id: TreeId) -> Option<Arc<TableSchema>> {
        self.inner.catalogs.ever(id)
    }

    /// Begins a transaction; `cancel` ends its waits.
    pub fn begin(&self, options: TxnOptions, cancel: Arc<Cancel>) -> Transaction {
        Transaction::new(self.clone(), options, cancel, None)
    }

    /// Begins a transaction of a session: its locks are the session's.
    pub fn begin_in(&self, session: &Arc<SessionLocks>, options: TxnOptions, cancel: Arc<Cancel>) -> Transaction {
        Transaction::new(self.clone(), options, cancel, Some(Arc::clone(session)))
    }

    /// What names a session's transactions.
    pub fn session_txid(&self) -> Arc<SessionTxid> {
        Arc::new(SessionTxid::new(self.clone()))
    }

    /// A session's place in the table of locks.
    pub fn session_locks(&self) -> Arc<SessionLocks> {
        Arc::new(SessionLocks::new(self.clone()))
    }

    /// The last commit of the view at or before a time (microseconds since 1970 UTC); [`CommitSeq::ZERO`] when the first
    /// commit came later. For a time after the view's stamp that is not the last word: see [`Engine::seq_as_of`].
    pub fn seq_at_time(&self, view: &StoreView, time_us: i64) -> Result<CommitSeq> {
        commits::seq_at_time(view, time_us)
    }

    /// What `AS OF` a time means: as [`Engine::seq_at_time`], but the same for all who ask, now and ever after. The commit
    /// may be newer than `view`: [`Engine::view_as_of`] has one to read it from. Waits for commits that are on their way,
    /// until `cancel` ends that.
    ///
    /// 22023 when the time is in the future; 58030 when a failure left open what was committed then.
    pub fn seq_as_of(&self, view: &StoreView, time_us: i64, cancel: &Cancel) -> Result<CommitSeq> {
        if time_us <= view.stamp().time_us {
            return commits::seq_at_time(view, time_us);
        }
        // The last commit can be ahead of the clock, after it was set back.
        let now_us = self.inner.env.clock.now_us().max(self.stamp().time_us);
        self.inner.pipeline.times().ask(time_us, now_us, cancel)?;
        commits::seq_at_time(&self.view(), time_us)
    }

    /// A view in which the visible commit `seq` can be read: this one, or the newest. The past is the same in both.
    pub fn view_as_of(&self, view: &Arc<StoreView>, seq: CommitSeq) -> Arc<StoreView> {
        if seq <= view.stamp().seq { Arc::clone(view) } else { self.view() }
    }

    /// Who made a commit, and what it touched; `None` when the view has no such commit.
    pub fn commit_record(&self, view: &StoreView, seq: CommitSeq) -> Result<Option<CommitRecord>> {
        commits::commit_record(view, seq)
    }

    /// What stands for a commit and for all that was committed before it, down to the last byte: noted down, it shows later
    /// whether anybody changed them ([`Engine::verify`]). `None` when the view has no such commit.
    pub fn digest(&self, view: &StoreView, seq: CommitSeq) -> Result<Option<CommitDigest>> {
        Ok(commits::digest(view, seq)?.map(|digest| CommitDigest { seq, digest }))
    }

    /// Whether everything is what was committed, and still leads to the digests that were noted earlier. Reads all there is.
    pub fn verify(&self, noted: &[CommitDigest]) -> Result<Verification> {
        verify::verify(self.store(), self.known(), noted)
    }

    /// The commits of a range, in order or against it.
    pub fn commits(&self, view: &Arc<StoreView>, range: RangeInclusive<CommitSeq>, reverse: bool) -> Result<Commits> {
        Commits::new(view, &range, reverse)
    }

    /// Why the engine takes no commits any more, if so.
    pub fn read_only_reason(&self) -> Option<Error> {
        self.inner.pipeline.check_writable().err()
    }

    /// What was found when the directory was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// The store below, to flush and compact by hand.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The machine it runs on.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// How it was set up.
    pub fn options(&self) -> &EngineOptions {
        &self.inner.options
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.inner.closed.load(Ordering::Relaxed) { Err(shutting_down()) } else { Ok(()) }
    }

    pub(crate) fn newest_catalog(&self) -> Arc<Catalog> {
        self.inner.catalogs.newest()
    }

    pub(crate) fn erasing(&self) -> &Mutex<()> {
        &self.inner.erasing
    }

    pub(crate) fn locks(&self) -> &Arc<LockTable> {
        &self.inner.locks
    }

    pub(crate) fn named_transactions(&self) -> &NamedTransactions {
        &self.inner.named
    }

    /// Counts `bytes` that a session is about to take, for a statement or its parameters, against the bound on all
    /// transactions' memory ([`EngineOptions::transaction_bytes_max`]). 53200 when there is not so much left.
    pub fn charge(&self, bytes: usize) -> Result<Charge> {
        self.inner.budget.take(bytes)
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.inner.budget
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.inner.pipeline
    }

    pub(crate) fn next_txn(&self) -> TxnId {
        self.inner.counters.next_txn()
    }

    pub(crate) fn next_row(&self) -> i64 {
        self.inner.counters.next_row()
    }

    pub(crate) fn next_object(&self) -> Result<TreeId> {
        self.inner.counters.next_object()
    }
}

impl Inner {
    fn end_thread(&self) {
        self.pipeline.stop();
        let thread = self.thread.lock().take();
        if let Some(Err(panicked)) = thread.map(TaskHandle::join) {
            tracing::error!(%panicked, "the commit thread ended badly");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.store.stop_background();
        self.end_thread();
        // Views may still be there. The directory is given up after this.
        self.store.close();
    }
}

/// Locks a data directory without opening it, for those who look at its files. 55006 when another process has it.
pub fn lock_directory(env: &Env, dir: &Path) -> Result<Box<dyn DiskLock>> {
    let path = dir.join(LOCK_FILE);
    env.disk.lock(&path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            let message = format!("the data directory {} is in use by another process", dir.display());
            Error::new(SqlState::OBJECT_IN_USE, message)
                .hint("Only one process can have a data directory open. Connect to that one, or stop it.")
        } else {
            io_error(&format!("cannot lock {}", path.display()), &error)
        }
    })
}
