//! A file that can be written without being changed: writes stay in memory, over what is on disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use driftdb_env::DiskFile;
use parking_lot::Mutex;
use redb::StorageBackend;

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// A file, and the pages written over it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Arc<dyn DiskFile>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// How much of the file still shows where no page is; it shrinks when the length is cut.
    file_len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> io::Result<Overlay> {
        let len = file.len()?;
        Ok(Overlay { file, state: Mutex::new(State { len, file_len: len, pages: BTreeMap::new() }) })
    }

    /// One page as it is now; beyond the file's end it is zeros.
    fn page(&self, state: &State, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = state.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE_BYTES];
        let start = number * PAGE;
        let there = state.file_len.saturating_sub(start).min(PAGE);
        if let Some(part) = usize::try_from(there).ok().and_then(|there| page.get_mut(..there)) {
            self.file.read_at(start, part)?;
        }
        Ok(page)
    }
}

/// The pieces of `[offset, offset + len)` by page: page number, where in the page, how many bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(len as u64);
    let mut at = offset;
    std::iter::from_fn(move || {
        let within = usize::try_from(at % PAGE).ok()?;
        let count = usize::try_from(end.saturating_sub(at)).ok()?.min(PAGE_BYTES - within);
        let piece = (at / PAGE, within, count);
        at += count as u64;
        (count > 0).then_some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().len)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, count) in pieces(offset, out.len()) {
            let page = self.page(&state, number)?;
            let (now, rest) =
                std::mem::take(&mut out).split_at_mut_checked(count).ok_or(io::ErrorKind::UnexpectedEof)?;
            now.copy_from_slice(page.get(within..within + count).ok_or(io::ErrorKind::UnexpectedEof)?);
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if len < state.len {
            // What is cut off must read as zeros when the length grows again.
            let mut last = self.page(&state, len / PAGE)?;
            if let Some(tail) = usize::try_from(len % PAGE).ok().and_then(|from| last.get_mut(from..)) {
                tail.fill(0);
            }
            state.pages.split_off(&(len / PAGE));
            state.pages.insert(len / PAGE, last);
            state.file_len = state.file_len.min(len);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.len = state.len.max(offset.saturating_add(data.len() as u64));
        for (number, within, count) in pieces(offset, data.len()) {
            let mut page = self.page(&state, number)?;
            let (now, rest) = data.split_at_checked(count).ok_or(io::ErrorKind::UnexpectedEof)?;
            page.get_mut(within..within + count).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(now);
            state.pages.insert(number, page);
            data = rest;
        }
        Ok(())
    }
}
