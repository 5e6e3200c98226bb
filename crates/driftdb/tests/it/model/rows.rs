//! INSERT, UPDATE and DELETE: made up, and what they must come to.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use driftdb::{SqlState, Value};

use super::schedule::{Case, Expect, Planned, Random};
use super::state::{Cell, Definition, Key, Locks, Overlay, State, Table, Type, Uid};

/// A statement's text as it grows, with its parameters.
#[derive(Default)]
pub(super) struct Text {
    pub(super) params: Vec<Value>,
}

impl Text {
    /// A value as a literal of some form, or as a parameter.
    pub(super) fn value(&mut self, random: &mut Random, kind: &Type, cell: &Cell) -> String {
        let Some(text) = cell else { return "NULL".to_owned() };
        let quoted = format!("'{}'", text.replace('\'', "''"));
        match random.below(6) {
            0 => {
                self.params.push(kind.value(cell));
                format!("${}", self.params.len())
            }
            1 => format!("{quoted}::{}", kind.sql),
            2 => format!("CAST({quoted} AS {})", kind.sql),
            3..=4 if kind.bare => text.clone(),
            _ => quoted,
        }
    }
}

pub(super) fn some_cell(random: &mut Random, kind: &Type, nulls: usize) -> Cell {
    (!random.one_in(nulls)).then(|| (*random.pick(kind.pool)).to_owned())
}

/// A condition of WHERE.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    All,
    Null(usize, bool),
    Compare(usize, &'static str, String),
    In(usize, Vec<String>),
    And(Vec<Condition>),
}

