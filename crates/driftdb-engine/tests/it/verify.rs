//! The chain of commits: whatever is changed in the past shows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driftdb_engine::{CommitDigest, Engine, IndexDefinition};
use driftdb_env::{Env, SimEnv};
use driftdb_store::{CommitBatch, NoSchemas, Period, Store, Write};
use driftdb_types::{ColumnId, CommitSeq, Interval, KeyRange, Lsn, SqlState, Stamp, TreeId, Value};

use crate::support::{
    DIR, begin, commit, create, definition, index, insert, meta, open, options, row, sim, statement, update,
};

/// A database with tables, indexes and changes of both, in base and history; its last commit's digest.
fn database(seed: u64) -> (SimEnv, Engine, CommitDigest) {
    let (sim, engine) = sim(seed);
    let mut schema = definition("t", true);
    schema.indexes.push(index("t_a", 1, false));
    let table = create(&engine, schema);
    let heap = create(&engine, definition("h", false));
    for n in 0..20 {
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(n, n % 3, "one")).unwrap();
        insert(&mut txn, &heap, row(n, n, "heap")).unwrap();
        commit(txn);
        if n % 5 == 4 {
            engine.store().flush().unwrap();
        }
    }
    let mut txn = begin(&engine);
    update(&mut txn, &table, |row| {
        matches!(row[0], Value::Int4(..7)).then(|| vec![row[0].clone(), row[1].clone(), Value::Null])
    })
    .unwrap();
    commit(txn);
    let mut txn = begin(&engine);
    let by_b = IndexDefinition { name: "h_b".to_owned(), columns: vec![ColumnId(2)], unique: false, constraint: false };
    statement(&mut txn, |txn| txn.create_index(heap.id, by_b.clone())).unwrap();
    commit(txn);
    let mut txn = begin(&engine);
    statement(&mut txn, |txn| txn.truncate(heap.id)).unwrap();
    commit(txn);
    engine.store().flush().unwrap();
    let digest = digest(&engine);
    (sim, engine, digest)
}

fn digest(engine: &Engine) -> CommitDigest {
    let view = engine.view();
    engine.digest(&view, view.stamp().seq).unwrap().unwrap()
}

#[test]
fn an_untouched_database_is_found_as_it_was_committed() {
    let (sim, engine, noted) = database(1);
    let mut txn = begin(&engine);
    let table = engine.catalog().table("t").unwrap().clone();
    insert(&mut txn, &table, row(100, 1, "later")).unwrap();
    commit(txn);
    let found = engine.verify(&[noted]).unwrap();
    assert_eq!((found.findings.as_slice(), found.more), (&[][..], 0));
    assert_eq!((found.commits, found.digest), (engine.stamp().seq.0, digest(&engine)));
    assert!(found.versions > 80);
    while engine.store().compact().unwrap() {}
    engine.close().unwrap();
    let engine = open(&sim.env);
    assert_eq!(engine.verify(&[noted, found.digest]).unwrap(), found);
}

#[test]
fn a_digest_of_another_history_is_not_found() {
    let (sim, engine, noted) = database(2);
    engine.close().unwrap();
    let fork = |insert_id: i32| {
        let disk = Arc::new(sim.disk.fork(7));
        let engine = open(&Env { disk, ..sim.env.clone() });
        let table = engine.catalog().table("t").unwrap().clone();
        let mut txn = begin(&engine);
        insert(&mut txn, &table, row(insert_id, 1, "fork")).unwrap();
        commit(txn);
        engine
    };
    let (one, other) = (fork(100), fork(101));
    assert_eq!(other.verify(&[noted]).unwrap().findings, Vec::<String>::new());
    let findings = other.verify(&[noted, digest(&one)]).unwrap().findings;
    assert!(matches!(&findings[..], [one] if one.contains("is not the one whose digest was noted")), "{findings:?}");
    let cut = open(&sim.env).verify(&[digest(&one)]).unwrap().findings;
    assert!(matches!(&cut[..], [one] if one.contains("is missing")), "{cut:?}");
}

type Writes = BTreeMap<Stamp, Vec<Write>>;

/// Every commit's writes, as the versions tell of them.
fn history(engine: &Engine, trees: &[TreeId]) -> Writes {
    let mut commits = Writes::new();
    let view = engine.view();
    for tree in trees {
        for version in view.versions(*tree, &KeyRange::all(), Period::All).unwrap() {
            let version = version.unwrap();
            let write = |payload| Write { tree: *tree, key: version.key.clone(), payload };
            commits.entry(version.from).or_default().push(write(Some(version.payload.clone())));
            if let Some(to) = version.to.filter(|_| version.deleted) {
                commits.entry(to).or_default().push(write(None));
            }
        }
    }
    commits
}

/// Writes base and history anew, with checksums and digests of their own, as somebody could who knows all formats.
fn forge(commits: &Writes) -> Engine {
    let sim = Env::sim(9);
    sim.env.disk.create_dir_all(Path::new(DIR)).unwrap();
    // The log of a database without commits, which the forged checkpoint is behind.
    open(&sim.env).close().unwrap();
    let store = Store::open(sim.env.clone(), Path::new(DIR), options().store, Arc::new(NoSchemas)).unwrap();
    for (stamp, writes) in commits {
        store.apply(&CommitBatch { stamp: *stamp, end_lsn: Lsn(0), writes });
    }
    store.flush().unwrap();
    store.close();
    open(&sim.env)
}

