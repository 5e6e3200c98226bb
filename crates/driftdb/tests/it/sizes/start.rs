//! How long a start takes after kill -9: it reads the log from the checkpoint on, so what there is of that and not how much the
//! database holds. Memory bounds it: what is not flushed is in memtables, whose share of the limit is three 32nds.

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime};

use super::{Size, TABLE, files, lines, start};
use crate::client::Client;
use crate::server::setting;

/// Rows of one commit.
const ROWS_AT_ONCE: u64 = 1_000;

/// What of the log's files was ever written: they are made in their full length.
fn log_bytes(data: &Path) -> usize {
    let used = |path: &Path| fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    files(&data.join("log")).iter().map(|(path, _)| used(path)).sum()
}

/// When a flush has last changed the base.
fn flushed(data: &Path) -> SystemTime {
    fs::metadata(data.join("base.redb")).unwrap().modified().unwrap()
}

#[test]
fn a_start_reads_the_log_from_the_checkpoint_on() {
    let most = setting("LOG_ROWS", 32_000, 1_600_000);
    println!("| rows in the log alone | log | start after kill -9 |\n|---:|---:|---:|");
    for rows in [most / 16, most / 4, most] {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        // A memtable that is larger than what comes is not flushed.
        let size = Size { rows, updates: 0, limit_mib: 128.max(rows / 1_000 * 32) };
        let server = start(&data, size);
        let mut client = Client::connect(&server);
        client.query(TABLE);
        client.query("CHECKPOINT");
        let before = flushed(&data);
        for piece in lines(size) {
            assert_eq!(client.copy_in("COPY sized FROM STDIN", [piece].into_iter()).unwrap(), ROWS_AT_ONCE);
        }
        drop(client);
        server.kill();
        assert_eq!(flushed(&data), before, "it was flushed: there is nothing in the log alone");
        let log_mib = log_bytes(&data) as f64 / 1_048_576.0;
        let begun = Instant::now();
        let server = start(&data, size);
        let mut client = Client::connect(&server);
        assert_eq!(client.number("SELECT amount FROM sized WHERE id = 7"), 7);
        println!("| {rows} | {log_mib:.1} MiB | {:.2} s |", begun.elapsed().as_secs_f64());
        assert_eq!(client.number("SELECT count(*) FROM sized"), rows as i64);
        drop(client);
        server.stop();
    }
}
