//! Retention and pins on a server: versions go by themselves, and reading what is gone is an error that says from where on
//! there is history.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::server::Server;

/// The error of a statement: its code, its message and its hint.
fn refused(client: &mut Client, sql: &str) -> (String, String, String) {
    let error = client.try_query(sql).expect_err(sql);
    let error = error.as_db_error().expect(sql);
    (error.code().code().to_owned(), error.message().to_owned(), error.hint().unwrap_or_default().to_owned())
}

/// Waits until the table cannot be read as of its second commit any more.
fn wait_for_collection(client: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.try_query("SELECT n FROM t FOR SYSTEM_TIME AS OF @SEQ:2 WHERE id = 1").is_ok() {
        assert!(Instant::now() < deadline, "nothing is collected");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn versions_go_after_their_time_and_a_pin_keeps_them() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (id int PRIMARY KEY, n int)");
    client.query("INSERT INTO t VALUES (1, 0), (2, 0)");
    client.query("CREATE TABLE forever (id int PRIMARY KEY, n int)");
    client.query("INSERT INTO forever VALUES (1, 0)");
    for n in 1..=5 {
        client.query(&format!("UPDATE t SET n = {n} WHERE id = 1"));
        client.query(&format!("UPDATE forever SET n = {n}"));
    }
    client.query("CREATE PIN audit AS OF @SEQ:3");
    let digest = client.query("SELECT driftdb_digest()")[0][0].clone().unwrap();
    client.query("ALTER TABLE t SET RETENTION '1 second'");
    std::thread::sleep(Duration::from_millis(1_200));
    client.query("UPDATE t SET n = 6 WHERE id = 1");
    client.query("CHECKPOINT");

    let plan = "SELECT held_by, next_seq, versions FROM driftdb.retention_plan('t')";
    let deadline = Instant::now() + Duration::from_secs(60);
    // The collector may come first and move the horizon to the pin.
    while client.query(plan)[0][0].as_deref() != Some("audit") {
        assert!(Instant::now() < deadline, "{:?}", client.query(plan));
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_for_collection(&mut client);
    let read = |client: &mut Client, seq: u64| {
        client.try_query(&format!("SELECT n FROM t FOR SYSTEM_TIME AS OF @SEQ:{seq} WHERE id = 1"))
    };
    let (code, message, hint) = refused(&mut client, "SELECT n FROM t FOR SYSTEM_TIME AS OF @SEQ:2");
    assert!(code == "TT001" && message.contains("its history begins at") && message.contains("\"t\""), "{message}");
    assert!(hint.contains("@SEQ:3"), "{hint}");
    assert_eq!(read(&mut client, 3).unwrap()[0][0].as_deref(), Some("0"));
    assert_eq!(refused(&mut client, "SELECT n FROM t FOR SYSTEM_TIME BETWEEN @SEQ:1 AND @SEQ:9").0, "TT001");
    assert_eq!(client.number("SELECT count(*) FROM forever FOR SYSTEM_TIME ALL"), 6);
    assert_eq!(refused(&mut client, "CREATE PIN late AS OF @SEQ:2").0, "TT001");
    assert_eq!(
        client.query("SELECT name, seq, \"user\" FROM driftdb.pins"),
        [[Some("audit".to_owned()), Some("3".to_owned()), Some("driftdb".to_owned())]]
    );

    // Whoever reads as of a commit goes on doing so, whatever is collected meanwhile.
    let mut reader = Client::connect(&server);
    reader.query("BEGIN READ ONLY AS OF @SEQ:4");
    client.query("DROP PIN audit");
    assert_eq!(refused(&mut client, "DROP PIN audit").0, "42704");
    client.query("DROP PIN IF EXISTS audit");
    std::thread::sleep(Duration::from_millis(2_500));
    client.query("UPDATE t SET n = 7 WHERE id = 1");
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(reader.query("SELECT n FROM t WHERE id = 1")[0][0].as_deref(), Some("0"));
    reader.query("COMMIT");
    let deadline = Instant::now() + Duration::from_secs(60);
    while read(&mut client, 4).is_ok() {
        assert!(Instant::now() < deadline, "nothing is collected");
        std::thread::sleep(Duration::from_millis(200));
    }
    server.stop();
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_driftdb"))
        .args(["verify", "--digest", &digest, "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    // It is as gone after a restart.
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    assert_eq!(refused(&mut client, "SELECT n FROM t FOR SYSTEM_TIME AS OF @SEQ:4 WHERE id = 1").0, "TT001");
    assert_eq!(client.query("SELECT n FROM t WHERE id = 1")[0][0].as_deref(), Some("7"));
}
