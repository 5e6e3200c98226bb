//! Full disks, failing syncs and backpressure, with the background threads running.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use driftdb_env::{Disk, DiskOpKind, Env, FailMode, OpenOptions};
use driftdb_store::{
    Checkpoint, CommitBatch, NoSchemas, Period, ReadPoint, SchemaSource, Store, StoreError, StoreOptions, StoreView,
    TreeSchema, Version, Write,
};
use driftdb_types::{CommitSeq, KeyRange, Lsn, SqlState, Stamp, TreeId};
use parking_lot::Mutex;

use crate::harness::{DIR, Harness, small_options};
use crate::schemas::{BYTES, ROWS, row};

/// Waits until it holds, for a while of real time.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        Env::real().clock.sleep(Duration::from_millis(5));
    }
    panic!("{what}: not in a long time");
}

fn used_bytes(harness: &Harness) -> u64 {
    let disk = &harness.sim.env.disk;
    let size = |path: &Path| disk.open(path, OpenOptions::READ).unwrap().len().unwrap();
    let dir = Path::new(DIR);
    let history = dir.join("history");
    let files = disk.list(&history).unwrap();
    size(&dir.join("base.redb")) + files.iter().map(|name| size(&history.join(name))).sum::<u64>()
}

const LARGE_ROWS: u32 = 300;

fn large_row(n: u32, round: u8) -> Write {
    let payload = Some(Bytes::from(vec![round.wrapping_add(n as u8); 3_000]));
    Write { tree: BYTES, key: Bytes::from(n.to_be_bytes().to_vec()), payload }
}

/// A base that does not fit in memory.
fn with_more_than_the_cache(seed: u64) -> Harness {
    let options = StoreOptions { memtable_bytes: usize::MAX, cache_bytes: 64 << 10, ..small_options() };
    let mut harness = Harness::with(seed, Env::sim(seed), options);
    harness.commit_writes((0..LARGE_ROWS).map(|n| large_row(n, 1)).collect());
    harness.store.flush().unwrap();
    harness
}

fn scan_all(view: &Arc<StoreView>) -> Result<Vec<Version>, StoreError> {
    view.scan(BYTES, &KeyRange::all(), ReadPoint::Latest, false)?.collect()
}

