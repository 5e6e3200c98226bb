use driftdb_types::SqlState;

use super::temporal::{PointExpr, SystemTime, system_time_of};
use super::*;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, TableFactor};

fn one(sql: &str) -> Statement {
    let mut statements = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    assert_eq!(statements.len(), 1, "{sql}");
    statements.pop().unwrap()
}

fn error(sql: &str) -> Error {
    match parse(sql) {
        Ok(statements) => panic!("{sql} gave {statements:?}"),
        Err(error) => error,
    }
}

fn unsupported(sql: &str, clause: &str) {
    let error = error(sql);
    assert_eq!(error.state, SqlState::FEATURE_NOT_SUPPORTED, "{sql}: {error:?}");
    assert!(error.message.contains(clause), "{sql}: {}", error.message);
}

/// The clauses of the tables in FROM, in a short form, with their aliases.
fn clauses(sql: &str) -> Vec<String> {
    let statement = one(sql);
    let Kind::Query(query) = statement.kind() else { panic!("{sql}") };
    let SetExpr::Select(select) = query.query.body.as_ref() else { panic!("{sql}") };
    let show = |point: PointExpr<'_>| match point {
        PointExpr::Seq(expr) => format!("#{expr}"),
        PointExpr::Expr(expr) => expr.to_string(),
    };
    let factors = select
        .from
        .iter()
        .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
    factors
        .map(|factor| {
            let TableFactor::Table { name, alias, version, .. } = factor else { panic!("{sql}") };
            let clause = match version.as_ref().map(|version| system_time_of(version).unwrap()) {
                None => "now".to_owned(),
                Some(SystemTime::AsOf(point)) => format!("as of {}", show(point)),
                Some(SystemTime::FromTo(a, b)) => format!("from {} to {}", show(a), show(b)),
                Some(SystemTime::Between(a, b)) => format!("between {} and {}", show(a), show(b)),
                Some(SystemTime::ContainedIn(a, b)) => format!("in {}, {}", show(a), show(b)),
                Some(SystemTime::All) => "all".to_owned(),
            };
            let alias = alias.as_ref().map(|alias| format!(" as {}", alias.name)).unwrap_or_default();
            format!("{name}: {clause}{alias}")
        })
        .collect()
}

#[test]
fn reads_every_form_of_the_system_time_clause() {
    let cases = [
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01'", "t: as of TIMESTAMP '2026-01-01'"),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF '2026-01-01' WHERE a = 1", "t: as of '2026-01-01'"),
        ("SELECT * FROM t for system_time as of @seq:42 o", "t: as of #42 as o"),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF @SEQ:$1 AS o", "t: as of #$1 as o"),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF $1 ORDER BY 1", "t: as of $1"),
        (
            "SELECT * FROM t FOR SYSTEM_TIME AS OF now() - interval '5 minutes' AS o",
            "t: as of now() - INTERVAL '5 minutes' as o",
        ),
        (
            "SELECT * FROM t FOR SYSTEM_TIME FROM a() TO b() + interval '1 day' x",
            "t: from a() to b() + INTERVAL '1 day' as x",
        ),
        ("SELECT * FROM t FOR SYSTEM_TIME FROM @SEQ:1 TO @SEQ:2", "t: from #1 to #2"),
        (
            "SELECT * FROM t FOR SYSTEM_TIME FROM (SELECT min(x) FROM y) TO '2026-01-01'",
            "t: from (SELECT min(x) FROM y) to '2026-01-01'",
        ),
        (
            "SELECT * FROM t FOR SYSTEM_TIME BETWEEN '2025-01-01' AND now() WHERE b AND c",
            "t: between '2025-01-01' and now()",
        ),
        ("SELECT * FROM t FOR SYSTEM_TIME BETWEEN @SEQ:1 AND @SEQ:$2", "t: between #1 and #$2"),
        ("SELECT * FROM t FOR SYSTEM_TIME CONTAINED IN ('2025-01-01', $2) o", "t: in '2025-01-01', $2 as o"),
        ("SELECT * FROM t FOR SYSTEM_TIME CONTAINED IN (@SEQ:1, @SEQ:9)", "t: in #1, #9"),
        ("SELECT * FROM t FOR SYSTEM_TIME ALL", "t: all"),
        ("SELECT * FROM t FOR SYSTEM_TIME ALL AS o WHERE o.a = 1", "t: all as o"),
        // The alias before the clause.
        ("SELECT * FROM t o FOR SYSTEM_TIME AS OF @SEQ:1", "t: as of #1 as o"),
        ("SELECT * FROM public.t AS o FOR SYSTEM_TIME ALL", "public.t: all as o"),
        ("SELECT * FROM public.t FOR SYSTEM_TIME ALL", "public.t: all"),
        ("SELECT * FROM \"T\" \"O\" FOR SYSTEM_TIME ALL", "\"T\": all as \"O\""),
        ("SELECT * FROM \"from\" FOR SYSTEM_TIME ALL", "\"from\": all"),
    ];
    for (sql, expected) in cases {
        assert_eq!(clauses(sql), [expected], "{sql}");
    }
}

