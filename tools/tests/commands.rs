//! What each command prints and how it ends, against a real broker.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::process::{Output, Stdio};

use harness::{BrokerProcess, Running};
use serde_json::Value;

fn json(output: &[u8]) -> Value {
    serde_json::from_slice(output).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn produce(broker: &BrokerProcess, arguments: &[&str], input: &str) -> Vec<String> {
    let arguments = [&["produce"], arguments].concat();
    let mut producing = Running::start(broker.corelog(&arguments));
    producing.feed(input.as_bytes());
    producing.finish()
}

/// Also `produce` and `consume`, which wait long for a broker that was there and restarts.
#[test]
fn without_a_broker_every_command_says_so_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = BrokerProcess::start(folder.path());
    broker.kill();
    let commands: [&[&str]; 3] = [&["topic", "list"], &["produce", "t"], &["consume", "t"]];
    // Side by side: each gives up after some seconds.
    let running = commands.map(|command| {
        let mut command = broker.corelog(command);
        command.stderr(Stdio::piped()).spawn().unwrap()
    });
    for (command, child) in commands.iter().zip(running) {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = stderr(&output);
        assert!(said.contains("no broker of"), "{command:?}: {said}");
    }
}

#[test]
fn a_topic_lives_from_create_to_delete() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    let create = [
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "--config",
        "durability=written",
        "--format",
        "json",
    ];
    let created = json(&broker.run(&create));
    assert_eq!(created["partitions"], 3);

    let again = broker.output(&create);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("TOPIC_ALREADY_EXISTS"));
    broker.run(&["topic", "create", "orders", "--if-not-exists"]);

    let listed = json(&broker.run(&["topic", "list", "--format", "json"]));
    assert_eq!(listed[0]["name"], "orders");
    assert_eq!(listed[0]["durability"], "written");
    assert_eq!(listed[0]["id"], created["id"]);

    broker.run(&["config", "set", "--topic", "orders", "retention.ms=60000"]);
    produce(&broker, &["orders", "--partition", "2"], "one\ntwo\n");
    let describe = ["topic", "describe", "orders", "--format", "json"];
    let described = json(&broker.run(&describe));
    let partition = &described[0]["partitions"][2];
    assert_eq!(partition["high_watermark"], 2);
    let configs = described[0]["configs"].as_array().unwrap();
    let retention = configs
        .iter()
        .find(|config| config["name"] == "retention.ms")
        .unwrap();
    assert_eq!(retention["value"], "60000");
    assert_eq!(retention["source"], "topic");

    let deleted = broker.output(&["topic", "delete", "orders", "absent"]);
    assert_eq!(deleted.status.code(), Some(1), "one of the two failed");
    assert_eq!(deleted.stdout, b"deleted orders\n");
    assert!(stderr(&deleted).contains("absent: UNKNOWN_TOPIC_OR_PARTITION"));
    assert_eq!(broker.run(&["topic", "list", "--format", "json"]), b"[]\n");
}

#[test]
fn a_topic_gets_more_partitions_and_never_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "orders", "--partitions", "2"]);
    produce(&broker, &["orders", "--partition", "1"], "old\n");
    let add = |count: &str, more: &[&str]| {
        let arguments = ["topic", "add-partitions", "orders", "--count", count];
        broker.output(&[&arguments[..], more].concat())
    };
    let partitions = || {
        let listed = json(&broker.run(&["topic", "list", "--format", "json"]));
        listed[0]["partitions"].as_i64().unwrap()
    };

    let dry = add("4", &["--dry-run"]);
    assert_eq!(dry.stdout, b"orders would have 4 partitions\n");
    assert_eq!(partitions(), 2);
    let done = json(&add("4", &["--format", "json"]).stdout);
    assert_eq!(done["name"], "orders");
    assert_eq!(done["partitions"], 4);
    assert_eq!(done["dry_run"], false);
    assert_eq!(partitions(), 4);
    let acknowledged = produce(&broker, &["orders", "--partition", "3"], "new\n");
    assert_eq!(acknowledged, ["3\t0"]);
    let read = broker.run(&["consume", "orders", "--exit-at-end"]);
    let read = String::from_utf8(read).unwrap();
    let mut lines: Vec<&str> = read.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["new", "old"]);

    for (count, more) in [("4", &[][..]), ("3", &["--dry-run"])] {
        let refused = add(count, more);
        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stdout.is_empty());
        let said = stderr(&refused);
        let expected = format!(
            "orders: INVALID_PARTITIONS: topic `orders` has 4 partitions, {count} would not be more"
        );
        assert!(said.contains(&expected), "{said}");
    }
    assert_eq!(add("0", &[]).status.code(), Some(2));
    let absent = ["topic", "add-partitions", "absent", "--count", "9"];
    let absent = broker.output(&absent);
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("absent: UNKNOWN_TOPIC_OR_PARTITION"));
}

