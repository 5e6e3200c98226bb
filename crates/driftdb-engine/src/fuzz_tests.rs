//! Fuzz targets: bytes that are almost commit records, entries of the tree of commits, and definitions of the catalog.

use bytes::Bytes;
use driftdb_fuzz::Target;
use driftdb_store::{SchemaSource, TreeSchema, Write};
use driftdb_types::{
    Column, ColumnId, CommitSeq, DataType, Digest, IndexSchema, PrimaryKey, RowDecoder, Stamp, TableSchema, TreeId,
    Value, decode_row, encode_row,
};

use crate::catalog::{Catalog, KnownTrees, catalog_key, decode_change, encode_schema, names_of};
use crate::chain::TableContents;
use crate::record::{CommitMeta, Floors, RecordBuffer, decode_entry, decode_record};
use crate::{clustered_key, index_entry};

fn target(name: &'static str, examples: fn() -> Vec<(String, Vec<u8>)>, run: fn(&[u8]) -> bool) -> Target {
    const TOKENS: &[&str] = &[
        "\"dropped\":true",
        "\"missing\":\"1\"",
        "\"Text\"",
        "\"Int2\"",
        "{\"Numeric\":[39,40]}",
        "{\"Numeric\":null}",
        "null",
        "{}",
        "[]",
        "[0,0,65535]",
        "18446744073709551615",
        "4294967295",
        "\\u0000",
        "é",
    ];
    let crate_directory = env!("CARGO_MANIFEST_DIR");
    Target {
        name,
        crate_directory,
        rounds: 20_000,
        memory_bytes_max: 4 << 20,
        rigid: false,
        tokens: TOKENS,
        examples,
        run,
    }
}

#[test]
fn fuzz_commit_record() {
    target("commit_record", records, decode_as_record).fuzz();
}

#[test]
fn fuzz_commit_entry() {
    target("commit_entry", entries, decode_as_entry).fuzz();
}

#[test]
fn fuzz_catalog() {
    target("catalog", changes, decode_as_change).fuzz();
}

const STAMP: Stamp = Stamp { seq: CommitSeq(9), time_us: -5 };
const FLOORS: Floors = Floors { row: 77, object: 105 };

fn metas() -> Vec<(&'static str, CommitMeta)> {
    let user = || "ann".to_owned();
    let all = CommitMeta {
        user: user(),
        application: "psql".to_owned(),
        client: "127.0.0.1".to_owned(),
        comment: Some("wärum".to_owned()),
        txid: Some(7),
    };
    vec![
        ("nobody", CommitMeta::default()),
        ("comment", CommitMeta { txid: None, ..all.clone() }),
        ("txid", CommitMeta { comment: None, ..all.clone() }),
        ("all", all),
    ]
}

/// A record as the pipeline makes it, and its entry.
fn record(meta: &CommitMeta, tables: &[u32], writes: &[Write]) -> (Vec<u8>, Vec<u8>) {
    let contents = |id: &u32| TableContents { table: TreeId(*id), digest: Digest([*id as u8; 32]) };
    let contents: Vec<TableContents> = tables.iter().map(contents).collect();
    let mut record = RecordBuffer::encode(meta, &contents, 2, writes).unwrap();
    let entry = record.stamp(STAMP, FLOORS, Digest([9; 32])).unwrap();
    (record.as_ref().to_vec(), entry.to_vec())
}

fn records() -> Vec<(String, Vec<u8>)> {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let write =
        |tree, key, payload: Option<&str>| Write { tree: TreeId(tree), key: bytes(key), payload: payload.map(bytes) };
    let writes =
        [write(1, "table", Some("{}")), write(100, "a", Some("row")), write(100, "b", None), write(101, "", Some(""))];
    let mut examples = Vec::new();
    for (name, meta) in metas() {
        examples.push((format!("{name}-empty"), record(&meta, &[], &[]).0));
        examples.push((format!("{name}-writes"), record(&meta, &[100, 101], &writes).0));
    }
    examples
}

/// Every byte of a record means something: what is accepted is encoded as the same bytes.
fn decode_as_record(input: &[u8]) -> bool {
    let Ok(decoded) = decode_record(input) else { return false };
    let (commit, floors) = decode_entry(&decoded.entry).unwrap();
    assert_eq!(commit, decoded.commit);
    let mut again = RecordBuffer::encode(&commit.meta, &commit.contents, commit.rows, &decoded.writes).unwrap();
    assert_eq!(again.stamp(commit.stamp, floors, commit.previous).unwrap(), decoded.entry);
    assert_eq!(again.as_ref(), input);
    true
}

fn entries() -> Vec<(String, Vec<u8>)> {
    let entries = metas().into_iter().map(|(name, meta)| (name.to_owned(), record(&meta, &[100, 200], &[]).1));
    entries.collect()
}

