//! Repairing what was damaged: what can be is put right, and what cannot be read as it was is refused, and never an answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use driftdb_engine::{Engine, EngineOptions, Repair, index_entry, repair};
use driftdb_env::{Disk, Env, OpenOptions, SimDisk, SimEnv};
use driftdb_store::ReadPoint;
use driftdb_types::{CommitSeq, Error, Interval, KeyRange, SqlState, TableSchema, TreeId, Value, decode_row};

use crate::support::{DIR, begin, commit, create, definition, index, insert, options, row, update};

const COPY: &str = "/copy";
/// A page of the base and its checksum, and where the first one begins.
const SLOT: (u64, u64) = (4_100, 4_096);

type Entries = Vec<(Vec<u8>, Vec<u8>)>;
/// What each tree holds as of each commit; `None` where reading it is refused.
type Contents = BTreeMap<(CommitSeq, TreeId), Option<Entries>>;

fn contents(engine: &Engine) -> Contents {
    let view = engine.view();
    let mut contents = Contents::new();
    for seq in (1..=view.stamp().seq.0).map(CommitSeq) {
        for table in engine.catalog_at(&view, seq).unwrap().tables() {
            for tree in table.indexes.iter().map(|index| index.id).chain([table.id]) {
                contents.insert((seq, tree), entries(engine, tree, ReadPoint::AsOf(seq)));
            }
        }
    }
    contents
}

fn entries(engine: &Engine, tree: TreeId, at: ReadPoint) -> Option<Entries> {
    let scan = engine.view().scan(tree, &KeyRange::all(), at, false).ok()?;
    Some(scan.map(|of| of.unwrap()).map(|of| (of.key.to_vec(), of.payload.to_vec())).collect())
}

/// A database on a disk: what is in it, and of which commits the log alone knows.
struct Sample {
    sim: SimEnv,
    options: EngineOptions,
    contents: Contents,
    last: CommitSeq,
    in_log: u64,
}

/// Two tables with changes in base, history and log. `trimmed`: the log does not go back to the first commit.
fn sample(seed: u64, trimmed: bool) -> Sample {
    let sim = Env::sim(seed);
    let mut options = options();
    options.log.segment_bytes = if trimmed { 4 << 10 } else { 1 << 20 };
    let open = || Engine::open(sim.env.clone(), Path::new(DIR), options.clone()).unwrap();
    let engine = open();
    let mut schema = definition("t", true);
    schema.indexes.push(index("t_a", 1, false));
    let table = create(&engine, schema);
    let other = create(&engine, definition("other", true));
    let text = "some text that fills pages ".repeat(4);
    for part in 0..20 {
        let mut txn = begin(&engine);
        for n in 30 * part..30 * part + 30 {
            insert(&mut txn, &table, row(n, n % 7, &text)).unwrap();
        }
        insert(&mut txn, &other, row(part, part, &text)).unwrap();
        commit(txn);
    }
    engine.store().flush().unwrap();
    for round in 0..3 {
        let mut txn = begin(&engine);
        let change = |row: &Vec<Value>| {
            let Value::Int4(id) = row[0] else { unreachable!() };
            (id % 3 == round).then(|| vec![row[0].clone(), Value::Int4(id % 5), Value::Text(text.clone())])
        };
        update(&mut txn, &table, change).unwrap();
        commit(txn);
        engine.store().flush().unwrap();
    }
    engine.close().unwrap();
    let engine = open();
    let table = engine.catalog().table("t").unwrap().clone();
    let in_log = 4;
    for n in 0..in_log {
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(10_000 + n as i32, 1, "only in the log")).unwrap();
        commit(txn);
    }
    let (contents, last) = (contents(&engine), engine.stamp().seq);
    drop(engine);
    assert_eq!(sim.disk.exists(&log_file(0)).unwrap(), !trimmed);
    Sample { sim, options, contents, last, in_log }
}

fn log_file(first: u64) -> PathBuf {
    Path::new(DIR).join(format!("log/{first:020}.log"))
}

fn list(disk: &SimDisk, dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(DIR).join(dir);
    disk.list(&dir).unwrap().into_iter().map(|name| dir.join(name)).collect()
}

fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenOptions::READ).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn write(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    disk.open(path, OpenOptions::TRUNCATE).unwrap().write_at(0, bytes).unwrap();
}

