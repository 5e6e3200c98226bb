//! Walking over a tree in key order.
//!
//! A k-way merge of what memtables, base and history segments have within the range. Their versions are disjoint, so
//! nothing is compared but keys: of each key the newest source that has something visible answers.

use std::cmp::Ordering;
use std::collections::VecDeque;

use bytes::Bytes;
use driftdb_types::{CommitSeq, Stamp};

use crate::base::{BaseCursor, BaseItem};
use crate::history::HistoryCursor;
use crate::memtable::{Closer, MemCursor, MemHit, MemVersion};
use crate::{Period, Result, Version};

/// What a scan gives of each key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// The current version. No `to` is given.
    Latest,
    /// The version visible at a commit.
    At(CommitSeq),
    /// The versions of a period.
    Period(Period),
}

/// Where a scan reads.
pub(crate) struct Sources {
    /// Newest memtable first.
    pub(crate) memtables: Vec<MemCursor>,
    pub(crate) base: BaseCursor,
    /// Each gives only versions that belong to the answer as far as the segment knows.
    pub(crate) history: Vec<HistoryCursor>,
}

/// Versions of one tree in key order (or against it), and of one key oldest first. It owns what it reads, so it may
/// outlive the view and move between threads; it fetches as it goes, so stopping early costs nothing. After an error
/// it ends.
pub struct Scan {
    sources: Sources,
    mode: Mode,
    reverse: bool,
    /// [`Mode::Period`]: the key whose versions are being given, and those of them that are not in history.
    current: Option<Bytes>,
    recent: VecDeque<Version>,
    failed: bool,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("mode", &self.mode).field("reverse", &self.reverse).finish_non_exhaustive()
    }
}

impl Scan {
    pub(crate) fn new(sources: Sources, mode: Mode, reverse: bool) -> Scan {
        Scan { sources, mode, reverse, current: None, recent: VecDeque::new(), failed: false }
    }

    fn advance(&mut self) -> Result<Option<Version>> {
        match self.mode {
            Mode::Latest => self.advance_at(CommitSeq::MAX, false),
            Mode::At(seq) => self.advance_at(seq, true),
            Mode::Period(period) => self.advance_period(period),
        }
    }

    fn advance_at(&mut self, seq: CommitSeq, with_to: bool) -> Result<Option<Version>> {
        let sources = &mut self.sources;
        if sources.memtables.is_empty() && sources.history.is_empty() {
            // The common case: nothing but the base.
            while let Some(BaseItem { key, from, payload }) = sources.base.next()? {
                if from.seq <= seq {
                    return Ok(Some(Version { key, from, to: None, deleted: false, payload }));
                }
            }
            return Ok(None);
        }
        while let Some(key) = sources.next_key(self.reverse)? {
            // Every cursor that stands on the key goes on, also those behind the one that answers.
            let hits: Vec<MemHit> =
                sources.memtables.iter_mut().filter_map(|cursor| cursor.take(&key)).map(|item| item.hit).collect();
            let (recent, closer) = resolve(hits.into_iter());
            let closer = closer.filter(|_| with_to);
            let base = sources.base.take(&key)?;
            let history = sources.history.iter_mut().fold(None, |found, cursor| cursor.take(&key).or(found));
            if let Some(MemVersion { from, payload }) = recent {
                if let Some(payload) = payload {
                    return Ok(Some(version_of(key, from, payload, closer)));
                }
            } else if let Some(BaseItem { from, payload, .. }) = base.filter(|base| base.from.seq <= seq) {
                return Ok(Some(version_of(key, from, payload, closer)));
            } else if history.is_some() {
                return Ok(history);
            }
        }
        Ok(None)
    }

    fn advance_period(&mut self, period: Period) -> Result<Option<Version>> {
        loop {
            if let Some(key) = &self.current {
                // History before base before memtables: that is oldest first.
                if let Some(version) = self.sources.oldest_history(key)? {
                    return Ok(Some(version));
                }
                if let Some(version) = self.recent.pop_front() {
                    return Ok(Some(version));
                }
                self.current = None;
            }
            let Some(key) = self.sources.next_key(self.reverse)? else { return Ok(None) };
            self.recent = self.sources.recent(&key, period)?;
            self.current = Some(key);
        }
    }
}

impl Sources {
    /// The key to go on with: the least (in reverse the greatest) that any source stands on.
    fn next_key(&mut self, reverse: bool) -> Result<Option<Bytes>> {
        let mut best: Option<&Bytes> = None;
        let better = |key: &Bytes, best: &Option<&Bytes>| {
            let order = if reverse { Ordering::Greater } else { Ordering::Less };
            best.is_none_or(|best| key.cmp(best) == order)
        };
        for cursor in &mut self.memtables {
            if let Some(item) = cursor.peek()
                && better(&item.key, &best)
            {
                best = Some(&item.key);
            }
        }
        if let Some(item) = self.base.peek()?
            && better(&item.key, &best)
        {
            best = Some(&item.key);
        }
        for cursor in &mut self.history {
            cursor.fill()?;
            if let Some(version) = cursor.head()
                && better(&version.key, &best)
            {
                best = Some(&version.key);
            }
        }
        Ok(best.cloned())
    }

    /// The oldest history version of `key` that is left.
    fn oldest_history(&mut self, key: &[u8]) -> Result<Option<Version>> {
        let mut oldest: Option<(usize, Stamp)> = None;
        for (place, cursor) in self.history.iter_mut().enumerate() {
            cursor.fill()?;
            if let Some(version) = cursor.head()
                && version.key == key
                && oldest.is_none_or(|(_, from)| version.from < from)
            {
                oldest = Some((place, version.from));
            }
        }
        Ok(oldest.and_then(|(place, _)| self.history.get_mut(place)?.pop()))
    }

    /// The versions of `key` in base and memtables that belong to the period, oldest first.
    fn recent(&mut self, key: &Bytes, period: Period) -> Result<VecDeque<Version>> {
        let mut versions = Vec::new();
        if let Some(BaseItem { from, payload, .. }) = self.base.take(key)? {
            versions.push(MemVersion { from, payload: Some(payload) });
        }
        for cursor in self.memtables.iter_mut().rev() {
            versions.extend(cursor.take(key).into_iter().flat_map(|item| item.versions));
        }
        let closers: Vec<Closer> = versions.iter().skip(1).map(MemVersion::closer).collect();
        let closers = closers.into_iter().map(Some).chain([None]);
        let live = versions.into_iter().zip(closers).filter_map(|(version, closer)| {
            let admitted = period.admits(version.from.seq, closer.map(|closer| closer.at.seq));
            Some(version_of(key.clone(), version.from, version.payload.filter(|_| admitted)?, closer))
        });
        Ok(live.collect())
    }
}

pub(crate) fn version_of(key: Bytes, from: Stamp, payload: Bytes, closer: Option<Closer>) -> Version {
    let deleted = closer.is_some_and(|closer| closer.deleted);
    Version { key, from, to: closer.map(|closer| closer.at), deleted, payload }
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
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn scans_and_views_move_between_threads() {
        fn moves<T: Send + 'static>() {}
        fn is_shared<T: Send + Sync + 'static>() {}
        moves::<crate::Scan>();
        is_shared::<crate::StoreView>();
        is_shared::<crate::Store>();
    }
}
