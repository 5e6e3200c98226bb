//! What happened in a run, counted.

use std::collections::BTreeMap;
use std::fmt;

/// How often what happened. Adds up over runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<String, u64>,
}

impl Tally {
    /// How often this happened.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Tally) {
        for (what, count) in &other.counts {
            self.count_many(what, *count);
        }
    }

    pub(crate) fn count(&mut self, what: &str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&mut self, what: &str, count: u64) {
        *self.counts.entry(what.to_owned()).or_default() += count;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(&parts.join(", "))
    }
}
