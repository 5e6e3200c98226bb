//! What can be wrong with a history, by the names of Adya and Elle.

use std::fmt;

use super::graph::{Dependency, Edge};
use super::history::Transaction;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A list held a value that nobody appended.
    GarbageRead,
    /// A list held a value twice.
    DuplicateElement,
    /// Two reads of a key of which neither is a prefix of the other.
    IncompatibleOrder,
    /// G1a: a read of what an aborted transaction appended.
    AbortedRead,
    /// G1b: a read of a list between two appends of one transaction.
    IntermediateRead,
    /// An append to a list that held an aborted transaction's value.
    DirtyUpdate,
    /// Two transactions read the same list, and both appended to it.
    LostUpdate,
    /// A committed append that a later transaction did not find.
    LostAppend,
    /// A transaction that contradicts itself: its own append missing, or another answer to the same question.
    Internal,
    /// A cycle of dependencies, and the order besides them that it needs.
    Cycle(Cycle, Order),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cycle {
    /// ww edges only.
    G0,
    /// ww and wr edges.
    G1c,
    /// One rw edge.
    GSingle,
    /// Several rw edges, no two of them adjacent.
    GNonadjacent,
    /// Several rw edges: write skew.
    G2Item,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Data,
    Session,
    RealTime,
}

impl Kind {
    pub(super) fn of_cycle(cycle: &[Edge]) -> Kind {
        let has = |wanted: fn(&Dependency) -> bool| cycle.iter().filter(|edge| wanted(&edge.dependency)).count();
        let is_rw = |edge: &Edge| matches!(edge.dependency, Dependency::Rw { .. });
        let adjacent = (0..cycle.len()).any(|i| is_rw(&cycle[i]) && is_rw(&cycle[(i + 1) % cycle.len()]));
        let sort = match has(|dependency| matches!(dependency, Dependency::Rw { .. })) {
            0 if has(|dependency| matches!(dependency, Dependency::Wr { .. })) == 0 => Cycle::G0,
            0 => Cycle::G1c,
            1 => Cycle::GSingle,
            _ if adjacent => Cycle::G2Item,
            _ => Cycle::GNonadjacent,
        };
        let order = if has(|dependency| *dependency == Dependency::RealTime) > 0 {
            Order::RealTime
        } else if has(|dependency| *dependency == Dependency::Session) > 0 {
            Order::Session
        } else {
            Order::Data
        };
        Kind::Cycle(sort, order)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Kind::GarbageRead => "garbage read",
            Kind::DuplicateElement => "duplicate element",
            Kind::IncompatibleOrder => "incompatible order",
            Kind::AbortedRead => "G1a (aborted read)",
            Kind::IntermediateRead => "G1b (intermediate read)",
            Kind::DirtyUpdate => "dirty update",
            Kind::LostUpdate => "lost update",
            Kind::LostAppend => "lost append",
            Kind::Internal => "internal inconsistency",
            Kind::Cycle(cycle, order) => {
                let cycle = match cycle {
                    Cycle::G0 => "G0",
                    Cycle::G1c => "G1c",
                    Cycle::GSingle => "G-single",
                    Cycle::GNonadjacent => "G-nonadjacent",
                    Cycle::G2Item => "G2-item",
                };
                let order = match order {
                    Order::Data => "",
                    Order::Session => "-session",
                    Order::RealTime => "-realtime",
                };
                return write!(f, "{cycle}{order}");
            }
        };
        f.write_str(name)
    }
}

/// Something that must not be in a history of its transactions' levels.
#[derive(Clone, Debug)]
pub(super) struct Anomaly {
    pub(super) kind: Kind,
    /// What happened, naming transactions by their place in the history.
    pub(super) story: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.story)
    }
}

/// A cycle told edge by edge, with the transactions in it.
pub(super) fn story(cycle: &[Edge], transactions: &[Transaction]) -> String {
    let mut story = String::new();
    for Edge { from, to, dependency } in cycle {
        story += &match dependency {
            Dependency::Ww { key, before, after } => {
                format!("T{from} appended {before} to k{key}, behind which T{to} appended {after}; ")
            }
            Dependency::Wr { key, element } => format!("T{from} appended {element} to k{key}, which T{to} read; "),
            Dependency::Rw { key, missed } => format!("T{from} read k{key} without the {missed} that T{to} appended; "),
            Dependency::Session => format!("T{from} came before T{to} in their session; "),
            Dependency::RealTime => format!("T{from} was over before T{to} began; "),
        };
    }
    for edge in cycle {
        story += &format!("\n    T{}: {:?}", edge.from, transactions[edge.from]);
    }
    story
}
