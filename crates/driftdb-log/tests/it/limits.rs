//! Full disks, failing syncs, senseless options.

use driftdb_env::{Disk, DiskOpKind, FailMode, Loss, SimDisk};
use driftdb_types::Lsn;

use super::*;

#[test]
fn a_full_disk_refuses_the_group_and_nothing_else() {
    let disk = SimDisk::new(1);
    disk.set_capacity_bytes(Some(1500));
    let mut log = open_sim(&disk, 1000, Lsn(0)).unwrap().0;
    log.append(&[vec![1; 500]]).unwrap();
    let (end, big) = (log.end(), vec![2; 600]);
    for _ in 0..3 {
        assert!(matches!(log.append(&[vec![3; 10], big.clone()]), Err(LogError::Full { .. })));
        assert!(matches!(log.prepare_next(), Err(LogError::Full { .. })));
        assert_eq!((log.end(), log.poisoned()), (end, None));
        assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["00000000000000000000.log"]);
    }
    log.append(&[vec![4; 100]]).unwrap();
    disk.set_capacity_bytes(None);
    log.append(std::slice::from_ref(&big)).unwrap();
    disk.crash();
    let (_, report, found) = open_sim(&disk, 1000, Lsn(0)).unwrap();
    assert_eq!(payloads(&found), [vec![1; 500], vec![4; 100], big]);
    assert_eq!(report.torn, None);
}

#[test]
fn a_failed_sync_poisons_for_ever() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let mut log = open_sim(&disk, 4096, Lsn(0)).unwrap().0;
        log.append(&[b"acknowledged".to_vec()]).unwrap();
        disk.fail_on(DiskOpKind::Sync, 1, FailMode::Error);
        let unknown = vec![b'?'; 1000];
        assert!(matches!(log.append(std::slice::from_ref(&unknown)), Err(LogError::Poisoned { .. })));
        for _ in 0..3 {
            let error = log.append(&[b"more"]).unwrap_err();
            assert!(error.to_string().contains("simulated fault in Sync"), "{error}");
        }
        assert_eq!(disk.operations().last().unwrap().kind, DiskOpKind::Sync, "nothing is written any more");
        // The process starts again on the same system, whose page cache shows the record whether or not it is durable.
        disk.kill();
        let (_, _, found) = open_sim(&disk, 4096, Lsn(0)).unwrap();
        assert_eq!(payloads(&found), [b"acknowledged".as_slice(), &unknown]);
        disk.crash();
        assert_eq!(open_sim(&disk, 4096, Lsn(0)).unwrap().2, found, "what was handed out is durable, seed {seed}");
    }
}

#[test]
fn a_failed_write_or_rename_poisons_too() {
    for kind in [DiskOpKind::Write, DiskOpKind::Rename, DiskOpKind::SyncDir] {
        let disk = SimDisk::new(1);
        disk.set_loss(Loss::All);
        let mut log = open_sim(&disk, 500, Lsn(0)).unwrap().0;
        let end = log.append(&[b"acknowledged".to_vec()]).unwrap()[0];
        disk.fail_on(kind, 1, FailMode::Error);
        assert!(matches!(log.append(&[vec![1; 1000]]), Err(LogError::Poisoned { .. })), "{kind:?}");
        disk.crash();
        let (mut log, _, found) = open_sim(&disk, 500, Lsn(0)).unwrap();
        assert_eq!(found, [(end, b"acknowledged".to_vec())], "{kind:?}");
        // The first frame of the unfinished record stays, and the next record ends it.
        let next = log.append(&[vec![2; 1000]]).unwrap()[0];
        disk.crash();
        let (_, report, found) = open_sim(&disk, 500, Lsn(0)).unwrap();
        assert_eq!((found, report.torn), (vec![(end, b"acknowledged".to_vec()), (next, vec![2; 1000])], None));
    }
}

#[test]
fn a_failure_to_set_space_aside_is_clean() {
    for kind in [DiskOpKind::Create, DiskOpKind::Allocate, DiskOpKind::Sync] {
        let disk = SimDisk::new(1);
        let mut log = open_sim(&disk, 500, Lsn(0)).unwrap().0;
        disk.fail_on(kind, 1, FailMode::Error);
        assert!(matches!(log.append(&[vec![1; 1000]]), Err(LogError::Io { .. })), "{kind:?}");
        log.append(&[vec![2; 1000]]).unwrap();
        disk.crash();
        assert_eq!(payloads(&open_sim(&disk, 500, Lsn(0)).unwrap().2), [vec![2; 1000]]);
    }
}

#[test]
fn a_prepared_segment_takes_the_work_off_the_append() {
    let disk = SimDisk::new(1);
    let mut log = open_sim(&disk, 500, Lsn(0)).unwrap().0;
    log.prepare_next().unwrap();
    let before = disk.changes();
    log.prepare_next().unwrap();
    assert_eq!(disk.changes(), before);
    log.append(&[vec![1; 700]]).unwrap();
    let kinds: Vec<_> = disk.operations().iter().skip(before as usize).map(|operation| operation.kind).collect();
    use DiskOpKind::{Rename, Sync, SyncDir, Write};
    assert_eq!(kinds, [Write, Sync, Write, Sync, Rename, SyncDir]);
    log.prepare_next().unwrap();
    disk.crash();
    let (log, _, found) = open_sim(&disk, 500, Lsn(0)).unwrap();
    assert_eq!((log.segments(), found.len()), (2, 1));
    assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 2, "what was prepared and not used is gone");
}

#[test]
fn senseless_options_are_refused() {
    for segment_bytes in [0, 255, (1 << 30) + 1] {
        let error = open_sim(&SimDisk::new(1), segment_bytes, Lsn(0)).unwrap_err();
        assert!(matches!(error, LogError::Options(_)), "{error}");
    }
}
