//! History: immutable Parquet segments of closed versions, one tree a file.

mod manifest;

pub(crate) use manifest::{Manifest, Segment, SegmentMeta};
