//! redb's bytes, through our disk.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use driftdb_env::DiskFile;
use parking_lot::{Mutex, RwLock};
use redb::StorageBackend;

use super::pages::PAGE;
use crate::StoreError;

/// A file that can be shut: after that no operation reaches it, and none is under way. It makes it safe to open the file
/// a second time while some reader still holds the first handle.
///
/// *After a failed sync* the file is only read. redb is not told: it would refuse its readers too from then on, and reading
/// on is safe. What they read is older commits, whose pages are durable and are never written over while someone reads them.
/// So the commit goes to its end for redb, while none of it reaches the file any more: what redb writes is kept in memory, where
/// it may read it again. Whoever asked for the commit learns from [`Gate::sync_failure`] that it failed, and must not read what
/// it wrote.
#[derive(Debug)]
pub(crate) struct Gate {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Serialises operations (shared) with shutting (exclusive).
    shut: RwLock<bool>,
    failed: AtomicBool,
    /// Set for good when a sync fails.
    sync_failure: Arc<OnceLock<StoreError>>,
    /// The pages that redb wrote since, by their offsets: those of one commit at most.
    kept: Mutex<HashMap<u64, Box<[u8]>>>,
}

impl Gate {
    pub(crate) fn new(file: Arc<dyn DiskFile>, path: PathBuf, sync_failure: Arc<OnceLock<StoreError>>) -> Gate {
        Gate {
            file,
            path,
            shut: RwLock::new(false),
            failed: AtomicBool::new(false),
            sync_failure,
            kept: Mutex::default(),
        }
    }

    /// Waits for the operations under way; later ones fail.
    pub(crate) fn shut(&self) {
        *self.shut.write() = true;
    }

    /// Whether an operation failed: redb will not use the file through this gate any more.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// As [`Gate::pass`], for what changes the file as a whole; nothing, when a sync has failed.
    fn change(&self, operation: impl FnOnce(&dyn DiskFile) -> io::Result<()>) -> io::Result<()> {
        self.pass(|file| if self.sync_failure.get().is_some() { Ok(()) } else { operation(file) })
    }

    /// Fills `out` with what was written since a sync failed; `false` where that is not there.
    fn read_kept(&self, offset: u64, out: &mut [u8]) -> bool {
        let kept = self.kept.lock();
        if kept.is_empty() {
            return false;
        }
        (offset..).step_by(PAGE).zip(out.chunks_mut(PAGE)).all(|(at, part)| {
            let page = kept.get(&at).and_then(|page| page.get(..part.len()));
            page.is_some_and(|page| {
                part.copy_from_slice(page);
                true
            })
        })
    }

    fn pass<T>(&self, operation: impl FnOnce(&dyn DiskFile) -> io::Result<T>) -> io::Result<T> {
        let shut = self.shut.read();
        let result = if *shut {
            Err(io::Error::other("the file was opened anew after a failure"))
        } else {
            operation(self.file.as_ref())
        };
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

/// What redb is given.
#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Arc<Gate>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.pass(|file| file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.0.read_kept(offset, out) {
            return Ok(());
        }
        self.0.pass(|file| file.read_at(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // Growing sets the space aside, so that a full disk shows here and not when the pages are written.
        self.0.change(|file| if len > file.len()? { file.allocate(len) } else { file.set_len(len) })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.change(|file| {
            if let Err(error) = file.sync_data() {
                // Only the first one counts, if there are several.
                let _ = self.0.sync_failure.set(StoreError::sync(&self.0.path, error));
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.pass(|file| {
            if self.0.sync_failure.get().is_none() {
                return file.write_at(offset, data);
            }
            self.0.kept.lock().extend((offset..).step_by(PAGE).zip(data.chunks(PAGE).map(Box::from)));
            Ok(())
        })
    }
}
