//! The base: one redb file with the current version of every row as of the checkpoint, and the manifest.
//!
//! redb's pages have checksums of ours that are compared whenever one is read ([`pages`]).
//!
//! Two tables. `rows`: tree (u32, big-endian) ++ key → stamp (seq u64, time i64, little-endian) ++ payload. `meta`: the
//! checkpoint and the manifest, one entry a history segment. One durable redb commit changes all
//! of them together, and that is the only commit point of the layer: a flush or a compaction happened if and only if
//! its redb commit did.
//!
//! redb closes itself for good after the first failed write: every later read that needs the file is refused too. So
//! that a full disk does not take the readers along, the file is then opened anew, and the snapshots of the current
//! checkpoint go on with the new handle (what they see is the last commit, in either); older ones are lost. A failed sync
//! is kept from redb, and the file only read from then on ([`backend::Gate`]).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use driftdb_env::{Disk, OpenOptions};
use driftdb_types::Stamp;
use parking_lot::Mutex;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::history::{Manifest, SegmentMeta};
use crate::{Checkpoint, Result, StoreError};

/// The name of the base's file in the store's directory.
pub(crate) const FILE_NAME: &str = "base.redb";
/// The name under which a new base is made.
const NEW_FILE_NAME: &str = "base.redb.new";
pub(crate) const ROWS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("rows");
pub(crate) const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");
const META_CHECKPOINT: &str = "checkpoint";
const META_NEXT_SEGMENT: &str = "next_segment";
const META_SEGMENT_PREFIX: &str = "segment/";
const META_ERASING: &str = "erasing";
/// What is kept of erased writes: [`crate::ErasedWrite`].
const ERASED: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("erased");

mod backend;
mod codec;
#[cfg(test)]
mod fuzz_tests;
mod pages;
mod rewrite;
mod rows;
mod salvage;

use backend::{Backend, Gate};
use codec::encode_value;
pub(crate) use codec::{decode_key, decode_value, encode_key};
pub(crate) use pages::PageFile;
pub(crate) use rewrite::Rewrite;
pub(crate) use rows::{BaseCursor, BaseItem, BaseRow, BaseRows};
use rows::{RowsTable, decode_row};
pub(crate) use salvage::{Gap, open_to_read, open_to_salvage};

/// What one opening of the file gave; later ones have higher generations.
struct Opened {
    database: Database,
    gate: Arc<Gate>,
    generation: u64,
}

/// What one redb commit left.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) segments: Vec<SegmentMeta>,
    pub(crate) next_segment: u64,
}

/// The base file, opened.
pub(crate) struct Base {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    cache_bytes: usize,
    /// `None` when it could not be opened again after a failure.
    opened: Mutex<Option<Opened>>,
    generations: AtomicU64,
    /// The rows that new views are given.
    current: Mutex<Weak<BaseRows>>,
    /// A sync failed: what is durable is unknown until the file was read by a new process.
    sync_failure: Arc<OnceLock<StoreError>>,
    /// The file is given up for good: another process may have it.
    closed: AtomicBool,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Base {
    /// Opens the base in `dir`, making an empty one when there is none.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, cache_bytes: usize) -> Result<Base> {
        let new_path = dir.join(NEW_FILE_NAME);
        remove_leftover(&disk, &new_path)?;
        let path = dir.join(FILE_NAME);
        if Base::is_new(&disk, dir)? {
            // redb needs several steps to make a file, and opens none in which one is missing. So the name is given when
            // all of them are done.
            let new = Base::of_file(Arc::clone(&disk), new_path.clone(), cache_bytes)?;
            new.close();
            new.check_synced()?;
            disk.rename(&new_path, &path).map_err(|error| StoreError::io("creating", &path, error))?;
        }
        // Always, and not only after the rename: who made the file may have died before its name was durable.
        disk.sync_dir(dir).map_err(|error| StoreError::sync(dir, error))?;
        Base::of_file(disk, path, cache_bytes)
    }

    /// Opens the base in this file, making an empty one when there is none.
    fn of_file(disk: Arc<dyn Disk>, path: PathBuf, cache_bytes: usize) -> Result<Base> {
        let base = Base {
            disk,
            path,
            cache_bytes,
            opened: Mutex::new(None),
            generations: AtomicU64::new(0),
            current: Mutex::default(),
            sync_failure: Arc::default(),
            closed: AtomicBool::new(false),
        };
        let opened = base.open_file()?;
        base.initialise(&opened.database)?;
        base.check_synced()?;
        *base.opened.lock() = Some(opened);
        Ok(base)
    }

