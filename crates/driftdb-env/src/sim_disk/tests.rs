use super::*;

const DIR: &str = "/data";

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn content(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(&path(name), OpenOptions::READ).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    Some(bytes)
}

/// A file of 4 sectors of `a`, durable, name and all.
fn durable_file(disk: &SimDisk) -> Arc<dyn DiskFile> {
    let file = disk.open(&path("f"), OpenOptions::CREATE_NEW).unwrap();
    file.write_at(0, &[b'a'; 2048]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file
}

#[test]
fn files_do_what_the_trait_says() {
    crate::disk::conformance::check(&SimDisk::new(1), &path("a"));
}

#[test]
fn a_lock_keeps_others_out_until_dropped_or_crashed() {
    let disk = disk(1);
    crate::disk::conformance::check_lock(&disk, &path("LOCK"));
    let old = disk.lock(&path("LOCK")).unwrap();
    disk.crash();
    let _new = disk.lock(&path("LOCK")).unwrap();
    drop(old);
    assert!(disk.lock(&path("LOCK")).is_err(), "a lock of before the crash frees nothing");
}

#[test]
fn what_is_not_synced_is_lost() {
    let disk = disk(1);
    disk.set_loss(Loss::All);
    let file = durable_file(&disk);
    file.write_at(600, &[b'b'; 3000]).unwrap();
    file.set_len(100).unwrap();
    disk.open(&path("g"), OpenOptions::CREATE).unwrap().sync_all().unwrap();
    disk.rename(&path("f"), &path("h")).unwrap();
    disk.crash();
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["f"]);
    assert_eq!(content(&disk, "f"), Some(vec![b'a'; 2048]));
    assert!(file.len().is_err(), "handles of before the crash are dead");
    assert!(file.write_at(0, b"x").is_err());
}

#[test]
fn a_directory_whose_making_failed_may_be_lost_with_all_in_it() {
    let mut seen = BTreeSet::new();
    for (seed, made_again) in (0..40).flat_map(|seed| [(seed, false), (seed, true)]) {
        let disk = SimDisk::new(seed);
        disk.fail_after(1, FailMode::Error);
        assert!(disk.create_dir_all(&path("a")).is_err());
        let there = disk.exists(&path("a")).unwrap();
        if made_again {
            disk.create_dir_all(&path("a")).unwrap();
        }
        if there || made_again {
            disk.open(&path("a/f"), OpenOptions::CREATE).unwrap();
            disk.sync_dir(&path("a")).unwrap();
        }
        disk.set_loss(Loss::All);
        disk.crash();
        assert_eq!(disk.exists(&path("a")).unwrap(), made_again);
        assert_eq!(disk.exists(&path("a/f")).unwrap(), made_again);
        seen.insert(there);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_killed_process_loses_nothing_but_its_handles() {
    let disk = disk(1);
    let file = disk.open(&path("f"), OpenOptions::CREATE).unwrap();
    file.write_at(0, b"kept").unwrap();
    disk.kill();
    assert!(file.sync_data().is_err());
    assert_eq!(content(&disk, "f"), Some(b"kept".to_vec()));
}

#[test]
fn the_seed_decides_what_survives_sector_by_sector() {
    let outcome = |seed| {
        let disk = disk(seed);
        let file = durable_file(&disk);
        file.write_at(0, &[b'b'; 2048]).unwrap();
        disk.crash();
        content(&disk, "f").unwrap()
    };
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let bytes = outcome(seed);
        assert_eq!(bytes, outcome(seed), "a seed repeats itself");
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "a sector is whole");
        seen.insert(String::from_utf8(sectors).unwrap());
    }
    assert!(seen.contains("aaaa") && seen.contains("bbbb"));
    assert!(seen.contains("abab") && seen.len() > 10, "{seen:?}");
}

#[test]
fn a_rename_is_whole_or_absent() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = disk(seed);
        durable_file(&disk);
        disk.rename(&path("f"), &path("g")).unwrap();
        disk.crash();
        seen.insert(disk.list(Path::new(DIR)).unwrap());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [["f"], ["g"]]);
}

#[test]
fn the_nth_change_fails() {
    let disk = disk(1);
    let file = durable_file(&disk);
    let before = disk.changes();
    disk.fail_after(2, FailMode::Error);
    file.write_at(0, b"x").unwrap();
    assert_eq!(file.set_len(1).unwrap_err().kind(), io::ErrorKind::Other);
    assert_eq!(file.len().unwrap(), 2048);
    assert_eq!(disk.changes(), before + 2);
    disk.fail_on(DiskOpKind::Read, 1, FailMode::Error);
    file.set_len(1).unwrap();
    assert!(file.read_at(0, &mut [0]).is_err());
    file.read_at(0, &mut [0]).unwrap();
    disk.fail_after(1, FailMode::Full);
    assert_eq!(file.allocate(10).unwrap_err().kind(), io::ErrorKind::StorageFull);
    let last = disk.operations().pop().unwrap();
    assert_eq!(last, DiskOp { kind: DiskOpKind::Allocate, path: path("f") });
    assert_eq!(last.to_string(), "Allocate /data/f");
    assert!(!disk.clear_fault());
}

