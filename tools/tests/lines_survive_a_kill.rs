//! The story: an operator pipes a large file into a topic. In the middle of it the broker is killed, and started again.
//! Every line that `produce` reported as acknowledged must be in the topic, exactly where its acknowledgement says. A line
//! whose acknowledgement was lost on the way was sent again, and may stand there twice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::process::Stdio;

use harness::{BrokerProcess, Running};
use serde::Deserialize;

const LINES: usize = 500_000;

/// Lines of many lengths, empty ones too, each with its number.
fn line(number: usize) -> String {
    match number % 97 {
        0 => String::new(),
        length => format!("{number} {}", "text ".repeat(length % 23)),
    }
}

fn text(numbers: std::ops::Range<usize>) -> String {
    let mut text = String::new();
    for number in numbers {
        writeln!(text, "{}", line(number)).unwrap();
    }
    text
}

/// What `consume --format json` prints.
#[derive(Deserialize)]
struct Consumed {
    partition: u32,
    offset: u64,
    value: String,
}

#[test]
fn every_acknowledged_line_is_read_back_where_it_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "lines", "--partitions", "8"]);

    let mut producing = Running::start(broker.corelog(&["produce", "lines"]));
    let half = LINES / 2;
    let go_on = producing.feed_in_two(text(0..half).into_bytes(), text(half..LINES).into_bytes());
    let mut acknowledged: Vec<String> = (0..1000).map(|_| producing.next_line()).collect();
    // Lines of the first half are on their way. The second half is read while there is no broker: only the next one
    // can acknowledge it.
    broker.kill();
    go_on.send(()).unwrap();
    acknowledged.extend(producing.lines_so_far());
    assert!(
        acknowledged.len() <= half,
        "{} lines were acknowledged, of {half} that the broker can have seen",
        acknowledged.len()
    );
    println!(
        "{} lines were acknowledged before the kill",
        acknowledged.len()
    );
    broker.start_again();
    acknowledged.extend(producing.finish());
    assert_eq!(acknowledged.len(), LINES);

    let consume = ["consume", "lines", "--exit-at-end", "--format", "json"];
    let output = broker.run(&consume);
    let mut records: HashMap<(u32, u64), String> = HashMap::with_capacity(LINES);
    for consumed in output.split(|byte| *byte == b'\n') {
        if consumed.is_empty() {
            continue;
        }
        let consumed: Consumed = serde_json::from_slice(consumed).unwrap();
        let place = (consumed.partition, consumed.offset);
        let earlier = records.insert(place, consumed.value);
        assert!(earlier.is_none(), "{place:?} was read twice");
    }
    for (number, place) in acknowledged.iter().enumerate() {
        let (partition, offset) = place.split_once('\t').unwrap();
        let place = (partition.parse().unwrap(), offset.parse().unwrap());
        assert_eq!(
            records.get(&place),
            Some(&line(number)),
            "line {number} at {place:?}"
        );
    }
    let sent: HashSet<String> = (0..LINES).map(line).collect();
    let foreign = records.values().find(|value| !sent.contains(*value));
    assert_eq!(foreign, None, "a line that nobody sent");
    let partitions: HashSet<u32> = records.keys().map(|(partition, _)| *partition).collect();
    assert_eq!(partitions.len(), 8);
}

#[test]
fn with_one_partition_and_no_kill_the_output_is_the_input_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    let mut input = text(0..LINES).into_bytes();
    // Not all that is a line is text.
    input.extend_from_slice(b"\xff\x00\xfe\r\n\n");
    for codec in ["none", "zstd"] {
        let topic = format!("lines-{codec}");
        broker.run(&["topic", "create", &topic, "--partitions", "1"]);
        let mut command = broker.corelog(&["produce", &topic, "--quiet", "--compression", codec]);
        command.stderr(Stdio::null());
        let mut producing = Running::start(command);
        producing.feed_last(input.clone());
        assert_eq!(producing.finish(), Vec::<String>::new(), "--quiet");
        let output = broker.run(&["consume", &topic, "--exit-at-end"]);
        assert!(
            output == input,
            "{codec}: the output differs from the input"
        );
    }
}
