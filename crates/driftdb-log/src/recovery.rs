//! Reading the log when it is opened: verifying frame after frame, handing out the records, and deciding what an
//! invalid frame means. The reasoning is in the crate's documentation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb_env::{Disk, DiskFile, OpenOptions};
use driftdb_types::Lsn;

use crate::error::LogError;
use crate::frame::{BadFrame, FORMAT, Frame, SEGMENT_HEADER, find_frame};
use crate::plan::Tail;
use crate::segment::{Broken, Segment, segment_path};

/// What the one who opens the log may fail with when given a record.
pub type ApplyError = Box<dyn std::error::Error + Send + Sync>;

/// What the one who opens the log answers when given a record.
pub type ApplyResult = Result<(), ApplyError>;

/// Takes in a record and the Lsn of its end.
pub(crate) type OnRecord<'a> = &'a mut dyn FnMut(Lsn, &[u8]) -> Result<(), LogError>;

/// What opening the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// How many whole records were handed out.
    pub records: u64,
    /// Where the log ends, and goes on.
    pub end: Lsn,
    /// How many bytes after the end were cut: the torn tail of a write that a crash interrupted.
    pub torn_bytes: u64,
    /// Where they were and what was wrong with them, when there were any.
    pub torn: Option<TornTail>,
}

/// The unfinished write at the end of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment it is in.
    pub file: PathBuf,
    /// The offset at which it begins.
    pub offset: u64,
    /// How many bytes from there to its last one that is not zero.
    pub size_bytes: u64,
    /// What is wrong with its first frame.
    pub what: String,
}

/// The end of the log, as found.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) tail: Tail,
    /// The offset in the last segment from which on its frames are of the last group.
    last_group_offset: u64,
    pub(crate) torn: Option<TornTail>,
}

/// Reads `segments` (rising, not empty), of which the first holds `from`; hands out the records after `from`; and
/// gives the end of the log, with the file it is in.
///
/// A record is handed out only when it is known to be durable. In the segments before the last it is: otherwise there
/// would be no later one. The last is verified to its end and made durable first.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Lsn],
    from: Lsn,
    on_record: OnRecord<'_>,
) -> Result<(End, Arc<dyn DiskFile>), LogError> {
    // A header is no place for a record: before it and after it is the same.
    let from = segments.first().map_or(from, |first| from.max(Lsn(first.0.saturating_add(SEGMENT_HEADER))));
    let mut replay = Replay { from, parts: None, on_record };
    let mut before: Option<Tail> = None;
    for (index, first) in segments.iter().enumerate() {
        if let Some(before) = before {
            check_follows(dir, &before, *first)?;
        }
        let segment = Segment::read(disk, dir, *first)?;
        if before.is_some_and(|before| before.checksum != segment.header.previous) {
            let what = "the segment does not follow the last frame of the one before it";
            return Err(LogError::damaged(&segment.path, 0, what));
        }
        let is_last = index + 1 == segments.len();
        let end = find_end(&segment, is_last)?;
        if !is_last {
            replay.hand_out(&segment, end.tail.offset)?;
            before = Some(end.tail);
            continue;
        }
        if end.tail.lsn() < from {
            let what = format!("the log ends here, at {}, before the checkpoint at {from}", end.tail.lsn());
            return Err(LogError::damaged(&segment.path, end.tail.offset, what));
        }
        let file = make_durable(disk, &segment, &end)?;
        replay.hand_out(&segment, end.tail.offset)?;
        return Ok((end, file));
    }
    Err(LogError::damaged(dir, 0, "there is no log segment"))
}

/// Verifies a segment to the end of its frames. Only the last one may end before it is full.
fn find_end(segment: &Segment, is_last: bool) -> Result<End, LogError> {
    let mut tail = Tail::of_new(&segment.header);
    let mut last_group_offset = tail.offset;
    while !tail.is_full() {
        let frame = match segment.next_frame(&tail) {
            Ok(frame) => frame,
            Err(broken) if is_last => {
                let torn = judge(segment, &tail, broken)?;
                return Ok(End { tail, last_group_offset, torn });
            }
            Err(broken) => return Err(damage(segment, &tail, broken)),
        };
        if frame.group == tail.lsn() {
            last_group_offset = tail.offset;
        }
        tail.follow(&frame);
    }
    Ok(End { tail, last_group_offset, torn: None })
}

