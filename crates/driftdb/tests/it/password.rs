//! The password: made at the first start, shown once, stored only as a verifier.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::client::Client;
use crate::server::{Server, clear_settings, driftdb, succeed};

/// The password in a greeting.
fn shown(server: &Server) -> Option<String> {
    let line = server.greeting().iter().find(|line| line.contains("password "))?;
    Some(line.split_once("password ")?.1.to_owned())
}

#[test]
fn it_is_shown_once_and_the_command_line_shown_connects() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let server = Server::launch(&data, &mut driftdb());
    let password = shown(&server).expect("the first start shows the password");
    assert!(password.len() >= 20, "{password}");
    let line = server.greeting().last().unwrap().strip_prefix("connect with: ").unwrap().to_owned();
    let mut shell = Command::new("sh");
    clear_settings(&mut shell);
    assert_eq!(succeed(shell.args(["-c", &format!("{line} -Atc 'SELECT 6 * 7'")])).trim(), "42");
    server.stop();
    assert_nowhere(&data, &password);

    let server = Server::launch(&data, &mut driftdb());
    assert_eq!(shown(&server), None, "{:?}", server.greeting());
    assert!(Client::try_connect(&server, &password).is_ok());
    let refused = Client::try_connect(&server, "wrong").err().expect("a wrong password");
    assert_eq!(refused.code().map(|code| code.code()), Some("28P01"), "{refused}");
    server.stop();

    // A start with DRIFTDB_PASSWORD sets another one, and does not show it.
    let server = Server::launch(&data, driftdb().env("DRIFTDB_PASSWORD", "another secret"));
    assert!(!server.greeting().concat().contains("another secret"));
    assert!(Client::try_connect(&server, "another secret").is_ok());
    assert!(Client::try_connect(&server, &password).is_err());
    server.stop();
}

/// No file holds the password, and no file is open to others.
fn assert_nowhere(directory: &Path, password: &str) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if path.is_dir() {
            assert_nowhere(&path, password);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(password.len()).any(|window| window == password.as_bytes());
            assert!(!found, "{} holds the password", path.display());
        }
    }
}
