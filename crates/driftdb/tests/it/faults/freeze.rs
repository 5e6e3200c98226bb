//! SIGSTOP, SIGCONT and SIGKILL at random moments, and at those when the background is at work.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::database::assert_sound;
use super::rounds;
use super::shim::wait_until;
use crate::client::{Client, config};
use crate::server::{Dice, PASSWORD, Server};
use crate::writers::{Past, TABLES, WRITERS, Writers};

/// So much in each transaction that memtables of 4 MiB are flushed more than once a second.
const FILLER_BYTES: usize = 12_000;
/// What is answered already may be on its way to the writers when the server is stopped.
const ARRIVAL: Duration = Duration::from_millis(100);

/// When the server is struck.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Any,
    /// A flush or a compaction has begun to write a file of history.
    Background,
}

/// The names of the files of history.
fn history(data: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(data.join("history")).map(|entries| entries.flatten().collect::<Vec<_>>());
    entries.unwrap_or_default().iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn wait_for(moment: Moment, data: &Path, dice: &mut Dice) {
    std::thread::sleep(Duration::from_millis(dice.below(1_000)));
    let before = history(data);
    if matches!(moment, Moment::Background) {
        let began = Instant::now();
        while history(data).is_subset(&before) && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(dice.below(8_000)));
    }
}

/// Stops the server for a while and lets it go on: nobody is answered meanwhile, and everybody after it, those too who asked
/// while it stood still.
fn freeze(server: &Server, writers: &Writers, dice: &mut Dice) {
    server.signal("STOP");
    std::thread::sleep(ARRIVAL);
    let frozen = writers.acknowledged();
    let to = config(server, PASSWORD);
    std::thread::scope(|scope| {
        let asks = || Client::try_connect_to(&to).unwrap().number("SELECT sum(n) FROM totals");
        let asked = scope.spawn(asks);
        std::thread::sleep(Duration::from_millis(200 + dice.below(1_500)));
        assert_eq!(writers.acknowledged(), frozen, "a server that stands still has answered");
        assert!(!asked.is_finished(), "a server that stands still has answered");
        server.signal("CONT");
        let sum = asked.join().unwrap();
        assert!(sum >= i64::try_from(frozen.iter().sum::<u64>()).unwrap(), "{sum}: {frozen:?}");
    });
    // Over the connections they had: a writer whose connection breaks does not come back.
    wait_until("every writer goes on", || writers.acknowledged().iter().zip(&frozen).all(|(now, before)| now > before));
}

#[test]
fn a_server_that_stood_still_goes_on_and_one_killed_meanwhile_loses_nothing() {
    let rounds = 1 + rounds();
    let mut dice = Dice::new("faults: freeze");
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let writers = Writers::new().with_filler(FILLER_BYTES);
    let mut server = Server::start_trusting(&data);
    Client::connect(&server).query(TABLES);
    let mut past = Past::default();
    let (mut frozen, mut killed_at_work) = (0, 0);

    for round in 1..=rounds {
        // Each kind in the first rounds, whatever the dice say.
        let moment = if round % 2 == 0 { Moment::Background } else { Moment::Any };
        let stopped_first = if round <= 2 { round == 2 } else { dice.below(2) == 0 };
        let before = writers.acknowledged();
        writers.work(&server, || {
            wait_until("every writer has begun", || {
                writers.acknowledged().iter().zip(&before).all(|(now, before)| now > before)
            });
            past.note(&mut Client::connect(&server), &mut dice);
            for _ in 0..round.min(1 + dice.below(2)) {
                wait_for(moment, &data, &mut dice);
                freeze(&server, &writers, &mut dice);
                frozen += 1;
            }
            wait_for(moment, &data, &mut dice);
            if stopped_first {
                server.signal("STOP");
                std::thread::sleep(ARRIVAL);
            }
            server.signal("KILL");
        });
        server.kill();
        // A file that no manifest names: it was killed within a flush or a compaction.
        let notes = assert_sound(&data);
        let at_work = notes.contains("the manifest does not name it");
        killed_at_work += u64::from(at_work);
        let what = format!("round {round}, {moment:?}, stopped first: {stopped_first}, at work: {at_work}");
        println!("{what}: {:?}", writers.acknowledged());
        server = Server::start_trusting(&data);
        let mut client = Client::connect(&server);
        writers.check(&mut client, &what);
        past.check(&mut client, &what);
    }
    server.stop();
    assert_sound(&data);
    let commits: u64 = writers.acknowledged().iter().sum();
    println!(
        "faults: {frozen} times stopped and let go on; {rounds} times killed, {killed_at_work} of them within a flush or a \
         compaction; {commits} commits of {WRITERS} writers"
    );
}
