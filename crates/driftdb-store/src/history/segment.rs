//! An opened history segment, and the bounded cache of them.
//!
//! Opening reads the footer and the page index; the blooms are read when first asked for. All of that stays in memory as
//! long as the cache has room for it, so that a point read touches only the pages it needs.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::{Disk, DiskFile, OpenOptions};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::columns::{FROM_SEQ, KEY, Layout, Rows, SCHEMA_KEY, TO_SEQ};
use super::manifest::Segment;
use super::writer::parquet_error;
use crate::{Result, StoreError, TreeSchema, Version};

/// A file as Parquet reads it.
#[derive(Clone, Debug)]
struct Chunks {
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Chunks {
    type T = ChunkRead;

    fn get_read(&self, start: u64) -> Result<ChunkRead, ParquetError> {
        Ok(ChunkRead { chunks: self.clone(), offset: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // Lengths come from the file: a damaged one must not make us ask for all the memory there is.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of a file of {}", self.len)));
        }
        let mut bytes = vec![0; length];
        self.file.read_at(start, &mut bytes).map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(bytes.into())
    }
}

/// A sequential read of a [`Chunks`].
struct ChunkRead {
    chunks: Chunks,
    offset: u64,
}

impl Read for ChunkRead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.chunks.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let count = out.len().min(left);
        let Some(out) = out.get_mut(..count) else { return Ok(0) };
        self.chunks.file.read_at(self.offset, out)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Rows of a row group that are read together: some pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) row_group: usize,
    pub(crate) rows: Range<usize>,
}

/// One page of the system columns, as the page index describes it. The key bounds may be cut short by the writer, but
/// only downwards for the least and upwards for the greatest.
struct Page<'p> {
    rows: Range<usize>,
    key: (&'p [u8], &'p [u8]),
}

/// A segment whose footer has been read.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    path: std::path::PathBuf,
    chunks: Chunks,
    metadata: ArrowReaderMetadata,
    layout: Layout,
    /// One a row group, once read.
    blooms: Mutex<Vec<Option<Arc<Sbbf>>>>,
    /// About how much memory it takes.
    bytes: usize,
}

impl OpenSegment {
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<OpenSegment> {
        let io = |error| StoreError::io("opening", path, error);
        let file = disk.open(path, OpenOptions::READ).map_err(io)?;
        let len = file.len().map_err(io)?;
        let chunks = Chunks { file, len };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(&chunks, options)
            .map_err(|error| parquet_error("opening", path, error))?;
        let entries = metadata.metadata().file_metadata().key_value_metadata();
        let schema = entries.into_iter().flatten().find(|entry| entry.key == SCHEMA_KEY);
        let schema = match schema.and_then(|entry| entry.value.as_deref()) {
            Some(text) => {
                let table = serde_json::from_str(text)
                    .map_err(|error| StoreError::damaged(path, format!("its table definition: {error}")))?;
                Some(TreeSchema::Rows(Arc::new(table)))
            }
            None => None,
        };
        let layout = Layout::new(schema);
        let same = layout.arrow.fields().iter().zip(metadata.schema().fields());
        if layout.arrow.fields().len() != metadata.schema().fields().len()
            || !same.clone().all(|(known, found)| known.data_type() == found.data_type())
        {
            return Err(StoreError::damaged(path, "its columns are not those of its table definition"));
        }
        let row_groups = metadata.metadata().num_row_groups();
        let bloom_bytes: i64 = metadata
            .metadata()
            .row_groups()
            .iter()
            .filter_map(|group| group.columns().get(KEY)?.bloom_filter_length().map(i64::from))
            .sum();
        let bytes = metadata.metadata().memory_size() + usize::try_from(bloom_bytes).unwrap_or(0) + 4096;
        Ok(OpenSegment {
            path: path.to_owned(),
            chunks,
            metadata,
            layout,
            blooms: Mutex::new(vec![None; row_groups]),
            bytes,
        })
    }

