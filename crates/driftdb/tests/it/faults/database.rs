//! Databases to be put through faults: with a log in small segments, so that its ends come soon.

use std::path::Path;

use driftdb::{Database, OpenOptions};
use driftdb_engine::{Engine, EngineOptions};
use driftdb_env::Env;
use driftdb_log::LogOptions;

use crate::server::{driftdb, succeed};

/// Opens, or makes, the database in `data` in this process, with the engine's bounds as `set` leaves them.
pub(super) fn open(data: &Path, set: impl FnOnce(&mut EngineOptions)) -> (Engine, Database) {
    let mut options = EngineOptions::default();
    set(&mut options);
    let engine = Engine::open(Env::real(), data, options).unwrap();
    let database = Database::with_engine(engine.clone(), OpenOptions::default()).unwrap();
    (engine, database)
}

/// Makes a database without tables whose first log segment has this size. A server that goes on with it makes segments of
/// its own size after that one.
pub(super) fn make_with_log_segment(data: &Path, segment_bytes: u64) {
    let (_, database) = open(data, |options| options.log = LogOptions { segment_bytes });
    database.close().unwrap();
}

/// The doctor finds nothing wrong in it; what it says.
pub(super) fn assert_sound(data: &Path) -> String {
    let out = succeed(driftdb().arg("doctor").arg("--data").arg(data));
    assert!(out.contains("nothing wrong"), "{out}");
    out
}