    /// Whether [`Base::open`] would make a new file in `dir`: where there is none, and in place of an empty one.
    pub(crate) fn is_new(disk: &Arc<dyn Disk>, dir: &Path) -> Result<bool> {
        let path = dir.join(FILE_NAME);
        let error = |error| StoreError::io("looking for", &path, error);
        if !disk.exists(&path).map_err(error)? {
            return Ok(true);
        }
        Ok(disk.open(&path, OpenOptions::READ).and_then(|file| file.len()).map_err(error)? == 0)
    }

    /// Closes the file for good, also to the views that are still there. redb writes when its database goes, and a view
    /// keeps what it takes to do that alive: so this ends the database now, and lets nothing reach the file later.
    pub(crate) fn close(&self) {
        let mut slot = self.opened.lock();
        self.closed.store(true, Ordering::Release);
        let Some(Opened { database, gate, .. }) = slot.take() else { return };
        drop(database);
        gate.shut();
    }

    /// Fails when the file was closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Whether a sync failed, so that the file must not be written any more.
    pub(crate) fn sync_failed(&self) -> bool {
        self.sync_failure.get().is_some()
    }

    /// From now on the file must not be written, because of this.
    pub(crate) fn note_sync_failure(&self, failure: &StoreError) {
        // Only the first one counts, if there are several.
        let _ = self.sync_failure.set(failure.clone());
    }

    /// Fails with the cause when a sync failed.
    pub(crate) fn check_synced(&self) -> Result<()> {
        self.sync_failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    pub(crate) fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        redb_error(&self.path, error)
    }

    fn open_file(&self) -> Result<Opened> {
        let file = self
            .disk
            .open(&self.path, OpenOptions::CREATE)
            .map_err(|error| StoreError::io("opening", &self.path, error))?;
        let pages = PageFile::create(file, &self.path)?;
        let gate = Arc::new(Gate::new(Arc::new(pages), self.path.clone(), Arc::clone(&self.sync_failure)));
        let database = Database::builder()
            .set_cache_size(self.cache_bytes)
            .create_with_backend(Backend(Arc::clone(&gate)))
            .map_err(|error| self.error(error))?;
        Ok(Opened { database, gate, generation: self.generations.fetch_add(1, Ordering::AcqRel) })
    }

    /// Makes the tables, where they are not there yet.
    fn initialise(&self, database: &Database) -> Result<()> {
        let mut write = database.begin_write().map_err(|error| self.error(error))?;
        write.set_quick_repair(true);
        let has_tables = write.list_tables().map_err(|error| self.error(error))?.next().is_some();
        if has_tables {
            return write.abort().map_err(|error| self.error(error));
        }
        write.open_table(ROWS).map_err(|error| self.error(error))?;
        write.open_table(META).map_err(|error| self.error(error))?;
        write.open_table(ERASED).map_err(|error| self.error(error))?;
        write.commit().map_err(|error| self.error(error))
    }

    /// Reads what the last commit left.
    pub(crate) fn committed(&self) -> Result<Committed> {
        let table = self.begin_read()?.open_table(META).map_err(|error| self.error(error))?;
        read_meta(&self.path, &table)
    }

    fn begin_read(&self) -> Result<ReadTransaction> {
        self.with_database(|database| database.begin_read().map_err(|error| self.error(error)))
    }

    /// What the erasure said that is to be finished, if there is one.
    pub(crate) fn erasing(&self) -> Result<Option<String>> {
        let table = self.begin_read()?.open_table(META).map_err(|error| self.error(error))?;
        let value = table.get(META_ERASING).map_err(|error| self.error(error))?;
        let damaged = |error: serde_json::Error| StoreError::damaged(&self.path, format!("{META_ERASING}: {error}"));
        value.map(|value| serde_json::from_slice(value.value()).map_err(damaged)).transpose()
    }