#[test]
fn a_full_disk_is_reported_and_left_behind() {
    let options =
        StoreOptions { retry_delay: Duration::from_millis(10), error_grace: Duration::from_secs(5), ..small_options() };
    let mut harness = Harness::with(1, Env::sim(1), options);
    for _ in 0..40 {
        harness.commit(5);
    }
    harness.store.flush().unwrap();
    let old_view = harness.store.view();
    let before = old_view.scan(BYTES, &KeyRange::all(), ReadPoint::Latest, false).unwrap().count();

    harness.sim.disk.set_capacity_bytes(Some(used_bytes(&harness) + 10_000));
    harness.store.start_background(Arc::new(|_| {})).unwrap();
    let store = harness.store.clone();
    let mut refused = None;
    for n in 0..200 {
        match store.wait_for_room(Duration::from_secs(2)) {
            Ok(()) => {
                let (key, payload) = (Bytes::from(format!("full{n}")), Bytes::from(vec![n as u8; 2_000]));
                harness.commit_writes(vec![Write { tree: BYTES, key, payload: Some(payload) }]);
                store.publish();
            }
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("memtables grow without bound");
    assert!(refused.is_disk_full(), "{refused}");
    assert_eq!(driftdb_types::Error::from(refused).state, SqlState::DISK_FULL);
    // Readers, old and new, do not notice.
    assert_eq!(old_view.scan(BYTES, &KeyRange::all(), ReadPoint::Latest, false).unwrap().count(), before);
    harness.check_some();

    harness.sim.disk.set_capacity_bytes(None);
    eventually("the flush is tried again", || store.wait_for_room(Duration::ZERO).is_ok());
    store.stop_background();
    store.flush().unwrap();
    harness.check_some();
    harness.reopen();
    harness.check_some();
    assert_eq!(harness.store.checkpoint().stamp, harness.model.last());
}

#[test]
fn an_error_is_reported_after_the_grace_although_there_is_room() {
    let options = StoreOptions { error_grace: Duration::from_secs(30), ..small_options() };
    let mut harness = Harness::with(2, Env::sim(2), options);
    harness.commit(3);
    harness.sim.disk.fail_after(1, FailMode::Full);
    assert!(harness.store.flush().unwrap_err().is_disk_full());
    harness.store.wait_for_room(Duration::ZERO).unwrap();
    harness.sim.clock.advance(Duration::from_secs(31));
    let error = harness.store.wait_for_room(Duration::ZERO).unwrap_err();
    assert!(matches!(error, StoreError::FlushFails(_)), "{error}");
    harness.store.flush().unwrap();
    harness.store.wait_for_room(Duration::ZERO).unwrap();
}

#[test]
fn after_a_failed_sync_nothing_more_is_written() {
    for n in 1..=5 {
        let mut harness = Harness::new(n);
        for _ in 0..30 {
            harness.commit(5);
        }
        harness.store.flush().unwrap();
        for _ in 0..30 {
            harness.commit(5);
        }
        harness.sim.disk.fail_on(DiskOpKind::Sync, n, FailMode::Error);
        let failed = harness.store.flush();
        assert_eq!(failed.is_ok(), harness.sim.disk.clear_fault(), "the sync that failed was not noticed");
        if failed.is_ok() {
            assert!(n > 3, "a flush syncs its segments and the base");
            break;
        }
        let changes = harness.sim.disk.changes();
        assert!(matches!(harness.store.flush(), Err(StoreError::Sync { .. })));
        assert!(matches!(harness.store.wait_for_room(Duration::ZERO), Err(StoreError::FlushFails(_))));
        harness.check_some();
        assert_eq!(harness.sim.disk.changes(), changes, "{:?}", harness.sim.disk.operations().last());
        harness.sim.disk.crash();
        harness.reopen();
        harness.store.flush().unwrap();
        harness.check_all();
    }
}

/// A base that has to grow is synced when it has the space, and after that there is a whole commit to come: it finds what it
/// wrote, if none of that reached the disk.
#[test]
fn a_commit_goes_to_its_end_after_a_failed_sync() {
    let mut syncs = [0; 4];
    for seed in 0..24 {
        let options = StoreOptions { memtable_bytes: usize::MAX, cache_bytes: 16 << 10, ..small_options() };
        let mut harness = Harness::with(seed, Env::sim(seed), options);
        for round in 0..4_u32 {
            for part in 0..3 {
                let first = 1_000 * round + 200 * part;
                let rows = 60 + u32::try_from(seed).unwrap();
                harness.commit_writes((first..first + rows).map(|n| large_row(n, 1)).collect());
            }
            let n = (seed as usize + round as usize) % syncs.len();
            harness.sim.disk.fail_on(DiskOpKind::Sync, 1 + n as u64, FailMode::Error);
            let failed = harness.store.flush();
            if harness.sim.disk.clear_fault() {
                failed.unwrap();
                continue;
            }
            syncs[n] += 1;
            assert!(matches!(failed, Err(StoreError::Sync { .. })), "{failed:?}");
            harness.check_some();
            harness.sim.disk.crash();
            harness.reopen();
        }
        harness.check_all();
    }
    assert!(syncs[..3].iter().all(|failed| *failed > 10), "{syncs:?}");
}

#[test]
fn a_failed_sync_at_an_opening_is_called_so() {
    for n in 1.. {
        let sim = Env::sim(n);
        sim.disk.fail_on(DiskOpKind::Sync, n, FailMode::Error);
        let options = StoreOptions { cache_bytes: 0, ..small_options() };
        let opened = Store::open(sim.env.clone(), Path::new(DIR), options, Arc::new(NoSchemas));
        if sim.disk.clear_fault() {
            opened.unwrap();
            assert!(n > 4, "a new base is synced several times");
            return;
        }
        assert!(matches!(opened, Err(StoreError::Sync { .. } | StoreError::Io { .. })), "sync {n}: {opened:?}");
    }
}

#[test]
fn wait_for_room_waits_for_the_flush() {
    let mut harness = Harness::new(4);
    let checkpoints: Arc<Mutex<Vec<Checkpoint>>> = Arc::default();
    while harness.store.wait_for_room(Duration::ZERO).is_ok() {
        harness.commit(5);
        harness.store.publish();
        assert!(harness.model.commits.len() < 10_000);
    }
    let full = harness.store.wait_for_room(Duration::from_millis(50)).unwrap_err();
    assert!(matches!(full, StoreError::NoRoom { sealed: 2, cause: None }), "{full:?}");
    let seen = Arc::clone(&checkpoints);
    harness.store.start_background(Arc::new(move |checkpoint| seen.lock().push(checkpoint))).unwrap();
    eventually("room", || harness.store.wait_for_room(Duration::from_millis(50)).is_ok());
    for _ in 0..300 {
        eventually("room", || harness.store.wait_for_room(Duration::from_millis(50)).is_ok());
        harness.commit(5);
        harness.store.publish();
    }
    harness.check_some();
    harness.store.stop_background();
    let seen = checkpoints.lock().clone();
    assert!(seen.len() > 3 && seen.is_sorted_by_key(|checkpoint| checkpoint.lsn), "{seen:?}");
    assert_eq!(*seen.last().unwrap(), harness.store.checkpoint());
    harness.check_some();
}

#[test]
fn reads_while_flush_and_compaction_run() {
    let mut harness = Harness::new(5);
    harness.store.start_background(Arc::new(|_| {})).unwrap();
    for _ in 0..8 {
        for _ in 0..60 {
            eventually("room", || harness.store.wait_for_room(Duration::from_millis(50)).is_ok());
            harness.commit(5);
            harness.store.publish();
        }
        harness.hold_view();
        harness.check_some();
    }
    harness.store.stop_background();
    // The background lets go of its handles.
    let store: &Store = &harness.store;
    store.flush().unwrap();
    harness.check_some();
    harness.held.clear();
    harness.store.flush().unwrap();
    while harness.store.compact().unwrap() {}
    harness.check_some();
}

#[test]
fn obsolete_segments_go_when_the_last_view_goes() {
    let mut harness = Harness::new(6);
    let files = |harness: &Harness| harness.sim.env.disk.list(&Path::new(DIR).join("history")).unwrap().len();
    for _ in 0..3 {
        for _ in 0..30 {
            harness.commit(5);
        }
        harness.store.flush().unwrap();
    }
    harness.hold_view();
    let before = files(&harness);
    let mut compactions = 0;
    while harness.store.compact().unwrap() {
        compactions += 1;
    }
    assert!(compactions > 0);
    assert!(files(&harness) > before, "the held view still reads the old ones");
    harness.check_some();
    harness.held.clear();
    harness.commit(1);
    harness.store.flush().unwrap();
    assert!(files(&harness) < before);
    harness.check_some();
}

#[test]
fn after_a_failed_sync_no_compaction_begins() {
    let mut harness = Harness::new(7);
    for _ in 0..3 {
        for _ in 0..30 {
            harness.commit(5);
        }
        harness.store.flush().unwrap();
    }
    harness.sim.disk.fail_on(DiskOpKind::Sync, 1, FailMode::Error);
    assert!(matches!(harness.store.compact(), Err(StoreError::Sync { .. })));
    let changes = harness.sim.disk.changes();
    for _ in 0..3 {
        assert!(matches!(harness.store.compact(), Err(StoreError::Sync { .. })));
    }
    assert_eq!(harness.sim.disk.changes(), changes, "it goes on writing files");
    assert!(harness.store.wait_for_room(Duration::ZERO).is_err());
    harness.check_some();
    harness.reopen();
    assert!(harness.store.compact().unwrap());
    harness.check_all();
}

#[test]
fn a_kept_key_does_not_keep_the_payloads() {
    let mut harness = Harness::with(8, Env::sim(8), StoreOptions::default());
    let write = |n: u32| Write {
        tree: BYTES,
        key: Bytes::from(n.to_be_bytes().to_vec()),
        payload: Some(Bytes::from(vec![7; 2_000])),
    };
    harness.commit_writes((0..200).map(write).collect());
    harness.store.flush().unwrap();
    let view = harness.store.view();
    let rows = view.scan(BYTES, &KeyRange::all(), ReadPoint::Latest, false).unwrap().map(Result::unwrap);
    let keys: Vec<Bytes> = rows.map(|row| row.key).collect();
    let adjacent = |pair: &&[Bytes]| (pair[0].as_ptr() as usize).abs_diff(pair[1].as_ptr() as usize) == 4;
    let together = keys.windows(2).filter(adjacent).count();
    assert!(together > 100, "only {together} of 200 keys stand beside the next, with no payload between");
}

/// The base is lost (or emptied): the history stays for whoever mends it, and nothing is opened.
#[test]
fn a_history_without_its_base_is_left_alone() {
    for emptied in [false, true] {
        let mut harness = Harness::new(9);
        for _ in 0..3 {
            for _ in 0..30 {
                harness.commit(5);
            }
            harness.store.flush().unwrap();
        }
        harness.store.close();
        let (disk, dir) = (&harness.sim.env.disk, Path::new(DIR));
        let (base, history) = (dir.join("base.redb"), dir.join("history"));
        let files = disk.list(&history).unwrap();
        assert!(!files.is_empty());
        if emptied {
            disk.open(&base, OpenOptions::TRUNCATE).unwrap();
        } else {
            disk.remove(&base).unwrap();
        }
        let opened = Store::open(harness.sim.env.clone(), dir, small_options(), harness.schemas.clone());
        let error = opened.unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { path, .. } if *path == base), "{error}");
        assert_eq!(disk.list(&history).unwrap(), files);
        assert_eq!(disk.exists(&base).unwrap(), emptied, "it was made anew");
    }
}

