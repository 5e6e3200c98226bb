//! The pages of a segment, as its page index describes them.
//!
//! They are in key order through the whole file. The key bounds may have been cut short by the writer, but only downwards
//! for the least and upwards for the greatest. Should another column's pages not begin where those of the keys do, the
//! bounds of all it has there count.

use std::ops::Range;
use std::path::Path;

use driftdb_types::CommitSeq;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::columns::{FROM_SEQ, KEY, TO_SEQ};
use super::manifest::Bounds;
use crate::{Result, StoreError};

/// Rows of a row group that are read together: some pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) row_group: usize,
    pub(crate) rows: Range<usize>,
}

/// One page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) window: Window,
    pub(crate) bounds: Bounds,
}

impl Page {
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Page>() + self.bounds.key_min.len() + self.bounds.key_max.len()
    }
}

/// The pages of a file.
pub(crate) fn read_pages(path: &Path, metadata: &ParquetMetaData) -> Result<Vec<Page>> {
    let reader = Reader { path, metadata };
    let mut pages = Vec::new();
    for row_group in 0..metadata.num_row_groups() {
        reader.read_group(row_group, &mut pages)?;
    }
    Ok(pages)
}

struct Reader<'m> {
    path: &'m Path,
    metadata: &'m ParquetMetaData,
}

impl Reader<'_> {
    fn damaged(&self, what: &str) -> StoreError {
        StoreError::damaged(self.path, format!("its page index {what}"))
    }

    fn read_group(&self, row_group: usize, pages: &mut Vec<Page>) -> Result<()> {
        let rows = self.page_rows(row_group, KEY)?;
        let ColumnIndexMetaData::BYTE_ARRAY(keys) = self.column_index(row_group, KEY)? else {
            return Err(self.damaged("of _key is of another type"));
        };
        let (from, to) = (self.seqs(row_group, FROM_SEQ)?, self.seqs(row_group, TO_SEQ)?);
        let bounds = keys.min_values_iter().zip(keys.max_values_iter());
        let mut count = 0;
        for (rows, (key_min, key_max)) in rows.iter().zip(bounds) {
            let (key_min, key_max) = key_min.zip(key_max).ok_or_else(|| self.damaged("has a page without keys"))?;
            let (from_min, from_max) = within(&from, rows);
            let (to_min, to_max) = within(&to, rows);
            let (key_min, key_max) = (key_min.to_vec(), key_max.to_vec());
            let bounds = Bounds { key_min, key_max, from_min, from_max, to_min, to_max };
            pages.push(Page { window: Window { row_group, rows: rows.clone() }, bounds });
            count += 1;
        }
        if count == rows.len() { Ok(()) } else { Err(self.damaged("does not agree with itself")) }
    }

    /// The pages of a column of commit numbers, with their least and greatest.
    fn seqs(&self, row_group: usize, column: usize) -> Result<Vec<(Range<usize>, CommitSeq, CommitSeq)>> {
        let rows = self.page_rows(row_group, column)?;
        let ColumnIndexMetaData::INT64(index) = self.column_index(row_group, column)? else {
            return Err(self.damaged("of a commit number is of another type"));
        };
        let bounds = index.min_values().iter().zip(index.max_values());
        if bounds.len() != rows.len() {
            return Err(self.damaged("does not agree with itself"));
        }
        let seq = |value: &i64| CommitSeq(value.cast_unsigned());
        Ok(rows.into_iter().zip(bounds).map(|(rows, (min, max))| (rows, seq(min), seq(max))).collect())
    }

    fn column_index(&self, row_group: usize, column: usize) -> Result<&ColumnIndexMetaData> {
        let index = self.metadata.column_index().and_then(|index| index.get(row_group)?.get(column));
        index.ok_or_else(|| self.damaged("is incomplete"))
    }

    fn page_rows(&self, row_group: usize, column: usize) -> Result<Vec<Range<usize>>> {
        let incomplete = || self.damaged("is incomplete");
        let group = self.metadata.row_groups().get(row_group).ok_or_else(incomplete)?;
        let index = self.metadata.offset_index().and_then(|index| index.get(row_group)?.get(column));
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

/// The least and the greatest of the pages that share rows with these.
fn within(pages: &[(Range<usize>, CommitSeq, CommitSeq)], rows: &Range<usize>) -> (CommitSeq, CommitSeq) {
    let shared = pages.iter().filter(|(of, _, _)| of.start < rows.end && rows.start < of.end);
    shared.fold((CommitSeq::MAX, CommitSeq::ZERO), |(least, greatest), (_, min, max)| {
        (least.min(*min), greatest.max(*max))
    })
}
