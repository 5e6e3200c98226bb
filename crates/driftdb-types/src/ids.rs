//! Coordinates and identities.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The dense number of a commit: the first commit is 1, and each later one is one more than the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommitSeq(pub u64);

impl CommitSeq {
    /// Before the first commit: no row version is visible here.
    pub const ZERO: CommitSeq = CommitSeq(0);
    /// Later than any commit can be.
    pub const MAX: CommitSeq = CommitSeq(u64::MAX);

    /// The number of the commit that follows.
    pub fn next(self) -> CommitSeq {
        CommitSeq(self.0.saturating_add(1))
    }
}

impl fmt::Display for CommitSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The coordinate of history: when a commit happened. Both parts rise strictly from commit to commit, so that order
/// by `seq` is order by `time_us`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The dense commit number.
    pub seq: CommitSeq,
    /// Commit time: microseconds since 1970-01-01 00:00:00 UTC.
    pub time_us: i64,
}

impl Stamp {
    /// The stamp before the first commit.
    pub const ZERO: Stamp = Stamp { seq: CommitSeq::ZERO, time_us: i64::MIN };
}

/// A byte position in the commit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An ordered key space in the store: the rows of one table, the entries of one index, or one of the system's own.
/// A table's or an index's id is its tree's id; ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TreeId(pub u32);

impl TreeId {
    /// Definitions of tables and other objects, one entry an object.
    pub const CATALOG: TreeId = TreeId(1);
    /// One entry a commit: its time, who made it and what it touched.
    pub const COMMITS: TreeId = TreeId(2);
    /// Pins, by their name.
    pub const PINS: TreeId = TreeId(3);
    /// Of each table whose retention let versions go: from where on it can be read.
    pub const HORIZONS: TreeId = TreeId(4);
    /// Certificates of erasures.
    pub const ERASURES: TreeId = TreeId(5);
    /// The first id given to a user's table or index.
    pub const FIRST_USER: TreeId = TreeId(100);
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A column's identity within its table: its position among all the columns the table ever had. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnId(pub u16);

/// A transaction in flight. Says nothing of visibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u64);
