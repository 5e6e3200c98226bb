//! The pipeline under shuttle, in a whole engine on a simulated machine.

use std::sync::Mutex as StdMutex;

use bytes::Bytes;
use driftdb_store::ReadPoint;
use shuttle::thread;

use super::*;
use crate::shuttle_tests::{begin, choose, env, explore, open};
use crate::{CommitMeta, Engine, Isolation, TxnOptions};

const TREE: TreeId = TreeId(100);
/// So few that commits wait for a place.
const QUEUE_MAX: usize = 1;

/// Commits one key, and looks that it is visible to all when that is answered.
fn commit(engine: &Engine, key: u8, cancel: &Arc<Cancel>) -> Result<Stamp> {
    let mut txn = begin(engine, TxnOptions::default(), cancel);
    txn.put(TREE, Bytes::from(vec![key]), None, Some(Bytes::new())).unwrap();
    let stamp = txn.commit(&CommitMeta::default())?.unwrap();
    assert_eq!(committed(engine, key), Some(stamp));
    assert!(engine.stamp() >= stamp);
    let queue_max = engine.options().commit_queue_max;
    assert!(engine.pipeline().queue.lock().waiting.len() <= queue_max);
    Ok(stamp)
}

/// Which commit wrote the key, if one did.
fn committed(engine: &Engine, key: u8) -> Option<Stamp> {
    engine.view().get(TREE, &[key], ReadPoint::Latest).unwrap().map(|version| version.from)
}

fn spawn<T: Send + 'static>(
    engine: &Engine,
    session: impl FnOnce(&Engine) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let engine = engine.clone();
    thread::spawn(move || session(&engine))
}

fn join<T>(sessions: Vec<thread::JoinHandle<T>>) -> Vec<T> {
    sessions.into_iter().map(|session| session.join().unwrap()).collect()
}

/// All that wait find a place in a queue that has one, are written by whoever owns the pipeline, and are answered.
#[test]
fn shuttle_every_commit_is_answered_in_the_order_of_the_log() {
    explore(600, || {
        let env = env();
        let queue_max = QUEUE_MAX + usize::try_from(choose(2)).unwrap();
        let engine = open(&env, queue_max);
        let session = |session: u8| {
            spawn(&engine, move |engine| {
                let cancel = Arc::new(Cancel::new());
                let first = commit(engine, 2 * session, &cancel).unwrap();
                let second = commit(engine, 2 * session + 1, &cancel).unwrap();
                assert!(first < second && first.time_us < second.time_us);
                [first, second]
            })
        };
        let stamps: Vec<Stamp> = join((0..4).map(session).collect()).concat();
        let mut ordered = stamps.clone();
        ordered.sort_unstable();
        assert_eq!(ordered.iter().map(|stamp| stamp.seq.0).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
        assert!(ordered.is_sorted_by(|before, after| before.time_us < after.time_us));
        // Nothing was flushed: what is there after this is what the log says.
        drop(engine);
        let engine = open(&env, queue_max);
        for (key, stamp) in (0..).zip(stamps) {
            assert_eq!(committed(&engine, key), Some(stamp));
        }
    });
}

/// Who asks as of a time gets the same ever after, whatever is on its way.
#[test]
fn shuttle_what_was_as_of_a_time_stays() {
    explore(600, || {
        let engine = open(&env(), QUEUE_MAX);
        let session = |session: u8| {
            spawn(&engine, move |engine| {
                for turn in 0..2 {
                    commit(engine, 2 * session + turn, &Arc::new(Cancel::new())).unwrap();
                }
            })
        };
        let sessions = [0, 1].map(session).into();
        let asker = || {
            spawn(&engine, |engine| {
                let (view, now_us) = (engine.view(), engine.env().clock.now_us());
                (now_us, engine.seq_as_of(&view, now_us, &Cancel::new()).unwrap())
            })
        };
        let answers = join(vec![asker(), asker()]);
        join::<()>(sessions);
        for (time_us, seq) in answers {
            assert_eq!(engine.seq_at_time(&engine.view(), time_us).unwrap(), seq);
        }
    });
}

/// Commits come, and a checkpoint is told of, while the engine closes.
#[test]
fn shuttle_closing_answers_all_and_lets_none_in_after_it() {
    explore(600, || {
        let engine = open(&env(), QUEUE_MAX);
        let session = |key: u8| {
            spawn(&engine, move |engine| match commit(engine, key, &Arc::new(Cancel::new())) {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.state, shutting_down().state);
                    assert_eq!(committed(engine, key), None);
                    false
                }
            })
        };
        let sessions = (0..4).map(session).collect();
        let checkpoint = spawn(&engine, |engine| engine.pipeline().trim_log(Lsn(1)));
        engine.pipeline().close();
        let last = engine.stamp();
        engine.pipeline().stop();
        let written = join(sessions).into_iter().filter(|written| *written).count();
        checkpoint.join().unwrap();
        assert_eq!((engine.stamp(), last.seq.0), (last, written as u64));
    });
}

