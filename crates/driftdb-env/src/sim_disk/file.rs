//! An open file of the simulated disk.

use std::io;
use std::path::PathBuf;

use crate::disk::DiskFile;
use crate::rand::Rand;

use super::bytes::{SECTOR, SimBytes};
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
        self.change(DiskOpKind::Read, |state, outcome| {
            let content = self.content.lock();
            let (from, buf) = match outcome {
                Outcome::Misdirected => (elsewhere(&content, offset, buf.len() as u64, &state.rand), buf),
                Outcome::Failed => {
                    let count = state.rand.below(buf.len() as u64 + 1) as usize;
                    (offset, buf.get_mut(..count).unwrap_or_default())
                }
                Outcome::Done | Outcome::Interrupted | Outcome::Flipped => (offset, buf),
            };
            if !content.read(from, buf) {
                let message = format!("{} ends before byte {offset} + {}", self.path.display(), buf.len());
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            if outcome == Outcome::Flipped {
                let at = state.rand.below(buf.len() as u64) as usize;
                if let Some(byte) = buf.get_mut(at) {
                    *byte ^= 1_u8.wrapping_shl(state.rand.below(8) as u32);
                }
            }
            Ok(())
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
                _ => bytes,
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
                Outcome::Failed => self.content.lock().fail_sync(&state.rand),
                Outcome::Interrupted => {}
                _ => self.content.lock().sync(),
            }
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Another place in the file from which as many bytes can be read, sectors away; the same one where there is none.
fn elsewhere(content: &SimBytes, offset: u64, count: u64, rand: &dyn Rand) -> u64 {
    let places = content.len().saturating_sub(count) / SECTOR as u64 + 1;
    let place = rand.below(places) * SECTOR as u64 + offset % SECTOR as u64;
    if place + count <= content.len() { place } else { offset }
}
