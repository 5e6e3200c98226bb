//! Verification: whether the row versions that are there are those that were committed.
//!
//! The chain of commits ([`crate::chain`]) is computed again from the first commit to the last, from nothing but the tree of
//! commits; and what each commit did to each table, from nothing but the row versions. They come in the order of tree, key and
//! time, and so for each commit in the order in which its writes were folded: one walk over all versions does for as many
//! commits as there is memory for one digest each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use driftdb_store::{Period, ReadPoint, Store, StoreView, Version};
use driftdb_types::{CommitSeq, Digest, Error, KeyRange, Result, SqlState, TreeId};

use crate::catalog::KnownTrees;
use crate::chain::{fold, owner_of, write_digest};
use crate::commits::entry_digest;
use crate::erase::{Places, certificates, fold_erased};
use crate::record::{CommitRecord, decode_entry};
use crate::retention::{Horizon, horizons, state_digest};

/// How many tables of commits are compared in one walk over all versions. Each takes some 130 bytes.
const PASS_MAX: usize = 1_000_000;
/// No more findings than this are told.
const FINDINGS_MAX: usize = 20;

/// A commit's digest, as it can be noted down: `seq:digest`. It stands for that commit and for all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitDigest {
    /// The commit; [`CommitSeq::ZERO`] before the first.
    pub seq: CommitSeq,
    /// Of its entry.
    pub digest: Digest,
}

impl fmt::Display for CommitDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.digest)
    }
}

impl FromStr for CommitDigest {
    type Err = Error;

    /// 22023 when it is none.
    fn from_str(text: &str) -> Result<CommitDigest> {
        let parts = text.trim().split_once(':');
        let parsed = parts.and_then(|(seq, digest)| {
            Some(CommitDigest { seq: CommitSeq(seq.parse().ok()?), digest: digest.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("\"{text}\" is no commit's digest"))
                .hint("driftdb_digest() gives one: a commit's number, a colon and 64 hexadecimal digits.")
        })
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// How many commits there are.
    pub commits: u64,
    /// How many row versions, index entries and definitions were compared with what the commits say.
    pub versions: u64,
    /// The newest commit's digest.
    pub digest: CommitDigest,
    /// The tables of which some commit did not do what is there.
    pub tables: BTreeSet<TreeId>,
    /// What is not as it was committed.
    pub findings: Vec<String>,
    /// How many findings there are beyond those.
    pub more: u64,
}

impl Verification {
    fn found(&mut self, what: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        } else {
            self.more += 1;
        }
    }
}

/// Verifies everything in a view, and that it holds what was `noted` earlier.
pub(crate) fn verify(store: &Store, known: &KnownTrees, noted: &[CommitDigest]) -> Result<Verification> {
    let view = &store.view();
    let mut found = Verification::default();
    let horizons = horizons(view)?;
    check_certificates(&mut found, store, view, known)?;
    let mut pass = Pass { horizons: &horizons, first: CommitSeq(1), last: CommitSeq::ZERO, tables: HashMap::new() };
    for entry in view.scan(TreeId::COMMITS, &KeyRange::all(), ReadPoint::Latest, false)? {
        let entry = entry?;
        let (commit, _) = decode_entry(&entry.payload)?;
        let before = found.digest;
        found.digest = CommitDigest { seq: commit.stamp.seq, digest: entry_digest(&entry.payload) };
        found.commits += 1;
        check_link(&mut found, before, &entry, &commit);
        let digest = found.digest;
        for other in noted.iter().filter(|other| other.seq == digest.seq && **other != digest) {
            let what = format!("commit {} is not the one whose digest was noted: {}", other.seq, other.digest);
            found.found(what);
        }
        pass.expect(&commit);
        if pass.tables.len() >= PASS_MAX {
            pass.finish(&mut found, store, view, known)?;
        }
    }
    pass.finish(&mut found, store, view, known)?;
    for (table, horizon) in &horizons {
        if state_digest(view, *table, &known.trees_of(*table), horizon.stamp.seq)? != horizon.state {
            let what = format!("the state of {} as of commit {}", known.describe(*table), horizon.stamp.seq);
            found.found(format!("{what}, where its retention begins, is not what is there"));
        }
    }
    let last = found.digest.seq;
    for other in noted.iter().filter(|other| other.seq > last) {
        let what = format!("commit {}, whose digest was noted, is missing: the last one is {last}", other.seq);
        found.found(what);
    }
    Ok(found)
}

/// Whether the digests that are kept of erased writes are those that the certificates say.
fn check_certificates(
    found: &mut Verification,
    store: &Store,
    view: &Arc<StoreView>,
    known: &KnownTrees,
) -> Result<()> {
    let mut digests: BTreeMap<u64, Digest> = BTreeMap::new();
    for tree in known.all_trees().into_keys() {
        for write in store.erased_writes(tree)? {
            let digest = digests.entry(write.erasure).or_default();
            *digest = fold_erased(*digest, &write);
        }
    }
    for (number, certificate) in certificates(view)? {
        if digests.remove(&number).unwrap_or_default() != certificate.digest {
            found.found(format!("what is kept of erasure {number} is not what its certificate says"));
        }
    }
    for number in digests.into_keys() {
        found.found(format!("erasure {number} has no certificate"));
    }
    Ok(())
}

/// Whether an entry of the tree of commits follows the one before it.
fn check_link(found: &mut Verification, before: CommitDigest, entry: &Version, commit: &CommitRecord) {
    let seq = commit.stamp.seq;
    if seq != before.seq.next() || entry.key.as_ref() != seq.0.to_be_bytes() || entry.from != commit.stamp {
        found.found(format!("the commit after {} says that it is {seq}, of another place", before.seq));
    }
    if commit.previous != before.digest {
        found.found(format!("commit {seq} follows another commit {} than the one that is there", before.seq));
    }
}

/// What a table's part in a commit is to be, and what of it has come so far.
struct Contents {
    expected: Digest,
    seen: Digest,
}

/// Some commits, whose contents are compared in one walk over all versions. Before the horizon of a table there is nothing left
/// to compare but its state there.
struct Pass<'h> {
    horizons: &'h HashMap<TreeId, Horizon>,
    first: CommitSeq,
    last: CommitSeq,
    tables: HashMap<(CommitSeq, TreeId), Contents>,
}

