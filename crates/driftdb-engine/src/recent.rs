//! Which keys the last commits wrote: what reads of SERIALIZABLE transactions are held against.
//!
//! ```text
//!                     complete_after          the oldest reader       visible        recorded
//!   commits  ─────────────┼───── kept ──────────────┼────────────────────┼───────────────┤
//! ```
//!
//! Every commit is recorded before it is visible, and forgotten when it is visible to all who read: a transaction that
//! takes a snapshot does so under the same mutex under which commits are forgotten, so whatever is not in its snapshot
//! is here, or will be. Where nobody reads, a commit stays for a moment only.
//!
//! The memory is bounded. When it is full the oldest commits are forgotten whoever reads, and a transaction that would
//! need them fails at its commit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use driftdb_store::Write;
use driftdb_types::{CommitSeq, Error, SqlState, TreeId};

use crate::budget::{Budget, Charge};
use crate::sync::Mutex;

/// So many keys of one tree are told apart; beyond them the commit counts as having written all from the first to the last.
const APART_MAX: usize = 8_192;
/// What a commit, or a key, costs beside its bytes; those are shared with the memtable mostly.
const OVERHEAD_BYTES: usize = 64;
/// How many commits are handed out at a time.
const CHUNK: usize = 1_024;

/// The keys a commit wrote in one tree.
#[derive(Debug)]
pub(crate) enum WrittenKeys {
    Each(Vec<Bytes>),
    /// Both included.
    Between(Bytes, Bytes),
}

/// What one commit wrote.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) trees: Vec<(TreeId, WrittenKeys)>,
    /// The trees of tables whose columns or name are others now, or that are gone.
    pub(crate) redefined: Vec<TreeId>,
    size_bytes: usize,
}

impl Written {
    /// `writes` in the order of trees and keys.
    pub(crate) fn new(writes: &[Write], redefined: Vec<TreeId>) -> Written {
        let mut trees = Vec::new();
        let mut size_bytes = OVERHEAD_BYTES * (1 + redefined.len());
        for tree_writes in writes.chunk_by(|left, right| left.tree == right.tree) {
            let (Some(first), Some(last)) = (tree_writes.first(), tree_writes.last()) else { continue };
            let keys = if tree_writes.len() > APART_MAX {
                WrittenKeys::Between(first.key.clone(), last.key.clone())
            } else {
                size_bytes += tree_writes.iter().map(|write| write.key.len() + OVERHEAD_BYTES).sum::<usize>();
                WrittenKeys::Each(tree_writes.iter().map(|write| write.key.clone()).collect())
            };
            trees.push((first.tree, keys));
        }
        Written { trees, redefined, size_bytes }
    }
}

/// A commit and what it wrote.
pub(crate) type RecentCommit = (CommitSeq, Arc<Written>);

#[derive(Debug)]
struct State {
    /// In order, without a gap.
    commits: VecDeque<RecentCommit>,
    /// All commits after this one are there.
    complete_after: CommitSeq,
    /// The snapshots that are read, and by how many.
    readers: BTreeMap<CommitSeq, usize>,
    bytes: usize,
    charge: Charge,
}

