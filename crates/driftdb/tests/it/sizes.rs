//! More versions than memory holds: a table is loaded by COPY, every row of it is updated again and again, and the answers now
//! and as of each round are those that arithmetic gives, before and after a restart in good order and one after kill -9.
//!
//! Row *i* begins with `amount = i`, and round *r* adds `i % 97 + r`. So each sum and each value is known without asking, and a
//! row that a round has missed, or met twice, shows in all of them. What is measured beside that is printed as a table;
//! `docs/reliability.md` has the figures of the long form, `cargo xtask sizes --release`.

mod report;
mod start;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use self::report::Report;
use crate::client::{Client, PATIENCE};
use crate::process::{MemoryWatch, Traffic, memory_max_mib};
use crate::server::{Dice, PASSWORD, Server, driftdb, setting};

const TABLE: &str =
    "CREATE TABLE sized (id bigint PRIMARY KEY, round int NOT NULL, amount bigint NOT NULL, filler text NOT NULL)";
/// Characters of `filler`, hexadecimal digits of hashes: what can be compressed, but only to a half.
const FILLER_BYTES: u64 = 64;
/// What a version holds: three numbers and the filler, without what the database keeps with it.
const ROW_BYTES: u64 = 8 + 4 + 8 + FILLER_BYTES;
/// What `amount` grows by in a round depends on the rest of the row's number by this.
const STEP: u64 = 97;
/// Random rows of random rounds that are asked for.
const POINT_READS: u64 = 300;
/// The memory there may be beside the limit: for a session's statement, as `docs/consistency.md` says, and what the program and
/// its allocator take before anything is done.
const OVERHEAD_MIB: u64 = 16;

/// How large it is.
#[derive(Clone, Copy, Debug)]
struct Size {
    rows: u64,
    updates: u64,
    limit_mib: u64,
}

impl Size {
    /// How many versions there are after a round.
    fn versions(self, round: u64) -> u64 {
        self.rows * (round + 1)
    }

    /// Rows of one UPDATE: the changes of a transaction are in memory, before and after, beside its locks.
    fn rows_at_once(self) -> u64 {
        self.limit_mib * 100
    }

    /// The sum of `amount` after a round.
    fn sum(self, round: u64) -> u64 {
        let rests: u64 = (0..self.rows).map(|id| id % STEP).sum();
        self.rows * (self.rows - 1) / 2 + round * rests + self.rows * round * (round + 1) / 2
    }
}

/// `amount` of one row after a round.
fn amount(id: u64, round: u64) -> u64 {
    id + round * (id % STEP) + round * (round + 1) / 2
}

/// Started anew each time on the same directory.
fn start(data: &Path, size: Size) -> Server {
    let mut command = driftdb();
    command.env("DRIFTDB_PASSWORD", PASSWORD).env("DRIFTDB_MEMORY_LIMIT", format!("{}MiB", size.limit_mib));
    Server::launch(data, &mut command)
}

/// The lines of COPY for the first version of all rows, some thousand at a time.
fn lines(size: Size) -> impl Iterator<Item = String> {
    let mut dice = Dice::seeded(1);
    (0..size.rows).step_by(1_000).map(move |from| {
        let line = |id: u64| {
            let mut hash = || dice.below(u64::MAX);
            format!("{id}\t0\t{id}\t{:016x}{:016x}{:016x}{:016x}\n", hash(), hash(), hash(), hash())
        };
        (from..size.rows.min(from + 1_000)).map(line).collect()
    })
}

/// Loads the rows by COPY, in transactions of a part each, as a large load has to.
fn load(client: &mut Client, size: Size) {
    let mut pieces = lines(size);
    let mut loaded = 0;
    while loaded < size.rows {
        let part = pieces.by_ref().take(usize::try_from(size.rows_at_once() / 1_000).unwrap());
        loaded += client.copy_in("COPY sized FROM STDIN", part).unwrap();
    }
    assert_eq!(loaded, size.rows);
}

