//! An open file of the simulated disk.

use std::io;
use std::path::PathBuf;

use crate::disk::DiskFile;
use crate::rand::Rand;

use super::{Content, DiskOpKind, Outcome, SimDisk, State};

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) path: PathBuf,
    pub(super) content: Content,
    pub(super) epoch: u64,
    pub(super) write: bool,
}

impl SimFile {
    fn change<T>(&self, kind: DiskOpKind, act: impl FnOnce(&mut State, Outcome) -> io::Result<T>) -> io::Result<T> {
        if !self.write && kind != DiskOpKind::Read && kind != DiskOpKind::Sync {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "file is open to read only"));
        }
        self.disk.change(kind, &self.path, Some(self.epoch), act)
    }

    /// Changes the length, when there is room.
    fn resize(&self, kind: DiskOpKind, len: u64) -> io::Result<()> {
        self.change(kind, |state, outcome| {
            let have = self.content.lock().len();
            state.check_room(len.saturating_sub(have))?;
            if outcome != Outcome::Failed && (len > have || kind == DiskOpKind::SetLen) {
                self.content.lock().set_len(len);
            }
            Ok(())
        })
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.state.lock().check_alive(Some(self.epoch))?;
        Ok(self.content.lock().len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.change(DiskOpKind::Read, |_, _| {
            if self.content.lock().read(offset, buf) {
                Ok(())
            } else {
                let message = format!("{} ends before byte {offset} + {}", self.path.display(), buf.len());
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
            }
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(DiskOpKind::Write, |state, outcome| {
            let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
            let have = self.content.lock().len();
            state.check_room(end.saturating_sub(have))?;
            let bytes = match outcome {
                Outcome::Failed => {
                    let count = state.rand.below(bytes.len() as u64 + 1) as usize;
                    bytes.get(..count).unwrap_or(bytes)
                }
                Outcome::Done | Outcome::Interrupted => bytes,
            };
            self.content.lock().write(offset, bytes);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(DiskOpKind::SetLen, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.resize(DiskOpKind::Allocate, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(DiskOpKind::Sync, |state, outcome| {
            match outcome {
                Outcome::Done => self.content.lock().sync(),
                Outcome::Failed => self.content.lock().fail_sync(&state.rand),
                Outcome::Interrupted => {}
            }
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
