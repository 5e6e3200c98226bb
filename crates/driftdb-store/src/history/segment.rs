//! An opened history segment: its footer and page index are in memory, its blooms once they were asked for, so that a
//! point read touches only the pages it needs.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use driftdb_env::Disk;
use driftdb_types::{CommitSeq, KeyRange, TableSchema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

use super::blocks::{BlockSums, Blocks};
use super::columns::{KEY, Layout, Rows, SCHEMA_KEY};
use super::pages::{Page, Window, read_pages, windows};
use super::writer::PAGE_ROWS;
use crate::{Period, Result, StoreError, TreeSchema, Version};

/// A segment whose footer has been read.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    path: std::path::PathBuf,
    blocks: Blocks,
    metadata: ArrowReaderMetadata,
    layout: Layout,
    pages: Vec<Page>,
    /// One a row group, once read; `None` within when the file has none.
    blooms: Vec<OnceLock<Option<Sbbf>>>,
    /// About how much memory it takes.
    pub(super) bytes: usize,
}

impl OpenSegment {
    /// Opens a file, which with `sums` was verified before.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path, sums: Option<BlockSums>) -> Result<OpenSegment> {
        let blocks = Blocks::open(disk, path, sums)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(&blocks.reader(), options)
            .map_err(|error| blocks.error("opening", path, error))?;
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
        let pages = read_pages(path, metadata.metadata())?;
        let bloom_bytes: i64 = metadata
            .metadata()
            .row_groups()
            .iter()
            .filter_map(|group| group.columns().get(KEY)?.bloom_filter_length().map(i64::from))
            .sum();
        let page_bytes: usize = pages.iter().map(Page::memory_bytes).sum();
        let bytes = metadata.metadata().memory_size() + page_bytes + usize::try_from(bloom_bytes).unwrap_or(0) + 4096;
        Ok(OpenSegment {
            path: path.to_owned(),
            blocks,
            layout,
            blooms: metadata.metadata().row_groups().iter().map(|_| OnceLock::new()).collect(),
            bytes,
            metadata,
            pages,
        })
    }

    /// The definition of the table whose rows it holds, as it was when the file was written.
    pub(crate) fn table(&self) -> Option<&TableSchema> {
        self.layout.table.as_deref()
    }

    /// Whether the row group may hold the key, by its bloom filter.
    pub(crate) fn may_hold(&self, row_group: usize, key: &[u8]) -> Result<bool> {
        let Some(slot) = self.blooms.get(row_group) else { return Ok(false) };
        if let Some(bloom) = slot.get() {
            return Ok(bloom.as_ref().is_none_or(|bloom| bloom.check(key)));
        }
        let blocks = self.blocks.clone();
        let read = self.builder(&blocks).get_row_group_column_bloom_filter(row_group, KEY);
        let bloom = read.map_err(|error| blocks.error("reading", &self.path, error))?;
        Ok(slot.get_or_init(|| bloom).as_ref().is_none_or(|bloom| bloom.check(key)))
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

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::damaged(&self.path, what)
    }

    fn builder(&self, blocks: &Blocks) -> ParquetRecordBatchReaderBuilder<Blocks> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(blocks.reader(), self.metadata.clone())
    }

    /// The rows of a window, as columns. Only the pages that hold the window are read.
    pub(crate) fn read(&self, window: &Window) -> Result<Vec<RecordBatch>> {
        let blocks = self.blocks.clone();
        let fail = |error| blocks.error("reading", &self.path, error);
        let count = window.rows.len();
        let selection = RowSelection::from(vec![RowSelector::skip(window.rows.start), RowSelector::select(count)]);
        let reader = self
            .builder(&blocks)
            .with_row_groups(vec![window.row_group])
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

    /// Every window of the file, of at most `rows_max` rows.
    pub(crate) fn windows(&self, rows_max: usize) -> VecDeque<Window> {
        windows(self.pages.iter().map(|page| page.window.clone()), rows_max)
    }
}
