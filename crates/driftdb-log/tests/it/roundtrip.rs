//! What is appended is found, from wherever one begins.

use driftdb_env::{Disk, SimDisk};
use driftdb_types::Lsn;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_are_found_from_the_end_of_any_of_them(
        groups in vec(vec(vec(any::<u8>(), 0..700), 0..5), 0..8),
        segment_bytes in 256_u64..2000,
        reopen_every in 1_usize..5,
    ) {
        let disk = SimDisk::new(1);
        let mut all: Found = Vec::new();
        let (mut log, report, _) = open_sim(&disk, segment_bytes, Lsn(0)).unwrap();
        prop_assert_eq!(report.end, Lsn(64));
        for (index, group) in groups.iter().enumerate() {
            if index % reopen_every == 0 {
                disk.kill();
                log = open_sim(&disk, segment_bytes, Lsn(0)).unwrap().0;
            }
            let ends = log.append(group).unwrap();
            prop_assert_eq!(ends.len(), group.len());
            all.extend(ends.into_iter().zip(group.iter().cloned()));
        }
        prop_assert!(all.is_sorted_by(|a, b| a.0 < b.0));
        prop_assert_eq!(log.end(), all.last().map_or(Lsn(64), |(end, _)| *end));
        disk.crash();
        for skipped in 0..=all.len() {
            let from = skipped.checked_sub(1).map_or(Lsn(0), |last| all[last].0);
            let (log, report, found) = open_sim(&disk, segment_bytes, from).unwrap();
            prop_assert_eq!(&found, &all[skipped..]);
            prop_assert_eq!((report.torn_bytes, report.end), (0, log.end()));
            prop_assert!(driftdb_log::check(&disk, Path::new(DIR), from).is_empty());
            disk.kill();
        }
    }

    #[test]
    fn segments_before_the_checkpoint_can_go(
        sizes in vec(0_usize..500, 1..30),
        segment_bytes in 256_u64..600,
        pick in any::<proptest::sample::Index>(),
    ) {
        let disk = SimDisk::new(1);
        let mut log = open_sim(&disk, segment_bytes, Lsn(0)).unwrap().0;
        let records: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size as u8; *size]).collect();
        let ends: Vec<Lsn> = records.iter().map(|record| log.append(&[record]).unwrap()[0]).collect();
        let at = pick.index(ends.len());
        let (before, segments) = (ends[at].0 / segment_bytes, log.segments());
        let removed = log.remove_before(ends[at]).unwrap();
        prop_assert!(removed as u64 <= before && removed as u64 + 1 >= before.min(segments as u64));
        prop_assert_eq!(log.segments(), segments - removed);
        prop_assert_eq!(log.remove_before(ends[at]).unwrap(), 0);
        disk.crash();
        let (mut log, _, found) = open_sim(&disk, segment_bytes, ends[at]).unwrap();
        prop_assert_eq!(payloads(&found), records[at + 1..].iter().map(Vec::as_slice).collect::<Vec<_>>());
        let end = log.end();
        log.remove_before(end).unwrap();
        prop_assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 1);
    }
}

#[test]
fn a_segment_size_may_change_between_openings() {
    let disk = SimDisk::new(1);
    let mut all = Vec::new();
    for segment_bytes in [300, 1000, 256, 5000] {
        let (mut log, _, found) = open_sim(&disk, segment_bytes, Lsn(0)).unwrap();
        assert_eq!(payloads(&found), all);
        for fill in 0..7_u8 {
            log.append(&[&[fill; 120][..]]).unwrap();
            all.push(vec![fill; 120]);
        }
        disk.kill();
    }
}

#[test]
fn a_record_may_span_many_segments() {
    let disk = SimDisk::new(1);
    let big: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
    let mut log = open_sim(&disk, 512, Lsn(0)).unwrap().0;
    log.append(&[b"before".as_slice(), &big, b"after"]).unwrap();
    assert!(log.segments() > 20);
    disk.crash();
    let (_, report, found) = open_sim(&disk, 512, Lsn(0)).unwrap();
    assert_eq!(payloads(&found), [b"before".as_slice(), &big, b"after"]);
    assert_eq!(report.torn, None);
}

#[test]
fn a_group_is_one_write_and_one_sync() {
    let disk = SimDisk::new(1);
    let mut log = open_sim(&disk, 4096, Lsn(0)).unwrap().0;
    log.append(&[b"warm up"]).unwrap();
    let before = disk.changes();
    log.append(&[b"one", b"two", b"six"]).unwrap();
    assert_eq!(disk.changes(), before + 2);
    log.append::<&[u8]>(&[]).unwrap();
}

#[test]
fn an_error_of_the_reader_stops_the_opening() {
    let disk = SimDisk::new(1);
    let ends = open_sim(&disk, 4096, Lsn(0)).unwrap().0.append(&[b"one", b"two"]).unwrap();
    let opened = Log::open(Arc::new(disk), Path::new(DIR), LogOptions::default(), Lsn(0), &mut |_, record| {
        if record == b"two" { Err("no room".into()) } else { Ok(()) }
    });
    match opened {
        Err(LogError::Apply { lsn, source }) => assert_eq!((lsn, source.to_string().as_str()), (ends[1], "no room")),
        other => panic!("{other:?}"),
    }
}
