//! An opened history segment: its footer is in memory. What finds the pages of a row group, its page index and its bloom filter,
//! is read when versions of it are looked for: they are as much as a fifteenth of the file.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use driftdb_env::Disk;
use driftdb_types::{CommitSeq, KeyRange, TableSchema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::blocks::{BlockSums, Blocks};
use super::columns::{KEY, Layout, Rows, SCHEMA_KEY};
use super::manifest::Bounds;
use super::pages::{Page, Window, group_bounds, read_pages, windows};
use super::writer::PAGE_ROWS;
use crate::{Period, Result, StoreError, TreeSchema, Version};

/// What the decoder takes for each column of a row group, beside the page index.
const COLUMN_BYTES: usize = 256;

/// A segment whose footer has been read.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    path: std::path::PathBuf,
    blocks: Blocks,
    metadata: Arc<ParquetMetaData>,
    schema: SchemaRef,
    layout: Layout,
    /// Within what the versions of each row group lie.
    bounds: Vec<Bounds>,
    /// About how much memory it takes.
    pub(super) bytes: usize,
}

/// A row group of a segment, and where its pages are.
#[derive(Debug)]
pub(crate) struct Group {
    /// Of this row group alone.
    metadata: ArrowReaderMetadata,
    pages: Vec<Page>,
    /// Once read; `None` within when the file has none.
    bloom: OnceLock<Option<Sbbf>>,
    /// About how much memory it takes, its bloom filter included.
    pub(super) bytes: usize,
}

