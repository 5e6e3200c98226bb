//! Many seeds, and what of a run must be so whatever it does.
//!
//! `cargo xtask sim` runs more: `DRIFTDB_TEST_SEED` runs one seed, `DRIFTDB_TEST_ROUNDS` that many from there on,
//! `DRIFTDB_TEST_MINUTES` seeds for as long.

use driftdb_env::{Clock, RealClock};
use driftdb_sim::{Tally, simulate};

const STEPS: u32 = 250;
const ROUNDS: u64 = 20;

#[test]
fn random_histories_survive() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = variable("DRIFTDB_TEST_SEED");
    let minutes = variable("DRIFTDB_TEST_MINUTES");
    let rounds = variable("DRIFTDB_TEST_ROUNDS").unwrap_or(if first.is_some() { 1 } else { ROUNDS });
    let clock = RealClock::new();
    let mut tally = Tally::default();
    for seed in first.unwrap_or(0).. {
        let round = seed - first.unwrap_or(0);
        if minutes.map_or(round == rounds, |minutes| clock.monotonic().as_secs() >= minutes * 60) {
            println!("{round} seeds from {}: {tally}", first.unwrap_or(0));
            break;
        }
        println!("DRIFTDB_TEST_SEED={seed}");
        match simulate(seed, STEPS) {
            Ok(more) => tally.add(&more),
            Err(failure) => panic!("{failure}"),
        }
    }
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 0..3 {
        let [one, other] = [simulate(seed, STEPS).unwrap(), simulate(seed, STEPS).unwrap()];
        assert_eq!(one, other);
        assert!(one.of("commits") > 20, "{one}");
    }
}
