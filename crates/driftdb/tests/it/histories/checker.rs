//! A checker of isolation after Elle (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental
//! Observations", PVLDB 14(3), 2020).
//!
//! Transactions append values to lists and read whole lists. A list that was read shows in which order its appends took
//! effect, and who was first seen by whom; from that come the dependencies between transactions, without a look into the
//! database. What must not be there depends on the level of each transaction, so levels may be mixed:
//! - every level: no read of what was aborted, half done or never written, no committed append lost, no value twice,
//!   lists that only grow, no transaction that contradicts itself, no cycle of ww and wr;
//! - READ COMMITTED: reads besides see everything that was acknowledged before the transaction began;
//! - REPEATABLE READ: reads are of one snapshot, at least as new as what was acknowledged before the transaction began,
//!   and nobody else has appended to what it appends to since: of cycles only write skew is left;
//! - SERIALIZABLE: no cycle, not even with the order of real time (strict serializability).

use std::collections::{HashMap, HashSet};

use super::anomaly::{Anomaly, Kind, story};
use super::graph::{Dependency, Graph};
use super::history::{Element, Key, Level, Op, Outcome, Transaction};

/// Everything in a history that its transactions' levels forbid.
pub(super) fn check(transactions: &[Transaction]) -> Vec<Anomaly> {
    let mut checker = Checker::new(transactions);
    for id in 0..transactions.len() {
        checker.reads(id);
        checker.contradictions(id);
        checker.lost_appends(id);
    }
    checker.dirty_updates();
    checker.lost_updates();
    checker.cycles();
    checker.anomalies
}

/// Who appended a value.
struct Append {
    transaction: usize,
    /// Whether it is the transaction's last to that key.
    last: bool,
    undone: bool,
}

struct Checker<'a> {
    transactions: &'a [Transaction],
    appends: HashMap<(Key, Element), Append>,
    /// The order of the appends to each key: the longest list that a committed transaction read.
    orders: HashMap<Key, &'a [Element]>,
    /// Whether each transaction happened; unknown ones did if somebody read one of their appends.
    committed: Vec<bool>,
    /// Of each key, when the last committed transaction that read it began.
    read_last: HashMap<Key, u64>,
    anomalies: Vec<Anomaly>,
}

fn appends_of(transaction: &Transaction) -> impl Iterator<Item = (Key, Element)> {
    transaction.ops.iter().filter_map(|op| match op {
        Op::Append(key, element) => Some((*key, *element)),
        _ => None,
    })
}

fn reads_of(transaction: &Transaction) -> impl Iterator<Item = (Key, &[Element])> {
    transaction.ops.iter().filter_map(|op| match op {
        Op::Read(key, list) => Some((*key, list.as_slice())),
        _ => None,
    })
}

impl<'a> Checker<'a> {
    fn new(transactions: &'a [Transaction]) -> Checker<'a> {
        let mut appends = HashMap::new();
        for (id, transaction) in transactions.iter().enumerate() {
            let last: HashMap<Key, Element> = appends_of(transaction).collect();
            for op in &transaction.ops {
                let (key, element, undone) = match op {
                    Op::Append(key, element) => (*key, *element, false),
                    Op::Undone(key, element) => (*key, *element, true),
                    Op::Read(..) => continue,
                };
                let append = Append { transaction: id, last: last.get(&key) == Some(&element), undone };
                assert!(appends.insert((key, element), append).is_none(), "{element} was appended to k{key} twice");
            }
        }
        let mut orders: HashMap<Key, &[Element]> = HashMap::new();
        let mut read_last = HashMap::new();
        for transaction in transactions.iter().filter(|transaction| transaction.outcome == Outcome::Committed) {
            for (key, list) in reads_of(transaction) {
                let order = orders.entry(key).or_default();
                if list.len() > order.len() {
                    *order = list;
                }
                let last = read_last.entry(key).or_default();
                *last = transaction.invoked.max(*last);
            }
        }
        let mut committed: Vec<bool> =
            transactions.iter().map(|transaction| transaction.outcome == Outcome::Committed).collect();
        for (key, order) in &orders {
            for element in *order {
                if let Some(append) = appends.get(&(*key, *element))
                    && transactions[append.transaction].outcome == Outcome::Unknown
                {
                    committed[append.transaction] = true;
                }
            }
        }
        Checker { transactions, appends, orders, committed, read_last, anomalies: Vec::new() }
    }

    fn report(&mut self, kind: Kind, story: String) {
        self.anomalies.push(Anomaly { kind, story });
    }

    fn order(&self, key: Key) -> &'a [Element] {
        self.orders.get(&key).copied().unwrap_or_default()
    }

