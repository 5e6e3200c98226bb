//! Looking the whole log over without opening it, for `doctor`: what is wrong with it, and what can still be read.
//!
//! Opening stops at the first damage. This goes on: after an invalid frame it looks for the next valid one and reports
//! the stretch between them, so that one sees how much is lost.

use std::fmt;
use std::path::{Path, PathBuf};

use driftdb_env::Disk;
use driftdb_types::Lsn;

use crate::error::LogError;
use crate::frame::{Frame, find_frame};
use crate::plan::Tail;
use crate::recovery::judge;
use crate::segment::{Listing, Segment, segment_path};

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Normal after a crash; opening the log deals with it.
    Note,
    /// Bytes are lost in segments before the one that holds the checkpoint: nothing that was committed is lost by it, and
    /// opening the log does not read them.
    Covered,
    /// Commits are lost or cannot be read: opening the log refuses.
    Damage,
}

/// Something `doctor` should tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file it is in; the directory when a file is missing.
    pub file: PathBuf,
    /// The offset of the first byte concerned.
    pub offset: u64,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: {}", self.file.display(), self.offset, self.what)
    }
}

/// Reads every log segment in `dir` and tells what is wrong. `from` is the Lsn of the checkpoint (0 when there is
/// none). Changes nothing. No findings: the log is sound to its end.
pub fn check(disk: &dyn Disk, dir: &Path, from: Lsn) -> Vec<Finding> {
    salvage(disk, dir, from, &mut |_, _| {}).findings
}

/// What is left of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// What [`check`] tells.
    pub findings: Vec<Finding>,
    /// Whether nothing is lost of what comes after the checkpoint.
    pub is_complete: bool,
}

/// As [`check`], and gives `on_record` every whole record after `from` that can be read, in order, with whether it follows:
/// whether nothing is lost between `from` and it.
pub fn salvage(disk: &dyn Disk, dir: &Path, from: Lsn, on_record: &mut dyn FnMut(&[u8], bool)) -> Salvage {
    let records = Records { from, parts: None, on_record };
    let mut check = Check { from, needed: Lsn(0), findings: Vec::new(), records, follows: true };
    match Listing::read(disk, dir) {
        Ok(listing) => check.listing(disk, dir, &listing),
        Err(error) => check.failed(dir, Lsn(u64::MAX), &error),
    }
    Salvage { findings: check.findings, is_complete: check.follows }
}

struct Check<'r> {
    from: Lsn,
    /// Where the segment begins that holds the checkpoint: opening reads from here, not from the checkpoint, because
    /// each frame is held against the one before it.
    needed: Lsn,
    findings: Vec<Finding>,
    records: Records<'r>,
    /// Whether nothing was lost since `from`.
    follows: bool,
}

/// Puts records together from the frames that can be read.
struct Records<'r> {
    from: Lsn,
    /// The payloads so far of a record of several frames.
    parts: Option<Vec<u8>>,
    on_record: &'r mut dyn FnMut(&[u8], bool),
}

impl Records<'_> {
    fn take_in(&mut self, at: Lsn, frame: &Frame<'_>, follows: bool) {
        if at < self.from {
            return;
        }
        if frame.kind.begins_record() {
            self.parts = Some(Vec::new());
        }
        // Without its beginning it is no record.
        let Some(parts) = self.parts.as_mut() else { return };
        parts.extend_from_slice(frame.payload);
        if let Some(record) = self.parts.take_if(|_| frame.kind.ends_record()) {
            (self.on_record)(&record, follows);
        }
    }
}

