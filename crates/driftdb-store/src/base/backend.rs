//! redb's bytes, through our disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use driftdb_env::DiskFile;
use parking_lot::RwLock;
use redb::StorageBackend;

/// A file that can be shut: after that no operation reaches it, and none is under way. It makes it safe to open the file
/// a second time while some reader still holds the first handle.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) file: Arc<dyn DiskFile>,
    /// Serialises operations (shared) with shutting (exclusive).
    pub(crate) shut: RwLock<bool>,
    pub(crate) failed: AtomicBool,
    /// Set for good when a sync fails.
    pub(crate) sync_failed: Arc<AtomicBool>,
}

impl Gate {
    pub(crate) fn new(file: Arc<dyn DiskFile>, sync_failed: Arc<AtomicBool>) -> Gate {
        Gate { file, shut: RwLock::new(false), failed: AtomicBool::new(false), sync_failed }
    }

    /// Waits for the operations under way; later ones fail.
    pub(crate) fn shut(&self) {
        *self.shut.write() = true;
    }

    /// Whether an operation failed: redb will not use the file through this gate any more.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
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
        self.0.pass(|file| file.read_at(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // Growing sets the space aside, so that a full disk shows here and not when the pages are written.
        self.0.pass(|file| if len > file.len()? { file.allocate(len) } else { file.set_len(len) })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.pass(|file| file.sync_data()).inspect_err(|_| self.0.sync_failed.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.pass(|file| file.write_at(offset, data))
    }
}