#[test]
fn files_of_others_in_the_history_directory_stay() {
    let mut harness = Harness::new(10);
    let history = Path::new(DIR).join("history");
    for name in ["notes.txt", "100-1.parquet.bak", "100-99.parquet"] {
        harness.sim.env.disk.open(&history.join(name), OpenOptions::CREATE).unwrap();
    }
    harness.commit(5);
    harness.reopen();
    let mut left = harness.sim.env.disk.list(&history).unwrap();
    left.sort();
    assert_eq!(left, ["100-1.parquet.bak", "notes.txt"]);
}

/// A flush by hand (CHECKPOINT) in the midst of a group neither shows nor seals a part of it.
#[test]
fn a_flush_takes_no_part_of_a_group() {
    let mut harness = Harness::with(11, Env::sim(11), StoreOptions::default());
    harness.commit(5);
    harness.store.publish();
    let before = harness.model.last();
    let stamp = |n: u64| Stamp { seq: CommitSeq(before.seq.0 + n), time_us: before.time_us + 1_000 + n.cast_signed() };
    let group = [1, 2].map(|n| CommitBatch { stamp: stamp(n), end_lsn: Lsn(stamp(n).seq.0 * 100), writes: &[] });
    let store = harness.store.clone();
    let mut flush = None;
    harness.store.commit(&group, || {
        let flushed = store.clone();
        flush = Some(std::thread::Builder::new().spawn(move || flushed.flush()).unwrap());
        Env::real().clock.sleep(Duration::from_millis(100));
        assert_eq!(store.view().stamp(), before, "a part of the group is visible");
        assert_eq!(store.checkpoint().stamp, Stamp::ZERO);
    });
    assert!(flush.unwrap().join().unwrap().unwrap());
    assert_eq!(store.view().stamp(), stamp(2));
    assert_eq!(store.checkpoint().stamp, stamp(2));
}

