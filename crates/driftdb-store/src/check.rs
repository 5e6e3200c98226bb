//! The doctor's look at the files: everything is read, nothing is changed.
//!
//! *Base*: redb's own integrity check (every page's checksum), then each row: it has a stamp no later than the
//! checkpoint's, and decodes. *History segments*: those the manifest names exist with the length and checksum it
//! gives, every page can be read, versions are in order, within the bounds the manifest promises, and decode. *Together*:
//! the versions of a key do not overlap, wherever they are. *Orphans*: files that the manifest does not name.
//!
//! Opening a redb file writes to it; here it is opened over a layer that keeps such writes in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb_env::{Disk, Env, OpenOptions};
use driftdb_types::{KeyRange, Stamp, TreeId, decode_row};
use redb::{Database, ReadableDatabase, ReadableTable};

use crate::base::{self, Committed};
use crate::history::{Bounds, OpenSegment, Segment, SegmentMeta};
use crate::store::HISTORY_DIR;
use crate::{Checkpoint, SchemaSource, StoreError, TreeSchema, Version};

mod overlay;

use overlay::Overlay;

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

/// Rows read at a time.
const WINDOW_ROWS: usize = 8192;
/// No more than this is reported of one file.
const FINDINGS_MAX: usize = 20;

/// Verifies base and history in `dir`, changing nothing. The store must not be open. Nothing found: an empty list.
pub fn check(env: &Env, dir: &Path, schemas: Arc<dyn SchemaSource>) -> Vec<Finding> {
    let mut check = Check { disk: Arc::clone(&env.disk), schemas, findings: HashMap::new(), order: Vec::new() };
    check.run(dir);
    let Check { mut findings, order, .. } = check;
    order.into_iter().flat_map(|path| findings.remove(&path).unwrap_or_default()).collect()
}

/// The checkpoint of the store in `dir`, read without opening it and changing nothing: from where on the commit log is
/// needed. The store must not be open.
pub fn read_checkpoint(env: &Env, dir: &Path) -> Result<Checkpoint, StoreError> {
    let (_, committed) = open_base(&env.disk, &dir.join(base::FILE_NAME), false)?;
    Ok(committed.checkpoint)
}

/// Opens the base, changing nothing; `verify` has every page's checksum compared.
fn open_base(disk: &Arc<dyn Disk>, path: &Path, verify: bool) -> Result<(Database, Committed), StoreError> {
    let io = |error| StoreError::io("opening", path, error);
    let file = disk.open(path, OpenOptions::READ).map_err(io)?;
    let overlay = Overlay::new(file).map_err(io)?;
    let database = Database::builder()
        .set_check_integrity_on_open(verify)
        .create_with_backend(overlay)
        .map_err(|error| base::redb_error(path, error))?;
    let read = database.begin_read().map_err(|error| base::redb_error(path, error))?;
    let meta = read.open_table(base::META).map_err(|error| base::redb_error(path, error))?;
    let committed = base::read_meta(path, &meta)?;
    Ok((database, committed))
}

struct Check {
    disk: Arc<dyn Disk>,
    schemas: Arc<dyn SchemaSource>,
    findings: HashMap<PathBuf, Vec<Finding>>,
    /// The files in the order of their first finding.
    order: Vec<PathBuf>,
}

