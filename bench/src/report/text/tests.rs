use crate::ceilings::Ceilings;
use crate::latency::{Distribution, LatencySummary, Point};
use crate::machine::Machine;
use crate::report::{
    BrokerFigures, Busy, Group, Knee, KneeStep, Latency, LatencyCeiling, RateCeiling, Rebalance,
    Report, Settings, Throughput,
};
use crate::timeline::Timeline;
use crate::workload::ledger::Verdict;

fn latency(p50_us: f64) -> LatencySummary {
    LatencySummary {
        count: 1_000,
        p50_us,
        p99_us: p50_us * 2.0,
        p999_us: p50_us * 5.0,
        max_us: p50_us * 20.0,
    }
}

pub(in crate::report) fn report() -> Report {
    Report {
        version: "0.1.0".into(),
        command: "corelog-bench --duration 30".into(),
        started_unix_s: 1_800_000_000,
        timeline_step_s: 0.1,
        machine: Machine {
            cores: 2,
            cpu: Some("Example 3 GHz".into()),
            kernel: "6.18".into(),
            governor: None,
            memory_bytes: None,
            disk: Some("/dev/vda (ext4)".into()),
        },
        settings: Settings {
            brokers: "embedded".into(),
            broker_cores: vec![0],
            client_cores: vec![1],
            cores_shared: false,
            partitions: 1,
            record_bytes: 1024,
            producers: 1,
            consumers: 2,
            acks: "all".into(),
            compression: "none".into(),
            layout: "broker on core 0, clients on core 1".into(),
        },
        ceilings: Some(Ceilings {
            loopback_stream_mb_per_s: 2_368.0,
            loopback_round_trip: latency(73.0),
            sequential_write_mb_per_s: 2_083.0,
            sequential_read_mb_per_s: 805.0,
            write_round_trip: latency(62.0),
            synced_write_round_trip: latency(133.0),
        }),
        throughput: vec![Throughput {
            what: "produce, written, 1 MiB".into(),
            mb_per_s: 750.0,
            records_per_s: 732_421.0,
            ceiling: Some(RateCeiling::new("bare loop", 1_000.0, 750.0)),
            acknowledged_after: Some(latency(900.0)),
            busy: Some(Busy {
                broker: 0.98,
                clients: 0.7,
            }),
            slices_mb_per_s: vec![740.0, 750.0, 760.0],
            ceiling_slices_mb_per_s: vec![1_000.0; 3],
            timeline_mb_per_s: Timeline(vec![800.0, 400.0, 800.0, 800.0]),
            acknowledgements: curve(900.0),
        }],
        latency: vec![Latency {
            what: "sync, one at a time".into(),
            rate: None,
            measured: latency(400.0),
            ceiling: Some(LatencyCeiling::new(
                "round trip + synced write",
                206.0,
                400.0,
            )),
            distribution: curve(400.0),
        }],
        knees: Vec::new(),
        group: None,
        verdict: Verdict {
            sent: 1_234_567,
            acknowledged: 1_234_567,
            read_back: 1_234_567,
            ..Verdict::default()
        },
        broker: Some(BrokerFigures {
            mesh_hops: 0,
            bytes_by_shard: vec![600, 400],
        }),
        steal: 0.0,
        others: 0.0,
        elapsed_s: 30.2,
        interrupted: false,
        recordings: Vec::new(),
    }
}

fn curve(p50_us: f64) -> Distribution {
    let points = [
        (0.0, 0.5),
        (0.5, 1.0),
        (0.99, 2.0),
        (0.999, 5.0),
        (1.0, 20.0),
    ];
    let point = |(quantile, times)| Point {
        quantile,
        us: p50_us * times,
    };
    Distribution(points.map(point).to_vec())
}

fn group() -> Group {
    Group {
        members: 4,
        partitions: 16,
        throughput: Throughput {
            what: "4 members, from the beginning".into(),
            mb_per_s: 630.0,
            records_per_s: 615_234.0,
            ceiling: Some(RateCeiling::new("plain consumer", 700.0, 630.0)),
            acknowledged_after: None,
            busy: None,
            slices_mb_per_s: vec![620.0, 630.0, 640.0],
            ceiling_slices_mb_per_s: vec![700.0; 3],
            timeline_mb_per_s: Timeline(vec![630.0; 4]),
            acknowledgements: Distribution::default(),
        },
        rebalance: Some(Rebalance {
            rate: 20_000,
            records_per_s: 19_876.0,
            joining_us: 12_300.0,
            leaving_us: 4_560.0,
            longest_pause_us: Some(21_000.0),
            longest_pause_before_us: Some(9_100.0),
            records: 54_321,
            delivered_twice: 17,
        }),
        verdict: Verdict {
            sent: 2_000_000,
            acknowledged: 2_000_000,
            read_back: 2_000_000,
            ..Verdict::default()
        },
    }
}

