//! The power is cut, or a change fails, at every change of the disk that a flush or a compaction makes.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_env::{DiskOpKind, Env, FailMode, Loss, SimEnv};
use driftdb_store::{CommitBatch, ReadPoint, Store, StoreError, Write, check};
use driftdb_types::{CommitSeq, Lsn, Stamp};
use parking_lot::Mutex;

use crate::harness::{DIR, Harness, open_recovered, small_options};
use crate::schemas::{BYTES, Schemas, table};

/// A store with base, history and commits that are not flushed yet.
fn prepared(seed: u64) -> Harness {
    let mut options = small_options();
    options.memtable_bytes = usize::MAX; // nothing happens unless asked for
    let mut harness = Harness::with(seed, Env::sim(seed), options);
    for round in 0..3 {
        for _ in 0..12 {
            harness.commit(5);
        }
        if round == 1 {
            harness.add_column();
        }
        harness.store.flush().unwrap();
    }
    harness
}

pub(crate) fn fork(sim: &SimEnv, seed: u64) -> SimEnv {
    let mut other = Env::sim(seed);
    other.disk = sim.disk.fork(seed);
    other.env.disk = Arc::new(other.disk.clone());
    other
}

/// Runs `operation` on copies of the store, each with the next change of the disk failing in this way, until one of them
/// is not reached; after each the store is opened again and must hold every commit.
fn at_every_change(base: &Harness, mode: FailMode, operation: impl Fn(&Store) -> Result<bool, StoreError>) -> u64 {
    for n in 1.. {
        let sim = fork(&base.sim, n);
        let store = open_recovered(&sim, &base.options, &base.schemas, &base.model);
        sim.disk.fail_after(n, mode);
        let result = operation(&store);
        let reached = !sim.disk.clear_fault();
        if !reached {
            assert!(result.unwrap());
            return n - 1;
        }
        if matches!(mode, FailMode::Crash) {
            let struck = sim.disk.operations().pop().unwrap();
            assert!(result.is_err() || struck.kind == DiskOpKind::Remove, "a crash in {struck} does not show");
            drop(store);
            sim.disk.crash();
        } else {
            go_on_after_error(base, &store, &sim, result, &operation);
            drop(store);
        }
        let copy = reopened(base, sim);
        copy.check_all();
        copy.store.flush().unwrap();
        while copy.store.compact().unwrap() {}
        copy.check_all();
        nothing_is_found(copy);
    }
    0
}

/// After a failure without a crash: the reads go on, and the operation works when it is tried again; unless a sync
/// failed, when nothing may be written any more.
fn go_on_after_error(
    base: &Harness,
    store: &Store,
    sim: &SimEnv,
    result: Result<bool, StoreError>,
    operation: &impl Fn(&Store) -> Result<bool, StoreError>,
) {
    let copy = Harness {
        sim: sim.clone(),
        options: base.options.clone(),
        schemas: Arc::clone(&base.schemas),
        store: store.clone(),
        model: base.model.clone(),
        dice: crate::schemas::Dice::new(1),
        held: Vec::new(),
        held_scans: Vec::new(),
    };
    copy.check_all();
    if result.is_ok() {
        return; // a change that nothing depends on, such as removing an old file
    }
    match operation(store) {
        Ok(_) => {}
        Err(error @ StoreError::Sync { .. }) => {
            let refused = store.wait_for_room(std::time::Duration::ZERO);
            assert!(refused.is_err(), "commits go on although {error}");
        }
        Err(error) => panic!("a second try fails: {error}"),
    }
    copy.check_all();
    if store.wait_for_room(std::time::Duration::ZERO).is_ok() {
        // What the failed try had begun is gone already.
        let now = fork(sim, 0);
        assert_eq!(check(&now.env, Path::new(DIR), base.schemas.clone()), Vec::new());
    }
}

fn reopened(base: &Harness, sim: SimEnv) -> Harness {
    let store = open_recovered(&sim, &base.options, &base.schemas, &base.model);
    Harness {
        sim,
        options: base.options.clone(),
        schemas: Arc::clone(&base.schemas),
        store,
        model: base.model.clone(),
        dice: crate::schemas::Dice::new(0),
        held: Vec::new(),
        held_scans: Vec::new(),
    }
}

