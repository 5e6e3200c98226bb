//! Crashes and failures anywhere: what was acknowledged is there, in order; what was not is there whole or not at
//! all; and the log goes on.

use driftdb_env::{FailMode, Rand, SimDisk, SimRand};
use driftdb_types::Lsn;

use super::*;

/// What must and what may be in the log.
struct Model {
    disk: SimDisk,
    rand: SimRand,
    segment_bytes: u64,
    /// The checkpoint.
    from: Lsn,
    /// Acknowledged (or found by an opening, which is the same promise), after the checkpoint.
    durable: Found,
    /// The group whose outcome is unknown.
    unknown: Vec<Vec<u8>>,
    /// How often each thing happened, so that one sees that the test tests.
    crashes: u32,
    unknown_kept: u32,
    unknown_lost: u32,
    torn: u32,
    clean_failures: u32,
    poisoned: u32,
    serial: u64,
}

impl Model {
    fn new(seed: u64) -> Model {
        let rand = SimRand::new(seed ^ 0x5EED);
        Model {
            disk: SimDisk::new(seed),
            segment_bytes: 256 + rand.below(2000),
            rand,
            from: Lsn(0),
            durable: Vec::new(),
            unknown: Vec::new(),
            crashes: 0,
            unknown_kept: 0,
            unknown_lost: 0,
            torn: 0,
            clean_failures: 0,
            poisoned: 0,
            serial: 0,
        }
    }

    /// A record unlike any other, of up to `max` bytes more than its number.
    fn record(&mut self, max: u64) -> Vec<u8> {
        self.serial += 1;
        let mut record = self.serial.to_le_bytes().to_vec();
        record.resize(8 + self.rand.below(max) as usize, self.serial as u8);
        record
    }

    fn group(&mut self) -> Vec<Vec<u8>> {
        let max = [40, 300, 3000][self.rand.below(3) as usize];
        (0..1 + self.rand.below(4)).map(|_| self.record(max)).collect()
    }

    /// The power goes or the process dies; then the machine starts again.
    fn stop(&mut self) {
        self.crashes += 1;
        if self.disk.is_down() || self.rand.below(2) == 0 {
            self.disk.crash();
        } else {
            self.disk.kill();
        }
    }

    /// Opens, and holds what is found against what must be.
    fn reopen(&mut self) -> Result<Log, LogError> {
        let (log, report, found) = open_sim(&self.disk, self.segment_bytes, self.from)?;
        self.torn += u32::from(report.torn_bytes > 0);
        let (durable, rest) = found.split_at_checked(self.durable.len()).expect("a durable record is missing");
        assert_eq!(durable, self.durable);
        let kept = payloads(&rest.to_vec()).len();
        assert!(kept <= self.unknown.len(), "records nobody appended: {rest:?}");
        assert_eq!(payloads(&rest.to_vec()), self.unknown[..kept]);
        self.unknown_kept += kept as u32;
        self.unknown_lost += (self.unknown.len() - kept) as u32;
        self.unknown.clear();
        self.durable = found;
        Ok(log)
    }

    /// Opens, with a fault that may strike meanwhile; without, once it has.
    fn reopen_through_faults(&mut self) -> Log {
        if self.rand.below(3) == 0 {
            self.arm(8);
            let opened = self.reopen();
            let struck = !self.disk.clear_fault();
            match opened {
                Ok(log) => return log,
                Err(LogError::Damaged { file, offset, what }) => panic!("{} {offset} {what}", file.display()),
                Err(_) => assert!(struck),
            }
            self.stop();
        }
        self.reopen().unwrap()
    }

    fn arm(&mut self, within: u64) {
        let mode = [FailMode::Crash, FailMode::Error, FailMode::Full][self.rand.below(3) as usize];
        self.disk.fail_after(1 + self.rand.below(within), mode);
    }

    fn append(&mut self, log: &mut Log) -> bool {
        let group = self.group();
        let end = log.end();
        match log.append(&group) {
            Ok(ends) => {
                self.durable.extend(ends.into_iter().zip(group));
                return true;
            }
            Err(LogError::Poisoned { .. }) => {
                self.poisoned += 1;
                self.unknown = group;
                assert!(log.poisoned().is_some());
                assert!(matches!(log.append(&[b"more"]), Err(LogError::Poisoned { .. })));
                assert!(matches!(log.prepare_next(), Err(LogError::Poisoned { .. })));
            }
            Err(LogError::Full { .. } | LogError::Io { .. }) => {
                self.clean_failures += 1;
                assert_eq!(log.end(), end);
                assert_eq!(log.poisoned(), None);
                // The log is as it was: go on with it, unless the machine is down.
                return !self.disk.is_down();
            }
            Err(other) => panic!("{other}"),
        }
        false
    }

