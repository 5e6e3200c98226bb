//! What of history is kept in memory: opened segments, where the pages of their row groups are, and the pages that point reads
//! decoded. Each is bounded; what was used longest ago goes first. Scans of many pages do not go through it, so that they do not
//! empty it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arrow_array::RecordBatch;
use driftdb_env::Disk;
use parking_lot::Mutex;

use super::blocks::BlockSums;
use super::manifest::Segment;
use super::pages::Window;
use super::segment::{Group, OpenSegment};
use crate::Result;

/// However little memory they take, each opened segment holds a file handle.
const OPEN_MAX: usize = 256;

/// Segment, row group, first row.
type PageKey = (u64, usize, usize);

/// Opened segments and decoded pages. Views share it.
#[derive(Debug)]
pub(crate) struct SegmentCache {
    disk: Arc<dyn Disk>,
    /// The locks serialise only the bookkeeping: files are read outside them.
    open: Mutex<Bounded<u64, Arc<OpenSegment>>>,
    groups: Mutex<Bounded<(u64, usize), Arc<Group>>>,
    pages: Mutex<Bounded<PageKey, Arc<[RecordBatch]>>>,
    /// The segments whose files were compared with the manifest's checksums since the start, and those of their blocks.
    verified: Mutex<HashMap<u64, BlockSums>>,
}

impl SegmentCache {
    pub(crate) fn new(disk: Arc<dyn Disk>, bytes_max: usize) -> SegmentCache {
        // A half for what it takes to find pages, the rest for the pages.
        let part = bytes_max / 8;
        let open = Mutex::new(Bounded::new(part, OPEN_MAX));
        let groups = Mutex::new(Bounded::new(3 * part, usize::MAX));
        let pages = Mutex::new(Bounded::new(bytes_max - 4 * part, usize::MAX));
        SegmentCache { disk, open, groups, pages, verified: Mutex::default() }
    }

    /// The segment, opened now if it is not yet. Before a file is used for the first time, all of it is verified. A gibibyte
    /// takes 0.22 s when it is in the system's memory, and as long as the disk takes to read it when it is not.
    pub(crate) fn open(&self, segment: &Segment) -> Result<Arc<OpenSegment>> {
        let number = segment.meta.number;
        if let Some(open) = self.open.lock().get(&number) {
            return Ok(open);
        }
        let open = Arc::new(OpenSegment::open(&self.disk, &segment.path, Some(self.verify(segment)?))?);
        self.open.lock().put(number, Arc::clone(&open), open.bytes);
        Ok(open)
    }

    /// The checksums of a segment's blocks, taken when all of it was verified: now, if it was not yet. Every read of it is
    /// compared with them.
    pub(crate) fn verify(&self, segment: &Segment) -> Result<BlockSums> {
        let known = self.verified.lock().get(&segment.meta.number).cloned();
        if let Some(sums) = known {
            return Ok(sums);
        }
        let sums = segment.verify(&self.disk)?;
        self.verified.lock().insert(segment.meta.number, Arc::clone(&sums));
        Ok(sums)
    }

    /// Where the pages of a row group are, kept for the next read of it.
    pub(crate) fn group(&self, number: u64, segment: &OpenSegment, row_group: usize) -> Result<Arc<Group>> {
        let key = (number, row_group);
        if let Some(group) = self.groups.lock().get(&key) {
            return Ok(group);
        }
        let group = Arc::new(segment.group(row_group)?);
        self.groups.lock().put(key, Arc::clone(&group), group.bytes);
        Ok(group)
    }

    /// A window of a row group, kept for the next read of it.
    pub(crate) fn read(
        &self,
        number: u64,
        segment: &OpenSegment,
        group: &Group,
        window: &Window,
    ) -> Result<Arc<[RecordBatch]>> {
        let key = (number, window.row_group, window.rows.start);
        if let Some(batches) = self.pages.lock().get(&key) {
            return Ok(batches);
        }
        let batches: Arc<[RecordBatch]> = segment.read(group, window)?.into();
        let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        self.pages.lock().put(key, Arc::clone(&batches), bytes);
        Ok(batches)
    }

    /// Lets go of a segment whose file goes away.
    pub(crate) fn forget(&self, number: u64) {
        self.open.lock().retain(|key| *key != number);
        self.groups.lock().retain(|(of, _)| *of != number);
        self.pages.lock().retain(|(of, _, _)| *of != number);
        self.verified.lock().remove(&number);
    }
}

/// A map bounded by the bytes and the number of its values.
#[derive(Debug)]
struct Bounded<K, V> {
    values: HashMap<K, Slot<V>>,
    bytes: usize,
    bytes_max: usize,
    len_max: usize,
    /// Counts the uses.
    clock: u64,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<K: Eq + Hash + Copy, V: Clone> Bounded<K, V> {
    fn new(bytes_max: usize, len_max: usize) -> Bounded<K, V> {
        Bounded { values: HashMap::new(), bytes: 0, bytes_max, len_max, clock: 0 }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let slot = self.values.get_mut(key)?;
        slot.used = self.clock;
        Some(slot.value.clone())
    }

    /// Keeps a value, unless it alone is beyond the bound.
    fn put(&mut self, key: K, value: V, bytes: usize) {
        if bytes > self.bytes_max {
            return;
        }
        self.clock += 1;
        self.bytes += bytes;
        if let Some(replaced) = self.values.insert(key, Slot { value, bytes, used: self.clock }) {
            self.bytes -= replaced.bytes;
        }
        if self.bytes > self.bytes_max || self.values.len() > self.len_max {
            self.evict();
        }
    }

    /// Lets the longest unused go until an eighth is free, so that this is seldom done.
    fn evict(&mut self) {
        let mut by_use: Vec<(u64, K)> = self.values.iter().map(|(key, slot)| (slot.used, *key)).collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        let (bytes_goal, len_goal) = (self.bytes_max - self.bytes_max / 8, self.len_max - self.len_max / 8);
        for (_, key) in by_use {
            if self.bytes <= bytes_goal && self.values.len() <= len_goal {
                break;
            }
            if let Some(slot) = self.values.remove(&key) {
                self.bytes -= slot.bytes;
            }
        }
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        let bytes = &mut self.bytes;
        self.values.retain(|key, slot| {
            let kept = keep(key);
            if !kept {
                *bytes -= slot.bytes;
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_first() {
        let mut map = Bounded::new(80, 100);
        for key in 0..8 {
            map.put(key, key, 10);
        }
        assert_eq!(map.get(&0), Some(0));
        map.put(8, 8, 10);
        assert_eq!((map.get(&0), map.get(&1), map.get(&2), map.get(&8)), (Some(0), None, None, Some(8)));
        assert_eq!(map.bytes, 70);
        map.put(9, 9, 81);
        assert_eq!(map.get(&9), None, "larger than the bound");
        map.retain(|key| *key != 8);
        assert_eq!((map.get(&8), map.bytes), (None, 60));
    }
}
