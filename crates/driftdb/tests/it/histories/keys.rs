//! The lists that a workload works on: some hot, some cold, none long.

use super::history::{Element, Key};
use crate::server::Dice;

const ACTIVE: usize = 24;
/// Half of all operations go to the first so many.
const HOT: u64 = 4;
const LENGTH_MAX: u32 = 64;

struct Active {
    key: Key,
    appended: Element,
    /// After how many appends another key takes its place.
    length_max: u32,
}

pub(super) struct Keys {
    next: Key,
    active: Vec<Active>,
}

impl Keys {
    /// Keys from `first` on.
    pub(super) fn new(first: Key, dice: &mut Dice) -> Keys {
        let mut keys = Keys { next: first, active: Vec::new() };
        for _ in 0..ACTIVE {
            let fresh = keys.fresh(dice);
            keys.active.push(fresh);
        }
        keys
    }

    fn fresh(&mut self, dice: &mut Dice) -> Active {
        self.next += 1;
        Active { key: self.next - 1, appended: 0, length_max: 1 + dice.below(u64::from(LENGTH_MAX)) as u32 }
    }

    fn slot(dice: &mut Dice) -> usize {
        let bound = if dice.below(2) == 0 { HOT } else { ACTIVE as u64 };
        dice.below(bound) as usize
    }

    pub(super) fn to_read(&self, dice: &mut Dice) -> Key {
        self.active[Keys::slot(dice)].key
    }

    /// A key, and a value that has not been appended to it.
    pub(super) fn next_append(&mut self, dice: &mut Dice) -> (Key, Element) {
        let slot = Keys::slot(dice);
        let active = &mut self.active[slot];
        active.appended += 1;
        let taken = (active.key, active.appended);
        if active.appended == active.length_max {
            self.active[slot] = self.fresh(dice);
        }
        taken
    }

    /// The first key that has not been used.
    pub(super) fn end(&self) -> Key {
        self.next
    }
}
