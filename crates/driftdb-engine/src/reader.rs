//! Reading "now": a view with a transaction's own changes laid over it.
//!
//! Both sides are ordered by key, so a scan is a merge of two; where a key is in both, the transaction's own change
//! hides the committed version. The reader owns what it reads, so a scan can outlive the statement's borrow of the
//! transaction, and does not see what the transaction writes later: an UPDATE reads a state that stands still.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_store::{ReadPoint, Scan, StoreView, Version};
use driftdb_types::{KeyRange, Result, Stamp, TreeId};

use crate::reads::{ReadTracker, ScanTrack};
use crate::write_set::{Change, TreeChanges, WriteSet};

/// How many of the transaction's own changes a scan takes out at a time.
const CHUNK: usize = 256;

/// A row, an index entry, or another entry of a tree, as a transaction sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowVersion {
    /// Its key within the tree.
    pub key: Bytes,
    /// What it holds.
    pub payload: Bytes,
    /// When it was committed; `None`: by this transaction, which has not ended.
    pub from: Option<Stamp>,
}

/// A transaction's sight at one moment: its snapshot and its own changes until then. Cheap to make and to clone.
#[derive(Clone)]
pub struct TxnReader {
    view: Arc<StoreView>,
    writes: WriteSet,
    /// Where it is told what is read.
    reads: Option<Arc<ReadTracker>>,
}

impl TxnReader {
    pub(crate) fn new(view: Arc<StoreView>, writes: WriteSet, reads: Option<Arc<ReadTracker>>) -> TxnReader {
        TxnReader { view, writes, reads }
    }

    /// The snapshot below the own changes.
    pub fn view(&self) -> &Arc<StoreView> {
        &self.view
    }

    /// Whether the transaction changed anything in this tree: if not, reading the view alone is the same.
    pub fn has_writes(&self, tree: TreeId) -> bool {
        self.writes.tree(tree).is_some()
    }

    /// The entry of this key.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<RowVersion>> {
        get(&self.view, &self.writes, self.reads.as_ref(), tree, key)
    }

    /// Counts a range as read that was, or will be, read from the view below: versions, definitions, commits.
    pub fn note_range(&self, tree: TreeId, range: &KeyRange) -> Result<()> {
        self.reads.as_ref().map_or(Ok(()), |reads| reads.range(tree, range))
    }

    /// The entries of a range, in key order, or against it.
    pub fn scan(&self, tree: TreeId, range: &KeyRange, reverse: bool) -> Result<TxnScan> {
        let committed = self.view.scan(tree, range, ReadPoint::Latest, reverse)?;
        let own = self.writes.tree(tree).map(|changes| OwnChanges::new(changes.clone(), range, reverse));
        let track = self.reads.as_ref().map(|reads| reads.scan(tree, range, reverse)).transpose()?;
        Ok(TxnScan { committed, next_committed: None, own, reverse, track })
    }
}

impl std::fmt::Debug for TxnReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxnReader").field("stamp", &self.view.stamp()).finish_non_exhaustive()
    }
}

pub(crate) fn get(
    view: &StoreView,
    writes: &WriteSet,
    reads: Option<&Arc<ReadTracker>>,
    tree: TreeId,
    key: &[u8],
) -> Result<Option<RowVersion>> {
    if let Some(change) = writes.get(tree, key) {
        let key = Bytes::copy_from_slice(key);
        return Ok(change.after.clone().map(|payload| RowVersion { key, payload, from: None }));
    }
    if let Some(reads) = reads {
        reads.key(tree, key)?;
    }
    Ok(view.get(tree, key, ReadPoint::Latest)?.map(from_version))
}

fn from_version(version: Version) -> RowVersion {
    RowVersion { key: version.key, payload: version.payload, from: Some(version.from) }
}

/// Entries of one tree as a transaction sees them. Owns what it reads.
pub struct TxnScan {
    committed: Scan,
    next_committed: Option<Version>,
    own: Option<OwnChanges>,
    reverse: bool,
    track: Option<ScanTrack>,
}

impl TxnScan {
    fn advance(&mut self) -> Result<Option<RowVersion>> {
        let Some(own) = &mut self.own else {
            return Ok(self.committed.next().transpose()?.map(from_version));
        };
        loop {
            if self.next_committed.is_none() {
                self.next_committed = self.committed.next().transpose()?;
            }
            let Some((own_key, _)) = own.peek() else {
                return Ok(self.next_committed.take().map(from_version));
            };
            let order = self.next_committed.as_ref().map(|version| {
                let order = own_key.cmp(&version.key);
                if self.reverse { order.reverse() } else { order }
            });
            match order {
                Some(std::cmp::Ordering::Greater) => return Ok(self.next_committed.take().map(from_version)),
                // The own change hides the committed version.
                Some(std::cmp::Ordering::Equal) => self.next_committed = None,
                Some(std::cmp::Ordering::Less) | None => {}
            }
            if let Some((key, Some(payload))) = own.pop() {
                return Ok(Some(RowVersion { key, payload, from: None }));
            }
        }
    }
}

impl Iterator for TxnScan {
    type Item = Result<RowVersion>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.advance();
        if let (Some(track), Ok(found)) = (&mut self.track, &found) {
            match found {
                Some(row) => track.reached(&row.key),
                None => track.ended(),
            }
        }
        found.transpose()
    }
}

/// A walk over a tree's own changes. Taken out in chunks, because an iterator of the map would borrow it.
struct OwnChanges {
    changes: TreeChanges,
    chunk: VecDeque<(Bytes, Option<Bytes>)>,
    start: Bound<Bytes>,
    end: Bound<Bytes>,
    reverse: bool,
    exhausted: bool,
}

impl OwnChanges {
    fn new(changes: TreeChanges, range: &KeyRange, reverse: bool) -> OwnChanges {
        let owned = |bound: &Bound<Vec<u8>>| bound.as_ref().map(|key| Bytes::copy_from_slice(key));
        OwnChanges {
            changes,
            chunk: VecDeque::new(),
            start: owned(&range.start),
            end: owned(&range.end),
            reverse,
            exhausted: is_empty(range),
        }
    }

    fn peek(&mut self) -> Option<&(Bytes, Option<Bytes>)> {
        if self.chunk.is_empty() && !self.exhausted {
            self.refill();
        }
        self.chunk.front()
    }

    fn pop(&mut self) -> Option<(Bytes, Option<Bytes>)> {
        self.chunk.pop_front()
    }

    fn refill(&mut self) {
        let range = self.changes.range::<_, Bytes>((self.start.as_ref(), self.end.as_ref()));
        let entry = |(key, change): (&Bytes, &Arc<Change>)| (key.clone(), change.after.clone());
        if self.reverse {
            self.chunk.extend(range.rev().take(CHUNK).map(entry));
        } else {
            self.chunk.extend(range.take(CHUNK).map(entry));
        }
        match self.chunk.back() {
            Some((last, _)) if self.chunk.len() == CHUNK => {
                let rest = Bound::Excluded(last.clone());
                if self.reverse {
                    self.end = rest;
                } else {
                    self.start = rest;
                }
                self.exhausted = bounds_are_empty(&self.start, &self.end);
            }
            _ => self.exhausted = true,
        }
    }
}

/// Whether no key can lie between; the map's own range panics on some of these.
fn bounds_are_empty<T: Ord>(start: &Bound<T>, end: &Bound<T>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => start >= end,
    }
}

fn is_empty(range: &KeyRange) -> bool {
    bounds_are_empty(&range.start, &range.end)
}
