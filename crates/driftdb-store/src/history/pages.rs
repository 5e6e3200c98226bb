//! What is in a segment's row groups, as their statistics say, and in the pages of a row group, as its page index says.
//!
//! They are in key order through the whole file. The key bounds may have been cut short by the writer, but only downwards
//! for the least and upwards for the greatest. Should another column's pages not begin where those of the keys do, the
//! bounds of all it has there count.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use driftdb_types::CommitSeq;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::statistics::Statistics;

use super::columns::{FROM_SEQ, KEY, TO_SEQ};
use super::manifest::Bounds;
use crate::{Result, StoreError};

/// About how many bytes of values a window may have: what reading it takes in memory, and far from what offsets of 32
/// bits reach.
const WINDOW_BYTES: usize = 4 << 20;

/// Rows of a row group that are read together: some pages, or a part of one whose values are large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) row_group: usize,
    pub(crate) rows: Range<usize>,
    /// About how many bytes its values are when decoded.
    pub(crate) bytes: usize,
}

impl Window {
    /// In parts of about [`WINDOW_BYTES`], where it has more.
    fn cut(self) -> impl Iterator<Item = Window> {
        let Window { row_group, rows, bytes } = self;
        let count = rows.len().max(1);
        let step = count.div_ceil(bytes.div_ceil(WINDOW_BYTES).clamp(1, count));
        rows.clone().step_by(step).map(move |start| {
            let part = start..rows.end.min(start + step);
            Window { row_group, bytes: bytes / count * part.len(), rows: part }
        })
    }
}

/// Puts neighbouring pages together, as long as they have no more than `rows_max` rows and not too many bytes, and cuts
/// those that have too many.
pub(crate) fn windows(pages: impl IntoIterator<Item = Window>, rows_max: usize) -> VecDeque<Window> {
    let mut windows: VecDeque<Window> = VecDeque::new();
    for page in pages.into_iter().flat_map(Window::cut) {
        match windows.back_mut() {
            Some(last)
                if last.row_group == page.row_group
                    && last.rows.end == page.rows.start
                    && page.rows.end - last.rows.start <= rows_max
                    && last.bytes + page.bytes <= WINDOW_BYTES =>
            {
                last.rows.end = page.rows.end;
                last.bytes += page.bytes;
            }
            _ => windows.push_back(page),
        }
    }
    windows
}

/// One page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) window: Window,
    pub(crate) bounds: Bounds,
}

impl Page {
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Window>() + self.bounds.memory_bytes()
    }
}

/// Within what the versions of a row group lie; `None` when it does not say.
pub(crate) fn group_bounds(group: &RowGroupMetaData) -> Option<Bounds> {
    let statistics = |column: usize| group.columns().get(column)?.statistics();
    let seqs = |column| match statistics(column)? {
        Statistics::Int64(seqs) => {
            Some((CommitSeq(seqs.min_opt()?.cast_unsigned()), CommitSeq(seqs.max_opt()?.cast_unsigned())))
        }
        _ => None,
    };
    let keys = statistics(KEY)?;
    let ((from_min, from_max), (to_min, to_max)) = (seqs(FROM_SEQ)?, seqs(TO_SEQ)?);
    let (key_min, key_max) = (keys.min_bytes_opt()?.to_vec(), keys.max_bytes_opt()?.to_vec());
    Some(Bounds { key_min, key_max, from_min, from_max, to_min, to_max })
}

/// The pages of a row group, the only one in `metadata`, which is the file's `row_group`.
pub(crate) fn read_pages(path: &Path, metadata: &ParquetMetaData, row_group: usize) -> Result<Vec<Page>> {
    Reader { path, metadata }.read(row_group)
}

/// The rows of each page of one column, with about how many bytes their values are when decoded.
type ColumnPages = Vec<(Range<usize>, usize)>;

struct Reader<'m> {
    path: &'m Path,
    metadata: &'m ParquetMetaData,
}

