//! Walking over a tree in key order.
//!
//! A k-way merge of what memtables, base and history segments have within the range. Their versions are disjoint, so
//! nothing is compared but keys: of each key the newest source that has something visible answers.
//!
//! A scan that rests holds no memtable: it has copied a few rows out of each, and fetches more from the layers that its view
//! reads then. If those are not the ones that it was opened on, it opens anew behind the last key.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use driftdb_types::{CommitSeq, KeyRange, Stamp, TreeId};

use crate::base::{BaseCursor, BaseItem};
use crate::history::HistoryCursor;
use crate::layers::{Layers, visible_at};
use crate::memtable::{Closer, MemCursor, MemHit, MemVersion, Memtable, Seek};
use crate::readers::Hold;
use crate::{Period, ReadPoint, Result, StoreError, StoreView, Version};

/// What a scan gives of each key.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// The version visible at a point.
    Visible(ReadPoint),
    /// The versions of a period.
    Versions(Period),
}

/// Cursors over the sources of versions.
pub(crate) struct Cursors {
    /// Newest memtable first, each with its place among those of the layers.
    pub(crate) memtables: Vec<(usize, MemCursor)>,
    pub(crate) base: BaseCursor,
    /// Each gives only versions that belong to the answer as far as the segment knows.
    pub(crate) history: Vec<HistoryCursor>,
}

/// A scan on certain layers.
struct Opened {
    /// Which: not held, so that they can go.
    on: Weak<Layers>,
    seek: Seek,
    /// Which versions of history belong to the answer; `None`: none.
    period: Option<Period>,
    cursors: Cursors,
}

/// Versions of one tree in key order (or against it), and of one key oldest first. It owns what it reads, so it may
/// outlive the view and move between threads; it fetches as it goes, so stopping early costs nothing. After an error
/// it ends.
pub struct Scan {
    view: Arc<StoreView>,
    /// Keeps what it reads of the past from going.
    _held: Option<Hold>,
    tree: TreeId,
    range: KeyRange,
    wanted: Wanted,
    reverse: bool,
    opened: Opened,
    /// The last key that was come to; kept where the scan may have to open anew behind it.
    last: Option<Bytes>,
    /// [`Wanted::Versions`]: the key whose versions are being given, and those of them that are not in history.
    current: Option<Bytes>,
    recent: VecDeque<Version>,
    failed: bool,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("wanted", &self.wanted).field("reverse", &self.reverse).finish_non_exhaustive()
    }
}

impl Scan {
    pub(crate) fn visible(
        view: &Arc<StoreView>,
        held: Option<Hold>,
        tree: TreeId,
        range: &KeyRange,
        at: ReadPoint,
        reverse: bool,
    ) -> Result<Scan> {
        Scan::new(view, held, tree, range, Wanted::Visible(at), reverse)
    }

    pub(crate) fn versions(
        view: &Arc<StoreView>,
        held: Option<Hold>,
        tree: TreeId,
        range: &KeyRange,
        period: Period,
    ) -> Result<Scan> {
        Scan::new(view, held, tree, range, Wanted::Versions(period), false)
    }

    fn new(
        view: &Arc<StoreView>,
        held: Option<Hold>,
        tree: TreeId,
        range: &KeyRange,
        wanted: Wanted,
        reverse: bool,
    ) -> Result<Scan> {
        let opened = Opened::new(&view.layers(), view, tree, range, wanted, reverse)?;
        Ok(Scan {
            view: Arc::clone(view),
            _held: held,
            tree,
            range: range.clone(),
            wanted,
            reverse,
            opened,
            last: None,
            current: None,
            recent: VecDeque::new(),
            failed: false,
        })
    }

    /// The next key that any source has something of.
    fn next_key(&mut self) -> Result<Option<Bytes>> {
        if self.opened.cursors.memtables.is_empty() {
            // It holds nothing in memory that the store wants back.
            let key = self.opened.cursors.next_key(&[], self.reverse)?;
            self.last.clone_from(&key);
            return Ok(key);
        }
        let layers = self.view.layers();
        if Weak::as_ptr(&self.opened.on) != Arc::as_ptr(&layers) {
            self.open_behind_last(&layers)?;
        }
        let key = self.opened.cursors.next_key(&layers.memtables, self.reverse)?;
        self.last.clone_from(&key);
        Ok(key)
    }

