//! History segments as any Parquet reader sees them, and how little of them a point read touches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::{Disk, DiskFile, DiskLock, Env, OpenOptions};
use driftdb_store::{CommitBatch, ReadPoint, Store, StoreError, StoreOptions, Write, check};
use driftdb_types::{CommitSeq, KeyRange, Lsn, Stamp};
use parking_lot::Mutex;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

use crate::crash::fork;
use crate::harness::{DIR, Harness, open_recovered};
use crate::schemas::{BYTES, ROWS, Schemas, table};

fn history_file(env: &Env, tree: &str) -> (PathBuf, Vec<u8>) {
    let dir = Path::new(DIR).join("history");
    let names = env.disk.list(&dir).unwrap();
    let name = names.iter().find(|name| name.starts_with(tree)).unwrap();
    let path = dir.join(name);
    let file = env.disk.open(&path, OpenOptions::READ).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    (path, bytes)
}

#[test]
fn columns_have_their_names_and_field_ids() {
    let mut harness = Harness::new(1);
    for _ in 0..60 {
        harness.commit(5);
    }
    harness.store.flush().unwrap();
    let (_, bytes) = history_file(&harness.sim.env, "100-");
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let schema = reader.metadata().file_metadata().schema();
    let columns: Vec<(i32, String)> =
        schema.get_fields().iter().map(|field| (field.get_basic_info().id(), field.name().to_owned())).collect();
    let names: Vec<&str> = columns.iter().map(|(_, name)| name.as_str()).collect();
    let system = ["_key", "_from_seq", "_from_time", "_to_seq", "_to_time", "_deleted", "_payload", "_layout"];
    assert_eq!(&names[..8], system);
    assert_eq!(&names[8..14], ["c0", "c1", "c2", "_key__3", "c5__4", "c5"]);
    assert_eq!(columns[0].0, 1);
    assert_eq!(columns[13].0, 1005);
    let mut last = None;
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let at = (row.get_bytes(0).unwrap().data().to_vec(), row.get_long(1).unwrap());
        assert!(row.get_long(1).unwrap() < row.get_long(3).unwrap());
        assert!(last.is_none_or(|last| last < at));
        last = Some(at);
    }
}

#[test]
fn damage_is_found_and_named() {
    let mut harness = Harness::new(2);
    for _ in 0..60 {
        harness.commit(5);
    }
    harness.store.flush().unwrap();
    let Harness { sim, schemas, store, .. } = harness;
    drop(store);
    assert_eq!(check(&sim.env, Path::new(DIR), schemas.clone()), []);
    let (path, bytes) = history_file(&sim.env, "100-");
    for place in [0, 100, bytes.len() / 2, bytes.len() - 5] {
        assert!(sim.disk.flip_bit(&path, place as u64, 3));
        let findings = check(&sim.env, Path::new(DIR), schemas.clone());
        assert!(!findings.is_empty() && findings.iter().all(|finding| finding.path == path), "{place}: {findings:?}");
        assert!(sim.disk.flip_bit(&path, place as u64, 3));
    }
    let orphan = path.with_file_name("100-999.parquet");
    sim.env.disk.open(&orphan, OpenOptions::CREATE_NEW).unwrap();
    let findings = check(&sim.env, Path::new(DIR), schemas.clone());
    assert_eq!(findings.iter().map(|finding| &finding.path).collect::<Vec<_>>(), [&orphan]);
    sim.env.disk.remove(&orphan).unwrap();

    let base = Path::new(DIR).join("base.redb");
    let len = sim.env.disk.open(&base, OpenOptions::READ).unwrap().len().unwrap();
    for place in (0..len).step_by(997) {
        sim.disk.flip_bit(&base, place, 0);
        let findings = check(&sim.env, Path::new(DIR), schemas.clone());
        assert!(!findings.is_empty() && findings.iter().all(|finding| finding.path == base), "{place}: {findings:?}");
        sim.disk.flip_bit(&base, place, 0);
    }
    sim.env.disk.remove(&path).unwrap();
    let findings = check(&sim.env, Path::new(DIR), schemas.clone());
    assert!(findings.iter().any(|finding| finding.path == path), "{findings:?}");
    let opened = Store::open(sim.env.clone(), Path::new(DIR), StoreOptions::default(), schemas);
    assert!(opened.is_err(), "a store that lacks a part of its history opens");
}

/// Also where the page still decodes: merged, it would have a checksum that says it is right.
#[test]
fn a_flipped_bit_is_not_merged_into_a_new_file() {
    let mut harness = Harness::new(17);
    for _ in 0..3 {
        for _ in 0..30 {
            harness.commit(5);
        }
        harness.store.flush().unwrap();
    }
    harness.store.close();
    let (path, bytes) = history_file(&harness.sim.env, "7-");
    for place in (4..bytes.len() as u64).step_by(bytes.len() / 60) {
        let sim = fork(&harness.sim, place);
        let files = sim.env.disk.list(path.parent().unwrap()).unwrap();
        assert!(sim.disk.flip_bit(&path, place, 2));
        let store = open_recovered(&sim, &harness.options, &harness.schemas, &harness.model);
        match store.compact() {
            Err(StoreError::Damaged { path: found, .. }) => assert_eq!(found, path),
            other => panic!("the flip at {place} of {} is merged: {other:?}", bytes.len()),
        }
        assert_eq!(sim.env.disk.list(path.parent().unwrap()).unwrap(), files);
    }
}

