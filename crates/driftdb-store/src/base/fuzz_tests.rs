//! Fuzz targets: the bytes of rows, and whole stores whose base is wrong behind its checksums: pages changed with their
//! checksums made right again, and entries changed through redb, so that redb has nothing to find.
//!
//! Both begin from the same small store, so that an input is no more than what is changed in it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use driftdb_env::{Disk, DiskFile, Env, OpenOptions, SimDisk, SimEnv};
use driftdb_fuzz::Target;
use driftdb_types::{
    Column, ColumnId, CommitSeq, DataType, KeyRange, Lsn, Stamp, TableSchema, TreeId, Value, encode_row,
};
use redb::ReadableTable;

use super::pages::{PAGE, SLOT, checksum, slot_at};
use super::*;
use crate::{CommitBatch, Finding, Period, ReadPoint, SchemaSource, Store, StoreOptions, TreeSchema, Write, check};

const DIR: &str = "/data";
const ROWS_TREE: TreeId = TreeId(100);
const BYTES_TREE: TreeId = TreeId(101);
const KEYS: u64 = 120;

fn target(name: &'static str, rounds: u64, examples: fn() -> Vec<(String, Vec<u8>)>, run: fn(&[u8]) -> bool) -> Target {
    const TOKENS: &[&str] = &[
        "checkpoint",
        "next_segment",
        "segment/00000000000000000001",
        "segment/x",
        "{}",
        "[]",
        "null",
        "-1",
        "\"\"",
        "18446744073709551615",
        "9223372036854775808",
        "\"key_min\":\"00\",",
        "\"stamp\":",
        "\"level\":",
        "ff",
    ];
    let crate_directory = env!("CARGO_MANIFEST_DIR");
    Target { name, crate_directory, rounds, memory_bytes_max: 64 << 20, rigid: false, tokens: TOKENS, examples, run }
}

#[test]
fn fuzz_base_codec() {
    target("base_codec", 10_000, values, decode_as_row_of_base).fuzz();
}

#[test]
fn fuzz_base_pages() {
    target("base_pages", 300, page_patches, open_with_patched_pages).fuzz();
}

#[test]
fn fuzz_base_entries() {
    target("base_entries", 300, entry_patches, open_with_changed_entries).fuzz();
}

fn values() -> Vec<(String, Vec<u8>)> {
    let value = encode_value(Stamp { seq: CommitSeq(7), time_us: -1 }, b"payload");
    vec![
        ("value".to_owned(), value),
        ("no-payload".to_owned(), encode_value(Stamp::ZERO, b"")),
        ("key".to_owned(), encode_key(TreeId(u32::MAX), b"a key of its tree")),
    ]
}

fn decode_as_row_of_base(input: &[u8]) -> bool {
    if let Some((tree, key)) = decode_key(input) {
        assert_eq!(encode_key(tree, key), input);
        let (start, end) = codec::encode_range(tree, &KeyRange::point(key));
        assert_eq!(
            (start, end),
            (std::ops::Bound::Included(input.to_vec()), std::ops::Bound::Included(input.to_vec()))
        );
    }
    let Some((from, payload)) = decode_value(input) else { return false };
    assert_eq!(encode_value(from, payload), input);
    true
}

fn table() -> TableSchema {
    let column = |id, data_type| {
        let name = format!("c{id}");
        Column { id: ColumnId(id), name, data_type, not_null: false, default: None, missing: None, dropped: false }
    };
    TableSchema {
        id: ROWS_TREE,
        name: "t".to_owned(),
        version: 1,
        columns: vec![column(0, DataType::Int8), column(1, DataType::Text)],
        primary_key: None,
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    }
}

struct OneTable;

impl SchemaSource for OneTable {
    fn tree_schema(&self, tree: TreeId) -> Option<TreeSchema> {
        (tree == ROWS_TREE).then(|| TreeSchema::Rows(Arc::new(table())))
    }
}

fn options() -> StoreOptions {
    StoreOptions { cache_bytes: 1 << 20, history_cache_bytes: 1 << 20, compaction_fan_in: 2, ..StoreOptions::default() }
}

fn open(sim: &SimEnv) -> Result<Store> {
    Store::open(sim.env.clone(), Path::new(DIR), options(), Arc::new(OneTable))
}

