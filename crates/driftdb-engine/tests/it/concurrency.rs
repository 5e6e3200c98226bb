//! What transactions see and do to each other, on real threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use driftdb_engine::{
    Cancel, InsertOutcome, Isolation, LockMode, LockWait, RowLock, TableLock, Transaction, TxnOptions,
};
use driftdb_types::{Error, KeyRange, SqlState, TableSchema, Value};

use crate::support::*;

fn with_a(row: &Row, a: i32) -> Row {
    let mut row = row.clone();
    row[1] = Value::Int4(a);
    row
}

#[test]
fn snapshots_of_both_levels() {
    let (_sim, engine) = sim(1);
    let table = create(&engine, definition("t", true));
    let mut read_committed = begin(&engine);
    let mut repeatable = begin_at(&engine, Isolation::RepeatableRead);
    let mut writer = begin(&engine);
    insert(&mut writer, &table, row(1, 1, "x")).unwrap();
    assert!(values(&read_committed, &table).is_empty(), "uncommitted rows are nobody else's");
    commit(writer);
    assert!(values(&read_committed, &table).is_empty(), "a statement's snapshot stands still");
    read_committed.begin_statement().unwrap();
    repeatable.begin_statement().unwrap();
    assert_eq!(values(&read_committed, &table), [row(1, 1, "x")]);
    assert!(values(&repeatable, &table).is_empty());
}

#[test]
fn repeatable_read_refuses_a_lost_update() {
    let (_sim, engine) = sim(2);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 0, "")).unwrap();
    commit(setup);
    let mut late = begin_at(&engine, Isolation::RepeatableRead);
    let mut early = begin_at(&engine, Isolation::RepeatableRead);
    assert_eq!(update(&mut early, &table, |row| Some(with_a(row, 1))).unwrap(), 1);
    commit(early);
    let error = update(&mut late, &table, |row| Some(with_a(row, 2))).unwrap_err();
    assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE);
    assert_eq!(error.message, "could not serialize access due to concurrent update");
    drop(late);
    assert_eq!(committed(&engine, &table), [row(1, 1, "")]);

    // The same when the row is gone.
    let mut late = begin_at(&engine, Isolation::RepeatableRead);
    let mut early = begin(&engine);
    delete(&mut early, &table, |_| true).unwrap();
    commit(early);
    let error = update(&mut late, &table, |row| Some(with_a(row, 2))).unwrap_err();
    assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE);
}

/// A key that the snapshot has and somebody deleted since: to write it anew would give it two states at once.
#[test]
fn repeatable_read_does_not_write_a_key_that_was_deleted_since() {
    let (_sim, engine) = sim(15);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_key", 1, true), index("t_b_idx", 2, false)];
    let table = create(&engine, schema);
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 7, "old")).unwrap();
    insert(&mut setup, &table, row(2, 8, "other")).unwrap();
    commit(setup);
    type Attempt = fn(&mut Transaction, &Arc<TableSchema>) -> Result<(), Error>;
    let attempts: [Attempt; 3] = [
        |txn, table| insert(txn, table, row(1, 9, "new")).map(drop),
        |txn, table| insert(txn, table, row(3, 7, "new")).map(drop),
        |txn, table| update(txn, table, |old| (int(old, 0) == 2).then(|| with_a(old, 7))).map(drop),
    ];
    let late = [(); 4].map(|()| begin_at(&engine, Isolation::RepeatableRead));
    let mut early = begin(&engine);
    delete(&mut early, &table, |row| int(row, 0) == 1).unwrap();
    commit(early);
    let [mut free, late @ ..] = late;
    for (mut txn, attempt) in late.into_iter().zip(attempts) {
        assert_eq!(attempt(&mut txn, &table).unwrap_err().state, SqlState::SERIALIZATION_FAILURE);
        assert_eq!(values(&txn, &table).len(), 2);
        assert_eq!(txn.scan(table.indexes[0].id, &KeyRange::all(), false).unwrap().count(), 2);
    }
    insert(&mut free, &table, row(3, 9, "new")).unwrap();
    drop(free);
    // In READ COMMITTED the key is free.
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 7, "new")).unwrap();
    commit(txn);
}