/// Updates every row once, a range of keys after the other.
fn update(client: &mut Client, size: Size, round: u64) {
    for from in (0..size.rows).step_by(usize::try_from(size.rows_at_once()).unwrap()) {
        let to = size.rows.min(from + size.rows_at_once());
        client.query(&format!(
            "UPDATE sized SET round = {round}, amount = amount + id % {STEP} + {round},
             filler = md5(id::text || filler) || md5(filler) WHERE id >= {from} AND id < {to}"
        ));
    }
}

/// That the table, as `at` says, is what it was after a round.
fn check_sums(client: &mut Client, size: Size, at: &str, round: u64) {
    let sums = format!("SELECT count(*), sum(amount), min(round), max(round), sum(length(filler)) FROM sized {at}");
    let expected = [size.rows, size.sum(round), round, round, size.rows * FILLER_BYTES];
    assert_eq!(client.query(&sums), [expected.map(|number| Some(number.to_string())).to_vec()], "round {round} {at}");
}

/// That random rows of random rounds are what they were; `seqs` has the commit that each round ended with.
fn check_points(client: &mut Client, size: Size, seqs: &[i64], dice: &mut Dice, count: u64) {
    for _ in 0..count {
        let round = dice.below(seqs.len() as u64);
        let id = dice.below(size.rows);
        let seq = seqs[usize::try_from(round).unwrap()];
        let row =
            client.query(&format!("SELECT round, amount FROM sized FOR SYSTEM_TIME AS OF @SEQ:{seq} WHERE id = {id}"));
        let expected = [round, amount(id, round)].map(|number| Some(number.to_string()));
        assert_eq!(row, [expected.to_vec()], "row {id} of round {round}");
    }
}

/// Of all versions of one row: there is one for each round.
fn check_history(client: &mut Client, size: Size, dice: &mut Dice) {
    let id = dice.below(size.rows);
    let history = format!("SELECT round, amount FROM driftdb.history('sized') WHERE id = {id} ORDER BY _from_seq");
    let expected: Vec<_> = (0..=size.updates)
        .map(|round| [round, amount(id, round)].map(|number| Some(number.to_string())).to_vec())
        .collect();
    assert_eq!(client.query(&history), expected, "row {id}");
}

/// The files of a directory and of those in it, with their sizes.
fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // One may have been removed since the directory was read.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&path)),
            Ok(metadata) => found.push((path, metadata.len())),
            Err(_) => {}
        }
    }
    found
}

fn bytes(directory: &Path) -> u64 {
    files(directory).iter().map(|(_, bytes)| bytes).sum()
}

/// The history segments of the tree that has most of them, by size: those of the table; and all the bytes of history.
fn segments(data: &Path) -> (usize, u64) {
    let segments = files(&data.join("history"));
    let tree = |path: &Path| path.file_name().unwrap().to_string_lossy().split('-').next().unwrap().to_owned();
    let of = |name: &str| segments.iter().filter(|(path, _)| tree(path) == name).count();
    let most = segments.iter().map(|(path, _)| of(&tree(path))).max().unwrap_or(0);
    (most, segments.iter().map(|(_, bytes)| bytes).sum())
}