fn flip(disk: &SimDisk, path: &Path, offset: u64) {
    let file = disk.open(path, OpenOptions::WRITE).unwrap();
    let mut byte = [0];
    file.read_at(offset, &mut byte).unwrap();
    file.write_at(offset, &[byte[0] ^ 4]).unwrap();
}

impl Sample {
    /// Repairs the database after `damage` was done to a copy of its disk; gives what came of it, with the repaired one.
    fn repair(&self, damage: impl FnOnce(&SimDisk)) -> Result<(Repair, Engine), Error> {
        let disk = self.sim.disk.fork(1);
        damage(&disk);
        let env = Env { disk: Arc::new(disk.clone()), ..self.sim.env.clone() };
        let files = || ["", "log", "history"].iter().flat_map(|dir| list(&disk, dir)).collect::<Vec<_>>();
        let before: Vec<_> = files().into_iter().map(|path| (read(&disk, &path), path)).collect();
        let repaired = repair(&env, Path::new(DIR), Path::new(COPY), &self.options);
        let after: Vec<_> = files().into_iter().map(|path| (read(&disk, &path), path)).collect();
        assert!(before == after, "the damaged files are not what they were");
        let repaired = repaired?;
        assert_eq!(repaired.verification.findings, Vec::<String>::new());
        Ok((repaired, Engine::open(env, Path::new(COPY), self.options.clone()).unwrap()))
    }

    /// The repaired database has everything up to `last`, or refuses it. Gives what it refuses.
    fn check(&self, engine: &Engine, last: CommitSeq) -> Vec<(CommitSeq, TreeId)> {
        let found = contents(engine);
        let mut refused = Vec::new();
        for (at, wanted) in self.contents.iter().filter(|((seq, _), _)| *seq <= last) {
            match found.get(at).unwrap_or_else(|| panic!("there is no {at:?}")) {
                None => refused.push(*at),
                found => assert!(found == wanted, "{at:?} is another"),
            }
        }
        for table in engine.catalog().tables() {
            let rows = entries(engine, table.id, ReadPoint::Latest).unwrap();
            for index in &table.indexes {
                let mut wanted: Entries = rows
                    .iter()
                    .map(|(key, row)| {
                        let values = decode_row(table, row).unwrap();
                        (index_entry(index, &values, key).key.to_vec(), key.clone())
                    })
                    .collect();
                wanted.sort();
                assert_eq!(entries(engine, index.id, ReadPoint::Latest).unwrap(), wanted, "{}", index.name);
            }
        }
        refused
    }
}

#[test]
fn a_log_from_the_first_commit_on_replaces_base_and_history() {
    let sample = sample(1, false);
    let base = Path::new(DIR).join("base.redb");
    let length = read(&sample.sim.disk, &base).len() as u64;
    let offsets = (SLOT.1..length).step_by(SLOT.0 as usize).map(|at| at + 100);
    // Each with the offset of a bit to flip, or else to be removed.
    let mut damages: Vec<(PathBuf, Option<u64>)> =
        [0, 4_096, 5_000].into_iter().chain(offsets).map(|at| (base.clone(), Some(at))).collect();
    damages.push((base, None));
    for path in list(&sample.sim.disk, "history") {
        damages.extend([(path.clone(), Some(300)), (path, None)]);
    }
    assert!(damages.len() > 40);
    for (path, offset) in damages {
        let damage = |disk: &SimDisk| match offset {
            Some(offset) => flip(disk, &path, offset),
            None => disk.remove(&path).unwrap(),
        };
        let what = format!("{} at {offset:?}", path.display());
        let (repaired, engine) = sample.repair(damage).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(repaired.lost, Vec::<String>::new(), "{what}");
        assert_eq!(engine.stamp().seq, sample.last, "{what}");
        assert_eq!(sample.check(&engine, sample.last), [], "{what}");
    }
}

