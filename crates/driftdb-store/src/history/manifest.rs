//! The manifest: which history segments are live, and what is known of each without opening it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb_env::{Disk, OpenOptions};
use driftdb_types::{CommitSeq, Digest, Digester, KeyRange, TreeId};
use serde::{Deserialize, Serialize};

use super::blocks::{BlockSums, checksums};
use crate::{Period, Result, StoreError};

/// Within what the versions of a segment, or of a page of one, lie. All bounds are inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    #[serde(with = "hex")]
    pub(crate) key_min: Vec<u8>,
    #[serde(with = "hex")]
    pub(crate) key_max: Vec<u8>,
    pub(crate) from_min: CommitSeq,
    pub(crate) from_max: CommitSeq,
    pub(crate) to_min: CommitSeq,
    pub(crate) to_max: CommitSeq,
}

impl Bounds {
    /// The bounds of nothing yet.
    pub(crate) const NONE: Bounds = Bounds {
        key_min: Vec::new(),
        key_max: Vec::new(),
        from_min: CommitSeq::MAX,
        from_max: CommitSeq::ZERO,
        to_min: CommitSeq::MAX,
        to_max: CommitSeq::ZERO,
    };

    /// About how much memory they take.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Bounds>() + self.key_min.len() + self.key_max.len()
    }

    /// Widens the bounds in time.
    pub(crate) fn add_period(&mut self, from: CommitSeq, to: CommitSeq) {
        self.from_min = self.from_min.min(from);
        self.from_max = self.from_max.max(from);
        self.to_min = self.to_min.min(to);
        self.to_max = self.to_max.max(to);
    }

    /// Whether a version of a key of the range that belongs to the period may be within.
    pub(crate) fn may_hold(&self, range: &KeyRange, period: Period) -> bool {
        let in_period = match period {
            Period::All => true,
            Period::Overlaps { start, end } => self.from_min < end && self.to_max > start,
            Period::ContainedIn { start, end } => self.from_max >= start && self.to_min <= end,
        };
        in_period && !self.is_before(range) && !self.is_after(range)
    }

    /// Whether every key within is before the range.
    pub(crate) fn is_before(&self, range: &KeyRange) -> bool {
        match &range.start {
            Bound::Included(start) => self.key_max < *start,
            Bound::Excluded(start) => self.key_max <= *start,
            Bound::Unbounded => false,
        }
    }

    /// Whether every key within is after the range.
    pub(crate) fn is_after(&self, range: &KeyRange) -> bool {
        match &range.end {
            Bound::Included(end) => self.key_min > *end,
            Bound::Excluded(end) => self.key_min >= *end,
            Bound::Unbounded => false,
        }
    }
}

/// What the manifest says of one history segment. Its bounds are those of some row each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentMeta {
    /// Names the segment; never used again.
    pub(crate) number: u64,
    pub(crate) tree: TreeId,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// CRC32C of the whole file: for finding damage, whenever the file is used.
    pub(crate) crc: u32,
    /// SHA-256 of the whole file: for finding what somebody changed who knows checksums.
    pub(crate) digest: Digest,
    /// How many compactions its rows went through at most.
    pub(crate) level: u32,
    #[serde(flatten)]
    pub(crate) bounds: Bounds,
}

impl SegmentMeta {
    /// The file's name within the history directory.
    pub(crate) fn file_name(&self) -> String {
        file_name(self.tree, self.number)
    }
}

/// The name of a segment's file.
pub(crate) fn file_name(tree: TreeId, number: u64) -> String {
    format!("{tree}-{number}.parquet")
}

/// Whether a file has a name that a segment could have.
pub(crate) fn is_segment_file_name(name: &str) -> bool {
    let parts = name.strip_suffix(".parquet").and_then(|stem| stem.split_once('-'));
    parts.is_some_and(|(tree, number)| tree.parse::<u32>().is_ok() && number.parse::<u64>().is_ok())
}

/// A live history segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) meta: SegmentMeta,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn new(meta: SegmentMeta, history_dir: &Path) -> Segment {
        let path = history_dir.join(meta.file_name());
        Segment { meta, path }
    }

    /// Compares the whole file with the manifest's length and checksum, and gives the checksums of its blocks. Parquet
    /// notices only some of what may happen to a file: without this, a flipped bit would be read, and written again with a
    /// checksum that says it is right.
    pub(crate) fn verify(&self, disk: &Arc<dyn Disk>) -> Result<BlockSums> {
        self.read_all(disk, &mut |_| {})
    }

    /// As [`Segment::verify`], and compares the digest too, which takes longer.
    pub(crate) fn verify_digest(&self, disk: &Arc<dyn Disk>) -> Result<()> {
        let mut digester = Digester::default();
        self.read_all(disk, &mut |bytes| digester.update(bytes))?;
        if digester.finish() == self.meta.digest {
            Ok(())
        } else {
            Err(StoreError::damaged(&self.path, "its digest is not the manifest's"))
        }
    }

    fn read_all(&self, disk: &Arc<dyn Disk>, each: &mut dyn FnMut(&[u8])) -> Result<BlockSums> {
        let io = |error| StoreError::io("reading", &self.path, error);
        let file = disk.open(&self.path, OpenOptions::READ).map_err(io)?;
        let len = file.len().map_err(io)?;
        if len != self.meta.bytes {
            let what = format!("it has {len} bytes, and the manifest says {}", self.meta.bytes);
            return Err(StoreError::damaged(&self.path, what));
        }
        let (crc, sums) = checksums(file.as_ref(), len, each).map_err(io)?;
        if crc == self.meta.crc {
            Ok(sums)
        } else {
            Err(StoreError::damaged(&self.path, "its checksum is not the manifest's"))
        }
    }
}

/// The live history segments by tree, each tree's in the order of their numbers. A clone is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest {
    trees: Arc<BTreeMap<TreeId, Arc<[Arc<Segment>]>>>,
}

impl Manifest {
    pub(crate) fn new(segments: impl IntoIterator<Item = Arc<Segment>>) -> Manifest {
        let mut trees: BTreeMap<TreeId, Vec<Arc<Segment>>> = BTreeMap::new();
        for segment in segments {
            trees.entry(segment.meta.tree).or_default().push(segment);
        }
        for segments in trees.values_mut() {
            segments.sort_by_key(|segment| segment.meta.number);
        }
        Manifest { trees: Arc::new(trees.into_iter().map(|(tree, segments)| (tree, segments.into())).collect()) }
    }

    /// The segments of a tree.
    pub(crate) fn of(&self, tree: TreeId) -> &[Arc<Segment>] {
        self.trees.get(&tree).map(AsRef::as_ref).unwrap_or_default()
    }

    /// The trees that have segments.
    pub(crate) fn trees(&self) -> impl Iterator<Item = TreeId> + '_ {
        self.trees.keys().copied()
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.trees.values().flat_map(|segments| segments.iter())
    }
}

/// Bytes as hexadecimal text, so that the manifest's entries can be read by eye.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        text.as_bytes()
            .chunks(2)
            .map(|pair| match *pair {
                [high, low] => nibble(high).zip(nibble(low)).map(|(high, low)| high << 4 | low),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}