/// Waits until compaction has nothing to do: the files of history stay the same.
fn settle(data: &Path) {
    let history = || {
        let mut files = files(&data.join("history"));
        files.sort();
        files
    };
    let (mut before, mut since, begun) = (history(), Instant::now(), Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        assert!(begun.elapsed() < 10 * PATIENCE, "compaction does not come to an end");
        thread::sleep(Duration::from_millis(100));
        let now = history();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
}

/// How many segments a table may have when compaction is done: of each tier, from 64 KiB in steps of eight times, less than
/// eight; and those of 1 GiB, which are left alone.
fn segments_max(history_bytes: u64) -> usize {
    let tiers = (history_bytes >> 16).max(1).ilog(8).min(4) + 1;
    usize::try_from(7 * u64::from(tiers) + (history_bytes >> 30)).unwrap()
}

#[test]
fn more_versions_than_memory_holds_stay_what_they_were() {
    let size = Size {
        rows: setting("ROWS", 50_000, 5_000_000),
        updates: setting("UPDATES", 3, 9),
        limit_mib: setting("MEMORY_MIB", 128, 512),
    };
    let mut dice = Dice::new("sizes");
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let mut report = Report::new(size);
    let mut server = start(&data, size);
    let mut client = Client::connect(&server);
    let mut watch = MemoryWatch::begin(server.pid());
    // The commit that each round ended with.
    let mut seqs = Vec::new();

    client.query(TABLE);
    for round in 0..=size.updates {
        let before = Traffic::of(server.pid());
        let what = if round == 0 { "load by COPY".to_owned() } else { format!("update {round}") };
        report.time(&what, size.rows, || {
            if round == 0 { load(&mut client, size) } else { update(&mut client, size, round) }
        });
        report.written(Traffic::of(server.pid()).written_bytes - before.written_bytes);
        seqs.push(client.number("SELECT max(seq) FROM driftdb.commits"));
        report.time("sums now", size.rows, || check_sums(&mut client, size, "", round));
        // Of what is written behind the statements, too.
        let before = Traffic::of(server.pid());
        settle(&data);
        report.written(Traffic::of(server.pid()).written_bytes - before.written_bytes);
        let (count, history_bytes) = segments(&data);
        report.round(round, count, bytes(&data), history_bytes);
        assert!(count <= segments_max(history_bytes), "round {round}: {count} segments for {history_bytes} bytes");
    }
    for (round, seq) in (0..).zip(&seqs) {
        let at = format!("FOR SYSTEM_TIME AS OF @SEQ:{seq}");
        report.time(&format!("sums as of round {round}"), size.rows, || check_sums(&mut client, size, &at, round));
    }
    let all = "SELECT count(*), sum(round) FROM sized FOR SYSTEM_TIME ALL";
    let rounds = size.rows * size.updates * (size.updates + 1) / 2;
    let expected = [Some(size.versions(size.updates).to_string()), Some(rounds.to_string())];
    report.time("count of all versions", size.versions(size.updates), || {
        assert_eq!(client.query(all), [expected.to_vec()])
    });
    report.time("history of a row", 1, || check_history(&mut client, size, &mut dice));
    report.points(server.pid(), POINT_READS, || check_points(&mut client, size, &seqs, &mut dice, POINT_READS));
    report.memory("before the restarts", watch.take_peak_mib(), memory_max_mib(server.pid()));
    watch.end();

    for (what, ends) in [("a stop in good order", Server::stop as fn(Server)), ("kill -9", Server::kill)] {
        drop(client);
        if what == "kill -9" {
            // So that there is something in the log that is nowhere else.
            client = Client::connect(&server);
            let round = size.updates;
            client.query(&format!("UPDATE sized SET amount = amount + 1 WHERE id < {}", size.rows_at_once()));
            client.query(&format!("UPDATE sized SET amount = amount - 1 WHERE id < {}", size.rows_at_once()));
            check_sums(&mut client, size, "", round);
            drop(client);
        }
        report.time(what, 1, || ends(server));
        let log_bytes = bytes(&data.join("log"));
        let begun = Instant::now();
        server = start(&data, size);
        client = Client::connect(&server);
        check_points(&mut client, size, &seqs[..1], &mut Dice::seeded(1), 1);
        report.restart(what, begun.elapsed(), log_bytes);
        watch = MemoryWatch::begin(server.pid());
        check_sums(&mut client, size, "", size.updates);
        for round in [0, size.updates / 2] {
            let seq = seqs[usize::try_from(round).unwrap()];
            check_sums(&mut client, size, &format!("FOR SYSTEM_TIME AS OF @SEQ:{seq}"), round);
        }
        report.points(server.pid(), POINT_READS, || check_points(&mut client, size, &seqs, &mut dice, POINT_READS));
        report.memory(&format!("after {what}"), watch.take_peak_mib(), memory_max_mib(server.pid()));
        watch.end();
    }
    drop(client);
    server.stop();
    println!("{report}");
    let bound = size.limit_mib + OVERHEAD_MIB;
    assert!(report.memory_max_mib() <= bound, "{} MiB, where {bound} MiB are allowed", report.memory_max_mib());
}
