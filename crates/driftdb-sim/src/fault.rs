//! The faults: which there are, when they strike, and what they excuse.

use driftdb_env::{DiskOpKind, FailMode, SimDisk};
use driftdb_types::{Error, SqlState};

use crate::dice::Dice;

/// What is to go wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// The operation it strikes; any change when there is none.
    kind: Option<DiskOpKind>,
    mode: FailMode,
    /// The operations that pass before it strikes, at most.
    within: usize,
}

const fn fault(name: &'static str, kind: Option<DiskOpKind>, mode: FailMode, within: usize) -> Fault {
    Fault { name, kind, mode, within }
}

/// Power cuts are the most.
pub(crate) const FAULTS: &[Fault] = &[
    fault("power cut", None, FailMode::Crash, 8),
    fault("power cut", None, FailMode::Crash, 60),
    fault("power cut in a sync", Some(DiskOpKind::Sync), FailMode::Crash, 12),
    fault("power cut in a rename", Some(DiskOpKind::Rename), FailMode::Crash, 1),
    fault("write fails", Some(DiskOpKind::Write), FailMode::Error, 12),
    fault("no space for a write", Some(DiskOpKind::Write), FailMode::Full, 12),
    fault("no space for a file", Some(DiskOpKind::Allocate), FailMode::Full, 2),
    fault("sync fails", Some(DiskOpKind::Sync), FailMode::Error, 2),
    fault("sync fails", Some(DiskOpKind::Sync), FailMode::Error, 12),
    fault("sync of a directory fails", Some(DiskOpKind::SyncDir), FailMode::Error, 3),
    fault("create fails", Some(DiskOpKind::Create), FailMode::Error, 2),
    fault("rename fails", Some(DiskOpKind::Rename), FailMode::Error, 1),
    fault("remove fails", Some(DiskOpKind::Remove), FailMode::Error, 2),
    fault("length cannot be set", Some(DiskOpKind::SetLen), FailMode::Error, 2),
    fault("short read", Some(DiskOpKind::Read), FailMode::Error, 20),
    fault("read misdirected", Some(DiskOpKind::Read), FailMode::Misdirected, 20),
    fault("read with a flipped bit", Some(DiskOpKind::Read), FailMode::Flipped, 20),
];

/// A disk that gives wrong bytes, to a read as likely as to another.
pub(crate) const WRONG_BYTES: &[Fault] = &[
    fault("read misdirected", Some(DiskOpKind::Read), FailMode::Misdirected, 200),
    fault("read with a flipped bit", Some(DiskOpKind::Read), FailMode::Flipped, 200),
];

impl Fault {
    pub(crate) fn arm(&self, dice: &Dice, disk: &SimDisk) {
        let n = 1 + dice.below(self.within) as u64;
        match self.kind {
            Some(kind) => disk.fail_on(kind, n, self.mode),
            None => disk.fail_after(n, self.mode),
        }
    }

    /// Whether this is what a failing disk may look like.
    pub(crate) fn excuses(&self, error: &Error) -> bool {
        match self.mode {
            FailMode::Full => [SqlState::DISK_FULL, SqlState::IO_ERROR].contains(&error.state),
            FailMode::Error | FailMode::Crash => error.state == SqlState::IO_ERROR,
            FailMode::Misdirected | FailMode::Flipped => {
                [SqlState::DATA_CORRUPTED, SqlState::IO_ERROR].contains(&error.state)
            }
        }
    }
}
