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
            91..94 => harness.hold_view(),
            94..96 => {
                let keep = harness.held.len() / 2;
                harness.held.drain(keep..);
            }
            _ => harness.check_some(),
        }
    }
    harness.check_all();
    harness.check_some();
}

#[test]
fn random_histories_read_as_the_model() {
    for seed in 0..40 {
        run(seed, 150);
    }
}

/// `DRIFTDB_SEED=n cargo test -p driftdb-store -- --ignored one_seed` repeats one history.
#[test]
#[ignore = "repeats a seed by hand"]
fn one_seed() {
    let seed = std::env::var("DRIFTDB_SEED").unwrap().parse().unwrap();
    run(seed, 2_000);
}
