//! History: immutable Parquet segments of closed versions, one tree a file.

mod columns;
mod cursor;
mod manifest;
mod segment;
mod writer;

pub(crate) use cursor::HistoryCursor;
pub(crate) use manifest::{Manifest, Segment, SegmentMeta, file_name as segment_file_name};
pub(crate) use segment::{OpenSegment, SegmentCache};
pub(crate) use writer::SegmentWriter;
