//! Definitions, changed in transactions and kept in history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use driftdb_engine::{Catalog, IndexDefinition, Isolation, NamedObject};
use driftdb_store::ReadPoint;
use driftdb_types::{
    Column, ColumnId, CommitSeq, DataType, KeyRange, SqlState, TableSchema, TreeId, Value, decode_row,
};

use crate::constraints::check_indexes;
use crate::support::*;

fn on_a(name: &str, unique: bool) -> IndexDefinition {
    IndexDefinition { name: name.to_owned(), columns: vec![ColumnId(1)], unique, constraint: unique }
}

#[test]
fn a_table_is_made_used_and_dropped_in_one_transaction() {
    let (_sim, engine) = sim(40);
    let mut txn = begin(&engine);
    let table = txn.create_table(definition("t", true)).unwrap();
    insert(&mut txn, &table, row(1, 1, "")).unwrap();
    assert!(engine.catalog().table("t").is_none(), "nobody else sees it");
    let kept = txn.savepoint();
    txn.drop_table(table.id).unwrap();
    assert!(txn.catalog().table("t").is_none());
    txn.rollback_to(&kept);
    assert_eq!(values(&txn, &table).len(), 1);
    txn.drop_table(table.id).unwrap();
    assert_eq!(txn.commit(&meta()).unwrap(), None, "nothing is left of it");
}

#[test]
fn a_rolled_back_definition_leaves_nothing_but_used_ids() {
    let (_sim, engine) = sim(41);
    let mut txn = begin(&engine);
    let first = txn.create_table(definition("t", true)).unwrap();
    txn.rollback();
    assert!(engine.catalog().table("t").is_none());
    let second = create(&engine, definition("t", true));
    assert!(second.id > first.id);
}

#[test]
fn a_name_moves_between_tables_in_one_transaction() {
    let (sim, engine) = sim(50);
    let (a, b) = (create(&engine, definition("a", true)), create(&engine, definition("b", true)));
    assert!(a.id < b.id);
    let renamed = |table: &TableSchema, name: &str| {
        let mut schema = TableSchema { name: name.to_owned(), ..table.clone() };
        if let Some(key) = &mut schema.primary_key {
            key.name = format!("{name}_pkey");
        }
        schema
    };
    let mut txn = begin(&engine);
    let b_old = txn.put_table(b.id, renamed(&b, "b_old")).unwrap();
    txn.put_table(a.id, renamed(&a, "b")).unwrap();
    let named = |catalog: &Catalog, name: &str| catalog.table(name).map(|table| table.id);
    assert_eq!(named(&txn.catalog(), "b"), Some(a.id));
    commit(txn);
    assert_eq!(named(&engine.catalog(), "b"), Some(a.id));
    assert_eq!(named(&engine.catalog(), "b_old"), Some(b.id));
    // What is read from the entries is the same.
    let view = engine.view();
    let before = engine.catalog_at(&view, CommitSeq(view.stamp().seq.0 - 1)).unwrap();
    assert_eq!((named(&before, "a"), named(&before, "b")), (Some(a.id), Some(b.id)));
    // And back, dropping the one with the greater id.
    let mut txn = begin(&engine);
    txn.drop_table(b_old.id).unwrap();
    let now = txn.catalog().table("b").unwrap().as_ref().clone();
    txn.put_table(a.id, renamed(&now, "b_old")).unwrap();
    commit(txn);
    assert_eq!(named(&engine.catalog(), "b_old"), Some(a.id));
    drop(engine);
    assert_eq!(named(&open(&sim.env).catalog(), "b_old"), Some(a.id));
}

#[test]
fn names_are_taken_once() {
    let (_sim, engine) = sim(42);
    let table = create(&engine, definition("t", true));
    for name in ["t", "t_pkey"] {
        let error = begin(&engine).create_table(definition(name, true)).unwrap_err().into_error();
        assert_eq!(error.state, SqlState::DUPLICATE_TABLE);
        assert_eq!(error.message, format!("relation \"{name}\" already exists"));
    }
    let mut txn = begin(&engine);
    assert!(txn.create_index(table.id, on_a("t_pkey", false)).is_err());
    drop(txn);
    // A table dropped in the same transaction has given its names up.
    let mut txn = begin(&engine);
    txn.drop_table(table.id).unwrap();
    let again = txn.create_table(definition("t", true)).unwrap();
    commit(txn);
    assert_eq!(engine.catalog().table("t").unwrap().id, again.id);
    assert!(matches!(engine.catalog().object_named("t_pkey"), Some(NamedObject::PrimaryKey(_))));
}