    /// The rows as of the last commit, whose checkpoint the caller knows.
    pub(crate) fn rows(self: &Arc<Self>, checkpoint: Checkpoint) -> Result<Arc<BaseRows>> {
        let opened = self.opened.lock();
        self.check_open()?;
        let table = self.open_rows(opened.as_ref())?;
        let rows = Arc::new(BaseRows { table: ArcSwap::from_pointee(table), checkpoint, base: Arc::clone(self) });
        *self.current.lock() = Arc::downgrade(&rows);
        Ok(rows)
    }

    fn open_rows(&self, opened: Option<&Opened>) -> Result<(RowsTable, u64)> {
        let opened = opened.ok_or_else(|| self.error(redb::Error::PreviousIo))?;
        let read = opened.database.begin_read().map_err(|error| self.error(error))?;
        let table = read.open_table(ROWS).map_err(|error| self.error(error))?;
        Ok((table, opened.generation))
    }

    fn with_database<T>(&self, use_it: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let opened = self.opened.lock();
        self.check_open()?;
        let opened = opened.as_ref().ok_or_else(|| self.error(redb::Error::PreviousIo))?;
        use_it(&opened.database)
    }

    /// Begins to write. One at a time: flush and compaction take turns.
    pub(crate) fn begin_write(&self) -> Result<BaseWrite<'_>> {
        self.check_synced()?;
        self.recover_from_failure(None)?;
        let mut write = self.with_database(|database| database.begin_write().map_err(|error| self.error(error)))?;
        write.set_quick_repair(true);
        Ok(BaseWrite { base: self, write })
    }

    /// Opens the file anew if its handle (that of `generation`, if given) has failed. Snapshots of the last commit go on
    /// with the new handle. Not after a failed sync: opening writes, and what the file holds is not known any more.
    pub(crate) fn recover_from_failure(&self, generation: Option<u64>) -> Result<()> {
        let mut slot = self.opened.lock();
        self.check_open()?;
        if let Some(opened) = slot.as_ref()
            && generation.is_none_or(|generation| generation != opened.generation)
            && !opened.gate.failed()
        {
            return Ok(());
        }
        self.check_synced()?;
        self.reopen(&mut slot)?;
        tracing::warn!(path = %self.path.display(), "opened the base anew after an I/O failure");
        Ok(())
    }

    /// Whether the file was opened anew since this generation.
    pub(crate) fn is_outdated(&self, generation: u64) -> bool {
        self.opened.lock().as_ref().is_none_or(|opened| opened.generation != generation)
    }

    fn reopen(&self, slot: &mut Option<Opened>) -> Result<()> {
        if let Some(old) = slot.take() {
            old.gate.shut();
        }
        let opened = self.open_file()?;
        self.check_synced()?;
        if let Some(rows) = self.current.lock().upgrade() {
            let read = opened.database.begin_read().map_err(|error| self.error(error))?;
            let meta = read.open_table(META).map_err(|error| self.error(error))?;
            if read_meta(&self.path, &meta)?.checkpoint == rows.checkpoint {
                rows.table.store(Arc::new(self.open_rows(Some(&opened))?));
            }
        }
        *slot = Some(opened);
        Ok(())
    }
}

/// Removes what an opening that did not come to its end left of the base it was making.
fn remove_leftover(disk: &Arc<dyn Disk>, path: &Path) -> Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("removing", path, error)),
        _ => Ok(()),
    }
}

/// Reads checkpoint and manifest.
pub(crate) fn read_meta(path: &Path, table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Committed> {
    let error = |error: redb::StorageError| redb_error(path, error);
    let bad = |what: &str, error: serde_json::Error| StoreError::damaged(path, format!("{what}: {error}"));
    let mut committed = Committed { checkpoint: Checkpoint::ZERO, segments: Vec::new(), next_segment: 1 };
    for entry in table.iter().map_err(error)? {
        let (key, value) = entry.map_err(error)?;
        let (key, value) = (key.value(), value.value());
        if key == META_CHECKPOINT {
            committed.checkpoint = serde_json::from_slice(value).map_err(|error| bad(key, error))?;
        } else if key == META_NEXT_SEGMENT {
            committed.next_segment = serde_json::from_slice(value).map_err(|error| bad(key, error))?;
        } else if key.starts_with(META_SEGMENT_PREFIX) {
            committed.segments.push(serde_json::from_slice(value).map_err(|error| bad(key, error))?);
        }
    }
    Ok(committed)
}

/// One change of the base: all of it happens, or nothing.
pub(crate) struct BaseWrite<'b> {
    base: &'b Base,
    write: WriteTransaction,
}

