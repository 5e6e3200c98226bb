//! What can go wrong with the log.

use std::io;
use std::path::{Path, PathBuf};

use driftdb_types::Lsn;

use crate::recovery::ApplyError;

/// Why the log could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// There is no room for another log segment. Nothing of the group was written; the log is as it was, and an
    /// append may succeed once there is room.
    #[error("no room for another log segment: {}: {source}", file.display())]
    Full {
        /// The file that could not be made.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },

    /// The disk failed before anything was written. The log is as it was.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried, as in "cannot read".
        action: &'static str,
        /// With which file or directory.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },

    /// The disk failed while a group was written or synced, in this append or in an earlier one. Whether the records
    /// of *that* group are durable is unknown until the log is opened again; nothing is written any more.
    #[error("the commit log takes no more records since the disk failed: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },

    /// Bytes that were durable are not what was written. Opening refuses.
    #[error("the commit log is damaged: {} at offset {offset}: {what}", file.display())]
    Damaged {
        /// The damaged file; the log's directory when a whole segment is missing.
        file: PathBuf,
        /// The offset in it of the first frame (or header) that is wrong.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },

    /// Written by a later version of DriftDB.
    #[error("{} has commit log format {found}, and this program knows no format after {known}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },

    /// The options make no sense.
    #[error("{0}")]
    Options(String),

    /// Who opens the log could not take in a record.
    #[error("cannot apply the commit log record that ends at {lsn}: {source}")]
    Apply {
        /// The end of the record.
        lsn: Lsn,
        /// Why.
        source: ApplyError,
    },
}

impl LogError {
    /// For `map_err`: the disk failed while `action` was done with `file`.
    pub(crate) fn io(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> LogError {
        let file = file.to_owned();
        move |source| LogError::Io { action, file, source }
    }

    /// Where in its file it is, and what.
    pub(crate) fn finding(&self) -> (u64, String) {
        match self {
            LogError::Damaged { offset, what, .. } => (*offset, what.clone()),
            other => (0, other.to_string()),
        }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Damaged { file: file.to_owned(), offset, what: what.into() }
    }
}