#[test]
fn a_past_that_was_written_anew_is_found() {
    let (_sim, engine, noted) = database(3);
    let table = engine.catalog().table("t").unwrap().clone();
    let mut trees = vec![TreeId::CATALOG, TreeId::COMMITS];
    trees.extend(engine.catalog().tables().flat_map(|of| of.indexes.iter().map(|index| index.id).chain([of.id])));
    trees.sort_unstable();
    let honest = history(&engine, &trees);
    assert_eq!(forge(&honest).verify(&[noted]).unwrap().findings, Vec::<String>::new());

    let forged = |change: &dyn Fn(&mut Writes)| {
        let mut commits = honest.clone();
        change(&mut commits);
        let findings = forge(&commits).verify(&[noted]).unwrap().findings;
        assert!(!findings.is_empty());
        findings.join("; ")
    };
    let of_commit = |commits: &mut Writes, seq: u64| {
        let (stamp, writes) = commits.iter().find(|(stamp, _)| stamp.seq == CommitSeq(seq)).unwrap();
        (*stamp, writes.clone())
    };
    let row_of = |writes: &[Write], tree| writes.iter().position(|write| write.tree == tree).unwrap();
    // Commit 5 inserted a row into each table; the first two made the tables.
    let text = forged(&|commits| {
        let (stamp, mut writes) = of_commit(commits, 5);
        let at = row_of(&writes, table.id);
        let mut payload = writes[at].payload.clone().unwrap().to_vec();
        *payload.last_mut().unwrap() ^= 1;
        writes[at].payload = Some(payload.into());
        commits.insert(stamp, writes);
    });
    assert!(text.contains("what commit 5 did to table \"t\""), "{text}");
    let text = forged(&|commits| {
        let (stamp, mut writes) = of_commit(commits, 6);
        writes.remove(row_of(&writes, table.indexes[0].id));
        commits.insert(stamp, writes);
    });
    assert!(text.contains("what commit 6 did to table \"t\""), "{text}");
    let text = forged(&|commits| {
        let (from, mut writes) = of_commit(commits, 7);
        let moved = writes.remove(row_of(&writes, table.id));
        commits.insert(from, writes);
        let (to, mut writes) = of_commit(commits, 8);
        writes.push(moved);
        commits.insert(to, writes);
    });
    assert!(text.contains("commit 7") && text.contains("commit 8"), "{text}");
    let text = forged(&|commits| {
        let (stamp, mut writes) = of_commit(commits, 9);
        let at = row_of(&writes, TreeId::COMMITS);
        let entry = String::from_utf8_lossy(writes[at].payload.as_ref().unwrap()).into_owned();
        assert!(entry.contains(&meta().user));
        let mut payload = writes[at].payload.clone().unwrap().to_vec();
        let user = payload.windows(6).position(|bytes| bytes == b"tester").unwrap();
        payload[user] = b'f';
        writes[at].payload = Some(payload.into());
        commits.insert(stamp, writes);
    });
    assert!(text.contains("commit 10 follows another commit 9"), "{text}");
    let text = forged(&|commits| {
        let last = *commits.keys().next_back().unwrap();
        commits.remove(&last);
    });
    assert!(text.contains("is missing"), "{text}");
}

/// Where retention has let versions go, the state from which on there is history stands for what was before: rows and definition.
#[test]
fn a_state_at_a_horizon_that_was_written_anew_is_found() {
    let (sim, engine) = sim(5);
    let mut schema = definition("t", true);
    schema.retention = Some(Interval { days: 1, ..Interval::default() });
    let table = create(&engine, schema);
    for round in 0..3 {
        let mut txn = begin(&engine);
        match round {
            0 => drop(insert(&mut txn, &table, row(1, 0, "one")).unwrap()),
            _ => drop(update(&mut txn, &table, |_| Some(row(1, round, "one"))).unwrap()),
        }
        commit(txn);
    }
    sim.clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(engine.collect_garbage().unwrap(), 1);
    assert_eq!(engine.view().horizon(table.id), CommitSeq(4));
    let noted = digest(&engine);
    let honest = history(&engine, &[TreeId::CATALOG, TreeId::COMMITS, TreeId::HORIZONS, table.id]);
    assert_eq!(forge(&honest).verify(&[noted]).unwrap().findings, Vec::<String>::new());
    let forged = |tree: TreeId, seq: u64, old: &[u8], new: &[u8]| {
        let mut commits = honest.clone();
        let (_, writes) = commits.iter_mut().find(|(stamp, _)| stamp.seq == CommitSeq(seq)).unwrap();
        let write = writes.iter_mut().find(|write| write.tree == tree).unwrap();
        let payload = write.payload.clone().unwrap();
        let at = payload.windows(old.len()).position(|bytes| bytes == old).unwrap();
        let changed = [&payload[..at], new, &payload[at + old.len()..]].concat();
        write.payload = Some(changed.into());
        forge(&commits).verify(&[noted]).unwrap().findings.join("; ")
    };
    let findings = forged(table.id, 4, b"one", b"two");
    assert!(findings.contains("the state of table \"t\""), "{findings}");
    let findings = forged(TreeId::CATALOG, 1, b"\"b\"", b"\"c\"");
    assert!(findings.contains("the state of table \"t\""), "{findings}");
    let findings = forged(TreeId::HORIZONS, 5, b"\"seq\":4", b"\"seq\":3");
    assert!(findings.contains("what commit 5 did to"), "{findings}");
}

#[test]
fn a_digest_is_noted_as_text() {
    let (_sim, _engine, noted) = database(4);
    assert_eq!(noted.to_string().parse::<CommitDigest>().unwrap(), noted);
    for wrong in ["", "5", "5:", "x:00", noted.to_string().trim_end_matches(|digit: char| digit.is_ascii_hexdigit())] {
        assert_eq!(wrong.parse::<CommitDigest>().unwrap_err().state, SqlState::INVALID_PARAMETER_VALUE, "{wrong}");
    }
}