impl OpenSegment {
    /// Opens a file, which with `sums` was verified before.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path, sums: Option<BlockSums>) -> Result<OpenSegment> {
        let blocks = Blocks::open(disk, path, sums)?;
        let footer = ArrowReaderMetadata::load(&blocks.reader(), ArrowReaderOptions::new())
            .map_err(|error| blocks.error("opening", path, error))?;
        let metadata = Arc::clone(footer.metadata());
        let entries = metadata.file_metadata().key_value_metadata();
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
        let same = layout.arrow.fields().iter().zip(footer.schema().fields());
        if layout.arrow.fields().len() != footer.schema().fields().len()
            || !same.clone().all(|(known, found)| known.data_type() == found.data_type())
        {
            return Err(StoreError::damaged(path, "its columns are not those of its table definition"));
        }
        let bounds: Option<Vec<Bounds>> = metadata.row_groups().iter().map(group_bounds).collect();
        let bounds = bounds.ok_or_else(|| StoreError::damaged(path, "it does not say what is in its row groups"))?;
        let bounds_bytes: usize = bounds.iter().map(Bounds::memory_bytes).sum();
        Ok(OpenSegment {
            path: path.to_owned(),
            blocks,
            schema: Arc::clone(footer.schema()),
            layout,
            bytes: metadata.memory_size() + bounds_bytes + 4096,
            metadata,
            bounds,
        })
    }

    /// The definition of the table whose rows it holds, as it was when the file was written.
    pub(crate) fn table(&self) -> Option<&TableSchema> {
        self.layout.table.as_deref()
    }

    /// The row groups that may hold a version of a key of the range that belongs to the period, in order.
    pub(crate) fn groups(&self, range: &KeyRange, period: Period) -> impl DoubleEndedIterator<Item = usize> {
        let bounds = self.bounds.iter().enumerate();
        bounds.filter(move |(_, bounds)| bounds.may_hold(range, period)).map(|(number, _)| number)
    }

    /// Reads where the pages of a row group are.
    pub(crate) fn group(&self, number: usize) -> Result<Group> {
        let fail = |error| self.blocks.error("reading", &self.path, error);
        let row_group = self.metadata.row_groups().get(number).ok_or_else(|| self.damaged("a row group is missing"))?;
        let file = self.metadata.file_metadata();
        // Without the table's definition, which every row group would have a copy of.
        let file = FileMetaData::new(
            file.version(),
            row_group.num_rows(),
            None,
            None,
            file.schema_descr_ptr(),
            file.column_orders().cloned(),
        );
        let metadata = ParquetMetaData::new(file, vec![row_group.clone()]);
        let mut reader =
            ParquetMetaDataReader::new_with_metadata(metadata).with_page_index_policy(PageIndexPolicy::Required);
        reader.read_page_indexes(&self.blocks.reader()).map_err(fail)?;
        let metadata = reader.finish().map_err(fail)?;
        let pages = read_pages(&self.path, &metadata, number)?;
        // The pages say all that the decoder does not.
        let metadata = metadata.into_builder().set_column_index(None).build();
        let columns = row_group.columns();
        let bloom_bytes = columns.get(KEY).and_then(|keys| keys.bloom_filter_length()).unwrap_or(0);
        let bytes = metadata.memory_size()
            + pages.iter().map(Page::memory_bytes).sum::<usize>()
            + usize::try_from(bloom_bytes).unwrap_or(0)
            + columns.len() * COLUMN_BYTES;
        let options = ArrowReaderOptions::new().with_schema(Arc::clone(&self.schema));
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(fail)?;
        Ok(Group { metadata, pages, bloom: OnceLock::new(), bytes })
    }

    /// Whether the row group may hold the key, by its bloom filter.
    pub(crate) fn may_hold(&self, group: &Group, key: &[u8]) -> Result<bool> {
        if let Some(bloom) = group.bloom.get() {
            return Ok(bloom.as_ref().is_none_or(|bloom| bloom.check(key)));
        }
        let blocks = self.blocks.clone();
        let read = group.builder(&blocks).get_row_group_column_bloom_filter(0, KEY);
        let bloom = read.map_err(|error| blocks.error("reading", &self.path, error))?;
        Ok(group.bloom.get_or_init(|| bloom).as_ref().is_none_or(|bloom| bloom.check(key)))
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::damaged(&self.path, what)
    }

    /// The rows of a window of the row group, as columns. Only the pages that hold the window are read.
    pub(crate) fn read(&self, group: &Group, window: &Window) -> Result<Vec<RecordBatch>> {
        let blocks = self.blocks.clone();
        let fail = |error| blocks.error("reading", &self.path, error);
        let count = window.rows.len();
        let selection = RowSelection::from(vec![RowSelector::skip(window.rows.start), RowSelector::select(count)]);
        let reader = group
            .builder(&blocks)
            .with_row_selection(selection)
            .with_batch_size(count.min(PAGE_ROWS))
            .build()
            .map_err(fail)?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| fail(ParquetError::from(error)))?;
        let seen: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if seen != count {
            return Err(self.damaged(&format!("{seen} rows where its index promises {count}")));
        }
        Ok(batches)
    }

    /// The versions of a batch whose keys are in the range and for which `admits(from, to)` holds, in order.
    pub(crate) fn select(
        &self,
        batch: &RecordBatch,
        range: &KeyRange,
        admits: impl Fn(CommitSeq, CommitSeq) -> bool,
    ) -> Result<Vec<Version>> {
        let rows = Rows::new(&self.layout, batch);
        let missing = || self.damaged("a system column is missing");
        let mut versions = Vec::new();
        for row in rows.first_in(range).ok_or_else(missing)?..rows.len() {
            let key = rows.key(row).ok_or_else(missing)?;
            if !range.contains(key) {
                break;
            }
            let (from, to) = rows.began(row).zip(rows.ended(row)).ok_or_else(missing)?;
            if admits(from, to) {
                versions.push(rows.version(row).map_err(|what| self.damaged(&what))?);
            }
        }
        Ok(versions)
    }
}

impl Group {
    fn builder(&self, blocks: &Blocks) -> ParquetRecordBatchReaderBuilder<Blocks> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(blocks.reader(), self.metadata.clone())
    }

    /// The pages that may hold a version of a key of the range that belongs to the period, in order.
    pub(crate) fn pages(&self, range: &KeyRange, period: Period) -> impl Iterator<Item = Window> {
        let first = self.pages.partition_point(|page| page.bounds.is_before(range));
        let pages = self.pages.get(first..).unwrap_or_default().iter();
        pages
            .take_while(|page| !page.bounds.is_after(range))
            .filter(move |page| page.bounds.may_hold(range, period))
            .map(|page| page.window.clone())
    }

    /// All of its windows, of at most `rows_max` rows.
    pub(crate) fn windows(&self, rows_max: usize) -> VecDeque<Window> {
        windows(self.pages.iter().map(|page| page.window.clone()), rows_max)
    }
}