/// The periods of each key's closed versions.
type Ends = HashMap<Vec<u8>, Vec<(Stamp, Option<Stamp>)>>;

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

    fn run(&mut self, dir: &Path) {
        let history_dir = dir.join(HISTORY_DIR);
        let path = dir.join(base::FILE_NAME);
        match self.disk.exists(&path) {
            Ok(true) => {}
            Ok(false) => return self.found(&path, "it is missing"),
            Err(error) => return self.found(&path, error.to_string()),
        }
        let (database, committed) = match open_base(&self.disk, &path, true) {
            Ok(opened) => opened,
            Err(error) => return self.report(error.into()),
        };
        self.check_orphans(&history_dir, &committed);
        let mut trees: Vec<TreeId> = committed.segments.iter().map(|segment| segment.tree).collect();
        trees.sort_unstable();
        trees.dedup();
        let mut ends: HashMap<TreeId, Ends> = HashMap::new();
        for tree in trees {
            let ends = ends.entry(tree).or_default();
            for meta in committed.segments.iter().filter(|segment| segment.tree == tree) {
                let segment = Segment::new(meta.clone(), &history_dir);
                if let Err(error) = self.check_segment(&segment, &committed, ends) {
                    self.report(error.into());
                }
            }
            for (key, periods) in &mut *ends {
                periods.sort_unstable();
                let overlap = periods.windows(2).any(|pair| match pair {
                    [(_, Some(to)), (from, _)] => to > from,
                    _ => false,
                });
                if overlap {
                    self.found(&history_dir, format!("versions of key {key:02x?} of tree {tree} overlap"));
                }
            }
        }
        if let Err(error) = self.check_rows(&path, &database, &committed, &ends) {
            self.report(error.into());
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

    fn check_segment(&mut self, segment: &Segment, committed: &Committed, ends: &mut Ends) -> Result<(), StoreError> {
        let (path, meta) = (segment.path.as_path(), &segment.meta);
        if meta.number >= committed.next_segment {
            self.found(path, format!("its number {} is still to be given", meta.number));
        }
        match segment.verify(&self.disk) {
            // What can still be read of it says more.
            Err(error @ StoreError::Damaged { .. }) => self.report(error.into()),
            verified => verified?,
        }
        let open = OpenSegment::open(&self.disk, path)?;
        let mut last: Option<(Vec<u8>, Stamp)> = None;
        let mut seen = SegmentMeta { rows: 0, bounds: Bounds::NONE, ..meta.clone() };
        for window in open.windows(WINDOW_ROWS) {
            let mut versions = Vec::new();
            for batch in open.read(&window)? {
                versions.append(&mut open.select(&batch, &KeyRange::all(), |_, _| true)?);
            }
            for version in versions {
                let Some(to) = version.to else { continue };
                let at = (version.key.to_vec(), version.from);
                if last.as_ref().is_some_and(|last| *last >= at) {
                    self.found(path, format!("the versions of key {:02x?} are out of order", at.0));
                }
                if version.from >= to {
                    self.found(path, format!("a version of key {:02x?} ends before it begins", at.0));
                }
                if to.seq > committed.checkpoint.stamp.seq {
                    self.found(path, format!("a version of key {:02x?} ends after the checkpoint", at.0));
                }
                note(&mut seen, &version, to);
                self.check_payload(path, meta.tree, &version.key, &version.payload);
                ends.entry(at.0.clone()).or_default().push((version.from, Some(to)));
                last = Some(at);
            }
        }
        if seen != *meta {
            self.found(path, format!("the manifest says {meta:?}, and in it are {seen:?}"));
        }
        Ok(())
    }

    fn check_rows(
        &mut self,
        path: &Path,
        database: &Database,
        committed: &Committed,
        ends: &HashMap<TreeId, Ends>,
    ) -> Result<(), StoreError> {
        let fail = |error: redb::Error| base::redb_error(path, error);
        let read = database.begin_read().map_err(|error| fail(error.into()))?;
        let rows = read.open_table(base::ROWS).map_err(|error| fail(error.into()))?;
        for entry in rows.iter().map_err(|error| fail(error.into()))? {
            let (key, value) = entry.map_err(|error| fail(error.into()))?;
            let (full, value) = (key.value(), value.value());
            let Some(((tree, key), (from, payload))) = base::decode_key(full).zip(base::decode_value(value)) else {
                self.found(path, format!("the entry of key {full:02x?} is too short"));
                continue;
            };
            if from.seq > committed.checkpoint.stamp.seq {
                self.found(path, format!("the row of key {key:02x?} of tree {tree} is later than the checkpoint"));
            }
            let closed = ends.get(&tree).and_then(|ends| ends.get(key)).into_iter().flatten();
            if closed.filter_map(|(_, to)| *to).any(|to| to > from) {
                self.found(path, format!("the row of key {key:02x?} of tree {tree} overlaps its history"));
            }
            self.check_payload(path, tree, key, payload);
        }
        Ok(())
    }

    fn check_payload(&mut self, path: &Path, tree: TreeId, key: &[u8], payload: &[u8]) {
        if let Some(TreeSchema::Rows(table)) = self.schemas.tree_schema(tree)
            && let Err(error) = decode_row(&table, payload)
        {
            self.found(path, format!("the row of key {key:02x?} of tree {tree}: {error}"));
        }
    }
}

fn note(seen: &mut SegmentMeta, version: &Version, to: Stamp) {
    if seen.rows == 0 {
        seen.bounds.key_min = version.key.to_vec();
    }
    seen.rows += 1;
    seen.bounds.key_max = version.key.to_vec();
    seen.bounds.add_period(version.from.seq, to.seq);
}
