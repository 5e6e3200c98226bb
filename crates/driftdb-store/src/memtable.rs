//! The memtable: row versions newer than the base.
//!
//! A persistent ordered map (`imbl::OrdMap`, a B+ tree with shared nodes): the writer changes its copy, a snapshot is a
//! clone that costs nothing, and readers need no lock. Every version is an entry of its own under
//! `(tree, key, commit descending)`, so a key's versions stand together newest first, and a row that is updated a
//! hundred thousand times between two flushes costs a reader the same one descent as any other: "the newest version
//! at or before s" is the first entry at or after `(tree, key, s)`.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use driftdb_types::{CommitSeq, KeyRange, Lsn, Stamp, TreeId};
use equivalent::{Comparable, Equivalent};
use imbl::OrdMap;

use crate::{CommitBatch, Write};

/// What one entry costs beside its bytes: map entry, two `Bytes` headers' allocations.
const ENTRY_OVERHEAD_BYTES: usize = 160;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MemKey {
    tree: TreeId,
    key: Bytes,
    /// The bitwise complement of the commit number, so that newer sorts first.
    seq_descending: u64,
}

impl MemKey {
    fn seq(&self) -> CommitSeq {
        CommitSeq(!self.seq_descending)
    }

    fn is(&self, tree: TreeId, key: &[u8]) -> bool {
        self.tree == tree && self.key == key
    }
}

/// A position in the map, borrowed from its caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position<'a> {
    tree: TreeId,
    key: &'a [u8],
    seq_descending: u64,
}

impl<'a> Position<'a> {
    fn at(tree: TreeId, key: &'a [u8], seq: CommitSeq) -> Position<'a> {
        Position { tree, key, seq_descending: !seq.0 }
    }

    /// Before every version of `key`.
    fn before(tree: TreeId, key: &'a [u8]) -> Position<'a> {
        Position { tree, key, seq_descending: 0 }
    }

    /// After every version of `key`. (Commit 0 does not exist.)
    fn after(tree: TreeId, key: &'a [u8]) -> Position<'a> {
        Position { tree, key, seq_descending: u64::MAX }
    }
}

impl Equivalent<MemKey> for Position<'_> {
    fn equivalent(&self, other: &MemKey) -> bool {
        self.compare(other) == Ordering::Equal
    }
}

impl Comparable<MemKey> for Position<'_> {
    fn compare(&self, other: &MemKey) -> Ordering {
        self.tree
            .cmp(&other.tree)
            .then_with(|| self.key.cmp(other.key.as_ref()))
            .then_with(|| self.seq_descending.cmp(&other.seq_descending))
    }
}

#[derive(Clone, Debug)]
struct MemValue {
    time_us: i64,
    payload: Option<Bytes>,
}

/// A version in a memtable; a tombstone has no payload.
#[derive(Clone, Debug)]
pub(crate) struct MemVersion {
    pub(crate) from: Stamp,
    pub(crate) payload: Option<Bytes>,
}

/// What closed the version before it: the stamp, and whether by a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closer {
    pub(crate) at: Stamp,
    pub(crate) deleted: bool,
}

impl MemVersion {
    fn of(key: &MemKey, value: &MemValue) -> MemVersion {
        MemVersion { from: Stamp { seq: key.seq(), time_us: value.time_us }, payload: value.payload.clone() }
    }

    pub(crate) fn closer(&self) -> Closer {
        Closer { at: self.from, deleted: self.payload.is_none() }
    }
}

impl Closer {
    fn of(key: &MemKey, value: &MemValue) -> Closer {
        Closer { at: Stamp { seq: key.seq(), time_us: value.time_us }, deleted: value.payload.is_none() }
    }
}

/// What a memtable says of one key at one stamp.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemHit {
    /// The newest version at or before the stamp.
    pub(crate) version: Option<MemVersion>,
    /// The oldest version after the stamp: it closes the one that is visible, wherever that one is.
    pub(crate) closer: Option<Closer>,
}

