//! Damage behind the database's back: on a copy of the disk one bit is flipped, somewhere. The database notices, and the doctor
//! makes a repaired copy, in which nothing is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb_engine::{Engine, EngineOptions, LOG_DIR};
use driftdb_env::{Disk, Env, OpenOptions, SimDisk, SimEnv};
use driftdb_store::{NoSchemas, ReadPoint, StoreView};
use driftdb_types::{CommitSeq, Error, KeyRange, Lsn, SqlState};
use imbl::OrdMap;

use crate::compare;
use crate::dice::Dice;
use crate::halt::{Halt, Result, hold, wrong};
use crate::model::{Model, State};

/// The part of a file that is damaged more often than the rest.
const HEADERS_BYTES: u64 = 4_500;

/// A flipped bit.
struct Flip {
    path: PathBuf,
    offset: u64,
}

/// How a flip was noticed.
pub(crate) enum Noticed {
    /// The database does not open.
    AtOpening,
    /// A read fails.
    AtRead,
    /// The last commit is taken for one that the crash left unfinished.
    AsTornTail,
    /// By the doctor alone: no answer depends on that bit.
    ByDoctor,
}

impl Noticed {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Noticed::AtOpening => "flip noticed at opening",
            Noticed::AtRead => "flip noticed at a read",
            Noticed::AsTornTail => "flip taken for a torn tail",
            Noticed::ByDoctor => "flip noticed by the doctor alone",
        }
    }
}

/// What the doctor made of it.
pub(crate) enum Repaired {
    /// All is there again.
    Whole,
    /// It says that something is missing, and what is there is right.
    InPart,
    /// It says that nothing can be done.
    NotAtAll,
}

impl Repaired {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Repaired::Whole => "flip repaired",
            Repaired::InPart => "flip repaired, with losses",
            Repaired::NotAtAll => "flip not repaired",
        }
    }
}

/// Flips a bit on a copy of the disk, has the doctor repair that, looks at it as the doctor does, and opens and reads it. `None` when there is nothing
/// to damage.
pub(crate) fn flip_one(
    sim: &SimEnv,
    dir: &Path,
    options: &EngineOptions,
    model: &Model,
    dice: &Dice,
) -> Result<Option<(Noticed, Repaired)>> {
    let mut copy = Env::sim(dice.seed());
    copy.disk = sim.disk.fork(dice.seed());
    copy.env.disk = Arc::new(copy.disk.clone());
    let Some(flip) = flip(&copy.disk, dir, dice) else { return Ok(None) };
    let place = format!("{}, byte {}", flip.path.display(), flip.offset);
    let named = named_by_doctor(&copy.env, dir, &flip.path);
    let repaired = match repaired(&copy.disk.fork(dice.seed()), &copy.env, dir, options, model) {
        Ok(repaired) => repaired,
        Err(Halt::Refused(error)) => wrong!("a flipped bit ({place}) is repaired to what leads to {error:?}"),
        Err(Halt::Wrong(what)) => wrong!("a flipped bit ({place}) is repaired wrongly: {what}"),
    };
    let noticed = match read_all(&copy.env, dir, options, model) {
        Ok(noticed) => noticed,
        Err(Halt::Refused(error)) => wrong!("a flipped bit ({place}) leads to {error:?}"),
        Err(Halt::Wrong(what)) => wrong!("a flipped bit ({place}) leads to a wrong answer: {what}"),
    };
    hold!(named, "the doctor does not name the flipped bit: {place}, {}", noticed.name());
    Ok(Some((noticed, repaired)))
}

fn flip(disk: &SimDisk, dir: &Path, dice: &Dice) -> Option<Flip> {
    let places = [dir.to_owned(), dir.join("history"), dir.join(LOG_DIR)];
    let inside =
        |place: &PathBuf| disk.list(place).unwrap_or_default().into_iter().map(|name| place.join(name)).collect();
    let files: Vec<Vec<PathBuf>> = places.iter().map(inside).collect();
    // Each place as often as the others: the log's files are many.
    let path = dice.pick(dice.pick(&files)?)?.clone();
    let len = disk.open(&path, OpenOptions::READ).ok()?.len().ok()?;
    // Now and then where the headers are.
    let within = if dice.one_in(4) { len.min(HEADERS_BYTES) } else { len };
    let offset = dice.below(usize::try_from(within).ok()?) as u64;
    disk.flip_bit(&path, offset, dice.below(8) as u8).then_some(Flip { path, offset })
}

