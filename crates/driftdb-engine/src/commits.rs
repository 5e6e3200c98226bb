//! The tree of commits: when, who and what.
//!
//! Its keys are the commit numbers, big-endian, so they are dense and in order; and an entry's own stamp is the
//! commit's. That makes "which commit was the last at time t" a binary search over numbers, with one read a step.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_store::{ReadPoint, Scan, StoreView, Version};
use driftdb_types::{CommitSeq, Digest, Error, KeyRange, Result, SqlState, TreeId};

use crate::record::{CommitRecord, Floors, decode_entry};

/// The key of a commit's entry.
pub(crate) fn commit_key(seq: CommitSeq) -> Bytes {
    Bytes::copy_from_slice(&seq.0.to_be_bytes())
}

fn entry(view: &StoreView, seq: CommitSeq) -> Result<Option<Version>> {
    Ok(view.get(TreeId::COMMITS, &seq.0.to_be_bytes(), ReadPoint::Latest)?)
}

/// The last commit at or before `time_us`; [`CommitSeq::ZERO`] when the first one came later.
pub(crate) fn seq_at_time(view: &StoreView, time_us: i64) -> Result<CommitSeq> {
    let newest = view.stamp();
    if newest.time_us <= time_us {
        return Ok(newest.seq);
    }
    // Invariant: the commit `low` (or none) is at or before the time, the commit `high` is after it.
    let (mut low, mut high) = (0, newest.seq.0);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let Some(found) = entry(view, CommitSeq(middle))? else {
            return Err(missing(CommitSeq(middle)));
        };
        if found.from.time_us <= time_us {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(CommitSeq(low))
}

/// What is kept of one commit; `None` when the view has no such commit.
pub(crate) fn commit_record(view: &StoreView, seq: CommitSeq) -> Result<Option<CommitRecord>> {
    match entry(view, seq)? {
        Some(found) => Ok(Some(decode_entry(&found.payload)?.0)),
        None => Ok(None),
    }
}

/// What the next commit follows: the floors of the last one, and the digest of its entry.
pub(crate) fn last(view: &StoreView) -> Result<Option<(Floors, Digest)>> {
    let last = view.stamp().seq;
    if last == CommitSeq::ZERO {
        return Ok(None);
    }
    let found = entry(view, last)?.ok_or_else(|| missing(last))?;
    Ok(Some((decode_entry(&found.payload)?.1, entry_digest(&found.payload))))
}

/// What stands for a commit and all that came before it: see [`crate::chain`].
pub(crate) fn entry_digest(entry: &[u8]) -> Digest {
    Digest::of(&[entry])
}

/// The digest of a commit; `None` when the view has no such commit.
pub(crate) fn digest(view: &StoreView, seq: CommitSeq) -> Result<Option<Digest>> {
    Ok(entry(view, seq)?.map(|found| entry_digest(&found.payload)))
}

pub(crate) fn missing(seq: CommitSeq) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, format!("commit {seq} is missing in the tree of commits"))
}

/// Commits in order. Owns what it reads.
pub struct Commits {
    scan: Scan,
}

impl Commits {
    pub(crate) fn new(view: &Arc<StoreView>, range: &RangeInclusive<CommitSeq>, reverse: bool) -> Result<Commits> {
        let range = KeyRange {
            start: std::ops::Bound::Included(range.start().0.to_be_bytes().to_vec()),
            end: std::ops::Bound::Included(range.end().0.to_be_bytes().to_vec()),
        };
        Ok(Commits { scan: view.scan(TreeId::COMMITS, &range, ReadPoint::Latest, reverse)? })
    }
}

impl Iterator for Commits {
    type Item = Result<CommitRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let version = match self.scan.next()? {
            Ok(version) => version,
            Err(error) => return Some(Err(error.into())),
        };
        Some(decode_entry(&version.payload).map(|(record, _)| record))
    }
}