impl BaseWrite<'_> {
    /// The rows, to change them.
    pub(crate) fn rows(&self) -> Result<BaseRowsWrite<'_>> {
        let table = self.write.open_table(ROWS).map_err(|error| self.base.error(error))?;
        Ok(BaseRowsWrite { base: self.base, table })
    }

    pub(crate) fn set_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.put_meta(META_CHECKPOINT, checkpoint)
    }

    /// Makes a manifest edit.
    pub(crate) fn edit_manifest(&self, removed: &[u64], added: &[SegmentMeta], next_segment: u64) -> Result<()> {
        for number in removed {
            let mut meta = self.write.open_table(META).map_err(|error| self.base.error(error))?;
            meta.remove(segment_key(*number).as_str()).map_err(|error| self.base.error(error))?;
        }
        for segment in added {
            self.put_meta(&segment_key(segment.number), segment)?;
        }
        self.put_meta(META_NEXT_SEGMENT, &next_segment)
    }

    fn put_meta(&self, key: &str, value: &impl serde::Serialize) -> Result<()> {
        let value = serde_json::to_vec(value).map_err(|error| StoreError::Internal(error.to_string()))?;
        let mut meta = self.write.open_table(META).map_err(|error| self.base.error(error))?;
        meta.insert(key, value.as_slice()).map_err(|error| self.base.error(error))?;
        Ok(())
    }

    fn put_erased(&self, erased: &[crate::ErasedWrite]) -> Result<()> {
        let mut table = self.write.open_table(ERASED).map_err(|error| self.base.error(error))?;
        for write in erased {
            let (key, value) = rewrite::encode(write);
            table.insert(key.as_slice(), value.as_slice()).map_err(|error| self.base.error(error))?;
        }
        Ok(())
    }

    /// There is no erasure to finish any more.
    pub(crate) fn end_erasing(&self) -> Result<()> {
        let mut meta = self.write.open_table(META).map_err(|error| self.base.error(error))?;
        meta.remove(META_ERASING).map_err(|error| self.base.error(error))?;
        Ok(())
    }

    /// The commit point. After an error, whether it happened is known only from [`Base::committed`]; after a failed sync
    /// not before the file is opened by a new process.
    pub(crate) fn commit(self) -> Result<()> {
        self.write.commit().map_err(|error| self.base.error(error))?;
        // redb is not told of a failed sync: see `Gate`.
        self.base.check_synced()
    }
}

fn segment_key(number: u64) -> String {
    format!("{META_SEGMENT_PREFIX}{number:020}")
}

/// The rows within a [`BaseWrite`].
pub(crate) struct BaseRowsWrite<'t> {
    base: &'t Base,
    table: redb::Table<'t, &'static [u8], &'static [u8]>,
}

impl BaseRowsWrite<'_> {
    /// Sets or (with no row) removes a key's row; the one that was there.
    pub(crate) fn replace(&mut self, full_key: &[u8], row: Option<(Stamp, &[u8])>) -> Result<Option<BaseRow>> {
        let old = match row {
            Some((from, payload)) => self.table.insert(full_key, encode_value(from, payload).as_slice()),
            None => self.table.remove(full_key),
        };
        let old = old.map_err(|error| self.base.error(error))?;
        old.map(|old| decode_row(&self.base.path, full_key, old.value())).transpose()
    }
}

/// The base and history as of one redb commit.
#[derive(Clone, Debug)]
pub(crate) struct BaseSnapshot {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) manifest: Manifest,
    pub(crate) rows: Arc<BaseRows>,
}

/// What redb's error means here.
pub(crate) fn redb_error(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        // A file cut short, or one that never was a base.
        redb::Error::Io(source)
            if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
        {
            StoreError::damaged(path, source.to_string())
        }
        redb::Error::Io(source) => StoreError::io("using", path, source),
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
            StoreError::io("using", path, io::Error::other("an earlier access to the file failed"))
        }
        redb::Error::Corrupted(what) => StoreError::damaged(path, what),
        error @ (redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::UpgradeRequired(_)) => StoreError::damaged(path, error.to_string()),
        other => StoreError::Internal(format!("{}: {other}", path.display())),
    }
}