    /// Opens on other layers, to go on behind the last key.
    fn open_behind_last(&mut self, layers: &Arc<Layers>) -> Result<()> {
        if let Some(last) = &self.last {
            let bound = Bound::Excluded(last.to_vec());
            if self.reverse { self.range.end = bound } else { self.range.start = bound }
        }
        self.opened = Opened::new(layers, &self.view, self.tree, &self.range, self.wanted, self.reverse)?;
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Version>> {
        match self.wanted {
            Wanted::Visible(_) => self.advance_visible(),
            Wanted::Versions(_) => self.advance_versions(),
        }
    }

    fn advance_visible(&mut self) -> Result<Option<Version>> {
        if self.opened.is_base_only() {
            // The common case: nothing but the base.
            let seq = self.opened.seek.last_seq();
            while let Some(BaseItem { key, from, payload }) = self.opened.cursors.base.next()? {
                if from.seq <= seq {
                    return Ok(Some(Version { key, from, to: None, deleted: false, payload }));
                }
            }
            return Ok(None);
        }
        while let Some(key) = self.next_key()? {
            let Opened { cursors, seek, .. } = &mut self.opened;
            // Every cursor that stands on the key goes on, also those behind the one that answers.
            let hits: Vec<MemHit> =
                cursors.memtables.iter_mut().filter_map(|(_, cursor)| cursor.take(&key)).map(|item| item.hit).collect();
            let (recent, closer) = resolve(hits.into_iter());
            let base = cursors.base.take(&key)?;
            let history = cursors.history.iter_mut().fold(None, |found, cursor| cursor.take(&key).or(found));
            if let Some(MemVersion { from, payload }) = recent {
                if let Some(payload) = payload {
                    return Ok(Some(version_of(key, from, payload, closer)));
                }
            } else if let Some(BaseItem { from, payload, .. }) = base.filter(|base| base.from.seq <= seek.last_seq()) {
                return Ok(Some(version_of(key, from, payload, closer)));
            } else if history.is_some() {
                return Ok(history);
            }
        }
        Ok(None)
    }

    fn advance_versions(&mut self) -> Result<Option<Version>> {
        loop {
            if let Some(key) = &self.current {
                // History before base before memtables: that is oldest first.
                if let Some(version) = self.opened.cursors.oldest_history(key)? {
                    return Ok(Some(version));
                }
                if let Some(version) = self.recent.pop_front() {
                    return Ok(Some(version));
                }
                self.current = None;
            }
            let Some(key) = self.next_key()? else { return Ok(None) };
            let period = self.opened.period.unwrap_or(Period::All);
            self.recent = self.opened.cursors.recent(&key, period)?;
            self.current = Some(key);
        }
    }

    /// The next version that the view has, as it has it.
    fn next_seen(&mut self) -> Result<Option<Version>> {
        loop {
            let version = match self.advance() {
                Err(StoreError::ViewLost { .. }) if self.view.renew() => {
                    if self.opened.is_base_only() {
                        self.last = self.opened.cursors.base.behind();
                    }
                    let layers = Arc::clone(&self.view.layers());
                    self.open_behind_last(&layers)?;
                    continue;
                }
                advanced => advanced?,
            };
            let Some(version) = version else { return Ok(None) };
            if version.from.seq <= self.view.stamp().seq {
                return Ok(Some(self.view.as_seen(version)));
            }
        }
    }
}

impl Opened {
    fn is_base_only(&self) -> bool {
        self.cursors.memtables.is_empty() && self.cursors.history.is_empty()
    }

    fn new(
        layers: &Arc<Layers>,
        view: &StoreView,
        tree: TreeId,
        range: &KeyRange,
        wanted: Wanted,
        reverse: bool,
    ) -> Result<Opened> {
        let stamp = view.stamp();
        let (seek, period) = match wanted {
            Wanted::Visible(ReadPoint::Latest) if layers.stamp == stamp => (Seek::At(CommitSeq::MAX), None),
            Wanted::Visible(at) => {
                let seq = match at {
                    ReadPoint::Latest => stamp.seq,
                    ReadPoint::AsOf(seq) => seq.min(stamp.seq),
                };
                (Seek::At(seq), Some(visible_at(seq)))
            }
            Wanted::Versions(period) => (Seek::Versions, Some(view.as_asked(period))),
        };
        let cursors = layers.cursors(tree, range, seek, period, reverse)?;
        Ok(Opened { on: Arc::downgrade(layers), seek, period, cursors })
    }
}

impl Cursors {
    /// The key to go on with: the least (in reverse the greatest) that any source stands on. `memtables` are those that the
    /// cursors were opened on.
    fn next_key(&mut self, memtables: &[Memtable], reverse: bool) -> Result<Option<Bytes>> {
        let mut best: Option<&Bytes> = None;
        let better = |key: &Bytes, best: &Option<&Bytes>| {
            let order = if reverse { Ordering::Greater } else { Ordering::Less };
            best.is_none_or(|best| key.cmp(best) == order)
        };
        for (place, cursor) in &mut self.memtables {
            let memtable = memtables
                .get(*place)
                .ok_or_else(|| StoreError::Internal(format!("the layers have no memtable {place}")))?;
            if let Some(item) = cursor.peek(memtable)
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
        for (_, cursor) in self.memtables.iter_mut().rev() {
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
        let next = self.next_seen();
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
