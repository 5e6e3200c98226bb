//! Random histories against the model.

use crate::harness::Harness;

fn run(seed: u64, steps: u64) {
    println!("seed {seed}");
    let mut harness = Harness::new(seed);
    for _ in 0..steps {
        match harness.dice.below(100) {
            0..70 => {
                harness.commit(4);
                if harness.dice.chance(60) {
                    harness.store.publish();
                }
            }
            70..80 => {
                harness.store.flush().unwrap();
                // Neither views nor scans that rest hold more than they may.
                assert!(harness.store.held_bytes() <= harness.options.held_bytes_max);
            }
            80..86 => {
                harness.store.compact().unwrap();
            }
            86..88 => harness.reopen(),
            88..90 => {
                harness.sim.disk.crash();
                harness.reopen();
            }
            90..91 => harness.add_column(),
            91..93 => harness.hold_view(),
            93..95 => harness.hold_scan(),
            95..96 => {
                let keep = harness.held.len() / 2;
                harness.held.drain(keep..);
            }
            _ => harness.check_some(),
        }
        if harness.dice.chance(15) {
            harness.go_on_with_scans();
        }
    }
    harness.check_all();
    harness.check_some();
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(format!("DRIFTDB_TEST_{name}")).ok().map(|value| value.parse().unwrap())
}

/// `DRIFTDB_TEST_SEED=n` repeats one history, `DRIFTDB_TEST_LONG=1` runs thousands, `DRIFTDB_TEST_ROUNDS=n` so many.
#[test]
fn random_histories_read_as_the_model() {
    if let Some(seed) = setting("SEED") {
        return run(seed, 150);
    }
    let rounds = if setting("LONG") == Some(1) { 3_000 } else { 40 };
    for seed in 0..setting("ROUNDS").unwrap_or(rounds) {
        run(seed, 150);
    }
}
