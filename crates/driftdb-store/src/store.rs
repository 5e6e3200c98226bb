//! The store: one writer's memtable, the views published from it, and what moves versions down in the background.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use driftdb_env::Env;
use driftdb_types::Stamp;
use parking_lot::Mutex;

use crate::memtable::Memtable;
use crate::{Checkpoint, CommitBatch, Result, SchemaSource, StoreOptions, StoreView};

/// The store. A clone is another handle of the same.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    view: ArcSwap<StoreView>,
    active: Mutex<Memtable>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `dir`, making an empty one where there is none. The caller holds the directory's lock.
    pub fn open(_env: Env, _dir: &Path, _options: StoreOptions, _schemas: Arc<dyn SchemaSource>) -> Result<Store> {
        let view = ArcSwap::from_pointee(StoreView::new(Stamp::ZERO, Vec::new()));
        Ok(Store { shared: Arc::new(Shared { view, active: Mutex::default() }) })
    }

    /// Up to where everything is durable here.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::ZERO
    }

    /// Takes a commit's changes into the active memtable; readers see them after [`Store::publish`]. One caller only,
    /// in stamp order. A commit at or before the checkpoint (read again at recovery) is ignored.
    pub fn apply(&self, commit: &CommitBatch<'_>) {
        self.shared.active.lock().apply(commit);
    }

    /// Makes every applied commit visible.
    pub fn publish(&self) {
        let active = self.shared.active.lock().clone();
        self.shared.view.store(Arc::new(StoreView::new(active.last(), vec![active])));
    }

    /// Waits while too many sealed memtables wait for their flush. Fails when none was flushed within `timeout`, or when
    /// the flush has been failing for longer than [`StoreOptions::error_grace`]: commits are then to be refused with
    /// this error.
    pub fn wait_for_room(&self, _timeout: Duration) -> Result<()> {
        Ok(())
    }

    /// What is visible now. Takes no lock.
    pub fn view(&self) -> Arc<StoreView> {
        self.shared.view.load_full()
    }

    /// Seals the active memtable and flushes everything sealed, before it returns. Whether there was anything.
    pub fn flush(&self) -> Result<bool> {
        Ok(false)
    }

    /// Makes one compaction, if one is due. Whether one was.
    pub fn compact(&self) -> Result<bool> {
        Ok(false)
    }

    /// Starts the threads that flush and compact. After each checkpoint `on_checkpoint` is called, on one of them.
    pub fn start_background(&self, _on_checkpoint: Arc<dyn Fn(Checkpoint) + Send + Sync>) -> Result<()> {
        Ok(())
    }

    /// Ends the background threads and waits for them. A flush under way is finished first.
    pub fn stop_background(&self) {}
}
