//! CREATE, ALTER, DROP and TRUNCATE: made up, and what they must come to.

use std::collections::HashSet;
use std::sync::Arc;

use driftdb::SqlState;

use super::rows::{Text, some_cell};
use super::schedule::{Case, Expect, Planned};
use super::state::{Cell, Column, Definition, Index, Locks, Overlay, TYPES, Table, Uid, named};

pub(super) const TABLES: &[&str] = &["t0", "t1", "t2", "t3"];
const COLUMNS: &[&str] = &["a", "b", "c", "d", "e", "f"];
const INDEXES: &[&str] = &["i0", "i1", "i2", "i3", "i4", "i5"];

impl Case {
    /// A change of definitions, with all the errors that it may be refused with (none: it must work).
    fn definition_change(
        &mut self,
        who: usize,
        sql: String,
        text: Text,
        uid: Option<Uid>,
        mut errors: HashSet<SqlState>,
        change: impl FnOnce(&mut Overlay),
    ) -> Option<Planned> {
        let mut locks = Locks { names: true, ..Locks::default() };
        if let Some(uid) = uid {
            locks.tables.insert(uid);
            locks.exclusive.insert(uid);
            if self.is_outdated(who, uid) {
                errors.insert(SqlState::SERIALIZATION_FAILURE);
            }
        }
        let mut overlay = self.overlay(who);
        let expect = if errors.is_empty() {
            change(&mut overlay);
            Expect::Count(0)
        } else {
            Expect::Fail(errors)
        };
        let params = text.params;
        Some(Planned { sql, params, expect, overlay, locks, returning: None })
    }

    fn is_table(&self, who: usize, name: &str) -> bool {
        named(&self.seen(who), name).is_some() || named(&self.newest(who), name).is_some()
    }

    /// A name for an index, and whether it is taken.
    fn index_name(&mut self, who: usize) -> (String, bool) {
        let name = (*self.random.pick(INDEXES)).to_owned();
        let states = [self.seen(who), self.newest(who)];
        let mut indexes = states.iter().flat_map(|state| state.values()).flat_map(|table| &table.definition.indexes);
        let taken = indexes.any(|index| index.name == name);
        (name, taken)
    }

    fn some_column(&mut self, taken: &[&str], text: &mut Text) -> (Column, String) {
        let free: Vec<&str> = COLUMNS.iter().copied().filter(|name| !taken.contains(name)).collect();
        let name = (*self.random.pick(&free)).to_owned();
        let kind = self.random.below(TYPES.len());
        let default: Cell = if self.random.one_in(3) { some_cell(&mut self.random, TYPES[kind], 8) } else { None };
        let mut sql = format!("{name} {}", TYPES[kind].sql);
        if default.is_some() || self.random.one_in(8) {
            let before = text.params.len();
            let literal = loop {
                let literal = text.value(&mut self.random, TYPES[kind], &default);
                if text.params.len() == before {
                    break literal;
                }
                text.params.truncate(before);
            };
            sql.push_str(&format!(" DEFAULT {literal}"));
        }
        let not_null = self.random.one_in(5);
        if not_null {
            sql.push_str(" NOT NULL");
        }
        (Column { name, kind, not_null, default, missing: None, dropped: false }, sql)
    }

    pub(super) fn plan_create_table(&mut self, who: usize) -> Option<Planned> {
        let name = (*self.random.pick(TABLES)).to_owned();
        let mut text = Text::default();
        let mut columns: Vec<Column> = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..=self.random.below(4) {
            let taken: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let (column, sql) = self.some_column(&taken, &mut text);
            columns.push(column);
            parts.push(sql);
        }
        let mut definition =
            Definition { name: name.clone(), version: 1, columns, clustered: None, indexes: Vec::new() };
        let able = key_columns(&definition);
        if !able.is_empty() && !self.random.one_in(3) {
            let key = self.some_key(&able);
            parts.push(format!("PRIMARY KEY ({})", names(&definition, &key)));
            for id in &key {
                definition.columns[*id].not_null = true;
            }
            definition.clustered = Some(key);
        }
        let mut errors = HashSet::new();
        if !able.is_empty() && self.random.one_in(3) {
            let (index, taken) = self.index_name(who);
            let key = self.some_key(&able);
            parts.push(format!("CONSTRAINT {index} UNIQUE ({})", names(&definition, &key)));
            definition.indexes.push(Index {
                name: index,
                columns: key,
                unique: true,
                constraint: true,
                primary: false,
            });
            if taken {
                errors.insert(SqlState::DUPLICATE_TABLE);
            }
        }
        if self.is_table(who, &name) {
            errors.insert(SqlState::DUPLICATE_TABLE);
        }
        let uid = self.fresh_uid();
        let sql = format!("CREATE TABLE {name} ({})", parts.join(", "));
        self.definition_change(who, sql, text, Some(uid), errors, |overlay| {
            overlay.definitions.insert(uid, Some(Arc::new(definition)));
        })
    }

