//! Every question that can be asked of the past, and of now, against the model.

use std::sync::Arc;

use driftdb::{Rows, Session, SqlState, ToValue, Value};

use super::rows::{Condition, Text, key_condition};
use super::schedule::{Case, Check, cells, same, sorted};
use super::state::{Cell, Definition, State, Table, Version, named, versions};
use super::tables::TABLES;

/// How a point of system time is written.
#[derive(Clone, Debug)]
struct Point {
    sql: String,
    /// For a placeholder.
    param: Option<Value>,
}

fn ask(session: &Session, sql: &str, params: &[Value]) -> Check<Rows> {
    let given: Vec<&dyn ToValue> = params.iter().map(|value| value as &dyn ToValue).collect();
    session.query(sql, &given).map_err(|error| format!("{sql} {params:?}: {} {}", error.state, error.message))
}

fn within<T>(sql: &str, params: &[Value], check: Check<T>) -> Check<T> {
    check.map_err(|error| format!("{sql} {params:?}: {error}"))
}

impl Case {
    /// What a session sees in its transaction.
    pub(super) fn check_session(&mut self, who: usize) -> Check {
        self.note_statement(who);
        let seen = self.seen(who);
        for name in TABLES.iter().filter(|name| named(&seen, name).is_some()) {
            let sql = format!("SELECT * FROM {name}");
            let found = self.run(who, &sql, &[]);
            match (named(&seen, name), found) {
                (Some((_, table)), Ok(rows)) => {
                    let found = sorted(cells(&table.definition, &rows, 0)?);
                    same(&sql, &found, &table.shown())?;
                }
                (known, found) => {
                    return Err(format!("{sql}: {:?} where the model has {known:?}", found.map(|rows| rows.len())));
                }
            }
        }
        Ok(())
    }

    /// A few stamps, now and then.
    pub(super) fn check_some_stamps(&mut self) -> Check {
        let session = self.observer();
        for _ in 0..3 {
            let seq = self.random.below(self.commits.len());
            self.check_stamp(&session, seq, None)?;
        }
        self.check_now(&session)
    }

    /// Everything at every stamp.
    pub(super) fn check_all(&mut self) -> Check {
        let session = self.observer();
        let times = self.check_commits(&session)?;
        for seq in 0..self.commits.len() {
            self.check_stamp(&session, seq, Some(&times))?;
        }
        self.check_now(&session)?;
        for (uid, table) in self.last().clone() {
            let all = versions(&self.commits, uid);
            self.check_versions(&session, &table, &all, &times)?;
        }
        Ok(())
    }

    /// `driftdb.commits`; gives the time of each commit, with a place for the state before the first.
    fn check_commits(&mut self, session: &Session) -> Check<Vec<i64>> {
        let sql = "SELECT seq, time, rows, \"user\", application FROM driftdb.commits ORDER BY seq";
        let rows = ask(session, sql, &[])?;
        let mut times = vec![i64::MIN];
        for (at, row) in rows.iter().enumerate() {
            let [Value::Int8(seq), Value::TimestampTz(time), Value::Int8(written), user, application] = row else {
                return Err(format!("{sql}: {row:?}"));
            };
            same("a commit's seq", seq, &(at as i64 + 1))?;
            if self.written.get(at + 1).is_some_and(|expected| *expected != *written as u64) {
                return Err(format!("commit {seq} wrote {written} rows, not {}", self.written[at + 1]));
            }
            let who = (Value::Text("driftdb".to_owned()), Value::Text("model".to_owned()));
            same("who committed", &(user.clone(), application.clone()), &who)?;
            if times.last().is_some_and(|last| last >= time) {
                return Err(format!("commit {seq} is not later than the one before"));
            }
            times.push(*time);
        }
        same("commits", &times.len(), &self.commits.len())?;
        Ok(times)
    }

    /// Ways to write the point of commit `seq`: by its number and, where the times are known, by its time.
    fn points(&mut self, seq: usize, times: Option<&Vec<i64>>) -> Vec<Point> {
        let literal = |sql: String| Point { sql, param: None };
        let mut points = vec![match self.random.below(3) {
            0 => Point { sql: "$1".to_owned(), param: Some(Value::Int8(seq as i64)) },
            1 => literal(format!("@seq:{seq}")),
            _ => literal(format!("@SEQ:{seq}")),
        }];
        if let Some(times) = times.filter(|_| seq > 0) {
            // Any time from the commit's until the next one's is the same point.
            let end = times.get(seq + 1).copied().unwrap_or(times[seq] + 1);
            let time = times[seq]
                + if self.random.one_in(2) { 0 } else { self.random.below((end - times[seq]) as usize) as i64 };
            points.push(self.time_point(time));
        }
        points
    }