    /// Moves the checkpoint to the end of some record, and lets the segments before it go.
    fn checkpoint(&mut self, log: &mut Log) {
        let Some(count) = self.rand.below(self.durable.len() as u64 + 1).checked_sub(1) else { return };
        self.from = self.durable[count as usize].0;
        self.durable.drain(..=count as usize);
        let removed = log.remove_before(self.from);
        assert!(removed.is_ok() || !self.disk.clear_fault());
    }

    fn live(&mut self, lives: u32) {
        for _ in 0..lives {
            let mut log = self.reopen_through_faults();
            if self.rand.below(4) > 0 {
                self.arm(40);
            }
            for _ in 0..self.rand.below(20) {
                match self.rand.below(10) {
                    0 => self.checkpoint(&mut log),
                    1 => drop(log.prepare_next()),
                    _ if self.append(&mut log) => {}
                    _ => break,
                }
                if self.disk.is_down() {
                    break;
                }
            }
            drop(log);
            self.stop();
        }
        self.reopen().unwrap();
    }
}

#[test]
fn random_lives_with_random_accidents() {
    let (mut kept, mut lost, mut torn, mut clean, mut poisoned) = (0, 0, 0, 0, 0);
    for seed in 0..600 {
        let mut model = Model::new(seed);
        model.live(15);
        kept += model.unknown_kept;
        lost += model.unknown_lost;
        torn += model.torn;
        clean += model.clean_failures;
        poisoned += model.poisoned;
    }
    // Every kind of ending was seen, and often.
    let seen = [kept, lost, torn, clean, poisoned];
    assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
}

#[test]
fn a_power_cut_at_every_single_operation() {
    let run = |disk: &SimDisk| -> (Found, Vec<Vec<u8>>) {
        let mut durable = Vec::new();
        let Ok((mut log, _, _)) = open_sim(disk, 600, Lsn(0)) else { return (durable, Vec::new()) };
        for size in [10, 100, 500, 20, 1500, 30, 0, 64, 700] {
            let group = vec![vec![size as u8; size], vec![1; size / 3], vec![2; 5]];
            match log.append(&group) {
                Ok(ends) => durable.extend(ends.into_iter().zip(group)),
                Err(_) => return (durable, group),
            }
        }
        (durable, Vec::new())
    };
    let clean = SimDisk::new(0);
    run(&clean);
    let operations = clean.changes();
    assert!(operations > 40, "{operations}");
    for n in 1..=operations {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            disk.fail_after(n, FailMode::Crash);
            let (durable, unknown) = run(&disk);
            disk.crash();
            let (mut log, _, mut found) = open_sim(&disk, 600, Lsn(0)).unwrap();
            assert_eq!(found[..durable.len()], durable, "operation {n}, seed {seed}");
            let kept = found.len() - durable.len();
            assert_eq!(payloads(&found[durable.len()..].to_vec()), unknown[..kept]);
            let ends = log.append(&[b"and it goes on".as_slice(), b"as if nothing"]).unwrap();
            found.extend(ends.into_iter().zip([b"and it goes on".to_vec(), b"as if nothing".to_vec()]));
            disk.crash();
            let (_, report, again) = open_sim(&disk, 600, Lsn(0)).unwrap();
            assert_eq!((again, report.torn), (found, None), "operation {n}, seed {seed}");
        }
    }
}

/// A retry that repeats the lost write byte for byte must not bring back what followed the original.
#[test]
fn a_repeated_record_revives_nothing() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut log = open_sim(&disk, 8192, Lsn(0)).unwrap().0;
        log.append(&[b"base"]).unwrap();
        let (one, two) = (vec![1; 700], vec![2; 700]);
        disk.fail_after(2, FailMode::Crash);
        assert!(log.append(&[&one, &two]).is_err());
        disk.crash();
        let (mut log, _, found) = open_sim(&disk, 8192, Lsn(0)).unwrap();
        if found.len() > 1 {
            continue;
        }
        log.append(&[&one]).unwrap();
        disk.crash();
        let (_, report, found) = open_sim(&disk, 8192, Lsn(0)).unwrap();
        assert_eq!((payloads(&found), report.torn_bytes), (vec![b"base".as_slice(), &one], 0), "seed {seed}");
    }
}
