//! A point plan answers as the general path does: random expressions and conditions, run both ways.
//!
//! ORDER BY is what no point plan covers, so the same query with it goes through DataFusion. There a column of `numeric`
//! has one scale for all its rows, so the digits of numbers are compared as far as both have them; names are compared in
//! unit tests.

use std::fmt::Write as _;

use crate::runner::{Fixture, simple};

/// A small generator, seeded, so that a failure can be run again (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.next(from.len() as u64)).unwrap()]
    }

    fn number(&mut self, depth: u32) -> String {
        if depth == 0 || self.next(4) == 0 {
            return self
                .pick(&[
                    "i",
                    "s",
                    "l",
                    "f",
                    "n",
                    "0",
                    "1",
                    "-7",
                    "3",
                    "2147483647",
                    "9000000000",
                    "2.50",
                    "NULL::int",
                    "r",
                ])
                .to_owned();
        }
        let d = depth - 1;
        match self.next(7) {
            0..=2 => {
                let op = self.pick(&["+", "-", "*", "/", "%"]);
                format!("({} {op} {})", self.number(d), self.number(d))
            }
            3 => format!("(CASE WHEN {} THEN {} ELSE {} END)", self.truth(d), self.number(d), self.number(d)),
            4 => format!("coalesce({}, {})", self.number(d), self.number(d)),
            5 => format!(
                "({})::{}",
                self.number(d),
                self.pick(&["int", "bigint", "numeric", "float8", "smallint", "text::int"])
            ),
            _ => format!("{}({})", self.pick(&["abs", "-"]), self.number(d)),
        }
    }

    fn text(&mut self, depth: u32) -> String {
        if depth == 0 || self.next(3) == 0 {
            return self.pick(&["t", "v", "'ab'", "'x y'", "''", "'Äö'"]).to_owned();
        }
        let d = depth - 1;
        match self.next(5) {
            0 => format!("({} || {})", self.text(d), self.text(d)),
            1 => format!("{}({})", self.pick(&["upper", "lower"]), self.text(d)),
            2 => format!("nullif({}, {})", self.text(d), self.text(d)),
            3 => format!("({})::text", self.number(d)),
            _ => format!("coalesce({}, {})", self.text(d), self.text(d)),
        }
    }

    fn truth(&mut self, depth: u32) -> String {
        if depth == 0 || self.next(8) == 0 {
            return self.pick(&["b", "true", "false", "i > 1", "t = 'ab'", "n IS NULL"]).to_owned();
        }
        let d = depth - 1;
        match self.next(9) {
            0..=2 => {
                let op = self.pick(&["=", "<>", "<", "<=", ">", ">="]);
                format!("({} {op} {})", self.number(d), self.number(d))
            }
            3 => format!("({} {} {})", self.text(d), self.pick(&["=", "<", ">="]), self.text(d)),
            4 => format!("({} {} {})", self.truth(d), self.pick(&["AND", "OR"]), self.truth(d)),
            5 => format!("(NOT {})", self.truth(d)),
            6 => format!("({} {})", self.truth(d), self.pick(&["IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NULL"])),
            7 => {
                let negated = self.pick(&["", "NOT "]);
                format!("({} {negated}IN ({}, {}))", self.number(d), self.number(d), self.number(d))
            }
            _ => {
                let negated = self.pick(&["", "NOT "]);
                format!("({} {negated}BETWEEN {} AND {})", self.number(d), self.number(d), self.number(d))
            }
        }
    }
}

fn same(found: &str, expected: &str) -> bool {
    let decimals = found.contains('.') || expected.contains('.');
    match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(a), Ok(b)) if decimals => (a - b).abs() <= 1e-7 * a.abs().max(b.abs()),
        _ => found == expected,
    }
}

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    let table = "CREATE TABLE t (id int PRIMARY KEY, i int, s smallint, l bigint, f float8, r real, n numeric(8,2), t text, \
                 v varchar(5), b bool)";
    simple(&mut session, table).unwrap();
    let rows = "INSERT INTO t VALUES (1, 7, -3, 8000000000, 0.5, 1.25, 10.25, 'ab', 'xyz', true), \
                (2, NULL, 0, -1, 'NaN', -2.5, NULL, NULL, '', false), \
                (3, -2147483648, 32767, NULL, 1e300, NULL, -0.01, 'x y', 'Äö', NULL)";
    simple(&mut session, rows).unwrap();
    fixture
}

/// Runs random queries both ways. Errors may come in another order of evaluation, so an error one way is compared by
/// its class only when both ways fail.
fn compare(seed: u64, count: usize) {
    let fixture = fixture();
    let mut session = fixture.session();
    let mut random = Random(seed);
    let mut wrong = String::new();
    let (mut covered, mut answered, mut only_one_failed) = (0, 0, 0);
    for _ in 0..count {
        let expr = match random.next(3) {
            0 => random.number(3),
            1 => random.text(3),
            _ => random.truth(3),
        };
        let id = random.next(4);
        let condition = match random.next(2) {
            0 => format!("id = {id}"),
            _ => format!("id = {id} AND {}", random.truth(2)),
        };
        let point = format!("SELECT {expr} FROM t WHERE {condition}");
        let plan = simple(&mut session, &format!("EXPLAIN {point}"));
        if !plan.is_ok_and(|plan| plan.rows[0].starts_with("Point Select")) {
            continue;
        }
        covered += 1;
        let general = format!("{point} ORDER BY id");
        let answers = [&point, &general].map(|sql| simple(&mut session, sql).map(|answer| answer.rows));
        match answers {
            [Ok(found), Ok(expected)]
                if found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| same(a, b)) =>
            {
                answered += 1;
            }
            [Err(found), Err(expected)] if found.state == expected.state => {}
            // In which order conditions are looked at is free, and so is whether what cannot matter is calculated.
            [Ok(_), Err(_)] | [Err(_), Ok(_)] => only_one_failed += 1,
            [found, expected] => {
                writeln!(wrong, "{point}\n  point:   {found:?}\n  general: {expected:?}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "seed {seed}\n{wrong}");
    assert!(only_one_failed * 20 < covered, "{only_one_failed} of {covered} failed one way only");
    assert!(covered > count / 5 && answered > covered / 4, "{covered} of {count} were covered, {answered} answered");
}

#[test]
fn point_and_general_plans_agree() {
    let seed = std::env::var("DRIFTDB_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    compare(seed, 600);
}
