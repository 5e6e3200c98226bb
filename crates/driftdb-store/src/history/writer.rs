//! Writing a history segment.
//!
//! The file is complete and synced before anything names it; until the manifest does, it does not exist. Memory is
//! bounded by one row group.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use driftdb_env::{Disk, DiskFile, OpenOptions};
use driftdb_types::{Digest, Digester, TreeId};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::columns::{FROM_SEQ, KEY, Layout, SCHEMA_KEY};
use super::manifest::{Bounds, SegmentMeta, file_name};
use crate::{Result, StoreError, TreeSchema, Version};

/// Rows of a page, in every column: what a point read decodes.
pub(crate) const PAGE_ROWS: usize = 1024;
/// A row group ends at this many rows or bytes.
const ROW_GROUP_ROWS: usize = 64 * PAGE_ROWS;
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Pending rows are turned into columns at this many bytes even if they are not a page.
const PENDING_BYTES: usize = 4 << 20;
/// A dictionary is read for every point read: keep it small.
const DICTIONARY_BYTES: usize = 64 << 10;
const WRITE_BYTES: usize = 256 << 10;

/// What Parquet writes to: our disk, in large pieces, with checksum and digest of all of it.
struct Sink {
    file: Arc<dyn DiskFile>,
    offset: u64,
    crc: u32,
    digester: Digester,
    buffer: Vec<u8>,
}

