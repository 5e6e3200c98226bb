//! The store's error.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb_types::{CommitSeq, Error, SqlState, TreeId};

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done: "writing", "opening".
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The disk could not say that bytes are durable. What is, is unknown; nothing more is written until the store is
    /// opened again.
    #[error("syncing {}: {source}; nothing more is written until the database is started again", path.display())]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// A file does not hold what it must.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A file of a release this one does not know.
    #[error("{} has format {found}, this release reads {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version known.
        known: u32,
    },
    /// Commits cannot be taken: the memtables are full and stay so.
    #[error("no room for commits: {sealed} memtables wait to be flushed{}", cause.as_ref().map(|cause| format!("; the last flush failed: {cause}")).unwrap_or_default())]
    NoRoom {
        /// How many memtables wait.
        sealed: usize,
        /// Why the last flush failed, if it did.
        cause: Option<Arc<StoreError>>,
    },
    /// The flush has been failing for so long that commits are refused.
    #[error("commits are refused while the store cannot be written: {0}")]
    FlushFails(Arc<StoreError>),
    /// The base's file was opened anew, and the rows as of an earlier checkpoint are not to be had any more. Views move to newer
    /// layers then; this is told where there are none yet. A new view has the current ones.
    #[error(
        "the rows as of commit {checkpoint} cannot be read any more: the disk failed, and the base was opened anew"
    )]
    ViewLost {
        /// The checkpoint that the view was of.
        checkpoint: CommitSeq,
    },
    /// What is asked for ended before the first state of the tree that can be read.
    #[error("tree {tree} can be read from commit {horizon} on, and not as of commit {asked}")]
    BeyondHorizon {
        /// Which tree.
        tree: TreeId,
        /// The commit asked for.
        asked: CommitSeq,
        /// The first commit as of which it can be read.
        horizon: CommitSeq,
    },
    /// The store was shut.
    #[error("the store is closed")]
    Closed,
    /// An invariant was found broken.
    #[error("{0}")]
    Internal(String),
}

impl StoreError {
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { what, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn sync(path: &Path, source: io::Error) -> StoreError {
        StoreError::Sync { path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: path.to_owned(), what: what.into() }
    }

    /// Whether the cause is a full disk.
    pub fn is_disk_full(&self) -> bool {
        match self {
            StoreError::Io { source, .. } | StoreError::Sync { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            StoreError::NoRoom { cause: Some(cause), .. } | StoreError::FlushFails(cause) => cause.is_disk_full(),
            _ => false,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let full = error.is_disk_full();
        let state = match &error {
            _ if full => SqlState::DISK_FULL,
            StoreError::Io { .. } | StoreError::Sync { .. } | StoreError::FlushFails(_) => SqlState::IO_ERROR,
            StoreError::Damaged { .. } | StoreError::Format { .. } => SqlState::DATA_CORRUPTED,
            StoreError::NoRoom { .. } => SqlState::OUT_OF_MEMORY,
            StoreError::ViewLost { .. } => SqlState::SERIALIZATION_FAILURE,
            StoreError::BeyondHorizon { .. } => SqlState::BEYOND_RETENTION_HORIZON,
            StoreError::Closed => SqlState::CANNOT_CONNECT_NOW,
            StoreError::Internal(_) => SqlState::INTERNAL_ERROR,
        };
        let sql = Error::new(state, error.to_string());
        match error {
            _ if full => sql.hint("Free space on the disk; the store tries again by itself."),
            StoreError::ViewLost { .. } => sql.hint("Run the transaction again."),
            _ => sql,
        }
    }
}