#[test]
fn after_a_power_cut_nothing_works_until_the_restart() {
    let disk = disk(1);
    let file = durable_file(&disk);
    disk.fail_after(1, FailMode::Crash);
    assert!(file.write_at(0, b"x").is_err());
    assert!(disk.is_down());
    assert!(file.read_at(0, &mut [0]).is_err());
    assert!(disk.open(&path("f"), OpenOptions::READ).is_err());
    assert!(disk.list(Path::new(DIR)).is_err());
    disk.crash();
    assert!(!disk.is_down());
    assert_eq!(content(&disk, "f").unwrap().len(), 2048);
}

#[test]
fn what_a_failed_sync_strands_no_later_sync_saves() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable_file(&disk);
        file.write_at(0, &[b'b'; 2048]).unwrap();
        disk.fail_after(1, FailMode::Error);
        assert!(file.sync_data().is_err());
        file.write_at(0, &[b'c'; 512]).unwrap();
        file.sync_data().unwrap();
        assert_eq!(content(&disk, "f").unwrap()[512..], [b'b'; 1536], "it reads back as written");
        disk.crash();
        let bytes = content(&disk, "f").unwrap();
        assert_eq!(bytes[..512], [b'c'; 512], "what is written again is durable again");
        lost += u32::from(bytes[512..].contains(&b'a'));
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn a_full_disk_says_so_and_goes_on() {
    let disk = disk(1);
    let file = durable_file(&disk);
    disk.set_capacity_bytes(Some(3000));
    assert_eq!(file.write_at(2000, &[0; 1001]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.allocate(3001).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.allocate(3000).unwrap();
    file.write_at(2000, &[0; 1000]).unwrap();
    disk.set_capacity_bytes(None);
    file.set_len(10_000).unwrap();
}

#[test]
fn a_fork_is_a_disk_of_its_own() {
    let disk = disk(1);
    let file = disk.open(&path("f"), OpenOptions::CREATE).unwrap();
    file.write_at(0, b"abc").unwrap();
    let fork = disk.fork(2);
    assert!(fork.flip_bit(&path("f"), 1, 0));
    assert!(!fork.flip_bit(&path("f"), 3, 0));
    assert!(!fork.flip_bit(&path("g"), 0, 0));
    fork.crash();
    assert_eq!(content(&fork, "f"), Some(b"acc".to_vec()));
    assert_eq!(content(&disk, "f"), Some(b"abc".to_vec()));
}

#[test]
fn a_cut_file_is_cut_or_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable_file(&disk);
        file.set_len(700).unwrap();
        disk.crash();
        let bytes = content(&disk, "f").unwrap();
        if bytes.len() == 2048 {
            assert_eq!(bytes[1024..], [b'a'; 1024]);
        }
        seen.insert(bytes.len());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [700, 2048]);
}

#[test]
fn a_read_can_give_what_was_not_asked_for() {
    for seed in 0..20 {
        let disk = disk(seed);
        let file = disk.open(&path("f"), OpenOptions::CREATE).unwrap();
        file.write_at(0, &(0..20_u8).flat_map(|sector| [sector; 512]).collect::<Vec<_>>()).unwrap();
        let read = || {
            let mut buf = vec![0xEE; 512];
            let result = file.read_at(1024, &mut buf);
            (buf, result.is_ok())
        };
        disk.fail_on(DiskOpKind::Read, 1, FailMode::Flipped);
        let (flipped, done) = read();
        assert!(done);
        let wrong: Vec<_> = flipped.iter().filter(|byte| **byte != 2).collect();
        assert_eq!(wrong.len(), 1);
        assert_eq!((wrong[0] ^ 2).count_ones(), 1);
        disk.fail_on(DiskOpKind::Read, 1, FailMode::Misdirected);
        let (elsewhere, done) = read();
        assert!(done && elsewhere[0] < 20 && elsewhere.iter().all(|byte| *byte == elsewhere[0]));
        disk.fail_on(DiskOpKind::Read, 1, FailMode::Error);
        let (short, done) = read();
        assert!(!done);
        let given = short.iter().take_while(|byte| **byte == 2).count();
        assert!(short[given..].iter().all(|byte| *byte == 0xEE), "the rest is as it was");
        assert_eq!(read(), (vec![2; 512], true));
    }
}

#[test]
fn a_thread_stops_before_a_change_and_goes_on_when_told() {
    let disk = disk(1);
    let pause = Pause::default();
    let thread = {
        let (disk, pause) = (disk.clone(), pause.clone());
        std::thread::spawn(move || {
            disk.pause_after(2, &pause);
            let file = disk.open(&path("theirs"), OpenOptions::CREATE).unwrap();
            file.write_at(0, b"theirs").unwrap();
        })
    };
    assert!(pause.wait());
    assert_eq!(content(&disk, "theirs"), Some(Vec::new()));
    let file = disk.open(&path("mine"), OpenOptions::CREATE).unwrap();
    file.write_at(0, b"mine").unwrap();
    pause.pass();
    thread.join().unwrap();
    assert_eq!(content(&disk, "theirs"), Some(b"theirs".to_vec()));
    let never = Pause::default();
    never.pass();
    assert!(!never.wait());
}