impl Sink {
    fn drain(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_at(self.offset, &self.buffer)?;
            self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
            self.digester.update(&self.buffer);
            self.offset += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.drain()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A segment being written. Versions come in the order of (key, from).
pub(crate) struct SegmentWriter {
    disk: Arc<dyn Disk>,
    dir: std::path::PathBuf,
    path: std::path::PathBuf,
    layout: Layout,
    writer: ArrowWriter<Sink>,
    pending: Vec<Version>,
    pending_bytes: usize,
    meta: SegmentMeta,
}

impl SegmentWriter {
    /// Begins the file of segment `number`.
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        tree: TreeId,
        number: u64,
        level: u32,
        schema: Option<TreeSchema>,
    ) -> Result<SegmentWriter> {
        let path = dir.join(file_name(tree, number));
        let layout = Layout::new(schema);
        let file = disk.open(&path, OpenOptions::TRUNCATE).map_err(|error| StoreError::io("creating", &path, error))?;
        let sink =
            Sink { file, offset: 0, crc: 0, digester: Digester::default(), buffer: Vec::with_capacity(WRITE_BYTES) };
        let properties = properties(&layout)?;
        let writer = ArrowWriter::try_new(sink, Arc::clone(&layout.arrow), Some(properties))
            .map_err(|error| parquet_error("writing", &path, error))?;
        let meta =
            SegmentMeta { number, tree, rows: 0, bytes: 0, crc: 0, digest: Digest::ZERO, level, bounds: Bounds::NONE };
        Ok(SegmentWriter {
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            path,
            layout,
            writer,
            pending: Vec::with_capacity(PAGE_ROWS),
            pending_bytes: 0,
            meta,
        })
    }

    /// Adds a closed version.
    pub(crate) fn push(&mut self, version: Version) -> Result<()> {
        let Some(to) = version.to else {
            return Err(StoreError::Internal(format!("an open version for {}", self.path.display())));
        };
        let meta = &mut self.meta;
        if meta.rows == 0 {
            meta.bounds.key_min = version.key.to_vec();
        }
        meta.rows += 1;
        meta.bounds.add_period(version.from.seq, to.seq);
        self.pending_bytes += version.key.len() + self.layout.bytes_of(&version.payload);
        self.pending.push(version);
        if self.pending.len() >= PAGE_ROWS || self.pending_bytes >= PENDING_BYTES {
            self.write_pending()?;
        }
        Ok(())
    }

    fn write_pending(&mut self) -> Result<()> {
        let Some(last) = self.pending.last() else { return Ok(()) };
        self.meta.bounds.key_max = last.key.to_vec();
        let fail = |error| parquet_error("writing", &self.path, error);
        let batch = self.layout.batch(&self.pending).map_err(|error| fail(error.into()))?;
        self.writer.write(&batch).map_err(fail)?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush().map_err(fail)?;
        }
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Completes the file and makes it and its name durable.
    pub(crate) fn finish(mut self) -> Result<SegmentMeta> {
        self.write_pending()?;
        let mut sink = self.writer.into_inner().map_err(|error| parquet_error("writing", &self.path, error))?;
        sink.drain().map_err(|error| StoreError::io("writing", &self.path, error))?;
        sink.file.sync_all().map_err(|error| StoreError::sync(&self.path, error))?;
        self.disk.sync_dir(&self.dir).map_err(|error| StoreError::sync(&self.dir, error))?;
        self.meta.bytes = sink.offset;
        self.meta.crc = sink.crc;
        self.meta.digest = sink.digester.finish();
        Ok(self.meta)
    }
}

pub(super) fn properties(layout: &Layout) -> Result<WriterProperties> {
    let zstd = ZstdLevel::try_new(3).map_err(|error| StoreError::Internal(error.to_string()))?;
    let name = |place: usize| {
        let field = layout.arrow.fields().get(place);
        ColumnPath::from(field.map(|field| field.name().clone()).unwrap_or_default())
    };
    let ascending =
        |column_idx: usize| SortingColumn { column_idx: column_idx as i32, descending: false, nulls_first: false };
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_created_by(concat!("driftdb ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_write_batch_size(PAGE_ROWS)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_sorting_columns(Some(vec![ascending(KEY), ascending(FROM_SEQ)]))
        .set_column_bloom_filter_enabled(name(KEY), true)
        .set_column_bloom_filter_fpp(name(KEY), 0.01)
        .set_column_bloom_filter_max_ndv(name(KEY), ROW_GROUP_ROWS as u64);
    for place in [KEY, FROM_SEQ, super::columns::FROM_TIME, super::columns::TO_SEQ, super::columns::TO_TIME] {
        properties = properties.set_column_dictionary_enabled(name(place), false);
    }
    if let Some(table) = &layout.table {
        let text = serde_json::to_string(table.as_ref()).map_err(|error| StoreError::Internal(error.to_string()))?;
        properties = properties.set_key_value_metadata(Some(vec![KeyValue::new(SCHEMA_KEY.to_owned(), text)]));
    }
    Ok(properties.build())
}

/// What Parquet's error means here; the disk's own error is inside it where there is one.
pub(crate) fn parquet_error(what: &'static str, path: &Path, error: parquet::errors::ParquetError) -> StoreError {
    match error {
        parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => StoreError::io(what, path, *error),
            Err(other) => StoreError::damaged(path, format!("{what}: {other}")),
        },
        other => StoreError::damaged(path, format!("{what}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use driftdb_env::Env;
    use driftdb_types::{Column, ColumnId, CommitSeq, DataType, KeyRange, Stamp, TableSchema, Value, encode_row};

    use super::*;
    use crate::Period;
    use crate::history::OpenSegment;

    fn column(id: u16, data_type: DataType, missing: Option<String>) -> Column {
        let name = format!("c{id}");
        Column { id: ColumnId(id), name, data_type, not_null: false, default: None, missing, dropped: false }
    }

    /// A column was added with a large default: the rows of before are small, but become large here.
    #[test]
    fn what_rows_lack_counts_too() {
        const LARGE: usize = 3 << 20;
        let mut table = TableSchema {
            id: TreeId(100),
            name: "t".to_owned(),
            version: 1,
            columns: vec![column(0, DataType::Int4, None)],
            primary_key: None,
            indexes: Vec::new(),
            options: Vec::new(),
            retention: None,
        };
        let payload = Bytes::from(encode_row(&table, &[Value::Int4(1)]).unwrap());
        table.columns.push(column(1, DataType::Text, Some("x".repeat(LARGE))));
        table.columns.push(column(2, DataType::Int4, Some("7".to_owned())));
        let disk = Env::sim(1).env.disk;
        let dir = Path::new("/history");
        disk.create_dir_all(dir).unwrap();
        let schema = Some(TreeSchema::Rows(Arc::new(table)));
        let mut writer = SegmentWriter::create(&disk, dir, TreeId(100), 1, 0, schema).unwrap();
        let stamp = |n: u64| Stamp { seq: CommitSeq(n), time_us: n.cast_signed() };
        for n in 0..12_u32 {
            let key = Bytes::from(n.to_be_bytes().to_vec());
            let version = Version { key, from: stamp(1), to: Some(stamp(2)), deleted: false, payload: payload.clone() };
            writer.push(version).unwrap();
            assert!(writer.pending.len() * LARGE <= 2 * PENDING_BYTES, "{} rows wait", writer.pending.len());
        }
        writer.finish().unwrap();
        let open = OpenSegment::open(&disk, &dir.join("100-1.parquet"), None).unwrap();
        let all = KeyRange::all();
        let groups = open.groups(&all, Period::All);
        let windows: Vec<_> = groups.flat_map(|number| open.group(number).unwrap().windows(1_000)).collect();
        let rows: usize = windows.iter().map(|window| window.rows.len()).sum();
        assert_eq!(rows, 12);
        assert!(windows.iter().all(|window| window.rows.len() <= 2), "{windows:?}");
    }
}
