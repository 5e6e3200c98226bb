//! Bits flipped in the files of a database: each is detected and named, and none is ever an answer.
//!
//! The doctor's checks run in this process, on the file itself, whose byte is put right again afterwards; for some flips the
//! doctor's binary is asked too, and the database is opened on a copy and read. That is one that was closed in good order:
//! of one that was not, as it is after a kill, a bit of the very last group of the log is taken for a torn write of it, and
//! opening leaves that group out. The doctor says so, and is asked there too: its log has many segments.
//!
//! Not a byte of these: LOCK, which is empty, and `spill/`, which is emptied at every start.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb::{Database, OpenOptions, SqlState};
use driftdb_engine::{Engine, EngineOptions, LOG_DIR};
use driftdb_env::Env;
use driftdb_log::LogOptions;
use driftdb_store::NoSchemas;
use driftdb_types::{Error, Lsn};

use super::database::{assert_sound, open};
use super::rounds;
use crate::format::copy_all;
use crate::server::{Dice, Server, driftdb, run};

/// redb's own header, in the first page of the base: of two slots one is always old. It gets flips of its own.
const REDB_HEADER: Range<u64> = 4_096..4_096 + 320;

const ROWS: i64 = 400;
/// Updates of every row, each a commit.
const STATES: i64 = 12;
/// Several segments of the log, and of history: 64 KiB are a few commits.
const LOG_SEGMENT_BYTES: u64 = 64 << 10;

/// Of so many flips one is shown to the doctor's binary, and one to an opened database. Prime, so that all files have turns.
const BINARY_EVERY: u64 = 47;
const OPENED_EVERY: u64 = 11;

/// The answers of the sound database: of every state, and each by its key.
#[derive(Debug, PartialEq, Eq)]
struct Answers(Vec<String>);

fn queries() -> Vec<String> {
    let mut queries = vec!["SELECT count(*) FROM driftdb.commits".to_owned()];
    let points = (2..STATES + 2).map(|seq| format!("FOR SYSTEM_TIME AS OF @SEQ:{seq}"));
    for point in points.chain([String::new()]) {
        queries.push(format!("SELECT count(*) || ' ' || sum(v) || ' ' || max(name) || min(name) FROM t {point}"));
        queries.push(format!("SELECT v || name FROM t {point} WHERE id = 123"));
    }
    queries.push("SELECT count(*) || ' ' || sum(v) FROM t FOR SYSTEM_TIME ALL".to_owned());
    queries
}

fn small(options: &mut EngineOptions) {
    options.log = LogOptions { segment_bytes: LOG_SEGMENT_BYTES };
    options.store.compaction_fan_in = 4;
}

/// How the database was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Closed,
    /// With its newest commits in the log alone.
    Killed,
}

/// Makes the database: with flushes, so that there are several segments of history.
fn make(data: &Path, left: Left) {
    {
        let (_, database) = open(data, small);
        database.close().unwrap();
    }
    // The password's file, which only a server makes.
    Server::start(data).stop();
    let (engine, database) = open(data, small);
    let session = database.session().unwrap();
    session.execute("CREATE TABLE t (id int PRIMARY KEY, v bigint, name text)", &[]).unwrap();
    let insert = format!("INSERT INTO t SELECT i, i, md5(i::text) FROM generate_series(1, {ROWS}) s(i)");
    session.execute(&insert, &[]).unwrap();
    for state in 1..STATES {
        session.execute("UPDATE t SET v = v + id, name = md5(name)", &[]).unwrap();
        if state % 2 == 0 && (left == Left::Closed || state < STATES / 2) {
            engine.store().flush().unwrap();
        }
    }
    drop(session);
    if left == Left::Closed {
        database.close().unwrap();
    }
}

/// Where a bit is flipped.
#[derive(Clone, Debug)]
struct Flip {
    path: PathBuf,
    offset: u64,
    bit: u8,
}

impl Flip {
    /// Flips it; a second time puts it right.
    fn make(&self, data: &Path) {
        let file = File::options().read(true).write(true).open(data.join(&self.path)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.offset).unwrap();
        byte[0] ^= 1 << self.bit;
        file.write_all_at(&byte, self.offset).unwrap();
    }

    fn kind(&self) -> &'static str {
        if self.path.starts_with(LOG_DIR) {
            "log"
        } else if self.path.starts_with("history") {
            "history"
        } else if self.path.ends_with("base.redb") {
            if REDB_HEADER.contains(&self.offset) { "redb's header" } else { "base" }
        } else {
            "credentials"
        }
    }
}

/// Every file in the directory that has bytes, by its path below it, and its length.
fn files(data: &Path, below: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data.join(below)).unwrap() {
        let entry = entry.unwrap();
        let (path, metadata) = (below.join(entry.file_name()), entry.metadata().unwrap());
        if metadata.is_dir() {
            found.extend(files(data, &path));
        } else if metadata.len() > 0 {
            found.push((path, metadata.len()));
        }
    }
    found.sort();
    found
}

/// In each file as often as in the others, in turn: the small ones would never be hit, and it is in them that a bit matters
/// most. Now and then near the beginning or the end, where headers, footers and padding are; every eighth time round in
/// redb's header.
fn throw(files: &[(PathBuf, u64)], number: usize, dice: &mut Dice) -> Flip {
    let (path, len) = files[number % files.len()].clone();
    if path.ends_with("base.redb") && number / files.len() % 8 == 7 {
        let offset = REDB_HEADER.start + dice.below(REDB_HEADER.end - REDB_HEADER.start);
        return Flip { path, offset, bit: dice.below(8) as u8 };
    }
    let near = len.min(80);
    let offset = match dice.below(6) {
        0 => dice.below(near),
        1 => len - 1 - dice.below(near),
        _ => dice.below(len),
    };
    Flip { path, offset, bit: dice.below(8) as u8 }
}

