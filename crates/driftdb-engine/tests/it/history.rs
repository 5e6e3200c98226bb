//! Stamps, and what is kept of commits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use driftdb_engine::{Cancel, CommitMeta, Engine, Isolation};
use driftdb_env::{Clock, DiskOpKind, Env, FailMode};
use driftdb_store::ReadPoint;
use driftdb_types::{CommitSeq, Error, SqlState, Value};

use crate::support::*;

#[test]
fn stamps_are_dense_and_rise_even_when_the_clock_jumps() {
    let sim = Env::sim(60);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let start = engine.stamp();
    let mut last = start;
    for id in 0..10 {
        match id {
            3 => sim.clock.set_now_us(start.time_us - 1_000_000),
            7 => sim.clock.set_now_us(start.time_us + 5_000_000),
            _ => sim.clock.advance(Duration::from_nanos(1)),
        }
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(id, 0, "")).unwrap();
        let stamp = commit(txn);
        assert_eq!(stamp.seq, last.seq.next());
        assert!(stamp.time_us > last.time_us);
        last = stamp;
    }
    assert!(last.time_us >= start.time_us + 5_000_000);
}

#[test]
fn a_time_finds_its_commit() {
    let sim = Env::sim(61);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let mut stamps = vec![engine.stamp()];
    for id in 0..40 {
        sim.clock.advance(Duration::from_micros(10 * (id as u64 % 4 + 1)));
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(id, 0, "")).unwrap();
        stamps.push(commit(txn));
        if id == 20 {
            engine.store().flush().unwrap();
        }
    }
    let view = engine.view();
    assert_eq!(engine.seq_at_time(&view, stamps[0].time_us - 1).unwrap(), CommitSeq::ZERO);
    for pair in stamps.windows(2) {
        for time_us in [pair[0].time_us, pair[0].time_us + 1, pair[1].time_us - 1] {
            let expected = if time_us >= pair[1].time_us { pair[1].seq } else { pair[0].seq };
            assert_eq!(engine.seq_at_time(&view, time_us).unwrap(), expected);
        }
    }
    let last = stamps.last().unwrap();
    assert_eq!(engine.seq_at_time(&view, last.time_us + 1_000).unwrap(), last.seq);
}

type Asking = JoinHandle<Result<CommitSeq, Error>>;

/// A clock with which someone asks as of now at the moment between a commit's stamp and its way to the disk.
#[derive(Debug)]
struct AskingClock {
    inner: Arc<dyn Clock>,
    engine: OnceLock<Engine>,
    /// The time was taken, so the next thing is to write.
    stamped: AtomicBool,
    cancel: Arc<Cancel>,
    asking: Mutex<Option<Asking>>,
}

impl Clock for AskingClock {
    fn now_us(&self) -> i64 {
        self.stamped.store(self.engine.get().is_some(), Ordering::SeqCst);
        self.inner.now_us()
    }

    fn monotonic(&self) -> Duration {
        let mut asking = self.asking.lock().unwrap();
        let wanted = self.stamped.load(Ordering::SeqCst) && asking.is_none();
        if let Some(engine) = self.engine.get().filter(|_| wanted) {
            let (engine, now_us, cancel) = (engine.clone(), self.inner.now_us(), Arc::clone(&self.cancel));
            *asking = Some(spawn(move || engine.seq_as_of(&engine.view(), now_us, &cancel)));
            rest();
        }
        self.inner.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration);
    }
}

fn with_asking_clock(sim: &driftdb_env::SimEnv) -> (Engine, Arc<AskingClock>) {
    let clock = Arc::new(AskingClock {
        inner: Arc::clone(&sim.env.clock),
        engine: OnceLock::new(),
        stamped: AtomicBool::new(false),
        cancel: Arc::default(),
        asking: Mutex::default(),
    });
    (open(&Env { clock: Arc::<AskingClock>::clone(&clock), ..sim.env.clone() }), clock)
}

#[test]
fn who_asks_while_a_commit_is_on_its_way_waits_for_it() {
    let sim = Env::sim(64);
    let (engine, clock) = with_asking_clock(&sim);
    let table = create(&engine, definition("t", true));
    sim.clock.advance(Duration::from_millis(1));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, "")).unwrap();
    clock.engine.set(engine.clone()).unwrap();
    let stamp = commit(txn);
    let answer = clock.asking.lock().unwrap().take().unwrap().join().unwrap().unwrap();
    assert_eq!(engine.seq_at_time(&engine.view(), stamp.time_us).unwrap(), stamp.seq);
    assert_eq!(answer, stamp.seq, "the answer as of this time is another one now");
}

