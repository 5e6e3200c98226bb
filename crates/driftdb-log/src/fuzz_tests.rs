//! Fuzz targets: bytes that are almost frames, headers, and whole logs.
//!
//! Checksums are repaired on the way in most of the time, so that what is behind them is reached.

use std::path::Path;
use std::sync::Arc;

use driftdb_env::{Disk, OpenOptions, SimDisk};
use driftdb_fuzz::Target;
use driftdb_types::Lsn;

use crate::frame::{
    FRAME_HEADER, Kind, SEGMENT_HEADER, SegmentHeader, decode_frame, encode_frame, find_frame, frame_checksum,
};
use crate::segment::{END_MAX, segment_path};
use crate::{Log, LogError, LogOptions, Severity, check};

const DIR: &str = "/log";
const HEADER: usize = SEGMENT_HEADER as usize;
/// The size of the segments in examples.
const SEGMENT: usize = 256;

fn target(name: &'static str, rounds: u64, examples: fn() -> Vec<(String, Vec<u8>)>, run: fn(&[u8]) -> bool) -> Target {
    let crate_directory = env!("CARGO_MANIFEST_DIR");
    Target { name, crate_directory, rounds, memory_bytes_max: 8 << 20, rigid: false, tokens: &[], examples, run }
}

#[test]
fn fuzz_log_frame() {
    target("log_frame", 10_000, frames, decode_as_frame).fuzz();
}

#[test]
fn fuzz_segment_header() {
    target("segment_header", 10_000, headers, decode_as_header).fuzz();
}

#[test]
fn fuzz_log_segment() {
    Target { rigid: true, ..target("log_segment", 4_000, logs, open_as_log) }.fuzz();
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Gives the frame at the start of `bytes` its checksum, if there is as much as its length says; its end and its checksum.
fn repair_frame(bytes: &mut [u8], at: u64) -> Option<(usize, u32)> {
    let length = u32_at(bytes, 0)?;
    let end = FRAME_HEADER as usize + length as usize;
    let checksum = frame_checksum(Lsn(at), length, bytes.get(8..end)?);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    Some((end, checksum))
}

/// Where it stands, then the frame, then what follows it.
fn frames() -> Vec<(String, Vec<u8>)> {
    let frame = |at: u64, kind, payload: &[u8], after: &[u8]| {
        let mut bytes = at.to_le_bytes().to_vec();
        encode_frame(&mut bytes, Lsn(at), Lsn(at.saturating_sub(30)), 0xA1B2_C3D4, kind, payload);
        bytes.extend_from_slice(after);
        bytes
    };
    let followed = frame(64, Kind::First, b"first", &[0; 30]);
    vec![
        ("whole".to_owned(), frame(64, Kind::Whole, b"payload", b"")),
        ("empty".to_owned(), frame(1 << 40, Kind::Whole, b"", b"")),
        ("middle".to_owned(), frame(500, Kind::Middle, &[1, 1, 0, 0].repeat(30), b"after")),
        ("last".to_owned(), frame(u64::MAX - 40, Kind::Last, b"end", &followed)),
        ("first".to_owned(), followed),
    ]
}

fn decode_as_frame(input: &[u8]) -> bool {
    let Some((at, bytes)) = input.split_first_chunk::<8>() else { return false };
    let at = u64::from_le_bytes(*at);
    let is_found = found_frames_are_frames(bytes, at);
    let mut repaired = bytes.to_vec();
    repair_frame(&mut repaired, at);
    found_frames_are_frames(&repaired, at) | is_found
}

/// What is decoded is encoded as the same bytes; what is searched for is found where it is; whether there is a frame.
fn found_frames_are_frames(bytes: &[u8], at: u64) -> bool {
    let first = decode_frame(bytes, Lsn(at));
    let found = find_frame(bytes, Lsn(at), 0, 0..=u64::MAX);
    if let Ok(frame) = first {
        assert!(found.is_some_and(|(offset, _)| offset == 0), "{found:?}");
        let mut again = Vec::new();
        let checksum = encode_frame(&mut again, Lsn(at), frame.group, frame.previous, frame.kind, frame.payload);
        assert_eq!((again.as_slice(), checksum), (&bytes[..again.len()], frame.checksum));
        assert_eq!(again.len() as u64, frame.size_bytes());
    }
    if let Some((offset, frame)) = found {
        let alone = decode_frame(&bytes[offset..], Lsn(at + offset as u64)).unwrap();
        assert_eq!((alone.payload, alone.group), (frame.payload, frame.group));
    }
    first.is_ok()
}

fn headers() -> Vec<(String, Vec<u8>)> {
    let header =
        |first, size_bytes, previous| SegmentHeader { first: Lsn(first), size_bytes, previous }.encode().to_vec();
    vec![("first".to_owned(), header(0, 4096, 0)), ("later".to_owned(), header(u64::MAX, 1 << 30, 0xA1B2_C3D4))]
}

fn decode_as_header(input: &[u8]) -> bool {
    let mut bytes = input.to_vec();
    bytes.resize(HEADER, 0);
    let mut accepted = false;
    for repair in [false, true] {
        if repair {
            let checksum = crc32c::crc32c(&bytes[..60]);
            bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        }
        if let Ok(header) = SegmentHeader::decode(bytes.first_chunk().unwrap()) {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
            accepted = true;
        }
    }
    accepted
}

/// Repair the headers: size, place, what they follow, checksum.
const HEADERS: u8 = 1;
/// Repair the frames' checksums.
const CHECKSUMS: u8 = 2;
/// Repair the chain of the frames.
const CHAIN: u8 = 4;
/// The log begins where the first header says; at 0 otherwise.
const ELSEWHERE: u8 = 8;

/// What is to be repaired, how long the first segment is (0: the second one takes nothing), and the files.
fn logs() -> Vec<(String, Vec<u8>)> {
    let log = |flags: u8, groups: &[&[usize]]| {
        let disk = SimDisk::new(1);
        let options = LogOptions { segment_bytes: SEGMENT as u64 };
        let (mut log, _) =
            Log::open(Arc::new(disk.clone()), Path::new(DIR), options, Lsn(0), &mut |_, _| Ok(())).unwrap();
        for (number, group) in groups.iter().enumerate() {
            let records: Vec<Vec<u8>> = group.iter().map(|len| vec![number as u8 + 1; *len]).collect();
            log.append(&records).unwrap();
        }
        let mut input = vec![flags, u8::try_from(SEGMENT / 16).unwrap()];
        for name in disk.list(Path::new(DIR)).unwrap() {
            input.extend(read(&disk, &Path::new(DIR).join(name)));
        }
        input
    };
    let mut examples = Vec::new();
    for flags in [0, HEADERS | CHECKSUMS | CHAIN, HEADERS | CHECKSUMS, CHECKSUMS] {
        examples.push((format!("empty-{flags}"), log(flags, &[])));
        examples.push((format!("one-{flags}"), log(flags, &[&[5], &[0, 30], &[7]])));
        examples.push((format!("two-{flags}"), log(flags, &[&[100], &[40, 100], &[3]])));
    }
    // Near the end of all positions that a log can have.
    let mut far = log(HEADERS | CHECKSUMS | CHAIN | ELSEWHERE, &[&[5], &[9]]);
    far[2 + 16..2 + 24].copy_from_slice(&(END_MAX - 600).to_le_bytes());
    examples.push(("far".to_owned(), far.clone()));
    far[2 + 16..2 + 24].copy_from_slice(&(u64::MAX - 100).to_le_bytes());
    examples.push(("refused-beyond".to_owned(), far));
    examples
}

fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenOptions::READ).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Repairs a segment that begins at `first` after a frame with the checksum `previous`; gives that of its last frame.
fn repair_segment(bytes: &mut [u8], flags: u8, first: u64, mut previous: u32) -> u32 {
    let size = bytes.len() as u64;
    if bytes.len() < HEADER {
        return previous;
    }
    if flags & HEADERS != 0 {
        bytes[..HEADER].copy_from_slice(&SegmentHeader { first: Lsn(first), size_bytes: size, previous }.encode());
    }
    let mut offset = HEADER;
    while flags & CHECKSUMS != 0 && u32_at(bytes, offset + 12).is_some_and(|kind| kind != 0) {
        if flags & CHAIN != 0 {
            bytes[offset + 8..offset + 12].copy_from_slice(&previous.to_le_bytes());
        }
        let place = first.wrapping_add(offset as u64);
        let Some((length, checksum)) = repair_frame(&mut bytes[offset..], place) else { break };
        offset += length;
        previous = checksum;
    }
    previous
}

