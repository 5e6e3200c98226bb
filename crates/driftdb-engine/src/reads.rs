//! What a SERIALIZABLE transaction has read.
//!
//! Reads are kept as keys and ranges of keys of each tree, whether a row was there or not: so what would have been read
//! had it been there (a phantom) is read too. At the commit they are held against what was committed since the
//! snapshot ([`crate::recent`]); if none of it was read, all reads are as true at the commit's stamp as they were at the
//! snapshot's, and the transaction might as well have run alone at that moment (backward validation: Kung & Robinson,
//! "On Optimistic Methods for Concurrency Control", 1981).
//!
//! A scan counts from where it began to the last key it gave; while it is open, to the end of its range.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_types::{CommitSeq, KeyRange, Result, TreeId};

use crate::budget::Charge;
use crate::commits::commit_key;
use crate::recent::{RecentWrites, Written, WrittenKeys};
use crate::sync::Mutex;

/// So many single keys, or ranges, of one tree are told apart; beyond them all from the first to the last count as read.
const APART_MAX: usize = 16_384;
/// What a key or a range costs beside its bytes.
const OVERHEAD_BYTES: usize = 96;

/// Keys from `start` up to, not including, `end`; `None`: to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
}

/// The smallest key after this one.
fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

impl Interval {
    fn of(range: &KeyRange) -> Interval {
        let start = match &range.start {
            Bound::Unbounded => Bytes::new(),
            Bound::Included(key) => Bytes::copy_from_slice(key),
            Bound::Excluded(key) => after(key),
        };
        let end = match &range.end {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(after(key)),
            Bound::Excluded(key) => Some(Bytes::copy_from_slice(key)),
        };
        Interval { start, end }
    }

    fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    fn size_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.start.len() + self.end.as_ref().map_or(0, Bytes::len)
    }
}

/// Whether one end of an interval lies at or after a key.
fn reaches(end: Option<&Bytes>, key: &Bytes) -> bool {
    end.is_none_or(|end| end >= key)
}

fn later(left: Option<Bytes>, right: Option<Bytes>) -> Option<Bytes> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.max(right)),
        _ => None,
    }
}

/// What was read of one tree.
#[derive(Debug, Default)]
struct TreeReads {
    keys: BTreeSet<Bytes>,
    /// Ranges that do not touch each other: start to end.
    ranges: BTreeMap<Bytes, Option<Bytes>>,
}

impl TreeReads {
    /// How many bytes that took.
    fn add_key(&mut self, key: &[u8]) -> usize {
        if self.keys.contains(key) || self.in_range(key) {
            return 0;
        }
        self.keys.insert(Bytes::copy_from_slice(key));
        if self.keys.len() > APART_MAX {
            let (first, last) = (self.keys.pop_first(), self.keys.pop_last());
            self.keys.clear();
            if let (Some(start), Some(last)) = (first, last) {
                self.add_range(Interval { start, end: Some(after(&last)) });
            }
        }
        OVERHEAD_BYTES + key.len()
    }

    fn add_range(&mut self, interval: Interval) -> usize {
        if interval.is_empty() {
            return 0;
        }
        let size_bytes = interval.size_bytes();
        self.merge(interval);
        if self.ranges.len() > APART_MAX {
            let last = self.ranges.pop_last().map(|(_, end)| end);
            let first = self.ranges.pop_first().map(|(start, _)| start);
            self.ranges.clear();
            if let (Some(start), Some(end)) = (first, last) {
                self.ranges.insert(start, end);
            }
        }
        size_bytes
    }

    fn merge(&mut self, Interval { mut start, mut end }: Interval) {
        if let Some((before, before_end)) = self.ranges.range::<Bytes, _>(..=&start).next_back()
            && reaches(before_end.as_ref(), &start)
        {
            start = before.clone();
        }
        // All that begin in it, or where it ends, become part of it.
        while let Some((next, _)) = self.ranges.range::<Bytes, _>(&start..).next()
            && reaches(end.as_ref(), next)
        {
            let next = next.clone();
            if let Some(next_end) = self.ranges.remove(&next) {
                end = later(end, next_end);
            }
        }
        self.ranges.insert(start, end);
    }