#[test]
fn every_table_has_its_own_clause() {
    let sql = "SELECT * FROM a x FOR SYSTEM_TIME AS OF @SEQ:1 JOIN b FOR SYSTEM_TIME ALL AS y ON x.i = y.i, c z \
               FOR SYSTEM_TIME FROM '1' TO '2', d";
    assert_eq!(clauses(sql), ["a: as of #1 as x", "b: all as y", "c: from '1' to '2' as z", "d: now"]);
}

#[test]
fn refuses_broken_system_time_clauses() {
    for (sql, near) in [
        ("SELECT * FROM t FOR SYSTEM_TIME", "end of input"),
        ("SELECT * FROM t FOR SYSTEM_TIME UNTIL '1'", "\"UNTIL\""),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF @SEQ", "end of input"),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF @SEQ:x", "\"x\""),
        ("SELECT * FROM t FOR SYSTEM_TIME FROM '1' WHERE a", "end of input"),
        ("SELECT * FROM t FOR SYSTEM_TIME CONTAINED ('1', '2')", "\"(\""),
        ("SELECT __st_all FROM t", "\"__st_all\""),
        ("SELECT * FROM t o FOR SYSTEM_TIME ALL AS p", "before and after"),
        ("SELECT * FROM t FOR SYSTEM_TIME CONTAINED IN ('1')", "takes two points"),
    ] {
        let error = error(sql);
        assert_eq!(error.state, SqlState::SYNTAX_ERROR, "{sql}: {error:?}");
        assert!(error.message.contains(near), "{sql}: {}", error.message);
    }
    unsupported("SELECT * FROM t FOR SYSTEM_TIME AS OF '1' WITH CURRENT SCHEMA", "WITH CURRENT SCHEMA");
    unsupported("SELECT * FROM t AT (TIMESTAMP => 1)", "AT (…)");
    unsupported("SELECT * FROM t VERSION AS OF 1", "VERSION AS OF");
}

#[test]
fn the_past_is_no_target() {
    for sql in [
        "UPDATE t FOR SYSTEM_TIME AS OF @SEQ:1 SET a = 1",
        "DELETE FROM t FOR SYSTEM_TIME AS OF @SEQ:1",
        "SELECT * FROM t FOR SYSTEM_TIME AS OF @SEQ:1 FOR UPDATE",
        "SELECT * FROM t o FOR SYSTEM_TIME ALL FOR UPDATE",
    ] {
        assert_eq!(error(sql).state, SqlState::READ_ONLY_SQL_TRANSACTION, "{sql}");
    }
    one("UPDATE t SET a = o.a FROM t FOR SYSTEM_TIME AS OF @SEQ:1 o WHERE o.i = t.i");
    one("DELETE FROM t USING t FOR SYSTEM_TIME ALL AS o WHERE o.i = t.i");
    one("INSERT INTO t SELECT * FROM t FOR SYSTEM_TIME AS OF @SEQ:1");
}

