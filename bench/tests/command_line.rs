//! The tool as its users run it: arguments, exit codes, and what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelog-bench"));
    command.arg("--data-dir").arg(folder).args(arguments);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The report of a run that must succeed.
fn report_of(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_empty(folder: &Path) -> bool {
    folder.read_dir().unwrap().next().is_none()
}

/// A folder on the file system of the repository, which supports direct I/O
/// where `/tmp` may not.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn a_value_out_of_range_is_refused_with_its_range() {
    let folder = folder();
    let output = bench(folder.path(), &["--record-size", "8"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(
        error.contains("--record-size 8 B is out of range: 32 B to 16 MiB"),
        "{error}"
    );
    assert!(is_empty(folder.path()));
}

#[test]
fn a_broker_that_does_not_answer_is_an_error_with_its_address() {
    let free_port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let output = Command::new(env!("CARGO_BIN_EXE_corelog-bench"))
        .args(["--brokers", &free_port.to_string(), "--records", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains(&free_port.to_string()), "{error}");
}

#[test]
fn a_short_run_reads_every_record_back_and_leaves_nothing_behind() {
    let folder = folder();
    let arguments = [
        "--records",
        "3000",
        "--partitions",
        "3",
        "--producers",
        "2",
        "--consumers",
        "2",
        "--format",
        "json",
    ];
    let report = report_of(&mut bench(folder.path(), &arguments));
    let verdict = &report["verdict"];
    // Four produce figures, and the latency part's records.
    assert!(verdict["sent"].as_u64().unwrap() > 4 * 3000, "{verdict}");
    assert_eq!(verdict["acknowledged"], verdict["sent"]);
    assert_eq!(verdict["read_back"], verdict["sent"]);
    assert_eq!(verdict["damaged"], 0);
    for figure in report["throughput"].as_array().unwrap() {
        assert!(figure["mb_per_s"].as_f64().unwrap() > 0.0, "{figure}");
        assert!(
            figure["ceiling"]["share"].as_f64().unwrap() > 0.0,
            "{figure}"
        );
    }
    assert_eq!(report["latency"].as_array().unwrap().len(), 2);
    assert_eq!(report.get("group"), None);
    assert!(is_empty(folder.path()), "files were left behind");
}

#[test]
fn a_run_leaves_a_page_and_a_log_of_histograms_and_its_report_can_be_compared() {
    let (folder, results) = (folder(), folder());
    let path = |name: &str| results.path().join(name).display().to_string();
    let [report, page, log, comparison] = [
        "report.json",
        "page.html",
        "latency.hlog",
        "comparison.html",
    ]
    .map(path);
    let arguments = [
        "--records",
        "300",
        "--durability",
        "written",
        "--batch-size",
        "16KiB",
        "--format",
        "json",
        "--output",
        &report,
        "--html",
        &page,
        "--histograms",
        &log,
    ];
    let run = bench(folder.path(), &arguments).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("--records 300") && page.contains("<svg"));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("Tag=produce-written-16-KiB,"), "{log}");

    let compare = ["compare", &report, &report, "--html", &comparison];
    let compared = Command::new(env!("CARGO_BIN_EXE_corelog-bench"))
        .args(compare)
        .output()
        .unwrap();
    assert_eq!(compared.status.code(), Some(0), "{}", stderr(&compared));
    let text = String::from_utf8(compared.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("produce"));
    assert!(line.unwrap().ends_with("1.00"), "{text}");
    assert!(
        std::fs::read_to_string(comparison)
            .unwrap()
            .contains("<table>")
    );
}

#[test]
fn the_knee_lies_below_a_rate_that_was_not_sustained() {
    let folder = folder();
    let arguments = [
        "--records",
        "300",
        "--durability",
        "memory",
        "--batch-size",
        "16KiB",
        "--knee",
        "200",
        "--format",
        "json",
    ];
    let report = report_of(&mut bench(folder.path(), &arguments));
    let knee = &report["knees"][0];
    let highest = knee["highest_rate"].as_u64().unwrap();
    let steps = knee["steps"].as_array().unwrap();
    let rates = |sustained: bool| {
        let steps = steps
            .iter()
            .filter(move |it| it["is_sustained"] == sustained);
        steps.map(|it| it["rate"].as_u64().unwrap())
    };
    assert_eq!(rates(true).max(), Some(highest), "{knee}");
    // What failed once may have been sustained when it was tried again.
    assert!(rates(false).any(|rate| rate > highest), "{knee}");
    // What was too much for the broker came back all the same.
    assert_eq!(report["verdict"]["read_back"], report["verdict"]["sent"]);
}

#[test]
fn what_cannot_be_written_or_read_is_told_with_its_path() {
    let folder = folder();
    let nowhere = folder.path().join("nowhere").join("page.html");
    let nowhere = nowhere.to_str().unwrap();
    for flag in ["--html", "--histograms"] {
        let output = bench(folder.path(), &[flag, nowhere]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(nowhere), "{}", stderr(&output));
    }
    let no_report = folder.path().join("no.json");
    std::fs::write(&no_report, "{\"a\": 1}").unwrap();
    let no_report = no_report.to_str().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_corelog-bench"))
        .args(["compare", no_report, no_report])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains(no_report) && told.contains("--format json"),
        "{told}"
    );
}

