//! What the views share: who reads the past, from where on there is one, and the newest layers.
//!
//! Closed versions may go: of a tree, those that ended at or before its *horizon*. From the horizon on every state can be read as
//! it was; before it none can, also where the files still have it. Readers of the past hold their stamp, and the horizon never
//! passes a stamp that is held, nor that of a view: so nobody is cut short, and nobody gets an answer that lacks something.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use driftdb_types::{CommitSeq, TreeId};
use parking_lot::Mutex;

use crate::layers::Layers;
use crate::{Period, Result, StoreError};

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    state: Mutex<State>,
    newest: ArcSwapOption<Layers>,
}

#[derive(Debug, Default)]
struct State {
    /// How many hold each stamp.
    held: BTreeMap<CommitSeq, usize>,
    horizons: HashMap<TreeId, CommitSeq>,
}

impl Readers {
    /// What new views read.
    pub(crate) fn newest(&self) -> Option<Arc<Layers>> {
        self.newest.load_full()
    }

    pub(crate) fn set_newest(&self, layers: &Arc<Layers>) {
        self.newest.store(Some(Arc::clone(layers)));
    }

    /// Holds a stamp, from which on everything that can be read now can be read for as long as it is held.
    pub(crate) fn hold(self: &Arc<Self>, seq: CommitSeq) -> Hold {
        *self.state.lock().held.entry(seq).or_default() += 1;
        Hold { readers: Arc::clone(self), seq }
    }

    /// Holds what is about to be read of a tree: its state as of a commit, or the versions of a period that begins there. `None`:
    /// all versions that are left.
    pub(crate) fn read(self: &Arc<Self>, tree: TreeId, from: Option<CommitSeq>) -> Result<Hold> {
        let mut state = self.state.lock();
        let horizon = state.horizons.get(&tree).copied().unwrap_or_default();
        let seq = from.unwrap_or(horizon);
        if seq < horizon {
            return Err(StoreError::BeyondHorizon { tree, asked: seq, horizon });
        }
        *state.held.entry(seq).or_default() += 1;
        Ok(Hold { readers: Arc::clone(self), seq })
    }

    /// The first state of the tree that can be read.
    pub(crate) fn horizon(&self, tree: TreeId) -> CommitSeq {
        self.state.lock().horizons.get(&tree).copied().unwrap_or_default()
    }

    /// Moves the horizon of some trees forward, as far as `wanted` gives at most and not beyond any stamp that is held. Gives
    /// where it is then. Nobody begins to hold a stamp meanwhile.
    pub(crate) fn raise<E>(
        &self,
        trees: &[TreeId],
        wanted: impl FnOnce() -> Result<CommitSeq, E>,
    ) -> Result<CommitSeq, E> {
        let mut state = self.state.lock();
        let held = state.held.keys().next().copied().unwrap_or(CommitSeq::MAX);
        let reached = wanted()?.min(held);
        let mut lowest = CommitSeq::MAX;
        for tree in trees {
            let horizon = state.horizons.entry(*tree).or_default();
            *horizon = (*horizon).max(reached);
            lowest = lowest.min(*horizon);
        }
        Ok(lowest)
    }

    /// Moves the horizon of some trees back, after a move of which nothing came: nothing has gone yet.
    pub(crate) fn lower(&self, trees: &[TreeId], horizon: CommitSeq) {
        let mut state = self.state.lock();
        state.horizons.extend(trees.iter().map(|tree| (*tree, horizon)));
    }
}

/// A stamp that is held, until this goes.
#[derive(Debug)]
pub struct Hold {
    readers: Arc<Readers>,
    seq: CommitSeq,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.readers.state.lock();
        if let Some(count) = state.held.get_mut(&self.seq) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.seq);
            }
        }
    }
}

/// From which commit on a period's versions are asked for; `None`: all that are left.
pub(crate) fn begin_of(period: Period) -> Option<CommitSeq> {
    match period {
        Period::All => None,
        Period::Overlaps { start, .. } | Period::ContainedIn { start, .. } => Some(start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_passes_nobody() {
        let readers = Arc::new(Readers::default());
        let trees = [TreeId(100), TreeId(101)];
        let at = |seq| Some(CommitSeq(seq));
        let raise = |seq| readers.raise(&trees, || Ok::<_, StoreError>(CommitSeq(seq))).unwrap();
        let first = readers.read(TreeId(100), at(5)).unwrap();
        let second = readers.hold(CommitSeq(7));
        assert_eq!(raise(9), CommitSeq(5));
        assert!(matches!(
            readers.read(TreeId(101), at(4)),
            Err(StoreError::BeyondHorizon { tree: TreeId(101), asked: CommitSeq(4), horizon: CommitSeq(5) })
        ));
        drop(first);
        assert_eq!(raise(9), CommitSeq(7));
        assert_eq!(raise(3), CommitSeq(7), "it never goes back");
        let all = readers.read(TreeId(100), None).unwrap();
        drop(second);
        assert_eq!(raise(9), CommitSeq(7));
        drop(all);
        assert_eq!(raise(9), CommitSeq(9));
        readers.lower(&trees, CommitSeq(8));
        drop(readers.read(TreeId(101), at(8)).unwrap());
        assert_eq!(raise(9), CommitSeq(9));
        drop(readers.read(TreeId(102), at(0)).unwrap());
        assert_eq!((readers.horizon(TreeId(100)), readers.horizon(TreeId(102))), (CommitSeq(9), CommitSeq::ZERO));
    }
}