#[test]
fn refuses_by_name_what_is_not_done() {
    let mut wrong = Vec::new();
    for (sql, clause) in [
        ("SELECT * INTO u FROM t", "SELECT INTO"),
        ("SELECT a FROM t GROUP BY ALL", "GROUP BY ALL"),
        ("SELECT a FROM t FETCH FIRST 2 ROWS WITH TIES", "WITH TIES"),
        ("SELECT a FROM t FETCH FIRST 2 PERCENT ROWS ONLY", "PERCENT"),
        ("SELECT a FROM (SELECT a FROM t FOR SHARE) x", "FOR SHARE"),
        ("SELECT a FROM (SELECT a FROM t FOR UPDATE) x", "FOR UPDATE"),
        ("SELECT a FROM t, u FOR UPDATE", "more or less than one table"),
        ("SELECT a FROM t JOIN u USING (a) FOR UPDATE", "a join"),
        ("SELECT a FROM t GROUP BY a FOR UPDATE", "GROUP BY"),
        ("SELECT DISTINCT a FROM t FOR UPDATE", "DISTINCT"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x", "data-modifying"),
        ("SELECT * FROM t TABLESAMPLE SYSTEM (10)", "TABLESAMPLE"),
        ("SELECT * FROM f(a) WITH ORDINALITY", "ORDINALITY"),
        ("SELECT f(a => 1)", "named arguments"),
        ("SELECT a[1:2] FROM t", "a slice"),
        ("SELECT |/ 4", "operator"),
        ("UPDATE t SET (a, b) = (SELECT 1, 2)", "SET (…) = (SELECT …)"),
        ("UPDATE t JOIN u ON true SET a = 1", "a join"),
        ("DELETE FROM t, u", "several tables"),
        ("INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1", "ON DUPLICATE KEY"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE FUNCTION"),
        ("CREATE DATABASE d", "CREATE DATABASE"),
        ("ALTER TABLE t OWNER TO x", "OWNER"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "ENABLE"),
        ("DROP VIEW v", "DROP VIEW"),
        ("DROP INDEX CONCURRENTLY i", "CONCURRENTLY"),
        ("TRUNCATE t RESTART IDENTITY", "RESTART IDENTITY"),
        ("COPY t FROM '/etc/passwd'", "file"),
        ("COPY t FROM STDIN (FORMAT binary)", "binary"),
        ("COPY t FROM STDIN (FORMAT text, QUOTE '\"')", "QUOTE"),
        ("COPY t FROM STDIN WHERE a > 1", "WHERE"),
        ("COPY (DELETE FROM t) TO STDOUT", "other than a query"),
        ("EXPLAIN (FORMAT json) SELECT 1", "FORMAT json"),
        ("COMMIT PREPARED 'x'", "COMMIT PREPARED"),
        ("SET ROLE x", "SET ROLE"),
        ("SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS"),
        ("LOCK TABLE t", "LOCK"),
        ("LISTEN x", "LISTEN"),
        ("DECLARE c CURSOR FOR SELECT 1", "DECLARE"),
        ("CALL p()", "CALL"),
        ("UNDROP TABLE t", "UNDROP"),
        ("ERASE FROM t USING u WHERE a = 1", "USING in ERASE"),
    ] {
        match parse(sql) {
            Err(error) if error.state == SqlState::FEATURE_NOT_SUPPORTED && error.message.contains(clause) => {}
            other => wrong.push(format!("{sql}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn errors_point_into_the_text() {
    for (sql, position, message) in [
        ("SELEC 1", 1, "syntax error at or near \"SELEC\""),
        ("SELECT 1;\n  SELECT FROM WHERE", 25, "syntax error at or near \"WHERE\""),
        ("SELECT 'é', é FRM t x y", 19, "syntax error at or near \"t\""),
        ("INSERT INTO t VALUES (1", 24, "syntax error at end of input"),
        ("COMMIT now", 8, "syntax error at or near \"now\""),
        ("SELECT 1 FROM t TABLESAMPLE SYSTEM (1)", 15, "TABLESAMPLE is not supported"),
    ] {
        let error = error(sql);
        assert_eq!((error.position, error.message.as_str()), (Some(position), message), "{sql}");
    }
    assert_eq!(error("SELECT 'abc").state, SqlState::SYNTAX_ERROR);
    assert_eq!(error("SELECT $0").state, SqlState::UNDEFINED_PARAMETER);
    assert_eq!(error("SELECT 1\0").state, SqlState::CHARACTER_NOT_IN_REPERTOIRE);
}

#[test]
fn splits_statements_at_semicolons_outside_of_strings() {
    let sql = ";; SELECT ';' AS \";\" -- ;\n; SELECT $$;$$ /* ; */;";
    assert_eq!(parse(sql).unwrap().len(), 2);
    assert_eq!(parse(" -- nothing\n ; ").unwrap().len(), 0);
}

#[test]
fn deep_statements_are_refused_before_they_are_walked() {
    let chain = |n: usize, op: &str| format!("SELECT {}", vec!["1"; n].join(op));
    assert_eq!(error(&chain(5000, "+")).state, SqlState::PROGRAM_LIMIT_EXCEEDED);
    assert_eq!(error(&chain(5000, " OR ")).state, SqlState::PROGRAM_LIMIT_EXCEEDED);
    assert_eq!(error(&vec!["SELECT 1"; 3000].join(" UNION ")).state, SqlState::PROGRAM_LIMIT_EXCEEDED);
    let nested = format!("SELECT {}1{}", "(".repeat(3000), ")".repeat(3000));
    assert_eq!(error(&nested).state, SqlState::PROGRAM_LIMIT_EXCEEDED);
    one(&chain(900, "+"));
    // If each argument were read twice this would not end.
    let calls = |n: usize| format!("SELECT {}1{}", "abs(".repeat(n), ")".repeat(n));
    one(&calls(60));
    assert_eq!(error(&calls(3000)).state, SqlState::PROGRAM_LIMIT_EXCEEDED);
    // Long is not deep.
    one(&format!("INSERT INTO t VALUES {}", vec!["(1, -2, 3 + 4)"; 2000].join(", ")));
    one(&format!("SELECT * FROM t WHERE a IN ({})", vec!["-1"; 5000].join(", ")));
}

#[test]
fn commands_are_read() {
    let shown = |sql: &str| format!("{:?}", one(sql).kind());
    assert!(shown("start transaction isolation level repeatable read, read only").contains("Some(true)"));
    assert!(shown("BEGIN READ ONLY AS OF now() - interval '1 hour'").contains("as_of: Some"));
    assert!(shown("BEGIN TRANSACTION READ ONLY, AS OF @SEQ:7").contains("is_seq: true"));
    assert_eq!(shown("SET a.b TO x, 'y', -3"), "Set { local: false, name: \"a.b\", value: Some(\"x, y, -3\") }");
    assert_eq!(shown("SET LOCAL x = DEFAULT"), "Set { local: true, name: \"x\", value: None }");
    assert_eq!(shown("SET TIME ZONE 'UTC'"), "Set { local: false, name: \"timezone\", value: Some(\"UTC\") }");
    assert_eq!(
        shown("SET driftdb.system_time = @SEQ:5"),
        "Set { local: false, name: \"driftdb.system_time\", value: Some(\"@SEQ:5\") }"
    );
    assert_eq!(shown("RESET ALL"), "ResetAll");
    assert_eq!(shown("rollback work to savepoint \"A\""), "RollbackTo(\"A\")");
    assert_eq!(shown("ABORT"), "Rollback { chain: false }");
    assert_eq!(shown("END TRANSACTION AND NO CHAIN"), "Commit { chain: false }");
    assert_eq!(shown("DEALLOCATE PREPARE ALL"), "Deallocate(None)");
    assert!(shown("copy pgbench_accounts from stdin with (freeze on)").contains("from_stdin: true"));
    assert!(shown("COPY t (a, b) TO STDOUT WITH CSV HEADER DELIMITER ';' NULL 'x'").contains("Yes"));
    assert!(
        shown("truncate pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers").contains("Truncate")
    );
    assert!(shown("drop table if exists pgbench_accounts, pgbench_branches").contains("if_exists: true"));
    assert!(shown("vacuum analyze pgbench_branches").contains("VACUUM"));
}

#[test]
fn the_highest_parameter_is_known() {
    assert_eq!(one("SELECT $3, $1").parameters(), 3);
    assert_eq!(one("SELECT * FROM t FOR SYSTEM_TIME AS OF $2").parameters(), 2);
    assert_eq!(
        one("INSERT INTO t VALUES ($1, DEFAULT) ON CONFLICT (a) DO UPDATE SET b = $4 RETURNING $5").parameters(),
        5
    );
    assert_eq!(one("EXPLAIN SELECT $2").parameters(), 2);
    assert_eq!(one("UPDATE t SET a = $1 FROM u WHERE u.b = $2").parameters(), 2);
}

#[test]
fn is_distinct_from_binds_tighter_than_and() {
    let query = parse_query("SELECT a IS NOT DISTINCT FROM b AND c, a IS DISTINCT FROM b = 1 OR c").unwrap();
    let SetExpr::Select(select) = *query.body else { panic!("no SELECT") };
    let tops: Vec<String> = select
        .projection
        .iter()
        .map(|item| match item {
            SelectItem::UnnamedExpr(Expr::BinaryOp { left, op, right }) => format!("[{left}] {op} [{right}]"),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(tops, ["[a IS NOT DISTINCT FROM b] AND [c]", "[a IS DISTINCT FROM b = 1] OR [c]"]);
}
