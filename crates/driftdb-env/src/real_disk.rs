//! The machine's disk, over `std::fs` and a few calls it lacks.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;

use crate::disk::{Disk, DiskFile, DiskLock, OpenOptions};

/// How much [`DiskFile::allocate`] writes at a time where the file system cannot set space aside.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What it makes is its owner's alone: the files hold everybody's data and the password's verifier.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The machine's file system.
#[derive(Debug, Default)]
pub struct RealDisk {}

impl RealDisk {
    /// The machine's file system.
    pub fn new() -> RealDisk {
        RealDisk {}
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let Some(parent) = dir.parent() else { return Ok(()) };
        if dir.is_dir() {
            // Who made it may have been killed before its name was durable. Where we may not even read, it was not us.
            return match self.sync_dir(parent) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            };
        }
        self.create_dir_all(parent)?;
        match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(error) => return Err(error),
        }
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                continue;
            }
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Arc<dyn DiskFile>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(options.write)
            .create(options.create)
            .create_new(options.create_new)
            .truncate(options.truncate)
            .mode(FILE_MODE)
            .open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn empty_dir(&self, dir: &Path) -> io::Result<()> {
        self.create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // The parent of a bare name is the empty path, which means the current directory.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock { _file: file }))
    }
}

/// A held `flock`; closing the file releases it.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let have = self.len()?;
        let Some(missing) = len.checked_sub(have).filter(|missing| *missing > 0) else {
            return Ok(());
        };
        match fallocate(&self.file, FallocateFlags::empty(), have, missing) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let mut at = have;
                while at < len {
                    let count = usize::try_from(len - at).unwrap_or(usize::MAX).min(ZEROS.len());
                    self.write_at(at, ZEROS.get(..count).unwrap_or(&ZEROS))?;
                    at += count as u64;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_do_what_the_trait_says() {
        let temp = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        crate::disk::conformance::check(&disk, &temp.path().join("a/b"));
    }

    #[test]
    fn what_is_made_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let dir = temp.path().join("data");
        disk.create_dir_all(&dir).unwrap();
        disk.open(&dir.join("file"), OpenOptions::CREATE).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("file"))), (0o700, 0o600));
    }

    #[test]
    fn leftovers_are_removed_and_their_directory_stays() {
        use std::os::unix::fs::MetadataExt;
        let temp = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let dir = temp.path().join("spill");
        disk.empty_dir(&dir).unwrap();
        let inode = fs::metadata(&dir).unwrap().ino();
        disk.create_dir_all(&dir.join("inner")).unwrap();
        disk.open(&dir.join("inner/file"), OpenOptions::CREATE).unwrap();
        disk.open(&dir.join("file"), OpenOptions::CREATE).unwrap();
        disk.empty_dir(&dir).unwrap();
        assert_eq!((fs::read_dir(&dir).unwrap().count(), fs::metadata(&dir).unwrap().ino()), (0, inode));
    }

    #[test]
    fn a_lock_keeps_others_out_until_dropped() {
        let temp = tempfile::tempdir().unwrap();
        crate::disk::conformance::check_lock(&RealDisk::new(), &temp.path().join("LOCK"));
    }
}