#[test]
fn a_closed_store_writes_nothing_more() {
    let mut harness = with_more_than_the_cache(12);
    let view = harness.store.view();
    let mut scan = view.scan(BYTES, &KeyRange::all(), ReadPoint::Latest, false).unwrap();
    scan.next().unwrap().unwrap();
    harness.store.close();
    harness.store.close();
    let changes = harness.sim.disk.changes();
    assert!(matches!(harness.store.flush(), Err(StoreError::Closed)));
    assert!(matches!(harness.store.compact(), Err(StoreError::Closed)));
    // What it still answers it has in memory.
    let last = scan.by_ref().last().unwrap();
    assert!(matches!(last, Err(StoreError::Closed)), "{last:?}");
    let (mut answered, mut refused) = (0, 0);
    for n in 0..LARGE_ROWS {
        match view.get(BYTES, &n.to_be_bytes(), ReadPoint::Latest) {
            Ok(found) => {
                assert_eq!(found.unwrap().payload, large_row(n, 1).payload.unwrap());
                answered += 1;
            }
            Err(StoreError::Closed) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0, "all {answered} rows were in memory");
    drop((scan, view));
    assert_eq!(harness.sim.disk.changes(), changes);
    harness.reopen();
    harness.check_all();
}

/// Readers go on with the whole base, whichever sync of its commit failed, and nothing is written for them.
#[test]
fn after_a_failed_sync_all_of_the_base_is_read() {
    for n in 1.. {
        let mut harness = with_more_than_the_cache(18);
        let old_view = harness.store.view();
        harness.commit_writes((0..LARGE_ROWS).step_by(3).map(|n| large_row(n, 2)).collect());
        harness.sim.disk.fail_on(DiskOpKind::Sync, n, FailMode::Error);
        let failed = harness.store.flush();
        if harness.sim.disk.clear_fault() {
            failed.unwrap();
            assert!(n > 2, "a flush syncs its segments and the base");
            return;
        }
        let changes = harness.sim.disk.changes();
        assert_eq!(scan_all(&old_view).unwrap().len(), LARGE_ROWS as usize);
        assert_eq!(scan_all(&harness.store.view()).unwrap().len(), LARGE_ROWS as usize);
        harness.check_all();
        assert!(matches!(failed, Err(StoreError::Sync { .. })), "sync {n}: {failed:?}");
        harness.store.close();
        assert_eq!(harness.sim.disk.changes(), changes, "sync {n}: {:?}", harness.sim.disk.operations().last());
        harness.sim.disk.crash();
        harness.reopen();
        harness.check_all();
    }
}

/// The base is opened anew after a failure, and has a newer checkpoint than a view: the view reads newer layers, in which the
/// past is the same. So does a scan that was under way.
#[test]
fn a_view_outlives_the_file_it_was_of() {
    let mut harness = with_more_than_the_cache(19);
    let old_view = harness.store.view();
    let before = scan_all(&old_view).unwrap();
    let mut scan = old_view.scan(BYTES, &KeyRange::all(), ReadPoint::Latest, false).unwrap();
    let mut seen: Vec<_> = scan.by_ref().take(300).map(|version| version.unwrap()).collect();
    harness.commit_writes((0..LARGE_ROWS).map(|n| large_row(n, 2)).collect());
    harness.store.flush().unwrap();
    // Rows that supersede none: only the base is written.
    harness.commit_writes((0..LARGE_ROWS).map(|n| large_row(LARGE_ROWS + n, 3)).collect());
    harness.sim.disk.fail_on(DiskOpKind::Write, 1, FailMode::Full);
    assert!(harness.store.flush().unwrap_err().is_disk_full());
    harness.check_all();
    assert!(scan_all(&old_view).unwrap() == before, "the view is another one");
    seen.extend(scan.map(|version| version.unwrap()));
    let payloads = |n: usize| seen.get(n).map(|version| version.payload.clone());
    assert_eq!(seen.len(), LARGE_ROWS as usize);
    for n in 0..LARGE_ROWS {
        assert!(payloads(n as usize) == large_row(n, 1).payload, "row {n} of the scan");
    }
    let first = large_row(0, 1);
    let found = old_view.get(BYTES, &first.key, ReadPoint::Latest).unwrap().unwrap();
    assert!(Some(found.payload) == first.payload);
}

/// One tree's history is damaged: its compaction is not tried for ever, and the others go on.
#[test]
fn a_damaged_tree_does_not_keep_others_from_compaction() {
    let mut harness = Harness::new(13);
    for _ in 0..3 {
        for _ in 0..30 {
            harness.commit(5);
        }
        harness.store.flush().unwrap();
    }
    harness.store.close();
    let (disk, history) = (harness.sim.env.disk.clone(), Path::new(DIR).join("history"));
    let of = |tree: TreeId| {
        let names = disk.list(&history).unwrap();
        names.into_iter().filter(|name| name.starts_with(&format!("{tree}-"))).collect::<Vec<_>>()
    };
    let (damaged, whole) = (TreeId(7), [ROWS, BYTES]);
    let file = disk.open(&history.join(&of(damaged)[0]), OpenOptions::CREATE).unwrap();
    let len = file.len().unwrap();
    file.write_at(len - 8, &[0; 8]).unwrap();
    file.sync_all().unwrap();
    harness.reopen();
    assert!(whole.iter().all(|tree| of(*tree).len() >= 3));
    harness.store.start_background(Arc::new(|_| {})).unwrap();
    eventually("the others are compacted", || whole.iter().all(|tree| of(*tree).len() < 3));
    // What is left to be done is done.
    Env::real().clock.sleep(Duration::from_millis(200));
    let changes = harness.sim.disk.changes();
    Env::real().clock.sleep(Duration::from_millis(200));
    assert_eq!(harness.sim.disk.changes(), changes, "it goes on writing files");
    assert!(of(damaged).len() >= 3);
    harness.store.stop_background();
}

/// Asks for what the test is about to go wrong.
struct Panics;

impl SchemaSource for Panics {
    fn tree_schema(&self, _tree: TreeId) -> Option<TreeSchema> {
        panic!("as the test wants it")
    }
}

#[test]
fn a_panic_in_the_background_refuses_commits() {
    let sim = Env::sim(14);
    let store = Store::open(sim.env.clone(), Path::new(DIR), small_options(), Arc::new(Panics)).unwrap();
    store.start_background(Arc::new(|_| {})).unwrap();
    let payload = Some(Bytes::from(vec![1; 4_000]));
    let writes = [Write { tree: BYTES, key: Bytes::from_static(b"k"), payload }];
    for n in 1..=2 {
        let stamp = Stamp { seq: CommitSeq(n), time_us: n.cast_signed() };
        store.commit(&[CommitBatch { stamp, end_lsn: Lsn(n), writes: &writes }], || {});
    }
    eventually("commits are refused", || store.wait_for_room(Duration::ZERO).is_err());
    let error = store.wait_for_room(Duration::from_secs(60)).unwrap_err();
    assert!(matches!(error, StoreError::FlushFails(_)), "{error}");
    assert_eq!(store.view().stamp().seq, CommitSeq(2));
    store.stop_background();
}

fn history_files(disk: &Arc<dyn Disk>, tree: TreeId) -> Vec<String> {
    let mut names = disk.list(&Path::new(DIR).join("history")).unwrap();
    names.retain(|name| name.starts_with(&format!("{tree}-")));
    names
}

/// Gives every tree's payloads as bytes, after doing what the test wants.
struct Asked<F>(F);

impl<F: Fn(TreeId) + Send + Sync> SchemaSource for Asked<F> {
    fn tree_schema(&self, tree: TreeId) -> Option<TreeSchema> {
        (self.0)(tree);
        Some(TreeSchema::Opaque)
    }
}

/// A defect that one tree's history brings out: the other trees are compacted, and commits go on.
#[test]
fn a_panic_in_a_compaction_leaves_only_its_tree_alone() {
    let mut harness = Harness::new(20);
    for _ in 0..3 {
        for _ in 0..30 {
            harness.commit(5);
        }
        harness.store.flush().unwrap();
    }
    harness.store.close();
    let disk = Arc::clone(&harness.sim.env.disk);
    let before = history_files(&disk, TreeId(7));
    let source = Asked(|tree| assert!(tree != TreeId(7), "as the test wants it"));
    let store = Store::open(harness.sim.env.clone(), Path::new(DIR), small_options(), Arc::new(source)).unwrap();
    store.start_background(Arc::new(|_| {})).unwrap();
    eventually("the others are compacted", || [ROWS, BYTES].iter().all(|tree| history_files(&disk, *tree).len() < 3));
    store.wait_for_room(Duration::ZERO).unwrap();
    store.stop_background();
    assert_eq!(history_files(&disk, TreeId(7)), before);
}

#[test]
fn the_end_does_not_wait_for_a_compaction() {
    let mut harness = with_more_than_the_cache(21);
    for round in 0..4 {
        let writes = (0..1_200_u32).map(|n| Write { payload: Some(Bytes::from(vec![round; 9])), ..large_row(n, 0) });
        harness.commit_writes(writes.collect());
        harness.store.flush().unwrap();
    }
    harness.store.close();
    let disk = Arc::clone(&harness.sim.env.disk);
    let before = history_files(&disk, BYTES);
    let (asked, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (asking, going_on) = (Arc::clone(&asked), Arc::clone(&go_on));
    let source = Asked(move |_| {
        asking.store(true, Ordering::Release);
        eventually("the test goes on", || going_on.load(Ordering::Acquire));
    });
    let store = Store::open(harness.sim.env.clone(), Path::new(DIR), small_options(), Arc::new(source)).unwrap();
    store.start_background(Arc::new(|_| {})).unwrap();
    eventually("a compaction begins", || asked.load(Ordering::Acquire));
    let stopped = store.clone();
    let stop = std::thread::Builder::new().spawn(move || stopped.stop_background()).unwrap();
    Env::real().clock.sleep(Duration::from_millis(200));
    go_on.store(true, Ordering::Release);
    stop.join().unwrap();
    assert_eq!(history_files(&disk, BYTES), before, "it was brought to its end");
    assert!(store.compact().unwrap(), "one by hand is not stopped, and the tree is not left alone");
}

/// CHECKPOINT flushes what there is when it comes; what is written meanwhile is not its business.
#[test]
fn a_flush_ends_although_commits_go_on() {
    let (store, seq) = (Arc::new(OnceLock::<Store>::new()), Arc::new(AtomicU64::new(0)));
    let commit = {
        let (store, seq) = (Arc::clone(&store), Arc::clone(&seq));
        move || {
            let n = seq.fetch_add(1, Ordering::AcqRel) + 1;
            let payload = Some(Bytes::from(n.to_string()));
            let writes = [Write { tree: BYTES, key: Bytes::from_static(b"k"), payload }];
            let stamp = Stamp { seq: CommitSeq(n), time_us: n.cast_signed() };
            store.get().unwrap().commit(&[CommitBatch { stamp, end_lsn: Lsn(n), writes: &writes }], || {});
        }
    };
    let (writing, written) = (commit.clone(), Arc::clone(&seq));
    let source = Asked(move |_| {
        if written.load(Ordering::Acquire) < 100 {
            writing();
        }
    });
    let options = StoreOptions { memtable_bytes: 1, ..small_options() };
    let opened = Store::open(Env::sim(22).env, Path::new(DIR), options, Arc::new(source)).unwrap();
    store.set(opened.clone()).unwrap();
    commit();
    commit();
    assert!(opened.flush().unwrap());
    assert_eq!(opened.checkpoint().stamp.seq, CommitSeq(2));
    assert!(opened.view().stamp().seq > CommitSeq(2));
}

#[test]
fn obsolete_segments_go_without_another_flush() {
    let mut harness = Harness::new(23);
    for _ in 0..3 {
        for _ in 0..30 {
            harness.commit(5);
        }
        harness.store.flush().unwrap();
    }
    harness.hold_view();
    while harness.store.compact().unwrap() {}
    let disk = Arc::clone(&harness.sim.env.disk);
    let before = history_files(&disk, BYTES).len();
    assert!(before > 3, "the held view still reads the old ones");
    harness.store.start_background(Arc::new(|_| {})).unwrap();
    harness.held.clear();
    eventually("the old files are removed", || history_files(&disk, BYTES).len() < before);
    harness.store.stop_background();
    harness.check_some();
}

/// Also where a flush reports an error although it happened.
#[test]
fn every_checkpoint_is_told() {
    for n in 1..500 {
        let options = StoreOptions { memtable_bytes: usize::MAX, ..small_options() };
        let mut harness = Harness::with(15, Env::sim(15), options);
        for _ in 0..10 {
            harness.commit(5);
        }
        harness.store.flush().unwrap();
        for _ in 0..10 {
            harness.commit(5);
        }
        let told = Arc::new(Mutex::new(harness.store.checkpoint()));
        let teller = Arc::clone(&told);
        harness.store.start_background(Arc::new(move |checkpoint| *teller.lock() = checkpoint)).unwrap();
        harness.sim.disk.fail_after(n, FailMode::Error);
        let first = harness.store.flush();
        let reached = !harness.sim.disk.clear_fault();
        let again = if first.is_err() { harness.store.flush().map(drop) } else { Ok(()) };
        if again.is_ok() {
            assert_eq!(harness.store.checkpoint().stamp, harness.model.last(), "change {n}");
        }
        let store = harness.store.clone();
        eventually("the hook is told", || *told.lock() == store.checkpoint());
        store.stop_background();
        if !reached {
            return;
        }
    }
    panic!("the last change was not reached");
}

/// The definition that a flush is given lacks a column (it must not, but if it does): nothing is lost.
#[test]
fn a_row_with_more_columns_than_its_definition_is_kept_whole() {
    let mut harness = Harness::with(16, Env::sim(16), StoreOptions::default());
    let narrow = harness.table();
    harness.add_column();
    let payload = Bytes::from(row(&harness.dice, &harness.table()));
    let write = |payload| vec![Write { tree: ROWS, key: Bytes::from_static(b"k"), payload }];
    harness.commit_writes(write(Some(payload.clone())));
    harness.commit_writes(write(None));
    *harness.schemas.table.lock() = narrow;
    harness.store.flush().unwrap();
    let found = harness.store.view().versions(ROWS, &KeyRange::all(), Period::All).unwrap();
    let found: Vec<Bytes> = found.map(|version| version.unwrap().payload).collect();
    assert_eq!(found, [payload]);
}
