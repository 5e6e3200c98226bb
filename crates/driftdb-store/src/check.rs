//! The doctor's look at the files: everything is read, nothing is changed.
//!
//! *Base*: redb's own integrity check (every page's checksum), then each row: it has a stamp no later than the
//! checkpoint's, and decodes. *History segments*: those the manifest names exist with the length and checksum it
//! gives, every page can be read, versions are in order, within the bounds the manifest promises, and decode by the
//! definition in the file. *Together*: the versions of a key do not overlap, wherever they are. *Orphans*: files that the
//! manifest does not name.
//!
//! All of it is in the order of keys: one walk over the base and all segments of a tree sees everything, and what is in
//! memory at a time is a part of each.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::{Disk, Env, OpenOptions};
use driftdb_types::{Stamp, TableSchema, TreeId, decode_row};
use redb::{Database, ReadableDatabase, ReadableTable};

use crate::base::{self, Committed, PageFile};
use crate::history::Segment;
use crate::store::HISTORY_DIR;
use crate::{Checkpoint, SchemaSource, StoreError};

#[cfg(test)]
mod tests;
mod walk;

use walk::{BaseWalk, SegmentWalk};

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub path: PathBuf,
    /// What was found.
    pub what: String,
    /// Whether opening the store puts it right and nothing is lost by it: what a crash may leave.
    pub harmless: bool,
}

impl From<StoreError> for Finding {
    fn from(error: StoreError) -> Finding {
        match error {
            StoreError::Damaged { path, what } => Finding { path, what, harmless: false },
            StoreError::Io { what, path, source } => {
                Finding { path, what: format!("{what}: {source}"), harmless: false }
            }
            other => Finding { path: PathBuf::new(), what: other.to_string(), harmless: false },
        }
    }
}

/// No more than this is reported of one file.
const FINDINGS_MAX: usize = 20;

/// Verifies base and history in `dir`, changing nothing. The store must not be open. Nothing found: an empty list.
pub fn check(env: &Env, dir: &Path, schemas: Arc<dyn SchemaSource>) -> Vec<Finding> {
    let mut check = Check { disk: Arc::clone(&env.disk), schemas, findings: HashMap::new(), order: Vec::new() };
    let base = dir.join(base::FILE_NAME);
    if check.survive(&base, |check| check.run(dir)).is_none() {
        check.found(&base, "what is behind it was not checked");
    }
    let Check { mut findings, order, .. } = check;
    order.into_iter().flat_map(|path| findings.remove(&path).unwrap_or_default()).collect()
}

/// Whether there is anything of a store in `dir`.
pub fn is_there(env: &Env, dir: &Path) -> io::Result<bool> {
    Ok(env.disk.exists(&dir.join(base::FILE_NAME))? || env.disk.exists(&dir.join(HISTORY_DIR))?)
}

/// The checkpoint of the store in `dir`, read without opening it and changing nothing: from where on the commit log is
/// needed. The store must not be open.
pub fn read_checkpoint(env: &Env, dir: &Path) -> Result<Checkpoint, StoreError> {
    let path = dir.join(base::FILE_NAME);
    let read = || base::open_to_read(&env.disk, &path, false).map(|(_, committed)| committed.checkpoint);
    panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(StoreError::damaged(&path, UNREADABLE)))
}

/// What is said of a file over which a library that reads it panicked.
pub(crate) const UNREADABLE: &str = "it is damaged so badly that reading it failed";

struct Check {
    disk: Arc<dyn Disk>,
    schemas: Arc<dyn SchemaSource>,
    findings: HashMap<PathBuf, Vec<Finding>>,
    /// The files in the order of their first finding.
    order: Vec<PathBuf>,
}

impl Check {
    fn report(&mut self, finding: Finding) {
        let known = self.findings.entry(finding.path.clone()).or_default();
        if known.is_empty() {
            self.order.push(finding.path.clone());
        }
        if known.len() < FINDINGS_MAX {
            known.push(finding);
        }
    }

    fn found(&mut self, path: &Path, what: impl Into<String>) {
        self.report(Finding { path: path.to_owned(), what: what.into(), harmless: false });
    }

    /// Does a part of the work over which the libraries that read the files may panic when they are damaged: that is a
    /// finding on the file.
    fn survive<R>(&mut self, path: &Path, work: impl FnOnce(&mut Check) -> R) -> Option<R> {
        let done = panic::catch_unwind(AssertUnwindSafe(|| work(self))).ok();
        if done.is_none() {
            self.found(path, UNREADABLE);
        }
        done
    }