#[test]
fn settings_are_shown_with_their_source_set_and_unset() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "orders"]);
    let describe = |arguments: &[&str]| {
        let arguments = [&["config", "describe"], arguments].concat();
        String::from_utf8(broker.run(&arguments)).unwrap()
    };
    assert_eq!(
        describe(&["--topic", "orders"]),
        "orders: every setting has its default, --all shows them\n"
    );

    let set = ["config", "set", "--topic", "orders"];
    let good = ["segment.ms=1h", "cleanup.policy=compact,delete"];
    let altered = broker.run(&[&set[..], &good].concat());
    assert_eq!(altered, b"altered orders\n");
    assert_eq!(
        describe(&["--topic", "orders"]),
        "CONFIG          VALUE           SOURCE  DEFAULT    TYPE\n\
         segment.ms      3600000         topic   604800000  long\n\
         cleanup.policy  compact,delete  topic   delete     list\n"
    );
    let explained = describe(&["--topic", "orders", "--verbose"]);
    let lines: Vec<&str> = explained.lines().collect();
    assert_eq!(
        lines[0],
        "segment.ms = 3600000  (topic; long, by default 604800000)"
    );
    assert_eq!(
        lines[1],
        "    A segment that holds records is closed after this long, even if it is not full. \
         Allowed: milliseconds from 1 to 9223372036854775807."
    );
    let all = json(describe(&["--topic", "orders", "--all", "--format", "json"]).as_bytes());
    let all = all.as_array().unwrap();
    assert!(all.len() > 20, "{}", all.len());
    let retention = all.iter().find(|it| it["name"] == "retention.ms").unwrap();
    assert_eq!(retention["source"], "default");
    assert_eq!(retention["type"], "long");
    assert_eq!(retention["read_only"], false);
    let documentation = retention["documentation"].as_str().unwrap();
    assert!(documentation.contains("older than this"), "{documentation}");

    // One value that is refused keeps the others from being set.
    for (bad, expected) in [
        (
            "segment.bytes=1",
            "`segment.bytes` cannot be `1`: it must be a number of bytes from 16384",
        ),
        ("segment.size=1", "`segment.size` is not a topic setting"),
    ] {
        let refused = broker.output(&[&set[..], &["retention.ms=5", bad]].concat());
        assert_eq!(refused.status.code(), Some(1));
        let said = stderr(&refused);
        assert!(said.contains("orders: INVALID_CONFIG"), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    broker.run(&[
        "config",
        "unset",
        "--topic",
        "orders",
        "segment.ms",
        "retention.ms",
    ]);
    let left = json(describe(&["--topic", "orders", "--format", "json"]).as_bytes());
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["name"], "cleanup.policy");

    let broker_settings = describe(&["--broker", "1"]);
    let data_dir = format!("data.dir  {}", folder.path().display());
    assert!(
        broker_settings.lines().any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns[..2].join("  ") == data_dir && columns[2] == "broker"
        }),
        "{broker_settings}"
    );
    let absent = broker.output(&["config", "describe", "--topic", "absent"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("absent: UNKNOWN_TOPIC_OR_PARTITION"));
    let other = broker.output(&["config", "describe", "--broker", "7"]);
    assert_eq!(other.status.code(), Some(1));
    let said = stderr(&other);
    assert!(
        said.contains("broker 7: INVALID_REQUEST: this is broker 1"),
        "{said}"
    );
}

