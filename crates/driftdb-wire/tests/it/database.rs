//! An empty database in a directory of its own.

use driftdb_engine::{Engine, EngineOptions};
use driftdb_env::Env;
use driftdb_sql::{Database, SqlOptions};

pub(crate) struct TestDatabase {
    engine: Engine,
    database: Database,
    _dir: tempfile::TempDir,
}

impl TestDatabase {
    pub(crate) fn open() -> TestDatabase {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(Env::real(), dir.path(), EngineOptions::default()).unwrap();
        let database = Database::new(engine.clone(), SqlOptions::default()).unwrap();
        TestDatabase { engine, database, _dir: dir }
    }

    pub(crate) fn handle(&self) -> Database {
        self.database.clone()
    }

    pub(crate) fn close(&self) {
        let closed = self.engine.close();
        if !std::thread::panicking() {
            closed.unwrap();
        }
    }
}