    /// One or two of these columns.
    fn some_key(&mut self, able: &[usize]) -> Vec<usize> {
        let first = *self.random.pick(able);
        let second = *self.random.pick(able);
        if first == second || !self.random.one_in(3) { vec![first] } else { vec![first, second] }
    }

    pub(super) fn plan_drop_table(&mut self, who: usize) -> Option<Planned> {
        let name = *self.random.pick(TABLES);
        let sql = format!("DROP TABLE {name}");
        let Some((uid, _)) = named(&self.seen(who), name).map(|(uid, table)| (uid, Arc::clone(table))) else {
            let errors = HashSet::from([SqlState::UNDEFINED_TABLE]);
            return self.definition_change(who, sql, Text::default(), None, errors, |_| {});
        };
        self.definition_change(who, sql, Text::default(), Some(uid), HashSet::new(), |overlay| {
            overlay.definitions.insert(uid, None);
        })
    }

    pub(super) fn plan_truncate(&mut self, who: usize) -> Option<Planned> {
        let seen = self.seen(who);
        let uid = self.some_table(&seen)?;
        let newest = self.newest(who);
        let sql = format!("TRUNCATE {}", seen[&uid].definition.name);
        self.definition_change(who, sql, Text::default(), Some(uid), HashSet::new(), |overlay| {
            let version = seen[&uid].definition.version;
            let states = [Some(&seen[&uid]), newest.get(&uid)];
            for key in states.into_iter().flatten().flat_map(|table| table.rows.keys()) {
                overlay.put(uid, key.clone(), None, version, true);
            }
        })
    }

    /// The table as it is changed, with its newest rows: they are what constraints are checked on.
    fn table_to_change(&mut self, who: usize) -> Option<(Uid, Arc<Definition>, Option<Arc<Table>>)> {
        let seen = self.seen(who);
        let uid = self.some_table(&seen)?;
        let newest = self.newest(who).get(&uid).cloned();
        Some((uid, Arc::clone(&seen[&uid].definition), newest))
    }

    /// Whether rows of the table were changed since the session's snapshot.
    fn rows_moved_on(&self, who: usize, uid: Uid) -> bool {
        let Some(snapshot) = self.snapshot(who) else { return false };
        let rows = |state: &super::state::State| state.get(&uid).map(|table| table.rows.clone()).unwrap_or_default();
        rows(&self.commits[snapshot]) != rows(self.last())
    }

    pub(super) fn plan_create_index(&mut self, who: usize) -> Option<Planned> {
        let (uid, definition, newest) = self.table_to_change(who)?;
        let able = key_columns(&definition);
        if able.is_empty() || definition.indexes.len() > 3 {
            return None;
        }
        let columns = self.some_key(&able);
        let (name, taken) = self.index_name(who);
        let mut errors = HashSet::new();
        if taken {
            errors.insert(SqlState::DUPLICATE_TABLE);
        }
        if self.rows_moved_on(who, uid) {
            errors.insert(SqlState::SERIALIZATION_FAILURE);
        }
        let list = names(&definition, &columns);
        let table = &definition.name;
        let (sql, unique, constraint, primary) = match self.random.below(6) {
            0..=2 => (format!("CREATE INDEX {name} ON {table} ({list})"), false, false, false),
            3 => (format!("CREATE UNIQUE INDEX {name} ON {table} ({list})"), true, false, false),
            4 => (format!("ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE ({list})"), true, true, false),
            _ => (format!("ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY ({list})"), true, true, true),
        };
        if primary && definition.primary().is_some() {
            errors.insert(SqlState::INVALID_TABLE_DEFINITION);
        }
        if let Some(newest) = newest.filter(|_| unique) {
            if newest.rows.iter().any(|(key, row)| {
                newest.conflict(&columns, &newest.definition.padded(&row.values), Some(key)).is_some()
            }) {
                errors.insert(SqlState::UNIQUE_VIOLATION);
            }
            if primary && columns.iter().any(|id| has_null(&newest, *id)) {
                errors.insert(SqlState::NOT_NULL_VIOLATION);
            }
        }
        let mut next = Definition::clone(&definition);
        next.version += 1;
        if primary {
            for id in &columns {
                next.columns[*id].not_null = true;
            }
        }
        next.indexes.push(Index { name, columns, unique, constraint, primary });
        self.definition_change(who, sql, Text::default(), Some(uid), errors, |overlay| {
            overlay.definitions.insert(uid, Some(Arc::new(next)));
        })
    }

