//! The database held against the model.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use driftdb_engine::{Engine, Transaction};
use driftdb_store::{Period, ReadPoint, StoreError, StoreView};
use driftdb_types::{CommitSeq, KeyRange, Stamp, TableSchema, TreeId, decode_row};

use crate::halt::{Halt, Result, hold};
use crate::model::{Keys, Model, Row, State, Table};

/// Every so many keys that a table ever had are read one by one, others at each commit.
const POINTS_STEP: usize = 7;

/// What a transaction sees: definitions, rows, indexes; of the keys that there ever were those that are not there either.
pub(crate) fn transaction(txn: &Transaction, state: &State, ever: &Keys) -> Result<()> {
    let catalog = txn.catalog();
    definitions(catalog.tables(), state, "in a transaction")?;
    for table in state.values() {
        let place = || format!("table {} in a transaction", table.schema.name);
        let scan = txn.scan(table.schema.id, &KeyRange::all(), false)?;
        rows(table, scan.map(|row| row.map(|row| (row.key, row.payload)).map_err(Halt::from)), place)?;
        let ever = ever.get(&table.schema.id).into_iter().flatten();
        let others = ever.filter(|key| !table.rows.contains_key(*key));
        for key in table.rows.keys().chain(others) {
            let found = txn.get(table.schema.id, key)?.map(|found| found.payload);
            row_is(table, key, found, place)?;
        }
        for index in &table.schema.indexes {
            let scan = txn.scan(index.id, &KeyRange::all(), false)?;
            let found: Result<Vec<_>, _> = scan.map(|entry| entry.map(|entry| (entry.key, entry.payload))).collect();
            let (found, expected) = (found?, table.entries(index));
            hold!(found == expected, "{}: index {} has {found:?}, not {expected:?}", place(), index.name);
        }
    }
    Ok(())
}

/// The newest view, which ends where the model does.
pub(crate) fn newest(engine: &Engine, model: &Model) -> Result<Arc<StoreView>> {
    let view = engine.view();
    hold!(view.stamp() == model.last(), "the last commit is {:?}, not {:?}", view.stamp(), model.last());
    Ok(view)
}

/// A view at these stamps.
pub(crate) fn at_stamps(
    engine: &Engine,
    view: &Arc<StoreView>,
    model: &Model,
    seqs: impl IntoIterator<Item = CommitSeq>,
) -> Result<()> {
    let ever = model.keys_ever();
    for seq in seqs {
        if let Some((stamp, state)) = model.at(seq) {
            at_stamp(engine, view, *stamp, state, &ever)?;
        }
    }
    Ok(())
}

/// Everything: every stamp, and the versions of every table over all time.
pub(crate) fn everything(engine: &Engine, model: &Model) -> Result<()> {
    let view = newest(engine, model)?;
    at_stamps(engine, &view, model, model.commits().iter().map(|(stamp, _)| stamp.seq))?;
    let trees: BTreeSet<TreeId> = model.commits().iter().flat_map(|(_, state)| state.keys().copied()).collect();
    trees.into_iter().try_for_each(|tree| versions(&view, model, tree))?;
    let verified = engine.verify(&[])?;
    hold!(verified.findings.is_empty(), "what is there is not what was committed: {:?}", verified.findings);
    Ok(())
}

fn at_stamp(engine: &Engine, view: &Arc<StoreView>, stamp: Stamp, state: &State, ever: &Keys) -> Result<()> {
    let catalog = engine.catalog_at(view, stamp.seq)?;
    definitions(catalog.tables(), state, &format!("at {}", stamp.seq))?;
    let at = ReadPoint::AsOf(stamp.seq);
    for table in state.values() {
        let place = || format!("table {} at {}", table.schema.name, stamp.seq);
        if stamp.seq < view.horizon(table.schema.id) {
            let trees = table.schema.indexes.iter().map(|index| index.id).chain([table.schema.id]);
            for scan in trees.map(|tree| view.scan(tree, &KeyRange::all(), at, false)) {
                let refused = matches!(scan, Err(StoreError::BeyondHorizon { .. }));
                hold!(refused, "{} is read beyond the horizon", place());
            }
            continue;
        }
        let scan = view.scan(table.schema.id, &KeyRange::all(), at, false)?;
        rows(table, scan.map(|row| row.map(|row| (row.key, row.payload)).map_err(Halt::from)), place)?;
        let keys = ever.get(&table.schema.id).into_iter().flatten();
        for key in keys.skip(stamp.seq.0 as usize % POINTS_STEP).step_by(POINTS_STEP) {
            row_is(table, key, view.get(table.schema.id, key, at)?.map(|found| found.payload), place)?;
        }
        for index in &table.schema.indexes {
            let scan = view.scan(index.id, &KeyRange::all(), at, false)?;
            let found: Result<Vec<_>, _> = scan.map(|entry| entry.map(|entry| (entry.key, entry.payload))).collect();
            let (found, expected) = (found?, table.entries(index));
            hold!(found == expected, "{}: index {} has {found:?}, not {expected:?}", place(), index.name);
        }
    }
    if stamp.seq != CommitSeq::ZERO {
        let record = engine.commit_record(view, stamp.seq)?;
        hold!(record.as_ref().is_some_and(|record| record.stamp == stamp), "commit {} is {record:?}", stamp.seq);
        let seq = engine.seq_at_time(view, stamp.time_us)?;
        hold!(seq == stamp.seq, "the time of commit {} is that of {seq}", stamp.seq);
    }
    Ok(())
}