/// Applies a commit that writes some keys of both trees.
fn commit(store: &Store, stamp: Stamp, keys: impl Iterator<Item = u64>) {
    let mut writes = Vec::new();
    for n in keys {
        let row = encode_row(&table(), &[Value::Int8(n.cast_signed()), Value::Text(format!("{n} of {}", stamp.seq))]);
        let key = Bytes::copy_from_slice(&n.to_be_bytes());
        writes.push(Write { tree: ROWS_TREE, key: key.clone(), payload: Some(row.unwrap().into()) });
        let payload = (n % 7 != stamp.seq.0 % 7).then(|| Bytes::from(vec![n as u8; 20]));
        writes.push(Write { tree: BYTES_TREE, key, payload });
    }
    writes.sort_by(|a, b| (a.tree, &a.key).cmp(&(b.tree, &b.key)));
    store.apply(&CommitBatch { stamp, end_lsn: Lsn(stamp.seq.0 * 100), writes: &writes });
}

fn stamp(seq: u64) -> Stamp {
    Stamp { seq: CommitSeq(seq), time_us: 1000 * seq.cast_signed() }
}

/// A machine with the store that all inputs begin from: of some pages, with history.
fn sample() -> SimEnv {
    static SAMPLE: OnceLock<SimDisk> = OnceLock::new();
    let disk = SAMPLE.get_or_init(|| {
        let sim = Env::sim(1);
        let store = open(&sim).unwrap();
        commit(&store, stamp(1), 0..KEYS);
        store.flush().unwrap();
        commit(&store, stamp(2), (0..KEYS).step_by(3));
        store.flush().unwrap();
        store.close();
        sim.disk
    });
    let mut sim = Env::sim(2);
    sim.disk = disk.fork(2);
    sim.env.disk = Arc::new(sim.disk.clone());
    sim
}

fn base_file(sim: &SimEnv) -> Arc<dyn DiskFile> {
    sim.disk.open(&Path::new(DIR).join(FILE_NAME), OpenOptions::WRITE).unwrap()
}

/// The numbers of the pages that something is in.
fn used_pages(file: &dyn DiskFile) -> Vec<u64> {
    let count = file.len().unwrap().saturating_sub(slot_at(0)) / SLOT as u64;
    let is_used = |number: &u64| page(file, *number).iter().any(|byte| *byte != 0);
    (0..count).filter(is_used).collect()
}

fn page(file: &dyn DiskFile, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    file.read_at(slot_at(number), &mut bytes).unwrap();
    bytes
}

/// A patch: which of the pages that are used, where in it, how many bytes, the bytes.
fn page_patches() -> Vec<(String, Vec<u8>)> {
    let sim = sample();
    let file = base_file(&sim);
    let mut examples = vec![("none".to_owned(), Vec::new())];
    for (place, number) in used_pages(file.as_ref()).into_iter().enumerate().take(24) {
        // What is there already, at the beginning, where a page says what it is, and behind that.
        let mut patches = Vec::new();
        for (offset, len) in [(0_u16, 24_u8), (24, 40), (200, 16)] {
            patches.push(u8::try_from(place).unwrap());
            patches.extend(offset.to_le_bytes());
            patches.push(len);
            patches.extend(&page(file.as_ref(), number)[usize::from(offset)..][..usize::from(len)]);
        }
        examples.push((format!("page-{number}"), patches));
    }
    examples
}

fn open_with_patched_pages(mut input: &[u8]) -> bool {
    let sim = sample();
    let file = base_file(&sim);
    let pages = used_pages(file.as_ref());
    while let [place, low, high, len, rest @ ..] = input {
        let number = pages[usize::from(*place) % pages.len()];
        let (bytes, after) = rest.split_at(rest.len().min(usize::from(*len)));
        let mut patched = page(file.as_ref(), number);
        let offset = usize::from(u16::from_le_bytes([*low, *high])) % PAGE;
        for (to, from) in patched[offset..].iter_mut().zip(bytes) {
            *to = *from;
        }
        let sum = if number == 0 { [0; 4] } else { checksum(number, &patched) };
        file.write_at(slot_at(number), &[patched.as_slice(), &sum].concat()).unwrap();
        input = after;
    }
    doctor_and_opening_agree(&sim)
}

