//! What a transaction has changed and not committed.
//!
//! Persistent maps (`imbl::OrdMap`), so that a savepoint, or a scan that must not see the changes of the statement it
//! feeds, is a clone that costs nothing.

use std::sync::Arc;

use bytes::Bytes;
use driftdb_types::{Result, TreeId};
use imbl::OrdMap;

use crate::budget::{Budget, Charge};

/// What one entry costs beside its bytes: map entry and allocations.
const ENTRY_OVERHEAD_BYTES: usize = 192;

/// About how much memory a change of this key and these payloads takes.
pub(crate) fn size_bytes(key: &Bytes, payloads: &[&Option<Bytes>]) -> usize {
    let payload_bytes: usize = payloads.iter().filter_map(|payload| payload.as_ref()).map(Bytes::len).sum();
    key.len() + payload_bytes + ENTRY_OVERHEAD_BYTES
}

/// One key's change.
#[derive(Debug)]
pub(crate) struct Change {
    /// The committed payload the transaction found; `None`: there was none.
    pub(crate) before: Option<Bytes>,
    /// What it leaves; `None`: a deletion.
    pub(crate) after: Option<Bytes>,
    _charge: Charge,
}

/// One tree's changes. Those that were replaced may still be a savepoint's.
pub(crate) type TreeChanges = OrdMap<Bytes, Arc<Change>>;

/// All changes of a transaction, by tree and key.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteSet {
    trees: OrdMap<TreeId, TreeChanges>,
}

impl WriteSet {
    /// The change of this key, if there is one.
    pub(crate) fn get(&self, tree: TreeId, key: &[u8]) -> Option<&Change> {
        self.trees.get(&tree)?.get(key).map(Arc::as_ref)
    }

    /// The changes of one tree, if there are any.
    pub(crate) fn tree(&self, tree: TreeId) -> Option<&TreeChanges> {
        self.trees.get(&tree)
    }

    /// Records a change, unless the budget has no room for it (53200). `before` counts only where the key was not
    /// changed before.
    pub(crate) fn put(
        &mut self,
        budget: &Arc<Budget>,
        tree: TreeId,
        key: Bytes,
        before: Option<Bytes>,
        after: Option<Bytes>,
    ) -> Result<()> {
        let before = self.get(tree, &key).map_or(before, |change| change.before.clone());
        let charge = budget.take(size_bytes(&key, &[&before, &after]))?;
        let changes = match self.trees.get_mut(&tree) {
            Some(changes) => changes,
            None => self.trees.entry(tree).or_default(),
        };
        changes.insert(key, Arc::new(Change { before, after, _charge: charge }));
        Ok(())
    }

    /// Forgets every change of a tree that nobody else has ever seen.
    pub(crate) fn forget(&mut self, tree: TreeId) {
        self.trees.remove(&tree);
    }

    /// Whether nothing was ever written (entries that came to nothing count as writing).
    pub(crate) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// What differs from the committed state, in the order of tree and key.
    pub(crate) fn effective(&self) -> impl Iterator<Item = (TreeId, &Bytes, &Change)> {
        self.trees
            .iter()
            .flat_map(|(tree, changes)| changes.iter().map(move |(key, change)| (*tree, key, change.as_ref())))
            .filter(|(_, _, change)| change.before != change.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn what_comes_to_nothing_is_not_effective() {
        let budget = Budget::new(usize::MAX);
        let mut writes = WriteSet::default();
        let put = |writes: &mut WriteSet, key: &'static str, before, after| {
            writes.put(&budget, TreeId(7), Bytes::from_static(key.as_bytes()), before, after).unwrap();
        };
        put(&mut writes, "k", bytes("old"), bytes("new"));
        assert_eq!(writes.effective().count(), 1);
        let savepoint = writes.clone();
        put(&mut writes, "k", bytes("ignored"), bytes("old"));
        assert_eq!(writes.effective().count(), 0);
        assert!(!writes.is_empty());
        assert_eq!(savepoint.effective().count(), 1);
        put(&mut writes, "k", None, None);
        let (_, _, change) = writes.effective().next().unwrap();
        assert_eq!((&change.before, &change.after), (&bytes("old"), &None));
        put(&mut writes, "l", None, bytes("x"));
        put(&mut writes, "l", None, None);
        assert_eq!(writes.effective().count(), 1);
    }

    #[test]
    fn a_payload_counts_for_as_long_as_somebody_has_it() {
        let budget = Budget::new(3_000);
        let mut writes = WriteSet::default();
        let key = Bytes::from_static(b"k");
        let filled = |len: usize| Some(Bytes::from(vec![b'x'; len]));
        writes.put(&budget, TreeId(7), key.clone(), None, filled(500)).unwrap();
        let first = budget.used_bytes();
        let savepoint = writes.clone();
        writes.put(&budget, TreeId(7), key.clone(), None, filled(600)).unwrap();
        assert_eq!(budget.used_bytes(), 2 * first + 100);
        writes.put(&budget, TreeId(7), key.clone(), None, filled(400)).unwrap();
        assert_eq!(budget.used_bytes(), 2 * first - 100, "nobody has the second one");
        writes.put(&budget, TreeId(7), key.clone(), None, filled(2_000)).unwrap_err();
        assert_eq!(writes.get(TreeId(7), &key).unwrap().after, filled(400), "what is refused changes nothing");
        drop(savepoint);
        assert_eq!(budget.used_bytes(), first - 100);
        writes.forget(TreeId(7));
        assert_eq!(budget.used_bytes(), 0);
        assert!(writes.is_empty());
    }
}