fn decode_as_entry(input: &[u8]) -> bool {
    let Ok((commit, floors)) = decode_entry(input) else { return false };
    let mut again = RecordBuffer::encode(&commit.meta, &commit.contents, commit.rows, &[]).unwrap();
    assert_eq!(again.stamp(commit.stamp, floors, commit.previous).unwrap(), input);
    true
}

fn column(id: u16, name: &str, data_type: DataType) -> Column {
    let name = name.to_owned();
    Column { id: ColumnId(id), name, data_type, not_null: id == 0, default: None, missing: None, dropped: false }
}

fn definitions() -> Vec<(&'static str, TableSchema)> {
    let key = |index| PrimaryKey { name: "t_pkey".to_owned(), columns: vec![ColumnId(0), ColumnId(1)], index };
    let heap = TableSchema {
        id: TreeId(100),
        name: "t".to_owned(),
        version: 3,
        columns: vec![column(0, "id", DataType::Int4), column(1, "n", DataType::Numeric(Some((9, 2))))],
        primary_key: None,
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    };
    let clustered = TableSchema { primary_key: Some(key(None)), ..heap.clone() };
    let mut grown = TableSchema { primary_key: Some(key(Some(TreeId(102)))), ..heap.clone() };
    grown.columns.push(Column { dropped: true, ..column(2, "gone", DataType::Jsonb) });
    let later = column(3, "later", DataType::Varchar(Some(7)));
    grown.columns.push(Column { default: Some("'a' || 'b'".to_owned()), missing: Some("ab".to_owned()), ..later });
    let index = |id, name: &str, unique| IndexSchema {
        id: TreeId(id),
        name: name.to_owned(),
        columns: vec![ColumnId(3), ColumnId(0)],
        unique,
        constraint: unique,
    };
    grown.indexes = vec![index(101, "t_later_idx", false), index(102, "t_pkey", true)];
    grown.options = vec![("fillfactor".to_owned(), "70".to_owned())];
    vec![("rows-by-number", heap), ("clustered", clustered), ("grown", grown)]
}

/// The key of the change, then the definition, if there is one.
fn changes() -> Vec<(String, Vec<u8>)> {
    let mut examples = vec![("dropped".to_owned(), catalog_key(TreeId(100)).to_vec())];
    for (name, table) in definitions() {
        examples.push((name.to_owned(), [catalog_key(table.id), encode_schema(&table).unwrap()].concat()));
    }
    examples
}

fn decode_as_change(input: &[u8]) -> bool {
    let (key, payload) = input.split_at(input.len().min(4));
    let payload = (!payload.is_empty()).then_some(payload);
    let Ok((id, definition)) = decode_change(key, payload) else { return false };
    assert_eq!(catalog_key(id), key);
    let Some(table) = definition else { return true };
    let encoded = encode_schema(&table).unwrap();
    assert_eq!(decode_change(key, Some(&encoded)).unwrap(), (id, Some(table.clone())));

    let known = KnownTrees::default();
    known.learn(&table);
    assert!(matches!(known.tree_schema(table.id), Some(TreeSchema::Rows(found)) if found == table));
    let catalog = Catalog::default().after(CommitSeq(1), &[(id, Some(table.clone()))]);
    let names: Vec<&str> = names_of(&table).collect();
    assert!(names.iter().all(|name| catalog.is_named(name) && catalog.object_named(name).is_some()), "{names:?}");
    let dropped = catalog.after(CommitSeq(2), &[(id, None)]);
    let keys = table.primary_key.iter().map(|key| &key.name);
    let mut all = table.indexes.iter().map(|index| &index.name).chain(keys).chain([&table.name]);
    let stays = |name: &String| dropped.is_named(name) || dropped.table(name).is_some();
    assert!(dropped.tables().next().is_none() && !all.any(stays));
    rows_of(&table);
    true
}

/// A definition that was accepted is used: for rows of NULLs, of too few columns and of none, for their keys and index entries.
fn rows_of(table: &TableSchema) {
    let nulls = vec![Value::Null; table.columns.len()];
    let payload = encode_row(table, &nulls).unwrap();
    assert_eq!(decode_row(table, &payload).unwrap(), nulls);
    let ids: Vec<ColumnId> = table.columns.iter().map(|column| column.id).collect();
    let decoder = RowDecoder::new(table, &ids);
    for payload in [payload.as_slice(), &[1, 0, 0, 0, 0, 0, 0], b"no row"] {
        let _ = decode_row(table, payload);
        if let Ok(decoder) = &decoder {
            let _ = decoder.decode(payload);
        }
    }
    for values in [nulls.as_slice(), &[Value::Int4(1)], &[]] {
        let key = clustered_key(table, values).unwrap_or_default();
        for index in &table.indexes {
            let entry = index_entry(index, values, &key);
            assert!(entry.exclusive || entry.key.ends_with(&key));
        }
    }
}
