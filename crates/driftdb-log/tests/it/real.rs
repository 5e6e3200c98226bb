//! On the machine's own disk.

use driftdb_env::{Env, OpenOptions};
use driftdb_types::Lsn;

use super::*;

#[test]
fn a_log_on_the_real_disk() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db/log");
    let disk = Env::real().disk;
    let reopen = |from| open(Arc::clone(&disk), &dir, 1 << 20, from).unwrap();
    let mut all: Found = Vec::new();
    for round in 0..3_u8 {
        let (mut log, report, found) = reopen(Lsn(0));
        assert_eq!((&found, report.torn), (&all, None));
        for size in [10, 100_000, 3_000_000, 0] {
            let group = vec![vec![round; size], vec![round + 1; size / 2]];
            all.extend(log.append(&group).unwrap().into_iter().zip(group));
        }
        log.prepare_next().unwrap();
    }
    let findings = driftdb_log::check(disk.as_ref(), &dir, Lsn(0));
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert!(finding.what.starts_with("left over from preparing"), "{finding}");

    // A torn tail, as a crash would leave it.
    let (mut log, ..) = reopen(Lsn(0));
    let end = log.end();
    log.append(&[vec![9; 5000]]).unwrap();
    drop(log);
    let last = disk.list(&dir).unwrap().pop().unwrap();
    let first: u64 = last.strip_suffix(".log").unwrap().parse().unwrap();
    let file = disk.open(&dir.join(&last), OpenOptions::WRITE).unwrap();
    file.write_at(end.0 - first + 1000, &[0; 512]).unwrap();
    let (mut log, report, found) = reopen(Lsn(0));
    assert_eq!((&found, report.torn_bytes, report.end), (&all, 5024, end));

    let removed = log.remove_before(end).unwrap();
    assert!(removed >= 10, "{removed}");
    log.append(&[b"the end"]).unwrap();
    drop(log);
    assert_eq!(payloads(&reopen(end).2), [b"the end"]);
}