#[test]
fn no_commit_comes_behind_an_answer_though_the_clock_is_set_back() {
    let sim = Env::sim(65);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let cancel = Cancel::new();
    sim.clock.advance(Duration::from_secs(10));
    let asked_us = sim.env.clock.now_us();
    let answer = engine.seq_as_of(&engine.view(), asked_us, &cancel).unwrap();
    sim.clock.set_now_us(asked_us - 5_000_000);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, "")).unwrap();
    assert!(commit(txn).time_us > asked_us);
    assert_eq!(engine.seq_as_of(&engine.view(), asked_us, &cancel).unwrap(), answer);
    let error = engine.seq_as_of(&engine.view(), asked_us + 1_000_000, &cancel).unwrap_err();
    assert_eq!(error.state, SqlState::INVALID_PARAMETER_VALUE, "the future is not asked about");
}

/// What could be asked can be asked again, also when the clock says that it has not come yet.
#[test]
fn a_point_that_was_answered_is_never_refused_as_the_future() {
    let sim = Env::sim(66);
    let engine = open(&sim.env);
    create(&engine, definition("t", true));
    sim.clock.advance(Duration::from_secs(10));
    let asked_us = sim.env.clock.now_us();
    let answer = engine.seq_as_of(&engine.view(), asked_us, &Cancel::new()).unwrap();
    sim.clock.set_now_us(asked_us - 5_000_000);
    assert_eq!(engine.seq_as_of(&engine.view(), asked_us, &Cancel::new()), Ok(answer));
}

#[test]
fn an_old_snapshot_gives_the_same_past_as_all_others() {
    let sim = Env::sim(67);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let old = begin_at(&engine, Isolation::RepeatableRead);
    sim.clock.advance(Duration::from_secs(180));
    let mut txn = begin(&engine);
    let key = insert(&mut txn, &table, row(1, 0, "")).unwrap();
    txn.create_table(definition("u", true)).unwrap();
    let stamp = commit(txn);
    sim.clock.advance(Duration::from_secs(180));
    let point_us = sim.env.clock.now_us() - 60_000_000;
    let cancel = Cancel::new();
    let seq = engine.seq_as_of(old.view(), point_us, &cancel).unwrap();
    assert_eq!(seq, stamp.seq);
    let view = engine.view_as_of(old.view(), seq);
    assert!(view.get(table.id, &key, ReadPoint::AsOf(seq)).unwrap().is_some());
    assert!(engine.catalog_at(old.view(), seq).unwrap().table("u").is_some());
    assert!(values(&old, &table).is_empty(), "now is still the snapshot's");
    let earlier = engine.view_as_of(old.view(), old.stamp().seq);
    assert!(Arc::ptr_eq(&earlier, old.view()), "what the snapshot has, it answers");
}

#[test]
fn what_a_failed_sync_left_open_is_not_answered_before_a_restart() {
    let sim = Env::sim(68);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let cancel = Cancel::new();
    sim.clock.advance(Duration::from_secs(1));
    let before_us = sim.env.clock.now_us();
    sim.clock.advance(Duration::from_secs(1));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, "")).unwrap();
    sim.disk.fail_on(DiskOpKind::Sync, 1, FailMode::Error);
    txn.commit(&meta()).unwrap_err();
    let lost_us = sim.env.clock.now_us();
    sim.clock.advance(Duration::from_secs(1));
    for point_us in [lost_us, lost_us + 500_000] {
        assert_eq!(engine.seq_as_of(&engine.view(), point_us, &cancel).unwrap_err().state, SqlState::IO_ERROR);
    }
    let answer = engine.seq_as_of(&engine.view(), before_us, &cancel).unwrap();
    drop(engine);
    let engine = open(&sim.env);
    assert_eq!(engine.seq_as_of(&engine.view(), before_us, &cancel).unwrap(), answer);
    engine.seq_as_of(&engine.view(), lost_us, &cancel).unwrap();
}