    /// Whether an append happened for good.
    fn happened(&self, append: &Append) -> bool {
        self.committed[append.transaction] && !append.undone
    }

    /// What a transaction saw of a list that others had appended: its own are the last, or else it contradicts itself.
    fn others<'l>(&self, id: usize, key: Key, list: &'l [Element]) -> &'l [Element] {
        let own = |element: &&Element| {
            self.appends.get(&(key, **element)).is_some_and(|append| append.transaction == id && !append.undone)
        };
        &list[..list.len() - list.iter().rev().take_while(own).count()]
    }

    /// Reads of what nobody wrote, of what was aborted, of half a transaction, in another order than others saw. Those of
    /// aborted transactions count: what no level shows must not be shown to them either.
    fn reads(&mut self, id: usize) {
        for (key, list) in reads_of(&self.transactions[id]) {
            let said = || format!("T{id} read {list:?} of k{key}");
            let distinct: HashSet<&Element> = list.iter().collect();
            if distinct.len() < list.len() {
                self.report(Kind::DuplicateElement, said());
            }
            let others = self.others(id, key, list);
            let order = self.order(key);
            if !order.starts_with(others) && !others.starts_with(order) {
                self.report(Kind::IncompatibleOrder, format!("{}, of which others read {order:?}", said()));
            }
            for (at, element) in others.iter().enumerate() {
                let Some(append) = self.appends.get(&(key, *element)) else {
                    self.report(Kind::GarbageRead, format!("{}; nobody appended {element}", said()));
                    continue;
                };
                let writer = append.transaction;
                if !self.happened(append) {
                    let story = format!("{}; T{writer}, which appended {element}, was aborted", said());
                    self.report(Kind::AbortedRead, story);
                } else if at + 1 == others.len() && !append.last && writer != id {
                    let story = format!("{}; T{writer} appended {element}, and then more", said());
                    self.report(Kind::IntermediateRead, story);
                }
            }
        }
    }

    /// Each read against what the transaction read and appended before.
    fn contradictions(&mut self, id: usize) {
        let transaction = &self.transactions[id];
        let mut seen: HashMap<Key, &[Element]> = HashMap::new();
        let mut own: HashMap<Key, Vec<Element>> = HashMap::new();
        for op in &transaction.ops {
            match op {
                Op::Append(key, element) => own.entry(*key).or_default().push(*element),
                Op::Undone(..) => {}
                Op::Read(key, list) => {
                    let own = own.get(key).map(Vec::as_slice).unwrap_or_default();
                    let said = || format!("T{id} ({:?}) read {list:?} of k{key}", transaction.level);
                    if !list.ends_with(own) {
                        self.report(Kind::Internal, format!("{} after it had appended {own:?}", said()));
                        continue;
                    }
                    let others = &list[..list.len() - own.len()];
                    let same = |before: &&[Element]| match transaction.level {
                        Level::ReadCommitted => others.starts_with(before),
                        Level::RepeatableRead | Level::Serializable => others == *before,
                    };
                    if let Some(before) = seen.insert(*key, others).filter(|before| !same(before)) {
                        self.report(Kind::Internal, format!("{}, and before {before:?}", said()));
                    }
                }
            }
        }
    }

    /// Appends that happened and are not in the list that somebody read later.
    fn lost_appends(&mut self, id: usize) {
        let transaction = &self.transactions[id];
        if !self.committed[id] {
            return;
        }
        for (key, element) in appends_of(transaction) {
            let order = self.order(key);
            if !order.contains(&element)
                && self.read_last.get(&key).is_some_and(|invoked| *invoked > transaction.completed)
            {
                let story = format!("T{id} appended {element} to k{key}; later, all that was there was {order:?}");
                self.report(Kind::LostAppend, story);
            }
        }
    }

    /// Appends on top of what was aborted.
    fn dirty_updates(&mut self) {
        for (key, order) in self.orders.clone() {
            for pair in order.windows(2) {
                let [Some(first), Some(second)] = [pair[0], pair[1]].map(|element| self.appends.get(&(key, element)))
                else {
                    continue;
                };
                if !self.happened(first) && self.happened(second) {
                    let (aborted, by) = (first.transaction, second.transaction);
                    let story = format!("T{by} appended {} to k{key} behind {} of T{aborted}", pair[1], pair[0]);
                    self.report(Kind::DirtyUpdate, format!("{story}, which was aborted"));
                }
            }
        }
    }

    /// Transactions with a snapshot that read the same list and then appended to it.
    fn lost_updates(&mut self) {
        let mut updates: HashMap<(Key, &[Element]), usize> = HashMap::new();
        for (id, transaction) in self.transactions.iter().enumerate() {
            if !self.committed[id] || transaction.level == Level::ReadCommitted {
                continue;
            }
            let appended: HashSet<Key> = appends_of(transaction).map(|(key, _)| key).collect();
            for (key, list) in reads_of(transaction).filter(|(key, _)| appended.contains(key)) {
                let others = self.others(id, key, list);
                let first = *updates.entry((key, others)).or_insert(id);
                if first != id {
                    let story = format!("T{first} and T{id} both read {others:?} of k{key} and appended to it");
                    self.anomalies.push(Anomaly { kind: Kind::LostUpdate, story });
                }
            }
        }
    }

    /// Cycles, those of fewer sorts of edges first: each transaction is in the plainest only.
    fn cycles(&mut self) {
        let graph = self.graph();
        let mut told: HashSet<usize> = HashSet::new();
        let orders: [&[Dependency]; 3] = [&[], &[Dependency::Session], &[Dependency::Session, Dependency::RealTime]];
        for order in orders {
            for reads in 0..3 {
                let wanted = |dependency: Dependency| match dependency {
                    Dependency::Ww { .. } => true,
                    Dependency::Wr { .. } => reads >= 1,
                    Dependency::Rw { .. } => reads >= 2,
                    Dependency::Session | Dependency::RealTime => order.contains(&dependency),
                };
                for cycle in graph.cycles(wanted) {
                    if cycle.iter().all(|edge| !told.contains(&edge.from)) {
                        told.extend(cycle.iter().map(|edge| edge.from));
                        self.report(Kind::of_cycle(&cycle), story(&cycle, self.transactions));
                    }
                }
            }
        }
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new(self.transactions.iter().map(|transaction| transaction.level).collect());
        let writer = |key: Key, element: Element| {
            self.appends.get(&(key, element)).map(|append| append.transaction).filter(|writer| self.committed[*writer])
        };
        for (key, order) in &self.orders {
            for pair in order.windows(2) {
                if let [Some(from), Some(to)] = [pair[0], pair[1]].map(|element| writer(*key, element)) {
                    graph.add(from, to, Dependency::Ww { key: *key, before: pair[0], after: pair[1] });
                }
            }
        }
        for (id, transaction) in self.transactions.iter().enumerate().filter(|(id, _)| self.committed[*id]) {
            // A read that fits nowhere into the order is reported as such, and places nobody.
            for (key, list) in reads_of(transaction).filter(|(key, list)| self.order(*key).starts_with(list)) {
                if let Some(element) = self.others(id, key, list).last()
                    && let Some(from) = writer(key, *element)
                {
                    graph.add(from, id, Dependency::Wr { key, element: *element });
                }
                if let Some(missed) = self.order(key).get(list.len())
                    && let Some(to) = writer(key, *missed)
                {
                    graph.add(id, to, Dependency::Rw { key, missed: *missed });
                }
            }
        }
        self.add_order(&mut graph);
        graph
    }

    /// The edges of sessions and of real time: from those that were over, and not followed by another that was over as
    /// well, when a transaction began. The rest follows from these.
    fn add_order(&self, graph: &mut Graph) {
        let mut instants: Vec<(u64, bool, usize)> = Vec::new();
        for (id, transaction) in self.transactions.iter().enumerate().filter(|(id, _)| self.committed[*id]) {
            instants.extend([(transaction.invoked, false, id), (transaction.completed, true, id)]);
        }
        instants.sort_unstable();
        let mut over: Vec<usize> = Vec::new();
        let mut before: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut last_of_session: HashMap<u64, usize> = HashMap::new();
        for (_, is_end, id) in instants {
            if is_end {
                let preceding = before.remove(&id).unwrap_or_default();
                over.retain(|other| !preceding.contains(other));
                over.push(id);
                continue;
            }
            for other in &over {
                graph.add(*other, id, Dependency::RealTime);
            }
            if let Some(previous) = last_of_session.insert(self.transactions[id].session, id) {
                graph.add(previous, id, Dependency::Session);
            }
            before.insert(id, over.clone());
        }
    }
}