#[test]
fn two_cores_share_the_load_and_no_request_meets_the_wrong_one() {
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores < 2 {
        println!("skipped: two cores are needed, this machine has {cores}");
        return;
    }
    let folder = folder();
    let arguments = [
        "--cores",
        "2",
        "--partitions",
        "64",
        "--records",
        "12000",
        "--durability",
        "written",
        "--batch-size",
        "16KiB",
        "--format",
        "json",
    ];
    let report = report_of(&mut bench(folder.path(), &arguments));
    let broker = &report["broker"];
    assert_eq!(broker["mesh_hops"], 0, "{broker}");
    let shards = broker["bytes_by_shard"].as_array().unwrap();
    let bytes: Vec<u64> = shards.iter().map(|bytes| bytes.as_u64().unwrap()).collect();
    assert_eq!(bytes.len(), 2, "{broker}");
    let least = bytes.iter().sum::<u64>() * 3 / 10;
    assert!(least > 0, "{broker}");
    assert!(bytes.iter().all(|&bytes| bytes >= least), "{broker}");
}

#[test]
fn a_group_without_a_partition_for_the_member_that_joins_is_refused() {
    let folder = folder();
    let arguments = ["--group", "4", "--partitions", "4"];
    let output = bench(folder.path(), &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(
        error.contains("--group 4 with --partitions 4: one more member joins"),
        "{error}"
    );
    assert!(is_empty(folder.path()));
}

#[test]
fn a_group_reads_everything_while_a_member_joins_and_leaves() {
    let folder = folder();
    let arguments = [
        "--group",
        "3",
        "--partitions",
        "7",
        "--producers",
        "2",
        "--consumers",
        "2",
        "--records",
        "4000",
        "--durability",
        "written",
        "--batch-size",
        "16KiB",
        "--format",
        "json",
    ];
    let report = report_of(&mut bench(folder.path(), &arguments));
    let group = &report["group"];
    assert_eq!(
        (&group["members"], &group["partitions"]),
        (&3.into(), &7.into())
    );
    let throughput = &group["throughput"];
    for rate in ["mb_per_s", "records_per_s"] {
        assert!(throughput[rate].as_f64().unwrap() > 0.0, "{throughput}");
    }
    let beside = &throughput["ceiling"];
    assert_eq!(beside["name"], "plain consumers");
    let share = throughput["mb_per_s"].as_f64().unwrap() / beside["mb_per_s"].as_f64().unwrap();
    assert!(
        (beside["share"].as_f64().unwrap() - share).abs() < 1e-9,
        "{throughput}"
    );

    let rebalance = &group["rebalance"];
    for time in ["joining_us", "leaving_us", "longest_pause_us"] {
        assert!(
            rebalance[time].as_f64().unwrap() > 0.0,
            "{time}: {rebalance}"
        );
    }
    // Members that say farewell commit before: nothing is delivered again.
    assert_eq!(rebalance["delivered_twice"], 0, "{rebalance}");
    // Three times what was written once, and all of the load.
    let load = rebalance["records"].as_u64().unwrap();
    assert!(load > 0, "{rebalance}");
    let verdict = &group["verdict"];
    assert_eq!(verdict["sent"], 3 * 4000 + load, "{verdict}");
    assert_eq!(verdict["read_back"], verdict["sent"], "{verdict}");
    assert_eq!(verdict["damaged"], 0, "{verdict}");
    // The produce figure's records, and those that plain consumers read beside the group.
    let sent = report["verdict"]["sent"].as_u64().unwrap();
    assert!(sent >= 2 * 4000, "{}", report["verdict"]);
    assert!(is_empty(folder.path()), "files were left behind");
}

/// The story: without acknowledgements a producer is done when its last bytes
/// are in the socket. A reader that asked for the ends right then missed the
/// records on their way, and the run called them lost.
#[test]
fn records_sent_without_acknowledgements_are_waited_for() {
    let folder = folder();
    let arguments = [
        "--acks",
        "0",
        "--records",
        "20000",
        "--durability",
        "sync",
        "--batch-size",
        "1MiB",
        "--format",
        "json",
    ];
    let report = report_of(&mut bench(folder.path(), &arguments));
    let verdict = &report["verdict"];
    assert!(verdict["sent"].as_u64().unwrap() > 20_000, "{verdict}");
    assert_eq!(verdict["read_back"], verdict["sent"]);
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let folder = folder();
    let mut child = bench(folder.path(), &["--duration", "600"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while is_empty(folder.path()) {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(is_empty(folder.path()), "files were left behind");
}
