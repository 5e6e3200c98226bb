//! Questions about a time against commits on their way, under shuttle.

use std::sync::{Arc, Mutex as StdMutex};

use shuttle::thread;

use super::*;
use crate::shuttle_tests::{choose, explore};

/// The wall clock may stand still, and be set back.
const CLOCK: [i64; 3] = [10, 10, 9];

#[test]
fn shuttle_an_answer_about_a_time_stays() {
    explore(3_000, || {
        let times = Arc::new(Times::new());
        let visible = Arc::new(StdMutex::new(Vec::new()));
        let writer = {
            let (times, visible) = (Arc::clone(&times), Arc::clone(&visible));
            thread::spawn(move || {
                let mut last = i64::MIN;
                for now_us in CLOCK {
                    last = times.begin_group(now_us.max(last.saturating_add(1)));
                    thread::yield_now();
                    // Some groups fail, and nothing of them is left.
                    if choose(4) > 0 {
                        visible.lock().unwrap().push(last);
                    }
                    times.settle();
                }
            })
        };
        let asker = || {
            let (times, visible) = (Arc::clone(&times), Arc::clone(&visible));
            thread::spawn(move || {
                let asked_us = 9 + i64::try_from(choose(3)).unwrap();
                times.ask(asked_us, 11, &Cancel::new()).unwrap();
                (asked_us, visible_at(&visible, asked_us))
            })
        };
        let answers = [asker(), asker()].map(|asker| asker.join().unwrap());
        writer.join().unwrap();
        for (asked_us, answer) in answers {
            assert_eq!(answer, visible_at(&visible, asked_us), "as of {asked_us}");
        }
    });
}

fn visible_at(visible: &StdMutex<Vec<i64>>, time_us: i64) -> Vec<i64> {
    visible.lock().unwrap().iter().copied().filter(|commit_us| *commit_us <= time_us).collect()
}

/// Who waits is told when nobody knows any more.
#[test]
fn shuttle_a_group_that_is_lost_holds_nobody_up() {
    explore(1_000, || {
        let times = Arc::new(Times::new());
        let writer = {
            let times = Arc::clone(&times);
            thread::spawn(move || {
                times.begin_group(10);
                times.lose();
            })
        };
        let asked = times.ask(10, 10, &Cancel::new());
        writer.join().unwrap();
        if let Err(error) = asked {
            assert_eq!(error.state, SqlState::IO_ERROR);
        }
        assert_eq!(times.ask(10, 10, &Cancel::new()).is_ok(), times.state.lock().asked_us == 10);
    });
}