    pub(crate) fn row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Whether the row group may hold the key, by its bloom filter.
    pub(crate) fn may_hold(&self, row_group: usize, key: &[u8]) -> Result<bool> {
        let known = self.blooms.lock().get(row_group).cloned().flatten();
        let bloom = match known {
            Some(bloom) => bloom,
            None => {
                let builder = self.builder();
                let read = builder.get_row_group_column_bloom_filter(row_group, KEY);
                let Some(bloom) = read.map_err(|error| parquet_error("reading", &self.path, error))? else {
                    return Ok(true);
                };
                let bloom = Arc::new(bloom);
                if let Some(slot) = self.blooms.lock().get_mut(row_group) {
                    *slot = Some(Arc::clone(&bloom));
                }
                bloom
            }
        };
        Ok(bloom.check(key))
    }

    /// The pages of a row group for which `admits_key(min, max)` and `admits_seqs(from min..=max, to min..=max)` hold.
    pub(crate) fn pages(
        &self,
        row_group: usize,
        admits_key: impl Fn(&[u8], &[u8]) -> bool,
        admits_from: impl Fn(i64, i64) -> bool,
        admits_to: impl Fn(i64, i64) -> bool,
    ) -> Result<Vec<Range<usize>>> {
        let from = self.seq_ranges(row_group, FROM_SEQ, admits_from)?;
        let to = self.seq_ranges(row_group, TO_SEQ, admits_to)?;
        let overlaps = |ranges: &[Range<usize>], rows: &Range<usize>| {
            let after = ranges.partition_point(|range| range.end <= rows.start);
            ranges.get(after).is_some_and(|range| range.start < rows.end)
        };
        let pages = self.key_pages(row_group)?.into_iter();
        Ok(pages
            .filter(|page| admits_key(page.key.0, page.key.1) && overlaps(&from, &page.rows) && overlaps(&to, &page.rows))
            .map(|page| page.rows)
            .collect())
    }

    fn key_pages(&self, row_group: usize) -> Result<Vec<Page<'_>>> {
        let rows = self.page_rows(row_group, KEY)?;
        let ColumnIndexMetaData::BYTE_ARRAY(index) = self.column_index(row_group, KEY)? else {
            return Err(self.damaged("its page index of _key is of another type"));
        };
        // The accessors by position panic on a page that is not there.
        if index.num_pages() != rows.len() as u64 {
            return Err(self.damaged("its page indexes do not agree"));
        }
        rows.into_iter()
            .enumerate()
            .map(|(page, rows)| {
                let key = index.min_value(page).zip(index.max_value(page));
                key.map(|key| Page { rows, key }).ok_or_else(|| self.damaged("a page without keys"))
            })
            .collect()
    }

    /// The rows of the pages whose least and greatest value are admitted.
    fn seq_ranges(
        &self,
        row_group: usize,
        column: usize,
        admits: impl Fn(i64, i64) -> bool,
    ) -> Result<Vec<Range<usize>>> {
        let rows = self.page_rows(row_group, column)?;
        let ColumnIndexMetaData::INT64(index) = self.column_index(row_group, column)? else {
            return Err(self.damaged("its page index of a commit number is of another type"));
        };
        let bounds = index.min_values().iter().zip(index.max_values());
        if bounds.len() != rows.len() {
            return Err(self.damaged("its page indexes do not agree"));
        }
        Ok(rows.into_iter().zip(bounds).filter(|(_, (min, max))| admits(**min, **max)).map(|(rows, _)| rows).collect())
    }

    fn column_index(&self, row_group: usize, column: usize) -> Result<&ColumnIndexMetaData> {
        let index = self.metadata.metadata().column_index();
        index
            .and_then(|index| index.get(row_group)?.get(column))
            .ok_or_else(|| self.damaged("its page index is incomplete"))
    }

    fn page_rows(&self, row_group: usize, column: usize) -> Result<Vec<Range<usize>>> {
        let metadata = self.metadata.metadata();
        let incomplete = || self.damaged("its page index is incomplete");
        let group = metadata.row_groups().get(row_group).ok_or_else(incomplete)?;
        let index = metadata.offset_index().and_then(|index| index.get(row_group)?.get(column)).ok_or_else(incomplete)?;
        let starts = index.page_locations().iter().map(|page| usize::try_from(page.first_row_index));
        let mut bounds = starts.collect::<Result<Vec<usize>, _>>().map_err(|_| incomplete())?;
        bounds.push(usize::try_from(group.num_rows()).map_err(|_| incomplete())?);
        let rows: Vec<Range<usize>> = bounds.windows(2).filter_map(|pair| Some(*pair.first()?..*pair.last()?)).collect();
        if rows.iter().any(|rows| rows.start >= rows.end) {
            return Err(self.damaged("its page index is not in order"));
        }
        Ok(rows)
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::damaged(&self.path, what)
    }

    fn builder(&self) -> ParquetRecordBatchReaderBuilder<Chunks> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks.clone(), self.metadata.clone())
    }

    /// The versions of a window for which `admits` holds, in order. Only the pages that hold the window are read.
    pub(crate) fn read(&self, window: &Window, admits: impl Fn(&Rows<'_>, usize) -> Option<bool>) -> Result<Vec<Version>> {
        let fail = |error| parquet_error("reading", &self.path, error);
        let count = window.rows.len();
        let selection = RowSelection::from(vec![RowSelector::skip(window.rows.start), RowSelector::select(count)]);
        let reader = self
            .builder()
            .with_row_groups(vec![window.row_group])
            .with_row_selection(selection)
            .with_batch_size(count)
            .build()
            .map_err(fail)?;
        let mut versions = Vec::new();
        let mut seen = 0;
        for batch in reader {
            let batch = batch.map_err(|error| fail(ParquetError::from(error)))?;
            let rows = Rows::new(&self.layout, &batch);
            seen += rows.len();
            for row in 0..rows.len() {
                if admits(&rows, row).ok_or_else(|| self.damaged("a system column is missing"))? {
                    versions.push(rows.version(row).map_err(|what| self.damaged(&what))?);
                }
            }
        }
        if seen != count {
            return Err(self.damaged(&format!("{seen} rows where its index promises {count}")));
        }
        Ok(versions)
    }

    /// Every window of the file, of at most `rows_max` rows.
    pub(crate) fn windows(&self, rows_max: usize) -> Vec<Window> {
        let mut windows = Vec::new();
        for (row_group, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let starts = (0..rows).step_by(rows_max.max(1));
            windows.extend(starts.map(|start| Window { row_group, rows: start..rows.min(start + rows_max) }));
        }
        windows
    }
}

