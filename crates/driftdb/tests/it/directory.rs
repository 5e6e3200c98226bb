//! One process a directory; an orderly end; clear refusals.

use std::net::TcpListener;

use crate::client::Client;
use crate::server::{PASSWORD, Server, driftdb, fail, run};

#[test]
fn a_second_process_on_the_directory_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::start(&data);
    let mut second = driftdb();
    second.arg("serve").arg("--data").arg(&data).args(["--listen", "127.0.0.1:0"]).env("DRIFTDB_PASSWORD", "other");
    let (code, errors) = fail(&mut second);
    assert!(code == 3 && errors.contains(&data.display().to_string()), "{code}: {errors}");
    for command in [&["doctor"][..], &["sql", "-c", "SELECT 1"]] {
        let (code, errors) = fail(driftdb().args(command).arg("--data").arg(&data));
        assert!(code == 3, "{command:?}: {code}: {errors}");
    }
    // The refused one changed nothing: the password still fits.
    assert_eq!(Client::connect(&server).number("SELECT 1"), 1);
    server.stop();
}

#[test]
fn a_port_in_use_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = driftdb();
    command.arg("serve").arg("--data").arg(place.path().join("data")).args(["--listen", &address]);
    let (code, errors) = fail(&mut command);
    assert!(code == 5 && errors.contains(&address), "{code}: {errors}");
    // A password that was made for it is stored by then: it is shown all the same.
    let place = tempfile::tempdir().unwrap();
    let mut first = driftdb();
    let output = run(first.arg("serve").arg("--data").arg(place.path().join("new")).args(["--listen", &address]));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(5) && shown.contains("user driftdb, password "), "{output:?}");
}

#[test]
fn sigterm_ends_it_in_order_and_keeps_everything() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::start(&data);
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'one'), (2, 'two')");
    // A transaction left open is rolled back; an idle connection does not hold up the end.
    let mut open = Client::connect(&server);
    open.query("BEGIN; INSERT INTO t VALUES (3, 'three')");
    let (status, printed, errors) = server.terminate();
    assert!(status.success(), "{status}: {errors}");
    assert!(printed.contains("stopped"), "{printed}");

    let server = Server::start(&data);
    let rows = Client::connect(&server).query("SELECT id, name FROM t ORDER BY id");
    let expected = [["1", "one"], ["2", "two"]].map(|row| row.map(|value| Some(value.to_owned())).to_vec());
    assert_eq!(rows, expected);
    server.signal("INT");
    server.stop();
}

#[test]
fn init_makes_a_database_once() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let output = run(driftdb().arg("init").arg("--data").arg(&data));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.contains("password"), "{printed}");
    let password = printed.lines().find_map(|line| line.split_once("password ")).unwrap().1.to_owned();
    let (_, errors) = fail(driftdb().arg("init").arg("--data").arg(&data));
    assert!(errors.contains("already"), "{errors}");

    let server = Server::launch(&data, &mut driftdb());
    assert!(!server.greeting().concat().contains(&password), "shown once only");
    assert_eq!(Client::try_connect(&server, &password).expect("the password fits").number("SELECT 1"), 1);
    assert!(Client::try_connect(&server, PASSWORD).is_err());
    server.stop();
}
