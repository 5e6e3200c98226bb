//! The recent writes under shuttle.

use std::sync::Arc;

use shuttle::thread;

use super::*;
use crate::budget::Budget;
use crate::shuttle_tests::explore;
use crate::sync::atomic::{AtomicU64, Ordering};

const COMMITS: u64 = 3;

/// Whoever takes a snapshot finds all commits after it, however many are recorded, published and forgotten meanwhile.
#[test]
fn shuttle_what_a_snapshot_lacks_is_kept_for_it() {
    explore(3_000, || {
        let budget = Budget::new(usize::MAX);
        let recent = Arc::new(RecentWrites::new(CommitSeq(0), 1 << 20, &budget));
        let visible = Arc::new(AtomicU64::new(0));
        let writer = {
            let (recent, visible) = (Arc::clone(&recent), Arc::clone(&visible));
            thread::spawn(move || {
                for seq in 1..=COMMITS {
                    recent.record(CommitSeq(seq), &Arc::new(Written::new(&[], Vec::new())));
                    visible.store(seq, Ordering::SeqCst);
                    recent.visible(CommitSeq(seq));
                }
            })
        };
        let reader = || {
            let (recent, visible) = (Arc::clone(&recent), Arc::clone(&visible));
            thread::spawn(move || {
                let (snapshot, ()) = recent.enter(|| (CommitSeq(visible.load(Ordering::SeqCst)), ()));
                for _ in 0..2 {
                    let least = visible.load(Ordering::SeqCst);
                    let found: Vec<u64> = recent.after(snapshot).unwrap().iter().map(|(seq, _)| seq.0).collect();
                    assert!(found.iter().copied().eq(snapshot.0 + 1..=snapshot.0 + found.len() as u64), "{found:?}");
                    assert!(snapshot.0 + found.len() as u64 >= least, "{found:?} after {snapshot}, {least} visible");
                }
                recent.leave(snapshot);
            })
        };
        for thread in [reader(), reader(), writer] {
            thread.join().unwrap();
        }
        // Who read last may have left after the last commit; the next one clears up.
        recent.record(CommitSeq(COMMITS + 1), &Arc::new(Written::new(&[], Vec::new())));
        recent.visible(CommitSeq(COMMITS + 1));
        assert!(recent.state.lock().commits.is_empty());
        assert_eq!(budget.used_bytes(), 0);
    });
}