/// Whether a memtable is still in memory after its flush, because somebody reads it: shared by all its snapshots.
#[derive(Debug, Default)]
struct Hold {
    /// What is held for nobody but readers, in all; and how much of it is this memtable.
    flushed: OnceLock<(Arc<AtomicUsize>, usize)>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((held_bytes, bytes)) = self.flushed.get() {
            held_bytes.fetch_sub(*bytes, atomic::Ordering::Relaxed);
        }
    }
}

/// A memtable; a clone is a snapshot of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memtable {
    hold: Arc<Hold>,
    map: OrdMap<MemKey, MemValue>,
    bytes: usize,
    /// The newest commit in it.
    last: Stamp,
    /// Where that commit's record ends.
    end_lsn: Lsn,
}

impl Memtable {
    pub(crate) fn apply(&mut self, commit: &CommitBatch<'_>) {
        for Write { tree, key, payload } in commit.writes {
            let entry = MemKey { tree: *tree, key: key.clone(), seq_descending: !commit.stamp.seq.0 };
            let payload_bytes = payload.as_ref().map_or(0, Bytes::len);
            self.bytes += key.len() + payload_bytes + ENTRY_OVERHEAD_BYTES;
            self.map.insert(entry, MemValue { time_us: commit.stamp.time_us, payload: payload.clone() });
        }
        self.last = commit.stamp;
        self.end_lsn = commit.end_lsn;
    }

    /// It is flushed. From now on it counts among what is held for readers, until the last of them is gone.
    pub(crate) fn count_as_held(&self, held_bytes: &Arc<AtomicUsize>) {
        if self.hold.flushed.set((Arc::clone(held_bytes), self.bytes)).is_ok() {
            held_bytes.fetch_add(self.bytes, atomic::Ordering::Relaxed);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no commit was applied. (A commit without writes counts: its stamp has to reach the checkpoint.)
    pub(crate) fn is_empty(&self) -> bool {
        self.last == Stamp::default()
    }

    pub(crate) fn last(&self) -> Stamp {
        self.last
    }

    pub(crate) fn end_lsn(&self) -> Lsn {
        self.end_lsn
    }

    /// The newest version of a key.
    pub(crate) fn latest(&self, tree: TreeId, key: &[u8]) -> Option<MemVersion> {
        self.at_or_before(tree, key, CommitSeq::MAX)
    }

    fn at_or_before(&self, tree: TreeId, key: &[u8], seq: CommitSeq) -> Option<MemVersion> {
        let (found, value) = self.map.get_next(&Position::at(tree, key, seq))?;
        found.is(tree, key).then(|| MemVersion::of(found, value))
    }

    /// What this memtable says of a key at `seq`.
    pub(crate) fn hit(&self, tree: TreeId, key: &[u8], seq: CommitSeq) -> MemHit {
        let version = self.at_or_before(tree, key, seq);
        let closer = (seq < CommitSeq::MAX)
            .then(|| self.map.get_prev(&Position::at(tree, key, seq.next())))
            .flatten()
            .and_then(|(found, value)| found.is(tree, key).then(|| Closer::of(found, value)));
        MemHit { version, closer }
    }

    /// The entries of a tree within a range, in the map's order.
    fn entries<'a>(
        &'a self,
        tree: TreeId,
        start: Bound<&'a [u8]>,
        end: Bound<&'a [u8]>,
    ) -> impl DoubleEndedIterator<Item = (&'a MemKey, &'a MemValue)> {
        let lower = match start {
            Bound::Included(key) => Bound::Included(Position::before(tree, key)),
            Bound::Excluded(key) => Bound::Excluded(Position::after(tree, key)),
            Bound::Unbounded => Bound::Included(Position::before(tree, &[])),
        };
        let upper = match end {
            Bound::Included(key) => Bound::Included(Position::after(tree, key)),
            Bound::Excluded(key) => Bound::Excluded(Position::before(tree, key)),
            Bound::Unbounded => match tree.0.checked_add(1) {
                Some(next) => Bound::Excluded(Position::before(TreeId(next), &[])),
                None => Bound::Unbounded,
            },
        };
        self.map.range::<_, Position<'a>>((lower, upper))
    }

    /// Whether a tree has no entry within a range.
    pub(crate) fn is_empty_range(&self, tree: TreeId, range: &KeyRange) -> bool {
        range.is_empty()
            || self
                .entries(tree, range.start.as_ref().map(Vec::as_slice), range.end.as_ref().map(Vec::as_slice))
                .next()
                .is_none()
    }

    /// The trees that have entries, in order.
    pub(crate) fn trees(&self) -> Vec<TreeId> {
        let mut trees = Vec::new();
        let mut lower = Bound::Unbounded;
        while let Some((key, _)) = self.map.range::<_, Position<'_>>((lower, Bound::Unbounded)).next() {
            trees.push(key.tree);
            let Some(next) = key.tree.0.checked_add(1) else { break };
            lower = Bound::Included(Position::before(TreeId(next), &[]));
        }
        trees
    }
}

