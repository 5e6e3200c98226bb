//! Rot: every flipped bit shows, and is called what it is.

use std::path::PathBuf;

use driftdb_env::{Disk, OpenOptions, SimDisk};
use driftdb_log::{Finding, Severity, check};
use driftdb_types::Lsn;

use super::*;

const SEGMENT: u64 = 400;

/// One frame as it lies in a file, found by lengths alone.
struct Place {
    file: PathBuf,
    start: u64,
    end: u64,
}

struct Sample {
    disk: SimDisk,
    records: Found,
    /// Where the last group begins.
    last_group: Lsn,
    files: Vec<PathBuf>,
    frames: Vec<Place>,
}

fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenOptions::READ).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn sample(groups: &[&[usize]]) -> Sample {
    let disk = SimDisk::new(1);
    let mut log = open_sim(&disk, SEGMENT, Lsn(0)).unwrap().0;
    let mut records = Vec::new();
    let mut last_group = Lsn(0);
    for (index, group) in groups.iter().enumerate() {
        let group: Vec<Vec<u8>> = group.iter().map(|size| vec![index as u8 + 1; *size]).collect();
        last_group = log.end();
        records.extend(log.append(&group).unwrap().into_iter().zip(group));
    }
    drop(log);
    let disk = disk.fork(2);
    let names = disk.list(Path::new(DIR)).unwrap();
    let files: Vec<PathBuf> = names.iter().map(|name| Path::new(DIR).join(name)).collect();
    let mut frames = Vec::new();
    for file in &files {
        let bytes = read(&disk, file);
        let mut start = 64;
        while bytes.len() - start >= 25 && bytes[start + 12] != 0 {
            let end = start + 24 + u32::from_le_bytes(bytes[start..start + 4].try_into().unwrap()) as usize;
            frames.push(Place { file: file.clone(), start: start as u64, end: end as u64 });
            start = end;
        }
    }
    Sample { disk, records, last_group, files, frames }
}

fn worst(findings: &[Finding]) -> Option<Severity> {
    findings.iter().map(|finding| finding.severity).max()
}