impl Condition {
    pub(super) fn holds(&self, definition: &Definition, row: &[Cell]) -> bool {
        match self {
            Condition::All => true,
            Condition::Null(column, is_null) => row[*column].is_none() == *is_null,
            Condition::Compare(column, op, with) => {
                let Some(value) = &row[*column] else { return false };
                let order = definition.columns[*column].kind().compare(value, with);
                match *op {
                    "=" => order.is_eq(),
                    "<>" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
            Condition::In(column, list) => row[*column].as_ref().is_some_and(|value| list.contains(value)),
            Condition::And(all) => all.iter().all(|one| one.holds(definition, row)),
        }
    }

    pub(super) fn sql(&self, random: &mut Random, definition: &Definition, text: &mut Text) -> String {
        let column = |id: usize| &definition.columns[id];
        match self {
            Condition::All => "true".to_owned(),
            Condition::Null(id, true) => format!("{} IS NULL", column(*id).name),
            Condition::Null(id, false) => format!("{} IS NOT NULL", column(*id).name),
            Condition::Compare(id, op, with) => {
                let value = text.value(random, column(*id).kind(), &Some(with.clone()));
                format!("{} {op} {value}", column(*id).name)
            }
            Condition::In(id, list) => {
                let list: Vec<String> =
                    list.iter().map(|one| text.value(random, column(*id).kind(), &Some(one.clone()))).collect();
                format!("{} IN ({})", column(*id).name, list.join(", "))
            }
            Condition::And(all) => {
                let all: Vec<String> = all.iter().map(|one| one.sql(random, definition, text)).collect();
                all.join(" AND ")
            }
        }
    }
}

/// The condition that finds a row by the columns given.
pub(super) fn key_condition(columns: &[usize], row: &[Cell]) -> Condition {
    let one = |id: &usize| match &row[*id] {
        Some(value) => Condition::Compare(*id, "=", value.clone()),
        None => Condition::Null(*id, true),
    };
    Condition::And(columns.iter().map(one).collect())
}

pub(super) fn some_condition(random: &mut Random, table: &Table) -> Condition {
    let definition = &table.definition;
    let rows: Vec<_> = table.rows.values().map(|row| definition.padded(&row.values)).collect();
    let live: Vec<usize> = definition.live().map(|(id, _)| id).collect();
    if let (Some(key), 0..=3) = (definition.primary(), random.below(8))
        && !rows.is_empty()
    {
        return key_condition(key, &rows[random.below(rows.len())]);
    }
    let one = |random: &mut Random| {
        let id = *random.pick(&live);
        let kind = definition.columns[id].kind();
        let value = |random: &mut Random| (*random.pick(kind.pool)).to_owned();
        match random.below(8) {
            0 => Condition::Null(id, random.one_in(2)),
            1..=2 if kind.ordered => {
                let operator = *random.pick(&["<", "<=", ">", ">="]);
                Condition::Compare(id, operator, value(random))
            }
            3 if kind.ordered => Condition::Compare(id, "<>", value(random)),
            4 if kind.ordered => Condition::In(id, vec![value(random), value(random)]),
            _ => Condition::Compare(id, "=", value(random)),
        }
    };
    match random.below(10) {
        0 => Condition::All,
        1..=2 => Condition::And(vec![one(random), one(random)]),
        _ => one(random),
    }
}

/// A new value in SET.
#[derive(Clone, Debug)]
enum Set {
    Value(Cell),
    Default,
    Plus(i64),
    Column(usize),
    /// Of the row that was to be inserted.
    Excluded(usize),
}

impl Set {
    fn of(&self, definition: &Definition, id: usize, old: &[Cell], excluded: &[Cell]) -> Cell {
        match self {
            Set::Value(cell) => cell.clone(),
            Set::Default => definition.columns[id].default.clone(),
            Set::Plus(more) => old[id].as_ref().map(|text| (text.parse::<i64>().unwrap() + more).to_string()),
            Set::Column(from) => old[*from].clone(),
            Set::Excluded(from) => excluded[*from].clone(),
        }
    }
}

fn some_sets(
    random: &mut Random,
    definition: &Definition,
    excluded: bool,
    text: &mut Text,
) -> (Vec<(usize, Set)>, String) {
    let live: Vec<usize> = definition.live().map(|(id, _)| id).collect();
    let mut sets = BTreeMap::new();
    for _ in 0..=random.below(2) {
        let id = *random.pick(&live);
        let column = &definition.columns[id];
        let same: Vec<usize> =
            live.iter().copied().filter(|other| definition.columns[*other].kind == column.kind).collect();
        let set = match random.below(8) {
            0 => Set::Default,
            1 if column.kind().is_integer() && !column.kind().pool.iter().any(|text| text.len() > 5) => Set::Plus(1),
            2 => Set::Column(*random.pick(&same)),
            3..=4 if excluded => Set::Excluded(*random.pick(&same)),
            _ => Set::Value(some_cell(random, column.kind(), if column.not_null { 20 } else { 4 })),
        };
        sets.insert(id, set);
    }
    let mut parts = Vec::new();
    for (id, set) in &sets {
        let column = &definition.columns[*id];
        // In ON CONFLICT a bare name could be either row's.
        let own = if excluded { format!("{}.", definition.name) } else { String::new() };
        let value = match set {
            Set::Value(cell) => text.value(random, column.kind(), cell),
            Set::Default => "DEFAULT".to_owned(),
            Set::Plus(more) => format!("{own}{} + {more}", column.name),
            Set::Column(from) => format!("{own}{}", definition.columns[*from].name),
            Set::Excluded(from) => format!("excluded.{}", definition.columns[*from].name),
        };
        parts.push(format!("{} = {value}", column.name));
    }
    (sets.into_iter().collect(), parts.join(", "))
}

/// A statement's work on one table, while the model does it.
#[derive(Clone)]
struct Work {
    uid: Uid,
    table: Table,
    overlay: Overlay,
    count: u64,
    shown: Vec<Vec<Cell>>,
    locks: Locks,
}

impl Work {
    fn definition(&self) -> Arc<Definition> {
        Arc::clone(&self.table.definition)
    }

    fn check_not_null(&self, values: &[Cell]) -> Result<(), SqlState> {
        let definition = &self.table.definition;
        let key = definition.primary();
        let refused = |id: usize| definition.columns[id].not_null || key.is_some_and(|key| key.contains(&id));
        match definition.live().any(|(id, _)| values[id].is_none() && refused(id)) {
            true => Err(SqlState::NOT_NULL_VIOLATION),
            false => Ok(()),
        }
    }

    fn conflict(&self, values: &[Cell], own: Option<&Key>) -> Option<Key> {
        let definition = &self.table.definition;
        definition.unique().find_map(|columns| self.table.conflict(columns, values, own)).cloned()
    }

    fn put(&mut self, key: Key, row: Option<Vec<Cell>>) {
        let version = self.table.definition.version;
        self.locks.rows.insert((self.uid, key.clone()));
        match &row {
            Some(values) => {
                drop(self.table.rows.insert(key.clone(), super::state::Row { values: values.clone(), from: 0 }))
            }
            None => drop(self.table.rows.remove(&key)),
        }
        self.overlay.put(self.uid, key, row, version, false);
    }

    fn update(&mut self, key: &Key, old: &[Cell], new: Vec<Cell>) -> Result<Key, SqlState> {
        self.locks.rows.insert((self.uid, key.clone()));
        if let Some(new_key) = (!self.table.definition.clustered.iter().flatten().any(|id| new[*id].is_none()))
            .then(|| self.table.definition.key_of(&new))
            .flatten()
        {
            self.locks.rows.insert((self.uid, new_key));
        }
        self.check_not_null(&new)?;
        self.count += 1;
        self.shown.push(self.table.definition.shown(&new));
        if old == new {
            return Ok(key.clone());
        }
        if self.conflict(&new, Some(key)).is_some() {
            return Err(SqlState::UNIQUE_VIOLATION);
        }
        let new_key = self.table.definition.key_of(&new).unwrap_or_else(|| key.clone());
        if new_key != *key {
            self.put(key.clone(), None);
        }
        self.put(new_key.clone(), Some(new));
        Ok(new_key)
    }
}

impl Case {
    pub(super) fn some_table(&mut self, state: &State) -> Option<Uid> {
        let uids: Vec<Uid> = state.keys().copied().collect();
        (!uids.is_empty()).then(|| *self.random.pick(&uids))
    }

    fn work(&self, who: usize, uid: Uid) -> Work {
        let newest = self.newest(who);
        // A table that the other session has dropped is still there in this one's snapshot, and cannot be written.
        let table = newest.get(&uid).cloned().unwrap_or_else(|| Arc::clone(&self.seen(who)[&uid]));
        let mut locks = Locks::default();
        locks.tables.insert(uid);
        if table.definition.has_unique_index() {
            locks.keys.insert(uid);
        }
        let table = Table::clone(&table);
        Work { uid, table, overlay: self.overlay(who), count: 0, shown: Vec::new(), locks }
    }

    /// Whether a row that the session wants to write was changed since its snapshot.
    fn is_overtaken(&self, who: usize, uid: Uid, key: &Key, overlay: &Overlay) -> bool {
        let Some(snapshot) = self.snapshot(who) else { return false };
        if overlay.rows.get(&uid).is_some_and(|rows| rows.contains_key(key)) {
            return false;
        }
        let row = self.last().get(&uid).and_then(|table| table.rows.get(key));
        row.is_none_or(|row| row.from > snapshot as u64)
    }

    #[expect(clippy::too_many_arguments, reason = "one statement, all that the model knows of it")]
    fn planned(
        &mut self,
        who: usize,
        sql: String,
        text: Text,
        returning: bool,
        done: Result<Work, (SqlState, Locks)>,
        seen: &Arc<Definition>,
        uid: Uid,
    ) -> Planned {
        let (expect, overlay, locks, rows) = match done {
            Ok(work) => (Expect::Count(work.count), work.overlay, work.locks, work.shown),
            Err((state, locks)) => (Expect::Fail(HashSet::from([state])), Overlay::default(), locks, Vec::new()),
        };
        let returning = returning.then(|| (Arc::clone(seen), rows));
        let mut planned = Planned { sql, params: text.params, expect, overlay, locks, returning };
        if self.is_outdated(who, uid) {
            planned.expect = Expect::Fail(HashSet::from([SqlState::SERIALIZATION_FAILURE]));
        }
        planned
    }

    pub(super) fn plan_insert(&mut self, who: usize) -> Option<Planned> {
        let seen = self.seen(who);
        let uid = self.some_table(&seen)?;
        let definition = Arc::clone(&seen[&uid].definition);
        let mut text = Text::default();
        let (columns, rows, values) = self.some_rows(&definition, &mut text);
        let unique: Vec<Vec<usize>> = definition.unique().cloned().collect();
        let (arbiter, action) = match self.random.below(6) {
            0 => (None, Some(None)),
            1 if !unique.is_empty() => (Some(self.random.pick(&unique).clone()), Some(None)),
            2..=3 if !unique.is_empty() => {
                let arbiter = self.random.pick(&unique).clone();
                let (sets, sql) = some_sets(&mut self.random, &definition, true, &mut text);
                (Some(arbiter), Some(Some((sets, sql))))
            }
            _ => (None, None),
        };
        let target = arbiter.as_ref().map(|columns| {
            let names: Vec<&str> = columns.iter().map(|id| definition.columns[*id].name.as_str()).collect();
            format!(" ({})", names.join(", "))
        });
        let conflict = match &action {
            None => String::new(),
            Some(None) => format!(" ON CONFLICT{} DO NOTHING", target.unwrap_or_default()),
            Some(Some((_, sets))) => format!(" ON CONFLICT{} DO UPDATE SET {sets}", target.unwrap_or_default()),
        };
        let returning = self.random.one_in(4);
        let suffix = if returning { " RETURNING *" } else { "" };
        let sql = format!("INSERT INTO {}{columns} {values}{conflict}{suffix}", definition.name);
        let mut work = self.work(who, uid);
        let mut done = Ok(());
        if !self.is_outdated(who, uid) {
            let action = action.map(|action| action.map(|(sets, _)| sets));
            done = self.insert(who, &mut work, rows, arbiter.as_deref(), action.as_ref());
        }
        let done = match done {
            Ok(()) => Ok(work),
            Err(state) => Err((state, work.locks)),
        };
        Some(self.planned(who, sql, text, returning, done, &definition, uid))
    }

    /// Rows to insert: the list of columns, the rows in full, and the text of VALUES.
    fn some_rows(&mut self, definition: &Definition, text: &mut Text) -> (String, Vec<Vec<Cell>>, String) {
        let mut given: Vec<usize> = definition.live().map(|(id, _)| id).collect();
        let mut columns = String::new();
        if self.random.one_in(3) {
            let keep = given[self.random.below(given.len())];
            given.retain(|id| {
                *id == keep || definition.primary().is_some_and(|key| key.contains(id)) || !self.random.one_in(3)
            });
            let by = self.random.below(given.len());
            given.rotate_left(by);
            let names: Vec<&str> = given.iter().map(|id| definition.columns[*id].name.as_str()).collect();
            columns = format!(" ({})", names.join(", "));
        }
        let mut rows = Vec::new();
        let mut lists = Vec::new();
        for _ in 0..=self.random.below(4) {
            let mut row: Vec<Cell> =
                definition.columns.iter().map(|column| column.default.clone().filter(|_| !column.dropped)).collect();
            let mut list = Vec::new();
            for id in &given {
                let column = &definition.columns[*id];
                let in_key = definition.primary().is_some_and(|key| key.contains(id));
                if self.random.one_in(8) && !in_key {
                    list.push("DEFAULT".to_owned());
                    continue;
                }
                let cell = some_cell(&mut self.random, column.kind(), if column.not_null || in_key { 40 } else { 4 });
                list.push(text.value(&mut self.random, column.kind(), &cell));
                row[*id] = cell;
            }
            rows.push(row);
            lists.push(format!("({})", list.join(", ")));
        }
        (columns, rows, format!("VALUES {}", lists.join(", ")))
    }

    fn insert(
        &mut self,
        who: usize,
        work: &mut Work,
        rows: Vec<Vec<Cell>>,
        arbiter: Option<&[usize]>,
        action: Option<&Option<Vec<(usize, Set)>>>,
    ) -> Result<(), SqlState> {
        let mut touched = BTreeSet::new();
        let definition = work.definition();
        for row in &rows {
            if definition.clustered.iter().flatten().all(|id| row[*id].is_some())
                && let Some(key) = definition.key_of(row)
            {
                work.locks.rows.insert((work.uid, key));
            }
        }
        for row in rows {
            work.check_not_null(&row)?;
            let by_arbiter = arbiter.and_then(|columns| work.table.conflict(columns, &row, None)).cloned();
            let other = match (by_arbiter, work.conflict(&row, None)) {
                (Some(other), _) => other,
                (None, None) => {
                    let key = definition.key_of(&row).unwrap_or_else(|| vec![format!("{:08}", self.fresh_row())]);
                    work.count += 1;
                    work.shown.push(definition.shown(&row));
                    touched.insert(key.clone());
                    work.put(key, Some(row));
                    continue;
                }
                (None, Some(_)) if arbiter.is_some() => return Err(SqlState::UNIQUE_VIOLATION),
                (None, Some(other)) => other,
            };
            let Some(action) = action else { return Err(SqlState::UNIQUE_VIOLATION) };
            work.locks.rows.insert((work.uid, other.clone()));
            let own = touched.contains(&other);
            if action.is_some() && own {
                return Err(SqlState::CARDINALITY_VIOLATION);
            }
            // Nothing is done about a row that is not as the session sees it, not even nothing (as in PostgreSQL).
            if !own && self.is_overtaken(who, work.uid, &other, &work.overlay) {
                return Err(SqlState::SERIALIZATION_FAILURE);
            }
            let Some(sets) = action else { continue };
            let old = definition.padded(&work.table.rows[&other].values);
            let mut new = old.clone();
            for (id, set) in sets {
                new[*id] = set.of(&definition, *id, &old, &row);
            }
            let key = work.update(&other, &old, new)?;
            touched.insert(key);
        }
        Ok(())
    }

    pub(super) fn plan_update(&mut self, who: usize) -> Option<Planned> {
        let seen = self.seen(who);
        let uid = self.some_table(&seen)?;
        let table = Arc::clone(&seen[&uid]);
        let definition = Arc::clone(&table.definition);
        let mut text = Text::default();
        let (sets, sql) = some_sets(&mut self.random, &definition, false, &mut text);
        let condition = some_condition(&mut self.random, &table);
        let filter = condition.sql(&mut self.random, &definition, &mut text);
        let returning = self.random.one_in(4);
        let suffix = if returning { " RETURNING *" } else { "" };
        let sql = format!("UPDATE {} SET {sql} WHERE {filter}{suffix}", definition.name);
        let matched: Vec<(Key, Vec<Cell>)> = table
            .rows
            .iter()
            .map(|(key, row)| (key.clone(), definition.padded(&row.values)))
            .filter(|(_, row)| condition.holds(&definition, row))
            .collect();
        let base = self.work(who, uid);
        if self.is_outdated(who, uid) {
            return Some(self.planned(who, sql, text, returning, Ok(base), &definition, uid));
        }
        // The rows come in an order of the database's own: only what comes out the same in every one can be foretold.
        let mut outcomes = Vec::new();
        for turn in 0..6 {
            let mut order = matched.clone();
            match turn {
                0 => {}
                1 => order.reverse(),
                _ => order.sort_by_cached_key(|_| self.random.below(1000)),
            }
            let mut work = base.clone();
            let done = order.iter().try_for_each(|(key, old)| {
                if self.is_overtaken(who, uid, key, &base.overlay) {
                    return Err(SqlState::SERIALIZATION_FAILURE);
                }
                let mut new = old.clone();
                for (id, set) in &sets {
                    new[*id] = set.of(&definition, *id, old, old);
                }
                work.update(key, old, new).map(drop)
            });
            work.locks.rows.extend(matched.iter().map(|(key, _)| (uid, key.clone())));
            outcomes.push((done, work));
        }
        let states: HashSet<Option<SqlState>> = outcomes.iter().map(|(done, _)| done.err()).collect();
        let overlays = outcomes.windows(2).all(|pair| pair[0].1.overlay == pair[1].1.overlay);
        let mut locks = Locks::default();
        outcomes.iter().for_each(|(_, work)| locks.add(&work.locks));
        if states.contains(&None) && (states.len() > 1 || !overlays) {
            return None;
        }
        let (done, mut work) = outcomes.swap_remove(0);
        work.locks = locks.clone();
        let done = done.map(|()| work).map_err(|state| (state, locks));
        let mut planned = self.planned(who, sql, text, returning, done, &definition, uid);
        if let Expect::Fail(expected) = &mut planned.expect {
            expected.extend(states.into_iter().flatten());
        }
        Some(planned)
    }

    pub(super) fn plan_delete(&mut self, who: usize) -> Option<Planned> {
        let seen = self.seen(who);
        let uid = self.some_table(&seen)?;
        let table = Arc::clone(&seen[&uid]);
        let definition = Arc::clone(&table.definition);
        let mut text = Text::default();
        let condition = some_condition(&mut self.random, &table);
        let filter = condition.sql(&mut self.random, &definition, &mut text);
        let returning = self.random.one_in(4);
        let suffix = if returning { " RETURNING *" } else { "" };
        let sql = format!("DELETE FROM {} WHERE {filter}{suffix}", definition.name);
        let mut work = self.work(who, uid);
        let mut failed = None;
        if !self.is_outdated(who, uid) {
            for (key, row) in &table.rows {
                let values = definition.padded(&row.values);
                if !condition.holds(&definition, &values) {
                    continue;
                }
                work.locks.rows.insert((uid, key.clone()));
                if self.is_overtaken(who, uid, key, &work.overlay) {
                    failed = Some(SqlState::SERIALIZATION_FAILURE);
                    continue;
                }
                work.count += 1;
                work.shown.push(definition.shown(&values));
                work.put(key.clone(), None);
            }
        }
        let done = match failed {
            None => Ok(work),
            Some(state) => Err((state, work.locks)),
        };
        Some(self.planned(who, sql, text, returning, done, &definition, uid))
    }
}
