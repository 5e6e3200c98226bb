//! The bytes of one simulated file: what a reader sees, and what a power cut would leave.
//!
//! The file holds what was written last. For each sector changed since the last sync it also remembers what the
//! sector held *then*: a sync forgets these memories, a power cut puts them back. A failed sync is modelled after
//! Linux, where the pages are marked clean although they never reached the disk: such sectors are *stranded*. They
//! read back as written and no later sync makes them durable, until they are written again.

use std::collections::BTreeMap;

use crate::rand::Rand;

const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;
const ZERO_SECTOR: [u8; SECTOR] = [0; SECTOR];

/// How much of what was not synced a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    None,
    Some,
    All,
}

impl Survival {
    /// One accident of the three.
    pub(super) fn draw(rand: &dyn Rand) -> Survival {
        match rand.below(4) {
            0 => Survival::None,
            1 => Survival::All,
            _ => Survival::Some,
        }
    }

    /// Whether one particular change survives.
    pub(super) fn spares(self, rand: &dyn Rand) -> bool {
        match self {
            Survival::None => false,
            Survival::Some => rand.below(2) == 0,
            Survival::All => true,
        }
    }
}

/// One file's content; sparse, so that preallocated space costs nothing.
#[derive(Debug, Default)]
pub(super) struct SimBytes {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    len: u64,
    durable_len: u64,
    /// Durable content of the sectors written since the last sync.
    unsynced: BTreeMap<u64, Box<[u8; SECTOR]>>,
    /// Durable content of the sectors that a failed sync stranded.
    stranded: BTreeMap<u64, Box<[u8; SECTOR]>>,
}

impl SimBytes {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf`, or says that the file is too short.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> bool {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let within = (at % PAGE as u64) as usize;
            let count = rest.len().min(PAGE - within);
            let (part, after) = rest.split_at_mut(count);
            match self.pages.get(&(at / PAGE as u64)).and_then(|page| page.get(within..within + count)) {
                Some(from) => part.copy_from_slice(from),
                None => part.fill(0),
            }
            at += count as u64;
            rest = after;
        }
        true
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rest.len().min(SECTOR - (at % SECTOR as u64) as usize);
            let (part, after) = rest.split_at(count);
            if !self.is_untouched(at) || part.iter().any(|byte| *byte != 0) {
                self.remember(at / SECTOR as u64);
                self.store(at, part);
            }
            at += count as u64;
            rest = after;
        }
        self.len = self.len.max(at);
    }

    /// Whether the sector at `at` is zero, durably too: writing zeros there changes nothing, and preallocated files
    /// are full of them.
    fn is_untouched(&self, at: u64) -> bool {
        let sector = at / SECTOR as u64;
        !self.pages.contains_key(&(at / PAGE as u64))
            && !self.unsynced.contains_key(&sector)
            && !self.stranded.contains_key(&sector)
    }

    /// Writes within one sector.
    fn store(&mut self, at: u64, bytes: &[u8]) {
        let page = self.pages.entry(at / PAGE as u64).or_insert_with(|| Box::new([0; PAGE]));
        let within = (at % PAGE as u64) as usize;
        if let Some(to) = page.get_mut(within..within + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    fn sector(&self, sector: u64) -> Box<[u8; SECTOR]> {
        let at = sector * SECTOR as u64;
        let within = (at % PAGE as u64) as usize;
        let mut copy = Box::new(ZERO_SECTOR);
        if let Some(from) = self.pages.get(&(at / PAGE as u64)).and_then(|page| page.get(within..within + SECTOR)) {
            copy.copy_from_slice(from);
        }
        copy
    }

    /// Keeps the durable content of a sector that is about to change.
    fn remember(&mut self, sector: u64) {
        if self.unsynced.contains_key(&sector) {
            return;
        }
        let durable = self.stranded.remove(&sector).unwrap_or_else(|| self.sector(sector));
        self.unsynced.insert(sector, durable);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.clear_from(len);
        }
        self.len = len;
    }

    /// Makes everything from `len` on zero.
    fn clear_from(&mut self, len: u64) {
        let first_page = len / PAGE as u64;
        let touched: Vec<u64> = self.pages.range(first_page..).map(|(page, _)| *page).collect();
        for page in touched {
            let sectors = (PAGE / SECTOR) as u64;
            for sector in page * sectors..(page + 1) * sectors {
                let start = sector * SECTOR as u64;
                let keep = len.saturating_sub(start).min(SECTOR as u64) as usize;
                if keep < SECTOR {
                    self.remember(sector);
                    self.store(start + keep as u64, ZERO_SECTOR.get(keep..).unwrap_or_default());
                }
            }
        }
        // Whole pages past the end are gone, so that they cost nothing.
        self.pages.split_off(&len.div_ceil(PAGE as u64));
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_len = self.len;
    }

    /// A sync that failed: some of the sectors reached the disk, the others are stranded.
    pub(super) fn fail_sync(&mut self, rand: &dyn Rand) {
        let survival = Survival::draw(rand);
        for (sector, durable) in std::mem::take(&mut self.unsynced) {
            if !survival.spares(rand) {
                self.stranded.insert(sector, durable);
            }
        }
    }

    /// What a power cut leaves is what there is from now on.
    pub(super) fn lose(&mut self, survival: Survival, rand: &dyn Rand) {
        let len = if survival.spares(rand) { self.len } else { self.durable_len };
        let cut = self.len;
        let stranded = std::mem::take(&mut self.stranded);
        for (sector, durable) in std::mem::take(&mut self.unsynced) {
            // Cutting a file is one step of the file system: either the whole end is back or none of it.
            let was_cut = sector * SECTOR as u64 >= cut;
            if was_cut || !survival.spares(rand) {
                self.store(sector * SECTOR as u64, durable.as_slice());
            }
        }
        for (sector, durable) in stranded {
            self.store(sector * SECTOR as u64, durable.as_slice());
        }
        self.clear_from(len);
        self.unsynced.clear();
        self.len = len;
        self.durable_len = len;
    }

    /// Makes `copy` a durable copy of this.
    pub(super) fn copy_to(&self, copy: &mut SimBytes) {
        copy.pages = self.pages.clone();
        copy.len = self.len;
        copy.durable_len = self.len;
    }

    /// Replaces one byte, durably.
    pub(super) fn corrupt(&mut self, offset: u64, byte: u8) {
        let (sector, within) = (offset / SECTOR as u64, (offset % SECTOR as u64) as usize);
        for memory in [&mut self.unsynced, &mut self.stranded] {
            if let Some(to) = memory.get_mut(&sector).and_then(|durable| durable.get_mut(within)) {
                *to = byte;
            }
        }
        self.store(offset, &[byte]);
    }
}
