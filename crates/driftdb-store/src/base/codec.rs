//! The bytes of the rows table.

use std::ops::Bound;

use driftdb_types::{CommitSeq, KeyRange, Stamp, TreeId};

const STAMP_BYTES: usize = 16;

/// A row's value in the base.
pub(crate) fn encode_value(from: Stamp, payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(STAMP_BYTES + payload.len());
    value.extend_from_slice(&from.seq.0.to_le_bytes());
    value.extend_from_slice(&from.time_us.to_le_bytes());
    value.extend_from_slice(payload);
    value
}

/// The parts of a row's value; `None` when it is too short to be one.
pub(crate) fn decode_value(value: &[u8]) -> Option<(Stamp, &[u8])> {
    let (seq, rest) = value.split_first_chunk::<8>()?;
    let (time, payload) = rest.split_first_chunk::<8>()?;
    Some((Stamp { seq: CommitSeq(u64::from_le_bytes(*seq)), time_us: i64::from_le_bytes(*time) }, payload))
}

/// A key of the rows table.
pub(crate) fn encode_key(tree: TreeId, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(4 + key.len());
    full.extend_from_slice(&tree.0.to_be_bytes());
    full.extend_from_slice(key);
    full
}

/// The tree and the key within it; `None` when it is too short to be one.
pub(crate) fn decode_key(full: &[u8]) -> Option<(TreeId, &[u8])> {
    let (tree, key) = full.split_first_chunk::<4>()?;
    Some((TreeId(u32::from_be_bytes(*tree)), key))
}

/// The keys of the rows table that a range of a tree's keys covers.
pub(crate) fn encode_range(tree: TreeId, range: &KeyRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let start = match &range.start {
        Bound::Included(key) => Bound::Included(encode_key(tree, key)),
        Bound::Excluded(key) => Bound::Excluded(encode_key(tree, key)),
        Bound::Unbounded => Bound::Included(encode_key(tree, &[])),
    };
    let end = match &range.end {
        Bound::Included(key) => Bound::Included(encode_key(tree, key)),
        Bound::Excluded(key) => Bound::Excluded(encode_key(tree, key)),
        Bound::Unbounded => match tree.0.checked_add(1) {
            Some(next) => Bound::Excluded(encode_key(TreeId(next), &[])),
            None => Bound::Unbounded,
        },
    };
    (start, end)
}
