//! The checker on histories made by hand, each with one thing wrong or nothing, and on those of a database in memory.

use std::collections::HashSet;

use proptest::prelude::*;

use super::anomaly::{Cycle, Kind, Order};
use super::checker::check;
use super::executor::{Executor, Fault, Schedule};
use super::history::{Element, Key, Level, Op, Outcome, Transaction};

use Level::{ReadCommitted, RepeatableRead, Serializable};
use Outcome::{Aborted, Committed, Unknown};

const LEVELS: &[Level] = &[ReadCommitted, RepeatableRead, Serializable];

fn append(key: Key, element: Element) -> Op {
    Op::Append(key, element)
}

fn read(key: Key, list: &[Element]) -> Op {
    Op::Read(key, list.to_vec())
}

/// A transaction in a session of its own, from one instant to another.
fn over(invoked: u64, completed: u64, outcome: Outcome, ops: Vec<Op>) -> Transaction {
    Transaction { session: invoked, level: ReadCommitted, ops, invoked, completed, outcome }
}

/// Committed transactions at the same time.
fn concurrent<const N: usize>(ops: [Vec<Op>; N]) -> Vec<Transaction> {
    (0..).zip(ops).map(|(session, ops)| over(session, 100 + session, Committed, ops)).collect()
}

/// What is found when all transactions are of a level.
fn found(level: Level, mut history: Vec<Transaction>) -> Vec<Kind> {
    history.iter_mut().for_each(|transaction| transaction.level = level);
    let mut kinds: Vec<Kind> = check(&history).into_iter().map(|anomaly| anomaly.kind).collect();
    kinds.dedup();
    kinds
}

/// Checks what is found at READ COMMITTED, REPEATABLE READ and SERIALIZABLE.
#[track_caller]
fn expect(history: Vec<Transaction>, kinds: [&[Kind]; 3]) {
    for (level, kinds) in LEVELS.iter().zip(kinds) {
        assert_eq!(found(*level, history.clone()), kinds, "{level:?}");
    }
}

#[track_caller]
fn expect_everywhere(history: Vec<Transaction>, kinds: &[Kind]) {
    expect(history, [kinds; 3]);
}

#[test]
fn clean_histories_are_clean() {
    expect_everywhere(Vec::new(), &[]);
    expect_everywhere(
        vec![
            over(1, 2, Committed, vec![append(1, 1), read(1, &[1]), append(1, 2), read(1, &[1, 2])]),
            over(3, 6, Committed, vec![read(1, &[1, 2]), append(2, 3), read(1, &[1, 2])]),
            over(4, 5, Aborted, vec![read(1, &[1, 2]), append(1, 4), read(1, &[1, 2, 4])]),
            over(7, 8, Committed, vec![read(2, &[3]), read(1, &[1, 2])]),
        ],
        &[],
    );
}

#[test]
fn unknown_outcomes_are_either_wholly() {
    let unknown = || over(1, 2, Unknown, vec![append(1, 1), append(2, 2)]);
    expect_everywhere(vec![unknown(), over(3, 4, Committed, vec![read(1, &[]), read(2, &[])])], &[]);
    expect_everywhere(vec![unknown(), over(3, 4, Committed, vec![read(1, &[1]), read(2, &[2])])], &[]);
    expect_everywhere(vec![unknown(), over(3, 4, Committed, vec![read(1, &[1]), read(2, &[])])], &[Kind::LostAppend]);
}

#[test]
fn reads_of_what_is_not_there_are_found() {
    expect_everywhere(concurrent([vec![read(1, &[7])]]), &[Kind::GarbageRead]);
    expect_everywhere(concurrent([vec![append(1, 1)], vec![read(1, &[1, 1])]]), &[Kind::DuplicateElement]);
    let aborted = || over(1, 2, Aborted, vec![append(1, 1)]);
    expect_everywhere(vec![aborted(), over(3, 4, Committed, vec![read(1, &[1])])], &[Kind::AbortedRead]);
    let undone = over(1, 2, Committed, vec![Op::Undone(1, 1)]);
    expect_everywhere(vec![undone, over(3, 4, Committed, vec![read(1, &[1])])], &[Kind::AbortedRead]);
    let behind = over(3, 4, Committed, vec![append(1, 2)]);
    let history = vec![aborted(), behind, over(5, 6, Committed, vec![read(1, &[1, 2])])];
    expect_everywhere(history, &[Kind::AbortedRead, Kind::DirtyUpdate]);
    // Nor may a transaction see it that is aborted itself.
    expect_everywhere(vec![aborted(), over(3, 4, Aborted, vec![read(1, &[1])])], &[Kind::AbortedRead]);
}