    fn run(&mut self, dir: &Path) {
        let history_dir = dir.join(HISTORY_DIR);
        let path = dir.join(base::FILE_NAME);
        match self.disk.exists(&path) {
            Ok(true) => {}
            Ok(false) => return self.found(&path, "it is missing"),
            Err(error) => return self.found(&path, error.to_string()),
        }
        let (database, committed) = match base::open_to_read(&self.disk, &path, true) {
            Ok(opened) => opened,
            Err(error) => return self.report(error.into()),
        };
        self.check_orphans(&history_dir, &committed);
        if let Err(error) = self.check_versions(dir, &database, &committed) {
            self.report(error.into());
        }
        if !self.findings.contains_key(&path) {
            self.check_unused_pages(&path);
        }
    }

    /// Everything the base refers to was read, and is right: what else is not as it was written is in space that is free, or
    /// in a part of redb's header that it does not use now.
    fn check_unused_pages(&mut self, path: &Path) {
        let io = |error| StoreError::io("reading", path, error);
        let pages = self.disk.open(path, OpenOptions::READ).map_err(io).and_then(|file| PageFile::open(file, path));
        match pages.and_then(|pages| pages.spoiled().map_err(io)) {
            Ok(spoiled) => {
                for offset in spoiled {
                    let what =
                        format!("the bytes at offset {offset} are not what was written; nothing depends on them now");
                    self.report(Finding { path: path.to_owned(), what, harmless: true });
                }
            }
            Err(error) => self.report(error.into()),
        }
    }

    fn check_versions(&mut self, dir: &Path, database: &Database, committed: &Committed) -> Result<(), StoreError> {
        let path = dir.join(base::FILE_NAME);
        let read = database.begin_read().map_err(|error| base::redb_error(&path, error))?;
        let rows = read.open_table(base::ROWS).map_err(|error| base::redb_error(&path, error))?;
        let rows = rows.iter().map_err(|error| base::redb_error(&path, error))?;
        let mut rows = BaseWalk::begin(self, &path, rows, committed);
        let mut trees: BTreeMap<TreeId, Vec<Segment>> = BTreeMap::new();
        for meta in &committed.segments {
            trees.entry(meta.tree).or_default().push(Segment::new(meta.clone(), &dir.join(HISTORY_DIR)));
        }
        for (tree, segments) in trees {
            // Trees without history.
            while rows.tree().is_some_and(|of| of < tree) {
                rows.pop(self);
            }
            self.check_tree(dir, tree, segments, &mut rows, committed);
        }
        while rows.pop(self).is_some() {}
        Ok(())
    }

    /// Walks over all versions of a tree, in the order of (key, from).
    fn check_tree(
        &mut self,
        dir: &Path,
        tree: TreeId,
        segments: Vec<Segment>,
        rows: &mut BaseWalk<'_>,
        committed: &Committed,
    ) {
        let mut walks: Vec<SegmentWalk<'_>> =
            segments.into_iter().filter_map(|segment| SegmentWalk::begin(self, segment, committed)).collect();
        let (base, history) = (dir.join(base::FILE_NAME), dir.join(HISTORY_DIR));
        // The version before, and where it ends.
        let mut before: Option<(Bytes, Option<Stamp>)> = None;
        loop {
            let order = |walk: &SegmentWalk<'_>| walk.head().map(|version| (version.key.clone(), version.from));
            let next = walks.iter_mut().filter(|walk| walk.head().is_some()).min_by(|a, b| order(a).cmp(&order(b)));
            let row = rows.head().filter(|row| row.tree == tree).map(|row| (row.key.clone(), row.from));
            let (path, (key, from, to)) = match (next, row) {
                (Some(walk), row) if row.as_ref().is_none_or(|row| order(walk).is_some_and(|at| at <= *row)) => {
                    let Some(version) = walk.pop(self) else { continue };
                    (&history, (version.key, version.from, version.to))
                }
                (_, Some((key, from))) => {
                    rows.pop(self);
                    (&base, (key, from, None))
                }
                (_, None) => return,
            };
            if before.is_some_and(|(of, end)| of == key && end.is_none_or(|end| end > from)) {
                self.found(path, format!("versions of key {:02x?} of tree {tree} overlap", key.as_ref()));
            }
            before = Some((key, to));
        }
    }

    fn check_orphans(&mut self, dir: &Path, committed: &Committed) {
        let names = match self.disk.list(dir) {
            Ok(names) => names,
            Err(error) => return self.found(dir, error.to_string()),
        };
        for name in names {
            if !committed.segments.iter().any(|segment| segment.file_name() == name) {
                let what = "the manifest does not name it; it is removed when the store is opened".to_owned();
                self.report(Finding { path: dir.join(name), what, harmless: true });
            }
        }
    }

    fn check_row(&mut self, path: &Path, table: &TableSchema, key: &[u8], payload: &[u8]) {
        if let Err(error) = decode_row(table, payload) {
            self.found(path, format!("the row of key {key:02x?} of tree {}: {error}", table.id));
        }
    }
}
