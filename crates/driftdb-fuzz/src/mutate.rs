//! Inputs that are almost right.

use driftdb_env::{Rand, SimRand};

/// Numbers at which arithmetic on lengths, counts and positions goes wrong.
const EDGES: [u64; 16] = [
    0,
    1,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// No input is made longer than this, or than four times the longest it is made from.
const LEN_MAX: usize = 64 << 10;

/// Makes inputs from those of a corpus.
pub(crate) struct Mutator<'c> {
    rand: SimRand,
    corpus: &'c [Vec<u8>],
    tokens: &'c [&'c str],
    /// Most inputs are as long as what they are made from.
    rigid: bool,
}

impl<'c> Mutator<'c> {
    /// What follows from `seed`.
    pub(crate) fn new(seed: u64, corpus: &'c [Vec<u8>], tokens: &'c [&'c str], rigid: bool) -> Mutator<'c> {
        Mutator { rand: SimRand::new(seed), corpus, tokens, rigid }
    }

    /// The input of the seed.
    pub(crate) fn input(&self) -> Vec<u8> {
        if self.corpus.is_empty() || self.below(16) == 0 {
            let len = self.below(1 << self.below(9));
            return self.random(len);
        }
        let mut input = self.pick(self.corpus).cloned().unwrap_or_default();
        // Mostly one thing is wrong: more of them hide each other.
        let changes = match self.below(8) {
            0 => 8,
            few => 1 + few / 3,
        };
        let keep_length = self.rigid && self.below(8) != 0;
        for _ in 0..changes {
            if keep_length { self.change_in_place(&mut input) } else { self.change(&mut input) }
        }
        input.truncate(LEN_MAX.max(4 * self.corpus.iter().map(Vec::len).max().unwrap_or(0)));
        input
    }

    fn change_in_place(&self, input: &mut [u8]) {
        match self.below(8) {
            0 | 1 => self.flip(input),
            2 => self.set_byte(input),
            3 | 4 => self.set_number(input),
            5 => self.move_number(input),
            6 => self.overwrite_stretch(input),
            _ => self.overwrite_with_token(input),
        }
    }

    fn change(&self, input: &mut Vec<u8>) {
        match self.below(14) {
            0..6 => self.change_in_place(input),
            6 | 7 => self.set_digits(input),
            8 => drop(input.drain(self.stretch(input.len()))),
            9 => self.insert_stretch(input),
            10 => self.splice(input),
            11 => input.truncate(self.below(input.len() + 1)),
            12 => {
                let random = self.random(self.below(24));
                let blank = self.below(2) == 0;
                input.extend(random.into_iter().map(|byte| if blank { 0 } else { byte }));
            }
            _ => self.insert_token(input),
        }
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.rand.below(bound as u64)).unwrap_or(0)
    }

    /// A place of `0..len`; every other one is near the beginning, where formats have their headers and files their data.
    fn place(&self, len: usize) -> usize {
        if self.below(2) == 0 { self.below(len) } else { self.below(len.div_ceil(4)) }
    }

    fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    fn random(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.rand.fill(&mut bytes);
        bytes
    }

    /// A stretch of `0..len`; short ones more often than long ones.
    fn stretch(&self, len: usize) -> std::ops::Range<usize> {
        let start = self.place(len + 1);
        let longest = (len - start).min(1 << self.below(12));
        start..start + self.below(longest + 1)
    }

    fn flip(&self, input: &mut [u8]) {
        let at = self.place(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << self.below(8);
        }
    }

    fn set_byte(&self, input: &mut [u8]) {
        let at = self.place(input.len());
        let edge = self.pick(&EDGES).map_or(0, |edge| edge.to_le_bytes()[0]);
        let value = if self.below(2) == 0 { edge } else { self.below(256) as u8 };
        if let Some(byte) = input.get_mut(at) {
            *byte = value;
        }
    }

    /// The place of a number of 2, 4 or 8 bytes.
    fn number<'a>(&self, input: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let width = 2 << self.below(3);
        let start = self.place((input.len() + 1).checked_sub(width)?);
        input.get_mut(start..start + width)
    }

    /// A number becomes an edge, or one beside it, or what is a length here.
    fn set_number(&self, input: &mut [u8]) {
        let len = input.len() as u64;
        let Some(place) = self.number(input) else { return };
        let edge = if self.below(4) == 0 { len } else { self.pick(&EDGES).copied().unwrap_or(0) };
        let value = edge.wrapping_add(self.rand.below(3)).wrapping_sub(1);
        store(place, value, self.below(3) == 0);
    }