/// A commit whose cancel comes while it waits for a place, in the queue, or to be written, is committed or it is not.
#[test]
fn shuttle_a_cancelled_commit_is_written_or_refused() {
    explore(1_000, || {
        let engine = open(&env(), QUEUE_MAX);
        let cancels = [(); 4].map(|()| Arc::new(Cancel::new()));
        let session = |(key, cancel): (u8, Arc<Cancel>)| {
            spawn(&engine, move |engine| {
                let mut txn = begin(engine, TxnOptions::default(), &cancel);
                txn.put(TREE, Bytes::from(vec![key]), None, Some(Bytes::new())).unwrap();
                // As a session that waits for its locks would find it.
                txn.lock_name(&key.to_string()).unwrap();
                let written = match txn.commit(&CommitMeta::default()) {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error.state, SqlState::QUERY_CANCELED);
                        false
                    }
                };
                assert_eq!(committed(engine, key).is_some(), written);
                written
            })
        };
        let sessions: Vec<_> = (0..4).zip(cancels.clone()).map(session).collect();
        for cancel in cancels.iter().skip(2) {
            cancel.cancel();
        }
        let written = join(sessions).into_iter().filter(|written| *written).count();
        assert_eq!(engine.stamp().seq.0, written as u64);
        assert_eq!(engine.locks().len(), 0);
        assert_eq!(engine.budget().used_bytes(), 0);
    });
}

/// Each writes its key unless it sees the other's: one after the other, only one would write. A third keeps commits going,
/// so that what is recorded is forgotten again.
#[test]
fn shuttle_of_two_that_read_what_the_other_writes_one_commits() {
    explore(1_000, || {
        let engine = open(&env(), 4);
        let refused = Arc::new(StdMutex::new(0));
        let session = |own: u8, other: u8| {
            let refused = Arc::clone(&refused);
            spawn(&engine, move |engine| {
                let options = TxnOptions { isolation: Isolation::Serializable, ..TxnOptions::default() };
                let mut txn = begin(engine, options, &Arc::new(Cancel::new()));
                if txn.get(TREE, &[other]).unwrap().is_some() {
                    return;
                }
                txn.put(TREE, Bytes::from(vec![own]), None, Some(Bytes::new())).unwrap();
                if let Err(error) = txn.commit(&CommitMeta::default()) {
                    assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE);
                    *refused.lock().unwrap() += 1;
                }
            })
        };
        let others = spawn(&engine, |engine| {
            let cancel = Arc::new(Cancel::new());
            for key in 10..12 {
                commit(engine, key, &cancel).unwrap();
            }
        });
        join(vec![session(0, 1), session(1, 0), others]);
        let written = [0, 1].map(|key| committed(&engine, key).is_some());
        assert_ne!(written, [true, true]);
        // Nobody is in the way of himself, nor are two that both fail.
        assert_ne!(written, [false, false]);
        assert!(*refused.lock().unwrap() <= 1);
    });
}
