//! Advisory locks: who holds what, and until when.

use std::sync::Arc;
use std::time::Duration;

use driftdb_engine::AdvisoryMode::{Exclusive, Shared};
use driftdb_engine::{
    AdvisoryKey, AdvisoryMode, AdvisoryScope, AdvisoryWait, Cancel, Engine, SessionLocks, Transaction,
};
use driftdb_types::SqlState;

use crate::support::{meta, sim, spawn};

const KEY: AdvisoryKey = AdvisoryKey::One(7);

fn try_lock(session: &SessionLocks, key: AdvisoryKey, mode: AdvisoryMode, scope: AdvisoryScope) -> bool {
    let wait = AdvisoryWait { wait: false, timeout: None, cancel: &Arc::new(Cancel::new()) };
    session.lock(key, mode, scope, wait).unwrap()
}

fn begin(engine: &Engine, session: &Arc<SessionLocks>) -> Transaction {
    let mut txn = engine.begin_in(session, Default::default(), Arc::new(Cancel::new()));
    txn.begin_statement().unwrap();
    txn
}

#[test]
fn a_session_s_lock_is_given_back_as_often_as_it_was_taken() {
    let (_sim, engine) = sim(1);
    let (one, two) = (engine.session_locks(), engine.session_locks());
    assert!(try_lock(&one, KEY, Exclusive, AdvisoryScope::Session));
    assert!(try_lock(&one, KEY, Exclusive, AdvisoryScope::Session));
    assert!(!try_lock(&two, KEY, Shared, AdvisoryScope::Session));
    assert!(try_lock(&two, AdvisoryKey::Two(0, 7), Exclusive, AdvisoryScope::Session), "another number");
    assert!(!one.unlock(KEY, Shared), "not taken in that mode");
    assert!(one.unlock(KEY, Exclusive));
    assert!(!try_lock(&two, KEY, Shared, AdvisoryScope::Session));
    assert!(one.unlock(KEY, Exclusive));
    assert!(!one.unlock(KEY, Exclusive));
    assert!(try_lock(&two, KEY, Shared, AdvisoryScope::Session));
    assert!(try_lock(&one, KEY, Shared, AdvisoryScope::Session));
    drop(two);
    assert!(try_lock(&one, KEY, Exclusive, AdvisoryScope::Session), "who is gone holds nothing");
}

#[test]
fn the_stronger_mode_counts_and_the_weaker_one_stays() {
    let (_sim, engine) = sim(2);
    let (one, two) = (engine.session_locks(), engine.session_locks());
    assert!(try_lock(&one, KEY, Shared, AdvisoryScope::Session));
    assert!(try_lock(&one, KEY, Exclusive, AdvisoryScope::Session));
    assert!(!try_lock(&two, KEY, Shared, AdvisoryScope::Session));
    assert!(one.unlock(KEY, Exclusive));
    assert!(try_lock(&two, KEY, Shared, AdvisoryScope::Session));
    assert!(!try_lock(&two, KEY, Exclusive, AdvisoryScope::Session));
    one.unlock_all();
    assert!(try_lock(&two, KEY, Exclusive, AdvisoryScope::Session));
}

#[test]
fn a_transaction_s_lock_ends_with_it_or_with_its_savepoint() {
    let (_sim, engine) = sim(3);
    let (one, two) = (engine.session_locks(), engine.session_locks());
    let mut txn = begin(&engine, &one);
    assert!(try_lock(&one, KEY, Exclusive, AdvisoryScope::Transaction));
    assert!(!one.unlock(KEY, Exclusive), "it is not the session's to give back");
    let savepoint = txn.savepoint();
    let later = AdvisoryKey::One(8);
    assert!(try_lock(&one, later, Exclusive, AdvisoryScope::Transaction));
    txn.rollback_to(&savepoint);
    assert!(try_lock(&two, later, Exclusive, AdvisoryScope::Session));
    assert!(!try_lock(&two, KEY, Exclusive, AdvisoryScope::Session));
    txn.commit(&meta()).unwrap();
    assert!(try_lock(&two, KEY, Exclusive, AdvisoryScope::Session));
}

#[test]
fn a_deadlock_through_an_advisory_lock_and_a_row_is_found() {
    let (_sim, engine) = sim(4);
    let table = crate::support::create(&engine, crate::support::definition("t", true));
    let mut setup = crate::support::begin(&engine);
    let key = crate::support::insert(&mut setup, &table, crate::support::row(1, 1, "")).unwrap();
    crate::support::commit(setup);
    let (one, two) = (engine.session_locks(), engine.session_locks());
    assert!(try_lock(&one, KEY, Exclusive, AdvisoryScope::Session));
    let mut theirs = begin(&engine, &two);
    theirs.lock_row(&table, &key, Default::default(), Default::default()).unwrap();
    let waits = spawn(move || {
        let wait = AdvisoryWait { wait: true, timeout: None, cancel: &Arc::new(Cancel::new()) };
        let ended = two.lock(KEY, Exclusive, AdvisoryScope::Transaction, wait);
        drop(theirs);
        ended
    });
    crate::support::rest();
    let mut ours = begin(&engine, &one);
    let row = ours.lock_row(&table, &key, Default::default(), Default::default());
    one.unlock_all();
    let ends = [row.map(drop), waits.join().unwrap().map(drop)];
    let victims: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    assert_eq!(victims.len(), 1, "{ends:?}");
    assert_eq!(victims[0].state, SqlState::DEADLOCK_DETECTED);
    assert!(victims[0].detail.as_ref().unwrap().contains("advisory lock 7"), "{victims:?}");
}

#[test]
fn a_wait_ends_with_its_time() {
    let (sim, engine) = sim(5);
    let (one, two) = (engine.session_locks(), engine.session_locks());
    assert!(try_lock(&one, KEY, Shared, AdvisoryScope::Session));
    let waits = spawn(move || {
        let timeout = Some(Duration::from_secs(5));
        let wait = AdvisoryWait { wait: true, timeout, cancel: &Arc::new(Cancel::new()) };
        two.lock(KEY, Exclusive, AdvisoryScope::Session, wait)
    });
    while !waits.is_finished() {
        sim.env.clock.sleep(Duration::from_secs(1));
    }
    assert_eq!(waits.join().unwrap().unwrap_err().state, SqlState::LOCK_NOT_AVAILABLE);
}
