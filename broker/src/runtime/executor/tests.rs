#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use std::path::Path;

use crate::runtime::{Instant, Storage, now, sleep, spawn, unix_millis, yield_now};

fn options(name: &str) -> ExecutorOptions {
    ExecutorOptions {
        name: name.to_owned(),
        io_memory: 1 << 20,
        ..ExecutorOptions::default()
    }
}

#[test]
fn a_shard_runs_on_its_core_under_its_name() {
    let cpu = *available_cpus().last().unwrap();
    let options = ExecutorOptions {
        cpu: Some(cpu),
        ..options("shard-under-test")
    };
    let (name, cpus) = launch_shard(options, || async {
        let name = std::thread::current().name().unwrap().to_owned();
        (name, available_cpus())
    })
    .unwrap()
    .join()
    .unwrap();
    assert_eq!(name, "shard-under-test");
    assert_eq!(cpus, [cpu]);
}

#[test]
fn a_core_that_does_not_exist_is_refused_at_the_start() {
    let options = ExecutorOptions {
        cpu: Some(1_000),
        ..options("shard")
    };
    let error = launch_shard(options, || async {}).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("core 1000"), "{error}");
}

#[test]
fn a_panic_of_the_root_is_told_to_who_joins() {
    let thread = launch_shard(options("doomed"), || async {
        assert_eq!(1, 2, "on purpose");
    });
    let error = thread.unwrap().join().unwrap_err();
    assert!(
        error.to_string().starts_with("thread doomed panicked: "),
        "{error}"
    );
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[test]
fn real_time_passes_while_a_task_sleeps() {
    let slept = launch_shard(options("shard"), || async {
        let start: Instant = now();
        sleep(Duration::from_millis(5)).await;
        start.elapsed()
    });
    assert!(slept.unwrap().join().unwrap() >= Duration::from_millis(5));
    // After the first commit of this file, and before its authors retire.
    assert!((1_700_000_000_000..4_000_000_000_000).contains(&unix_millis()));
}

/// glommio's blocking thread panics when it has an answer for an executor that is gone.
#[test]
fn an_executor_that_ends_waits_for_its_blocking_calls() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    launch_shard(options("shard"), || async {
        let storage = Storage::real(root).await.unwrap();
        let written = async move {
            let bytes = vec![7; 4 << 20];
            let _ = storage.replace_file(Path::new("late"), &bytes).await;
        };
        spawn(written).detach();
        yield_now().await;
    })
    .unwrap()
    .join()
    .unwrap();
    let written = std::fs::metadata(folder.path().join("late")).unwrap();
    assert_eq!(written.len(), 4 << 20);
}
