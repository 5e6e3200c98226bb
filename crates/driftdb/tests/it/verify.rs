//! `driftdb verify`: a database that is what was committed, another history, and damage.

use std::path::Path;
use std::process::Command;

use crate::client::Client;
use crate::doctor::with_flipped_bit;
use crate::format::copy_all;
use crate::server::{Server, driftdb, fail, succeed};

fn verify(data: &Path, digests: &[&str]) -> Command {
    let mut command = driftdb();
    command.arg("verify").arg("--data").arg(data);
    for digest in digests {
        command.args(["--digest", digest]);
    }
    command
}

fn digest(client: &mut Client, call: &str) -> String {
    client.query(&format!("SELECT {call}"))[0][0].clone().unwrap()
}

#[test]
fn what_was_noted_is_found_again_and_another_history_is_not() {
    let place = tempfile::tempdir().unwrap();
    let (data, earlier) = (place.path().join("data"), place.path().join("earlier"));
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    assert_eq!(digest(&mut client, "driftdb_digest()"), format!("0:{}", "0".repeat(64)));
    client.query("CREATE TABLE t (id int PRIMARY KEY, name text)");
    client.query("CREATE INDEX t_name ON t (name)");
    client.query("INSERT INTO t SELECT i, 'first ' || i FROM generate_series(1, 2000) AS s(i)");
    let first = digest(&mut client, "driftdb_digest()");
    client.query("UPDATE t SET name = 'second ' || id WHERE id % 3 = 0");
    client.query("DELETE FROM t WHERE id % 7 = 0");
    assert_eq!(digest(&mut client, "driftdb_digest(3)"), first);
    let now = digest(&mut client, "driftdb_digest()");
    assert!(now.starts_with("5:") && now.len() == 66, "{now}");
    client.query("SET driftdb.system_time = '@SEQ:3'");
    assert_eq!(digest(&mut client, "driftdb_digest()"), first, "a session that reads the past sees its digest");
    assert!(client.try_query("SELECT driftdb_digest(4)").is_err(), "and none that came later");
    let out = fail(&mut verify(&data, &[]));
    assert_eq!(out.0, 3, "the database is in use: {out:?}");
    // What is in the log alone is verified too.
    server.kill();
    let before = std::fs::read(data.join("base.redb")).unwrap();
    let out = succeed(&mut verify(&data, &[&first, &now]));
    assert!(out.contains("5 commits") && out.trim_end().ends_with(&now), "{out}");
    assert_eq!(std::fs::read(data.join("base.redb")).unwrap(), before, "nothing is changed");

    let server = Server::start(&data);
    server.stop();
    copy_all(&data, &earlier);
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    client.query("INSERT INTO t VALUES (10000, 'last')");
    let last = digest(&mut client, "driftdb_digest()");
    server.stop();
    succeed(&mut verify(&data, &[&first, &now, &last]));

    // Somebody put the files of before back, and then committed something else.
    let (code, errors) = fail(&mut verify(&earlier, &[&now, &last]));
    assert!(code == 4 && errors.contains("commit 6, whose digest was noted, is missing"), "{code}: {errors}");
    let server = Server::start(&earlier);
    Client::connect(&server).query("INSERT INTO t VALUES (10000, 'other')");
    server.stop();
    succeed(&mut verify(&earlier, &[&now]));
    let (code, errors) = fail(&mut verify(&earlier, &[&now, &last]));
    assert!(code == 4 && errors.contains("commit 6 is not the one whose digest was noted"), "{code}: {errors}");
    let (code, errors) = fail(&mut verify(&earlier, &["6:beef"]));
    assert!(code == 2 && errors.contains("is no commit's digest"), "{code}: {errors}");
}

#[test]
fn a_flipped_bit_is_reported() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (id int PRIMARY KEY, name text)");
    client.query("INSERT INTO t SELECT i, 'first ' || i FROM generate_series(1, 2000) AS s(i)");
    client.query("UPDATE t SET name = 'second ' || id");
    server.stop();
    succeed(&mut verify(&data, &[]));
    let base = data.join("base.redb");
    let sound = std::fs::read(&base).unwrap();
    let offset = sound.windows(11).position(|window| window == b"second 1000").expect("the base has the row");
    with_flipped_bit(&base, offset, || {
        let (code, errors) = fail(&mut verify(&data, &[]));
        assert!(code == 4 && errors.contains("base.redb"), "{code}: {errors}");
    });
}