/// A disk that counts the bytes read.
#[derive(Clone, Debug)]
struct Counting {
    disk: Arc<dyn Disk>,
    read: Arc<Mutex<(u64, u64)>>,
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn DiskFile>,
    counting: Counting,
}

impl DiskFile for CountingFile {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let mut read = self.counting.read.lock();
        *read = (read.0 + 1, read.1 + buf.len() as u64);
        self.file.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }
    fn allocate(&self, len: u64) -> std::io::Result<()> {
        self.file.allocate(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }
    fn sync_all(&self) -> std::io::Result<()> {
        self.file.sync_all()
    }
}

impl Disk for Counting {
    fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn exists(&self, path: &Path) -> std::io::Result<bool> {
        self.disk.exists(path)
    }
    fn open(&self, path: &Path, options: OpenOptions) -> std::io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, options)?;
        // Only history is counted.
        if path.extension().is_some_and(|extension| extension == "parquet") {
            return Ok(Arc::new(CountingFile { file, counting: self.clone() }));
        }
        Ok(file)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> std::io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

#[test]
fn a_point_read_of_the_past_reads_a_page_of_it() {
    const KEYS: u64 = 100_000;
    let mut env = Env::sim(3).env;
    let counting = Counting { disk: Arc::clone(&env.disk), read: Arc::default() };
    env.disk = Arc::new(counting.clone());
    let schemas = Arc::new(Schemas { table: Mutex::new(Arc::new(table())) });
    let store = Store::open(env, Path::new(DIR), StoreOptions::default(), schemas).unwrap();
    for seq in 1..=2_u64 {
        let writes: Vec<Write> = (0..KEYS)
            .map(|key| {
                let payload =
                    Bytes::from(format!("{:032x}", (key + 1).wrapping_mul(seq.wrapping_mul(0x9E37_79B9_7F4A_7C15))));
                Write { tree: BYTES, key: Bytes::from(key.to_be_bytes().to_vec()), payload: Some(payload) }
            })
            .collect();
        let stamp = Stamp { seq: CommitSeq(seq), time_us: seq.cast_signed() };
        store.apply(&CommitBatch { stamp, end_lsn: Lsn(seq), writes: &writes });
        store.flush().unwrap();
    }
    let (_, bytes) = {
        let env = Env { disk: Arc::clone(&counting.disk), ..Env::sim(3).env };
        history_file(&env, "101-")
    };
    let view = store.view();
    let get = |key: u64, seq: u64| {
        *counting.read.lock() = (0, 0);
        let found = view.get(BYTES, &key.to_be_bytes(), ReadPoint::AsOf(CommitSeq(seq))).unwrap();
        (found.map(|version| version.from.seq.0), counting.read.lock().1)
    };
    let (found, opening) = get(5, 1);
    assert_eq!(found, Some(1));
    // All of the file once, for its checksum.
    let beside = opening - bytes.len() as u64;
    assert!(beside < bytes.len() as u64 / 2, "opening reads {beside} of {} bytes beside", bytes.len());
    let (found, read) = get(60_000, 1);
    assert_eq!(found, Some(1));
    // A page of each column, and the bloom filter of the row group.
    assert!(read < 200_000 && read < bytes.len() as u64 / 10, "a point read reads {read} of {} bytes", bytes.len());
    assert_eq!(get(60_001, 1), (Some(1), 0), "the page is kept");
    assert_eq!(get(60_001, 2), (Some(2), 0), "the newest version is not in history");
    assert_eq!(get(KEYS + 7, 1), (None, 0), "no key beyond the segment's");
    let (absent, read) = get(3 << 40, 1);
    assert_eq!((absent, read), (None, 0));
    *counting.read.lock() = (0, 0);
    assert_eq!(view.scan(BYTES, &KeyRange::all(), ReadPoint::Latest, false).unwrap().count() as u64, KEYS);
    assert_eq!(view.scan(ROWS, &KeyRange::all(), ReadPoint::AsOf(CommitSeq(1)), false).unwrap().count(), 0);
    assert_eq!(*counting.read.lock(), (0, 0), "current reads never touch history");
    let past = view.scan(BYTES, &KeyRange::all(), ReadPoint::AsOf(CommitSeq(1)), true).unwrap();
    assert_eq!(past.map(Result::unwrap).filter(|version| version.from.seq == CommitSeq(1)).count() as u64, KEYS);
}
