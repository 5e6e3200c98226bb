//! Reading the base's rows: one by its key, and many by the chunk.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use driftdb_types::{KeyRange, Stamp, TreeId};
use redb::ReadOnlyTable;

use super::Base;
use super::codec::{decode_key, decode_value, encode_key, encode_range};
use crate::{Checkpoint, Result, StoreError};

/// A current row of the base.
#[derive(Clone, Debug)]
pub(crate) struct BaseRow {
    pub(crate) from: Stamp,
    pub(crate) payload: Bytes,
}

pub(super) type RowsTable = ReadOnlyTable<&'static [u8], &'static [u8]>;
type RowsRange = redb::Range<'static, &'static [u8], &'static [u8]>;

pub(super) fn decode_row(path: &Path, full_key: &[u8], value: &[u8]) -> Result<BaseRow> {
    let (from, payload) = decode_value(value)
        .ok_or_else(|| StoreError::damaged(path, format!("the row of key {full_key:02x?} has no stamp")))?;
    Ok(BaseRow { from, payload: Bytes::copy_from_slice(payload) })
}

/// The rows as of one checkpoint. Views share it; it keeps the file's pages of that commit from being used again.
pub(crate) struct BaseRows {
    /// The table, and the generation of the opening it is of.
    pub(super) table: ArcSwap<(RowsTable, u64)>,
    pub(super) checkpoint: Checkpoint,
    pub(super) base: Arc<Base>,
}

impl fmt::Debug for BaseRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseRows").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

impl BaseRows {
    /// The row of a key.
    pub(crate) fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<BaseRow>> {
        let full = encode_key(tree, key);
        loop {
            let opened = self.table.load();
            match opened.0.get(full.as_slice()) {
                Ok(None) => return Ok(None),
                Ok(Some(value)) => return decode_row(&self.base.path, &full, value.value()).map(Some),
                Err(error) => self.recover(error, opened.1)?,
            }
        }
    }

    /// After a failed read: `Ok` when reading again may work, because the file was opened anew.
    fn recover(&self, error: redb::StorageError, generation: u64) -> Result<()> {
        self.base.check_open()?;
        let is_closed = matches!(error, redb::StorageError::PreviousIo | redb::StorageError::DatabaseClosed);
        if !is_closed && !self.base.is_outdated(generation) {
            return Err(self.base.error(error));
        }
        self.base.recover_from_failure(Some(generation))?;
        if self.table.load().1 == generation {
            // The new handle sees a later commit, and knows nothing of those before it.
            return Err(StoreError::ViewLost { checkpoint: self.checkpoint.stamp.seq });
        }
        Ok(())
    }
}

/// A row that a cursor stands on.
#[derive(Clone, Debug)]
pub(crate) struct BaseItem {
    pub(crate) key: Bytes,
    pub(crate) from: Stamp,
    pub(crate) payload: Bytes,
}

/// How many rows the first and the largest chunk of a cursor have, and how many bytes of payload end one: a point read
/// pays for few rows, a scan copies many at once. A reader that keeps one row of a chunk keeps all of it in memory, so
/// they are not large; and keys, which are kept for longer, do not keep the payloads.
const CHUNK_ROWS: (usize, usize) = (8, 512);
const CHUNK_BYTES: usize = 32 << 10;

/// The rows of a tree within a range, in order, copied out by the chunk.
pub(crate) struct BaseCursor {
    rows: Arc<BaseRows>,
    reverse: bool,
    /// What is left of the range after the chunk.
    range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    /// The walk over it, and the generation of the table it walks over.
    walk: Option<(RowsRange, u64)>,
    chunk: VecDeque<BaseItem>,
    chunk_rows: usize,
    exhausted: bool,
}

impl BaseCursor {
    pub(crate) fn new(rows: &Arc<BaseRows>, tree: TreeId, range: &KeyRange, reverse: bool) -> BaseCursor {
        BaseCursor {
            rows: Arc::clone(rows),
            reverse,
            range: encode_range(tree, range),
            walk: None,
            chunk: VecDeque::new(),
            chunk_rows: CHUNK_ROWS.0,
            exhausted: range.is_empty(),
        }
    }

