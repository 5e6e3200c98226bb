//! The log itself: opening, appending, removing what is not needed any more.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb_env::{Disk, DiskFile, OpenOptions};
use driftdb_types::Lsn;

use crate::error::LogError;
use crate::frame::SegmentHeader;
use crate::plan::{Part, Plan, Tail};
use crate::recovery::{ApplyResult, RecoveryReport, recover};
use crate::segment::{Listing, segment_path, spare_path};

/// The largest buffer kept for the next group.
const BUFFER_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// How the log is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The size of the log segments made from now on, in bytes: 256 to 2^30. Those there keep theirs. A segment is
    /// read whole into memory when the log is opened.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { segment_bytes: 64 * 1024 * 1024 }
    }
}

impl LogOptions {
    const SEGMENT_BYTES_MIN: u64 = 256;
    pub(crate) const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

    fn check(&self) -> Result<(), LogError> {
        if (Self::SEGMENT_BYTES_MIN..=Self::SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Ok(());
        }
        let message = format!(
            "a log segment of {} bytes is not possible: from {} to {} bytes",
            self.segment_bytes,
            Self::SEGMENT_BYTES_MIN,
            Self::SEGMENT_BYTES_MAX
        );
        Err(LogError::Options(message))
    }
}

/// The commit log, owned by its one writer.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: LogOptions,
    /// The segment the log ends in.
    file: Arc<dyn DiskFile>,
    tail: Tail,
    /// The offset in that segment up to which zeros were written ahead.
    zeroed_to: u64,
    /// The first Lsns of all segments there are, rising; the last is the one of `tail`.
    segments: Vec<Lsn>,
    spares: Vec<Spare>,
    spares_made: u64,
    poisoned: Option<String>,
    /// The next record is to begin a segment.
    fill: bool,
    buffer: Vec<u8>,
}

/// A file with space set aside, durably, that is to become a segment.
struct Spare {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    size_bytes: u64,
}