#[test]
fn intermediate_reads_are_found() {
    let single = Kind::Cycle(Cycle::G1c, Order::Data);
    let history = concurrent([vec![append(1, 1), append(1, 2)], vec![read(1, &[1])], vec![read(1, &[1, 2])]]);
    assert_eq!(found(ReadCommitted, history.clone()), [Kind::IntermediateRead]);
    assert!(found(RepeatableRead, history).contains(&Kind::IntermediateRead));
    // Between two appends of one transaction another's was put.
    let history = concurrent([vec![append(1, 1), append(1, 3)], vec![append(1, 2)], vec![read(1, &[1, 2, 3])]]);
    let kinds = found(ReadCommitted, history);
    assert!(kinds.contains(&Kind::Cycle(Cycle::G0, Order::Data)) && !kinds.contains(&single), "{kinds:?}");
}

#[test]
fn other_orders_for_others_are_found() {
    let history = concurrent([vec![append(1, 1)], vec![append(1, 2)], vec![read(1, &[1, 2])], vec![read(1, &[2])]]);
    expect_everywhere(history, &[Kind::IncompatibleOrder]);
}

#[test]
fn lost_appends_are_found() {
    let history =
        |invoked| vec![over(1, 5, Committed, vec![append(1, 1)]), over(invoked, 9, Committed, vec![read(1, &[])])];
    expect_everywhere(history(6), &[Kind::LostAppend]);
    // Who began before it was acknowledged need not see it.
    expect_everywhere(history(4), &[]);
}

#[test]
fn contradictions_are_found() {
    let own = concurrent([vec![append(1, 1), read(1, &[])], vec![read(1, &[1])]]);
    assert_eq!(found(ReadCommitted, own), [Kind::Internal]);
    let shrunk = concurrent([vec![append(1, 1)], vec![read(1, &[1]), read(1, &[])]]);
    assert_eq!(found(ReadCommitted, shrunk), [Kind::Internal]);
    let grown = concurrent([vec![append(1, 1)], vec![read(1, &[]), read(1, &[1])]]);
    let single = Kind::Cycle(Cycle::GSingle, Order::Data);
    expect(grown, [&[], &[Kind::Internal, single], &[Kind::Internal, single]]);
}

#[test]
fn write_cycles_are_found() {
    let g0 = concurrent([
        vec![append(1, 1), append(2, 2)],
        vec![append(1, 3), append(2, 4)],
        vec![read(1, &[1, 3]), read(2, &[4, 2])],
    ]);
    for level in LEVELS {
        assert!(found(*level, g0.clone()).contains(&Kind::Cycle(Cycle::G0, Order::Data)));
    }
    let g1c = concurrent([vec![append(1, 1), read(2, &[2])], vec![append(2, 2), read(1, &[1])]]);
    expect_everywhere(g1c, &[Kind::Cycle(Cycle::G1c, Order::Data)]);
}

#[test]
fn skewed_reads_are_found() {
    // One transaction's two appends, of which a reader sees one.
    let history =
        concurrent([vec![append(1, 1), append(2, 2)], vec![read(1, &[1]), read(2, &[])], vec![read(2, &[2])]]);
    let single = [Kind::Cycle(Cycle::GSingle, Order::Data)];
    expect(history, [&[], &single, &single]);
}

#[test]
fn lost_updates_are_found() {
    let history =
        concurrent([vec![read(1, &[]), append(1, 1)], vec![read(1, &[]), append(1, 2)], vec![read(1, &[1, 2])]]);
    let kinds = [Kind::LostUpdate, Kind::Cycle(Cycle::GSingle, Order::Data)];
    expect(history, [&[], &kinds, &kinds]);
}

#[test]
fn write_skew_is_found_where_it_is_forbidden() {
    let history = concurrent([
        vec![read(1, &[]), append(2, 1)],
        vec![read(2, &[]), append(1, 2)],
        vec![read(1, &[2]), read(2, &[1])],
    ]);
    expect(history, [&[], &[], &[Kind::Cycle(Cycle::G2Item, Order::Data)]]);
}

#[test]
fn the_long_fork_is_found() {
    // Two readers disagree about which of two appends came first: no two rw edges are adjacent.
    let history = concurrent([
        vec![append(1, 1)],
        vec![append(2, 2)],
        vec![read(1, &[1]), read(2, &[])],
        vec![read(1, &[]), read(2, &[2])],
        vec![read(1, &[1]), read(2, &[2])],
    ]);
    let fork = [Kind::Cycle(Cycle::GNonadjacent, Order::Data)];
    expect(history, [&[], &fork, &fork]);
}