    /// The last key that was read, where no more were.
    pub(crate) fn behind(&self) -> Option<Bytes> {
        let bound = if self.reverse { &self.range.1 } else { &self.range.0 };
        match bound {
            Bound::Excluded(full) => decode_key(full).map(|(_, key)| Bytes::copy_from_slice(key)),
            Bound::Included(_) | Bound::Unbounded => None,
        }
    }

    pub(crate) fn peek(&mut self) -> Result<Option<&BaseItem>> {
        if self.chunk.is_empty() && !self.exhausted {
            self.fetch()?;
        }
        Ok(self.chunk.front())
    }

    pub(crate) fn next(&mut self) -> Result<Option<BaseItem>> {
        self.peek()?;
        Ok(self.chunk.pop_front())
    }

    /// Takes what `peek` showed, if that is of this key.
    pub(crate) fn take(&mut self, key: &[u8]) -> Result<Option<BaseItem>> {
        Ok(if self.peek()?.is_some_and(|item| item.key == key) { self.chunk.pop_front() } else { None })
    }

    fn fetch(&mut self) -> Result<()> {
        loop {
            let opened = self.rows.table.load_full();
            match self.read_chunk(&opened) {
                Ok(()) => break,
                Err(ChunkError::Damaged(error)) => return Err(error),
                Err(ChunkError::Storage(error)) => {
                    self.walk = None;
                    self.rows.recover(error, opened.1)?;
                }
            }
        }
        self.chunk_rows = (self.chunk_rows * 2).min(CHUNK_ROWS.1);
        Ok(())
    }

    /// Copies the next rows out: their keys into one allocation that they share, their payloads into another.
    fn read_chunk(&mut self, opened: &(RowsTable, u64)) -> Result<(), ChunkError> {
        if self.walk.as_ref().is_none_or(|(_, generation)| *generation != opened.1) {
            let (start, end) = &self.range;
            let bounds = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
            self.walk = Some((opened.0.range::<&[u8]>(bounds).map_err(ChunkError::Storage)?, opened.1));
        }
        let Some((walk, _)) = &mut self.walk else { return Ok(()) };
        let (mut keys, mut payloads) = (Vec::new(), Vec::new());
        let mut found: Vec<(usize, usize, Stamp)> = Vec::with_capacity(self.chunk_rows);
        let mut complete = false;
        while found.len() < self.chunk_rows && payloads.len() < CHUNK_BYTES {
            let next = if self.reverse { walk.next_back() } else { walk.next() };
            let Some(next) = next else {
                complete = true;
                break;
            };
            let (key, value) = next.map_err(ChunkError::Storage)?;
            let (full, value) = (key.value(), value.value());
            let damaged = || StoreError::damaged(&self.rows.base.path, format!("the entry of key {full:02x?}"));
            let (_, key) = decode_key(full).ok_or_else(|| ChunkError::Damaged(damaged()))?;
            let (from, payload) = decode_value(value).ok_or_else(|| ChunkError::Damaged(damaged()))?;
            keys.extend_from_slice(key);
            payloads.extend_from_slice(payload);
            found.push((keys.len(), payloads.len(), from));
            if found.len() == self.chunk_rows || payloads.len() >= CHUNK_BYTES {
                let bound = Bound::Excluded(full.to_vec());
                if self.reverse { self.range.1 = bound } else { self.range.0 = bound }
            }
        }
        self.exhausted = complete;
        let (keys, payloads) = (Bytes::from(keys), Bytes::from(payloads));
        let (mut key_start, mut payload_start) = (0, 0);
        self.chunk.extend(found.into_iter().map(|(key_end, payload_end, from)| {
            let key = keys.slice(key_start..key_end);
            let payload = payloads.slice(payload_start..payload_end);
            (key_start, payload_start) = (key_end, payload_end);
            BaseItem { key, from, payload }
        }));
        Ok(())
    }
}

enum ChunkError {
    Storage(redb::StorageError),
    Damaged(StoreError),
}