fn open_as_log(input: &[u8]) -> bool {
    let [flags, size, bytes @ ..] = input else { return false };
    // The doctor takes the very last position for "no end".
    let start = if flags & ELSEWHERE == 0 { 0 } else { u64_at(bytes, 16).unwrap_or(0).min(u64::MAX - 1) };
    let cut = if *size == 0 { bytes.len() } else { bytes.len().min(usize::from(*size) * 16) };
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let (mut first, mut previous) = (start, 0);
    for part in [&bytes[..cut], &bytes[cut..]] {
        if part.is_empty() {
            continue;
        }
        let mut part = part.to_vec();
        previous = repair_segment(&mut part, *flags, first, previous);
        let file = disk.open(&segment_path(Path::new(DIR), Lsn(first)), OpenOptions::TRUNCATE).unwrap();
        file.write_at(0, &part).unwrap();
        let Some(next) = first.checked_add(part.len() as u64) else { break };
        first = next;
    }
    check_against_open(&disk.fork(2), Lsn(start))
}

type Opened = Result<(Log, Vec<(Lsn, Vec<u8>)>), LogError>;

fn open(disk: &SimDisk, from: Lsn) -> Opened {
    let mut records = Vec::new();
    let options = LogOptions { segment_bytes: SEGMENT as u64 };
    let opened = Log::open(Arc::new(disk.clone()), Path::new(DIR), options, from, &mut |end, record| {
        records.push((end, record.to_vec()));
        Ok(())
    });
    opened.map(|(log, _)| (log, records))
}

/// The doctor and the opening agree on what is damage; what opens goes on, and says the same when it is opened again.
fn check_against_open(disk: &SimDisk, from: Lsn) -> bool {
    let findings = check(disk, Path::new(DIR), from);
    let is_damaged = findings.iter().any(|finding| finding.severity == Severity::Damage);
    match open(disk, from) {
        Ok((mut log, mut records)) => {
            assert!(!is_damaged, "it opens, and the doctor says {findings:?}");
            if log.end().0 > END_MAX - 8 * SEGMENT as u64 {
                return true;
            }
            let ends = log.append(&[b"more".to_vec()]).unwrap();
            records.push((ends[0], b"more".to_vec()));
            drop(log);
            disk.crash();
            assert_eq!(open(disk, from).unwrap().1, records);
            assert!(check(disk, Path::new(DIR), from).iter().all(|finding| finding.severity == Severity::Note));
            true
        }
        Err(error) => {
            // A doctor does not put records together, and so finds only what is wrong with frames.
            let is_of_records = matches!(&error, LogError::Damaged { what, .. } if what.contains("has no beginning"));
            assert!(is_damaged || is_of_records, "the doctor finds nothing, and opening says {error}");
            false
        }
    }
}
