//! A disk in memory that forgets what was not synced, and fails when told to.
//!
//! # What is durable
//! Bytes are durable when a sync of the file has returned; names when a sync of their directory has. On
//! [`SimDisk::crash`] (a power cut) everything else is at the mercy of the seed: of the unsynced 512-byte sectors,
//! of the unsynced file lengths and of the unsynced creations, renames and removals, none, some or all survive
//! ([`Loss::Random`]), or none ([`Loss::All`]). A sector and a rename are whole or absent; nothing else is atomic, and
//! no order between them is kept. [`SimDisk::kill`] is the milder accident: the process dies, the system lives, and
//! nothing is lost.
//!
//! # Faults
//! [`SimDisk::fail_after`] arms one fault that strikes the n-th change from now. A failed write may leave a part of
//! its bytes, a failed sync some of its sectors (and strands the others for good). A [`FailMode::Crash`] cuts the
//! power in the middle of the operation: it and every later one fail until [`SimDisk::crash`] is called, which is
//! the restart. Handles and locks of before a crash are dead after it. A read may also succeed with bytes that are not
//! those asked for ([`FailMode::Misdirected`], [`FailMode::Flipped`]).
//!
//! # Interleaving
//! [`SimDisk::pause_after`] stops a thread before one of its changes and lets another go on meanwhile, at the same place
//! each time: threads take turns where a test says so, and a seed repeats itself.

mod bytes;
mod file;
mod pause;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Debug};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, DiskLock, OpenOptions};
use crate::rand::{Rand, SimRand};

use bytes::{SimBytes, Survival};
use file::SimFile;
pub use pause::Pause;
use pause::PausePoint;

/// How many of the last operations [`SimDisk::operations`] remembers.
const OPERATIONS_KEPT: usize = 10_000;

/// What happens to unsynced changes when the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them are lost.
    All,
    /// None, some or all of them survive, as the seed has it.
    Random,
}

/// What the armed fault does to the operation it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailMode {
    /// It fails, with an error of the kind `Other`; the disk goes on working.
    Error,
    /// It fails for want of space, with `StorageFull`.
    Full,
    /// The power is cut in its midst: it and all later ones fail until [`SimDisk::crash`].
    Crash,
    /// For reads: it succeeds, with what is elsewhere in the file.
    Misdirected,
    /// For reads: it succeeds, with one bit of it wrong.
    Flipped,
}

/// The kinds of operation that are counted and can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOpKind {
    /// `Disk::create_dir_all` of a directory that is missing, or not durable.
    CreateDir,
    /// `Disk::open` that makes or empties a file.
    Create,
    /// `DiskFile::write_at`.
    Write,
    /// `DiskFile::set_len`.
    SetLen,
    /// `DiskFile::allocate`.
    Allocate,
    /// `DiskFile::sync_data` and `sync_all`.
    Sync,
    /// `Disk::sync_dir`.
    SyncDir,
    /// `Disk::rename`.
    Rename,
    /// `Disk::remove`.
    Remove,
    /// `DiskFile::read_at`: not counted as a change, and fails only when asked for by kind.
    Read,
}

/// One operation that changed the disk, or tried to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOp {
    /// What was done.
    pub kind: DiskOpKind,
    /// To which file or directory.
    pub path: PathBuf,
}

impl fmt::Display for DiskOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.path.display())
    }
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

type Content = Arc<Mutex<SimBytes>>;

struct State {
    directories: BTreeSet<PathBuf>,
    /// Those of them whose making failed half way: they are there, but their names are not durable.
    unsynced_directories: BTreeSet<PathBuf>,
    /// The names as everyone sees them.
    names: BTreeMap<PathBuf, Content>,
    /// The names as of the last syncs of their directories.
    durable_names: BTreeMap<PathBuf, Content>,
    /// What leads from the durable names to the visible ones, in order.
    unsynced_names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    /// Counts the crashes; a handle of an earlier epoch is dead.
    epoch: u64,
    /// The power is cut and nobody restarted the machine yet.
    down: bool,
    capacity_bytes: Option<u64>,
    loss: Loss,
    fault: Option<Fault>,
    pause: Option<PausePoint>,
    changes: u64,
    operations: VecDeque<DiskOp>,
    rand: SimRand,
}