fn named_by_doctor(env: &Env, dir: &Path, path: &Path) -> bool {
    let store = driftdb_store::check(env, dir, Arc::new(NoSchemas));
    let from = driftdb_store::read_checkpoint(env, dir).map_or(Lsn(0), |checkpoint| checkpoint.lsn);
    let log = driftdb_log::check(env.disk.as_ref(), &dir.join(LOG_DIR), from);
    store.iter().any(|finding| finding.path == path) || log.iter().any(|finding| finding.file == path)
}

fn is_damage(error: &Error) -> bool {
    [SqlState::DATA_CORRUPTED, SqlState::IO_ERROR].contains(&error.state)
}

fn read_all(env: &Env, dir: &Path, options: &EngineOptions, model: &Model) -> Result<Noticed> {
    let engine = match Engine::open(env.clone(), dir, options.clone()) {
        Ok(engine) => engine,
        Err(error) if is_damage(&error) => return Ok(Noticed::AtOpening),
        Err(error) => return Err(error.into()),
    };
    let shorter =
        (engine.recovery().torn_bytes > 0 && engine.stamp() < model.last()).then(|| model.until(engine.stamp().seq));
    match compare::everything(&engine, shorter.as_ref().unwrap_or(model)) {
        Ok(()) if shorter.is_some() => Ok(Noticed::AsTornTail),
        Ok(()) => Ok(Noticed::ByDoctor),
        Err(Halt::Refused(error)) if is_damage(&error) => Ok(Noticed::AtRead),
        Err(halt) => Err(halt),
    }
}

/// Has the doctor make a repaired copy, and compares what is in it.
fn repaired(disk: &SimDisk, env: &Env, dir: &Path, options: &EngineOptions, model: &Model) -> Result<Repaired> {
    let env = Env { disk: Arc::new(disk.clone()), ..env.clone() };
    let copy = Path::new("/repaired");
    let repair = match driftdb_engine::repair(&env, dir, copy, options) {
        Err(error) if error.state == SqlState::DATA_CORRUPTED => return Ok(Repaired::NotAtAll),
        done => done?,
    };
    hold!(repair.verification.findings.is_empty(), "{:?}", repair.verification.findings);
    let engine = Engine::open(env, copy, options.clone())?;
    let view = engine.view();
    let mut own = Vec::new();
    for commit in engine.commits(&view, CommitSeq(1)..=view.stamp().seq, true)? {
        let commit = commit?;
        if commit.meta.application != "doctor" {
            break;
        }
        own.push(commit.stamp);
    }
    let mut expected = model.until(CommitSeq(view.stamp().seq.0 - own.len() as u64));
    let is_torn = || repair.mended.iter().any(|mended| mended.contains("an unfinished write"));
    let is_shorter = expected.last() < model.last();
    hold!(!is_shorter || !repair.lost.is_empty() || is_torn(), "it does not say that it ends at {:?}", expected.last());
    let left = what_is_left(&view, &expected)?;
    for stamp in own.into_iter().rev() {
        expected.push(stamp, left.clone());
    }
    compare::everything(&engine, &expected)?;
    Ok(if repair.lost.is_empty() { Repaired::Whole } else { Repaired::InPart })
}

/// What there is of the last state: rows may be missing where the table begins anew with a commit of the doctor's, and there are no
/// others.
fn what_is_left(view: &Arc<StoreView>, expected: &Model) -> Result<State> {
    let mut state = expected.state();
    for table in state.values_mut() {
        let mut rows = OrdMap::new();
        for row in view.scan(table.schema.id, &KeyRange::all(), ReadPoint::Latest, false)? {
            let key = row?.key;
            let Some(known) = table.rows.get(&key) else { wrong!("table {} has a row {key:?}", table.schema.name) };
            rows.insert(key, Arc::clone(known));
        }
        let is_whole = rows.len() == table.rows.len();
        let begins_anew = view.horizon(table.schema.id) > expected.last().seq;
        hold!(is_whole || begins_anew, "table {} lacks rows, and its past can be read", table.schema.name);
        table.rows = rows;
    }
    Ok(state)
}