/// Its own deletion frees a key as ever.
#[test]
fn repeatable_read_writes_a_key_anew_that_it_deleted_itself() {
    let (_sim, engine) = sim(16);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_key", 1, true)];
    let table = create(&engine, schema);
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 7, "old")).unwrap();
    commit(setup);
    let mut txn = begin_at(&engine, Isolation::RepeatableRead);
    delete(&mut txn, &table, |_| true).unwrap();
    insert(&mut txn, &table, row(1, 7, "new")).unwrap();
    assert_eq!(values(&txn, &table), [row(1, 7, "new")]);
    commit(txn);
}

/// ON CONFLICT cannot pass over a row that the snapshot does not show; a plain INSERT is told of it.
#[test]
fn repeatable_read_meets_a_conflicting_row_that_it_does_not_see() {
    let (_sim, engine) = sim(17);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_key", 1, true)];
    let table = create(&engine, schema);
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 1, "old")).unwrap();
    insert(&mut setup, &table, row(2, 2, "old")).unwrap();
    commit(setup);
    let mut late = begin_at(&engine, Isolation::RepeatableRead);
    let mut early = begin(&engine);
    insert(&mut early, &table, row(3, 3, "new")).unwrap();
    update(&mut early, &table, |old| (int(old, 0) == 2).then(|| with_a(old, 20))).unwrap();
    commit(early);
    for (values, arbiter) in
        [(row(3, 9, ""), None), (row(3, 9, ""), Some("t_pkey")), (row(9, 3, ""), None), (row(9, 20, ""), None)]
    {
        let error = late.insert_row_unless(&table, values, arbiter).unwrap_err();
        assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE);
    }
    let conflicts = |outcome: InsertOutcome| matches!(outcome, InsertOutcome::Conflict { .. });
    assert!(conflicts(late.insert_row(&table, row(3, 9, "")).unwrap()));
    assert!(conflicts(late.insert_row_unless(&table, row(1, 9, ""), None).unwrap()));
    // Not the constraint that ON CONFLICT is about: 23505, whoever sees the row.
    assert!(conflicts(late.insert_row_unless(&table, row(9, 3, ""), Some("t_pkey")).unwrap()));
}

#[test]
fn read_committed_updates_of_many_threads_all_count() {
    let (_sim, engine) = sim(3);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 0, "")).unwrap();
    commit(setup);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (engine, table) = (engine.clone(), Arc::clone(&table));
            spawn(move || {
                for _ in 0..50 {
                    let mut txn = begin(&engine);
                    let changed = update(&mut txn, &table, |row| Some(with_a(row, int(row, 1) + 1))).unwrap();
                    assert_eq!(changed, 1);
                    commit(txn);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(committed(&engine, &table), [row(1, 400, "")]);
}

#[test]
fn a_waiting_update_runs_again_on_what_it_waited_for() {
    let (_sim, engine) = sim(4);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 10, "")).unwrap();
    insert(&mut setup, &table, row(2, 20, "")).unwrap();
    commit(setup);
    let mut first = begin(&engine);
    // After this, row 1 no longer fits the other's condition and row 2 does.
    update(&mut first, &table, |row| Some(with_a(row, if int(row, 0) == 1 { 20 } else { 10 }))).unwrap();
    let other = {
        let (engine, table) = (engine.clone(), Arc::clone(&table));
        spawn(move || {
            let mut second = begin(&engine);
            let changed = update(&mut second, &table, |row| (int(row, 1) == 10).then(|| with_a(row, 99))).unwrap();
            assert_eq!(changed, 1);
            commit(second);
        })
    };
    rest();
    commit(first);
    other.join().unwrap();
    assert_eq!(committed(&engine, &table), [row(1, 20, ""), row(2, 99, "")]);
}