#[test]
fn of_two_who_want_a_name_the_second_waits_and_is_told() {
    let (_sim, engine) = sim(43);
    let mut first = begin(&engine);
    first.create_table(definition("t", true)).unwrap();
    let other = {
        let engine = engine.clone();
        spawn(move || begin(&engine).create_table(definition("t", true)).map(drop))
    };
    rest();
    assert!(!other.is_finished());
    commit(first);
    assert_eq!(other.join().unwrap().unwrap_err().into_error().state, SqlState::DUPLICATE_TABLE);
}

#[test]
fn definitions_have_a_history() {
    let (_sim, engine) = sim(44);
    let table = create(&engine, definition("t", true));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 1, "old")).unwrap();
    let with_row = commit(txn);

    let mut txn = begin(&engine);
    let mut next = TableSchema::clone(&table);
    next.name = "renamed".to_owned();
    next.columns[2].dropped = true;
    next.columns.push(Column { missing: Some("42".to_owned()), not_null: true, ..column(3, "c", DataType::Int4) });
    let altered = txn.put_table(table.id, next).unwrap();
    assert_eq!(altered.version, 2);
    let altered_at = commit(txn);

    let view = engine.view();
    let payload =
        view.get(table.id, &rows(&begin(&engine), &altered)[0].0, ReadPoint::Latest).unwrap().unwrap().payload;
    assert_eq!(decode_row(&altered, &payload).unwrap()[3], Value::Int4(42));
    let mut txn = begin(&engine);
    txn.drop_table(table.id).unwrap();
    let dropped_at = commit(txn);

    let view = engine.view();
    let names = |seq| -> Vec<String> {
        let catalog = engine.catalog_at(&view, seq).unwrap();
        catalog.tables().map(|table| table.name.clone()).collect()
    };
    assert_eq!(names(CommitSeq::ZERO), [""; 0]);
    assert_eq!(names(with_row.seq), ["t"]);
    assert_eq!(names(altered_at.seq), ["renamed"]);
    assert_eq!(names(dropped_at.seq), [""; 0]);
    assert_eq!(engine.catalog_at(&view, with_row.seq).unwrap().table("t"), Some(&table));
    assert_eq!(engine.table_ever(table.id).unwrap().name, "renamed");
    // The rows are there for a query of then.
    let scan = view.scan(table.id, &KeyRange::all(), ReadPoint::AsOf(with_row.seq), false).unwrap();
    assert_eq!(scan.count(), 1);
}

#[test]
fn the_catalog_of_the_past_survives_a_restart() {
    let sim = driftdb_env::Env::sim(45);
    let engine = open(&sim.env);
    let table = create(&engine, definition("t", true));
    let mut stamps = Vec::new();
    for name in ["a", "b", "c"] {
        let mut txn = begin(&engine);
        let next = TableSchema { name: name.to_owned(), ..TableSchema::clone(&table) };
        txn.put_table(table.id, next).unwrap();
        stamps.push((commit(txn).seq, name));
        if name == "b" {
            engine.store().flush().unwrap();
        }
    }
    engine.close().unwrap();
    drop(engine);
    let engine = open(&sim.env);
    let view = engine.view();
    for (seq, name) in stamps {
        let catalog = engine.catalog_at(&view, seq).unwrap();
        assert_eq!(catalog.tables().map(|table| table.name.as_str()).collect::<Vec<_>>(), [name]);
    }
    assert_eq!(engine.catalog().table("c").unwrap().version, 4);
}

#[test]
fn an_index_is_filled_with_the_rows_there_are() {
    let (_sim, engine) = sim(46);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    for id in 0..50 {
        insert(&mut setup, &table, row(id, id % 7, "")).unwrap();
    }
    commit(setup);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(100, 3, "own")).unwrap();
    let table = txn.create_index(table.id, on_a("t_a_idx", false)).unwrap();
    insert(&mut txn, &table, row(101, 4, "own")).unwrap();
    delete(&mut txn, &table, |row| int(row, 0) < 10).unwrap();
    commit(txn);
    check_indexes(&engine, &table);

    let mut txn = begin(&engine);
    let error = txn.create_index(table.id, on_a("t_a_key", true)).unwrap_err().into_error();
    assert_eq!(error.state, SqlState::UNIQUE_VIOLATION);
    assert_eq!(error.message, "could not create unique index \"t_a_key\"");
    assert!(error.detail.unwrap().ends_with("is duplicated."));
    drop(txn);

    let mut txn = begin(&engine);
    let table = txn.drop_index(table.id, table.indexes[0].id).unwrap();
    assert!(table.indexes.is_empty());
    txn.create_index(table.id, on_a("t_a_idx", false)).unwrap();
    commit(txn);
    check_indexes(&engine, engine.catalog().table("t").unwrap());
}

