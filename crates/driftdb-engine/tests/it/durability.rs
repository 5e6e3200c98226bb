//! What is acknowledged stays, what is not is whole or absent, and a broken disk is said to be one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftdb_engine::Engine;
use driftdb_env::{Clock, DiskOpKind, Env, FailMode, Loss, OpenOptions};
use driftdb_store::ReadPoint;
use driftdb_types::{KeyRange, SqlState};

use crate::constraints::check_indexes;
use crate::support::*;

#[test]
fn a_directory_is_opened_once() {
    let (sim, engine) = sim(80);
    let error = Engine::open(sim.env.clone(), Path::new(DIR), options()).unwrap_err();
    assert_eq!(error.state, SqlState::OBJECT_IN_USE);
    assert!(error.message.contains("in use by another process"), "{error}");
    engine.close().unwrap();
    open(&sim.env).close().unwrap();
}

#[test]
fn a_real_directory_is_opened_once_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Env::real(), dir.path(), options()).unwrap();
    let table = create(&engine, definition("t", true));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 1, "x")).unwrap();
    let stamp = commit(txn);
    assert!(Engine::open(Env::real(), dir.path(), options()).is_err());
    drop(engine);
    let engine = Engine::open(Env::real(), dir.path(), options()).unwrap();
    assert_eq!((engine.stamp(), engine.recovery().commits), (stamp, 2));
    assert_eq!(committed(&engine, &table), [row(1, 1, "x")]);
    engine.close().unwrap();
    let engine = Engine::open(Env::real(), dir.path(), options()).unwrap();
    assert_eq!(engine.recovery().commits, 0, "close() makes a checkpoint");
    assert_eq!(committed(&engine, &table), [row(1, 1, "x")]);
}

/// Views and sessions of an engine that was closed live on while the next one writes the files, and then go.
#[test]
fn a_directory_that_was_given_up_is_left_alone() {
    for close in [true, false] {
        let (sim, engine) = sim(88);
        let table = create(&engine, definition("t", true));
        let add = |engine: &Engine, from: i32| {
            for id in from..from + 50 {
                let mut txn = begin(engine);
                insert(&mut txn, &table, row(id, id, &"x".repeat(200))).unwrap();
                commit(txn);
            }
            engine.store().flush().unwrap();
        };
        add(&engine, 0);
        add(&engine, 50);
        let view = engine.view();
        let mut scan = view.scan(table.id, &KeyRange::all(), ReadPoint::Latest, false).unwrap();
        scan.next().unwrap().unwrap();
        let kept = close.then(|| (engine.clone(), begin(&engine)));
        if close {
            engine.close().unwrap();
            assert!(engine.store().flush().is_err());
        }
        drop(engine);
        let next = open(&sim.env);
        for from in (100..400).step_by(50) {
            add(&next, from);
        }
        // It stands still, or it fails; and what it does when it goes reaches no file.
        let seen: Vec<_> = scan.by_ref().map_while(Result::ok).collect();
        assert!(
            seen.iter().all(|version| version.from.seq <= view.stamp().seq),
            "what the view had, and nothing newer"
        );
        assert!(seen.is_sorted_by(|one, next| one.key < next.key));
        drop((scan, view, kept));
        add(&next, 400);
        next.close().unwrap();
        drop(next);
        let last = open(&sim.env);
        assert_eq!(committed(&last, &table).len(), 450);
        last.close().unwrap();
    }
}

#[test]
fn a_failed_opening_leaves_the_directory_to_the_next() {
    let (sim, engine) = sim(89);
    create(&engine, definition("t", true));
    drop(engine);
    sim.disk.fail_after(1, FailMode::Error);
    let failed = Engine::open(sim.env.clone(), Path::new(DIR), options());
    sim.disk.clear_fault();
    drop(failed);
    assert!(open(&sim.env).catalog().table("t").is_some());
}

