//! The view: one snapshot of the store.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use driftdb_types::{CommitSeq, KeyRange, Stamp, TreeId};

use crate::layers::Layers;
use crate::readers::{Readers, begin_of};
use crate::{Checkpoint, Period, ReadPoint, Result, Scan, StoreError, Version};

/// What was visible in the store at one moment; its answers do not change. Reading it takes no lock, and it may be held
/// for as long as one likes.
///
/// It reads the layers of its moment, for which memtables stay in memory after their flush. Where views hold too many of
/// them, the store *moves* the oldest ones to its newest layers. The past is the same there, as of the view's stamp: that
/// costs looks into history, and no memory for each snapshot that somebody holds.
#[derive(Debug)]
pub struct StoreView {
    stamp: Stamp,
    readers: Arc<Readers>,
    /// Of the moment of the stamp, or of a later one.
    layers: ArcSwap<Layers>,
}

impl StoreView {
    pub(crate) fn new(layers: Arc<Layers>, readers: Arc<Readers>) -> StoreView {
        StoreView { stamp: layers.stamp, readers, layers: ArcSwap::new(layers) }
    }

    /// The first state of a tree that can be read: what ended before it may be gone.
    pub fn horizon(&self, tree: TreeId) -> CommitSeq {
        self.readers.horizon(tree)
    }

    /// The newest commit visible in this view.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Up to where base and history are durable, as far as the view knows.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.layers.load().base.checkpoint
    }

    /// Where its versions are found now.
    pub(crate) fn layers(&self) -> Guard<Arc<Layers>> {
        self.layers.load()
    }

    /// Has the view read newer layers from now on.
    pub(crate) fn move_to(&self, layers: &Arc<Layers>) {
        debug_assert!(layers.stamp >= self.stamp, "a view cannot read older layers");
        self.layers.store(Arc::clone(layers));
    }

    /// Has the view read the newest layers, where those that it reads cannot be read any more. Whether there are others.
    pub(crate) fn renew(&self) -> bool {
        let Some(newest) = self.readers.newest() else { return false };
        let others = !Arc::ptr_eq(&newest, &self.layers.load());
        if others {
            self.move_to(&newest);
        }
        others
    }

    /// The version of one key. [`StoreError::BeyondHorizon`](crate::StoreError::BeyondHorizon) before the tree's horizon.
    pub fn get(&self, tree: TreeId, key: &[u8], at: ReadPoint) -> Result<Option<Version>> {
        let seq = match at {
            ReadPoint::Latest => self.stamp.seq,
            ReadPoint::AsOf(seq) => seq.min(self.stamp.seq),
        };
        let _held = match at {
            ReadPoint::Latest => None,
            ReadPoint::AsOf(_) => Some(self.readers.read(tree, Some(seq))?),
        };
        loop {
            let layers = self.layers();
            let found = match at {
                ReadPoint::Latest if layers.stamp == self.stamp => layers.get_latest(tree, key),
                _ => layers.get_at(tree, key, seq).map(|found| found.map(|version| self.as_seen(version))),
            };
            match found {
                Err(StoreError::ViewLost { .. }) if self.renew() => {}
                found => return found,
            }
        }
    }

    /// The visible versions of a range of keys, in key order or against it.
    /// [`StoreError::BeyondHorizon`](crate::StoreError::BeyondHorizon) before the tree's horizon.
    pub fn scan(self: &Arc<Self>, tree: TreeId, range: &KeyRange, at: ReadPoint, reverse: bool) -> Result<Scan> {
        let held = match at {
            ReadPoint::Latest => None,
            ReadPoint::AsOf(seq) => Some(self.readers.read(tree, Some(seq.min(self.stamp.seq)))?),
        };
        Scan::visible(self, held, tree, range, at, reverse)
    }

    /// All versions of a range of keys that belong to a period, ordered by key, then from the oldest on. Of [`Period::All`]
    /// those that are left; [`StoreError::BeyondHorizon`](crate::StoreError::BeyondHorizon) where another period begins before
    /// the tree's horizon.
    pub fn versions(self: &Arc<Self>, tree: TreeId, range: &KeyRange, period: Period) -> Result<Scan> {
        let held = self.readers.read(tree, begin_of(period))?;
        Scan::versions(self, Some(held), tree, range, period)
    }

    /// As [`StoreView::versions`], of a period that may begin before the tree's horizon: those that are left.
    pub fn versions_left(self: &Arc<Self>, tree: TreeId, range: &KeyRange, period: Period) -> Result<Scan> {
        let held = self.readers.read(tree, None)?;
        Scan::versions(self, Some(held), tree, range, period)
    }

    /// A version as this view has it: what closed it later is not known here.
    pub(crate) fn as_seen(&self, version: Version) -> Version {
        match version.to {
            Some(to) if to.seq > self.stamp.seq => Version { to: None, deleted: false, ..version },
            _ => version,
        }
    }

    /// A period as it is to be asked of layers that may be newer than the view, so that what [`StoreView::as_seen`] leaves
    /// of the answer, without versions that came later, is what the view's own layers would have given.
    pub(crate) fn as_asked(&self, period: Period) -> Period {
        let last = self.stamp.seq;
        match period {
            Period::All => period,
            // What was open at the view's stamp was never to end.
            Period::Overlaps { start, end } if start < end => Period::Overlaps { start: start.min(last), end },
            Period::Overlaps { .. } => period,
            // What ended later was open.
            Period::ContainedIn { start, end } => Period::ContainedIn { start, end: end.min(last) },
        }
    }
}
