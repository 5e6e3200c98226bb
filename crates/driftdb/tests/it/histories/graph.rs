//! The dependency graph of a history, and cycles in it.
//!
//! Adya's dependencies ("Weak Consistency", 1999): T -ww-> U where U's append follows T's, T -wr-> U where U read T's
//! append, T -rw-> U where T read a list that lacks U's append; and besides, T -> U where T was over before U began, in
//! one session or in real time. Were transactions run one by one, all of these would point forward, so a cycle shows
//! that they were not.
//!
//! Weaker levels forbid only some cycles, and which is told by looking at two edges at a time. In snapshot isolation
//! every edge T -> U but rw says that T committed before U's snapshot, and T -rw-> U says that T's snapshot precedes U's
//! commit; so a cycle in which no two rw edges are adjacent contradicts itself (Fekete et al., "Making Snapshot
//! Isolation Serializable", 2005). In READ COMMITTED each statement sees what was committed when it began, so an rw edge
//! says something only behind an edge of real time. Hence the search is over pairs of a transaction and the sort of the
//! edge that led to it: an rw edge is taken where the transaction's level gives it a meaning behind that sort. Strong
//! components are Tarjan's; within one, the shortest cycle with the fewest rw edges is shown.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::history::{Element, Key, Level};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependency {
    Ww { key: Key, before: Element, after: Element },
    Wr { key: Key, element: Element },
    Rw { key: Key, missed: Element },
    Session,
    RealTime,
}

/// The sorts of edges that decide which may follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// ww and wr.
    Data,
    Rw,
    /// Session and real time.
    Order,
}

const SORTS: usize = 3;

impl Dependency {
    fn sort(self) -> Sort {
        match self {
            Dependency::Ww { .. } | Dependency::Wr { .. } => Sort::Data,
            Dependency::Rw { .. } => Sort::Rw,
            Dependency::Session | Dependency::RealTime => Sort::Order,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) dependency: Dependency,
}

/// Edges from each transaction, and its level.
pub(super) struct Graph {
    edges: Vec<Vec<Edge>>,
    levels: Vec<Level>,
}

/// A transaction, and the sort of the edge it was reached by.
type State = usize;

/// How many edges are tried in the search for a component's shortest cycle before the best so far is taken.
const TRIED_MAX: usize = 200_000;

impl Graph {
    pub(super) fn new(levels: Vec<Level>) -> Graph {
        Graph { edges: vec![Vec::new(); levels.len()], levels }
    }

    pub(super) fn add(&mut self, from: usize, to: usize, dependency: Dependency) {
        if from != to {
            self.edges[from].push(Edge { from, to, dependency });
        }
    }

    /// A short forbidden cycle of each strong component, made of the dependencies that `wanted` lets through.
    pub(super) fn cycles(&self, wanted: impl Fn(Dependency) -> bool) -> Vec<Vec<Edge>> {
        let steps = |state: State| self.steps(state, &wanted);
        let components = components(self.edges.len() * SORTS, |state| steps(state).map(|(next, _)| next).collect());
        components.iter().map(|component| shortest(component, &steps)).collect()
    }

    /// The edges that may be taken from a state, and where they lead.
    fn steps(&self, state: State, wanted: impl Fn(Dependency) -> bool) -> impl Iterator<Item = (State, Edge)> {
        let (transaction, by) = (state / SORTS, state % SORTS);
        let rw_means_something = match self.levels[transaction] {
            Level::Serializable => true,
            Level::RepeatableRead => by != Sort::Rw as usize,
            Level::ReadCommitted => by == Sort::Order as usize,
        };
        self.edges[transaction]
            .iter()
            .filter(move |edge| wanted(edge.dependency) && (rw_means_something || edge.dependency.sort() != Sort::Rw))
            .map(|edge| (edge.to * SORTS + edge.dependency.sort() as usize, *edge))
    }
}

/// Tarjan's strong components with more than one state. It keeps its own stack: histories are longer than threads'.
fn components(states: usize, next: impl Fn(State) -> Vec<State>) -> Vec<Vec<State>> {
    const UNSEEN: usize = usize::MAX;
    let (mut index, mut low, mut on_stack) = (vec![UNSEEN; states], vec![0; states], vec![false; states]);
    let (mut stack, mut found, mut count) = (Vec::new(), Vec::new(), 0);
    for root in 0..states {
        if index[root] != UNSEEN {
            continue;
        }
        let mut calls: Vec<(State, Vec<State>)> = Vec::new();
        let mut entered = Some(root);
        loop {
            if let Some(state) = entered.take() {
                (index[state], low[state], on_stack[state]) = (count, count, true);
                count += 1;
                stack.push(state);
                calls.push((state, next(state)));
            }
            let Some((state, remaining)) = calls.last_mut() else { break };
            let state = *state;
            if let Some(to) = remaining.pop() {
                if index[to] == UNSEEN {
                    entered = Some(to);
                } else if on_stack[to] {
                    low[state] = low[state].min(index[to]);
                }
                continue;
            }
            calls.pop();
            if let Some((caller, _)) = calls.last() {
                low[*caller] = low[*caller].min(low[state]);
            }
            if low[state] == index[state] {
                let begin = stack.iter().rposition(|member| *member == state).unwrap();
                let component = stack.split_off(begin);
                component.iter().for_each(|member| on_stack[*member] = false);
                if component.len() > 1 {
                    found.push(component);
                }
            }
        }
    }
    found
}

/// The cycle of a component with the fewest rw edges, and of those the shortest.
fn shortest<I>(component: &[State], steps: &impl Fn(State) -> I) -> Vec<Edge>
where
    I: Iterator<Item = (State, Edge)>,
{
    let within: HashMap<State, Vec<(State, Edge)>> = {
        let members: HashSet<State> = component.iter().copied().collect();
        component.iter().map(|state| (*state, steps(*state).filter(|(to, _)| members.contains(to)).collect())).collect()
    };
    let (mut tried, mut best) = (0, None);
    for begin in component {
        let (cost, cycle) = shortest_through(*begin, &within, &mut tried);
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, cycle));
        }
        if tried > TRIED_MAX {
            break;
        }
    }
    best.expect("a component has members").1
}

/// The number of rw edges, then of all.
type Cost = (usize, usize);

/// Dijkstra's algorithm from a state back to itself.
fn shortest_through(begin: State, within: &HashMap<State, Vec<(State, Edge)>>, tried: &mut usize) -> (Cost, Vec<Edge>) {
    let mut reached: HashMap<State, (Cost, State, Edge)> = HashMap::new();
    let mut queue = BinaryHeap::from([Reverse(((0, 0), begin))]);
    while let Some(Reverse((cost, state))) = queue.pop() {
        if state == begin && cost > (0, 0) {
            break;
        }
        for (to, edge) in &within[&state] {
            *tried += 1;
            let cost = (cost.0 + usize::from(edge.dependency.sort() == Sort::Rw), cost.1 + 1);
            if reached.get(to).is_none_or(|(known, ..)| cost < *known) {
                reached.insert(*to, (cost, state, *edge));
                queue.push(Reverse((cost, *to)));
            }
        }
    }
    let cost = reached[&begin].0;
    let (mut cycle, mut state) = (Vec::new(), begin);
    loop {
        let (_, previous, edge) = reached[&state];
        cycle.push(edge);
        state = previous;
        if state == begin {
            cycle.reverse();
            return (cost, cycle);
        }
    }
}