fn definitions<'a>(found: impl Iterator<Item = &'a Arc<TableSchema>>, state: &State, place: &str) -> Result<()> {
    let found: Vec<_> = found.collect();
    let expected: Vec<_> = state.values().map(|table| &table.schema).collect();
    hold!(found == expected, "definitions {place}: {found:?}, not {expected:?}");
    Ok(())
}

/// One row, or that there is none.
fn row_is(table: &Table, key: &Bytes, found: Option<Bytes>, place: impl Fn() -> String) -> Result<()> {
    let found = found.map(|payload| decode_row(&table.schema, &payload)).transpose()?;
    let wanted = table.rows.get(key);
    hold!(found.as_ref() == wanted.map(Arc::as_ref), "{}: row {key:?} is {found:?}, not {wanted:?}", place());
    Ok(())
}

fn rows(table: &Table, found: impl Iterator<Item = Result<(Bytes, Bytes)>>, place: impl Fn() -> String) -> Result<()> {
    let mut expected = table.rows.iter();
    for found in found {
        let (key, payload) = found?;
        let found: (Bytes, Row) = (key, Arc::new(decode_row(&table.schema, &payload)?));
        let wanted = expected.next();
        let same = wanted.is_some_and(|(key, row)| *key == found.0 && *row == found.1);
        hold!(same, "{}: {found:?}, not {wanted:?}", place());
    }
    let missing = expected.next();
    hold!(missing.is_none(), "{}: {missing:?} is missing", place());
    Ok(())
}

/// The versions of a table, over all time, are those that the states at the stamps say.
fn versions(view: &Arc<StoreView>, model: &Model, tree: TreeId) -> Result<()> {
    let versions = view.versions(tree, &KeyRange::all(), Period::All)?.collect::<Result<Vec<_>, _>>()?;
    hold!(versions.is_sorted_by_key(|version| (&version.key, version.from)), "versions of {tree} are out of order");
    let table_at = |seq: CommitSeq| model.at(seq).and_then(|(_, state)| state.get(&tree));
    for version in &versions {
        let begun = model.at(version.from.seq).is_some_and(|(stamp, _)| *stamp == version.from);
        hold!(begun && version.to.is_none_or(|to| to > version.from), "version of {tree}: {version:?}");
        if let Some(table) = table_at(version.from.seq) {
            let row = decode_row(&table.schema, &version.payload)?;
            let expected = table.rows.get(&version.key);
            hold!(expected.is_some_and(|expected| **expected == row), "{version:?} of {tree} is not {expected:?}");
        }
        // A table that was dropped with the row in it says nothing of how the row ended.
        if let Some(table) = version.to.and_then(|to| table_at(to.seq)) {
            hold!(version.deleted != table.rows.contains_key(&version.key), "the end of {version:?} of {tree}");
        }
    }
    let horizon = view.horizon(tree);
    for (stamp, state) in model.commits().iter().filter(|(stamp, _)| stamp.seq >= horizon) {
        let Some(table) = state.get(&tree) else { continue };
        let lives = |from: CommitSeq, to: Option<Stamp>| from <= stamp.seq && to.is_none_or(|to| to.seq > stamp.seq);
        let alive = versions.iter().filter(|version| lives(version.from.seq, version.to)).map(|version| &version.key);
        hold!(alive.eq(table.rows.keys()), "versions of {tree} at {}", stamp.seq);
    }
    Ok(())
}