/// An entry: what to do in which table, the key's length and the key, the value's length and the value.
fn entry(action: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![action, u8::try_from(key.len()).unwrap()];
    bytes.extend(key);
    bytes.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
    bytes.extend(value);
    bytes
}

const PUT_META: u8 = 0;
const PUT_ROW: u8 = 1;
const REMOVE_META: u8 = 2;

/// The entries that are there, set again.
fn entry_patches() -> Vec<(String, Vec<u8>)> {
    let sim = sample();
    let base = Base::open(Arc::clone(&sim.env.disk), Path::new(DIR), 1 << 20).unwrap();
    let write = base.begin_write().unwrap().write;
    let mut examples = vec![("none".to_owned(), Vec::new())];
    for found in write.open_table(META).unwrap().iter().unwrap() {
        let (key, value) = found.unwrap();
        let name = format!("meta-{}", key.value().replace('/', "-"));
        examples.push((name, entry(PUT_META, key.value().as_bytes(), value.value())));
    }
    for (number, found) in write.open_table(ROWS).unwrap().iter().unwrap().step_by(60).enumerate() {
        let (key, value) = found.unwrap();
        examples.push((format!("row-{number}"), entry(PUT_ROW, key.value(), value.value())));
    }
    examples.push(("absent".to_owned(), entry(REMOVE_META, b"nothing", b"")));
    examples
}

fn open_with_changed_entries(mut input: &[u8]) -> bool {
    let sim = sample();
    let base = Base::open(Arc::clone(&sim.env.disk), Path::new(DIR), 1 << 20).unwrap();
    let write = base.begin_write().unwrap().write;
    while let [action, key_len, rest @ ..] = input {
        let (key, rest) = rest.split_at(rest.len().min(usize::from(*key_len)));
        let (len, rest) = rest.split_first_chunk::<2>().unwrap_or((&[0; 2], rest));
        let (value, after) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*len))));
        let name = String::from_utf8_lossy(key);
        match action % 4 {
            PUT_META => drop(write.open_table(META).unwrap().insert(name.as_ref(), value).unwrap()),
            PUT_ROW => drop(write.open_table(ROWS).unwrap().insert(key, value).unwrap()),
            REMOVE_META => drop(write.open_table(META).unwrap().remove(name.as_ref()).unwrap()),
            _ => drop(write.open_table(ROWS).unwrap().remove(key).unwrap()),
        }
        input = after;
    }
    write.commit().unwrap();
    base.close();
    doctor_and_opening_agree(&sim)
}

/// Reads all there is.
fn read_all(store: &Store) -> Result<()> {
    let view = store.view();
    for tree in [ROWS_TREE, BYTES_TREE, TreeId(7)] {
        for reverse in [false, true] {
            view.scan(tree, &KeyRange::all(), ReadPoint::Latest, reverse)?.try_for_each(|version| version.map(drop))?;
        }
        view.versions(tree, &KeyRange::all(), Period::All)?.try_for_each(|version| version.map(drop))?;
        for at in [ReadPoint::Latest, ReadPoint::AsOf(CommitSeq(1))] {
            view.get(tree, &3_u64.to_be_bytes(), at)?;
        }
    }
    Ok(())
}

/// A commit, a flush, a compaction.
fn go_on(store: &Store) -> Result<()> {
    let last = store.checkpoint().stamp;
    if let (Some(seq), Some(time_us)) = (last.seq.0.checked_add(1), last.time_us.max(0).checked_add(1)) {
        commit(store, Stamp { seq: CommitSeq(seq), time_us }, 0..9);
        store.publish();
        store.flush()?;
        store.compact()?;
    }
    Ok(())
}

/// The doctor comes to an end, whatever there is; and where it finds nothing, everything can be read, and the store goes on.
/// Whether it finds nothing.
///
/// Where it finds something the store is not opened. redb trusts pages whose checksums are right: over wrong ones it may panic,
/// and once more when it is dropped, which writes too; and that ends the process.
fn doctor_and_opening_agree(sim: &SimEnv) -> bool {
    let findings = check(&sim.env, Path::new(DIR), Arc::new(OneTable));
    let is_sound = findings.iter().all(|finding: &Finding| finding.harmless);
    if is_sound {
        let store = open(sim).unwrap();
        read_all(&store).unwrap();
        go_on(&store).unwrap();
        store.close();
    }
    is_sound
}