#[test]
fn a_rollback_lets_the_waiter_go_on_without_running_again() {
    let (_sim, engine) = sim(5);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    let key = insert(&mut setup, &table, row(1, 0, "")).unwrap();
    commit(setup);
    let mut first = begin(&engine);
    update(&mut first, &table, |row| Some(with_a(row, 1))).unwrap();
    let other = {
        let (engine, table) = (engine.clone(), Arc::clone(&table));
        spawn(move || {
            let mut second = begin(&engine);
            second.lock_row(&table, &key, LockMode::Update, LockWait::Wait).unwrap()
        })
    };
    rest();
    first.rollback();
    assert_eq!(other.join().unwrap(), RowLock::Unchanged);
}

#[test]
fn a_deadlock_has_one_victim() {
    let (_sim, engine) = sim(6);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 0, "")).unwrap();
    insert(&mut setup, &table, row(2, 0, "")).unwrap();
    commit(setup);
    let both_hold_one = Arc::new(Barrier::new(2));
    let threads = [(1, 2), (2, 1)].map(|(first, second)| {
        let (engine, table, barrier) = (engine.clone(), Arc::clone(&table), Arc::clone(&both_hold_one));
        spawn(move || {
            let mut txn = begin(&engine);
            update(&mut txn, &table, |row| (int(row, 0) == first).then(|| with_a(row, first))).unwrap();
            barrier.wait();
            update(&mut txn, &table, |row| (int(row, 0) == second).then(|| with_a(row, first)))?;
            commit(txn);
            Ok::<(), Error>(())
        })
    });
    let results = threads.map(|thread| thread.join().unwrap());
    let victim = results.iter().filter_map(|result| result.as_ref().err()).collect::<Vec<_>>();
    assert_eq!(victim.len(), 1, "{results:?}");
    assert_eq!(victim[0].state, SqlState::DEADLOCK_DETECTED);
    assert!(victim[0].detail.as_ref().unwrap().contains("relation \"t\""), "{:?}", victim[0].detail);
    let a: Vec<i32> = committed(&engine, &table).iter().map(|row| int(row, 1)).collect();
    assert!(a == [1, 1] || a == [2, 2], "{a:?}");
}

#[test]
fn of_racing_inserts_of_one_key_exactly_one_wins() {
    let (_sim, engine) = sim(7);
    let mut schema = definition("t", false);
    schema.indexes = vec![index("t_a_key", 1, true)];
    let table = create(&engine, schema);
    for round in 0..20 {
        let start = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (engine, table, start) = (engine.clone(), Arc::clone(&table), Arc::clone(&start));
                spawn(move || {
                    let mut txn = begin(&engine);
                    start.wait();
                    let result = insert(&mut txn, &table, row(thread, round, "x"));
                    if result.is_ok() {
                        commit(txn);
                    }
                    result
                })
            })
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!(error.state, SqlState::UNIQUE_VIOLATION);
        }
    }
    assert_eq!(committed(&engine, &table).len(), 20);
}

#[test]
fn an_insert_waits_for_the_end_of_the_one_before_it() {
    let (_sim, engine) = sim(8);
    let table = create(&engine, definition("t", true));
    for (rolls_back, expected) in [(true, true), (false, false)] {
        let mut first = begin(&engine);
        insert(&mut first, &table, row(1, 1, "first")).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let other = {
            let (engine, table, done) = (engine.clone(), Arc::clone(&table), Arc::clone(&done));
            spawn(move || {
                let mut second = begin(&engine);
                let outcome = second.insert_row(&table, row(1, 2, "second")).unwrap();
                done.store(true, Ordering::SeqCst);
                matches!(outcome, InsertOutcome::Inserted { .. })
            })
        };
        rest();
        assert!(!done.load(Ordering::SeqCst), "it must wait");
        if rolls_back {
            first.rollback();
        } else {
            commit(first);
        }
        assert_eq!(other.join().unwrap(), expected);
    }
}

