//! What a reader asks for and what it is given.

use bytes::Bytes;
use driftdb_types::{CommitSeq, Digest, Lsn, Stamp, TreeId};
use serde::{Deserialize, Serialize};

/// Up to where base and history are durable: commit log before `lsn` is not needed to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The last commit that base and history hold.
    pub stamp: Stamp,
    /// Where that commit's record ends in the commit log: recovery begins to read here.
    pub lsn: Lsn,
}

impl Checkpoint {
    /// The checkpoint of an empty store.
    pub const ZERO: Checkpoint = Checkpoint { stamp: Stamp::ZERO, lsn: Lsn(0) };
}

/// One row version (or index entry, or other entry of a tree). Its bytes may share their memory with the rows beside it
/// (up to some 32 KiB, keys and payloads apart): copy what is to be kept for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The key within its tree.
    pub key: Bytes,
    /// When it became the truth.
    pub from: Stamp,
    /// When it ceased to be, as far as the view it was read from knows; `None`: it is current there.
    /// Reads at [`ReadPoint::Latest`] give `None` always.
    pub to: Option<Stamp>,
    /// Whether a deletion closed it (otherwise, where `to` is given, a newer version of the key did).
    pub deleted: bool,
    /// What it holds.
    pub payload: Bytes,
}

/// What is kept of a write whose version was erased: no more than shows that the commit was what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedWrite {
    /// The tree it was made in.
    pub tree: TreeId,
    /// The commit that made it.
    pub seq: CommitSeq,
    /// Its place among the commit's writes in the tree, in the order of their keys.
    pub place: u32,
    /// What erased it.
    pub erasure: u64,
    /// Its digest.
    pub digest: Digest,
}

/// At which point in history to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPoint {
    /// The newest versions of the view. Never touches history.
    Latest,
    /// The versions visible at this commit: `from ≤ s < to`. At or after the view's stamp this is what the view holds
    /// as its newest; a caller that wants an error for stamps of the future checks [`crate::StoreView::stamp`].
    AsOf(CommitSeq),
}

/// Which versions a read over time is to give, in commit numbers. A version's period is `[from, to)`; an open one ends
/// never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Every version.
    All,
    /// Versions that were the truth at some stamp of `[start, end)`: `from < end` and `to > start`. None when
    /// `start ≥ end`. `FROM a TO b` is `[a, b)`, `BETWEEN a AND b` is `[a, b + 1)`.
    Overlaps {
        /// First commit number of the period asked about.
        start: CommitSeq,
        /// First commit number after it.
        end: CommitSeq,
    },
    /// Versions that began and ended within: `from ≥ start` and `to ≤ end`. Open versions are none of these.
    ContainedIn {
        /// The earliest `from`.
        start: CommitSeq,
        /// The latest `to`.
        end: CommitSeq,
    },
}

impl Period {
    /// Whether a version of this period belongs to the answer.
    pub fn admits(&self, from: CommitSeq, to: Option<CommitSeq>) -> bool {
        match *self {
            Period::All => true,
            Period::Overlaps { start, end } => start < end && from < end && to.is_none_or(|to| to > start),
            Period::ContainedIn { start, end } => from >= start && to.is_some_and(|to| to <= end),
        }
    }
}
