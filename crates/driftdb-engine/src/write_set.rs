//! What a transaction has changed and not committed.
//!
//! Persistent maps (`imbl::OrdMap`), so that a savepoint, or a scan that must not see the changes of the statement it
//! feeds, is a clone that costs nothing.

use bytes::Bytes;
use driftdb_types::TreeId;
use imbl::OrdMap;

/// What one entry costs beside its bytes: map entry, allocations, and its lock.
const ENTRY_OVERHEAD_BYTES: usize = 192;

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The committed payload the transaction found; `None`: there was none.
    pub(crate) before: Option<Bytes>,
    /// What it leaves; `None`: a deletion.
    pub(crate) after: Option<Bytes>,
}

/// One tree's changes.
pub(crate) type TreeChanges = OrdMap<Bytes, Change>;

/// All changes of a transaction, by tree and key.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteSet {
    trees: OrdMap<TreeId, TreeChanges>,
    bytes: usize,
}

impl WriteSet {
    /// The change of this key, if there is one.
    pub(crate) fn get(&self, tree: TreeId, key: &[u8]) -> Option<&Change> {
        self.trees.get(&tree)?.get(key)
    }

    /// The changes of one tree, if there are any.
    pub(crate) fn tree(&self, tree: TreeId) -> Option<&TreeChanges> {
        self.trees.get(&tree)
    }

    /// Records a change. `before` counts only where the key was not changed before.
    pub(crate) fn put(&mut self, tree: TreeId, key: Bytes, before: Option<Bytes>, after: Option<Bytes>) {
        let changes = match self.trees.get_mut(&tree) {
            Some(changes) => changes,
            None => self.trees.entry(tree).or_default(),
        };
        let after_len = after.as_ref().map_or(0, Bytes::len);
        match changes.get_mut(&key) {
            Some(change) => {
                let freed = change.after.as_ref().map_or(0, Bytes::len);
                self.bytes = self.bytes.saturating_add(after_len).saturating_sub(freed);
                change.after = after;
            }
            None => {
                let before_len = before.as_ref().map_or(0, Bytes::len);
                self.bytes = self.bytes.saturating_add(key.len() + after_len + before_len + ENTRY_OVERHEAD_BYTES);
                changes.insert(key, Change { before, after });
            }
        }
    }

    /// Forgets every change of a tree that nobody else has ever seen.
    pub(crate) fn forget(&mut self, tree: TreeId) {
        let Some(changes) = self.trees.remove(&tree) else { return };
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        for (key, change) in &changes {
            let freed = key.len() + size(&change.after) + size(&change.before) + ENTRY_OVERHEAD_BYTES;
            self.bytes = self.bytes.saturating_sub(freed);
        }
    }

    /// About how much memory the changes take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was ever written (entries that came to nothing count as writing).
    pub(crate) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// What differs from the committed state, in the order of tree and key.
    pub(crate) fn effective(&self) -> impl Iterator<Item = (TreeId, &Bytes, &Change)> {
        self.trees
            .iter()
            .flat_map(|(tree, changes)| changes.iter().map(move |(key, change)| (*tree, key, change)))
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
        let mut writes = WriteSet::default();
        let key = Bytes::from_static(b"k");
        writes.put(TreeId(7), key.clone(), bytes("old"), bytes("new"));
        assert_eq!(writes.effective().count(), 1);
        let savepoint = writes.clone();
        writes.put(TreeId(7), key.clone(), bytes("ignored"), bytes("old"));
        assert_eq!(writes.effective().count(), 0);
        assert!(!writes.is_empty());
        assert_eq!(savepoint.effective().count(), 1);
        writes.put(TreeId(7), key.clone(), None, None);
        let (_, _, change) = writes.effective().next().unwrap();
        assert_eq!(change, &Change { before: bytes("old"), after: None });
        writes.put(TreeId(7), Bytes::from_static(b"l"), None, bytes("x"));
        writes.put(TreeId(7), Bytes::from_static(b"l"), None, None);
        assert_eq!(writes.effective().count(), 1);
    }

    #[test]
    fn bytes_follow_the_payloads() {
        let mut writes = WriteSet::default();
        writes.put(TreeId(7), Bytes::from_static(b"k"), None, bytes("12345"));
        let five = writes.bytes();
        writes.put(TreeId(7), Bytes::from_static(b"k"), None, bytes("1"));
        assert_eq!(writes.bytes(), five - 4);
        writes.forget(TreeId(7));
        assert_eq!(writes.bytes(), 0);
        assert!(writes.is_empty());
    }
}