#[test]
fn a_key_being_deleted_is_waited_for() {
    let (_sim, engine) = sim(9);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_key", 1, true)];
    let table = create(&engine, schema);
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 7, "")).unwrap();
    commit(setup);
    let mut deleter = begin(&engine);
    delete(&mut deleter, &table, |_| true).unwrap();
    let other = {
        let (engine, table) = (engine.clone(), Arc::clone(&table));
        spawn(move || {
            let mut txn = begin(&engine);
            insert(&mut txn, &table, row(2, 7, "")).unwrap();
            commit(txn);
        })
    };
    rest();
    assert!(!other.is_finished());
    commit(deleter);
    other.join().unwrap();
    assert_eq!(committed(&engine, &table), [row(2, 7, "")]);
}

#[test]
fn a_key_being_given_up_by_an_update_is_waited_for() {
    let (_sim, engine) = sim(14);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_key", 1, true)];
    let table = create(&engine, schema);
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 7, "")).unwrap();
    commit(setup);
    for rolls_back in [true, false] {
        let mut updater = begin(&engine);
        update(&mut updater, &table, |old| Some(with_a(old, 8))).unwrap();
        let other = {
            let (engine, table) = (engine.clone(), Arc::clone(&table));
            spawn(move || {
                let mut txn = begin(&engine);
                insert(&mut txn, &table, row(2, 7, "")).map(|_| commit(txn))
            })
        };
        rest();
        assert!(!other.is_finished(), "whether the key is free is not known yet");
        if rolls_back {
            updater.rollback();
            assert_eq!(other.join().unwrap().unwrap_err().state, SqlState::UNIQUE_VIOLATION);
        } else {
            commit(updater);
            other.join().unwrap().unwrap();
        }
    }
    assert_eq!(committed(&engine, &table), [row(1, 8, ""), row(2, 7, "")]);
}

#[test]
fn nowait_skip_locked_share_and_timeouts() {
    let (_sim, engine) = sim(10);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    let key = insert(&mut setup, &table, row(1, 0, "")).unwrap();
    commit(setup);
    let mut holder = begin(&engine);
    assert_eq!(holder.lock_row(&table, &key, LockMode::Update, LockWait::Wait).unwrap(), RowLock::Unchanged);
    let mut other = begin(&engine);
    let error = other.lock_row(&table, &key, LockMode::Update, LockWait::NoWait).unwrap_err();
    assert_eq!(error.state, SqlState::LOCK_NOT_AVAILABLE);
    assert_eq!(error.message, "could not obtain lock on row in relation \"t\"");
    assert_eq!(other.lock_row(&table, &key, LockMode::Update, LockWait::SkipLocked).unwrap(), RowLock::Skipped);
    drop(holder);
    let mut third = begin(&engine);
    for txn in [&mut other, &mut third] {
        assert_eq!(txn.lock_row(&table, &key, LockMode::Share, LockWait::NoWait).unwrap(), RowLock::Unchanged);
    }
    assert!(third.lock_row(&table, &key, LockMode::Update, LockWait::NoWait).is_err());
}

