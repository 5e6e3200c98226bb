//! kill -9 under load: what was acknowledged is there, what was not is whole or absent, the past is what it was.
//!
//! Eight [writers](crate::writers) commit. The server is killed at a random moment, started again, and must answer within
//! five seconds; then the writers' transactions and the noted past are checked.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::server::{Dice, Server, setting};
use crate::writers::{Past, TABLES, Writers};

/// From starting the process to the answer to a query.
const RESTART_MAX: Duration = Duration::from_secs(5);

/// Starts the server again and says how long the first answer took.
fn restart(data: &Path) -> (Server, Client, Duration) {
    let start = Instant::now();
    let server = Server::start_small(data);
    let mut client = Client::connect(&server);
    assert_eq!(client.number("SELECT 1"), 1);
    (server, client, start.elapsed())
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_half_there() {
    let rounds = setting("ROUNDS", 3, 20);
    let mut dice = Dice::new("crash");
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let writers = Writers::new();
    let mut server = Server::start_small(&data);
    Client::connect(&server).query(TABLES);
    let mut past = Past::default();

    for round in 1..=rounds {
        let pause = Duration::from_millis(300 + dice.below(2_500));
        let before = writers.acknowledged();
        writers.work(&server, || {
            std::thread::sleep(pause);
            past.note(&mut Client::connect(&server), &mut dice);
            std::thread::sleep(Duration::from_millis(dice.below(300)));
            server.signal("KILL");
        });
        server.kill();

        let acknowledged = writers.acknowledged();
        let (again, mut client, took) = restart(&data);
        println!("round {round}: killed at {acknowledged:?}; the next start answered after {took:?}");
        assert!(took <= RESTART_MAX, "round {round}: the first answer took {took:?}");
        assert!(
            acknowledged.iter().zip(&before).any(|(now, before)| now > before),
            "round {round}: nothing was written"
        );
        writers.check(&mut client, &format!("round {round}, after the kill"));
        past.check(&mut client, &format!("round {round}, after the kill"));
        server = again;
    }
    server.stop();
}
