//! The disk, as the database sees it: what a call promises, and above all what it does not.
//!
//! Three things a POSIX file system does not do unless asked, so nothing above may count on them:
//! written bytes are not durable before [`DiskFile::sync_data`]; a created, renamed or removed *name* is not durable
//! before [`Disk::sync_dir`] of its directory; and after a failed sync nobody knows which of the bytes are durable,
//! nor does a second sync tell (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// May be written through this handle.
    pub write: bool,
    /// Make the file when there is none.
    pub create: bool,
    /// Fail with `AlreadyExists` when there is one.
    pub create_new: bool,
    /// Empty the file when there is one.
    pub truncate: bool,
}

impl OpenOptions {
    /// An existing file, to read only.
    pub const READ: OpenOptions = OpenOptions { write: false, create: false, create_new: false, truncate: false };
    /// An existing file, to read and write.
    pub const WRITE: OpenOptions = OpenOptions { write: true, create: false, create_new: false, truncate: false };
    /// A file to read and write, made empty when there is none.
    pub const CREATE: OpenOptions = OpenOptions { write: true, create: true, create_new: false, truncate: false };
    /// A file that must not exist yet.
    pub const CREATE_NEW: OpenOptions = OpenOptions { write: true, create: true, create_new: true, truncate: false };
    /// An empty file: made, or what was there emptied.
    pub const TRUNCATE: OpenOptions = OpenOptions { write: true, create: true, create_new: false, truncate: true };
}

/// Files and directories.
pub trait Disk: Send + Sync + Debug {
    /// Makes a directory and those above it that are missing, durably: their names are synced before this returns, and so
    /// is that of a directory that was there already.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in a directory, sorted; not those of directories. `NotFound` when there is no such
    /// directory. A name that is not UTF-8 is none of ours and is left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Whether there is a file or directory of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file. A created file's *name* is durable only after [`Disk::sync_dir`].
    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file; durable after [`Disk::sync_dir`]. Open handles go on working.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes all that is in a directory, which is made when missing: what a crash left of temporary files. One that is
    /// there stays, and is not made anew: a full disk would not have the space. The removal is not durable, and not for
    /// anything that matters; a disk without temporary files need not support it.
    fn empty_dir(&self, dir: &Path) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("emptying the directory {}", dir.display())))
    }

    /// Renames a file, replacing the one at `to`, atomically; durable after [`Disk::sync_dir`] of the directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in this directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a file (made when missing) against every other holder, other processes included, until the lock is
    /// dropped. Fails with `WouldBlock` when someone holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file. Reads and writes name their offset, so a handle has no position and may be shared by threads.
pub trait DiskFile: Send + Sync + Debug {
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset`; `UnexpectedEof` when the file ends before that.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, lengthening the file where needed (a gap reads as zeros). After an error
    /// any part of it may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or lengthens the file; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file at least `len` bytes long with the space for them set aside, so that writing there cannot run
    /// out of it. New bytes are zero. `StorageFull` when there is no room.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes the written bytes durable, and the length (fdatasync). After an error, what is durable is unknown for
    /// good: do not try again and carry on.
    fn sync_data(&self) -> io::Result<()>;

    /// [`DiskFile::sync_data`] and all of the file's metadata (fsync).
    fn sync_all(&self) -> io::Result<()>;
}

/// A held lock; dropping it releases it.
pub trait DiskLock: Send + Sync + Debug {}

/// What both disks must do alike.
#[cfg(test)]
pub(crate) mod conformance {
    use super::*;

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    pub(crate) fn check(disk: &dyn Disk, dir: &Path) {
        assert_eq!(kind(disk.list(dir)), Some(io::ErrorKind::NotFound));
        disk.create_dir_all(dir).unwrap();
        disk.create_dir_all(dir).unwrap();
        assert!(disk.exists(dir).unwrap());
        let path = dir.join("one");
        assert_eq!(kind(disk.open(&path, OpenOptions::WRITE)), Some(io::ErrorKind::NotFound));
        let file = disk.open(&path, OpenOptions::CREATE_NEW).unwrap();
        assert_eq!(kind(disk.open(&path, OpenOptions::CREATE_NEW)), Some(io::ErrorKind::AlreadyExists));
        assert!(file.is_empty().unwrap());
        file.write_at(3, b"hello").unwrap();
        assert_eq!(file.len().unwrap(), 8);
        let mut buf = [9; 6];
        file.read_at(1, &mut buf).unwrap();
        assert_eq!(&buf, b"\0\0hell");
        assert_eq!(kind(file.read_at(3, &mut buf)), Some(io::ErrorKind::UnexpectedEof));
        file.allocate(200_000).unwrap();
        file.allocate(10).unwrap();
        assert_eq!(file.len().unwrap(), 200_000);
        file.read_at(199_994, &mut buf).unwrap();
        assert_eq!(buf, [0; 6]);
        file.set_len(5).unwrap();
        file.set_len(9).unwrap();
        file.read_at(3, &mut buf).unwrap();
        assert_eq!(&buf, b"he\0\0\0\0");
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        let reader = disk.open(&path, OpenOptions::READ).unwrap();
        assert!(reader.write_at(0, b"x").is_err());
        disk.sync_dir(dir).unwrap();

        disk.create_dir_all(&dir.join("below")).unwrap();
        disk.open(&dir.join("two"), OpenOptions::TRUNCATE).unwrap().write_at(0, b"2").unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["one", "two"]);
        disk.rename(&dir.join("two"), &path).unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["one"]);
        assert_eq!(disk.open(&path, OpenOptions::READ).unwrap().len().unwrap(), 1);
        assert_eq!(reader.len().unwrap(), 9, "an open handle outlives its name");
        assert_eq!(disk.open(&path, OpenOptions::CREATE).unwrap().len().unwrap(), 1);
        assert_eq!(disk.open(&path, OpenOptions::TRUNCATE).unwrap().len().unwrap(), 0);
        disk.remove(&path).unwrap();
        assert!(!disk.exists(&path).unwrap());
        assert_eq!(kind(disk.remove(&path)), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(disk.rename(&path, &dir.join("three"))), Some(io::ErrorKind::NotFound));
    }

    pub(crate) fn check_lock(disk: &dyn Disk, path: &Path) {
        let lock = disk.lock(path).unwrap();
        assert_eq!(kind(disk.lock(path)), Some(io::ErrorKind::WouldBlock));
        drop(lock);
        disk.lock(path).unwrap();
    }
}