#[test]
fn a_wait_can_be_cancelled_and_timed_out() {
    let sim = driftdb_env::Env::sim(11);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let mut holder = begin(&engine);
    let key = insert(&mut holder, &table, row(1, 0, "")).unwrap();
    let cancel = Arc::new(Cancel::new());
    let mut waiter = engine.begin(TxnOptions::default(), Arc::clone(&cancel));
    waiter.begin_statement().unwrap();
    let shared = Arc::clone(&table);
    let thread = spawn(move || {
        let error = waiter.lock_row(&shared, &key, LockMode::Update, LockWait::Wait).unwrap_err();
        (waiter, key, error)
    });
    rest();
    cancel.cancel();
    let (mut waiter, key, error) = thread.join().unwrap();
    assert_eq!(error.state, SqlState::QUERY_CANCELED);
    cancel.reset();
    waiter.set_lock_timeout(Some(Duration::from_secs(3)));
    let shared = Arc::clone(&table);
    let thread = spawn(move || waiter.lock_row(&shared, &key, LockMode::Update, LockWait::Wait).unwrap_err());
    while !thread.is_finished() {
        sim.clock.advance(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = thread.join().unwrap();
    assert_eq!(
        (error.state, error.message.as_str()),
        (SqlState::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout")
    );
}

#[test]
fn a_table_being_altered_is_written_by_nobody_else_and_read_by_all() {
    let (_sim, engine) = sim(12);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 5, "")).unwrap();
    commit(setup);
    let mut altering = begin(&engine);
    let mut next = TableSchema::clone(&table);
    next.columns.push(column(3, "c", driftdb_types::DataType::Int4));
    altering.put_table(table.id, next).unwrap();
    // A reader goes on.
    let reader = begin(&engine);
    assert_eq!(reader.catalog().table("t").unwrap().columns.len(), 3);
    assert_eq!(values(&reader, &table).len(), 1);
    // A writer waits, and is then told to look again.
    let other = {
        let engine = engine.clone();
        spawn(move || {
            let mut txn = begin(&engine);
            let mut runs = 0;
            let seen = statement(&mut txn, |txn| {
                runs += 1;
                let table = txn.catalog().table("t").cloned().unwrap();
                txn.lock_table(table.id, TableLock::Write)?;
                Ok(table.columns.len())
            });
            (runs, seen.unwrap())
        })
    };
    let mut repeatable = begin_at(&engine, Isolation::RepeatableRead);
    rest();
    commit(altering);
    assert_eq!(other.join().unwrap(), (2, 4));
    let error = repeatable.lock_table(table.id, TableLock::Write).unwrap_err().into_error();
    assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE);
}

/// Money moves between accounts under both levels; at every moment, in every snapshot, the sum is the same.
#[test]
fn transfers_keep_the_sum_in_every_snapshot() {
    let (_sim, engine) = sim(13);
    let table = create(&engine, definition("t", true));
    let accounts = 6;
    let mut setup = begin(&engine);
    for id in 0..accounts {
        insert(&mut setup, &table, row(id, 100, "")).unwrap();
    }
    commit(setup);
    let done = Arc::new(AtomicBool::new(false));
    let moved = Arc::new(AtomicU64::new(0));
    let movers: Vec<_> = (0..4)
        .map(|thread: i32| {
            let (engine, table, moved) = (engine.clone(), Arc::clone(&table), Arc::clone(&moved));
            spawn(move || {
                for round in 0..60 {
                    let (from, to) = ((thread + round) % accounts, (thread * 2 + round * 3 + 1) % accounts);
                    let level = if thread % 2 == 0 { Isolation::ReadCommitted } else { Isolation::RepeatableRead };
                    let mut txn = begin_at(&engine, level);
                    let transfer = update(&mut txn, &table, |row| {
                        let id = int(row, 0);
                        let change = i32::from(id == to) - i32::from(id == from);
                        (id == from || id == to).then(|| with_a(row, int(row, 1) + change))
                    });
                    match transfer {
                        Ok(_) => {
                            if txn.commit(&meta()).unwrap().is_some() {
                                moved.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        Err(error) => assert!(
                            [SqlState::SERIALIZATION_FAILURE, SqlState::DEADLOCK_DETECTED].contains(&error.state),
                            "{error:?}"
                        ),
                    }
                }
            })
        })
        .collect();
    let reader = {
        let (engine, table, done) = (engine.clone(), Arc::clone(&table), Arc::clone(&done));
        spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let sum: i32 = committed(&engine, &table).iter().map(|row| int(row, 1)).sum();
                assert_eq!(sum, accounts * 100);
            }
        })
    };
    for mover in movers {
        mover.join().unwrap();
    }
    done.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    assert!(moved.load(Ordering::Relaxed) > 50);
}
