//! `corelog group` and `corelog consume --group`, against a real broker.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::process::Output;

use harness::{BrokerProcess, Running};
use serde_json::Value;

fn json(output: &[u8]) -> Value {
    serde_json::from_slice(output).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A broker with a topic `orders` of two partitions.
struct Shop {
    broker: BrokerProcess,
    /// Goes when the broker has gone.
    _folder: tempfile::TempDir,
}

impl Shop {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = BrokerProcess::start(folder.path());
        broker.run(&["topic", "create", "orders", "--partitions", "2"]);
        Self {
            broker,
            _folder: folder,
        }
    }

    fn order(&self, partition: &str, lines: &[&str]) {
        let produce = ["produce", "orders", "--partition", partition, "--quiet"];
        let mut producing = Running::start(self.broker.corelog(&produce));
        producing.feed((lines.join("\n") + "\n").as_bytes());
        producing.finish();
    }

    /// Reads as a member of group `billing` to the end, or as far as it is told; the lines in order.
    fn bill(&self, more: &[&str]) -> Vec<String> {
        let consume = ["consume", "orders", "--group", "billing", "--exit-at-end"];
        let printed = self.broker.run(&[&consume[..], more].concat());
        let printed = String::from_utf8(printed).unwrap();
        let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    fn group(&self, arguments: &[&str]) -> Output {
        self.broker.output(&[&["group"], arguments].concat())
    }

    /// What it prints; it must succeed.
    fn group_says(&self, arguments: &[&str]) -> String {
        let said = self.broker.run(&[&["group"], arguments].concat());
        String::from_utf8(said).unwrap()
    }

    fn group_json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["group"], arguments, &["--format", "json"]].concat();
        json(&self.broker.run(&arguments))
    }

    /// A member of `billing` that has joined and has printed what there is.
    fn member(&self, lines: usize) -> Running {
        let consume = ["consume", "orders", "--group", "billing"];
        let mut member = Running::start(self.broker.corelog(&consume));
        for _ in 0..lines {
            member.next_line();
        }
        member
    }
}

/// Of each partition of a description or a plan: its number and these two fields.
fn of_partitions(offsets: &Value, fields: [&str; 2]) -> Vec<(i64, [Option<i64>; 2])> {
    let offsets = offsets.as_array().unwrap();
    let told = offsets.iter().map(|it| {
        let partition = it["partition"].as_i64().unwrap();
        (partition, fields.map(|field| it[field].as_i64()))
    });
    told.collect()
}

#[test]
fn a_group_goes_on_where_its_last_member_ended() {
    let shop = Shop::open();
    shop.order("0", &["apples", "pears"]);
    shop.order("1", &["plums"]);
    assert_eq!(shop.bill(&[]), ["apples", "pears", "plums"]);
    assert!(shop.bill(&[]).is_empty());
    shop.order("1", &["figs"]);
    assert_eq!(shop.bill(&[]), ["figs"]);
    let described = shop.group_json(&["describe", "billing"]);
    assert_eq!(
        of_partitions(&described[0]["offsets"], ["committed", "lag"]),
        [(0, [Some(2), Some(0)]), (1, [Some(2), Some(0)])]
    );
}

#[test]
fn only_what_was_printed_is_committed() {
    let shop = Shop::open();
    shop.order("0", &["1", "2", "3", "4", "5"]);
    assert_eq!(shop.bill(&["--max-messages", "2"]), ["1", "2"]);
    assert_eq!(shop.bill(&["--max-messages", "1"]), ["3"]);
    // Ctrl-C commits as well, and leaves the group.
    let mut member = shop.member(1);
    assert_eq!(member.next_line(), "5");
    member.interrupt();
    assert!(member.wait().is_empty());
    assert!(shop.bill(&[]).is_empty());
    let described = shop.group_json(&["describe", "billing"]);
    assert_eq!(described[0]["state"], "empty");
}