    /// A number becomes a little more or less.
    fn move_number(&self, input: &mut [u8]) {
        let Some(place) = self.number(input) else { return };
        let big_endian = self.below(3) == 0;
        let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let value = if big_endian { place.iter().fold(0, add) } else { place.iter().rev().fold(0, add) };
        let by = self.rand.below(64);
        let moved = if self.below(2) == 0 { value.wrapping_add(by) } else { value.wrapping_sub(by) };
        store(place, moved, big_endian);
    }

    /// A number written in digits becomes an edge.
    fn set_digits(&self, input: &mut Vec<u8>) {
        let from = self.below(input.len() + 1);
        let digit = |byte: &u8| byte.is_ascii_digit();
        let rest = input.get(from..).unwrap_or_default();
        let Some(start) = rest.iter().position(digit).map(|skipped| from + skipped) else { return };
        let len = input.iter().skip(start).take_while(|byte| digit(byte)).count();
        let edge = self.pick(&EDGES).copied().unwrap_or(0).wrapping_sub(self.rand.below(2));
        let sign = if self.below(4) == 0 { "-" } else { "" };
        input.splice(start..start + len, format!("{sign}{edge}").into_bytes());
    }

    /// A stretch of it, or of another, comes in at some place.
    fn insert_stretch(&self, input: &mut Vec<u8>) {
        let from = if self.below(2) == 0 { self.pick(self.corpus) } else { None };
        let from = from.unwrap_or(input);
        let stretch = from.get(self.stretch(from.len())).unwrap_or_default().to_vec();
        let at = self.below(input.len() + 1);
        input.splice(at..at, stretch);
    }

    /// A stretch is written over with another one.
    fn overwrite_stretch(&self, input: &mut [u8]) {
        let from = self.stretch(input.len());
        let to = self.below(input.len() - from.len() + 1);
        input.copy_within(from, to);
    }

    /// Its beginning, and the end of another.
    fn splice(&self, input: &mut Vec<u8>) {
        let Some(other) = self.pick(self.corpus) else { return };
        let cut = self.below(input.len().min(other.len()) + 1);
        input.truncate(cut);
        input.extend(other.iter().skip(cut));
    }

    /// A word that is known, or some random bytes.
    fn token(&self) -> Vec<u8> {
        self.pick(self.tokens).map_or_else(|| self.random(1 + self.below(8)), |token| token.as_bytes().to_vec())
    }

    fn insert_token(&self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        input.splice(at..at, self.token());
    }

    fn overwrite_with_token(&self, input: &mut [u8]) {
        let at = self.place(input.len() + 1);
        for (to, from) in input.iter_mut().skip(at).zip(self.token()) {
            *to = from;
        }
    }
}

/// Writes the low bytes of a number.
fn store(place: &mut [u8], value: u64, big_endian: bool) {
    for (to, from) in place.iter_mut().zip(value.to_le_bytes()) {
        *to = from;
    }
    if big_endian {
        place.reverse();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_seeds_differ() {
        let corpus = [b"{\"a\": 17}".to_vec(), vec![0; 40]];
        let input = |seed| Mutator::new(seed, &corpus, &["null"], false).input();
        assert!((0..100).all(|seed| input(seed) == input(seed)));
        let different: BTreeSet<Vec<u8>> = (0..1000).map(input).collect();
        assert!(different.len() > 600, "{}", different.len());
    }

    #[test]
    fn every_change_takes_every_length() {
        for seed in 0..4000 {
            let corpus = [vec![7; seed as usize % 5], Vec::new()];
            let mutator = Mutator::new(seed, &corpus, &[], false);
            for len in 0..20 {
                mutator.change(&mut vec![b'0'; len]);
            }
        }
    }

    /// Wrong in one place, so that what comes before it is read as ever.
    #[test]
    fn inputs_are_close_to_valid_ones() {
        let valid = [(0..200).collect::<Vec<u8>>()];
        let begins_so = |seed| Mutator::new(seed, &valid, &[], false).input().starts_with(&[0, 1, 2, 3, 4, 5, 6, 7]);
        let close = (0..1000).filter(|seed| begins_so(*seed)).count();
        assert!((500..950).contains(&close), "{close}");
    }

    #[test]
    fn rigid_inputs_mostly_keep_their_length() {
        let valid = [vec![9; 200]];
        let keeps = |seed| Mutator::new(seed, &valid, &["a word"], true).input().len() == 200;
        let kept = (0..1000).filter(|seed| keeps(*seed)).count();
        assert!((750..950).contains(&kept), "{kept}");
    }
}