/// Real syncs take time, so that commits do gather in groups.
#[test]
fn group_commits_on_a_real_disk_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Env::real(), dir.path(), options()).unwrap();
    let table = create(&engine, definition("t", true));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (engine, table) = (engine.clone(), Arc::clone(&table));
            spawn(move || {
                for round in 0..25 {
                    let mut txn = begin(&engine);
                    insert(&mut txn, &table, row(thread * 100 + round, 0, "")).unwrap();
                    let stamp = commit(txn);
                    assert!(engine.stamp() >= stamp, "what is acknowledged is visible");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    drop(engine);
    let engine = Engine::open(Env::real(), dir.path(), options()).unwrap();
    assert_eq!(engine.stamp().seq.0, 201);
    assert_eq!(committed(&engine, &table).len(), 200);
}

#[test]
fn a_closed_engine_says_so() {
    let (_sim, engine) = sim(81);
    let table = create(&engine, definition("t", true));
    let mut open_txn = begin(&engine);
    insert(&mut open_txn, &table, row(1, 1, "")).unwrap();
    engine.close().unwrap();
    engine.close().unwrap();
    let error = open_txn.commit(&meta()).unwrap_err();
    assert_eq!(error.state, SqlState::ADMIN_SHUTDOWN);
    let mut txn = engine.begin(Default::default(), Arc::default());
    assert_eq!(txn.begin_statement().unwrap_err().state, SqlState::ADMIN_SHUTDOWN);
}

/// Several threads commit, each its own rows, two to a commit; the power goes at some operation. Every acknowledged
/// commit is there afterwards, and of those that were not, either both rows or none.
#[test]
fn group_commits_survive_a_power_cut() {
    for seed in 0..40 {
        let sim = Env::sim(seed);
        sim.disk.set_loss(if seed % 2 == 0 { Loss::All } else { Loss::Random });
        let engine = open(&sim.env);
        let mut schema = definition("t", true);
        schema.indexes = vec![index("t_a_key", 1, true)];
        let table = create(&engine, schema);
        if seed % 3 == 0 {
            engine.store().flush().unwrap();
        }
        sim.disk.fail_after(5 + seed * 3, FailMode::Crash);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (engine, table) = (engine.clone(), Arc::clone(&table));
                spawn(move || {
                    let mut acknowledged = Vec::new();
                    for round in 0..40 {
                        let id = thread * 1_000 + round * 2;
                        let mut txn = begin(&engine);
                        let both = [id, id + 1].map(|id| insert(&mut txn, &table, row(id, id, "x")));
                        if let Some(error) = both.into_iter().find_map(Result::err) {
                            assert_eq!(error.state, SqlState::IO_ERROR);
                            return (acknowledged, None);
                        }
                        match txn.commit(&meta()) {
                            Ok(stamp) => acknowledged.push((id, stamp.unwrap())),
                            Err(error) => {
                                assert_eq!(error.state, SqlState::IO_ERROR);
                                return (acknowledged, Some(id));
                            }
                        }
                    }
                    (acknowledged, None)
                })
            })
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let had_crashed = sim.disk.is_down();
        drop(engine);
        sim.disk.crash();
        let engine = open(&sim.env);
        let found: Vec<i32> = committed(&engine, &table).iter().map(|row| int(row, 0)).collect();
        let mut expected_at_least = 0;
        for (acknowledged, unknown) in results {
            for (id, stamp) in acknowledged {
                assert!(found.contains(&id) && found.contains(&(id + 1)), "seed {seed}: {id} was acknowledged");
                assert!(stamp.seq <= engine.stamp().seq);
                expected_at_least += 2;
            }
            if let Some(id) = unknown {
                assert_eq!(found.contains(&id), found.contains(&(id + 1)), "seed {seed}: half a commit");
            }
        }
        assert!(found.len() >= expected_at_least && found.len() <= expected_at_least + 8);
        assert!(had_crashed || found.len() == 320, "seed {seed}: nothing happened");
        check_indexes(&engine, &table);
        // It goes on.
        let before = engine.stamp();
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(-1, -1, "after")).unwrap();
        assert_eq!(commit(txn).seq, before.seq.next());
    }
}

