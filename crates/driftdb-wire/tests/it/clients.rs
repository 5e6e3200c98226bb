//! Programs nobody here wrote: tokio-postgres and psql.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

use crate::harness::{PASSWORD, TestServer, USER};

/// Takes some minutes.
const LONG: &str = "select count(*) from generate_series(1, 100000000000) as n (i) where i < 0";

/// Runs a test against a server that neither begins nor ends inside of a runtime.
fn with_server(test: impl AsyncFnOnce(&TestServer)) {
    let server = TestServer::scram();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(&server));
}

async fn connect(server: &TestServer) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(server.addr.port()).user(USER).password(PASSWORD).dbname("driftdb");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn values_go_and_come_in_binary() {
    with_server(async |server| {
        let client = connect(server).await;
        client
        .batch_execute(
            "create table v (id int8 primary key, b bool, i2 int2, i4 int4, f4 float4, f8 float8, t text, c varchar(9), y bytea)",
        )
        .await
        .unwrap();
        let insert = client.prepare("insert into v values ($1, $2, $3, $4, $5, $6, $7, $8, $9)").await.unwrap();
        let row = (7_i64, true, -2_i16, 40_000_i32, 1.5_f32, -0.25_f64, "tëxt", "vär", vec![0_u8, 255, 10]);
        let written = client
            .execute(&insert, &[&row.0, &row.1, &row.2, &row.3, &row.4, &row.5, &row.6, &row.7, &row.8])
            .await
            .unwrap();
        assert_eq!(written, 1);
        let nulls: [Option<i32>; 1] = [None];
        client.execute("insert into v (id, i4) values ($1, $2)", &[&8_i64, &nulls[0]]).await.unwrap();
        let rows = client.query("select * from v where id = $1", &[&7_i64]).await.unwrap();
        let types: Vec<&Type> = rows[0].columns().iter().map(|column| column.type_()).collect();
        let expected = [
            Type::INT8,
            Type::BOOL,
            Type::INT2,
            Type::INT4,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::TEXT,
            Type::VARCHAR,
            Type::BYTEA,
        ];
        assert!(types.into_iter().eq(&expected));
        let row_back = &rows[0];
        assert_eq!(row_back.get::<_, i64>(0), row.0);
        assert_eq!(row_back.get::<_, bool>(1), row.1);
        assert_eq!(row_back.get::<_, i16>(2), row.2);
        assert_eq!(row_back.get::<_, i32>(3), row.3);
        assert_eq!(row_back.get::<_, f32>(4).to_bits(), row.4.to_bits());
        assert_eq!(row_back.get::<_, f64>(5).to_bits(), row.5.to_bits());
        assert_eq!(row_back.get::<_, &str>(6), row.6);
        assert_eq!(row_back.get::<_, &str>(7), row.7);
        assert_eq!(row_back.get::<_, Vec<u8>>(8), row.8);
        let row = client.query_one("select * from v where id = $1", &[&8_i64]).await.unwrap();
        assert_eq!(row.get::<_, Option<i32>>(3), None);
    });
}

#[test]
fn several_statements_are_one_transaction() {
    with_server(async |server| {
        let client = connect(server).await;
        let messages = client
            .simple_query(
                "create table t (a int); insert into t values (1), (2); select a from t order by a; delete from t",
            )
            .await
            .unwrap();
        let values: Vec<&str> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            })
            .collect();
        assert_eq!(values, ["1", "2"]);
        let error = client.simple_query("insert into t values (3); select 1 / 0; insert into t values (4)").await;
        assert_eq!(error.unwrap_err().code().unwrap().code(), "22012");
        assert!(client.query("select * from t", &[]).await.unwrap().is_empty());
    });
}

#[test]
fn errors_say_where() {
    with_server(async |server| {
        let client = connect(server).await;
        let error = client.query("selec 1", &[]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.severity(), error.code().code()), ("ERROR", "42601"));
        let error = client.simple_query("select 1; select * from nowhere").await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42P01");
        assert!(error.message().contains("nowhere"));
        // The connection is as good as new.
        assert_eq!(client.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    });
}

#[test]
fn a_large_result_streams_and_portals_page_it() {
    with_server(async |server| {
        let mut client = connect(server).await;
        client.batch_execute("create table n (i int primary key, t text)").await.unwrap();
        let sink = client.copy_in("copy n from stdin").await.unwrap();
        tokio::pin!(sink);
        for chunk in 0..20 {
            let lines: String = (0..1000).map(|i| format!("{}\t{}\n", chunk * 1000 + i, "x".repeat(50))).collect();
            sink.send(Bytes::from(lines)).await.unwrap();
        }
        assert_eq!(sink.as_mut().finish().await.unwrap(), 20_000);
        let rows = client.query_raw("select i, t from n order by i", [] as [&str; 0]).await.unwrap();
        tokio::pin!(rows);
        let mut seen = 0;
        while let Some(row) = rows.next().await {
            assert_eq!(row.unwrap().get::<_, i32>(0), seen);
            seen += 1;
        }
        assert_eq!(seen, 20_000);
        let transaction = client.transaction().await.unwrap();
        let portal = transaction.bind("select i from n where i < 25 order by i", &[]).await.unwrap();
        let mut sizes = Vec::new();
        loop {
            let page = transaction.query_portal(&portal, 10).await.unwrap();
            sizes.push(page.len());
            if page.len() < 10 {
                break;
            }
        }
        assert_eq!(sizes, [10, 10, 5]);
        transaction.commit().await.unwrap();
        let data: Vec<_> = client.copy_out("copy n to stdout").await.unwrap().collect().await;
        let bytes: usize = data.into_iter().map(|chunk| chunk.unwrap().len()).sum();
        let digits: usize = (0..20_000).map(|i: i32| i.to_string().len()).sum();
        assert_eq!(bytes, digits + 20_000 * 52);
    });
}

