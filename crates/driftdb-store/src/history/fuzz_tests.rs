//! Fuzz targets: the manifest's entries, and Parquet files that are almost segments.
//!
//! Of a file no checksum is compared, as when the doctor reads what is known to be damaged. Some of the files are not
//! compressed, so that values change and not only what they are packed in.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::{Disk, Env, OpenOptions};
use driftdb_fuzz::{Target, excuse_libraries};
use driftdb_types::{
    Column, ColumnId, CommitSeq, DataType, Decimal, Digest, Interval, KeyRange, Stamp, TableSchema, TreeId, Value,
    decode_row, encode_row,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::columns::Layout;
use super::writer::properties;
use super::*;
use crate::{Checkpoint, Period, Result, StoreError, TreeSchema, Version};

const DIR: &str = "/history";
const TREE: TreeId = TreeId(100);

fn target(name: &'static str, rounds: u64, examples: fn() -> Vec<(String, Vec<u8>)>, run: fn(&[u8]) -> bool) -> Target {
    const TOKENS: &[&str] = &[
        "\"dropped\":true",
        "\"missing\":\"1\"",
        "\"Text\"",
        "\"Int2\"",
        "{\"Numeric\":[39,40]}",
        "{\"Numeric\":null}",
        "{\"Char\":0}",
        "null",
        "{}",
        "[]",
        "\"00\"",
        "\"0\"",
        "18446744073709551615",
        "-1",
        "1e400",
        "PAR1",
        "\\u0000",
        "é",
    ];
    let crate_directory = env!("CARGO_MANIFEST_DIR");
    Target { name, crate_directory, rounds, memory_bytes_max: 64 << 20, rigid: false, tokens: TOKENS, examples, run }
}

#[test]
fn fuzz_manifest() {
    target("manifest", 40_000, entries, decode_as_entry).fuzz();
}

#[test]
fn fuzz_history_segment() {
    Target { rigid: true, ..target("history_segment", 8_000, files, read_as_segment) }.fuzz();
}

/// Which entry it is, then its JSON.
fn entries() -> Vec<(String, Vec<u8>)> {
    fn entry(kind: u8, value: &impl Serialize) -> Vec<u8> {
        [vec![kind], serde_json::to_vec(value).unwrap()].concat()
    }
    let bounds = Bounds {
        key_min: (0..24).collect(),
        key_max: vec![0xFF, 0, 7],
        from_min: CommitSeq(1),
        from_max: CommitSeq(8),
        to_min: CommitSeq(2),
        to_max: CommitSeq(9),
    };
    let meta = SegmentMeta {
        number: 17,
        tree: TREE,
        rows: 3,
        bytes: 4711,
        crc: 0xA1B2_C3D4,
        digest: Digest([0xD1; 32]),
        level: 1,
        bounds,
    };
    let none = SegmentMeta { bounds: Bounds::NONE, ..meta.clone() };
    // A character of two bytes, one of them in each pair of digits.
    let json = String::from_utf8(entry(0, &meta)).unwrap();
    let no_hexadecimal = json.replace("000102", "0é0102").into_bytes();
    vec![
        ("refused-hexadecimal".to_owned(), no_hexadecimal),
        ("segment".to_owned(), entry(0, &meta)),
        ("nothing".to_owned(), entry(0, &none)),
        ("checkpoint".to_owned(), entry(1, &Checkpoint { stamp: stamp(7), lsn: driftdb_types::Lsn(99) })),
        ("zero".to_owned(), entry(1, &Checkpoint::ZERO)),
        ("next".to_owned(), entry(2, &18_u64)),
    ]
}

/// What an entry says, if it is one; it says the same when it is written again.
fn decode<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(json: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(json).ok()?;
    let again: T = serde_json::from_slice(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert_eq!(again, value);
    Some(value)
}

fn decode_as_entry(input: &[u8]) -> bool {
    match input {
        [0, json @ ..] => decode::<SegmentMeta>(json).is_some_and(|meta| {
            assert!(is_segment_file_name(&meta.file_name()));
            let bounds = &meta.bounds;
            for range in [KeyRange::all(), KeyRange::point(&bounds.key_min), KeyRange::prefix(&bounds.key_max)] {
                let _ = bounds.may_hold(&range, Period::Overlaps { start: bounds.from_min, end: bounds.to_max });
                assert!(!range.contains(&bounds.key_min) || !bounds.is_after(&range));
            }
            assert_eq!(Manifest::new([Arc::new(Segment::new(meta.clone(), Path::new(DIR)))]).of(meta.tree).len(), 1);
            true
        }),
        [1, json @ ..] => decode::<Checkpoint>(json).is_some(),
        [2, json @ ..] => decode::<u64>(json).is_some(),
        _ => false,
    }
}

fn stamp(seq: u64) -> Stamp {
    Stamp { seq: CommitSeq(seq), time_us: 1000 * seq.cast_signed() }
}

/// A table of few columns with a value for each.
fn tables() -> Vec<(&'static str, Vec<(DataType, Value)>)> {
    let text = |text: &str| Value::Text(text.to_owned());
    let decimal = |unscaled, scale| Value::Numeric(Decimal::new(unscaled, scale).unwrap());
    let interval = Interval { months: 1, days: -2, micros: 3 };
    vec![
        (
            "integers",
            vec![
                (DataType::Bool, Value::Bool(true)),
                (DataType::Int2, Value::Int2(-7)),
                (DataType::Int4, Value::Int4(1 << 20)),
                (DataType::Int8, Value::Int8(i64::MIN)),
            ],
        ),
        (
            "numbers",
            vec![
                (DataType::Float4, Value::Float4(1.5)),
                (DataType::Float8, Value::Float8(f64::NAN)),
                (DataType::Numeric(Some((9, 2))), decimal(12_345, 2)),
                (DataType::Numeric(None), decimal(-5, 3)),
            ],
        ),
        // Kept as text.
        (
            "decimals",
            [10_i128.pow(37), -12_345_678_901_234_567_890_123_456_789, 5]
                .map(|unscaled| (DataType::Numeric(None), decimal(unscaled, 20)))
                .to_vec(),
        ),
        // The second value is of another scale than its column: its row is kept as bytes.
        ("stored", vec![(DataType::Int4, Value::Int4(5)), (DataType::Numeric(Some((9, 2))), decimal(1, 5))]),
        (
            "texts",
            vec![
                (DataType::Varchar(Some(9)), text("é\u{1F600}")),
                (DataType::Char(5), text("ab")),
                (DataType::Json, Value::Json("{ }".to_owned())),
                (DataType::Jsonb, Value::Jsonb("[1]".to_owned())),
            ],
        ),
        (
            "times",
            vec![
                (DataType::Date, Value::Date(-1)),
                (DataType::Time, Value::Time(1)),
                (DataType::Timestamp, Value::Timestamp(i64::MAX)),
                (DataType::TimestampTz, Value::TimestampTz(7)),
            ],
        ),
        (
            "others",
            vec![
                (DataType::Bytea, Value::Bytea(vec![0, 255])),
                (DataType::Interval, Value::Interval(interval)),
                (DataType::Uuid, Value::Uuid([7; 16])),
            ],
        ),
    ]
}

fn schema(columns: &[(DataType, Value)]) -> TableSchema {
    let columns = columns.iter().zip(0_u16..).map(|((data_type, _), id)| Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        data_type: *data_type,
        not_null: false,
        default: None,
        missing: None,
        dropped: id == 1,
    });
    TableSchema {
        id: TREE,
        name: "t".to_owned(),
        version: 1,
        columns: columns.collect(),
        primary_key: None,
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    }
}

fn versions(payloads: &[Vec<u8>]) -> Vec<Version> {
    (0..6_u64)
        .map(|n| Version {
            key: Bytes::copy_from_slice(&(n / 2).to_be_bytes()),
            from: stamp(n + 1),
            to: Some(stamp(n + 2)),
            deleted: n % 2 == 1,
            payload: payloads[n as usize % payloads.len()].clone().into(),
        })
        .collect()
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (name, columns) in tables() {
        let table = schema(&columns);
        let values: Vec<Value> = columns.into_iter().map(|(_, value)| value).collect();
        let nulls = vec![Value::Null; values.len()];
        let payloads = [encode_row(&table, &values).unwrap(), encode_row(&table, &nulls).unwrap(), b"no row".to_vec()];
        let schema = TreeSchema::Rows(Arc::new(table));
        files.push((name.to_owned(), file(Some(schema.clone()), &versions(&payloads), Compression::UNCOMPRESSED)));
        if name == "integers" {
            let compressed = Compression::ZSTD(Default::default());
            files.push((format!("{name}-compressed"), file(Some(schema), &versions(&payloads), compressed)));
        }
    }
    let bytes = versions(&[b"bytes".to_vec(), Vec::new()]);
    files.push(("bytes".to_owned(), file(None, &bytes, Compression::UNCOMPRESSED)));
    files
}

/// As [`SegmentWriter`] makes it, but for the compression, and with pages of two rows.
fn file(schema: Option<TreeSchema>, versions: &[Version], compression: Compression) -> Vec<u8> {
    let layout = Layout::new(schema);
    let properties = properties(&layout).unwrap().into_builder();
    let properties =
        properties.set_compression(compression).set_data_page_row_count_limit(2).set_write_batch_size(2).build();
    // Arrow's own schema takes a third of so small a file, and says nothing that Parquet's does not: only one has it.
    let skip = compression == Compression::UNCOMPRESSED;
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(skip);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&layout.arrow), options).unwrap();
    writer.write(&layout.batch(versions).unwrap()).unwrap();
    writer.into_inner().unwrap()
}