#[test]
fn what_a_lost_history_segment_held_is_refused() {
    let sample = sample(2, true);
    let (sound, engine) = sample.repair(|_| {}).unwrap();
    assert_eq!((sound.lost, sample.check(&engine, sample.last)), (Vec::new(), Vec::new()));
    let table = engine.catalog().table("t").unwrap().clone();
    let trees = [table.id, table.indexes[0].id];
    for path in list(&sample.sim.disk, "history") {
        let (repaired, engine) = sample.repair(|disk| flip(disk, &path, 300)).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(repaired.lost.iter().any(|lost| lost.contains(name) && lost.contains("\"t\"")), "{:?}", repaired.lost);
        let refused = sample.check(&engine, sample.last);
        let horizon = engine.view().horizon(table.id);
        assert!(horizon > CommitSeq(20) && horizon < sample.last, "{horizon}");
        assert!(refused.iter().all(|(seq, tree)| *seq < horizon && trees.contains(tree)), "{refused:?}");
        let error = engine.check_horizon(&engine.view(), &table, CommitSeq(20)).unwrap_err();
        assert_eq!(error.state, SqlState::BEYOND_RETENTION_HORIZON);
    }
}

/// Of every page of the base: either nothing depends on it, or its table begins anew, or nothing can be done.
#[test]
fn rows_of_a_damaged_page_are_lost_and_nothing_else() {
    let sample = sample(3, true);
    let base = Path::new(DIR).join("base.redb");
    let length = read(&sample.sim.disk, &base).len() as u64;
    let (mut refusals, mut losses) = (0, 0);
    for page in 1..(length - SLOT.1) / SLOT.0 {
        let done = sample.repair(|disk| flip(disk, &base, SLOT.1 + page * SLOT.0 + 200));
        let (repaired, engine) = match done {
            Err(error) => {
                assert_eq!(error.state, SqlState::DATA_CORRUPTED, "page {page}: {error}");
                refusals += 1;
                continue;
            }
            Ok(done) => done,
        };
        let refused = sample.check(&engine, sample.last);
        if repaired.lost.is_empty() {
            assert_eq!(refused, [], "page {page}");
            assert_eq!(engine.stamp().seq, sample.last);
            continue;
        }
        losses += 1;
        // What is left of a table that lost rows is what it had, and goes on.
        let catalog = engine.catalog();
        let has_horizon = |table: &&Arc<TableSchema>| engine.view().horizon(table.id) > CommitSeq::ZERO;
        let damaged: Vec<_> = catalog.tables().filter(has_horizon).cloned().collect();
        assert!(!damaged.is_empty() && refused.iter().all(|(seq, _)| *seq <= sample.last), "page {page}");
        for table in damaged {
            let had = sample.contents.get(&(sample.last, table.id)).unwrap().as_ref().unwrap();
            let has = entries(&engine, table.id, ReadPoint::Latest).unwrap();
            assert!(has.len() <= had.len() && has.iter().all(|row| had.contains(row)), "page {page}");
            let mut txn = begin(&engine);
            insert(&mut txn, &table, row(20_000, 1, "after")).unwrap();
            commit(txn);
        }
        engine.store().flush().unwrap();
        assert_eq!(engine.verify(&[]).unwrap().findings, Vec::<String>::new());
    }
    assert!(losses > 10 && refusals > 0, "{losses} losses, {refusals} refusals");
}

#[test]
fn commits_after_damage_in_the_log_do_not_follow() {
    for trimmed in [false, true] {
        let sample = sample(4, trimmed);
        let log = list(&sample.sim.disk, "log").pop().unwrap();
        let bytes = read(&sample.sim.disk, &log);
        let text = b"only in the log";
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
        let first = CommitSeq(sample.last.0 - sample.in_log + 1);
        assert!(places.len() == 4 || trimmed, "{places:?}");
        // Not the last: that would be a torn end.
        for (n, place) in places.iter().rev().skip(1).enumerate() {
            let (repaired, engine) = sample.repair(|disk| flip(disk, &log, *place as u64)).unwrap();
            let kept = CommitSeq(sample.last.0 - 2 - n as u64);
            assert!(kept.next() >= first);
            let said = format!("after {kept}");
            let later = format!("commits {} to {}", kept.0 + 2, sample.last);
            assert!(repaired.lost.len() == 1 && repaired.lost[0].contains(&said), "{:?}", repaired.lost);
            assert!(repaired.lost[0].contains(&later) && repaired.lost[0].contains("offset"), "{:?}", repaired.lost);
            assert_eq!((engine.stamp().seq, sample.check(&engine, kept)), (kept, Vec::new()));
        }
        // A header is no commit.
        let (repaired, engine) = sample.repair(|disk| flip(disk, &log, 30)).unwrap();
        assert_eq!((repaired.lost, engine.stamp().seq), (Vec::new(), sample.last));
        assert_eq!(sample.check(&engine, sample.last), []);
        // Without the log there is what the checkpoint had.
        let kept = CommitSeq(first.0 - 1);
        let gone = |disk: &SimDisk| list(disk, "log").iter().for_each(|path| disk.remove(path).unwrap());
        let (repaired, engine) = sample.repair(gone).unwrap();
        assert!(repaired.lost.len() == 1 && repaired.lost[0].contains(&format!("after {kept}")), "{:?}", repaired.lost);
        assert_eq!((engine.stamp().seq, sample.check(&engine, kept)), (kept, Vec::new()));
    }
}

