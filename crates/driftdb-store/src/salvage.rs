//! A store made of what is left of a damaged one, which is not changed.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::{Disk, Env, OpenOptions};
use driftdb_types::{CommitSeq, TreeId};

use crate::base::{self, Gap};
use crate::check::UNREADABLE;
use crate::history::Segment;
use crate::store::HISTORY_DIR;
use crate::{Checkpoint, Result, StoreError};

/// So many bytes of a file are copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// What became of a store.
#[derive(Clone, Debug)]
pub struct Salvage {
    /// Of both.
    pub checkpoint: Checkpoint,
    /// The history segments that could not be copied.
    pub lost_history: Vec<LostHistory>,
    /// Where rows of the base could not be copied.
    pub lost_rows: Vec<LostRows>,
    /// How many rows those are.
    pub rows: u64,
}

/// A history segment that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostHistory {
    /// Its file.
    pub path: PathBuf,
    /// Whose versions were in it.
    pub tree: TreeId,
    /// How many.
    pub versions: u64,
    /// The commits that the first and the last of them ended with.
    pub ended: (CommitSeq, CommitSeq),
    /// What is wrong with the file.
    pub what: String,
}

/// Some rows that are lost, one at least: between two keys that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRows {
    /// The last row before them; `None`: there is none.
    pub after: Option<(TreeId, Bytes)>,
    /// The first row after them; `None`: there is none.
    pub before: Option<(TreeId, Bytes)>,
}

impl From<Gap> for LostRows {
    fn from(gap: Gap) -> LostRows {
        let place = |key: Option<Vec<u8>>| {
            let (tree, key) = base::decode_key(key.as_deref()?)?;
            Some((tree, Bytes::copy_from_slice(key)))
        };
        LostRows { after: place(gap.after), before: place(gap.before) }
    }
}

/// Where the history segments of the store in `dir` are.
pub fn history_dir(dir: &Path) -> PathBuf {
    dir.join(HISTORY_DIR)
}

/// Makes a store in the directory `to`, which is there and empty, of what can be read of the one in `from`, which must not be
/// open. What is left out: history segments that are not what the manifest says, rows of the base in damaged pages, and files
/// that are nobody's. [`StoreError::Damaged`] where the base cannot say what it holds.
pub fn salvage(env: &Env, from: &Path, to: &Path) -> Result<Salvage> {
    let path = from.join(base::FILE_NAME);
    panic::catch_unwind(AssertUnwindSafe(|| copy_store(env, &path, from, to)))
        .unwrap_or_else(|_| Err(StoreError::damaged(&path, UNREADABLE)))
}

fn copy_store(env: &Env, path: &Path, from: &Path, to: &Path) -> Result<Salvage> {
    if !env.disk.exists(path).map_err(|error| StoreError::io("looking for", path, error))? {
        return Err(StoreError::damaged(path, "it is missing"));
    }
    let damaged = base::open_to_salvage(&env.disk, path)?;
    let history = to.join(HISTORY_DIR);
    env.disk.create_dir_all(&history).map_err(|error| StoreError::io("creating", &history, error))?;
    let mut salvage =
        Salvage { checkpoint: damaged.committed.checkpoint, lost_history: Vec::new(), lost_rows: Vec::new(), rows: 0 };
    let mut without = Vec::new();
    for meta in &damaged.committed.segments {
        let segment = Segment::new(meta.clone(), &from.join(HISTORY_DIR));
        // What is copied is compared, and not what was there before.
        let copy = Segment::new(meta.clone(), &history);
        let what = match copy_file(&env.disk, &segment.path, &copy.path)? {
            None => match copy.verify_digest(&env.disk) {
                Ok(()) => continue,
                Err(StoreError::Damaged { what, .. }) => what,
                Err(other) => return Err(other),
            },
            Some(unreadable) => unreadable.to_string(),
        };
        // The manifest will not name it: should this fail, the first opening removes it.
        let _ = env.disk.remove(&copy.path);
        without.push(meta.number);
        let ended = (meta.bounds.to_min, meta.bounds.to_max);
        salvage.lost_history.push(LostHistory {
            path: segment.path,
            tree: meta.tree,
            versions: meta.rows,
            ended,
            what,
        });
    }
    env.disk.sync_dir(&history).map_err(|error| StoreError::sync(&history, error))?;
    let missing = damaged.copy(path, &env.disk, to, &without)?;
    salvage.rows = missing.rows;
    salvage.lost_rows = missing.gaps.into_iter().map(LostRows::from).collect();
    Ok(salvage)
}

/// Copies a file, durably but for its name; gives why that could not be read, if so.
fn copy_file(disk: &Arc<dyn Disk>, from: &Path, to: &Path) -> Result<Option<io::Error>> {
    let writing = |error| StoreError::io("writing", to, error);
    let copy = disk.open(to, OpenOptions::CREATE_NEW).map_err(writing)?;
    let (source, length) = match disk.open(from, OpenOptions::READ).and_then(|file| Ok((file.len()?, file))) {
        Ok((length, source)) => (source, length),
        Err(error) => return Ok(Some(error)),
    };
    let mut at = 0;
    while at < length {
        let mut bytes = vec![0; usize::try_from(COPY_BYTES.min(length - at)).unwrap_or_default()];
        if let Err(error) = source.read_at(at, &mut bytes) {
            return Ok(Some(error));
        }
        copy.write_at(at, &bytes).map_err(writing)?;
        at += bytes.len() as u64;
    }
    copy.sync_all().map_err(|error| StoreError::sync(to, error))?;
    Ok(None)
}
