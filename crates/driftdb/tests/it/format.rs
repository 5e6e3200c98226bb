//! Files of earlier releases are opened by every later one, and answer as they did.
//!
//! `tests/fixtures/format-v1` holds a database as the first format has it, with what its queries gave when it was made. It is never made
//! anew: a change of format gets another directory beside it. (`DRIFTDB_WRITE_FIXTURE=1` writes one where there is none.)

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use driftdb::{Database, OpenOptions};
use driftdb_engine::{Engine, EngineOptions};
use driftdb_env::Env;

use crate::server::succeed;

const FORMAT: &str = "format-v1";
const ANSWERS: &str = "answers.txt";
const DIGEST: &str = "digest.txt";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(FORMAT)
}

fn open(data: &Path) -> (Engine, Database) {
    let mut options = EngineOptions { background: false, ..EngineOptions::default() };
    // A fixture is to be small.
    options.log.segment_bytes = 16 << 10;
    let engine = Engine::open(Env::real(), data, options).unwrap();
    let database = Database::with_engine(engine.clone(), OpenOptions::default()).unwrap();
    (engine, database)
}

/// Copies the files of a stopped database.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// What a query gives, as text.
fn answer(database: &Database, sql: &str) -> String {
    let session = database.session().unwrap();
    let mut text = String::new();
    match session.query(sql, &[]) {
        Ok(rows) => {
            for row in rows.iter() {
                writeln!(text, "{row:?}").unwrap();
            }
        }
        Err(error) => writeln!(text, "{} {}", error.state.code(), error.message).unwrap(),
    }
    text
}

const QUERIES: &[&str] = &[
    "SELECT * FROM kinds ORDER BY id",
    "SELECT * FROM kinds FOR SYSTEM_TIME AS OF @SEQ:2 ORDER BY id",
    "SELECT * FROM kinds FOR SYSTEM_TIME AS OF @SEQ:3 ORDER BY id",
    "SELECT id, n, _from_seq, _to_seq FROM kinds FOR SYSTEM_TIME ALL ORDER BY id, _from_seq",
    "SELECT id, note, extra FROM changing ORDER BY id",
    "SELECT * FROM changing FOR SYSTEM_TIME AS OF @SEQ:6 ORDER BY id",
    "SELECT id FROM changing WHERE note = 'two' ORDER BY id",
    "SELECT id FROM dropped FOR SYSTEM_TIME AS OF @SEQ:12",
    "SELECT id FROM dropped",
    "SELECT id, n FROM kept FOR SYSTEM_TIME AS OF @SEQ:16",
    "SELECT id, n, _from_seq, _to_seq FROM kept FOR SYSTEM_TIME ALL ORDER BY id, _from_seq",
    "SELECT name, seq FROM driftdb.pins",
    "SELECT \"table\", rows, versions FROM driftdb.erasures",
    "SELECT count(*) FROM changing FOR SYSTEM_TIME ALL WHERE id = 3",
    "SELECT seq, \"user\", comment, tables, rows FROM driftdb.commits ORDER BY seq",
];

const SCRIPT: &[&str] = &[
    "CREATE TABLE kinds (id int PRIMARY KEY, flag boolean, small smallint, n bigint, r real, d double precision,
        exact numeric(10,2), any_scale numeric, words text, short varchar(5), padded char(4), bytes bytea, day date,
        clock time, local timestamp, moment timestamptz, span interval, ident uuid, doc json, docb jsonb)",
    "INSERT INTO kinds VALUES
        (1, true, -7, 9007199254740993, 1.5, -2.25, 12345678.90, 1e-20, 'wörd', 'abc', 'ab', '\\x00ff', '2026-11-26',
         '12:34:56.789', '2026-11-26 12:34:56', '2026-11-26 12:34:56+02', '1 year 2 days 03:04:05',
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": [1, null]}', '{\"b\": 1, \"a\": 2}'),
        (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    "UPDATE kinds SET n = n + 1, words = words || '!', exact = -0.01 WHERE id = 1",
    "CREATE TABLE changing (id bigint PRIMARY KEY, note text, gone int)",
    "CREATE INDEX changing_note ON changing (note)",
    "INSERT INTO changing VALUES (1, 'one', 1), (2, 'two', 2), (3, 'secret', 3)",
    "CHECKPOINT",
    "ALTER TABLE changing DROP COLUMN gone",
    "ALTER TABLE changing ADD COLUMN extra numeric DEFAULT 7.5",
    "UPDATE changing SET note = 'deux' WHERE id = 2",
    "INSERT INTO changing VALUES (4, 'two', NULL)",
    "CREATE TABLE dropped (id int)",
    "INSERT INTO dropped VALUES (1)",
    "DROP TABLE dropped",
    "DELETE FROM changing WHERE id = 1",
    "CHECKPOINT",
    "CREATE TABLE kept (id int PRIMARY KEY, n int)",
    "INSERT INTO kept VALUES (1, 0)",
    "UPDATE kept SET n = 1",
    "UPDATE kept SET n = 2",
    "ALTER TABLE kept SET RETENTION '1 second'",
];

const LATER: &[&str] = &[
    "UPDATE kept SET n = 3",
    "CHECKPOINT",
    "ERASE FROM changing WHERE note = 'secret'",
    "CREATE PIN close AS OF @SEQ:20 RETAIN '1000 years'",
    // These are in the log alone.
    "UPDATE kinds SET flag = false WHERE id = 2",
    "DELETE FROM changing WHERE id = 4",
];

fn write_fixture(to: &Path) {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let (engine, database) = open(&data);
    let run = |script: &[&str]| {
        let session = database.session().unwrap();
        for sql in script {
            session.execute(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    };
    run(SCRIPT);
    std::thread::sleep(Duration::from_millis(1_100));
    run(&LATER[..1]);
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    run(&LATER[1..]);
    let mut answers = String::new();
    for sql in QUERIES {
        write!(answers, "{sql}\n----\n{}\n", answer(&database, sql)).unwrap();
    }
    let view = engine.view();
    let digest = engine.digest(&view, view.stamp().seq).unwrap().unwrap();
    drop((view, database, engine));
    copy_all(&data, to);
    std::fs::write(to.join(ANSWERS), answers).unwrap();
    std::fs::write(to.join(DIGEST), format!("{digest}\n")).unwrap();
}

#[test]
fn a_database_of_the_first_format_answers_as_it_did() {
    let fixture = fixture();
    if std::env::var_os("DRIFTDB_WRITE_FIXTURE").is_some() && !fixture.exists() {
        write_fixture(&fixture);
    }
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    copy_all(&fixture, &data);
    let digest = std::fs::read_to_string(data.join(DIGEST)).unwrap();
    let answers = std::fs::read_to_string(data.join(ANSWERS)).unwrap();
    for name in [DIGEST, ANSWERS] {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    let driftdb = |command: &str| {
        let mut driftdb = Command::new(env!("CARGO_BIN_EXE_driftdb"));
        driftdb.arg(command).arg("--data").arg(&data);
        driftdb
    };
    succeed(&mut driftdb("doctor"));
    succeed(driftdb("verify").args(["--digest", digest.trim()]));
    let (engine, database) = open(&data);
    assert!(engine.recovery().commits > 0, "the log has commits that the base has not");
    let mut now = String::new();
    for sql in QUERIES {
        write!(now, "{sql}\n----\n{}\n", answer(&database, sql)).unwrap();
    }
    assert_eq!(now, answers);
    database.session().unwrap().execute("INSERT INTO kept VALUES (2, 0)", &[]).unwrap();
    database.close().unwrap();
    succeed(driftdb("verify").args(["--digest", digest.trim()]));
}