impl Reader<'_> {
    fn damaged(&self, what: &str) -> StoreError {
        StoreError::damaged(self.path, format!("its page index {what}"))
    }

    fn read(&self, row_group: usize) -> Result<Vec<Page>> {
        let rows = self.page_rows(KEY)?;
        let ColumnIndexMetaData::BYTE_ARRAY(keys) = self.column_index(KEY)? else {
            return Err(self.damaged("of _key is of another type"));
        };
        let bytes = self.bytes()?;
        let (from, to) = (self.seqs(FROM_SEQ)?, self.seqs(TO_SEQ)?);
        let bounds = keys.min_values_iter().zip(keys.max_values_iter());
        let mut pages = Vec::with_capacity(rows.len());
        for (rows, (key_min, key_max)) in rows.iter().zip(bounds) {
            let (key_min, key_max) = key_min.zip(key_max).ok_or_else(|| self.damaged("has a page without keys"))?;
            let (from_min, from_max) = within(&from, rows);
            let (to_min, to_max) = within(&to, rows);
            let (key_min, key_max) = (key_min.to_vec(), key_max.to_vec());
            let bounds = Bounds { key_min, key_max, from_min, from_max, to_min, to_max };
            let window = Window { row_group, rows: rows.clone(), bytes: bytes_within(&bytes, rows) };
            pages.push(Page { window, bounds });
        }
        if pages.len() == rows.len() { Ok(pages) } else { Err(self.damaged("does not agree with itself")) }
    }

    /// The pages of a column of commit numbers, with their least and greatest.
    fn seqs(&self, column: usize) -> Result<Vec<(Range<usize>, CommitSeq, CommitSeq)>> {
        let rows = self.page_rows(column)?;
        let ColumnIndexMetaData::INT64(index) = self.column_index(column)? else {
            return Err(self.damaged("of a commit number is of another type"));
        };
        let bounds = index.min_values().iter().zip(index.max_values());
        if bounds.len() != rows.len() {
            return Err(self.damaged("does not agree with itself"));
        }
        let seq = |value: &i64| CommitSeq(value.cast_unsigned());
        Ok(rows.into_iter().zip(bounds).map(|(rows, (min, max))| (rows, seq(min), seq(max))).collect())
    }

    /// The pages of every column, with about how many bytes their values are when decoded. Of the lengths of byte strings
    /// the file keeps a record; a file without it is taken to be hardly compressed.
    fn bytes(&self) -> Result<Vec<ColumnPages>> {
        let incomplete = || self.damaged("is incomplete");
        let indexes = self.metadata.offset_index().and_then(|index| index.first()).ok_or_else(incomplete)?;
        let column_bytes = |(column, index): (usize, &OffsetIndexMetaData)| {
            let lengths = index.unencoded_byte_array_data_bytes();
            let pages = self.page_rows(column)?.into_iter().zip(index.page_locations()).enumerate();
            let pages = pages.map(|(page, (rows, location))| {
                let length = lengths.and_then(|lengths| lengths.get(page)).map_or(0, |length| *length);
                let stored = usize::try_from(location.compressed_page_size).unwrap_or(0);
                let bytes = usize::try_from(length).unwrap_or(0) + rows.len() * VALUE_BYTES;
                (rows, bytes.max(stored))
            });
            Ok(pages.collect())
        };
        indexes.iter().enumerate().map(column_bytes).collect()
    }

    fn column_index(&self, column: usize) -> Result<&ColumnIndexMetaData> {
        let index = self.metadata.column_index().and_then(|index| index.first()?.get(column));
        index.ok_or_else(|| self.damaged("is incomplete"))
    }

    fn page_rows(&self, column: usize) -> Result<Vec<Range<usize>>> {
        let incomplete = || self.damaged("is incomplete");
        let group = self.metadata.row_groups().first().ok_or_else(incomplete)?;
        let index = self.metadata.offset_index().and_then(|index| index.first()?.get(column));
        let pages = index.ok_or_else(incomplete)?.page_locations();
        let starts = pages.iter().map(|page| usize::try_from(page.first_row_index));
        let mut bounds = starts.collect::<Result<Vec<usize>, _>>().map_err(|_| incomplete())?;
        bounds.push(usize::try_from(group.num_rows()).map_err(|_| incomplete())?);
        let rows = bounds.windows(2).filter_map(|pair| Some(*pair.first()?..*pair.last()?));
        let rows: Vec<Range<usize>> = rows.collect();
        if rows.first().is_none_or(|first| first.start != 0) || rows.iter().any(|rows| rows.start >= rows.end) {
            return Err(self.damaged("is not in order"));
        }
        Ok(rows)
    }
}