#[test]
fn a_primary_key_added_later_is_a_unique_index() {
    let (_sim, engine) = sim(47);
    let table = create(&engine, definition("t", false));
    let mut setup = begin(&engine);
    for id in [2, 1] {
        insert(&mut setup, &table, row(id, 0, "")).unwrap();
    }
    commit(setup);
    let mut txn = begin(&engine);
    let keyed = txn.add_primary_key(table.id, "t_pkey", &[ColumnId(0)]).unwrap();
    assert!(keyed.columns[0].not_null && !keyed.is_clustered());
    let error = insert(&mut txn, &keyed, row(1, 9, "")).unwrap_err();
    assert_eq!(error.message, "duplicate key value violates unique constraint \"t_pkey\"");
    assert_eq!(
        txn.add_primary_key(table.id, "again", &[ColumnId(1)]).unwrap_err().into_error().state,
        SqlState::INVALID_TABLE_DEFINITION
    );
    commit(txn);
    check_indexes(&engine, &keyed);

    let other = create(&engine, definition("u", false));
    let mut txn = begin(&engine);
    insert(&mut txn, &other, vec![Value::Null, Value::Null, Value::Null]).unwrap();
    let error = txn.add_primary_key(other.id, "u_pkey", &[ColumnId(0)]).unwrap_err().into_error();
    assert_eq!(error.state, SqlState::NOT_NULL_VIOLATION);
    assert_eq!(error.message, "column \"id\" of relation \"u\" contains null values");
}

#[test]
fn not_null_is_checked_when_it_is_set() {
    let (_sim, engine) = sim(48);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    insert(&mut setup, &table, vec![Value::Int4(1), Value::Null, Value::Null]).unwrap();
    commit(setup);
    let mut next = TableSchema::clone(&table);
    next.columns[1].not_null = true;
    let error = begin(&engine).put_table(table.id, next.clone()).unwrap_err().into_error();
    assert_eq!(error.state, SqlState::NOT_NULL_VIOLATION);
    let mut added = TableSchema::clone(&table);
    added.columns.push(Column { not_null: true, ..column(3, "c", DataType::Int4) });
    assert!(begin(&engine).put_table(table.id, added).is_err(), "a new column without a value, in a table with rows");
    let mut txn = begin(&engine);
    delete(&mut txn, &table, |_| true).unwrap();
    txn.put_table(table.id, next).unwrap();
    commit(txn);
}

#[test]
fn what_a_definition_may_not_become() {
    let (_sim, engine) = sim(49);
    let mut schema = definition("t", true);
    schema.indexes = vec![index("t_a_key", 1, true)];
    let table = create(&engine, schema);
    let refused = |change: &dyn Fn(&mut TableSchema)| {
        let mut next = TableSchema::clone(&table);
        change(&mut next);
        begin(&engine).put_table(table.id, next).unwrap_err().into_error().state
    };
    assert_eq!(refused(&|next| next.columns[1].dropped = true), SqlState::DEPENDENT_OBJECTS);
    assert_eq!(refused(&|next| next.columns[0].dropped = true), SqlState::DEPENDENT_OBJECTS);
    assert_eq!(refused(&|next| next.columns[1].name = "b".to_owned()), SqlState::DUPLICATE_COLUMN);
    assert_eq!(refused(&|next| next.columns[1].data_type = DataType::Int8), SqlState::FEATURE_NOT_SUPPORTED);
    assert_eq!(refused(&|next| drop(next.columns.pop())), SqlState::INTERNAL_ERROR);
    assert_eq!(refused(&|next| next.indexes[0].name = "t".to_owned()), SqlState::DUPLICATE_TABLE);
    assert_eq!(refused(&|next| next.indexes.clear()), SqlState::INTERNAL_ERROR);
    assert_eq!(begin(&engine).drop_table(TreeId(99_999)).unwrap_err().into_error().state, SqlState::UNDEFINED_TABLE);
}

#[test]
fn truncate_deletes_and_history_stays() {
    let (_sim, engine) = sim(50);
    let mut schema = definition("t", false);
    schema.indexes = vec![index("t_a_idx", 1, false)];
    let table = create(&engine, schema);
    let mut setup = begin(&engine);
    for id in 0..20 {
        insert(&mut setup, &table, row(id, id, "")).unwrap();
    }
    let full = commit(setup);
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(20, 20, "own")).unwrap();
    assert_eq!(txn.truncate(table.id).unwrap(), 21);
    assert!(values(&txn, &table).is_empty());
    insert(&mut txn, &table, row(21, 21, "after")).unwrap();
    commit(txn);
    assert_eq!(committed(&engine, &table), [row(21, 21, "after")]);
    check_indexes(&engine, &table);
    let then = engine.view().scan(table.id, &KeyRange::all(), ReadPoint::AsOf(full.seq), false).unwrap();
    assert_eq!(then.count(), 20);
}