/// The table's definition in a file, and all versions in it.
fn read(disk: &Arc<dyn Disk>, path: &Path) -> Result<(Option<TableSchema>, Vec<Version>)> {
    let open = OpenSegment::open(disk, path, None)?;
    let mut versions = Vec::new();
    for number in open.groups(&KeyRange::all(), Period::All) {
        let group = open.group(number)?;
        open.may_hold(&group, b"a key")?;
        let _ = group.pages(&KeyRange::point(&1_u64.to_be_bytes()), Period::All).count();
        for window in group.windows(1000) {
            for batch in open.read(&group, &window)? {
                versions.append(&mut open.select(&batch, &KeyRange::all(), |_, _| true)?);
            }
        }
    }
    Ok((open.table().cloned(), versions))
}

/// What can be read can be written to another file, as compaction does, and is read from there as the same.
fn read_as_segment(input: &[u8]) -> bool {
    let disk = Env::sim(1).env.disk;
    let dir = Path::new(DIR);
    disk.create_dir_all(dir).unwrap();
    let path = dir.join(segment_file_name(TREE, 1));
    disk.open(&path, OpenOptions::TRUNCATE).unwrap().write_at(0, input).unwrap();
    let Some(Ok((table, versions))) = excuse_libraries(|| read(&disk, &path)) else { return false };
    let schema = table.clone().map(|table| TreeSchema::Rows(Arc::new(table)));
    let written = || -> Result<(), StoreError> {
        let mut writer = SegmentWriter::create(&disk, dir, TREE, 2, 0, schema)?;
        for version in &versions {
            writer.push(version.clone())?;
        }
        writer.finish().map(drop)
    };
    written().unwrap();
    let (table_again, again) = read(&disk, &dir.join(segment_file_name(TREE, 2))).unwrap();
    assert_eq!((table_again.as_ref(), again.len()), (table.as_ref(), versions.len()));
    for (again, version) in again.iter().zip(&versions) {
        let place = |version: &Version| (version.key.clone(), version.from, version.to, version.deleted);
        assert_eq!(place(again), place(version));
        assert!(same_payload(table.as_ref(), &again.payload, &version.payload), "{again:?} {version:?}");
    }
    true
}

/// As bytes, or as values (in which a NaN is itself).
fn same_payload(table: Option<&TableSchema>, a: &[u8], b: &[u8]) -> bool {
    let row = |payload| decode_row(table?, payload).ok().map(|values| format!("{values:?}"));
    a == b || (row(a).is_some() && row(a) == row(b))
}