#[test]
fn a_commit_that_failed_and_left_the_log_whole_holds_nobody_up() {
    let sim = Env::sim(69);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    sim.disk.fail_on(DiskOpKind::Allocate, 1, FailMode::Full);
    let big = "x".repeat(1 << 20);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, &big)).unwrap();
    assert_eq!(txn.commit(&meta()).unwrap_err().state, SqlState::DISK_FULL);
    let (now_us, view) = (sim.env.clock.now_us(), engine.view());
    sim.clock.advance(Duration::from_secs(1));
    assert_eq!(engine.seq_as_of(&view, now_us + 1_000, &Cancel::new()), Ok(view.stamp().seq));
}

#[test]
fn waiting_for_a_commit_on_its_way_can_be_cancelled() {
    let sim = Env::sim(70);
    let (engine, clock) = with_asking_clock(&sim);
    let table = create(&engine, definition("t", true));
    sim.clock.advance(Duration::from_millis(1));
    clock.cancel.cancel();
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, "")).unwrap();
    clock.engine.set(engine.clone()).unwrap();
    commit(txn);
    let error = clock.asking.lock().unwrap().take().unwrap().join().unwrap().unwrap_err();
    assert_eq!(error.state, SqlState::QUERY_CANCELED);
}

#[test]
fn a_commit_says_who_and_what() {
    let (_sim, engine) = sim(62);
    let table = create(&engine, definition("t", true));
    let mut schema = definition("u", true);
    schema.indexes = vec![index("u_a_idx", 1, false)];
    let indexed = create(&engine, schema);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, "")).unwrap();
    insert(&mut txn, &indexed, row(1, 0, "")).unwrap();
    insert(&mut txn, &indexed, row(2, 0, "")).unwrap();
    let meta = CommitMeta {
        user: "ann".to_owned(),
        application: "psql".to_owned(),
        client: "10.0.0.1".to_owned(),
        comment: Some("import".to_owned()),
        txid: None,
    };
    let stamp = txn.commit(&meta).unwrap().unwrap();
    let view = engine.view();
    let record = engine.commit_record(&view, stamp.seq).unwrap().unwrap();
    assert_eq!(record.tables().collect::<Vec<_>>(), [table.id, indexed.id]);
    assert_eq!((record.stamp, record.meta, record.rows), (stamp, meta, 3));
    assert_eq!(engine.commit_record(&view, stamp.seq.next()).unwrap(), None);
    let made = engine.commit_record(&view, CommitSeq(1)).unwrap().unwrap();
    assert_eq!((made.tables().collect(), made.rows), (vec![table.id], 0));
    let seqs = |reverse| -> Vec<u64> {
        let commits = engine.commits(&view, CommitSeq(2)..=CommitSeq(9), reverse).unwrap();
        commits.map(|commit| commit.unwrap().stamp.seq.0).collect()
    };
    assert_eq!(seqs(false), [2, 3]);
    assert_eq!(seqs(true), [3, 2]);
}

#[test]
fn row_numbers_and_ids_are_never_given_again() {
    let sim = Env::sim(63);
    let mut keys = std::collections::BTreeSet::new();
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..6 {
        let engine = open(&sim.env);
        let table = match engine.catalog().table("t") {
            Some(table) => table.clone(),
            None => create(&engine, definition("t", false)),
        };
        let mut txn = begin(&engine);
        for id in 0..3 {
            let key = insert(&mut txn, &table, row(id, round, "")).unwrap();
            assert!(keys.insert(key), "a row number was given twice");
        }
        commit(txn);
        // The newest rows go: their numbers must not come back.
        let mut txn = begin(&engine);
        delete(&mut txn, &table, |_| true).unwrap();
        commit(txn);
        let extra = create(&engine, definition(&format!("extra{round}"), true));
        assert!(ids.insert(extra.id));
        let mut txn = begin(&engine);
        txn.drop_table(extra.id).unwrap();
        commit(txn);
        if round % 2 == 0 {
            engine.store().flush().unwrap();
        }
        if round % 3 == 0 {
            engine.close().unwrap();
        }
    }
    assert!(keys.iter().is_sorted());
    let last = driftdb_types::decode_key(keys.last().unwrap(), &[driftdb_types::DataType::Int8]).unwrap();
    assert!(matches!(last[0], Value::Int8(number) if number >= 18));
}