#[test]
fn transactions_and_prepared_statements_survive_errors() {
    with_server(async |server| {
        let mut client = connect(server).await;
        client.batch_execute("create table t (a int primary key)").await.unwrap();
        let insert = client.prepare("insert into t values ($1)").await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction.execute(&insert, &[&1]).await.unwrap();
        let error = transaction.execute(&insert, &[&1]).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "23505");
        assert_eq!(transaction.query("select 1", &[]).await.unwrap_err().code().unwrap().code(), "25P02");
        transaction.rollback().await.unwrap();
        client.execute(&insert, &[&1]).await.unwrap();
        assert_eq!(client.query("select a from t", &[]).await.unwrap().len(), 1);
    });
}

#[test]
fn a_running_statement_is_cancelled() {
    with_server(async |server| {
        let client = connect(server).await;
        let token = client.cancel_token();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let query = tokio::time::timeout(Duration::from_secs(60), client.simple_query(LONG));
        let (result, ()) = tokio::join!(query, cancel);
        assert_eq!(result.unwrap().unwrap_err().code().unwrap().code(), "57014");
        // It was that statement only.
        assert_eq!(client.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    });
}

#[test]
fn a_running_statement_has_the_grace_of_a_shutdown() {
    with_server(async |server| {
        let client = connect(server).await;
        let handle = server.handle();
        let long = client.simple_query(LONG);
        let shutdown = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            handle.shutdown(Duration::from_millis(200));
        };
        let (result, ()) = tokio::join!(long, shutdown);
        // It was nobody's request that ended it.
        assert_eq!(result.unwrap_err().code().unwrap().code(), "57P01");
        // Whether it still hears 57P01 or only finds the connection closed is up to the client.
        assert!(client.simple_query("select 1").await.is_err());
    });
}

#[test]
fn notices_arrive() {
    with_server(async |server| {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(server.addr.port()).user(USER).password(PASSWORD);
        let (client, mut connection) = config.connect(NoTls).await.unwrap();
        let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message {
                    sender.send(notice.message().to_owned()).unwrap();
                }
            }
        });
        client.batch_execute("drop table if exists nowhere").await.unwrap();
        assert!(notices.recv().await.unwrap().contains("nowhere"));
    });
}

const NO_PSQL: &str = "psql is on the path: `cargo xtask test` installs it";

#[test]
fn psql_connects_and_asks() {
    let server = TestServer::scram();
    let psql = |password: &str, script: &str| {
        let port = server.addr.port().to_string();
        Command::new("psql")
            .args(["-X", "-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", "driftdb", "-A", "-t", "-c", script])
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "10")
            .output()
    };
    let output = psql(PASSWORD, "select 1 as one, 'zwei' as two").expect(NO_PSQL);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1|zwei\n", "{}", String::from_utf8_lossy(&output.stderr));
    let output = psql("wrong", "select 1").unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("password authentication failed for user \"driftdb\""), "{said}");
    let output = psql(PASSWORD, "create table t (a int); insert into t values (1), (2)").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = psql(PASSWORD, "select sum(a) from t").unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n");
}

#[test]
fn psql_lists_what_there_is() {
    let server = TestServer::scram();
    let psql = |script: &str| {
        let port = server.addr.port().to_string();
        Command::new("psql")
            .args(["-X", "-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", "driftdb", "-A", "-c", script])
            .env("PGPASSWORD", PASSWORD)
            .env("PGCONNECT_TIMEOUT", "10")
            .output()
    };
    let made =
        psql("create table m (id int primary key, u int unique, n numeric(10,2) default 1 not null)").expect(NO_PSQL);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // An index once, under its own table: the first table's oid is nobody else's.
    let output = psql(r"\di").unwrap();
    let listed = "public|m_pkey|index|driftdb|m\npublic|m_u_key|index|driftdb|m\n(2 rows)\n";
    assert!(String::from_utf8_lossy(&output.stdout).ends_with(listed), "{output:?}");
    let shown = [
        (r"\d", "public|m|table|driftdb"),
        (r"\dt", "public|m|table|driftdb"),
        (r"\dt+", "public|m|table|driftdb|permanent"),
        (r"\di+", "public|m_pkey|index|driftdb|m|permanent"),
        (r"\d m", "n|numeric(10,2)||not null|1"),
        (r"\d m", "\"m_pkey\" PRIMARY KEY, btree (id)"),
        (r"\d m", "\"m_u_key\" UNIQUE CONSTRAINT, btree (u)"),
        (r"\d+ m", "u|integer||||plain"),
        (r"\d m_u_key", "u|integer|yes|u"),
        (r"\db", "pg_default|driftdb|"),
        (r"\l", "driftdb|driftdb|UTF8"),
        (r"\l+", "pg_default"),
        (r"\du", "driftdb|Superuser"),
        (r"\du+", "driftdb|Superuser"),
        (r"\dn", "public|driftdb"),
        (r"\dn+", "public|driftdb"),
        (r"\df", ""),
        (r"\dv", "driftdb|commits|view|driftdb"),
    ];
    for (command, line) in shown {
        let output = psql(command).unwrap();
        let (lines, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && errors.is_empty(), "{command}: {errors}");
        assert!(lines.contains(line), "{command}: {lines}");
    }
}