impl Pass<'_> {
    fn is_beyond(&self, table: TreeId, seq: CommitSeq) -> bool {
        self.horizons.get(&table).is_some_and(|horizon| seq <= horizon.stamp.seq)
    }

    fn expect(&mut self, commit: &CommitRecord) {
        let seq = commit.stamp.seq;
        self.last = seq;
        for of in &commit.contents {
            if !self.is_beyond(of.table, seq) {
                self.tables.insert((seq, of.table), Contents { expected: of.digest, seen: Digest::ZERO });
            }
        }
    }

    /// Walks over all versions of the time, compares, and is empty again.
    fn finish(
        &mut self,
        found: &mut Verification,
        store: &Store,
        view: &Arc<StoreView>,
        known: &KnownTrees,
    ) -> Result<()> {
        let (start, end) = (CommitSeq(self.first.0.saturating_sub(1)), self.last.next());
        for (tree, table) in known.all_trees() {
            let mut places = Places::of(store.erased_writes(tree)?);
            for version in view.versions_left(tree, &KeyRange::all(), Period::Overlaps { start, end })? {
                let version = version?;
                let owner = owner_of(tree, &version.key, |_| Some(table));
                found.versions += 1;
                let mut see = |seq, payload: Option<&[u8]>| {
                    for before in places.next(seq).into_iter().flat_map(|(before, _)| before) {
                        self.see(found, seq, owner, || before.digest);
                    }
                    self.see(found, seq, owner, || write_digest(tree, &version.key, payload));
                };
                see(version.from.seq, Some(&version.payload));
                if let Some(to) = version.to.filter(|_| version.deleted) {
                    see(to.seq, None);
                }
            }
            for erased in places.rest() {
                self.see(found, erased.seq, table, || erased.digest);
            }
        }
        let mut wrong: Vec<_> =
            self.tables.drain().filter(|(_, of)| of.seen != of.expected).map(|(place, _)| place).collect();
        self.first = self.last.next();
        wrong.sort_unstable();
        for (seq, table) in wrong {
            found.tables.insert(table);
            found.found(format!("what commit {seq} did to {} is not what is there", known.describe(table)));
        }
        Ok(())
    }

    /// A write of this commit to one of this table's trees.
    fn see(&mut self, found: &mut Verification, seq: CommitSeq, table: TreeId, write: impl FnOnce() -> Digest) {
        if seq < self.first || seq > self.last || self.is_beyond(table, seq) {
            return;
        }
        match self.tables.get_mut(&(seq, table)) {
            Some(of) => of.seen = fold(of.seen, write()),
            None => found.found(format!("a version in table {table} says that commit {seq} wrote it, which did not")),
        }
    }
}
