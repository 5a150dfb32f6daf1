use crate::ceilings::Ceilings;
use crate::latency::LatencySummary;
use crate::machine::Machine;
use crate::report::{
    BrokerFigures, Busy, Latency, LatencyCeiling, RateCeiling, Report, Settings, Throughput,
};
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

fn report() -> Report {
    Report {
        version: "0.1.0",
        machine: Machine {
            cores: 2,
            cpu: Some("Example 3 GHz".into()),
            kernel: "6.18".into(),
            governor: None,
            memory_bytes: None,
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
            acks: "all",
            compression: "none",
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
        }],
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
    }
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
    let text = report().to_text();
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
