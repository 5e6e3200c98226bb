//! Throw-away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, dead_code, missing_docs, unused_imports, unreachable_pub)]
#[path = "it/support.rs"]
mod support;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::*;
use driftdb_engine::*;
use driftdb_types::*;
use driftdb_env::*;
use support::*;

fn stale(drop_before_close: bool, view_only: bool) {
    let (sim, engine) = sim(1);
    let t = create(&engine, definition("a", true));
    for n in 0..2000 {
        let mut txn = begin(&engine);
        insert(&mut txn, &t, row(n, n, "first")).unwrap();
        commit(txn);
    }
    let view = engine.view();
    engine.close().unwrap();
    let old: Box<dyn std::any::Any> = if view_only { drop(engine); Box::new(view) } else { drop(view); Box::new(engine) };
    let second = open(&sim.env);
    for round in 0..5 {
        for n in 0..2000 {
            let mut txn = begin(&second);
            insert(&mut txn, &t, row(10_000 + round * 2000 + n, n, "second")).unwrap();
            commit(txn);
        }
        second.store().flush().unwrap();
    }
    let stamp = second.stamp();
    if drop_before_close { drop(old); second.close().unwrap(); drop(second); } else { second.close().unwrap(); drop(second); drop(old); }
    match Engine::open(sim.env.clone(), Path::new(DIR), options()) {
        Err(error) => eprintln!("drop_before_close {drop_before_close} view_only {view_only}: reopen: {error:?}"),
        Ok(third) => {
            let txn = begin(&third);
            let count = txn.scan(t.id, &KeyRange::all(), false).unwrap().filter(|row| row.is_ok()).count();
            eprintln!("drop_before_close {drop_before_close} view_only {view_only}: stamp {stamp:?} then {:?}, rows {count} of 12000", third.stamp());
        }
    }
}

#[test]
fn stale_handle_1() { stale(true, false); }
#[test]
fn stale_handle_2() { stale(false, false); }
#[test]
fn stale_handle_3() { stale(true, true); }
#[test]
fn stale_handle_4() { stale(false, true); }

#[test]
fn checkpoint_race() {
    let (_sim, engine) = sim(1);
    let t = create(&engine, definition("a", false));
    let stop = Arc::new(AtomicBool::new(false));
    let flusher = { let (e, s) = (engine.clone(), stop.clone()); std::thread::spawn(move || while !s.load(Ordering::Relaxed) { let _ = e.store().flush(); }) };
    let ddl = { let (e, s, id) = (engine.clone(), stop.clone(), t.id); std::thread::spawn(move || { let mut n = 0; while !s.load(Ordering::Relaxed) {
        let mut txn = begin(&e); let mut sc = TableSchema::clone(txn.catalog().table_by_id(id).unwrap()); n += 1; sc.name = format!("a{n}"); txn.put_table(id, sc).unwrap(); commit(txn); } }) };
    let (mut bad, mut all) = (0, 0);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(8);
    while std::time::Instant::now() < end {
        let (view, catalog) = engine.snapshot();
        let found = view.scan(TreeId::CATALOG, &KeyRange::all(), driftdb_store::ReadPoint::Latest, false).unwrap().next().unwrap().unwrap();
        all += 1;
        if found.from.seq != catalog.changed_at() { bad += 1; }
    }
    stop.store(true, Ordering::Relaxed);
    flusher.join().unwrap(); ddl.join().unwrap();
    eprintln!("snapshots {all}, catalog not of its view: {bad}; stamp {:?}", engine.stamp());
}