    fn in_range(&self, key: &[u8]) -> bool {
        let before = self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end.as_ref()))
    }

    /// Whether one of the keys was read.
    fn meets(&self, keys: &WrittenKeys) -> bool {
        match keys {
            WrittenKeys::Each(keys) => keys.iter().any(|key| self.keys.contains(key) || self.in_range(key)),
            WrittenKeys::Between(first, last) => {
                self.keys.range::<Bytes, _>(first..=last).next().is_some()
                    || self.in_range(first)
                    || self.ranges.range::<Bytes, _>(first..=last).next().is_some()
            }
        }
    }
}

#[derive(Debug)]
struct Tracked {
    trees: HashMap<TreeId, TreeReads>,
    /// The scans that are still going on.
    open: BTreeMap<u64, (TreeId, Interval)>,
    next_scan: u64,
    charge: Charge,
}

/// The reads of one transaction, told by all that read for it. Keeps the recent writes that it has to be held against.
#[derive(Debug)]
pub(crate) struct ReadTracker {
    recent: Arc<RecentWrites>,
    snapshot: CommitSeq,
    tracked: Mutex<Tracked>,
}

impl ReadTracker {
    /// For a snapshot that is entered with `recent` already: dropping this takes it out.
    pub(crate) fn new(recent: Arc<RecentWrites>, snapshot: CommitSeq, charge: Charge) -> ReadTracker {
        let tracked = Tracked { trees: HashMap::new(), open: BTreeMap::new(), next_scan: 0, charge };
        ReadTracker { recent, snapshot, tracked: Mutex::new(tracked) }
    }

    /// The snapshot that was read.
    pub(crate) fn snapshot(&self) -> CommitSeq {
        self.snapshot
    }

    /// One key was looked for. 53200 when there is no memory left to remember it.
    pub(crate) fn key(&self, tree: TreeId, key: &[u8]) -> Result<()> {
        let mut tracked = self.tracked.lock();
        let bytes = tracked.trees.entry(tree).or_default().add_key(key);
        tracked.charge.add(bytes)
    }

    /// A range was read, or is of interest as a whole.
    pub(crate) fn range(&self, tree: TreeId, range: &KeyRange) -> Result<()> {
        let mut tracked = self.tracked.lock();
        let bytes = tracked.trees.entry(tree).or_default().add_range(Interval::of(range));
        tracked.charge.add(bytes)
    }

    /// A scan of a range begins.
    pub(crate) fn scan(self: &Arc<Self>, tree: TreeId, range: &KeyRange, reverse: bool) -> Result<ScanTrack> {
        let whole = Interval::of(range);
        let mut tracked = self.tracked.lock();
        let id = tracked.next_scan;
        tracked.next_scan += 1;
        tracked.charge.add(whole.size_bytes())?;
        tracked.open.insert(id, (tree, whole));
        Ok(ScanTrack { tracker: Arc::clone(self), id, reverse, progress: Progress::Begun })
    }

    /// The transaction comes to its end: what scans still have open counts as read.
    pub(crate) fn settle(&self) {
        let mut tracked = self.tracked.lock();
        for (_, (tree, interval)) in std::mem::take(&mut tracked.open) {
            tracked.trees.entry(tree).or_default().add_range(interval);
        }
    }

    /// Whether a commit changed anything that was read; the tree, if so.
    pub(crate) fn outdated_by(&self, seq: CommitSeq, written: &Written) -> Option<TreeId> {
        let trees = &self.tracked.lock().trees;
        let read = |tree: TreeId, keys: &WrittenKeys| trees.get(&tree).is_some_and(|reads| reads.meets(keys));
        let changed = written.trees.iter().find(|(tree, keys)| read(*tree, keys)).map(|(tree, _)| *tree);
        let redefined = || written.redefined.iter().copied().find(|tree| trees.contains_key(tree));
        // Each commit adds itself to the tree of commits.
        let listed = || read(TreeId::COMMITS, &WrittenKeys::Each(vec![commit_key(seq)])).then_some(TreeId::COMMITS);
        changed.or_else(redefined).or_else(listed)
    }
}

impl Drop for ReadTracker {
    fn drop(&mut self) {
        self.recent.leave(self.snapshot);
    }
}

#[derive(Debug)]
enum Progress {
    Begun,
    /// The last key that was given.
    At(Bytes),
    Ended,
}

/// One scan's part of the reads: settled when it is dropped.
#[derive(Debug)]
pub(crate) struct ScanTrack {
    tracker: Arc<ReadTracker>,
    id: u64,
    reverse: bool,
    progress: Progress,
}

