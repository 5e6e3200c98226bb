//! The files: names, and reading one whole.

use std::path::{Path, PathBuf};

use driftdb_env::{Disk, DiskFile, OpenOptions};
use driftdb_types::Lsn;

use crate::error::LogError;
use crate::frame::{BadFrame, BadHeader, FORMAT, Frame, SEGMENT_HEADER, SegmentHeader, decode_frame};
use crate::log::LogOptions;
use crate::plan::Tail;

const SUFFIX: &str = ".log";
/// Ends the names of segments being prepared; what bears it is not part of the log.
const SPARE_SUFFIX: &str = ".spare";

/// No log is longer: at a gibibyte a second it takes 270 years. So positions within a segment, and in those made after it,
/// can be added up without a look at each sum.
pub(crate) const END_MAX: u64 = i64::MAX as u64;

/// The file of the segment that begins at `first`.
pub(crate) fn segment_path(dir: &Path, first: Lsn) -> PathBuf {
    dir.join(format!("{:020}{SUFFIX}", first.0))
}

/// The file in which the `n`-th spare segment is prepared.
pub(crate) fn spare_path(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("{n:020}{SPARE_SUFFIX}"))
}

fn first_of_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(SUFFIX)?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all_digits).map(Lsn)
}

/// What is in the log's directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The first Lsns of the segments, rising.
    pub(crate) segments: Vec<Lsn>,
    /// Left over from an interrupted preparation.
    pub(crate) spares: Vec<PathBuf>,
}

impl Listing {
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Listing, LogError> {
        let mut listing = Listing::default();
        for name in disk.list(dir).map_err(LogError::io("list", dir))? {
            if let Some(first) = first_of_name(&name) {
                listing.segments.push(first);
            } else if name.ends_with(SPARE_SUFFIX) {
                listing.spares.push(dir.join(name));
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }
}

/// A log segment read into memory.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    /// The whole file.
    pub(crate) bytes: Vec<u8>,
}

impl Segment {
    /// Reads the segment that begins at `first` and checks its header. A segment gets its name when its header is
    /// durable, so whatever is wrong with that is damage.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path, first: Lsn) -> Result<Segment, LogError> {
        let path = segment_path(dir, first);
        let file = disk.open(&path, OpenOptions::READ).map_err(LogError::io("open", &path))?;
        let len = file.len().map_err(LogError::io("read the length of", &path))?;
        if len < SEGMENT_HEADER {
            return Err(LogError::damaged(&path, len, "the file ends within its header"));
        }
        let mut header = [0; SEGMENT_HEADER as usize];
        file.read_at(0, &mut header).map_err(LogError::io("read", &path))?;
        let header = SegmentHeader::decode(&header).map_err(|bad| match bad {
            BadHeader::Magic => LogError::damaged(&path, 0, "the file does not begin like a log segment"),
            BadHeader::Checksum => LogError::damaged(&path, 0, "the checksum of the segment's header is wrong"),
            BadHeader::Format(found) => LogError::Format { file: path.clone(), found, known: FORMAT.into() },
        })?;
        if header.first != first {
            let what = format!("the segment begins at {}, which is not what its name says", header.first);
            return Err(LogError::damaged(&path, 0, what));
        }
        if header.size_bytes != len {
            let what = format!("the segment has {} bytes, the file {len}", header.size_bytes);
            return Err(LogError::damaged(&path, len.min(header.size_bytes), what));
        }
        let bytes = read_bytes(file.as_ref(), &path, first, len)?;
        Ok(Segment { path, header, bytes })
    }

    /// Reads a segment whose header says nothing: where it begins and how long it is, name and file say too. `None` where it
    /// does not begin with a frame that follows `before`, the tail of the segment ahead of it if that is known.
    pub(crate) fn read_without_header(
        disk: &dyn Disk,
        dir: &Path,
        first: Lsn,
        before: Option<&Tail>,
    ) -> Option<Segment> {
        let path = segment_path(dir, first);
        let file = disk.open(&path, OpenOptions::READ).ok()?;
        let size_bytes = file.len().ok()?;
        let bytes = read_bytes(file.as_ref(), &path, first, size_bytes).ok()?;
        let header = SegmentHeader { first, size_bytes, previous: 0 };
        let mut segment = Segment { path, header, bytes };
        let begin = Tail::of_new(&header);
        let frame = decode_frame(segment.rest(begin.offset), begin.lsn()).ok()?;
        let previous = frame.previous;
        segment.header.previous = previous;
        before.is_none_or(|before| before.checksum == previous).then_some(segment)
    }

    /// The Lsn after the segment's last byte.
    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.header.first.0 + self.header.size_bytes)
    }

    /// The bytes from `offset` to the end.
    pub(crate) fn rest(&self, offset: u64) -> &[u8] {
        usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default()
    }

    /// The frame that follows `tail`, chained to it.
    pub(crate) fn next_frame(&self, tail: &Tail) -> Result<Frame<'_>, Broken> {
        match decode_frame(self.rest(tail.offset), tail.lsn()) {
            Ok(frame) if frame.previous == tail.checksum => Ok(frame),
            Ok(_) => Err(Broken::Chain),
            Err(bad) => Err(Broken::Frame(bad)),
        }
    }
}

/// Reads all of a segment's file, if a segment can begin there and be so long.
fn read_bytes(file: &dyn DiskFile, path: &Path, first: Lsn, len: u64) -> Result<Vec<u8>, LogError> {
    if first.0.checked_add(len).is_none_or(|end| end > END_MAX) {
        return Err(LogError::damaged(path, 0, format!("no log has a position {first}")));
    }
    // The file's length alone may say more than there is memory.
    if len > LogOptions::SEGMENT_BYTES_MAX {
        return Err(LogError::damaged(path, 0, format!("no segment has {len} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_at(0, &mut bytes).map_err(LogError::io("read", path))?;
    Ok(bytes)
}

/// Why the next frame is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// What is there is not a valid frame.
    Frame(BadFrame),
    /// It is valid, but follows another frame than the one before it.
    Chain,
}

impl Broken {
    pub(crate) fn what(self) -> String {
        match self {
            Broken::Frame(bad) => bad.what(),
            Broken::Chain => "the frame does not follow the one before it".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lsns_of_twenty_digits() {
        let path = segment_path(Path::new("/log"), Lsn(67_108_864));
        assert_eq!(path, Path::new("/log/00000000000067108864.log"));
        assert_eq!(first_of_name("00000000000067108864.log"), Some(Lsn(67_108_864)));
        assert_eq!(first_of_name("18446744073709551615.log"), Some(Lsn(u64::MAX)));
        for name in ["67108864.log", "+0000000000067108864.log", "99999999999999999999.log", "x.log", ".log", "LOCK"] {
            assert_eq!(first_of_name(name), None, "{name}");
        }
    }
}