impl Log {
    /// Opens the log in `dir`, or makes it when there is none and `from` is 0.
    ///
    /// Every whole record that ends after `from` is given to `on_record` with the Lsn of its end, in order. `from` is
    /// the end of a record, as [`Log::append`] gave it (that of the checkpoint), or 0. Each record given is durable. A
    /// torn tail is cut and reported; damage is an error.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        from: Lsn,
        on_record: &mut dyn FnMut(Lsn, &[u8]) -> ApplyResult,
    ) -> Result<(Log, RecoveryReport), LogError> {
        options.check()?;
        disk.create_dir_all(dir).map_err(LogError::io("make the directory", dir))?;
        let listing = Listing::read(disk.as_ref(), dir)?;
        for spare in &listing.spares {
            disk.remove(spare).map_err(LogError::io("remove", spare))?;
        }
        // A name may be there that is not durable, when only the process died and not the system.
        disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
        if listing.segments.is_empty() {
            if from != Lsn(0) {
                let what = format!("there is no log segment, although the checkpoint is at {from}");
                return Err(LogError::damaged(dir, 0, what));
            }
            let log = Log::create(disk, dir, options, from)?;
            let report = RecoveryReport { records: 0, end: log.end(), torn_bytes: 0, torn: None };
            return Ok((log, report));
        }
        let start = listing.segments.iter().rposition(|first| *first <= from);
        let Some(needed) = start.and_then(|start| listing.segments.get(start..)) else {
            let what = format!("the log segment that holds the checkpoint at {from} is missing");
            return Err(LogError::damaged(dir, 0, what));
        };
        let mut records = 0;
        let (end, file) = recover(disk.as_ref(), dir, needed, from, &mut |lsn, record| {
            records += 1;
            on_record(lsn, record).map_err(|source| LogError::Apply { lsn, source })
        })?;
        let report = RecoveryReport {
            records,
            end: end.tail.lsn(),
            torn_bytes: end.torn.as_ref().map_or(0, |torn| torn.size_bytes),
            torn: end.torn,
        };
        if let Some(torn) = &report.torn {
            tracing::warn!(
                file = %torn.file.display(), offset = torn.offset, size_bytes = torn.size_bytes, what = %torn.what,
                "cut the unfinished write at the end of the commit log"
            );
        }
        let log = Log::new(disk, dir, options, file, end.tail, end.tail.zeros_to(), listing.segments);
        Ok((log, report))
    }

    /// Makes an empty log in `dir`, in which there is none, that begins at `first`: for records that come after a checkpoint there.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, options: LogOptions, first: Lsn) -> Result<Log, LogError> {
        options.check()?;
        disk.create_dir_all(dir).map_err(LogError::io("make the directory", dir))?;
        let header = SegmentHeader { first, size_bytes: options.segment_bytes, previous: 0 };
        let spare = Spare::make(disk.as_ref(), dir, 0, options.segment_bytes)?;
        let path = segment_path(dir, header.first);
        spare.file.write_at(0, &header.encode()).map_err(LogError::io("write", &spare.path))?;
        spare.file.sync_all().map_err(LogError::io("sync", &spare.path))?;
        disk.rename(&spare.path, &path).map_err(LogError::io("rename", &spare.path))?;
        disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
        let tail = Tail::of_new(&header);
        Ok(Log::new(disk, dir, options, spare.file, tail, tail.offset, vec![header.first]))
    }

    fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        file: Arc<dyn DiskFile>,
        tail: Tail,
        zeroed_to: u64,
        segments: Vec<Lsn>,
    ) -> Log {
        Log {
            disk,
            dir: dir.to_owned(),
            options,
            file,
            tail,
            zeroed_to,
            segments,
            spares: Vec::new(),
            spares_made: 0,
            poisoned: None,
            fill: false,
            buffer: Vec::new(),
        }
    }

    /// The end of the log: the next record begins here, or at the beginning of the next segment.
    pub fn end(&self) -> Lsn {
        self.tail.lsn()
    }

    /// Why the log takes no more records, if so.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// How many log segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Appends a group of records and makes them durable together; gives the Lsn of the end of each.
    ///
    /// On [`LogError::Full`] and [`LogError::Io`] none of them is in the log, and the log is as it was. On
    /// [`LogError::Poisoned`] it is unknown whether they are, until the log is opened again; and every later
    /// append fails alike.
    pub fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<Vec<Lsn>, LogError> {
        self.check_poisoned()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let plan = Plan::of(self.tail, self.options.segment_bytes, records, self.fill, buffer);
        while self.spares.len() < plan.new.len() {
            self.make_spare()?;
        }
        if let Some(mut part) = plan.current {
            self.write_current(&mut part).map_err(|error| self.poison("write", error))?;
            part.bytes.truncate(0);
            part.bytes.shrink_to(BUFFER_KEPT_BYTES);
            self.buffer = part.bytes;
        }
        for mut part in plan.new {
            let spare = self.spares.pop().ok_or_else(|| io::Error::other("no spare log segment"));
            let begun = spare.and_then(|spare| self.begin_segment(spare, &mut part));
            begun.map_err(|error| self.poison("continue", error))?;
        }
        self.fill = false;
        Ok(plan.ends)
    }

    /// Has the next record begin a new segment, so that those before it can be removed when a checkpoint is behind it.
    pub fn end_segment(&mut self) {
        self.fill = true;
    }

    /// Sets aside the space of the next segment, unless it is already, so that the append that needs it does not have
    /// to wait. For when the writer has nothing else to do.
    pub fn prepare_next(&mut self) -> Result<(), LogError> {
        self.check_poisoned()?;
        if self.spares.is_empty() { self.make_spare() } else { Ok(()) }
    }

    /// Removes the segments all of whose records end at or before `lsn` (that of the checkpoint); gives how many. The
    /// segment the log ends in always stays.
    pub fn remove_before(&mut self, lsn: Lsn) -> Result<usize, LogError> {
        let needless = self.segments.iter().skip(1).take_while(|next| **next <= lsn).count();
        for _ in 0..needless {
            // The oldest first, so that what stays is one row; a power cut may still leave gaps before the checkpoint.
            let Some(first) = self.segments.first() else { break };
            let path = segment_path(&self.dir, *first);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove", &path)(error));
                }
                _ => self.segments.remove(0),
            };
        }
        if needless > 0 {
            self.disk.sync_dir(&self.dir).map_err(LogError::io("sync", &self.dir))?;
        }
        Ok(needless)
    }

    fn check_poisoned(&self) -> Result<(), LogError> {
        match &self.poisoned {
            Some(reason) => Err(LogError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&mut self, action: &str, error: io::Error) -> LogError {
        let path = segment_path(&self.dir, self.tail.first);
        let reason = format!("cannot {action} {}: {error}", path.display());
        tracing::error!(%reason, "the commit log takes no more records");
        self.poisoned = Some(reason.clone());
        LogError::Poisoned { reason }
    }

    fn make_spare(&mut self) -> Result<(), LogError> {
        self.spares_made += 1;
        let spare = Spare::make(self.disk.as_ref(), &self.dir, self.spares_made, self.options.segment_bytes)?;
        self.spares.push(spare);
        Ok(())
    }

    fn write_current(&mut self, part: &mut Part) -> io::Result<()> {
        if part.tail.offset > self.zeroed_to {
            self.zeroed_to = part.add_zeros();
        }
        self.file.write_at(part.offset, &part.bytes)?;
        self.file.sync_data()?;
        self.tail = part.tail;
        Ok(())
    }

    /// Makes a spare the segment the log ends in, with `part` in it, in one step: its name.
    fn begin_segment(&mut self, spare: Spare, part: &mut Part) -> io::Result<()> {
        if spare.size_bytes != part.tail.size_bytes {
            return Err(io::Error::other("the spare log segment has another size"));
        }
        self.zeroed_to = part.add_zeros();
        spare.file.write_at(0, &part.bytes)?;
        spare.file.sync_data()?;
        self.disk.rename(&spare.path, &segment_path(&self.dir, part.tail.first))?;
        self.disk.sync_dir(&self.dir)?;
        self.file = spare.file;
        self.tail = part.tail;
        self.segments.push(part.tail.first);
        Ok(())
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("end", &self.end())
            .field("segments", &self.segments.len())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

impl Spare {
    /// Makes a file and sets its space aside, durably. When that fails nothing stays of it, so far as the disk lets.
    fn make(disk: &dyn Disk, dir: &Path, n: u64, size_bytes: u64) -> Result<Spare, LogError> {
        let path = spare_path(dir, n);
        let made = disk.open(&path, OpenOptions::TRUNCATE).and_then(|file| {
            file.allocate(size_bytes)?;
            file.sync_all()?;
            Ok(file)
        });
        made.map(|file| Spare { path: path.clone(), file, size_bytes }).map_err(|source| {
            if let Err(error) = disk.remove(&path) {
                tracing::warn!(file = %path.display(), %error, "an unfinished spare log segment stays until the next start");
            }
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::Full { file: path, source },
                _ => LogError::io("set aside", &path)(source),
            }
        })
    }
}
