//! Stopping on a signal.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{PASSWORD, driftdb};

/// Whoever read its output may be gone by then: a pager, a supervisor that was killed first.
#[test]
fn it_stops_though_nobody_reads_its_log() {
    let place = tempfile::tempdir().unwrap();
    let mut server = driftdb()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(place.path().join("data"))
        .env("DRIFTDB_PASSWORD", PASSWORD)
        .env("DRIFTDB_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let greeting = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(greeting.into_iter().any(|line| line.starts_with("connect with:")));
    drop(server.stderr.take());
    assert!(Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = server.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            server.kill().unwrap();
            panic!("it did not stop");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}