impl Check<'_> {
    /// Adds a finding on bytes that end at `end`.
    fn lost(&mut self, file: &Path, offset: u64, end: Lsn, what: String) {
        if end > self.from {
            self.follows = false;
        }
        self.records.parts = None;
        self.refused(file, offset, end, what);
    }

    /// Adds a finding on bytes that opening needs, and no record.
    fn refused(&mut self, file: &Path, offset: u64, end: Lsn, what: String) {
        let severity = if end <= self.needed { Severity::Covered } else { Severity::Damage };
        self.findings.push(Finding { severity, file: file.to_owned(), offset, what });
    }

    fn note(&mut self, file: &Path, offset: u64, what: String) {
        self.findings.push(Finding { severity: Severity::Note, file: file.to_owned(), offset, what });
    }

    /// Adds what an error says; `end` is the end of what could not be read for it.
    fn failed(&mut self, file: &Path, end: Lsn, error: &LogError) {
        let (offset, what) = error.finding();
        self.lost(file, offset, end, what);
    }

    fn listing(&mut self, disk: &dyn Disk, dir: &Path, listing: &Listing) {
        for spare in &listing.spares {
            self.note(spare, 0, "left over from preparing a log segment; opening the log removes it".to_owned());
        }
        let begun = listing.segments.iter().rfind(|first| **first <= self.from);
        self.needed = begun.copied().unwrap_or(Lsn(0));
        match listing.segments.first() {
            None if self.from > Lsn(0) => {
                let what = format!("there is no log segment, although the checkpoint is at {}", self.from);
                return self.lost(dir, 0, Lsn(u64::MAX), what);
            }
            None => return self.note(dir, 0, "there is no log segment: the log was never opened".to_owned()),
            Some(first) if *first > self.from => {
                let what = format!("the log segments before {first} are missing");
                self.lost(dir, 0, *first, what);
            }
            Some(_) => {}
        }
        let mut before: Option<Tail> = None;
        let mut nexts = listing.segments.iter().skip(1).copied();
        for first in &listing.segments {
            let next = nexts.next();
            let path = segment_path(dir, *first);
            let (segment, assumed) = match Segment::read(disk, dir, *first) {
                Ok(segment) => (segment, false),
                Err(error) => {
                    let Some(segment) = Segment::read_without_header(disk, dir, *first, before.as_ref()) else {
                        self.failed(&path, next.unwrap_or(Lsn(u64::MAX)), &error);
                        before = None;
                        continue;
                    };
                    self.refused(&path, 0, segment.end(), error.finding().1);
                    (segment, true)
                }
            };
            if !assumed && before.is_some_and(|before| before.checksum != segment.header.previous) {
                let what = "the segment does not follow the last frame of the one before it";
                self.lost(&path, 0, segment.end(), what.to_owned());
            }
            if let Some(next) = next.filter(|next| *next != segment.end()) {
                let missing = segment_path(dir, segment.end());
                self.lost(dir, 0, next, format!("log segment {} is missing", missing.display()));
                self.segment(&segment, false);
                before = None;
            } else {
                before = self.segment(&segment, next.is_none());
            }
        }
        let end = before.map(|tail| tail.lsn());
        if let Some((end, last)) = end.zip(listing.segments.last()).filter(|(end, _)| *end < self.from) {
            let what = format!("the log ends at {end}, before the checkpoint at {}", self.from);
            self.lost(&segment_path(dir, *last), end.0.saturating_sub(last.0), Lsn(u64::MAX), what);
        }
    }

    /// Looks over one segment; gives its tail, if what follows can be held against that.
    fn segment(&mut self, segment: &Segment, is_last: bool) -> Option<Tail> {
        let mut tail = Tail::of_new(&segment.header);
        let mut group = 0;
        while !tail.is_full() {
            let broken = match segment.next_frame(&tail) {
                Ok(frame) => {
                    group = frame.group.0;
                    self.records.take_in(tail.lsn(), &frame, self.follows);
                    tail.follow(&frame);
                    continue;
                }
                Err(broken) => broken,
            };
            if is_last && let Ok(end) = judge(segment, &tail, broken) {
                if let Some(torn) = end {
                    let what = format!("an unfinished write of {} bytes; opening the log cuts it", torn.size_bytes);
                    self.note(&segment.path, torn.offset, what);
                }
                return Some(tail);
            }
            let rest = segment.rest(tail.offset);
            let Some((skipped, frame)) = find_frame(rest, tail.lsn(), 0, group..=u64::MAX) else {
                let what = format!("{}; no frame after it in this segment can be read", broken.what());
                self.lost(&segment.path, tail.offset, segment.end(), what);
                return None;
            };
            let found = tail.offset + skipped as u64;
            let what = match skipped {
                0 => broken.what(),
                _ => format!("{}; the next frame that can be read is at offset {found}", broken.what()),
            };
            self.lost(&segment.path, tail.offset, Lsn(segment.header.first.0 + found), what);
            tail.offset = found;
            self.records.take_in(tail.lsn(), &frame, self.follows);
            tail.follow(&frame);
            group = frame.group.0;
        }
        self.padding(segment, tail.offset);
        Some(tail)
    }

    /// Nothing refers to what is behind the last frame of a full segment, and nothing was written there.
    fn padding(&mut self, segment: &Segment, from: u64) {
        if let Some(stray) = segment.rest(from).iter().position(|byte| *byte != 0) {
            let what = "the padding at the segment's end is not zero; nothing refers to it".to_owned();
            self.note(&segment.path, from + stray as u64, what);
        }
    }
}