/// Flips each bit of each frame and header, one at a time.
fn flip_every_bit(sample: &Sample) {
    let (mut refused, mut cut) = (0, 0);
    for (index, file) in sample.files.iter().enumerate() {
        let first = index as u64 * SEGMENT;
        let is_last = index + 1 == sample.files.len();
        let mut places = vec![(0, 64)];
        places.extend(sample.frames.iter().filter(|place| place.file == *file).map(|place| (place.start, place.end)));
        for (start, end) in places {
            for (offset, bit) in (start..end).flat_map(|offset| (0..8).map(move |bit| (offset, bit))) {
                let disk = sample.disk.fork(3);
                assert!(disk.flip_bit(file, offset, bit));
                let findings = check(&disk, Path::new(DIR), Lsn(0));
                let opened = open_sim(&disk, SEGMENT, Lsn(0));
                let context = format!("{} {offset} bit {bit}", file.display());
                if start > 0 && is_last && first + offset >= sample.last_group.0 {
                    let (_, report, found) = opened.expect(&context);
                    let torn = report.torn.expect(&context);
                    assert_eq!((&torn.file, torn.offset), (file, start), "{context}");
                    assert_eq!(found, sample.records[..found.len()], "{context}");
                    let kept = sample.records.iter().filter(|(end, _)| end.0 <= first + start).count();
                    assert_eq!(found.len(), kept, "{context}");
                    assert_eq!(worst(&findings), Some(Severity::Note), "{context}: {findings:?}");
                    assert_eq!(check(&disk, Path::new(DIR), Lsn(0)), [], "{context}");
                    cut += 1;
                } else {
                    match opened {
                        Err(LogError::Damaged { file: named, offset: at, .. }) => {
                            assert_eq!((&named, at), (file, start), "{context}");
                        }
                        other => panic!("{context}: {other:?}"),
                    }
                    assert_eq!(worst(&findings), Some(Severity::Damage), "{context}");
                    let first = findings.iter().find(|finding| finding.severity == Severity::Damage).unwrap();
                    assert_eq!((&first.file, first.offset), (file, start), "{context}: {findings:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 1000 && cut > 500, "{refused} refused, {cut} cut");
}

#[test]
fn every_flipped_bit_in_one_segment() {
    flip_every_bit(&sample(&[&[0, 20], &[3], &[30, 7, 11]]));
}

#[test]
fn every_flipped_bit_in_many_segments() {
    flip_every_bit(&sample(&[&[100], &[90, 40], &[200, 300], &[10, 10, 10], &[0], &[60, 5]]));
}

#[test]
fn every_flipped_bit_where_the_last_group_spans_segments() {
    let sample = sample(&[&[100], &[200], &[700, 50]]);
    assert!(sample.last_group.0 < (sample.files.len() as u64 - 1) * SEGMENT);
    flip_every_bit(&sample);
}

#[test]
fn a_flipped_bit_of_the_padding_is_told_and_harmless() {
    // 12 bytes are left in the first segment: too few for a frame.
    let sample = sample(&[&[300], &[50], &[10]]);
    let end = sample.frames.iter().filter(|place| place.file == sample.files[0]).map(|place| place.end).max().unwrap();
    assert_eq!((sample.files.len(), SEGMENT - end), (2, 12));
    for offset in end..SEGMENT {
        let disk = sample.disk.fork(3);
        assert!(disk.flip_bit(&sample.files[0], offset, 6));
        let findings = check(&disk, Path::new(DIR), Lsn(0));
        let [finding] = findings.as_slice() else { panic!("{offset}: {findings:?}") };
        assert_eq!(
            (finding.severity, &finding.file, finding.offset),
            (Severity::Note, &sample.files[0], offset),
            "{finding}"
        );
        assert_eq!(open_sim(&disk, SEGMENT, Lsn(0)).unwrap().2, sample.records, "{offset}");
    }
}

/// Nor is memory asked for by what the length says.
#[test]
fn a_file_of_an_absurd_length_is_damage() {
    let sample = sample(&[&[10]]);
    let file = sample.disk.open(&sample.files[0], OpenOptions::WRITE).unwrap();
    file.set_len(1 << 50).unwrap();
    let error = open_sim(&sample.disk, SEGMENT, Lsn(0)).unwrap_err();
    assert!(matches!(&error, LogError::Damaged { file, .. } if *file == sample.files[0]), "{error}");
    assert_eq!(worst(&check(&sample.disk, Path::new(DIR), Lsn(0))), Some(Severity::Damage));
}

#[test]
fn after_a_cut_the_log_goes_on() {
    let sample = sample(&[&[10], &[50, 60, 70]]);
    let last = sample.frames.last().unwrap();
    assert!(sample.disk.flip_bit(&last.file, last.end - 1, 0));
    let (mut log, report, mut found) = open_sim(&sample.disk, SEGMENT, Lsn(0)).unwrap();
    assert_eq!((found.len(), report.torn_bytes), (3, 94));
    let end = log.append(&[b"new"]).unwrap()[0];
    found.push((end, b"new".to_vec()));
    sample.disk.crash();
    assert_eq!(open_sim(&sample.disk, SEGMENT, Lsn(0)).unwrap().2, found);
}

fn damaged(sample: &Sample, from: Lsn) -> (PathBuf, u64, String) {
    match open_sim(&sample.disk, SEGMENT, from) {
        Err(LogError::Damaged { file, offset, what }) => (file, offset, what),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_segment_is_named() {
    let sample = sample(&[&[1000], &[100]]);
    sample.disk.remove(&sample.files[1]).unwrap();
    let (file, _, what) = damaged(&sample, Lsn(0));
    assert_eq!(file, Path::new(DIR));
    assert!(what.contains(sample.files[1].to_str().unwrap()), "{what}");
    let findings = check(&sample.disk, Path::new(DIR), Lsn(0));
    assert!(
        findings.iter().any(|finding| finding.what.contains("00000000000000000400.log is missing")),
        "{findings:?}"
    );
    sample.disk.remove(&sample.files[0]).unwrap();
    assert!(damaged(&sample, Lsn(0)).2.contains("is missing"));
    assert_eq!(worst(&check(&sample.disk, Path::new(DIR), Lsn(0))), Some(Severity::Damage));
}

#[test]
fn a_missing_last_segment_shows_by_the_checkpoint() {
    let sample = sample(&[&[500], &[100]]);
    let end = sample.records.last().unwrap().0;
    sample.disk.remove(sample.files.last().unwrap()).unwrap();
    assert!(damaged(&sample, end).2.contains("before the checkpoint"));
    assert_eq!(worst(&check(&sample.disk, Path::new(DIR), end)), Some(Severity::Damage));
}

#[test]
fn swapped_and_cut_files_are_damage() {
    let sample = sample(&[&[1000], &[100]]);
    let (a, b) = (&sample.files[0], &sample.files[1]);
    let aside = Path::new(DIR).join("aside");
    for (from, to) in [(a, &aside), (b, a), (&aside, b)] {
        sample.disk.rename(from, to).unwrap();
    }
    assert_eq!(damaged(&sample, Lsn(0)).0, *a);
    for (from, to) in [(a, &aside), (b, a), (&aside, b)] {
        sample.disk.rename(from, to).unwrap();
    }
    open_sim(&sample.disk, SEGMENT, Lsn(0)).unwrap();
    let file = sample.disk.open(b, OpenOptions::WRITE).unwrap();
    file.set_len(300).unwrap();
    assert_eq!(damaged(&sample, Lsn(0)), (b.clone(), 300, "the segment has 400 bytes, the file 300".to_owned()));
    file.set_len(30).unwrap();
    assert_eq!(damaged(&sample, Lsn(0)).0, *b);
    assert_eq!(worst(&check(&sample.disk, Path::new(DIR), Lsn(0))), Some(Severity::Damage));
}

/// A segment with the right name and place, but of another history.
#[test]
fn a_segment_of_another_log_does_not_follow() {
    let (ours, theirs) = (sample(&[&[10], &[500]]), sample(&[&[10, 0], &[500]]));
    let file = ours.disk.open(&ours.files[1], OpenOptions::WRITE).unwrap();
    file.write_at(0, &read(&theirs.disk, &theirs.files[1])).unwrap();
    assert!(damaged(&ours, Lsn(0)).2.contains("does not follow"));
    assert_eq!(worst(&check(&ours.disk, Path::new(DIR), Lsn(0))), Some(Severity::Damage));
}

#[test]
fn a_checkpoint_that_is_no_boundary_is_refused() {
    let sample = sample(&[&[10], &[20], &[30]]);
    let (end, _) = sample.records[1];
    assert!(damaged(&sample, Lsn(end.0 - 1)).2.contains("is within this frame"));
    assert!(damaged(&sample, Lsn(300)).2.contains("before the checkpoint"));
    let disk = SimDisk::new(1);
    assert!(matches!(open_sim(&disk, SEGMENT, Lsn(5)), Err(LogError::Damaged { .. })));
}

#[test]
fn doctor_tells_how_much_is_lost_and_whether_it_matters() {
    let sample = sample(&[&[20], &[30], &[40], &[50]]);
    let place = &sample.frames[1];
    assert!(sample.disk.flip_bit(&place.file, place.start + 30, 3));
    let findings = check(&sample.disk, Path::new(DIR), Lsn(0));
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((finding.severity, finding.offset), (Severity::Damage, place.start));
    assert!(finding.to_string().ends_with(&format!("the next frame that can be read is at offset {}", place.end)));
    let (last, _) = sample.records[3];
    assert_eq!(worst(&check(&sample.disk, Path::new(DIR), last)), Some(Severity::Damage), "opening reads it");
}

/// Doctor says that something is lost exactly when opening refuses, wherever the checkpoint is.
#[test]
fn doctor_and_opening_agree() {
    let sample = sample(&[&[100], &[200], &[40, 60], &[300], &[90], &[10]]);
    let mut seen = [0; 2];
    let mut agree = |disk: &SimDisk, context: &str| {
        for from in std::iter::once(Lsn(0)).chain(sample.records.iter().map(|(end, _)| *end)) {
            let worst = worst(&check(disk, Path::new(DIR), from));
            let refused = open_sim(&disk.fork(4), SEGMENT, from).is_err();
            assert_eq!(worst == Some(Severity::Damage), refused, "{context}, checkpoint at {from}: {worst:?}");
            seen[usize::from(refused)] += 1;
        }
    };
    for place in &sample.frames {
        for offset in [place.start, place.end - 1] {
            let disk = sample.disk.fork(3);
            assert!(disk.flip_bit(&place.file, offset, 1));
            agree(&disk, &format!("{} at {offset}", place.file.display()));
        }
    }
    for removed in 0..1 << sample.files.len() {
        let disk = sample.disk.fork(3);
        for (index, file) in sample.files.iter().enumerate().filter(|(index, _)| removed & (1 << index) != 0) {
            disk.remove(file).unwrap_or_else(|error| panic!("{index}: {error}"));
        }
        agree(&disk, &format!("without {removed:b} of {}", sample.files.len()));
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

/// What users store must not be taken for frames, nor make the search for them slow.
#[test]
fn payloads_that_look_like_frames_do_not_mislead() {
    let disk = SimDisk::new(1);
    let mut log = open_sim(&disk, 1 << 20, Lsn(0)).unwrap().0;
    let frame: Vec<u8> = [1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(10_000);
    log.append(&[b"first".to_vec(), frame]).unwrap();
    drop(log);
    let file = Path::new(DIR).join("00000000000000000000.log");
    assert!(disk.flip_bit(&file, 200, 0));
    let (_, report, found) = open_sim(&disk, 1 << 20, Lsn(0)).unwrap();
    assert_eq!((payloads(&found), report.torn.unwrap().offset), (vec![b"first".as_slice()], 64 + 29));
}
