//! Files with a flipped bit: reading gives an error, or what it gave before; never another answer, and no panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftdb_env::{Disk, OpenOptions};
use driftdb_store::{Period, ReadPoint, Store, StoreError, StoreView, Version, check};
use driftdb_types::{KeyRange, TreeId};

use crate::crash::fork;
use crate::harness::{DIR, Harness, apply};
use crate::schemas::{BYTES, Dice, ROWS};

/// Where the second page of a base begins with its checksum, and how much further the others do each.
const FIRST_SLOT: u64 = 4_096;
const SLOT_BYTES: usize = 4_100;

/// A store with several segments of history, all of whose commits are in its files.
fn flushed(seed: u64) -> Harness {
    let mut harness = Harness::new(seed);
    for round in 0..4 {
        for _ in 0..12 {
            harness.commit(12);
        }
        harness.store.flush().unwrap();
        if round == 2 {
            harness.store.compact().unwrap();
        }
    }
    harness.check_all();
    harness.store.close();
    harness
}

/// All that a store can be asked: each tree's current rows, and all of their versions; and each key by itself.
fn answers(view: &Arc<StoreView>, harness: &Harness) -> Answers {
    let scans = [ROWS, BYTES, TreeId(7)].into_iter().flat_map(|tree| {
        let now = view.scan(tree, &KeyRange::all(), ReadPoint::Latest, false).and_then(Iterator::collect);
        [now, view.versions(tree, &KeyRange::all(), Period::All).and_then(Iterator::collect)]
    });
    let middle = ReadPoint::AsOf(harness.model.commits[harness.model.commits.len() / 2].stamp.seq);
    let keys = harness.model.versions(harness.model.last().seq).into_keys();
    let gets = keys.flat_map(|(tree, key)| {
        [ReadPoint::Latest, middle].map(|at| view.get(tree, &key, at).map(|found| found.into_iter().collect()))
    });
    scans.chain(gets).collect()
}

type Answers = Vec<Result<Vec<Version>, StoreError>>;

/// What reading a copy gives, in which a bit of a byte of the file may be flipped; and how much the doctor finds in it.
fn damaged(harness: &Harness, path: &Path, flip: Option<(u64, u8)>) -> (Result<Answers, StoreError>, usize) {
    let sim = fork(&harness.sim, 1);
    if let Some((offset, bit)) = flip {
        assert!(sim.disk.flip_bit(path, offset, bit));
    }
    let findings = check(&sim.env, Path::new(DIR), harness.schemas.clone()).len();
    let opened = Store::open(sim.env.clone(), Path::new(DIR), harness.options.clone(), harness.schemas.clone());
    let read = opened.map(|store| {
        // As recovery does: what an earlier checkpoint does not have comes from the log.
        let checkpoint = store.checkpoint().stamp.seq;
        for commit in harness.model.commits.iter().filter(|commit| commit.stamp.seq > checkpoint) {
            apply(&store, commit);
        }
        store.publish();
        let answers = answers(&store.view(), harness);
        store.close();
        answers
    });
    (read, findings)
}

fn files(harness: &Harness) -> (PathBuf, Vec<PathBuf>) {
    let history = Path::new(DIR).join("history");
    let names = harness.sim.disk.list(&history).unwrap();
    (Path::new(DIR).join("base.redb"), names.into_iter().map(|name| history.join(name)).collect())
}

fn len(harness: &Harness, path: &Path) -> u64 {
    harness.sim.disk.open(path, OpenOptions::READ).unwrap().len().unwrap()
}

/// Flips a bit at each of the offsets; how many of the flips were seen.
fn flip_at(harness: &Harness, path: &Path, offsets: impl Iterator<Item = u64>, dice: &Dice) -> usize {
    let (fine, findings) = damaged(harness, path, None);
    let fine: Vec<_> = fine.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(findings, 0);
    let mut seen = 0;
    for offset in offsets {
        let bit = dice.below(8) as u8;
        let place = format!("bit {bit} of byte {offset} of {}", path.display());
        let (read, findings) = damaged(harness, path, Some((offset, bit)));
        let is_damage = |error: &StoreError| matches!(error, StoreError::Damaged { .. } | StoreError::Format { .. });
        let errors = match &read {
            Err(error) => vec![error],
            Ok(answers) => answers.iter().filter_map(|answer| answer.as_ref().err()).collect(),
        };
        assert!(errors.iter().all(|error| is_damage(error)), "{place}: {errors:?}");
        // Of redb's header a part is unused.
        let unseen = errors.is_empty() && path.ends_with("base.redb") && (4096..4096 + 320).contains(&offset);
        assert!(findings > 0 || unseen, "{place}: the doctor does not see it; reading does: {errors:?}");
        seen += usize::from(!errors.is_empty());
        for (got, expected) in read.iter().flatten().zip(&fine) {
            assert!(got.as_ref().is_err() || got.as_ref().ok() == Some(expected), "{place}: a wrong answer");
        }
    }
    seen
}

#[test]
fn a_flipped_bit_of_the_base_is_an_error_and_not_an_answer() {
    let harness = flushed(11);
    let dice = Dice::new(11);
    let (base, _) = files(&harness);
    let bytes = len(&harness, &base);
    let any = (0..400).map(|_| dice.below(bytes)).collect::<Vec<_>>();
    assert!(flip_at(&harness, &base, any.into_iter(), &dice) > 0);
    // The header, and redb's.
    assert_eq!(flip_at(&harness, &base, 0..16, &dice), 16);
    flip_at(&harness, &base, 4096..4096 + 320, &dice);
}

#[test]
fn a_flipped_bit_of_history_is_an_error_and_not_an_answer() {
    let harness = flushed(12);
    let dice = Dice::new(12);
    let (_, segments) = files(&harness);
    assert!(segments.len() > 1, "{segments:?}");
    for path in segments {
        let bytes = len(&harness, &path);
        let any = (0..40).map(|_| dice.below(bytes)).collect::<Vec<_>>();
        assert_eq!(flip_at(&harness, &path, any.into_iter(), &dice), 40);
    }
}

/// Whatever page is damaged, of a base as each flush leaves it: what is left is copied, or it is said that nothing can be. redb,
/// which writes when a base is closed, is not left with a damaged one.
#[test]
fn a_base_with_any_page_damaged_is_salvaged_or_refused() {
    let base = Path::new(DIR).join("base.redb");
    let mut harness = Harness::new(0);
    let (mut copied, mut refused) = (0, 0);
    for round in 0..12 {
        harness.commit(1);
        harness.store.flush().unwrap();
        if round % 2 == 1 {
            harness.reopen();
        }
        let len = harness.sim.disk.open(&base, OpenOptions::READ).unwrap().len().unwrap();
        for page in (FIRST_SLOT..len).step_by(SLOT_BYTES) {
            let sim = fork(&harness.sim, 1);
            assert!(sim.disk.flip_bit(&base, page + 200, 2));
            let to = Path::new("/copy");
            sim.disk.create_dir_all(to).unwrap();
            match driftdb_store::salvage(&sim.env, Path::new(DIR), to) {
                Ok(_) => copied += 1,
                Err(StoreError::Damaged { .. }) => refused += 1,
                Err(other) => panic!("page at {page}: {other}"),
            }
        }
    }
    assert!(copied > 0 && refused > 0, "{copied} copied, {refused} refused");
}