    fn time_point(&mut self, time: i64) -> Point {
        let value = Value::TimestampTz(time);
        let kind = super::state::TYPES.iter().find(|kind| kind.sql == "timestamptz").unwrap();
        let text = kind.cell(&value).unwrap();
        match self.random.below(4) {
            0 => Point { sql: "$1".to_owned(), param: Some(value) },
            1 => Point { sql: format!("'{text}'"), param: None },
            2 => Point { sql: format!("TIMESTAMP '{text}'"), param: None },
            _ => Point { sql: format!("(TIMESTAMPTZ '{text}' + interval '0 seconds')"), param: None },
        }
    }

    /// All tables as of one commit.
    fn check_stamp(&mut self, session: &Session, seq: usize, times: Option<&Vec<i64>>) -> Check {
        let state = self.commits[seq].clone();
        self.check_catalog(session, seq, &state)?;
        for name in TABLES {
            for point in self.points(seq, times) {
                let params: Vec<Value> = point.param.iter().cloned().collect();
                let from = format!("{name} FOR SYSTEM_TIME AS OF {}", point.sql);
                match named(&state, name) {
                    Some((_, table)) => self.check_table(session, table, &from, &params)?,
                    None => {
                        let sql = format!("SELECT count(*) FROM {from}");
                        let given: Vec<&dyn ToValue> = params.iter().map(|value| value as &dyn ToValue).collect();
                        let found = session.query(&sql, &given).err().map(|error| error.state);
                        within(&sql, &params, same("no table", &found, &Some(SqlState::UNDEFINED_TABLE)))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The names of tables and columns, as the information schema has them at a read point.
    fn check_catalog(&mut self, session: &Session, seq: usize, state: &State) -> Check {
        ask(session, &format!("SET driftdb.system_time = '@SEQ:{seq}'"), &[])?;
        let sql = "SELECT table_name, column_name, is_nullable FROM information_schema.columns \
                   WHERE table_schema = 'public' ORDER BY table_name, ordinal_position";
        let rows = ask(session, sql, &[]);
        ask(session, "SET driftdb.system_time = DEFAULT", &[])?;
        let text = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            other => format!("{other:?}"),
        };
        let found: Vec<Vec<String>> = rows?.iter().map(|row| row.iter().map(text).collect()).collect();
        let mut expected = Vec::new();
        for name in TABLES {
            let Some((_, table)) = named(state, name) else { continue };
            for (_, column) in table.definition.live() {
                let nullable = if column.not_null { "NO" } else { "YES" };
                expected.push(vec![(*name).to_owned(), column.name.clone(), nullable.to_owned()]);
            }
        }
        same(&format!("columns as of {seq}"), &found, &expected)
    }

    /// One table at one point (or now): all rows, an order, aggregates, rows by key and by index.
    fn check_table(&mut self, session: &Session, table: &Table, from: &str, params: &[Value]) -> Check {
        let definition = &table.definition;
        let sql = format!("SELECT * FROM {from}");
        let found = sorted(cells(definition, &ask(session, &sql, params)?, 0)?);
        within(&sql, params, same("rows", &found, &table.shown()))?;
        match self.random.below(3) {
            0 => check_aggregates(session, table, from, params)?,
            1 => self.check_order(session, table, from, params)?,
            _ => {}
        }
        self.check_key(session, table, from, params)
    }

    /// Rows by the primary key: one that is there, and one that may not be.
    fn check_key(&mut self, session: &Session, table: &Table, from: &str, params: &[Value]) -> Check {
        let definition = &table.definition;
        let Some(key) = definition.primary() else { return Ok(()) };
        let mut wanted: Vec<Vec<Cell>> = Vec::new();
        let rows: Vec<_> = table.rows.values().collect();
        if !rows.is_empty() {
            wanted.push(definition.padded(&rows[self.random.below(rows.len())].values));
        }
        if self.random.one_in(3) {
            let any = |column: &super::state::Column| Some(column.kind().pool[0].to_owned());
            wanted.push(definition.columns.iter().map(any).collect());
        }
        for row in wanted {
            self.check_condition(session, table, from, params, &key_condition(key, &row))?;
        }
        Ok(())
    }

    /// The rows that fulfil a condition.
    fn check_condition(
        &mut self,
        session: &Session,
        table: &Table,
        from: &str,
        params: &[Value],
        condition: &Condition,
    ) -> Check {
        let definition = &table.definition;
        let mut text = Text { params: params.to_vec() };
        let filter = condition.sql(&mut self.random, definition, &mut text);
        let sql = format!("SELECT * FROM {from} WHERE {filter}");
        let found = sorted(cells(definition, &ask(session, &sql, &text.params)?, 0)?);
        let holds = |values: &Vec<Cell>| condition.holds(definition, values);
        let rows = table.rows.values().map(|row| definition.padded(&row.values)).filter(holds);
        let expected = sorted(rows.map(|row| definition.shown(&row)).collect());
        within(&sql, &text.params, same("rows", &found, &expected))
    }

    /// ORDER BY a column that the model can order, both ways, with a LIMIT.
    fn check_order(&mut self, session: &Session, table: &Table, from: &str, params: &[Value]) -> Check {
        let definition = &table.definition;
        let able: Vec<usize> =
            definition.live().filter(|(_, column)| column.kind().ordered).map(|(id, _)| id).collect();
        if able.is_empty() {
            return Ok(());
        }
        let id = match definition.primary() {
            Some(key) if self.random.one_in(2) => key[0],
            _ => *self.random.pick(&able),
        };
        let (column, limit) = (&definition.columns[id], 1 + self.random.below(4));
        let down = self.random.one_in(2);
        let direction = if down { "DESC" } else { "ASC" };
        let sql = format!("SELECT {0} FROM {from} ORDER BY {0} {direction} LIMIT {limit}", column.name);
        let rows = ask(session, &sql, params)?;
        let found: Vec<Cell> = rows.iter().map(|row| column.kind().cell(&row[0])).collect();
        let mut expected: Vec<Cell> =
            table.rows.values().map(|row| definition.padded(&row.values)[id].clone()).collect();
        expected.sort_by(|a, b| match (a, b) {
            (Some(a), Some(b)) => column.kind().compare(a, b),
            // NULL is the last.
            (a, b) => a.is_none().cmp(&b.is_none()),
        });
        if down {
            expected.reverse();
        }
        expected.truncate(limit);
        within(&sql, params, same("order", &found, &expected))
    }

    /// The current state: through each index and through a scan.
    fn check_now(&mut self, session: &Session) -> Check {
        for (_, table) in self.last().clone() {
            let name = table.definition.name.clone();
            self.check_table(session, &table, &name, &[])?;
            let last = self.commits.len() - 1;
            for index in &table.definition.indexes {
                let rows: Vec<_> = table.rows.values().collect();
                let mut wanted = vec![
                    table.definition.columns.iter().map(|column| Some(column.kind().pool[0].to_owned())).collect(),
                ];
                if !rows.is_empty() {
                    wanted.push(table.definition.padded(&rows[self.random.below(rows.len())].values));
                }
                for row in wanted {
                    let condition = key_condition(&index.columns, &row);
                    for from in [name.clone(), format!("{name} FOR SYSTEM_TIME AS OF @SEQ:{last}")] {
                        self.check_condition(session, &table, &from, &[], &condition)?;
                    }
                    check_scan(session, &table, &condition)?;
                }
            }
        }
        Ok(())
    }

    /// Every version, and those of periods, and `driftdb.history`.
    fn check_versions(&mut self, session: &Session, table: &Arc<Table>, all: &[Version], times: &[i64]) -> Check {
        let definition = Arc::clone(&table.definition);
        let name = &definition.name;
        self.check_period(session, &definition, "ALL", &[], all.iter())?;
        let last = times.len() - 1;
        for _ in 0..4 {
            let (mut a, mut b) = (self.random.below(last + 2), self.random.below(last + 2));
            if a > b && !self.random.one_in(4) {
                std::mem::swap(&mut a, &mut b);
            }
            let (from, to) = (a as u64, b as u64);
            let by_time = self.random.one_in(2) && a > 0 && b > 0 && a <= last && b <= last;
            let point = |seq: usize| match by_time {
                false => format!("@SEQ:{seq}"),
                true => {
                    let kind = super::state::TYPES.iter().find(|kind| kind.sql == "timestamptz").unwrap();
                    format!("TIMESTAMPTZ '{}'", kind.cell(&Value::TimestampTz(times[seq])).unwrap())
                }
            };
            let ends_after = |version: &Version, point: u64| version.to.is_none_or(|to| to > point);
            let (a, b) = (point(a), point(b));
            // As in SQL:2011, a period that ends before it begins holds nothing.
            let overlap = all.iter().filter(|version| from < to && version.from < to && ends_after(version, from));
            self.check_period(session, &definition, &format!("FROM {a} TO {b}"), &[], overlap)?;
            let between = all.iter().filter(|version| from <= to && version.from <= to && ends_after(version, from));
            self.check_period(session, &definition, &format!("BETWEEN {a} AND {b}"), &[], between)?;
            let contained =
                all.iter().filter(|version| version.from >= from && version.to.is_some_and(|end| end <= to));
            self.check_period(session, &definition, &format!("CONTAINED IN ({a}, {b})"), &[], contained)?;
        }
        let list: Vec<&str> = definition.live().map(|(_, column)| column.name.as_str()).collect();
        let sql = format!("SELECT {}, _from_seq, _to_seq, op FROM driftdb.history('{name}')", list.join(", "));
        let found = sorted(cells(&definition, &ask(session, &sql, &[])?, 3)?);
        let mut expected = Vec::new();
        for version in all {
            let row = |from: u64, to: Option<u64>, op: &str| {
                let mut row = definition.shown(&version.values);
                row.extend([Some(from.to_string()), to.map(|to| to.to_string()), Some(op.to_owned())]);
                row
            };
            expected.push(row(version.from, version.to, if version.follows { "update" } else { "insert" }));
            if let Some(end) = version.to.filter(|_| !version.replaced) {
                expected.push(row(end, Some(end), "delete"));
            }
        }
        within(&sql, &[], same("history", &found, &sorted(expected)))
    }

    fn check_period<'v>(
        &mut self,
        session: &Session,
        definition: &Definition,
        clause: &str,
        params: &[Value],
        expected: impl Iterator<Item = &'v Version>,
    ) -> Check {
        let list: Vec<&str> = definition.live().map(|(_, column)| column.name.as_str()).collect();
        let sql =
            format!("SELECT {}, _from_seq, _to_seq FROM {} FOR SYSTEM_TIME {clause}", list.join(", "), definition.name);
        let found = sorted(cells(definition, &ask(session, &sql, params)?, 2)?);
        let row = |version: &Version| {
            let mut row = definition.shown(&version.values);
            row.extend([Some(version.from.to_string()), version.to.map(|to| to.to_string())]);
            row
        };
        within(&sql, params, same("versions", &found, &sorted(expected.map(row).collect())))
    }
}

/// count, count of a column, sum of whole numbers, least and greatest.
fn check_aggregates(session: &Session, table: &Table, from: &str, params: &[Value]) -> Check {
    let definition = &table.definition;
    let mut parts = vec!["count(*)".to_owned()];
    let rows: Vec<Vec<Cell>> = table.rows.values().map(|row| definition.padded(&row.values)).collect();
    let mut expected: Vec<Cell> = vec![Some(rows.len().to_string())];
    let mut kinds = Vec::new();
    for (id, column) in definition.live() {
        let values: Vec<&String> = rows.iter().filter_map(|row| row[id].as_ref()).collect();
        parts.push(format!("count({})", column.name));
        expected.push(Some(values.len().to_string()));
        if column.kind().is_integer() && !column.kind().pool.iter().any(|text| text.len() > 10) {
            parts.push(format!("CAST(sum({}) AS bigint)", column.name));
            let sum = values.iter().map(|text| text.parse::<i64>().unwrap()).reduce(|a, b| a + b);
            expected.push(sum.map(|sum| sum.to_string()));
        }
        let can_order = column.kind().ordered && !matches!(column.kind().sql, "bytea" | "uuid");
        if can_order {
            let order = |a: &&&String, b: &&&String| column.kind().compare(a, b);
            for (function, value) in [("min", values.iter().min_by(order)), ("max", values.iter().max_by(order))] {
                kinds.push((parts.len(), column.kind()));
                parts.push(format!("{function}({})", column.name));
                expected.push(value.map(|value| (*value).clone()));
            }
        }
    }
    let sql = format!("SELECT {} FROM {from}", parts.join(", "));
    let rows = ask(session, &sql, params)?;
    let row = rows.iter().next().ok_or("no row of aggregates")?;
    let found: Vec<Cell> = row
        .iter()
        .enumerate()
        .map(|(at, value)| match (kinds.iter().find(|(place, _)| *place == at), value) {
            (Some((_, kind)), value) => kind.cell(value),
            (None, Value::Null) => None,
            (None, Value::Int8(number)) => Some(number.to_string()),
            (None, other) => Some(format!("{other:?}")),
        })
        .collect();
    within(&sql, params, same("aggregates", &found, &expected))
}

/// A condition in a form that no index helps with.
fn check_scan(session: &Session, table: &Table, condition: &Condition) -> Check {
    let definition = &table.definition;
    let Condition::And(all) = condition else { return Ok(()) };
    let parts: Vec<String> = all
        .iter()
        .map(|one| match one {
            Condition::Compare(id, _, value) => {
                let column = &definition.columns[*id];
                let value = value.replace('\'', "''");
                format!("{} IS NOT DISTINCT FROM CAST('{value}' AS {})", column.name, column.kind().sql)
            }
            Condition::Null(id, _) => format!("{} IS NOT DISTINCT FROM NULL", definition.columns[*id].name),
            other => format!("{other:?}"),
        })
        .collect();
    let sql = format!("SELECT * FROM {} WHERE {}", definition.name, parts.join(" AND "));
    let found = sorted(cells(definition, &ask(session, &sql, &[])?, 0)?);
    let rows = table.rows.values().map(|row| definition.padded(&row.values));
    let rows = rows.filter(|row| condition.holds(definition, row)).map(|row| definition.shown(&row));
    within(&sql, &[], same("rows by scan", &found, &sorted(rows.collect())))
}