/// What a cursor is to find of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seek {
    /// What is visible at this commit.
    At(CommitSeq),
    /// Everything.
    Versions,
}

impl Seek {
    /// The last commit whose versions may be found.
    pub(crate) fn last_seq(self) -> CommitSeq {
        match self {
            Seek::At(seq) => seq,
            Seek::Versions => CommitSeq::MAX,
        }
    }
}

/// What a memtable has of one key.
#[derive(Debug)]
pub(crate) struct MemItem {
    pub(crate) key: Bytes,
    /// With [`Seek::At`].
    pub(crate) hit: MemHit,
    /// With [`Seek::Versions`]: all of them, oldest first.
    pub(crate) versions: Vec<MemVersion>,
}

/// How many keys the first and the largest chunk of a cursor have, and how many bytes of payload end one: a point read pays
/// for few, a scan for many at once. What is in a chunk stays in memory when its memtable goes.
const CHUNK_KEYS: (usize, usize) = (8, 512);
const CHUNK_BYTES: usize = 32 << 10;

/// The keys of one memtable within a range, in order, fetched by the chunk. It does not hold the memtable.
#[derive(Debug)]
pub(crate) struct MemCursor {
    tree: TreeId,
    range: KeyRange,
    seek: Seek,
    reverse: bool,
    chunk: VecDeque<MemItem>,
    chunk_keys: usize,
    /// No more keys beyond the chunk.
    exhausted: bool,
}

impl MemCursor {
    /// A cursor before the first key of the range (in reverse: after the last).
    pub(crate) fn new(tree: TreeId, range: &KeyRange, seek: Seek, reverse: bool) -> MemCursor {
        MemCursor {
            tree,
            range: range.clone(),
            seek,
            reverse,
            chunk: VecDeque::new(),
            chunk_keys: CHUNK_KEYS.0,
            exhausted: range.is_empty(),
        }
    }

    /// The next key and what there is of it. It is always the same memtable that is given.
    pub(crate) fn peek(&mut self, table: &Memtable) -> Option<&MemItem> {
        if self.chunk.is_empty() && !self.exhausted {
            self.fetch(table);
        }
        self.chunk.front()
    }

    /// Takes what `peek` shows.
    pub(crate) fn next(&mut self, table: &Memtable) -> Option<MemItem> {
        self.peek(table)?;
        self.chunk.pop_front()
    }

    /// Takes what `peek` showed, if that is of this key.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<MemItem> {
        if self.chunk.front()?.key == key { self.chunk.pop_front() } else { None }
    }

    fn fetch(&mut self, table: &Memtable) {
        let entries = table.entries(
            self.tree,
            self.range.start.as_ref().map(Vec::as_slice),
            self.range.end.as_ref().map(Vec::as_slice),
        );
        let complete = if self.reverse {
            collect(table, entries.rev(), self.seek, true, self.chunk_keys, &mut self.chunk)
        } else {
            collect(table, entries, self.seek, false, self.chunk_keys, &mut self.chunk)
        };
        self.chunk_keys = (self.chunk_keys * 2).min(CHUNK_KEYS.1);
        match self.chunk.back() {
            Some(last) if !complete => {
                let bound = Bound::Excluded(last.key.to_vec());
                if self.reverse {
                    self.range.end = bound
                } else {
                    self.range.start = bound
                }
                self.exhausted = self.range.is_empty();
            }
            _ => self.exhausted = true,
        }
    }
}

