//! The base as the doctor reads it: without changing it and, to save what is left, past what is damaged.

use std::path::Path;
use std::sync::Arc;

use driftdb_env::{Disk, OpenOptions, OverlayDisk};
use redb::{Database, ReadableDatabase, ReadableTableMetadata};

use super::pages::Skipped;
use super::rewrite::{COPY_BYTES, copy_entries, copy_meta};
use super::{Backend, Base, Committed, ERASED, FILE_NAME, Gate, META, PageFile, ROWS, read_meta, redb_error};
use crate::{Result, StoreError};

/// A stretch of the rows in which some may be missing: between two keys that were read, or to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) after: Option<Vec<u8>>,
    pub(crate) before: Option<Vec<u8>>,
}

/// What was not copied.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    pub(crate) gaps: Vec<Gap>,
    pub(crate) rows: u64,
}

/// Opens the base, changing nothing; `verify` has redb compare every page's checksum.
pub(crate) fn open_to_read(disk: &Arc<dyn Disk>, path: &Path, verify: bool) -> Result<(Database, Committed)> {
    let (database, _) = open(disk, path, verify, PageFile::open)?;
    let committed = committed(&database, path)?;
    Ok((database, committed))
}

/// Opens the base to copy what is not damaged.
pub(crate) fn open_to_salvage(disk: &Arc<dyn Disk>, path: &Path) -> Result<Salvage> {
    let mut skipped = Skipped::default();
    let (database, gate) = open(disk, path, false, |file, path| {
        let mut pages = PageFile::open(file, path)?;
        skipped = pages.skip_damage();
        Ok(pages)
    })?;
    let opened = Opened { gate, database };
    let before = skipped.lock().len();
    let committed = committed(&opened.database, path)?;
    check_nothing_skipped(&skipped, before, path)?;
    Ok(Salvage { opened, skipped, committed })
}

fn open(
    disk: &Arc<dyn Disk>,
    path: &Path,
    verify: bool,
    pages: impl FnOnce(Arc<dyn driftdb_env::DiskFile>, &Path) -> Result<PageFile>,
) -> Result<(Database, Arc<Gate>)> {
    // Opening a redb file writes to it.
    let over = OverlayDisk::new(Arc::clone(disk));
    let file = over.open(path, OpenOptions::WRITE).map_err(|error| StoreError::io("opening", path, error))?;
    let gate = Arc::new(Gate::new(Arc::new(pages(file, path)?), path.to_owned(), Arc::default()));
    let database = Database::builder()
        .set_check_integrity_on_open(verify)
        // What was skipped is to show whenever it is come by.
        .set_cache_size(if verify { COPY_BYTES } else { 0 })
        .create_with_backend(Backend(Arc::clone(&gate)))
        .map_err(|error| redb_error(path, error))?;
    Ok((database, gate))
}

/// A base with pages that are skipped. redb writes when it is closed, and panics, twice over, where it comes by one of them: so no file
/// is left to it then.
struct Opened {
    gate: Arc<Gate>,
    database: Database,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.gate.shut();
    }
}

fn committed(database: &Database, path: &Path) -> Result<Committed> {
    let read = database.begin_read().map_err(|error| redb_error(path, error))?;
    read_meta(path, &read.open_table(META).map_err(|error| redb_error(path, error))?)
}

fn check_nothing_skipped(skipped: &Skipped, before: usize, path: &Path) -> Result<()> {
    match skipped.lock().get(before) {
        Some(offset) => {
            let what = format!("the page at offset {offset}, which says what else there is, cannot be read");
            Err(StoreError::damaged(path, what))
        }
        None => Ok(()),
    }
}

/// A base of which a copy is to be made.
pub(crate) struct Salvage {
    opened: Opened,
    skipped: Skipped,
    pub(crate) committed: Committed,
}

impl Salvage {
    /// Makes a base in the directory `to`, where there is none, of all rows of the base in `path` that can be read; its
    /// manifest does not name the segments `without`.
    pub(crate) fn copy(&self, path: &Path, disk: &Arc<dyn Disk>, to: &Path, without: &[u64]) -> Result<Missing> {
        let new = Base::of_file(Arc::clone(disk), to.join(FILE_NAME), COPY_BYTES)?;
        let copied = self.copy_to(path, &new, without);
        new.close();
        let missing = copied?;
        new.check_synced()?;
        disk.sync_dir(to).map_err(|error| StoreError::sync(to, error))?;
        Ok(missing)
    }

    fn copy_to(&self, path: &Path, new: &Base, without: &[u64]) -> Result<Missing> {
        let read = self.opened.database.begin_read().map_err(|error| redb_error(path, error))?;
        let before = self.skipped.lock().len();
        copy_meta(&read, path, new)?;
        copy_entries(&read, path, ERASED, new, &mut |_| {})?;
        check_nothing_skipped(&self.skipped, before, path)?;
        let mut missing = Missing::default();
        let (mut at, mut last, mut found) = (before, None, 0_u64);
        copy_entries(&read, path, ROWS, new, &mut |key| {
            let key = key.map(<[u8]>::to_vec);
            let skipped = self.skipped.lock().len();
            if skipped > at {
                missing.gaps.push(Gap { after: last.clone(), before: key.clone() });
            }
            at = skipped;
            found += u64::from(key.is_some());
            last = key;
        })?;
        let rows = read.open_table(ROWS).map_err(|error| redb_error(path, error))?;
        let promised = rows.len().map_err(|error| redb_error(path, error))?;
        missing.rows = promised.saturating_sub(found);
        if promised != found && missing.gaps.is_empty() {
            return Err(StoreError::damaged(path, format!("it has {found} rows, and says that there are {promised}")));
        }
        let write = new.begin_write()?;
        write.edit_manifest(without, &[], self.committed.next_segment)?;
        write.commit()?;
        Ok(missing)
    }
}