/// Makes what was found the truth: writes the last group once more (what the page cache shows may be what a failed
/// sync never brought to the disk), with zeros over a torn tail and as far as they are written ahead, and syncs.
fn make_durable(disk: &dyn Disk, segment: &Segment, end: &End) -> Result<Arc<dyn DiskFile>, LogError> {
    let path = &segment.path;
    let torn_end = end.torn.as_ref().map_or(0, |torn| torn.offset + torn.size_bytes);
    let zeros = end.tail.zeros_to().max(torn_end).saturating_sub(end.tail.offset);
    let group_bytes = usize::try_from(end.tail.offset - end.last_group_offset).unwrap_or(usize::MAX);
    let mut bytes = segment.rest(end.last_group_offset).get(..group_bytes).unwrap_or_default().to_vec();
    bytes.resize(bytes.len() + usize::try_from(zeros).unwrap_or(0), 0);
    let file = disk.open(path, OpenOptions::WRITE).map_err(LogError::io("open", path))?;
    file.write_at(end.last_group_offset, &bytes).map_err(LogError::io("write", path))?;
    file.sync_data().map_err(LogError::io("sync", path))?;
    Ok(file)
}

/// Puts records together from frames already verified.
struct Replay<'a> {
    from: Lsn,
    /// The payloads so far of a record of several frames.
    parts: Option<Vec<u8>>,
    on_record: OnRecord<'a>,
}

impl Replay<'_> {
    /// Hands out the records that end in this segment before the offset `end`.
    fn hand_out(&mut self, segment: &Segment, end: u64) -> Result<(), LogError> {
        let mut at = Tail::of_new(&segment.header);
        while at.offset < end {
            let frame = segment.next_frame(&at).map_err(|broken| damage(segment, &at, broken))?;
            let mut next = at;
            next.follow(&frame);
            if at.lsn() >= self.from {
                self.take_in(segment, &at, next.lsn(), &frame)?;
            } else if next.lsn() > self.from {
                let what = format!("the checkpoint at {} is within this frame", self.from);
                return Err(LogError::damaged(&segment.path, at.offset, what));
            }
            at = next;
        }
        Ok(())
    }

    fn take_in(&mut self, segment: &Segment, at: &Tail, end: Lsn, frame: &Frame<'_>) -> Result<(), LogError> {
        if frame.kind.begins_record() {
            // What there was of an unfinished record stays unfinished: a crash came between its frames.
            self.parts = None;
            if frame.kind.ends_record() {
                return (self.on_record)(end, frame.payload);
            }
            self.parts = Some(frame.payload.to_vec());
            return Ok(());
        }
        let Some(parts) = self.parts.as_mut() else {
            return Err(LogError::damaged(&segment.path, at.offset, "the record of this frame has no beginning"));
        };
        parts.extend_from_slice(frame.payload);
        match self.parts.take_if(|_| frame.kind.ends_record()) {
            Some(record) => (self.on_record)(end, &record),
            None => Ok(()),
        }
    }
}

/// That the segment which begins at `first` is the one after `before`.
fn check_follows(dir: &Path, before: &Tail, first: Lsn) -> Result<(), LogError> {
    let expected = Lsn(before.first.0 + before.size_bytes);
    if first == expected {
        return Ok(());
    }
    let what = format!("log segment {} is missing", segment_path(dir, expected).display());
    Err(LogError::damaged(dir, 0, what))
}

fn damage(segment: &Segment, tail: &Tail, broken: Broken) -> LogError {
    match broken {
        Broken::Frame(BadFrame::Format(found)) => {
            LogError::Format { file: segment.path.clone(), found: found.into(), known: FORMAT.into() }
        }
        broken => LogError::damaged(&segment.path, tail.offset, broken.what()),
    }
}

/// Decides what it means that no valid frame follows `tail` in the last segment: the end of the log, a torn tail, or
/// damage.
pub(crate) fn judge(segment: &Segment, tail: &Tail, broken: Broken) -> Result<Option<TornTail>, LogError> {
    let rest = segment.rest(tail.offset);
    let Some(last) = rest.iter().rposition(|byte| *byte != 0) else {
        return Ok(None);
    };
    // A valid frame in its own place is never part of a torn write at that place.
    if matches!(broken, Broken::Chain | Broken::Frame(BadFrame::Format(_) | BadFrame::Fields)) {
        return Err(damage(segment, tail, broken));
    }
    let here = tail.lsn();
    if let Some((offset, frame)) = find_frame(rest, here, 1, here.0 + 1..=u64::MAX) {
        let what = format!(
            "{}, and the frame at offset {}, of a group begun at {}, was written after it was durable",
            broken.what(),
            tail.offset + offset as u64,
            frame.group
        );
        return Err(LogError::damaged(&segment.path, tail.offset, what));
    }
    Ok(Some(TornTail {
        file: segment.path.clone(),
        offset: tail.offset,
        size_bytes: last as u64 + 1,
        what: broken.what(),
    }))
}