/// Opened segments, bounded by the memory they take. Views share it.
#[derive(Debug)]
pub(crate) struct SegmentCache {
    disk: Arc<dyn Disk>,
    bytes_max: usize,
    /// Serialises only the bookkeeping: files are opened outside it.
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    open: HashMap<u64, (Arc<OpenSegment>, u64)>,
    bytes: usize,
    /// Counts the uses: the segment with the smallest is the one used longest ago.
    clock: u64,
}

/// However little memory they take, each holds a file handle.
const OPEN_MAX: usize = 256;

impl SegmentCache {
    pub(crate) fn new(disk: Arc<dyn Disk>, bytes_max: usize) -> SegmentCache {
        SegmentCache { disk, bytes_max, state: Mutex::default() }
    }

    /// The segment, opened now if it is not yet.
    pub(crate) fn open(&self, segment: &Segment) -> Result<Arc<OpenSegment>> {
        let number = segment.meta.number;
        {
            let mut state = self.state.lock();
            state.clock += 1;
            let clock = state.clock;
            if let Some((open, used)) = state.open.get_mut(&number) {
                *used = clock;
                return Ok(Arc::clone(open));
            }
        }
        let open = Arc::new(OpenSegment::open(&self.disk, &segment.path)?);
        let mut state = self.state.lock();
        state.clock += 1;
        let clock = state.clock;
        if let Some((replaced, _)) = state.open.insert(number, (Arc::clone(&open), clock)) {
            state.bytes -= replaced.bytes;
        }
        state.bytes += open.bytes;
        while (state.bytes > self.bytes_max || state.open.len() > OPEN_MAX) && state.open.len() > 1 {
            let Some(oldest) = state.open.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number) else {
                break;
            };
            state.forget(oldest);
        }
        Ok(open)
    }

    /// Lets go of a segment whose file goes away.
    pub(crate) fn forget(&self, number: u64) {
        self.state.lock().forget(number);
    }
}

impl CacheState {
    fn forget(&mut self, number: u64) {
        if let Some((open, _)) = self.open.remove(&number) {
            self.bytes -= open.bytes;
        }
    }
}
