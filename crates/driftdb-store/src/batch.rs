//! What the commit pipeline hands over.

use bytes::Bytes;
use driftdb_types::{Lsn, Stamp, TreeId};

/// One key's change within a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The tree it is in.
    pub tree: TreeId,
    /// Its key within the tree.
    pub key: Bytes,
    /// The new payload; `None` is a tombstone.
    pub payload: Option<Bytes>,
}

/// One commit's changes. A key occurs once; should it occur twice, the later one counts.
#[derive(Clone, Copy, Debug)]
pub struct CommitBatch<'a> {
    /// The commit's stamp: greater than that of every commit applied before.
    pub stamp: Stamp,
    /// Where the commit's record ends in the commit log.
    pub end_lsn: Lsn,
    /// What it changed.
    pub writes: &'a [Write],
}
