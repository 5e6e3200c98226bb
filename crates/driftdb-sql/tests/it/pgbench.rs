//! What pgbench sends, in its three protocols.

use driftdb_sql::{Outcome, Prepared, Session};
use driftdb_types::parse_value;

use crate::runner::{Fixture, extended, simple};

const SCALE: i64 = 1;
const ACCOUNTS: i64 = 2_000;

/// `pgbench -i`, its statements word for word.
fn initialise(session: &mut Session) {
    for sql in [
        "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "create table pgbench_history(tid int,bid int,aid    int,delta int,mtime timestamp,filler char(22))",
        "create table pgbench_tellers(tid int not null,bid int,tbalance int,filler char(84)) with (fillfactor=100)",
        "create table pgbench_accounts(aid    int not null,bid int,abalance int,filler char(84)) with (fillfactor=100)",
        "create table pgbench_branches(bid int not null,bbalance int,filler char(88)) with (fillfactor=100)",
        "begin",
        "truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "insert into pgbench_branches(bid,bbalance) values(1,0)",
    ] {
        simple(session, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    for teller in 1..=10 {
        simple(session, &format!("insert into pgbench_tellers(tid,bid,tbalance) values ({teller},1,0)")).unwrap();
    }
    let mut query = session.simple_query("copy pgbench_accounts from stdin with (freeze on)");
    let Some(Outcome::CopyIn(mut copy)) = query.next(session).unwrap() else { panic!("no COPY") };
    for aid in 1..=ACCOUNTS {
        copy.write(session, format!("{aid}\t1\t0\t\n").as_bytes()).unwrap();
    }
    assert_eq!(copy.finish(session).unwrap(), format!("COPY {ACCOUNTS}"));
    assert!(query.next(session).unwrap().is_none());
    for sql in [
        "commit",
        "vacuum analyze pgbench_branches",
        "vacuum analyze pgbench_tellers",
        "vacuum analyze pgbench_accounts",
        "vacuum analyze pgbench_history",
        "alter table pgbench_branches add primary key (bid)",
        "alter table pgbench_tellers add primary key (tid)",
        "alter table pgbench_accounts add primary key (aid)",
    ] {
        simple(session, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

const TRANSACTION: [&str; 7] = [
    "BEGIN;",
    "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;",
    "SELECT abalance FROM pgbench_accounts WHERE aid = $1;",
    "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2;",
    "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2;",
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP);",
    "END;",
];

/// The parameters of each statement of a transaction, as text.
fn parameters(n: i64) -> [Vec<String>; 7] {
    let (aid, tid, bid, delta) = (n * 37 % ACCOUNTS + 1, n % 10 + 1, SCALE, n * 101 % 10_000 - 5_000);
    let text = |values: &[i64]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    [
        text(&[]),
        text(&[delta, aid]),
        text(&[aid]),
        text(&[delta, tid]),
        text(&[delta, bid]),
        text(&[tid, bid, aid, delta]),
        text(&[]),
    ]
}

fn check_sums(session: &mut Session, at: &str) {
    let sum = |session: &mut Session, column: &str, table: &str| {
        simple(session, &format!("SELECT coalesce(sum({column}), 0) FROM {table} {at}")).unwrap().rows
    };
    let accounts = sum(session, "abalance", "pgbench_accounts");
    assert_eq!(accounts, sum(session, "tbalance", "pgbench_tellers"), "{at}");
    assert_eq!(accounts, sum(session, "bbalance", "pgbench_branches"), "{at}");
    assert_eq!(accounts, sum(session, "delta", "pgbench_history"), "{at}");
}

#[test]
fn all_three_protocols_agree() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    initialise(&mut session);
    assert_eq!(simple(&mut session, "select count(*) from pgbench_branches").unwrap().rows, ["1"]);
    let prepared: Vec<Prepared> = TRANSACTION
        .iter()
        .map(|sql| {
            let statement = session.parse_one(sql).unwrap().unwrap();
            let prepared = session.prepare(&statement, &[]).unwrap();
            session.sync().unwrap();
            prepared
        })
        .collect();
    for n in 0..30 {
        for ((sql, prepared), parameters) in TRANSACTION.iter().zip(&prepared).zip(parameters(n)) {
            match n % 3 {
                0 => {
                    let sql = parameters.iter().enumerate().fold((*sql).to_owned(), |sql, (position, value)| {
                        sql.replace(&format!("${}", position + 1), value)
                    });
                    simple(&mut session, &sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                }
                1 => {
                    let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
                    extended(&mut session, sql, &parameters).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                }
                _ => {
                    let tz = session.time_zone().clone();
                    let values = parameters
                        .iter()
                        .zip(prepared.params())
                        .map(|(text, data_type)| parse_value(*data_type, text, &tz).unwrap())
                        .collect();
                    match session.execute(prepared, values).unwrap_or_else(|error| panic!("{sql}: {error:?}")) {
                        Outcome::Rows(rows) => assert_eq!(rows.collect().unwrap().len(), 1, "{sql}"),
                        Outcome::Command { .. } => {}
                        other => panic!("{sql}: {other:?}"),
                    }
                    session.sync().unwrap();
                }
            }
        }
    }
    assert_eq!(simple(&mut session, "SELECT count(*) FROM pgbench_history").unwrap().rows, ["30"]);
    let last = fixture.db.engine().stamp().seq.0;
    for seq in (last - 30)..=last {
        check_sums(&mut session, &format!("FOR SYSTEM_TIME AS OF @SEQ:{seq}"));
    }
    check_sums(&mut session, "");
}

#[test]
fn its_statements_are_point_plans() {
    let fixture = Fixture::new();
    let mut session = fixture.session();
    initialise(&mut session);
    for (sql, plan) in [
        (
            "UPDATE pgbench_accounts SET abalance = abalance + 5 WHERE aid = 7",
            "Point Update on pgbench_accounts using pgbench_accounts_pkey",
        ),
        (
            "SELECT abalance FROM pgbench_accounts WHERE aid = 7",
            "Point Select on pgbench_accounts using pgbench_accounts_pkey",
        ),
        (
            "UPDATE pgbench_tellers SET tbalance = tbalance + -5 WHERE tid = 7",
            "Point Update on pgbench_tellers using pgbench_tellers_pkey",
        ),
    ] {
        assert_eq!(simple(&mut session, &format!("EXPLAIN {sql}")).unwrap().rows, [plan]);
    }
}
