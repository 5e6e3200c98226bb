//! Random bytes: from the operating system, or from a seed.

use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;

/// Where random numbers come from.
pub trait Rand: Send + Sync + Debug {
    /// Fills `buf` with random bytes.
    fn fill(&self, buf: &mut [u8]);

    /// A random number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random number less than `bound` (0 when `bound` is 0), with a bias too small to matter for bounds far below
    /// 2^64.
    fn below(&self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }
}

/// The operating system's cryptographically secure source.
#[derive(Debug, Default)]
pub struct OsRand {}

impl OsRand {
    /// The operating system's source.
    pub fn new() -> OsRand {
        OsRand {}
    }
}

impl Rand for OsRand {
    /// Stops the process when the operating system has no random bytes to give: going on would make secrets that
    /// can be guessed.
    fn fill(&self, buf: &mut [u8]) {
        if getrandom::fill(buf).is_err() {
            std::process::abort();
        }
    }
}

/// Numbers that follow from a seed (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", 2014). Not for secrets. Clones share the sequence.
#[derive(Clone, Debug)]
pub struct SimRand {
    state: Arc<Mutex<u64>>,
}

impl SimRand {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> SimRand {
        SimRand { state: Arc::new(Mutex::new(seed)) }
    }
}

impl Rand for SimRand {
    fn fill(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
    }

    fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let draw = |seed| {
            let rand = SimRand::new(seed);
            let mut bytes = [0; 13];
            rand.fill(&mut bytes);
            (bytes, rand.below(1000))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(SimRand::new(1).below(0), 0);
    }

    #[test]
    fn the_system_gives_different_bytes() {
        let rand = OsRand::new();
        assert_ne!(rand.next_u64(), rand.next_u64());
    }
}