#[test]
fn throughput_over_time_is_a_line_of_blocks() {
    let text = report().to_text();
    let line = text.lines().find(|line| line.contains("█▄██"));
    let line = line.unwrap_or_else(|| panic!("no sparkline in:\n{text}"));
    for part in ["produce, written, 1 MiB", "400", "800"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn the_knee_is_the_highest_rate_that_was_sustained() {
    let mut report = report();
    let step = |rate, is_sustained| KneeStep {
        rate,
        records: rate,
        is_sustained,
        measured: latency(200.0),
    };
    report.knees.push(Knee {
        what: "sync".into(),
        p99_bound_us: 10_000.0,
        highest_rate: Some(96_000),
        steps: vec![step(64_000, true), step(128_000, false), step(96_000, true)],
    });
    let text = report.to_text();
    let line = text.lines().find(|line| line.contains("p99 within"));
    let line = line.unwrap_or_else(|| panic!("no knee in:\n{text}"));
    assert!(line.contains("sync") && line.contains("96,000"), "{line}");
}

#[test]
fn tails_of_a_disturbed_run_are_in_brackets() {
    let mut report = report();
    assert!(!report.to_text().contains("(800 µs)"));
    report.steal = 0.03;
    let text = report.to_text();
    assert!(
        text.contains("400 µs") && text.contains("(800 µs)"),
        "{text}"
    );
    assert!(text.contains("in brackets"), "{text}");
}

#[test]
fn a_report_is_read_from_its_json() {
    let written = report();
    let json = written.to_json().expect("a report has a JSON form");
    let read: Report = serde_json::from_str(&json).expect("it is read again");
    assert_eq!(read.to_text(), written.to_text());
}

#[test]
fn every_figure_stands_beside_its_ceiling_and_share() {
    let text = report().to_text();
    let line = |start: &str| {
        let found = text
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start:?} in:\n{text}"))
    };
    let produce = line("produce, written, 1 MiB");
    for part in [
        "750",
        "732,421",
        "bare loop",
        "1,000",
        "75 %",
        "98 %",
        "70 %",
    ] {
        assert!(produce.contains(part), "{part} is not in {produce}");
    }
    let sync = line("sync, one at a time");
    for part in ["400 µs", "800 µs", "2.00 ms", "8.00 ms", "206 µs", "52 %"] {
        assert!(sync.contains(part), "{part} is not in {sync}");
    }
    assert!(line("Bytes by shard").contains("60 %, 40 %. Mesh hops: 0."));
    assert!(line("1,234,567 records sent").contains("came back whole."));
}

#[test]
fn it_fits_a_screen() {
    let mut report = report();
    report.group = Some(group());
    let text = report.to_text();
    for line in text.lines() {
        let width = line.chars().count();
        assert!(width <= 132, "{width} columns: {line}");
        assert!(!line.ends_with(' '), "blanks at the end: {line:?}");
    }
}

#[test]
fn without_ceilings_there_is_no_column_for_them() {
    let mut report = report();
    report.ceilings = None;
    report.throughput[0].ceiling = None;
    report.throughput[0].busy = None;
    report.latency[0].ceiling = None;
    let text = report.to_text();
    assert!(
        !text.contains("ceiling") && !text.contains("busy"),
        "{text}"
    );
    assert!(!text.contains("What this machine can do"), "{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
}

#[test]
fn a_lost_record_and_a_disturbed_run_are_said() {
    let mut report = report();
    report.verdict.read_back -= 1;
    report.steal = 0.2;
    report.others = 0.3;
    let text = report.to_text();
    assert!(text.contains("FAILED: 1,234,567 records sent"), "{text}");
    assert!(
        text.contains("gave 20 % of this machine's CPU time"),
        "{text}"
    );
    assert!(
        text.contains("took 30 % of this machine's CPU time"),
        "{text}"
    );
}

#[test]
fn json_carries_the_same_figures() {
    let json: serde_json::Value =
        serde_json::from_str(&report().to_json().unwrap_or_default()).unwrap_or_default();
    assert_eq!(json["throughput"][0]["ceiling"]["share"], 0.75);
    assert_eq!(json["latency"][0]["p50_us"], 400.0);
    assert_eq!(json["verdict"]["sent"], 1_234_567);
    assert_eq!(json["ceilings"]["loopback_stream_mb_per_s"], 2_368.0);
}

#[test]
fn a_group_is_shown_beside_plain_consumers_and_what_a_newcomer_costs() {
    let mut report = report();
    report.group = Some(group());
    let text = report.to_text();
    let expected = "
Consumer group                     MB/s   records/s   beside                     MB/s  share
  4 members, from the beginning     630     615,234   plain consumer              700   90 %
  one more member joins         12.3 ms   until 5 members have their shares of 16 partitions, at 19,876 records/s
  it leaves again               4.56 ms   until its partitions are owned again
  longest pause                 21.0 ms   without records of a partition that kept its owner; 9.10 ms while nobody came or went
  delivered twice                    17   of 54,321 records
";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("FAILED") && report.is_good(), "{text}");
}

#[test]
fn what_a_group_could_not_tell_is_left_out() {
    let mut report = report();
    assert!(!report.to_text().contains("group"));
    assert!(!report.to_json().unwrap_or_default().contains("group"));
    let mut group = group();
    group.rebalance = None;
    report.group = Some(group);
    let text = report.to_text();
    assert!(text.contains("4 members, from the beginning"), "{text}");
    assert!(!text.contains("joins"), "{text}");
}

#[test]
fn a_record_that_the_group_did_not_get_fails_the_run() {
    let mut report = report();
    let mut group = group();
    group.verdict.read_back -= 1;
    report.group = Some(group);
    let text = report.to_text();
    let said = "FAILED: of 2,000,000 records for the group 2,000,000 were acknowledged, 1,999,999 came whole";
    assert!(text.contains(said), "{text}");
    assert!(!report.is_good());
}

#[test]
fn json_carries_the_groups_figures() {
    let mut report = report();
    report.group = Some(group());
    let json: serde_json::Value =
        serde_json::from_str(&report.to_json().unwrap_or_default()).unwrap_or_default();
    let group = &json["group"];
    assert_eq!(group["throughput"]["ceiling"]["share"], 0.9);
    assert_eq!(group["rebalance"]["joining_us"], 12_300.0);
    assert_eq!(group["rebalance"]["longest_pause_us"], 21_000.0);
    assert_eq!(group["rebalance"]["delivered_twice"], 17);
    assert_eq!(group["verdict"]["sent"], 2_000_000);
}