    pub(super) fn plan_drop_index(&mut self, who: usize) -> Option<Planned> {
        let (uid, definition, _) = self.table_to_change(who)?;
        let at = (!definition.indexes.is_empty()).then(|| self.random.below(definition.indexes.len()))?;
        let mut next = Definition::clone(&definition);
        let index = next.indexes.remove(at);
        next.version += 1;
        let mut errors = HashSet::new();
        let sql = if index.constraint && !self.random.one_in(5) {
            format!("ALTER TABLE {} DROP CONSTRAINT {}", definition.name, index.name)
        } else {
            if index.constraint {
                errors.insert(SqlState::DEPENDENT_OBJECTS);
            }
            format!("DROP INDEX {}", index.name)
        };
        self.definition_change(who, sql, Text::default(), Some(uid), errors, |overlay| {
            overlay.definitions.insert(uid, Some(Arc::new(next)));
        })
    }

    pub(super) fn plan_alter(&mut self, who: usize) -> Option<Planned> {
        let (uid, definition, newest) = self.table_to_change(who)?;
        let mut text = Text::default();
        let mut errors = HashSet::new();
        let mut next = Definition::clone(&definition);
        next.version += 1;
        let table = &definition.name;
        let live: Vec<usize> = definition.live().map(|(id, _)| id).collect();
        let taken: Vec<&str> = live.iter().map(|id| definition.columns[*id].name.as_str()).collect();
        let id = *self.random.pick(&live);
        let name = definition.columns[id].name.clone();
        let sql = match self.random.below(12) {
            0..=3 if taken.len() < COLUMNS.len() => {
                let (mut column, sql) = self.some_column(&taken, &mut text);
                column.missing.clone_from(&column.default);
                if column.not_null && column.missing.is_none() && newest.is_some_and(|newest| !newest.rows.is_empty()) {
                    errors.insert(SqlState::NOT_NULL_VIOLATION);
                }
                next.columns.push(column);
                format!("ADD COLUMN {sql}")
            }
            4..=5 if live.len() > 1 => {
                if definition.clustered.as_ref().is_some_and(|key| key.contains(&id)) {
                    errors.insert(SqlState::FEATURE_NOT_SUPPORTED);
                }
                next.columns[id].dropped = true;
                next.columns[id].not_null = false;
                let indexes = next.indexes.len();
                next.indexes.retain(|index| !index.columns.contains(&id));
                next.version += (indexes - next.indexes.len()) as u32;
                format!("DROP COLUMN {name}")
            }
            6..=7 => {
                let to = *self.random.pick(COLUMNS);
                if taken.contains(&to) {
                    errors.insert(SqlState::DUPLICATE_COLUMN);
                }
                next.columns[id].name = to.to_owned();
                format!("RENAME COLUMN {name} TO {to}")
            }
            8 => {
                let to = *self.random.pick(TABLES);
                if self.is_table(who, to) {
                    errors.insert(SqlState::DUPLICATE_TABLE);
                }
                next.name = to.to_owned();
                format!("RENAME TO {to}")
            }
            9 => {
                let kind = definition.columns[id].kind();
                let before = text.params.len();
                let (cell, literal) = loop {
                    let cell = some_cell(&mut self.random, kind, 4);
                    let literal = text.value(&mut self.random, kind, &cell);
                    if text.params.len() == before {
                        break (cell, literal);
                    }
                    text.params.truncate(before);
                };
                next.columns[id].default = cell;
                match self.random.one_in(3) {
                    true => {
                        next.columns[id].default = None;
                        format!("ALTER COLUMN {name} DROP DEFAULT")
                    }
                    false => format!("ALTER COLUMN {name} SET DEFAULT {literal}"),
                }
            }
            10 => {
                next.columns[id].not_null = true;
                if newest.is_some_and(|newest| has_null(&newest, id)) {
                    errors.insert(SqlState::NOT_NULL_VIOLATION);
                }
                format!("ALTER COLUMN {name} SET NOT NULL")
            }
            _ => {
                next.columns[id].not_null = false;
                if definition.primary().is_some_and(|key| key.contains(&id)) {
                    errors.insert(SqlState::INVALID_TABLE_DEFINITION);
                }
                format!("ALTER COLUMN {name} DROP NOT NULL")
            }
        };
        let sql = format!("ALTER TABLE {table} {sql}");
        self.definition_change(who, sql, text, Some(uid), errors, |overlay| {
            overlay.definitions.insert(uid, Some(Arc::new(next)));
        })
    }
}

fn has_null(table: &Table, id: usize) -> bool {
    table.rows.values().any(|row| table.definition.padded(&row.values).get(id).is_none_or(Option::is_none))
}

fn names(definition: &Definition, columns: &[usize]) -> String {
    let names: Vec<&str> = columns.iter().map(|id| definition.columns[*id].name.as_str()).collect();
    names.join(", ")
}

/// The live columns that a key can have.
fn key_columns(definition: &Definition) -> Vec<usize> {
    definition.live().filter(|(_, column)| column.kind().can_be_key()).map(|(id, _)| id).collect()
}