/// One creation, removal or rename: what its names mean afterwards.
struct NameChange {
    sets: Vec<(PathBuf, Option<Content>)>,
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Content>) {
        for (path, content) in &self.sets {
            match content {
                Some(content) => names.insert(path.clone(), Arc::clone(content)),
                None => names.remove(path),
            };
        }
    }
}

struct Fault {
    left: u64,
    kind: Option<DiskOpKind>,
    mode: FailMode,
}

impl SimDisk {
    /// An empty disk whose accidents follow from `seed`.
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            directories: BTreeSet::new(),
            unsynced_directories: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            locks: BTreeSet::new(),
            epoch: 0,
            down: false,
            capacity_bytes: None,
            loss: Loss::Random,
            fault: None,
            pause: None,
            changes: 0,
            operations: VecDeque::new(),
            rand: SimRand::new(seed),
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// What a power cut does to unsynced changes; [`Loss::Random`] unless set.
    pub fn set_loss(&self, loss: Loss) {
        self.state.lock().loss = loss;
    }

    /// Bounds the sum of the files' lengths; beyond it, operations fail with `StorageFull`. `None`: no bound.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.state.lock().capacity_bytes = capacity_bytes;
    }

    /// Makes the `n`-th change from now fail (1 is the next one). Replaces a fault armed before.
    pub fn fail_after(&self, n: u64, mode: FailMode) {
        self.state.lock().fault = Some(Fault { left: n, kind: None, mode });
    }

    /// Makes the `n`-th operation of this kind from now fail (1 is the next one).
    pub fn fail_on(&self, kind: DiskOpKind, n: u64, mode: FailMode) {
        self.state.lock().fault = Some(Fault { left: n, kind: Some(kind), mode });
    }

    /// Disarms the fault; says whether it was still to come.
    pub fn clear_fault(&self) -> bool {
        self.state.lock().fault.take().is_some()
    }

    /// Whether a [`FailMode::Crash`] has struck and the machine waits for [`SimDisk::crash`].
    pub fn is_down(&self) -> bool {
        self.state.lock().down
    }

    /// Cuts the power, as [`FailMode::Crash`] does: everything fails until [`SimDisk::crash`].
    pub fn cut_power(&self) {
        self.state.lock().down = true;
    }

    /// Cuts the power and starts the machine again: unsynced changes meet their fate, handles and locks die, faults
    /// are disarmed.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        let rand = state.rand.clone();
        let draw = |loss| if loss == Loss::All { Survival::None } else { Survival::draw(&rand) };
        let survival = draw(state.loss);
        let mut names = std::mem::take(&mut state.durable_names);
        for change in std::mem::take(&mut state.unsynced_names) {
            if survival.spares(&rand) {
                change.apply(&mut names);
            }
        }
        for lost in std::mem::take(&mut state.unsynced_directories) {
            if !survival.spares(&rand) {
                state.directories.retain(|directory| !directory.starts_with(&lost));
                names.retain(|path, _| !path.starts_with(&lost));
            }
        }
        for content in names.values() {
            content.lock().lose(draw(state.loss), &rand);
        }
        state.durable_names = names.clone();
        state.names = names;
        state.restart();
    }

    /// Ends the process but not the system: handles and locks die and faults are disarmed, while everything written
    /// is still there (and still not durable).
    pub fn kill(&self) {
        self.state.lock().restart();
    }

    /// The sum of the files' lengths: what counts against [`SimDisk::set_capacity_bytes`].
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// How many changes there were: all operations but reads.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// The last changes (10,000 at most), oldest first.
    pub fn operations(&self) -> Vec<DiskOp> {
        self.state.lock().operations.iter().cloned().collect()
    }

    /// Another disk with the same files and names, all durable.
    pub fn fork(&self, seed: u64) -> SimDisk {
        let fork = SimDisk::new(seed);
        let from = self.state.lock();
        let mut to = fork.state.lock();
        to.directories = from.directories.clone();
        for (path, content) in &from.names {
            let mut copy = SimBytes::default();
            content.lock().copy_to(&mut copy);
            to.names.insert(path.clone(), Arc::new(Mutex::new(copy)));
        }
        to.durable_names = to.names.clone();
        drop(to);
        fork
    }

    /// Damages a file behind everyone's back, durably: flips one bit (0 is the lowest) of the byte at `offset`. Says
    /// whether there is such a byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> bool {
        let Some(content) = self.state.lock().names.get(&normal(path)).cloned() else {
            return false;
        };
        let mut content = content.lock();
        let mut byte = [0];
        if !content.read(offset, &mut byte) {
            return false;
        }
        let [byte] = byte;
        content.corrupt(offset, byte ^ 1_u8.wrapping_shl(u32::from(bit)));
        true
    }

    /// Runs one operation under the lock: counts it, lets the armed fault strike, and refuses when the machine is
    /// down or `epoch` is of before a crash.
    ///
    /// `act` is told how it goes: [`Outcome::Done`], or what goes wrong, in which case it leaves the disk as such an
    /// accident would and its own result is replaced by the fault's error.
    fn change<T>(
        &self,
        kind: DiskOpKind,
        path: &Path,
        epoch: Option<u64>,
        act: impl FnOnce(&mut State, Outcome) -> io::Result<T>,
    ) -> io::Result<T> {
        self.pause_here(kind);
        let mut state = self.state.lock();
        state.check_alive(epoch)?;
        if kind != DiskOpKind::Read {
            state.changes += 1;
            if state.operations.len() == OPERATIONS_KEPT {
                state.operations.pop_front();
            }
            state.operations.push_back(DiskOp { kind, path: path.to_owned() });
        }
        let Some(mode) = state.strike(kind) else {
            return act(&mut state, Outcome::Done);
        };
        // What comes next is making it good, for which others may have to wait.
        state.pause = None;
        let outcome = match mode {
            FailMode::Crash => Outcome::Interrupted,
            FailMode::Error | FailMode::Full => Outcome::Failed,
            FailMode::Misdirected => Outcome::Misdirected,
            FailMode::Flipped => Outcome::Flipped,
        };
        let result = act(&mut state, outcome);
        match mode {
            FailMode::Misdirected | FailMode::Flipped => result,
            FailMode::Error => Err(io::Error::other(format!("simulated fault in {kind:?} of {}", path.display()))),
            FailMode::Full => Err(full()),
            FailMode::Crash => {
                state.down = true;
                Err(powerless())
            }
        }
    }
}