impl State {
    fn forget_oldest(&mut self) {
        let Some((seq, written)) = self.commits.pop_front() else { return };
        self.complete_after = seq;
        self.bytes -= written.size_bytes;
        self.charge.give_back(written.size_bytes);
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct RecentWrites {
    bytes_max: usize,
    state: Mutex<State>,
}

impl RecentWrites {
    /// For commits after `last`.
    pub(crate) fn new(last: CommitSeq, bytes_max: usize, budget: &Arc<Budget>) -> RecentWrites {
        let state = State {
            commits: VecDeque::new(),
            complete_after: last,
            readers: BTreeMap::new(),
            bytes: 0,
            charge: budget.take_anyway(0),
        };
        RecentWrites { bytes_max, state: Mutex::new(state) }
    }

    /// Takes a snapshot and keeps what is committed after it, until [`RecentWrites::leave`].
    pub(crate) fn enter<S>(&self, snapshot: impl FnOnce() -> (CommitSeq, S)) -> (CommitSeq, S) {
        let mut state = self.state.lock();
        let (seq, snapshot) = snapshot();
        *state.readers.entry(seq).or_default() += 1;
        (seq, snapshot)
    }

    /// A reader of this snapshot is done.
    pub(crate) fn leave(&self, snapshot: CommitSeq) {
        let mut state = self.state.lock();
        if let Some(count) = state.readers.get_mut(&snapshot) {
            *count -= 1;
            if *count == 0 {
                state.readers.remove(&snapshot);
            }
        }
    }

    /// A commit is durable, and about to be visible. Must be called in the order of commits.
    pub(crate) fn record(&self, seq: CommitSeq, written: &Arc<Written>) {
        let mut state = self.state.lock();
        state.commits.push_back((seq, Arc::clone(written)));
        state.bytes += written.size_bytes;
        // It is there in any case, and the bound is this window's own.
        let _ = state.charge.add(written.size_bytes);
        while state.bytes > self.bytes_max && !state.commits.is_empty() {
            state.forget_oldest();
        }
    }

    /// Everything up to this commit is visible to who takes a snapshot now.
    pub(crate) fn visible(&self, seq: CommitSeq) {
        let mut state = self.state.lock();
        let needed_after = state.readers.first_key_value().map_or(seq, |(oldest, _)| seq.min(*oldest));
        while state.commits.front().is_some_and(|(seq, _)| *seq <= needed_after) {
            state.forget_oldest();
        }
    }

    /// Some of the commits after one, oldest first; empty when there are none. 40001 where they are forgotten already.
    pub(crate) fn after(&self, seq: CommitSeq) -> Result<Vec<RecentCommit>, Error> {
        let state = self.state.lock();
        if seq < state.complete_after {
            return Err(Error::new(
                SqlState::SERIALIZATION_FAILURE,
                "could not serialize access: more was written since the transaction's snapshot than is kept",
            )
            .detail(format!(
                "The snapshot is of commit {seq}; what was written is known after commit {} only.",
                state.complete_after
            ))
            .hint("The transaction might succeed if retried, or if it is shorter."));
        }
        let skip = usize::try_from(seq.0 - state.complete_after.0).unwrap_or(usize::MAX);
        Ok(state.commits.iter().skip(skip).take(CHUNK).cloned().collect())
    }
}

#[cfg(test)]
#[cfg(feature = "shuttle")]
mod shuttle_tests;
#[cfg(test)]
mod tests {
    use super::*;

    fn written(keys: u32) -> Arc<Written> {
        let key = |number: u32| Bytes::copy_from_slice(&number.to_be_bytes());
        let writes: Vec<Write> =
            (0..keys).map(|number| Write { tree: TreeId(100), key: key(number), payload: None }).collect();
        Arc::new(Written::new(&writes, Vec::new()))
    }

    fn seqs(recent: &RecentWrites, after: u64) -> Vec<u64> {
        recent.after(CommitSeq(after)).unwrap().iter().map(|(seq, _)| seq.0).collect()
    }

    #[test]
    fn commits_stay_while_somebody_has_not_seen_them() {
        let budget = Budget::new(usize::MAX);
        let recent = RecentWrites::new(CommitSeq(5), 1 << 20, &budget);
        recent.record(CommitSeq(6), &written(1));
        // It took its snapshot before 6 was visible.
        recent.enter(|| (CommitSeq(5), ()));
        recent.visible(CommitSeq(6));
        recent.record(CommitSeq(7), &written(1));
        recent.visible(CommitSeq(7));
        assert_eq!(seqs(&recent, 5), [6, 7]);
        assert_eq!(seqs(&recent, 6), [7]);
        recent.leave(CommitSeq(5));
        recent.record(CommitSeq(8), &written(1));
        assert_eq!(seqs(&recent, 7), [8], "not visible yet, so the next snapshot may be without it");
        recent.visible(CommitSeq(8));
        assert_eq!(seqs(&recent, 8), [0_u64; 0]);
        assert_eq!(budget.used_bytes(), 0);
        assert!(recent.after(CommitSeq(5)).is_err());
    }

    #[test]
    fn two_readers_of_one_snapshot_both_keep_it() {
        let recent = RecentWrites::new(CommitSeq(0), 1 << 20, &Budget::new(usize::MAX));
        recent.enter(|| (CommitSeq(0), ()));
        recent.enter(|| (CommitSeq(0), ()));
        recent.record(CommitSeq(1), &written(1));
        recent.leave(CommitSeq(0));
        recent.visible(CommitSeq(1));
        assert_eq!(seqs(&recent, 0), [1]);
    }

    #[test]
    fn the_window_is_bounded_and_says_so() {
        let recent = RecentWrites::new(CommitSeq(0), written(100).size_bytes * 2, &Budget::new(usize::MAX));
        recent.enter(|| (CommitSeq(0), ()));
        recent.record(CommitSeq(1), &written(100));
        recent.record(CommitSeq(2), &written(100));
        assert_eq!(seqs(&recent, 0), [1, 2]);
        recent.record(CommitSeq(3), &written(100));
        assert_eq!(recent.after(CommitSeq(0)).unwrap_err().state, SqlState::SERIALIZATION_FAILURE);
        assert_eq!(seqs(&recent, 1), [2, 3]);
    }

    #[test]
    fn a_commit_of_many_keys_is_kept_as_a_span() {
        let large = written(u32::try_from(APART_MAX).unwrap() + 1);
        let [(_, WrittenKeys::Between(first, last))] = large.trees.as_slice() else { panic!("{large:?}") };
        assert_eq!((first.as_ref(), last.as_ref()), (&0_u32.to_be_bytes()[..], &8_192_u32.to_be_bytes()[..]));
        assert!(large.size_bytes < 1_000);
    }
}
