//! Written, synced, answered: in this order, for every commit.
//!
//! A kill does not show a missing sync: what was written is in the system's cache, which outlives the process. So the order
//! itself is looked at, in a trace of the calls. Every transaction has a mark of its own in it, which the trace tells of where
//! it is written to the log; the answers to a connection come in the order of its transactions. Between a write with the mark
//! and the answer there must have been a sync of that file which began after the write; and where the file was not part of the
//! log yet, its renaming after that, and a sync of the directory after the renaming.

use std::collections::HashMap;

use tokio_postgres::NoTls;

use super::database::make_with_log_segment;
use super::rounds;
use super::shim::{FDATASYNC, Order, Shim};
use crate::client::{Client, config};
use crate::server::{PASSWORD, Server};

const CLIENTS: usize = 8;
/// So little that the log goes on in a new segment while it is looked at.
const LOG_FIRST: u64 = 64 << 10;
/// Of this many bytes and two marks is a row: one whose record two segments share has a mark in both, or in one.
const FILLER_BYTES: usize = 600;

/// A call in the trace.
#[derive(Debug)]
struct Call<'t> {
    name: &'t str,
    begun_ns: u64,
    ended_ns: u64,
    path: &'t str,
    marks: Vec<&'t str>,
}

/// The calls that did what they were asked for.
fn calls(trace: &str) -> Vec<Call<'_>> {
    let call = |line| {
        let words: Vec<&str> = str::split_whitespace(line).collect();
        let [name, begun, ended, result, struck, path, marks @ ..] = words.as_slice() else { panic!("{line}") };
        let number = |word: &str| word.parse::<i64>().unwrap_or_else(|_| panic!("{line}"));
        let done = number(result) >= 0 && number(struck) == 0;
        let (begun_ns, ended_ns) = (number(begun) as u64, number(ended) as u64);
        done.then(|| Call { name, begun_ns, ended_ns, path, marks: marks.to_vec() })
    };
    trace.lines().filter_map(call).collect()
}

/// When each transaction of each client was answered, by its mark.
fn answers(calls: &[Call<'_>]) -> HashMap<String, u64> {
    let mut clients: HashMap<&str, (&str, usize)> = HashMap::new();
    let mut answers = HashMap::new();
    let mut sent: Vec<&Call<'_>> = calls.iter().filter(|call| call.name == "send").collect();
    sent.sort_by_key(|call| call.begun_ns);
    for call in sent {
        for mark in &call.marks {
            if let Some(client) = mark.strip_prefix("client-") {
                clients.insert(call.path, (client, 0));
            } else if *mark == "COMMIT"
                && let Some((client, number)) = clients.get_mut(call.path)
            {
                *number += 1;
                answers.insert(format!("{client}-{number}"), call.begun_ns);
            }
        }
    }
    answers
}

/// What is wrong with an answer at `answered_ns` to a transaction that `write` has in it, if something is.
fn flaw(calls: &[Call<'_>], write: &Call<'_>, answered_ns: u64) -> Option<String> {
    // The first that began after `since_ns`, and ended before the answer.
    let next = |is_it: &dyn Fn(&Call<'_>) -> bool, since_ns: u64| {
        let fits = |call: &&Call<'_>| call.begun_ns >= since_ns && call.ended_ns <= answered_ns && is_it(call);
        calls.iter().filter(fits).map(|call| call.ended_ns).min()
    };
    let is_sync = |call: &Call<'_>| matches!(call.name, "fdatasync" | "fsync");
    let Some(synced_ns) = next(&|call| is_sync(call) && call.path == write.path, write.ended_ns) else {
        return Some(format!("{} was not synced after the write", write.path));
    };
    if !write.path.ends_with(".spare") {
        return None;
    }
    let Some(renamed_ns) = next(&|call| call.name == "rename" && call.path == write.path, synced_ns) else {
        return Some(format!("{} was not renamed after its sync", write.path));
    };
    let named = next(&|call| is_sync(call) && call.path.ends_with("/log"), renamed_ns);
    named.is_none().then(|| format!("the directory was not synced after {} was renamed", write.path))
}

/// How many transactions were answered, how many of them in a new segment, and what is wrong with which.
fn check(trace: &str) -> (usize, usize, Vec<String>) {
    let calls = calls(trace);
    let answers = answers(&calls);
    let mut writes: HashMap<&str, Vec<&Call<'_>>> = HashMap::new();
    for call in calls.iter().filter(|call| call.name == "pwrite" && call.path.contains("/log/")) {
        for mark in call.marks.iter().copied() {
            writes.entry(mark).or_default().push(call);
        }
    }
    let (mut flaws, mut in_new) = (Vec::new(), 0);
    for (mark, answered_ns) in &answers {
        let found = writes.get(mark.as_str()).map(Vec::as_slice).unwrap_or_default();
        if found.is_empty() {
            flaws.push(format!("{mark}: answered, and never written to the log"));
        }
        in_new += usize::from(found.iter().any(|write| write.path.ends_with(".spare")));
        let flaw = found.iter().find_map(|write| flaw(&calls, write, *answered_ns));
        flaws.extend(flaw.map(|flaw| format!("{mark}: {flaw}")));
    }
    (answers.len(), in_new, flaws)
}

/// Lets each client commit that many transactions.
fn commit(server: &Server, transactions: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let filler = "x".repeat(FILLER_BYTES);
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (config, filler) = (config(server, PASSWORD), filler.clone());
            runtime.spawn(async move {
                let (client, connection) = config.connect(NoTls).await.unwrap();
                tokio::spawn(connection);
                client.batch_execute(&format!("SELECT 'mark:client-{number};'")).await.unwrap();
                for n in 1..=transactions {
                    let mark = format!("mark:{number}-{n};");
                    let row = format!("INSERT INTO t VALUES ({number}, {n}, '{mark}{filler}{mark}')");
                    client.batch_execute(&format!("BEGIN; {row}; COMMIT")).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

/// A server's trace while clients commit.
fn traced(transactions: u64, order: Option<Order>) -> String {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    make_with_log_segment(&data, LOG_FIRST);
    let shim = Shim::build(place.path()).tracing();
    let server = shim.launch(&data);
    Client::connect(&server).query("CREATE TABLE t (client int, n int, v text, PRIMARY KEY (client, n))");
    if let Some(order) = order {
        shim.arm(&order);
    }
    commit(&server, transactions);
    server.kill();
    shim.trace()
}

#[test]
fn every_answer_comes_after_the_sync_after_the_write() {
    let transactions = 60 * rounds();
    let (answered, in_new, flaws) = check(&traced(transactions, None));
    assert_eq!(flaws, Vec::<String>::new());
    assert_eq!(answered as u64, transactions * CLIENTS as u64, "the trace has every answer");
    assert!(in_new > 0, "the log went on in a new segment");
    println!("faults: {answered} answers after their sync, {in_new} of them in a new log segment");
}

/// A sync that says it is done and was not: the process cannot know, and this test would.
#[test]
fn a_sync_that_was_dropped_is_noticed() {
    let transactions = 3;
    let (answered, _, flaws) = check(&traced(transactions, Some(Order::dropping(FDATASYNC, "/log/"))));
    assert_eq!((answered, flaws.len()), (CLIENTS * transactions as usize, answered), "{flaws:?}");
}