/// After so many versions of a key it is cheaper to look the right one up and go on behind the key.
const VERSIONS_WALKED_MAX: usize = 8;

/// Gathers the entries of up to `keys_max` keys; whether that was all of them. It also ends after [`CHUNK_BYTES`]; and with
/// [`Seek::At`] at a key of many versions, so as not to walk over them.
fn collect<'a>(
    table: &Memtable,
    entries: impl Iterator<Item = (&'a MemKey, &'a MemValue)>,
    seek: Seek,
    reverse: bool,
    keys_max: usize,
    chunk: &mut VecDeque<MemItem>,
) -> bool {
    let finish = |mut item: MemItem| {
        if !reverse {
            item.versions.reverse();
        }
        item
    };
    let mut current: Option<MemItem> = None;
    let (mut walked, mut bytes) = (0, 0);
    for (key, value) in entries {
        if current.as_ref().is_none_or(|item| item.key != key.key) {
            chunk.extend(current.take().map(finish));
            if chunk.len() >= keys_max || bytes >= CHUNK_BYTES {
                return false;
            }
            walked = 0;
        }
        walked += 1;
        bytes += value.payload.as_ref().map_or(0, Bytes::len);
        if walked > VERSIONS_WALKED_MAX
            && let Seek::At(seq) = seek
        {
            let hit = table.hit(key.tree, &key.key, seq);
            chunk.push_back(MemItem { key: key.key.clone(), hit, versions: Vec::new() });
            return false;
        }
        let item = current.get_or_insert_with(|| MemItem {
            key: key.key.clone(),
            hit: MemHit::default(),
            versions: Vec::new(),
        });
        match seek {
            Seek::Versions => item.versions.push(MemVersion::of(key, value)),
            // Forward, a key's versions come newest first; in reverse, oldest first.
            Seek::At(seq) if key.seq() <= seq => {
                if reverse || item.hit.version.is_none() {
                    item.hit.version = Some(MemVersion::of(key, value));
                }
            }
            Seek::At(_) => {
                if !reverse || item.hit.closer.is_none() {
                    item.hit.closer = Some(Closer::of(key, value));
                }
            }
        }
    }
    chunk.extend(current.map(finish));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scan jumps over the many versions of a hot key, and finds what a look at each key finds.
    #[test]
    fn scans_over_a_hot_key_find_what_lookups_find() {
        let tree = TreeId(100);
        let mut table = Memtable::default();
        for seq in 1..=1_000_u64 {
            let mut keys = vec!["hot"];
            if seq % 100 == 0 {
                keys.extend(["a", "b", "hotter", "z"]);
            }
            let payload = |key: &str| (seq % 7 != 0 || key == "b").then(|| Bytes::from(seq.to_string()));
            let write = |key: &&'static str| Write { tree, key: Bytes::from(*key), payload: payload(key) };
            let writes: Vec<Write> = keys.iter().map(write).collect();
            let stamp = Stamp { seq: CommitSeq(seq), time_us: seq.cast_signed() };
            table.apply(&CommitBatch { stamp, end_lsn: Lsn(seq), writes: &writes });
        }
        let plain = |hit: &MemHit| (hit.version.as_ref().map(|version| version.from), hit.closer);
        for seq in [0, 1, 2, 99, 100, 101, 500, 995, 1_000, 1_001, u64::MAX].map(CommitSeq) {
            for reverse in [false, true] {
                let mut keys = ["a", "b", "hot", "hotter", "z"];
                if reverse {
                    keys.reverse();
                }
                let mut cursor = MemCursor::new(tree, &KeyRange::all(), Seek::At(seq), reverse);
                for key in keys {
                    let item = cursor.next(&table).unwrap();
                    assert_eq!(item.key, key);
                    assert_eq!(plain(&item.hit), plain(&table.hit(tree, key.as_bytes(), seq)), "{key} at {seq}");
                }
                assert!(cursor.next(&table).is_none());
            }
        }
    }
}
