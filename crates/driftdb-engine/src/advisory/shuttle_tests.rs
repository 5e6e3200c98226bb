//! Advisory locks under shuttle, with the commits that give some of them back.

use std::sync::Mutex as StdMutex;

use bytes::Bytes;
use driftdb_store::ReadPoint;
use driftdb_types::{SqlState, TreeId};
use shuttle::thread;

use super::*;
use crate::shuttle_tests::{env, explore, open};
use crate::{CommitMeta, TxnOptions};

const KEY: AdvisoryKey = AdvisoryKey::One(7);
const TREE: TreeId = TreeId(100);

fn lock(
    session: &SessionLocks,
    key: AdvisoryKey,
    mode: AdvisoryMode,
    scope: AdvisoryScope,
    cancel: &Arc<Cancel>,
) -> Result<()> {
    session.lock(key, mode, scope, AdvisoryWait { wait: true, timeout: None, cancel }).map(|locked| assert!(locked))
}

/// Shared first, alone then: whoever cannot go on for somebody who wants the same gives way, the others get it.
#[test]
fn shuttle_who_has_a_number_alone_is_alone() {
    explore(600, || {
        let engine = open(&env(), 1);
        let (shared, alone) = (Arc::new(StdMutex::new(0_u32)), Arc::new(StdMutex::new(0_u32)));
        let session = || {
            let (engine, shared, alone) = (engine.clone(), Arc::clone(&shared), Arc::clone(&alone));
            thread::spawn(move || {
                let (session, cancel) = (engine.session_locks(), Arc::new(Cancel::new()));
                let take = |mode| lock(&session, KEY, mode, AdvisoryScope::Session, &cancel);
                take(AdvisoryMode::Shared).unwrap();
                assert_eq!(*alone.lock().unwrap(), 0);
                *shared.lock().unwrap() += 1;
                thread::yield_now();
                *shared.lock().unwrap() -= 1;
                match take(AdvisoryMode::Exclusive) {
                    Ok(()) => {
                        assert_eq!(*shared.lock().unwrap(), 0);
                        *alone.lock().unwrap() += 1;
                        assert_eq!(*alone.lock().unwrap(), 1);
                        thread::yield_now();
                        *alone.lock().unwrap() -= 1;
                        // Others may share it again, but nobody has it alone.
                        assert!(session.unlock(KEY, AdvisoryMode::Exclusive));
                        *shared.lock().unwrap() += 1;
                        thread::yield_now();
                        *shared.lock().unwrap() -= 1;
                    }
                    Err(error) => assert_eq!(error.state, SqlState::DEADLOCK_DETECTED),
                }
            })
        };
        [session(), session(), session()].into_iter().for_each(|session| session.join().unwrap());
        assert_eq!(engine.locks().len(), 0);
        assert_eq!(engine.budget().used_bytes(), 0);
    });
}

/// Adds one to what is committed under a number that is locked until the end of the transaction: nothing else keeps others
/// away. A commit may be cancelled; then it gives the number back without a trace.
#[test]
fn shuttle_a_number_locked_by_a_transaction_is_free_when_its_commit_is_visible() {
    explore(600, || {
        let engine = open(&env(), 1);
        let counted = |engine: &Engine| {
            let version = engine.view().get(TREE, &[0], ReadPoint::Latest).unwrap();
            version.map_or(0, |version| version.payload[0])
        };
        let cancels = [(); 3].map(|()| Arc::new(Cancel::new()));
        let session = |cancel: Arc<Cancel>| {
            let engine = engine.clone();
            thread::spawn(move || {
                let session = engine.session_locks();
                let mut txn = engine.begin_in(&session, TxnOptions::default(), Arc::clone(&cancel));
                let locked = lock(&session, KEY, AdvisoryMode::Exclusive, AdvisoryScope::Transaction, &cancel);
                let committed = locked.and_then(|()| {
                    txn.begin_statement()?;
                    let next = Bytes::from(vec![counted(&engine) + 1]);
                    txn.put(TREE, Bytes::from_static(&[0]), None, Some(next))?;
                    txn.commit(&CommitMeta::default())
                });
                let state = committed.map_err(|error| error.state);
                assert!(matches!(state, Ok(_) | Err(SqlState::QUERY_CANCELED)), "{state:?}");
                u8::from(state.is_ok())
            })
        };
        // They keep the pipeline busy, so that some of the commits wait in its queue.
        let busy = {
            let engine = engine.clone();
            thread::spawn(move || {
                for key in 1..3 {
                    let mut txn = engine.begin(TxnOptions::default(), Arc::new(Cancel::new()));
                    txn.put(TREE, Bytes::from(vec![key]), None, Some(Bytes::new())).unwrap();
                    txn.commit(&CommitMeta::default()).unwrap();
                }
            })
        };
        let sessions = cancels.clone().map(session);
        cancels[0].cancel();
        let committed: u8 = sessions.into_iter().map(|session| session.join().unwrap()).sum();
        busy.join().unwrap();
        assert_eq!(counted(&engine), committed);
        assert!(committed >= 2);
        assert_eq!(engine.locks().len(), 0);
        assert_eq!(engine.budget().used_bytes(), 0);
    });
}

/// One has a name and wants the number, the other the number and wants the name: both are in one graph of who waits for whom.
#[test]
fn shuttle_a_cycle_of_a_number_and_a_name_is_found() {
    explore(600, || {
        let engine = open(&env(), 1);
        let session = |number_first: bool| {
            let engine = engine.clone();
            thread::spawn(move || {
                let (session, cancel) = (engine.session_locks(), Arc::new(Cancel::new()));
                let mut txn = engine.begin_in(&session, TxnOptions::default(), Arc::clone(&cancel));
                let number = || lock(&session, KEY, AdvisoryMode::Exclusive, AdvisoryScope::Session, &cancel);
                let both = if number_first {
                    number().and_then(|()| txn.lock_name("n"))
                } else {
                    txn.lock_name("n").and_then(|()| number())
                };
                if let Err(error) = &both {
                    assert_eq!(error.state, SqlState::DEADLOCK_DETECTED);
                }
                usize::from(both.is_ok())
            })
        };
        let through: usize = [true, false].map(session).into_iter().map(|session| session.join().unwrap()).sum();
        assert!(through >= 1);
        assert_eq!(engine.locks().len(), 0);
        assert_eq!(engine.budget().used_bytes(), 0);
    });
}
