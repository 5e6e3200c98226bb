//! Nothing outside the data directory: the files a server has open, sampled while it works, and those it leaves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::server::{PASSWORD, Server, driftdb, succeed};

/// The regular files that the process has open.
fn open_files(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    // Sockets, pipes and event queues have names such as socket:[123].
    links.filter(|path| path.is_absolute() && !path.starts_with("/dev") && !path.starts_with("/proc")).collect()
}

#[test]
fn every_open_file_is_inside_the_data_directory() {
    let place = tempfile::tempdir().unwrap();
    // Where a file in the working or home directory would show.
    let elsewhere = place.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let data = place.path().join("data");
    let mut command = driftdb();
    command
        .env("DRIFTDB_PASSWORD", PASSWORD)
        .env("DRIFTDB_MEMORY_LIMIT", "128MiB")
        .env("HOME", &elsewhere)
        .env("TMPDIR", &elsewhere)
        .current_dir(&elsewhere);
    let server = Server::launch(&data, &mut command);
    let pid = server.pid();
    let done = Arc::new(AtomicBool::new(false));
    let watcher = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                seen.extend(open_files(pid));
                thread::sleep(Duration::from_millis(1));
            }
            seen
        }
    });
    let mut client = Client::connect(&server);
    client.query("CREATE TABLE t (id int PRIMARY KEY, filler text)");
    // So much that memtables of 4 MiB are flushed to base and history, and a log segment of 64 MiB is full and goes.
    for round in 0..150 {
        let rows: Vec<String> = (0..500).map(|id| format!("({id}, '{}')", "x".repeat(1_000 + round))).collect();
        let values = rows.join(", ");
        client.query(&format!("INSERT INTO t VALUES {values} ON CONFLICT (id) DO UPDATE SET filler = excluded.filler"));
    }
    client.query("SELECT count(*), max(filler) FROM t FOR SYSTEM_TIME ALL");
    server.stop();
    done.store(true, Ordering::Relaxed);
    let seen = watcher.join().unwrap();
    let root = data.canonicalize().unwrap();
    let outside: Vec<&PathBuf> = seen.iter().filter(|path| !path.starts_with(&root)).collect();
    assert!(outside.is_empty(), "opened outside {}: {outside:?}", root.display());
    assert!(seen.len() >= 3, "the watcher saw only {seen:?}");
    assert!(is_empty(&elsewhere), "files were left in the working or home directory");
    assert!(seen.iter().any(|path| path.starts_with(root.join("history"))), "no history segment was seen: {seen:?}");

    // The oldest log segment is behind the checkpoint; the doctor knows that nothing is missing.
    assert!(!root.join("log").join(format!("{:020}.log", 0)).exists(), "no log segment was removed");
    let out = succeed(driftdb().arg("doctor").arg("--data").arg(&data));
    assert!(out.contains("nothing wrong"), "{out}");
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}
