//! What makes a change of the past show: the commits are a chain of digests.
//!
//! ```text
//!   entry 41 ──digest──► entry 42: previous │ stamp … │ table 100: contents │ table 103: contents │ …
//!                            │
//!                            └──digest──► entry 43: previous │ …          contents = the fold of the writes' digests
//! ```
//!
//! A commit's *entry* (in its log record, and in the tree of commits) holds the digest of the entry before it, and for each
//! table that the commit touched a digest of what it did there. So the digest of the newest entry stands for every row version
//! there ever was, in which commit it began and ended: who has noted it down (`driftdb_digest()`) can find out later whether
//! any of that was changed, by whoever could write the files and all their checksums.
//!
//! The *contents* of a table in a commit are folded out of single writes, in the order of tree and key, and not out of the
//! record's bytes: they have to be computed again when the record is long gone, from the row versions in base and history
//! ([`crate::verify`]). A walk over the versions comes by the writes of each commit in just that order, so it needs no more of
//! each commit than one digest. (Haber and Stornetta, "How to Time-Stamp a Digital Document", 1991; as a log of a database:
//! Crosby and Wallach, "Efficient Data Structures for Tamper-Evident Logging", 2009.)

use std::collections::BTreeMap;

use driftdb_store::Write;
use driftdb_types::{Digest, TreeId};

/// What one commit did to one table: to its rows, the entries of its indexes, and its definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableContents {
    /// The table.
    pub table: TreeId,
    /// The fold of the digests of what was written, in the order of tree and key.
    pub digest: Digest,
}

/// The digest of one write.
pub(crate) fn write_digest(tree: TreeId, key: &[u8], payload: Option<&[u8]>) -> Digest {
    let kind = [u8::from(payload.is_some())];
    // The key's length, so that no bytes can move between key and payload.
    let key_len = (key.len() as u64).to_le_bytes();
    Digest::of(&[&kind, &tree.0.to_le_bytes(), &key_len, key, payload.unwrap_or_default()])
}

/// The contents with one more write.
pub(crate) fn fold(contents: Digest, write: Digest) -> Digest {
    Digest::of(&[&contents.0, &write.0])
}

/// What a commit's writes, in their order, did to each table. `owner` knows whose an index is.
pub(crate) fn contents(writes: &[Write], owner: impl Fn(TreeId) -> Option<TreeId>) -> Vec<TableContents> {
    let mut tables: BTreeMap<TreeId, Digest> = BTreeMap::new();
    for write in writes {
        let contents = tables.entry(owner_of(write.tree, &write.key, &owner)).or_default();
        *contents = fold(*contents, write_digest(write.tree, &write.key, write.payload.as_deref()));
    }
    tables.into_iter().map(|(table, digest)| TableContents { table, digest }).collect()
}

/// Whose a key is: a definition is the table's that it defines; rows and entries are as `owner` says, or of a tree that stands
/// for itself.
pub(crate) fn owner_of(tree: TreeId, key: &[u8], owner: impl Fn(TreeId) -> Option<TreeId>) -> TreeId {
    match <[u8; 4]>::try_from(key) {
        Ok(id) if tree == TreeId::CATALOG => TreeId(u32::from_be_bytes(id)),
        _ => owner(tree).unwrap_or(tree),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn write(tree: u32, key: &'static str, payload: Option<&'static str>) -> Write {
        let payload = payload.map(|text| Bytes::from_static(text.as_bytes()));
        Write { tree: TreeId(tree), key: Bytes::from_static(key.as_bytes()), payload }
    }

    #[test]
    fn each_part_of_a_write_counts() {
        let of = |write: Write| write_digest(write.tree, &write.key, write.payload.as_deref());
        let digests = [
            of(write(100, "k", Some("v"))),
            of(write(101, "k", Some("v"))),
            of(write(100, "kv", Some(""))),
            of(write(100, "", Some("kv"))),
            of(write(100, "k", Some(""))),
            of(write(100, "k", None)),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at}");
        }
    }

    #[test]
    fn contents_are_the_tables_own_in_order() {
        let catalog = Write { key: Bytes::copy_from_slice(&100_u32.to_be_bytes()), ..write(1, "", Some("table")) };
        let writes = [catalog, write(100, "a", Some("row")), write(101, "x", Some("a")), write(200, "b", None)];
        let owner = |tree| (tree == TreeId(101)).then_some(TreeId(100));
        let found = contents(&writes, owner);
        assert_eq!(found.iter().map(|of| of.table).collect::<Vec<_>>(), [TreeId(100), TreeId(200)]);
        let digests = writes.iter().map(|write| write_digest(write.tree, &write.key, write.payload.as_deref()));
        let expected = digests.take(3).fold(Digest::ZERO, fold);
        assert_eq!(found[0].digest, expected);
        let [first, second, rest @ ..] = writes;
        let swapped = contents(&[second, first].into_iter().chain(rest).collect::<Vec<_>>(), owner);
        assert_ne!(swapped[0], found[0]);
        assert_eq!(swapped[1], found[1]);
    }
}