/// How an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Well.
    Done,
    /// It fails, and the disk goes on.
    Failed,
    /// The power goes in its midst.
    Interrupted,
    /// A read gives what is elsewhere; all else goes well.
    Misdirected,
    /// A read gives a wrong bit; all else goes well.
    Flipped,
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on simulated disk")
}

fn powerless() -> io::Error {
    io::Error::other("simulated power cut")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not on the simulated disk", path.display()))
}

/// One spelling for each path.
fn normal(path: &Path) -> PathBuf {
    path.components().collect()
}

impl State {
    fn check_alive(&self, epoch: Option<u64>) -> io::Result<()> {
        if self.down {
            return Err(powerless());
        }
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            return Err(io::Error::other("file handle of before a simulated crash"));
        }
        Ok(())
    }

    /// Whether the armed fault strikes this operation.
    fn strike(&mut self, kind: DiskOpKind) -> Option<FailMode> {
        let fault = self.fault.as_mut()?;
        let counts = fault.kind.map_or(kind != DiskOpKind::Read, |wanted| wanted == kind);
        if !counts {
            return None;
        }
        fault.left = fault.left.saturating_sub(1);
        if fault.left > 0 {
            return None;
        }
        self.fault.take().map(|fault| fault.mode)
    }

    fn restart(&mut self) {
        self.locks.clear();
        self.epoch += 1;
        self.down = false;
        self.fault = None;
    }

    /// Fails when `more` bytes would not fit.
    fn check_room(&self, more: u64) -> io::Result<()> {
        let Some(capacity_bytes) = self.capacity_bytes.filter(|_| more > 0) else {
            return Ok(());
        };
        if self.used_bytes().saturating_add(more) > capacity_bytes { Err(full()) } else { Ok(()) }
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|content| content.lock().len()).sum()
    }

    fn rename_all(&mut self, sets: Vec<(PathBuf, Option<Content>)>) {
        let change = NameChange { sets };
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn sync_names(&mut self, dir: &Path) {
        let (synced, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsynced_names)
            .into_iter()
            .partition(|change| change.sets.iter().any(|(path, _)| path.parent() == Some(dir)));
        for change in synced {
            change.apply(&mut self.durable_names);
        }
        self.unsynced_names = rest;
    }

    fn parent_exists(&self, path: &Path) -> bool {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                parent.parent().is_none() || self.directories.contains(parent)
            }
            _ => true,
        }
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        {
            let state = self.state.lock();
            if state.directories.contains(&dir) && !state.unsynced_directories.contains(&dir) {
                return state.check_alive(None);
            }
        }
        self.change(DiskOpKind::CreateDir, &dir, None, |state, outcome| {
            // It fails before there is anything, or when it is there and is to be made durable.
            if outcome == Outcome::Failed && state.rand.below(2) == 0 {
                return Ok(());
            }
            for directory in dir.ancestors().filter(|above| !above.as_os_str().is_empty()) {
                let made = state.directories.insert(directory.to_owned());
                if outcome == Outcome::Done {
                    state.unsynced_directories.remove(directory);
                } else if made {
                    state.unsynced_directories.insert(directory.to_owned());
                }
            }
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir = normal(dir);
        let state = self.state.lock();
        state.check_alive(None)?;
        if !dir.as_os_str().is_empty() && !state.directories.contains(&dir) {
            return Err(not_found(&dir));
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir.as_path()));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let path = normal(path);
        let state = self.state.lock();
        state.check_alive(None)?;
        Ok(state.names.contains_key(&path) || state.directories.contains(&path))
    }

    fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Arc<dyn DiskFile>> {
        let path = normal(path);
        let handle = |content: &Content, epoch| {
            let (disk, path, content) = (self.clone(), path.clone(), Arc::clone(content));
            Arc::new(SimFile { disk, path, content, epoch, write: options.write })
        };
        {
            let state = self.state.lock();
            state.check_alive(None)?;
            match state.names.get(&path) {
                Some(_) if options.create_new => {
                    let message = format!("{} is already on the simulated disk", path.display());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
                }
                Some(content) if !options.truncate => return Ok(handle(content, state.epoch)),
                Some(_) => {}
                None if (options.create || options.create_new) && state.parent_exists(&path) => {}
                None => return Err(not_found(&path)),
            }
        }
        self.change(DiskOpKind::Create, &path, None, |state, outcome| {
            if outcome == Outcome::Failed {
                return Err(powerless());
            }
            if let Some(content) = state.names.get(&path) {
                // Another thread may have made it since the look above.
                if options.create_new {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                if options.truncate {
                    content.lock().set_len(0);
                }
                return Ok(handle(content, state.epoch) as Arc<dyn DiskFile>);
            }
            let content = Content::default();
            state.rename_all(vec![(path.clone(), Some(Arc::clone(&content)))]);
            Ok(handle(&content, state.epoch))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        self.change(DiskOpKind::Remove, &path, None, |state, outcome| {
            if !state.names.contains_key(&path) {
                return Err(not_found(&path));
            }
            if outcome != Outcome::Failed {
                state.rename_all(vec![(path.clone(), None)]);
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        self.change(DiskOpKind::Rename, &from, None, |state, outcome| {
            let Some(content) = state.names.get(&from).cloned().filter(|_| state.parent_exists(&to)) else {
                return Err(not_found(&from));
            };
            if outcome != Outcome::Failed {
                state.rename_all(vec![(from.clone(), None), (to.clone(), Some(content))]);
            }
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        self.change(DiskOpKind::SyncDir, &dir, None, |state, outcome| {
            if !dir.as_os_str().is_empty() && !state.directories.contains(&dir) {
                return Err(not_found(&dir));
            }
            if outcome == Outcome::Done {
                state.sync_names(&dir);
                state.unsynced_directories.retain(|directory| directory.parent() != Some(dir.as_path()));
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let path = normal(path);
        if !self.exists(&path)? {
            self.open(&path, OpenOptions::CREATE)?;
        }
        let mut state = self.state.lock();
        state.check_alive(None)?;
        if !state.locks.insert(path.clone()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} is locked", path.display())));
        }
        Ok(Box::new(SimLock { disk: self.clone(), path, epoch: state.epoch }))
    }
}

impl Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    epoch: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}