#[test]
fn what_belongs_to_nobody_is_left_out() {
    let sample = sample(5, true);
    let orphan = Path::new(DIR).join("history/100-999.parquet");
    let spare = Path::new(DIR).join("log/00000000000000000001.spare");
    let (repaired, engine) = sample
        .repair(|disk| {
            write(disk, &orphan, b"nobody's");
            write(disk, &spare, b"nobody's");
        })
        .unwrap();
    assert!(repaired.mended.iter().any(|mended| mended.contains("100-999.parquet")), "{:?}", repaired.mended);
    assert!(repaired.mended.iter().any(|mended| mended.contains(".spare")), "{:?}", repaired.mended);
    assert_eq!((repaired.lost, sample.check(&engine, sample.last)), (Vec::new(), Vec::new()));
}

#[test]
fn without_base_and_beginning_nothing_can_be_done() {
    let sample = sample(6, true);
    let error = sample.repair(|disk| disk.remove(&Path::new(DIR).join("base.redb")).unwrap()).unwrap_err();
    assert_eq!(error.state, SqlState::DATA_CORRUPTED);
    assert!(error.message.contains("base.redb"), "{error}");
    assert!(error.detail.is_some_and(|detail| detail.contains("first commit")));
}

/// Versions go once the commit that says so is durable. If that is in the part of the log that is lost, they are gone all the same,
/// and nobody may take what is left for all there was.
#[test]
fn what_a_lost_commit_collected_is_refused() {
    let sim = Env::sim(7);
    let mut options = options();
    options.log.segment_bytes = 4 << 10;
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), options.clone()).unwrap();
    let mut schema = definition("t", true);
    schema.retention = Some(Interval { days: 1, ..Interval::default() });
    let table = create(&engine, schema);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 0, "same")).unwrap();
    commit(txn);
    for n in 1..=40 {
        sim.clock.advance(Duration::from_secs(40_000));
        let mut txn = begin(&engine);
        update(&mut txn, &table, |_| Some(row(1, n, "same"))).unwrap();
        commit(txn);
    }
    engine.close().unwrap();
    let engine = Engine::open(sim.env.clone(), Path::new(DIR), options.clone()).unwrap();
    let kept = engine.stamp().seq;
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    while engine.store().compact().unwrap() {}
    let mut txn = begin(&engine);
    update(&mut txn, &table, |_| Some(row(1, 100, "last"))).unwrap();
    commit(txn);
    let (contents, last) = (contents(&engine), engine.stamp().seq);
    drop(engine);
    let sample = Sample { sim, options, contents, last, in_log: 2 };
    let (log, place) = list(&sample.sim.disk, "log")
        .into_iter()
        .find_map(|log| {
            let bytes = read(&sample.sim.disk, &log);
            Some((log, bytes.windows(9).position(|window| window == b"retention")?))
        })
        .unwrap();
    let (repaired, engine) = sample.repair(|disk| flip(disk, &log, place as u64)).unwrap();
    assert!(repaired.lost.iter().any(|lost| lost.contains("collected by retention")), "{:?}", repaired.lost);
    let refused = sample.check(&engine, kept);
    assert_eq!(refused.iter().map(|(seq, _)| *seq).max(), Some(CommitSeq(kept.0 - 1)));
}

#[test]
fn nothing_is_written_over() {
    let sample = sample(8, true);
    let before: Vec<_> = list(&sample.sim.disk, "log");
    for to in [DIR, "/other"] {
        sample.sim.disk.create_dir_all(Path::new("/other/log")).unwrap();
        let error = repair(&sample.sim.env, Path::new(DIR), Path::new(to), &sample.options).unwrap_err();
        assert_eq!(error.state, SqlState::INVALID_PARAMETER_VALUE);
    }
    assert_eq!(list(&sample.sim.disk, "log"), before);
}
