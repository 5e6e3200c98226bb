//! Choices that follow from the seed.

use driftdb_env::{Rand, SimRand};

#[derive(Clone, Debug)]
pub(crate) struct Dice {
    rand: SimRand,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice { rand: SimRand::new(seed) }
    }

    /// A number less than `bound`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.rand.below(bound as u64)).unwrap_or(0)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of them, if there are any.
    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    pub(crate) fn seed(&self) -> u64 {
        self.rand.next_u64()
    }
}
