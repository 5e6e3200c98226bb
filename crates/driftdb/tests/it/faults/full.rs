//! A disk that is full: commits are refused and say why, what was acknowledged stays, reads go on, and with space commits
//! go on too, without a restart. A server killed on the full disk starts on it.

use std::io::Write as _;
use std::time::Duration;

use super::database::{assert_sound, make_with_log_segment};
use super::mount::{Kind, SmallDisk};
use super::rounds;
use super::shim::wait_until;
use crate::client::Client;
use crate::server::{Dice, Server, setting};
use crate::writers::{Past, TABLES, WRITERS, Writers};

const DISK_FULL: &[&str] = &["53100"];
/// Room for the base, and for a second log segment of 64 MiB when the ballast is gone.
const SIZE_MIB: u64 = 220;
/// The first log segment is full before memtables are: with this the log alone needs space, and is refused it.
const LOG_FIRST: u64 = 2 << 20;
/// It holds more than memtables and writers wait for: it is the base that needs space.
const BASE_FIRST: u64 = 64 << 20;
const FILLER_BYTES: usize = 6_000;

/// The disk, or `None` where this machine lets nobody mount one: that is said on the terminal, whatever the test harness
/// does with the output of tests that pass. The long form fails.
fn disk(kind: Kind) -> Option<SmallDisk> {
    match SmallDisk::mount(kind, SIZE_MIB) {
        Ok(disk) => Some(disk),
        Err(why) if setting("LONG", 0, 1) == 0 => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: the full disk ({kind:?}) was not tested: {why}");
            None
        }
        Err(why) => panic!("{kind:?}: {why}"),
    }
}

/// Waits until every writer has been refused, twice.
fn wait_until_refused(writers: &Writers) {
    let before = writers.refused();
    wait_until("every writer is refused", || {
        writers.refused().iter().zip(&before).all(|(now, before)| *now > before + 1)
    });
}

fn wait_until_acknowledged(writers: &Writers) {
    let before = writers.acknowledged();
    wait_until("every writer commits", || {
        writers.acknowledged().iter().zip(&before).all(|(now, before)| *now > before + 1)
    });
}

/// Nothing can be written, and all can be read.
fn check_full(server: &Server, past: &mut Past, dice: &mut Dice) {
    let mut client = Client::connect(server);
    past.note(&mut client, dice);
    past.check(&mut client, "on the full disk");
    let filler = "y".repeat(FILLER_BYTES);
    let error = client.try_query(&format!("INSERT INTO twins VALUES ('{filler}', -1, 0)")).expect_err("it is full");
    let error = error.as_db_error().expect("the server says so");
    assert_eq!(error.code().code(), "53100", "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
    assert_eq!(client.number("SELECT count(*) FROM twins WHERE writer = -1"), 0);
}

/// Fills the disk under writers, twice: after the first time there is space again, after the second the server is killed.
fn run(kind: Kind, segment_bytes: u64, dice: &mut Dice) {
    let Some(disk) = disk(kind) else { return };
    let what = format!("{kind:?}, log segment of {segment_bytes}");
    let data = disk.root().join("data");
    make_with_log_segment(&data, segment_bytes);
    let writers = Writers::new().with_filler(FILLER_BYTES).bearing(DISK_FULL);
    let mut past = Past::default();
    let server = Server::start_trusting(&data);
    Client::connect(&server).query(TABLES);
    // Before the log needs its second segment.
    disk.fill();
    writers.work(&server, || {
        wait_until_acknowledged(&writers);
        wait_until_refused(&writers);
        check_full(&server, &mut past, dice);
        disk.make_space();
        wait_until_acknowledged(&writers);
    });
    writers.check_exactly(&mut Client::connect(&server), &format!("{what}, with space again"));

    // The log's segment has 64 MiB now: who has no space is the base, and commits go on as long as memtables have room.
    writers.work(&server, || {
        disk.fill();
        std::thread::sleep(Duration::from_millis(200 + dice.below(300)));
        server.signal("KILL");
    });
    server.kill();
    disk.fill();
    let server = Server::start_trusting(&data);
    let mut client = Client::connect(&server);
    writers.check(&mut client, &format!("{what}, started on the full disk"));
    past.check(&mut client, &format!("{what}, started on the full disk"));
    disk.make_space();
    writers.work(&server, || wait_until_acknowledged(&writers));
    writers.check_exactly(&mut client, &format!("{what}, with space after the restart"));
    past.check(&mut client, &format!("{what}, with space after the restart"));
    drop(client);
    server.stop();
    assert_sound(&data);
    let refused: u64 = writers.refused().iter().sum();
    let acknowledged: u64 = writers.acknowledged().iter().sum();
    println!("faults: {what}: {refused} commits of {WRITERS} writers refused, {acknowledged} acknowledged");
}

#[test]
fn a_full_disk_refuses_commits_until_there_is_space() {
    let mut dice = Dice::new("faults: full");
    run(Kind::Tmpfs, LOG_FIRST, &mut dice);
    run(Kind::Ext4, LOG_FIRST, &mut dice);
    if setting("LONG", 0, 1) == 1 {
        for _ in 0..1 + rounds() / 10 {
            for kind in [Kind::Tmpfs, Kind::Ext4] {
                run(kind, BASE_FIRST, &mut dice);
                run(kind, LOG_FIRST, &mut dice);
            }
        }
    }
}

/// The password is given at every start, and that needs no space when it is the one that is stored.
#[test]
fn a_server_with_a_password_starts_on_a_full_disk() {
    let Some(disk) = disk(Kind::Tmpfs) else { return };
    let data = disk.root().join("data");
    make_with_log_segment(&data, LOG_FIRST);
    let server = Server::start_small(&data);
    Client::connect(&server).query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    server.kill();
    disk.fill();
    let server = Server::start_small(&data);
    assert_eq!(Client::connect(&server).number("SELECT count(*) FROM t"), 1);
    disk.make_space();
    Client::connect(&server).query("INSERT INTO t VALUES (2)");
    server.stop();
    assert_sound(&data);
}