fn nothing_is_found(harness: Harness) {
    let Harness { sim, schemas, store, .. } = harness;
    drop(store);
    assert_eq!(check(&sim.env, Path::new(DIR), schemas), Vec::new());
}

fn with_commits_to_flush(seed: u64) -> Harness {
    let mut base = prepared(seed);
    for _ in 0..15 {
        base.commit(5);
    }
    base.store.publish();
    base
}

#[test]
fn a_crash_at_every_change_of_a_flush() {
    for seed in 0..4 {
        let changes = at_every_change(&with_commits_to_flush(seed), FailMode::Crash, Store::flush);
        println!("seed {seed}: {changes} changes");
        assert!(changes > 10);
    }
}

#[test]
fn an_error_at_every_change_of_a_flush() {
    for seed in 0..4 {
        let changes = at_every_change(&with_commits_to_flush(seed), FailMode::Error, Store::flush);
        println!("seed {seed}: {changes} changes");
        assert!(changes > 10);
    }
}

#[test]
fn a_crash_at_every_change_of_a_compaction() {
    for seed in 0..4 {
        let changes = at_every_change(&prepared(seed), FailMode::Crash, Store::compact);
        println!("seed {seed}: {changes} changes");
        assert!(changes > 5);
    }
}

#[test]
fn an_error_at_every_change_of_a_compaction() {
    for seed in 0..4 {
        let changes = at_every_change(&prepared(seed), FailMode::Error, Store::compact);
        println!("seed {seed}: {changes} changes");
        assert!(changes > 5);
    }
}

#[test]
fn the_checkpoint_names_the_last_flushed_commit() {
    let base = with_commits_to_flush(3);
    base.store.flush().unwrap();
    let last = base.model.commits.last().unwrap();
    assert_eq!(base.store.checkpoint().stamp, last.stamp);
    assert_eq!(base.store.checkpoint().lsn, Lsn(last.end_lsn.0));
}

/// Whatever goes wrong when the store is made, it can be opened afterwards; and what is flushed then outlives a power cut.
#[test]
fn a_first_opening_that_was_cut_short_is_made_good() {
    let schemas = Arc::new(Schemas { table: Mutex::new(Arc::new(table())) });
    let open = |sim: &SimEnv| Store::open(sim.env.clone(), Path::new(DIR), small_options(), schemas.clone());
    let accidents = [
        (FailMode::Crash, true),
        (FailMode::Error, true),
        (FailMode::Error, false),
        (FailMode::Full, true),
        (FailMode::Full, false),
    ];
    for ((mode, power_cut), seed) in accidents.into_iter().flat_map(|accident| (0..6).map(move |seed| (accident, seed)))
    {
        for n in 1.. {
            let sim = Env::sim(seed);
            sim.disk.fail_after(n, mode);
            let first = open(&sim);
            if sim.disk.clear_fault() {
                first.unwrap();
                assert!(n > 5, "{n}");
                break;
            }
            drop(first);
            if power_cut {
                sim.disk.crash()
            } else {
                sim.disk.kill()
            }
            let store = open(&sim).unwrap_or_else(|error| panic!("{mode:?} of change {n}, seed {seed}: {error}"));
            let write = Write { tree: BYTES, key: Bytes::from_static(b"k"), payload: Some(Bytes::from_static(b"v")) };
            let stamp = Stamp { seq: CommitSeq(1), time_us: 1 };
            store.commit(&[CommitBatch { stamp, end_lsn: Lsn(1), writes: &[write] }], || {});
            store.flush().unwrap();
            sim.disk.set_loss(Loss::All);
            sim.disk.crash();
            let store = open(&sim).unwrap();
            let found = store.view().get(BYTES, b"k", ReadPoint::Latest).unwrap();
            assert!(found.is_some(), "{mode:?} of change {n}, seed {seed}: what was flushed is lost");
        }
    }
}