#[test]
fn the_oldest_records_are_deleted_partition_by_partition() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "orders", "--partitions", "2"]);
    produce(&broker, &["orders", "--partition", "0"], "a\nb\nc\nd\n");
    produce(&broker, &["orders", "--partition", "1"], "e\n");
    let delete = ["topic", "delete-records", "orders", "--before"];

    let one = [&delete[..], &["3", "--partition", "0"]].concat();
    assert_eq!(broker.run(&one), b"orders-0 starts at 3\n");
    let consume = ["consume", "orders", "--exit-at-end", "--partition", "0"];
    assert_eq!(broker.run(&consume), b"d\n");

    // Partition 1 holds a single record.
    let both = broker.output(&[&delete[..], &["4"]].concat());
    assert_eq!(both.status.code(), Some(1));
    assert_eq!(both.stdout, b"orders-0 starts at 4\n");
    let said = stderr(&both);
    assert!(said.contains("OFFSET_OUT_OF_RANGE"), "{said}");
    assert!(said.contains("from 0 up to the high watermark 1"), "{said}");

    let all = broker.run(&[&delete[..], &["end", "--format", "json"]].concat());
    let all = json(&all);
    assert_eq!(all[0]["log_start_offset"], 4);
    assert_eq!(all[1]["log_start_offset"], 1);
    for wrong in ["-1", "start", "1.5"] {
        let refused =
            broker.output(&[&delete[..3], &[format!("--before={wrong}").as_str()]].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn lines_are_read_from_the_place_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "orders", "--partitions", "2"]);
    let acknowledged = produce(&broker, &["orders", "--partition", "1"], "a\nb\nc\nd\n");
    assert_eq!(acknowledged, ["1\t0", "1\t1", "1\t2", "1\t3"]);
    let consume = |arguments: &[&str]| {
        let arguments = [&["consume", "orders", "--exit-at-end"], arguments].concat();
        String::from_utf8(broker.run(&arguments)).unwrap()
    };
    assert_eq!(consume(&[]), "a\nb\nc\nd\n");
    assert_eq!(consume(&["--partition", "0"]), "");
    assert_eq!(consume(&["--from", "2", "--partition", "1"]), "c\nd\n");
    assert_eq!(consume(&["--from", "end"]), "");
    assert_eq!(
        consume(&["--from", "@0", "--max-messages", "3"]),
        "a\nb\nc\n"
    );
    assert_eq!(consume(&["--from", "@99999999999999"]), "");
    let beyond = ["consume", "orders", "--partition", "1", "--from", "9"];
    let beyond = broker.output(&beyond);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(stderr(&beyond).contains("offset 9 is not in the log"));
}

#[test]
fn keys_are_split_from_lines_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "orders", "--partitions", "8"]);
    let arguments = ["orders", "--key-separator", ": ", "--compression", "lz4"];
    let input = "foobar: 1\nfoobar: 2\n21: 3\n";
    let acknowledged = produce(&broker, &arguments, input);
    // murmur2("foobar") and murmur2("21") of Kafka's own tests, sign bit cleared, modulo 8.
    assert_eq!(acknowledged, ["6\t0", "6\t1", "4\t0"]);
    let consume = ["consume", "orders", "--exit-at-end", "--print-key"];
    let output = String::from_utf8(broker.run(&consume)).unwrap();
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["21\t3", "foobar\t1", "foobar\t2"]);
}

#[test]
fn an_interrupt_ends_produce_with_its_acknowledgements_and_consume_with_success() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    broker.run(&["topic", "create", "orders", "--partitions", "1"]);
    let mut producing = Running::start(broker.corelog(&["produce", "orders"]));
    producing.feed(b"a\nb\n");
    assert_eq!(producing.next_line(), "0\t0");
    producing.interrupt();
    assert_eq!(producing.wait(), ["0\t1"]);

    let mut consuming = Running::start(broker.corelog(&["consume", "orders"]));
    assert_eq!(consuming.next_line(), "a");
    consuming.interrupt();
    assert_eq!(consuming.wait(), ["b"]);
}

#[test]
fn what_does_not_exist_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    for arguments in [&["produce", "absent"], &["consume", "absent"]] {
        let output = broker.output(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("absent: UNKNOWN_TOPIC_OR_PARTITION"),
            "{}",
            stderr(&output)
        );
    }
    let wrong = broker.output(&["topic", "list", "-X", "linger.ms=5"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("linger.ms"));
}