#[test]
fn a_failed_sync_makes_the_engine_read_only() {
    let (sim, engine) = sim(82);
    let table = create(&engine, definition("t", true));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 1, "before")).unwrap();
    commit(txn);
    sim.disk.fail_on(DiskOpKind::Sync, 1, FailMode::Error);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(2, 2, "unknown")).unwrap();
    let error = txn.commit(&meta()).unwrap_err();
    assert_eq!(error.state, SqlState::IO_ERROR);
    assert!(error.message.contains("read-only"), "{error}");
    assert!(error.hint.is_some());
    assert_eq!(engine.read_only_reason(), Some(error.clone()));
    // Reading goes on, writing does not, however often it is tried.
    assert_eq!(committed(&engine, &table), [row(1, 1, "before")]);
    for _ in 0..2 {
        let mut txn = begin(&engine);
        assert_eq!(insert(&mut txn, &table, row(3, 3, "")).unwrap_err(), error);
    }
    engine.close().unwrap();
    drop(engine);
    let engine = open(&sim.env);
    let found = committed(&engine, &table);
    assert!(found == [row(1, 1, "before")] || found == [row(1, 1, "before"), row(2, 2, "unknown")]);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(3, 3, "")).unwrap();
    commit(txn);
}

#[test]
fn a_full_disk_fails_the_commit_and_not_the_engine() {
    let (sim, engine) = sim(83);
    let table = create(&engine, definition("t", true));
    sim.disk.fail_on(DiskOpKind::Allocate, 1, FailMode::Full);
    // The log's first segment has room for some commits; the one that needs another segment fails.
    let big = "x".repeat(100_000);
    let mut failures = Vec::new();
    for id in 0..40 {
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(id, 0, &big)).unwrap();
        if let Err(error) = txn.commit(&meta()) {
            assert_eq!(error.state, SqlState::DISK_FULL, "{error}");
            failures.push(id);
        }
    }
    assert_eq!(failures.len(), 1);
    assert_eq!(engine.read_only_reason(), None);
    let stamp = engine.stamp();
    drop(engine);
    let engine = open(&sim.env);
    assert_eq!(engine.stamp(), stamp);
    let found: Vec<i32> = committed(&engine, &table).iter().map(|row| int(row, 0)).collect();
    assert_eq!(found, (0..40).filter(|id| *id != failures[0]).collect::<Vec<_>>());
}

#[test]
fn checkpoints_trim_the_log() {
    let sim = Env::sim(84);
    let mut small = options();
    small.background = true;
    small.log.segment_bytes = 64 << 10;
    small.store.memtable_bytes = 256 << 10;
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), small.clone()).unwrap();
    let table = create(&engine, definition("t", true));
    let text = "y".repeat(200);
    for id in 0..4_000 {
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(id, id, &text)).unwrap();
        commit(txn);
    }
    // While it runs: what close() trims is another matter. A memtable is four segments long, and up to three of them
    // (one being written, two sealed) are not in a checkpoint yet.
    let segments = sim.env.disk.list(&Path::new(DIR).join("log")).unwrap();
    assert!(segments.len() <= 3 * 4 + 2, "{segments:?}");
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), small).unwrap();
    assert_eq!(committed(&engine, &table).len(), 4_000);
    engine.close().unwrap();
}

/// A log many times as long as the memtables is replayed: the store flushes while it is read.
#[test]
fn a_long_log_is_replayed_within_bounds() {
    const COMMITS: i32 = 600;
    const ROW_BYTES: u64 = 500;
    let sim = Env::sim(85);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let text = "z".repeat(usize::try_from(ROW_BYTES).unwrap());
    for id in 0..COMMITS {
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(id, id, &text)).unwrap();
        commit(txn);
    }
    let stamp = engine.stamp();
    let expected = committed(&engine, &table);
    drop(engine);
    let mut small = options();
    small.background = true;
    small.store.memtable_bytes = 16 << 10;
    // The sealed ones, and the one being written: it is looked at whenever so much has been read again.
    assert_eq!(small.store.sealed_max, 2);
    let memory_bytes = 4 * (16 << 10);
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), small).unwrap();
    let in_memory = engine.stamp().seq.0 - engine.store().checkpoint().stamp.seq.0;
    assert!(in_memory * ROW_BYTES <= memory_bytes, "{in_memory} commits are in memory");
    assert_eq!(engine.stamp(), stamp);
    assert_eq!(committed(&engine, &table), expected);
    assert_eq!(engine.recovery().commits, stamp.seq.0);
    engine.close().unwrap();
}