/// What a value takes beside the bytes of a byte string.
const VALUE_BYTES: usize = 8;

/// What these rows have of the bytes of all columns.
fn bytes_within(columns: &[Vec<(Range<usize>, usize)>], rows: &Range<usize>) -> usize {
    let of_column = |pages: &Vec<(Range<usize>, usize)>| {
        let first = pages.partition_point(|(of, _)| of.end <= rows.start);
        let shared = pages.iter().skip(first).take_while(|(of, _)| of.start < rows.end);
        let bytes = shared.map(|(of, bytes)| {
            let common = of.end.min(rows.end) - of.start.max(rows.start);
            bytes / of.len().max(1) * common
        });
        bytes.sum::<usize>()
    };
    columns.iter().map(of_column).sum()
}

/// The least and the greatest of the pages that share rows with these.
fn within(pages: &[(Range<usize>, CommitSeq, CommitSeq)], rows: &Range<usize>) -> (CommitSeq, CommitSeq) {
    let shared = pages.iter().filter(|(of, _, _)| of.start < rows.end && rows.start < of.end);
    shared.fold((CommitSeq::MAX, CommitSeq::ZERO), |(least, greatest), (_, min, max)| {
        (least.min(*min), greatest.max(*max))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use driftdb_env::Env;
    use driftdb_types::{KeyRange, Stamp, TreeId};

    use super::*;
    use crate::history::{OpenSegment, SegmentWriter};
    use crate::{Period, Version};

    #[test]
    fn windows_are_bounded_in_rows_and_bytes() {
        let page = |row_group, rows, bytes| Window { row_group, rows, bytes };
        let small = [page(0, 0..10, 100), page(0, 10..20, 100), page(0, 20..30, 100), page(1, 0..10, 100)];
        assert_eq!(windows(small.clone(), 20), [page(0, 0..20, 200), page(0, 20..30, 100), page(1, 0..10, 100)]);
        assert_eq!(windows(small.clone(), 0), small);
        let large = windows([page(0, 0..8, 8 * WINDOW_BYTES), page(0, 8..9, 3 * WINDOW_BYTES)], 1_000);
        let rows: Vec<_> = large.into_iter().map(|window| window.rows).collect();
        assert_eq!(rows, (0..9).map(|row| row..row + 1).collect::<Vec<_>>());
    }

    /// Large values that compress well: the file is small, but what is read of it at a time is bounded all the same.
    #[test]
    fn large_values_are_read_a_few_at_a_time() {
        let disk = Env::sim(1).env.disk;
        let dir = Path::new("/history");
        disk.create_dir_all(dir).unwrap();
        let mut writer = SegmentWriter::create(&disk, dir, TreeId(100), 1, 0, None).unwrap();
        let stamp = |n: u64| Stamp { seq: CommitSeq(n), time_us: n.cast_signed() };
        for n in 0..40_u64 {
            let (key, payload) = (Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from(vec![n as u8; 1 << 20]));
            writer.push(Version { key, from: stamp(1), to: Some(stamp(2)), deleted: false, payload }).unwrap();
        }
        writer.finish().unwrap();
        let open = OpenSegment::open(&disk, &dir.join("100-1.parquet"), None).unwrap();
        let all = KeyRange::all();
        let groups = open.groups(&all, Period::All).map(|number| Arc::new(open.group(number).unwrap()));
        let windows = groups.flat_map(|group| group.windows(4_096).into_iter().map(move |of| (Arc::clone(&group), of)));
        let windows: Vec<_> = windows.collect();
        assert!(windows.len() >= 10, "{} windows", windows.len());
        let mut rows = 0;
        for (group, window) in &windows {
            let batches = open.read(group, window).unwrap();
            let bytes: usize = batches.iter().map(|batch| batch.get_array_memory_size()).sum();
            assert!(bytes < 5 * WINDOW_BYTES, "{bytes} bytes in {window:?}");
            for batch in &batches {
                let versions = open.select(batch, &KeyRange::all(), |_, _| true).unwrap();
                assert!(versions.iter().all(|version| version.payload.len() == 1 << 20));
                rows += versions.len();
            }
        }
        assert_eq!(rows, 40);
    }
}