#[test]
fn a_dropped_columns_values_are_kept_through_updates() {
    let (_sim, engine) = sim(51);
    let table = create(&engine, definition("t", true));
    let mut txn = begin(&engine);
    insert(&mut txn, &table, row(1, 1, "kept")).unwrap();
    let mut next = TableSchema::clone(&table);
    next.columns[2].dropped = true;
    let dropped = txn.put_table(table.id, next).unwrap();
    commit(txn);
    let mut txn = begin(&engine);
    update(&mut txn, &dropped, |_| Some(vec![Value::Int4(1), Value::Int4(2), Value::Null])).unwrap();
    insert(&mut txn, &dropped, row(2, 2, "not kept")).unwrap();
    let mut back = TableSchema::clone(&dropped);
    back.columns[2].dropped = false;
    let back = txn.put_table(table.id, back).unwrap();
    commit(txn);
    let expected = [row(1, 2, "kept"), vec![Value::Int4(2), Value::Int4(2), Value::Null]];
    assert_eq!(committed(&engine, &back), expected);
}

/// An index made in REPEATABLE READ holds the newest rows; a snapshot that shows others cannot have it.
#[test]
fn an_index_and_an_old_snapshot_do_not_go_together() {
    let (_sim, engine) = sim(52);
    let table = create(&engine, definition("t", true));
    let mut setup = begin(&engine);
    insert(&mut setup, &table, row(1, 1, "")).unwrap();
    commit(setup);
    for change in 0..3 {
        let mut old = begin_at(&engine, Isolation::RepeatableRead);
        let mut other = begin(&engine);
        match change {
            0 => drop(insert(&mut other, &table, row(2, 2, "")).unwrap()),
            1 => drop(update(&mut other, &table, |old| Some(row(int(old, 0), 5, ""))).unwrap()),
            _ => drop(delete(&mut other, &table, |old| int(old, 0) == 1).unwrap()),
        }
        commit(other);
        let error = old.create_index(table.id, on_a("t_a_idx", false)).unwrap_err().into_error();
        assert_eq!(error.state, SqlState::SERIALIZATION_FAILURE, "change {change}");
    }
    let mut unchanged = begin_at(&engine, Isolation::RepeatableRead);
    let elsewhere = create(&engine, definition("u", true));
    assert!(elsewhere.id > table.id);
    unchanged.create_index(table.id, on_a("t_a_idx", false)).unwrap();
    commit(unchanged);
    check_indexes(&engine, engine.catalog().table("t").unwrap());
}

/// Tables come and go while others look: a view and its catalog always belong together.
#[test]
fn views_and_catalogs_move_together() {
    let (_sim, engine) = sim(53);
    let done = Arc::new(AtomicBool::new(false));
    let makers: Vec<_> = (0..2)
        .map(|maker| {
            let engine = engine.clone();
            spawn(move || {
                for round in 0..40 {
                    let mut txn = begin(&engine);
                    let table = txn.create_table(definition(&format!("t{maker}_{round}"), true)).unwrap();
                    insert(&mut txn, &table, row(1, round, "")).unwrap();
                    commit(txn);
                }
            })
        })
        .collect();
    let watchers: Vec<_> = (0..2)
        .map(|_| {
            let (engine, done) = (engine.clone(), Arc::clone(&done));
            spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let (view, catalog) = engine.snapshot();
                    assert!(catalog.changed_at() <= view.stamp().seq);
                    assert_eq!(catalog.tables().count() as u64, view.stamp().seq.0, "each commit made one table");
                    if let Some(newest) = catalog.tables().last() {
                        let rows = view.scan(newest.id, &KeyRange::all(), ReadPoint::Latest, false).unwrap();
                        assert_eq!(rows.count(), 1);
                    }
                }
            })
        })
        .collect();
    for maker in makers {
        maker.join().unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for watcher in watchers {
        watcher.join().unwrap();
    }
}

/// Checkpoints by hand, while definitions change: a view and its catalog belong together at every moment.
#[test]
fn view_and_catalog_belong_together_during_checkpoints() {
    let (_sim, engine) = sim(51);
    let stop = Arc::new(AtomicBool::new(false));
    let flushing = {
        let (engine, stop) = (engine.clone(), Arc::clone(&stop));
        spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                engine.store().flush().unwrap();
            }
        })
    };
    let checking = {
        let (engine, stop) = (engine.clone(), Arc::clone(&stop));
        spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let (view, catalog) = engine.snapshot();
                let stored = view.scan(TreeId::CATALOG, &KeyRange::all(), ReadPoint::Latest, false).unwrap();
                assert_eq!(catalog.tables().count(), stored.count(), "at {:?}", view.stamp());
            }
        })
    };
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let engine = engine.clone();
            spawn(move || {
                for n in 0..60 {
                    create(&engine, definition(&format!("t_{writer}_{n}"), true));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    checking.join().unwrap();
    flushing.join().unwrap();
    assert_eq!(engine.catalog().tables().count(), 180);
}