/// The positions stand behind all that was polled, and closing commits positions: what a full disk or a reader that has gone
/// did not take must not count as read.
#[test]
fn what_could_not_be_printed_is_not_committed() {
    let shop = Shop::open();
    shop.order("0", &["1", "2", "3"]);
    let consume = [
        "consume",
        "orders",
        "--group",
        "billing",
        "--max-messages",
        "3",
    ];
    let mut onto_a_full_disk = shop.broker.corelog(&consume);
    onto_a_full_disk.stdout(
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    assert_eq!(onto_a_full_disk.status().unwrap().code(), Some(1));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut to_nobody = shop.broker.corelog(&consume);
    to_nobody.stdout(writer);
    assert!(to_nobody.status().unwrap().success());
    assert_eq!(shop.bill(&[]), ["1", "2", "3"]);
}

/// `corelog consume | less`: the lines wait, signals do not.
#[test]
fn a_reader_that_stands_still_holds_up_no_signal() {
    let shop = Shop::open();
    let long = "x".repeat(1000);
    let lines = vec![long.as_str(); 1000];
    shop.order("0", &lines);
    for more in [&[][..], &["--group", "billing"]] {
        let consume = ["consume", "orders", "--from", "beginning"];
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = shop
            .broker
            .corelog(&[&consume[..], more].concat())
            .stdout(writer)
            .spawn()
            .unwrap();
        // The first byte has come: from here on the pipe fills up, as nobody reads on.
        let mut first = [0];
        std::io::Read::read_exact(&mut &reader, &mut first).unwrap();
        let id = child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(sent.unwrap().success());
        assert!(child.wait().unwrap().success(), "{more:?}");
    }
    // Those lines had not all left the process.
    assert_eq!(shop.bill(&[]).len(), 1000);
}

#[test]
fn a_new_group_begins_where_it_is_told() {
    let shop = Shop::open();
    shop.order("0", &["old"]);
    assert!(shop.bill(&["--from", "end"]).is_empty());
    shop.order("0", &["new"]);
    assert_eq!(shop.bill(&["--from", "end"]), ["new"]);

    let consume = ["consume", "orders", "--group", "billing"];
    let refused = shop
        .broker
        .output(&[&consume[..], &["--from", "7"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("reset-offsets billing"));
    let refused = shop
        .broker
        .output(&[&consume[..], &["--partition", "0"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    let absent = shop
        .broker
        .output(&["consume", "absent", "--group", "billing"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("absent: UNKNOWN_TOPIC_OR_PARTITION"));
}

#[test]
fn a_group_is_described_with_its_members_and_its_lag() {
    let shop = Shop::open();
    shop.order("0", &["apples"]);
    let member = shop.member(1);
    let listed = shop.group_json(&["list"]);
    assert_eq!(listed[0]["group"], "billing");
    assert_eq!(listed[0]["kind"], "consumer");
    assert_eq!(listed[0]["state"], "stable");
    assert_eq!(
        shop.group_says(&["list", "--state", "empty"]),
        "GROUP  KIND  STATE\n"
    );

    let described = &shop.group_json(&["describe"])[0];
    assert_eq!(described["assignor"], "uniform");
    let members = described["members"].as_array().unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["client_id"], "corelog-cli");
    assert_eq!(members[0]["client_host"], "127.0.0.1");
    assert_eq!(members[0]["topics"][0], "orders");
    let assigned = members[0]["assigned"].as_array().unwrap();
    assert_eq!(assigned, &["orders-0", "orders-1"]);
    let owner = &described["offsets"][1]["member_id"];
    assert_eq!(owner, &members[0]["member_id"]);

    let text = shop.group_says(&["describe", "billing"]);
    assert!(
        text.starts_with("billing  consumer, stable, epoch "),
        "{text}"
    );
    assert!(text.contains("corelog-cli"), "{text}");

    member.interrupt();
    member.wait();
    shop.order("1", &["plums", "figs"]);
    let described = &shop.group_json(&["describe", "billing"])[0];
    assert_eq!(described["lag"], 2);
    assert_eq!(
        of_partitions(&described["offsets"], ["committed", "end"]),
        [(0, [Some(1), Some(1)]), (1, [Some(0), Some(2)])]
    );
}

#[test]
fn offsets_are_reset_after_a_look_at_the_plan() {
    let shop = Shop::open();
    shop.order("0", &["1", "2", "3", "4"]);
    shop.order("1", &["a", "b"]);
    assert_eq!(shop.bill(&[]).len(), 6);
    let reset = |arguments: &[&str]| {
        let arguments = [&["reset-offsets", "billing"], arguments].concat();
        let plan = shop.group_json(&arguments);
        of_partitions(&plan["offsets"], ["committed", "offset"])
    };
    let from = |zero: i64, one: i64, to: [i64; 2]| {
        [
            (0, [Some(zero), Some(to[0])]),
            (1, [Some(one), Some(to[1])]),
        ]
    };

    let all = "--all-topics";
    assert_eq!(reset(&[all, "--to-earliest"]), from(4, 2, [0, 0]));
    assert!(shop.bill(&[]).is_empty(), "that was a dry run");
    assert_eq!(reset(&[all, "--shift-by", "-3"]), from(4, 2, [1, 0]));
    assert_eq!(reset(&[all, "--to-offset", "3"]), from(4, 2, [3, 2]));
    assert_eq!(reset(&[all, "--to-timestamp", "0"]), from(4, 2, [0, 0]));
    assert_eq!(reset(&[all, "--by-duration", "P1D"]), from(4, 2, [0, 0]));
    assert_eq!(reset(&[all, "--by-duration", "PT0S"]), from(4, 2, [4, 2]));

    let some = ["--topic", "orders:0", "--shift-by", "-1", "--execute"];
    assert_eq!(reset(&some), [(0, [Some(4), Some(3)])]);
    assert_eq!(shop.bill(&[]), ["4"]);
    let text = shop.group_says(&["reset-offsets", "billing", all, "--to-offset", "9"]);
    assert_eq!(
        text,
        "TOPIC   PARTITION  COMMITTED  NEW\n\
         orders  0          4          4 (the nearest in the log)\n\
         orders  1          2          2 (the nearest in the log)\n\
         dry run: nothing was committed, --execute does it\n"
    );

    // A group that is yet to come.
    let audit = ["reset-offsets", "audit", "--topic", "orders", "--to-latest"];
    shop.group_says(&[&audit[..], &["--execute"]].concat());
    let consume = ["consume", "orders", "--group", "audit", "--exit-at-end"];
    assert!(shop.broker.run(&consume).is_empty());
}

#[test]
fn offsets_of_a_group_with_members_stay_theirs() {
    let shop = Shop::open();
    shop.order("0", &["apples"]);
    let member = shop.member(1);
    let reset = [
        "reset-offsets",
        "billing",
        "--topic",
        "orders",
        "--to-earliest",
    ];
    let planned = shop.group_says(&reset);
    assert!(
        planned.contains("group billing has 1 member: stop them before"),
        "{planned}"
    );
    let refused = shop.group(&[&reset[..], &["--execute"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("group billing has 1 member"));
    let refused = shop.group(&["delete", "billing"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("group billing: NON_EMPTY_GROUP"));
    drop(member);
}

#[test]
fn groups_and_offsets_are_deleted() {
    let shop = Shop::open();
    shop.order("0", &["apples"]);
    shop.order("1", &["plums"]);
    shop.bill(&[]);
    let forgot = shop.group_says(&["delete-offsets", "billing", "--topic", "orders:1"]);
    assert_eq!(forgot, "forgot orders-1\n");
    assert_eq!(shop.bill(&[]), ["plums"], "it begins anew there");

    let deleted = shop.group(&["delete", "billing", "absent"]);
    assert_eq!(deleted.status.code(), Some(1), "one of the two failed");
    assert_eq!(deleted.stdout, b"deleted billing\n");
    assert!(stderr(&deleted).contains("group absent: GROUP_ID_NOT_FOUND"));
    assert_eq!(shop.group_json(&["list"]), serde_json::json!([]));
    assert_eq!(shop.bill(&[]), ["apples", "plums"]);
}

#[test]
fn what_is_not_there_is_named() {
    let shop = Shop::open();
    for (arguments, expected) in [
        (
            &["describe", "absent"][..],
            "group absent: GROUP_ID_NOT_FOUND",
        ),
        (
            &["delete-offsets", "absent", "--topic", "orders"],
            "group absent: GROUP_ID_NOT_FOUND",
        ),
        (
            &["reset-offsets", "absent", "--all-topics", "--to-latest"],
            "group absent has committed nothing, if it exists: name topics with --topic",
        ),
        (
            &[
                "reset-offsets",
                "absent",
                "--topic",
                "orders",
                "--shift-by",
                "1",
            ],
            "nothing is committed of orders-0",
        ),
        (
            &["reset-offsets", "g", "--topic", "orders:2", "--to-latest"],
            "orders-2 does not exist: topic orders has 2 partitions",
        ),
        (
            &["reset-offsets", "g", "--topic", "absent", "--to-latest"],
            "absent: UNKNOWN_TOPIC_OR_PARTITION",
        ),
    ] {
        let refused = shop.group(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let said = stderr(&refused);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
