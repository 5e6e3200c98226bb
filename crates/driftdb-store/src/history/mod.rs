//! History: immutable Parquet segments of closed versions, one tree a file.

mod blocks;
mod cache;
mod columns;
mod cursor;
#[cfg(test)]
mod fuzz_tests;
mod manifest;
mod pages;
mod segment;
mod writer;

pub(crate) use cache::SegmentCache;
pub(crate) use cursor::HistoryCursor;
pub(crate) use manifest::{
    Bounds, Manifest, Segment, SegmentMeta, file_name as segment_file_name, is_segment_file_name,
};
pub(crate) use pages::Window;
pub(crate) use segment::{Group, OpenSegment};
pub(crate) use writer::SegmentWriter;