/// Whether the doctor's checks name the file.
fn is_named(data: &Path, flip: &Flip) -> bool {
    let env = Env::real();
    let path = data.join(&flip.path);
    if flip.kind() == "credentials" {
        // It is the binary's own.
        return binary_names(data, flip);
    }
    let store = driftdb_store::check(&env, data, Arc::new(NoSchemas));
    let from = driftdb_store::read_checkpoint(&env, data).map_or(Lsn(0), |checkpoint| checkpoint.lsn);
    let log = driftdb_log::check(env.disk.as_ref(), &data.join(LOG_DIR), from);
    store.iter().any(|finding| finding.path == path) || log.iter().any(|finding| finding.file == path)
}

/// Whether the doctor gives the exit code of damage, or a note, and names the file.
fn binary_names(data: &Path, flip: &Flip) -> bool {
    let output = run(driftdb().arg("doctor").arg("--data").arg(data));
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let code = output.status.code();
    assert!(code == Some(0) || code == Some(4), "{flip:?}: {}: {said:?}", output.status);
    let told = if code == Some(4) { &said[1] } else { &said[0] };
    let name = flip.path.file_name().unwrap().to_string_lossy();
    told.lines().any(|line| (line.contains("damaged: ") || line.contains("note: ")) && line.contains(&*name))
}

fn is_damage(error: &Error) -> bool {
    error.state == SqlState::DATA_CORRUPTED || error.state == SqlState::IO_ERROR
}

/// Opens the database and asks it everything: each answer is right, or an error that names the file. How many were errors;
/// `None` where it does not open.
fn read(data: &Path, right: &Answers, flip: &Flip) -> Option<usize> {
    let name = flip.path.file_name().unwrap().to_string_lossy().into_owned();
    let check = |error: &Error| {
        assert!(is_damage(error) && error.to_string().contains(&name), "{flip:?}: {error:?}");
    };
    let mut options = EngineOptions::default();
    small(&mut options);
    options.background = false;
    let engine = match Engine::open(Env::real(), data, options) {
        Ok(engine) => engine,
        Err(error) => {
            check(&error);
            return None;
        }
    };
    let database = Database::with_engine(engine, OpenOptions::default()).unwrap();
    let session = database.session().unwrap();
    let mut errors = 0;
    for (sql, right) in queries().iter().zip(&right.0) {
        match session.query(sql, &[]) {
            Ok(rows) => assert_eq!(format!("{:?}", rows.iter().collect::<Vec<_>>()), *right, "{flip:?}: {sql}"),
            Err(error) => {
                check(&error);
                errors += 1;
            }
        }
    }
    Some(errors)
}

fn answers(data: &Path) -> Answers {
    let (_, database) = open(data, small);
    let session = database.session().unwrap();
    let answer = |sql: &String| format!("{:?}", session.query(sql, &[]).unwrap().iter().collect::<Vec<_>>());
    let answers = Answers(queries().iter().map(answer).collect());
    drop(session);
    database.close().unwrap();
    answers
}

/// Of the flips of one kind of file.
#[derive(Debug, Default)]
struct Tally {
    flips: u64,
    named: u64,
    /// Looked at by opening and reading: in all, refused at opening, with errors at queries.
    opened: u64,
    refused: u64,
    errors: u64,
}

/// Flips so many bits of a database.
fn run_flips(left: Left, flips: u64, dice: &mut Dice) {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    make(&data, left);
    let right = (left == Left::Closed).then(|| answers(&data));
    assert_sound(&data);
    let files = files(&data, Path::new(""));
    println!("{left:?}: {files:?}");
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut unnamed = Vec::new();
    for number in 0..flips {
        let flip = throw(&files, usize::try_from(number).unwrap(), dice);
        flip.make(&data);
        let tally = tallies.entry(flip.kind()).or_default();
        tally.flips += 1;
        let named = is_named(&data, &flip);
        tally.named += u64::from(named);
        if !named {
            unnamed.push(flip.clone());
        }
        if number % BINARY_EVERY == 0 {
            assert_eq!(binary_names(&data, &flip), named, "{flip:?}: the binary does not say what its checks do");
        }
        if number % OPENED_EVERY == 0
            && let Some(right) = &right
        {
            // Opening writes.
            let opened = place.path().join("opened");
            copy_all(&data, &opened);
            tally.opened += 1;
            match read(&opened, right, &flip) {
                None => tally.refused += 1,
                Some(errors) => tally.errors += u64::from(errors > 0),
            }
            std::fs::remove_dir_all(&opened).unwrap();
        }
        flip.make(&data);
    }
    for (kind, tally) in &tallies {
        println!("faults: flips in {kind}, {left:?}: {tally:?}");
    }
    assert_sound(&data);
    assert!(unnamed.is_empty(), "{} flips are not named: {unnamed:?}", unnamed.len());
    assert_eq!(tallies.keys().copied().collect::<Vec<_>>(), ["base", "credentials", "history", "log", "redb's header"]);
}

#[test]
fn a_flipped_bit_is_named_and_never_an_answer() {
    // Ten thousand of a database closed in good order in the long form.
    let flips = match rounds() {
        1 => 225,
        rounds => 500 * rounds,
    };
    let mut dice = Dice::new("faults: flips");
    run_flips(Left::Closed, flips, &mut dice);
    run_flips(Left::Killed, flips / 3, &mut dice);
}
