//! Writing the base anew: what was in it and is not any more stays in redb's free pages, and is to be gone.
//!
//! The new file is made beside the old one, as a first base is, and takes its name in one step: that is the commit point. Readers
//! go on with the new file if they are of its checkpoint; the views of earlier ones have to be moved.

use std::path::Path;
use std::sync::Arc;

use driftdb_types::{CommitSeq, Digest, TreeId};
use redb::{ReadTransaction, ReadableTable, TableDefinition};

use super::{Base, ERASED, META, META_ERASING, NEW_FILE_NAME, ROWS, redb_error, remove_leftover};
use crate::history::SegmentMeta;
use crate::{ErasedWrite, Result, StoreError};

/// So many bytes are copied in one commit of the new file.
pub(super) const COPY_BYTES: usize = 32 << 20;

/// What changes while the base is written anew.
pub(crate) struct Rewrite<'w> {
    pub(crate) removed: &'w [u64],
    pub(crate) added: &'w [SegmentMeta],
    pub(crate) next_segment: u64,
    pub(crate) erased: &'w [ErasedWrite],
    /// What is to be found after a crash, until [`BaseWrite::end_erasing`](super::BaseWrite::end_erasing).
    pub(crate) erasing: &'w str,
}

impl Base {
    /// Puts a copy of the file in its place, with these changes. After an error the old one is as it was, unless a sync failed.
    pub(crate) fn rewrite(&self, change: &Rewrite<'_>) -> Result<()> {
        self.check_synced()?;
        let new_path = self.path.with_file_name(NEW_FILE_NAME);
        remove_leftover(&self.disk, &new_path)?;
        let new = Base::of_file(Arc::clone(&self.disk), new_path.clone(), COPY_BYTES)?;
        let copied = self.copy_to(&new).and_then(|()| {
            let write = new.begin_write()?;
            write.edit_manifest(change.removed, change.added, change.next_segment)?;
            write.put_meta(META_ERASING, &change.erasing)?;
            write.put_erased(change.erased)?;
            write.commit()
        });
        new.close();
        copied.and_then(|()| new.check_synced())?;
        let dir = self.path.parent().unwrap_or(&self.path);
        self.disk.rename(&new_path, &self.path).map_err(|error| StoreError::io("replacing", &self.path, error))?;
        self.disk.sync_dir(dir).map_err(|error| StoreError::sync(dir, error))?;
        self.reopen(&mut self.opened.lock())
    }

    /// Copies everything there is as of the last commit.
    fn copy_to(&self, new: &Base) -> Result<()> {
        let read = self.begin_read()?;
        copy_meta(&read, &self.path, new)?;
        for table in [ROWS, ERASED] {
            copy_entries(&read, &self.path, table, new, &mut |_| {})?;
        }
        Ok(())
    }

    /// What is kept of erased writes of a tree, in the order of commit and place.
    pub(crate) fn erased(&self, tree: TreeId) -> Result<Vec<ErasedWrite>> {
        let read = self.begin_read()?;
        let table = read.open_table(ERASED).map_err(|error| self.error(error))?;
        let start = tree.0.to_be_bytes();
        let mut erased = Vec::new();
        for entry in table.range(start.as_slice()..).map_err(|error| self.error(error))? {
            let (key, value) = entry.map_err(|error| self.error(error))?;
            let found = decode(key.value(), value.value());
            let found = found.ok_or_else(|| StoreError::damaged(&self.path, "an erased write cannot be read"))?;
            if found.tree != tree {
                break;
            }
            erased.push(found);
        }
        Ok(erased)
    }
}

/// Copies checkpoint and manifest.
pub(super) fn copy_meta(read: &ReadTransaction, path: &Path, new: &Base) -> Result<()> {
    let meta = read.open_table(META).map_err(|error| redb_error(path, error))?;
    let write = new.begin_write()?;
    {
        let mut to = write.write.open_table(META).map_err(|error| new.error(error))?;
        for entry in meta.iter().map_err(|error| redb_error(path, error))? {
            let (key, value) = entry.map_err(|error| redb_error(path, error))?;
            to.insert(key.value(), value.value()).map_err(|error| new.error(error))?;
        }
    }
    write.commit()
}

/// Copies a table of the base in `path`, in order. `each` is told every key when it was read, and when there are no more.
pub(super) fn copy_entries(
    read: &ReadTransaction,
    path: &Path,
    table: TableDefinition<'static, &'static [u8], &'static [u8]>,
    new: &Base,
    each: &mut dyn FnMut(Option<&[u8]>),
) -> Result<()> {
    let from = read.open_table(table).map_err(|error| redb_error(path, error))?;
    let mut entries = from.iter().map_err(|error| redb_error(path, error))?;
    let mut more = true;
    while more {
        let write = new.begin_write()?;
        {
            let mut to = write.write.open_table(table).map_err(|error| new.error(error))?;
            let mut bytes = 0;
            while bytes < COPY_BYTES {
                let Some(entry) = entries.next() else {
                    each(None);
                    more = false;
                    break;
                };
                let (key, value) = entry.map_err(|error| redb_error(path, error))?;
                each(Some(key.value()));
                bytes += key.value().len() + value.value().len();
                to.insert(key.value(), value.value()).map_err(|error| new.error(error))?;
            }
        }
        write.commit()?;
    }
    Ok(())
}

pub(super) fn encode(erased: &ErasedWrite) -> (Vec<u8>, Vec<u8>) {
    let mut key = Vec::with_capacity(16);
    key.extend_from_slice(&erased.tree.0.to_be_bytes());
    key.extend_from_slice(&erased.seq.0.to_be_bytes());
    key.extend_from_slice(&erased.place.to_be_bytes());
    let mut value = erased.erasure.to_le_bytes().to_vec();
    value.extend_from_slice(&erased.digest.0);
    (key, value)
}

fn decode(key: &[u8], value: &[u8]) -> Option<ErasedWrite> {
    let (tree, rest) = key.split_first_chunk::<4>()?;
    let (seq, place) = rest.split_first_chunk::<8>()?;
    let (erasure, digest) = value.split_first_chunk::<8>()?;
    Some(ErasedWrite {
        tree: TreeId(u32::from_be_bytes(*tree)),
        seq: CommitSeq(u64::from_be_bytes(*seq)),
        place: u32::from_be_bytes(place.try_into().ok()?),
        erasure: u64::from_le_bytes(*erasure),
        digest: Digest(digest.try_into().ok()?),
    })
}
