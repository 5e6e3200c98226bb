//! Walking over a tree in key order.

use std::collections::VecDeque;

use driftdb_types::{CommitSeq, Stamp};

use crate::memtable::{Closer, MemCursor, MemHit, MemVersion};
use crate::{Period, Result, Version};

/// What a scan gives of each key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// The version visible at a commit.
    At(CommitSeq),
    /// The versions of a period.
    Period(Period),
}

/// Versions of one tree in key order, and of one key oldest first. It owns what it reads, so it may outlive the view
/// and move between threads; it fetches as it goes, so stopping early costs nothing.
pub struct Scan {
    /// Newest memtable first.
    memtables: Vec<MemCursor>,
    mode: Mode,
    reverse: bool,
    ready: VecDeque<Version>,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("mode", &self.mode).field("reverse", &self.reverse).finish_non_exhaustive()
    }
}

impl Scan {
    pub(crate) fn new(memtables: Vec<MemCursor>, mode: Mode, reverse: bool) -> Scan {
        Scan { memtables, mode, reverse, ready: VecDeque::new() }
    }

    fn advance(&mut self) -> Result<Option<Version>> {
        loop {
            if let Some(version) = self.ready.pop_front() {
                return Ok(Some(version));
            }
            let reverse = self.reverse;
            let keys = self.memtables.iter_mut().filter_map(|cursor| cursor.peek().map(|item| item.key.clone()));
            let Some(key) = (if reverse { keys.max() } else { keys.min() }) else { return Ok(None) };
            let items = self.memtables.iter_mut().map(|cursor| {
                if cursor.peek().is_some_and(|item| item.key == key) { cursor.next() } else { None }
            });
            let items: Vec<_> = items.flatten().collect();
            match self.mode {
                Mode::At(seq) => {
                    let (version, closer) = resolve(items.into_iter().map(|item| item.hit));
                    let closer = if seq == CommitSeq::MAX { None } else { closer };
                    if let Some(MemVersion { from, payload: Some(payload) }) = version {
                        self.ready.push_back(version_of(key, from, payload, closer));
                    }
                }
                Mode::Period(period) => {
                    let versions: Vec<MemVersion> = items.into_iter().rev().flat_map(|item| item.versions).collect();
                    let mut iter = versions.into_iter().peekable();
                    while let Some(version) = iter.next() {
                        let closer = iter.peek().map(MemVersion::closer);
                        if let Some(payload) = version.payload
                            && period.admits(version.from.seq, closer.map(|closer| closer.at.seq))
                        {
                            self.ready.push_back(version_of(key.clone(), version.from, payload, closer));
                        }
                    }
                }
            }
        }
    }
}

pub(crate) fn version_of(key: bytes::Bytes, from: Stamp, payload: bytes::Bytes, closer: Option<Closer>) -> Version {
    Version { key, from, to: closer.map(|closer| closer.at), deleted: closer.is_some_and(|closer| closer.deleted), payload }
}

/// The visible version and what closed it, from the memtables' answers, newest memtable first.
pub(crate) fn resolve(hits: impl Iterator<Item = MemHit>) -> (Option<MemVersion>, Option<Closer>) {
    let mut closer = None;
    for hit in hits {
        closer = hit.closer.or(closer);
        if hit.version.is_some() {
            return (hit.version, closer);
        }
    }
    (None, closer)
}

impl Iterator for Scan {
    type Item = Result<Version>;

    fn next(&mut self) -> Option<Result<Version>> {
        self.advance().transpose()
    }
}