impl ScanTrack {
    /// The scan came to this key.
    pub(crate) fn reached(&mut self, key: &Bytes) {
        self.progress = Progress::At(key.clone());
    }

    /// There was nothing more in the range.
    pub(crate) fn ended(&mut self) {
        self.progress = Progress::Ended;
    }
}

impl Drop for ScanTrack {
    fn drop(&mut self) {
        let mut tracked = self.tracker.tracked.lock();
        let Some((tree, mut interval)) = tracked.open.remove(&self.id) else { return };
        tracked.charge.give_back(interval.size_bytes());
        match &self.progress {
            // Nothing was learnt, not even whether there is something.
            Progress::Begun => return,
            Progress::Ended => {}
            Progress::At(key) if self.reverse => interval.start = key.clone(),
            Progress::At(key) => interval.end = Some(after(key)),
        }
        let bytes = tracked.trees.entry(tree).or_default().add_range(interval);
        // What is read already counts in any case; the next read will fail where this was too much.
        let _ = tracked.charge.add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn each(key: &'static str) -> WrittenKeys {
        WrittenKeys::Each(vec![bytes(key)])
    }

    #[test]
    fn many_keys_become_one_range() {
        let mut reads = TreeReads::default();
        for number in 0..=u32::try_from(APART_MAX).unwrap() {
            reads.add_key(&(2 * number).to_be_bytes());
        }
        assert!(reads.keys.is_empty());
        assert!(reads.in_range(&3_u32.to_be_bytes()), "what lies between counts as read from here on");
        assert!(!reads.in_range(&u32::MAX.to_be_bytes()));
        for number in 0..u32::try_from(APART_MAX).unwrap() {
            let start = 1_000_000 + 10 * number;
            let range = |from: u32, to: u32| KeyRange {
                start: Bound::Included(from.to_be_bytes().to_vec()),
                end: Bound::Excluded(to.to_be_bytes().to_vec()),
            };
            reads.add_range(Interval::of(&range(start, start + 2)));
        }
        assert_eq!(reads.ranges.len(), 1);
        assert!(reads.in_range(&1_000_005_u32.to_be_bytes()));
    }

    #[test]
    fn a_span_of_writes_meets_what_lies_in_it() {
        let mut reads = TreeReads::default();
        reads.add_key(b"m");
        reads.add_range(Interval { start: bytes("p"), end: Some(bytes("r")) });
        let between = |first, last| reads.meets(&WrittenKeys::Between(bytes(first), bytes(last)));
        assert!(between("a", "m") && between("m", "z") && between("a", "q") && between("q", "z"));
        assert!(!between("a", "l") && !between("n", "o") && !between("r", "z"));
        assert!(!reads.meets(&each("r")) && reads.meets(&each("p")));
    }

    proptest! {
        /// Ranges and keys in any order hold exactly the keys of all of them, in intervals that do not touch.
        #[test]
        fn reads_are_the_union_of_what_was_read(
            adds in prop::collection::vec((0_u8..40, prop::option::of(0_u8..40), any::<bool>()), 0..40),
        ) {
            let mut reads = TreeReads::default();
            let mut model = [false; 40];
            for (start, end, single) in adds {
                if single {
                    reads.add_key(&[start]);
                    model[usize::from(start)] = true;
                } else {
                    let end_key = end.map(|end| Bytes::from(vec![end]));
                    reads.add_range(Interval { start: Bytes::from(vec![start]), end: end_key });
                    for key in start..end.unwrap_or(40) {
                        model[usize::from(key)] = true;
                    }
                }
            }
            for (key, expected) in (0_u8..).zip(model) {
                let meets = reads.meets(&WrittenKeys::Each(vec![Bytes::from(vec![key])]));
                prop_assert_eq!(meets, expected, "key {}", key);
            }
            let ranges: Vec<_> = reads.ranges.iter().collect();
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].1.as_ref().is_some_and(|end| end < pair[1].0), "{:?}", pair);
            }
            for first in 0_u8..40 {
                for last in first..40 {
                    let span = WrittenKeys::Between(Bytes::from(vec![first]), Bytes::from(vec![last]));
                    let expected = model[usize::from(first)..=usize::from(last)].contains(&true);
                    prop_assert_eq!(reads.meets(&span), expected, "{} to {}", first, last);
                }
            }
        }
    }
}