/// The engine goes while commits are under way: each is answered, and nothing hangs.
#[test]
fn closing_under_load_answers_everyone() {
    let (sim, engine) = sim(86);
    let table = create(&engine, definition("t", true));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|thread: i32| {
            let (engine, table, stop) = (engine.clone(), Arc::clone(&table), Arc::clone(&stop));
            spawn(move || {
                let mut acknowledged = Vec::new();
                for round in 0.. {
                    let id = thread * 100_000 + round;
                    let mut txn = engine.begin(Default::default(), Arc::default());
                    let done = txn.begin_statement().and_then(|()| {
                        insert(&mut txn, &table, row(id, 0, ""))?;
                        txn.commit(&meta())
                    });
                    match done {
                        Ok(_) => acknowledged.push(id),
                        Err(error) => {
                            assert_eq!(error.state, SqlState::ADMIN_SHUTDOWN);
                            return acknowledged;
                        }
                    }
                    assert!(!stop.load(Ordering::Relaxed), "the engine is closed and still commits");
                }
                unreachable!()
            })
        })
        .collect();
    rest();
    engine.close().unwrap();
    rest();
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged: Vec<i32> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    acknowledged.sort_unstable();
    drop(engine);
    let engine = open(&sim.env);
    let found: Vec<i32> = committed(&engine, &table).iter().map(|row| int(row, 0)).collect();
    assert_eq!(found, acknowledged);
    assert!(!found.is_empty());
}

/// The disk is full, so that the commits of a long log find no room: that is no damage.
#[test]
fn recovery_on_a_full_disk_says_so() {
    let sim = Env::sim(90);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    for id in 0..600 {
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(id, id, &"z".repeat(4_000))).unwrap();
        commit(txn);
    }
    drop(engine);
    let disk = &sim.env.disk;
    let size = |path: &Path| disk.open(path, OpenOptions::READ).unwrap().len().unwrap();
    let log = Path::new(DIR).join("log");
    let segments = disk.list(&log).unwrap();
    let used = size(&Path::new(DIR).join("base.redb")) + segments.iter().map(|name| size(&log.join(name))).sum::<u64>();
    sim.disk.set_capacity_bytes(Some(used + 20_000));
    let mut small = options();
    small.background = true;
    small.store.memtable_bytes = 64 << 10;
    small.room_timeout = Duration::from_secs(2);
    let error = Engine::open(sim.env.clone(), Path::new(DIR), small).unwrap_err();
    assert_eq!(error.state, SqlState::DISK_FULL, "{error}");
    sim.disk.set_capacity_bytes(None);
    assert_eq!(committed(&open(&sim.env), &table).len(), 600);
}

/// A clock that panics when the test wants it.
#[derive(Debug)]
struct PanickingClock {
    inner: Arc<dyn Clock>,
    armed: AtomicBool,
}

impl Clock for PanickingClock {
    fn now_us(&self) -> i64 {
        assert!(!self.armed.load(Ordering::Relaxed), "as the test wants it");
        self.inner.now_us()
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration);
    }
}

#[test]
fn a_panic_while_committing_is_answered_and_ends_writing() {
    let sim = Env::sim(91);
    let clock = Arc::new(PanickingClock { inner: Arc::clone(&sim.env.clock), armed: AtomicBool::new(false) });
    let env = Env { clock: Arc::<PanickingClock>::clone(&clock), ..sim.env.clone() };
    let engine = open(&env);
    let table = create(&engine, definition("t", true));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 1, "before")).unwrap();
    commit(txn);
    let mut txns = [begin(&engine), begin(&engine)];
    for (txn, id) in txns.iter_mut().zip(2..) {
        insert(txn, &table, row(id, id, "lost")).unwrap();
    }
    clock.armed.store(true, Ordering::Relaxed);
    for txn in txns {
        assert_eq!(txn.commit(&meta()).unwrap_err().state, SqlState::INTERNAL_ERROR);
    }
    assert!(engine.read_only_reason().is_some());
    assert_eq!(committed(&engine, &table), [row(1, 1, "before")]);
    engine.close().unwrap();
    assert_eq!(committed(&open(&sim.env), &table), [row(1, 1, "before")]);
}