#[test]
fn stale_reads_are_found_at_every_level() {
    let history = |session| {
        let mut stale = over(3, 4, Committed, vec![read(1, &[])]);
        stale.session = session;
        vec![over(1, 2, Committed, vec![append(1, 1)]), stale, over(0, 9, Committed, vec![read(1, &[1])])]
    };
    expect_everywhere(history(7), &[Kind::Cycle(Cycle::GSingle, Order::RealTime)]);
    expect_everywhere(history(1), &[Kind::Cycle(Cycle::GSingle, Order::Session)]);
}

#[test]
fn a_skew_against_real_time_is_found_where_it_is_forbidden() {
    // T0 does not see T1, T1 does not see T2, and T2 was over before T0 began, which SERIALIZABLE has to keep to.
    let history = vec![
        over(5, 8, Committed, vec![read(1, &[]), append(3, 9)]),
        over(1, 9, Committed, vec![append(1, 1), read(2, &[])]),
        over(2, 3, Committed, vec![append(2, 2)]),
        over(10, 11, Committed, vec![read(1, &[1]), read(2, &[2]), read(3, &[9])]),
    ];
    expect(history, [&[], &[], &[Kind::Cycle(Cycle::G2Item, Order::RealTime)]]);
}

#[test]
fn levels_may_be_mixed() {
    let mut history = concurrent([
        vec![read(1, &[]), append(2, 1)],
        vec![read(2, &[]), append(1, 2)],
        vec![read(1, &[2]), read(2, &[1])],
    ]);
    // One of the two being REPEATABLE READ is enough for write skew.
    history[0].level = Serializable;
    history[1].level = RepeatableRead;
    assert!(check(&history).is_empty());
    history[1].level = Serializable;
    let anomalies = check(&history);
    assert_eq!(anomalies.len(), 1);
    let story = anomalies[0].to_string();
    assert!(story.starts_with("G2-item: ") && story.contains("T0 read k1 without the 2 that T1 appended"), "{story}");
}

fn kinds(history: &[Transaction]) -> HashSet<Kind> {
    check(history).into_iter().map(|anomaly| anomaly.kind).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_by_one_is_clean(seed: u64) {
        let mut history = Executor::run(seed, LEVELS, Schedule::Serial, None, 120);
        history.iter_mut().for_each(|transaction| transaction.level = Serializable);
        prop_assert!(check(&history).is_empty());
    }

    #[test]
    fn a_right_database_is_clean(seed: u64, level in 0..4_usize) {
        let levels = LEVELS.get(level..=level).unwrap_or(LEVELS);
        let history = Executor::run(seed, levels, Schedule::Interleaved, None, 120);
        prop_assert!(check(&history).is_empty(), "{:?}", check(&history));
    }
}

/// What is found in 24 histories of a database; each has something wrong.
#[track_caller]
fn found_in(levels: &'static [Level], claimed: Level, fault: Option<Fault>) -> HashSet<Kind> {
    let mut found = HashSet::new();
    for seed in 0..24 {
        let mut history = Executor::run(seed, levels, Schedule::Interleaved, fault, 200);
        history.iter_mut().for_each(|transaction| transaction.level = claimed);
        let kinds = kinds(&history);
        assert!(!kinds.is_empty(), "seed {seed}: nothing found");
        found.extend(kinds);
    }
    found
}

#[test]
fn a_broken_database_is_not_clean() {
    use Fault::{BlindToOwn, DirtyReads, HalfCommits, KeepAborted, NoFirstUpdaterWins, Overwrite, StaleSnapshots};
    let stale = Kind::Cycle(Cycle::GSingle, Order::RealTime);
    for (fault, expected) in [
        (NoFirstUpdaterWins, Kind::LostUpdate),
        (Overwrite, Kind::LostAppend),
        (DirtyReads, Kind::AbortedRead),
        (BlindToOwn, Kind::Internal),
        (StaleSnapshots, stale),
        (KeepAborted, Kind::AbortedRead),
        (HalfCommits, Kind::LostAppend),
    ] {
        let found = found_in(&[RepeatableRead], RepeatableRead, Some(fault));
        assert!(found.contains(&expected), "{fault:?}: {found:?}");
    }
}

#[test]
fn a_weaker_level_than_claimed_is_found() {
    let found = found_in(&[RepeatableRead], Serializable, None);
    assert!(found.iter().all(|kind| matches!(kind, Kind::Cycle(Cycle::G2Item, _))), "{found:?}");
    let found = found_in(&[ReadCommitted], RepeatableRead, None);
    assert!(found.contains(&Kind::Cycle(Cycle::GSingle, Order::Data)), "{found:?}");
}
