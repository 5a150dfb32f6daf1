#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::runtime::{
    AlignedBuffer, BLOCK, BufferPool, File, OpenMode, Storage, now, random_u64, sleep, spawn,
    yield_now,
};

fn block(pool: &BufferPool, fill: u8) -> AlignedBuffer {
    let mut buffer = pool.aligned(BLOCK).unwrap();
    buffer.fill(fill);
    buffer
}

async fn write_block(file: &File, pool: &BufferPool, index: u64, fill: u8) {
    let (result, _) = file.write_at(block(pool, fill), index * BLOCK as u64).await;
    result.unwrap();
}

async fn new_file(storage: &Storage, path: &str) -> File {
    let file = storage
        .open(Path::new(path), OpenMode::CreateNew)
        .await
        .unwrap();
    storage.sync_dir(Path::new("")).await.unwrap();
    file
}

/// A program whose steps depend on everything the simulation decides.
async fn busy(storage: Storage) -> u64 {
    let pool = BufferPool::new(1 << 20);
    let file = std::rc::Rc::new(new_file(&storage, "file").await);
    let mut tasks = Vec::new();
    for index in 0..8 {
        let (file, pool) = (std::rc::Rc::clone(&file), pool.clone());
        tasks.push(spawn(async move {
            sleep(Duration::from_micros(random_u64() % 500)).await;
            write_block(&file, &pool, index, index as u8).await;
            yield_now().await;
            file.sync_data().await.unwrap();
        }));
    }
    for task in tasks {
        task.await;
    }
    now().elapsed().as_nanos() as u64 ^ random_u64()
}

#[test]
fn the_same_seed_takes_the_same_steps() {
    let run = |seed| {
        let mut simulator = Simulator::new(seed);
        let storage = Storage::simulated(simulator.disk());
        let output = simulator.run(busy(storage));
        (
            output,
            simulator.trace(),
            simulator.steps(),
            simulator.now(),
        )
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

#[test]
fn the_clock_jumps_over_sleep() {
    let mut simulator = Simulator::new(1);
    let slept = simulator.run(async {
        let start = now();
        sleep(Duration::from_secs(3600)).await;
        start.elapsed()
    });
    assert!(slept >= Duration::from_secs(3600));
    assert!(slept < Duration::from_secs(3601));
}

#[test]
#[should_panic(expected = "simulation with seed 11 is stuck")]
fn a_program_that_waits_for_itself_is_reported_with_its_seed() {
    Simulator::new(11).run(crate::runtime::Notify::new().notified());
}

#[test]
fn a_run_stops_at_its_deadline_and_goes_on_later() {
    let mut simulator = Simulator::new(3);
    let (sender, receiver) = crate::runtime::oneshot::channel();
    let stopped = simulator.run_until(Duration::from_millis(5), async {
        spawn(async move {
            sleep(Duration::from_millis(8)).await;
            sender.send(42).unwrap();
        })
        .detach();
        std::future::pending::<()>().await;
    });
    assert!(stopped.is_none());
    assert_eq!(simulator.now().as_nanos(), 5_000_000);
    assert_eq!(simulator.run(receiver), Ok(42));
}

/// A broker acknowledged a record because its write and its sync had returned. Then the power went.
#[test]
fn a_power_cut_keeps_what_a_sync_covered() {
    for seed in 0..200 {
        let mut simulator = Simulator::new(seed);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async {
            let pool = BufferPool::new(1 << 20);
            let file = new_file(&storage, "file").await;
            write_block(&file, &pool, 0, 1).await;
            file.sync_data().await.unwrap();
            write_block(&file, &pool, 1, 2).await;
        });
        simulator.crash();
        let left = simulator.disk().contents(Path::new("file")).unwrap();
        assert_eq!(&left[..BLOCK], &[1; BLOCK], "seed {seed}");
    }
}

#[test]
fn a_power_cut_may_drop_keep_or_tear_what_no_sync_covered() {
    let (mut dropped, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..300 {
        let mut simulator = Simulator::new(seed);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async {
            let pool = BufferPool::new(1 << 20);
            let file = new_file(&storage, "file").await;
            write_block(&file, &pool, 0, 1).await;
            file.sync_data().await.unwrap();
            write_block(&file, &pool, 0, 2).await;
        });
        simulator.crash();
        let left = simulator.disk().contents(Path::new("file")).unwrap();
        assert_eq!(left.len(), BLOCK);
        let sectors: Vec<u8> = left.chunks(512).map(|sector| sector[0]).collect();
        for sector in left.chunks(512) {
            assert!(
                sector.iter().all(|byte| *byte == sector[0]),
                "a sector is whole, seed {seed}"
            );
        }
        match sectors.iter().filter(|fill| **fill == 2).count() {
            0 => dropped += 1,
            8 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(dropped > 30, "dropped {dropped}");
    assert!(kept > 30, "kept {kept}");
    assert!(torn > 30, "torn {torn}");
}

/// A journal that submits its sync before the write returned must not count on it.
#[test]
fn a_sync_does_not_cover_a_write_that_completed_after_it_was_submitted() {
    let mut lost = 0;
    for seed in 0..200 {
        let mut simulator = Simulator::new(seed);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async {
            let pool = BufferPool::new(1 << 20);
            let file = new_file(&storage, "file").await;
            let write = write_block(&file, &pool, 0, 1);
            let sync = async { file.sync_data().await.unwrap() };
            futures_util::future::join(write, sync).await;
        });
        simulator.crash();
        let left = simulator.disk().contents(Path::new("file")).unwrap();
        lost += u64::from(left != [1; BLOCK]);
    }
    assert!(lost > 50, "lost {lost} of 200");
}

#[test]
fn a_crash_with_writes_in_flight_tears_them() {
    let mut torn = 0;
    for seed in 0..200 {
        let mut simulator = Simulator::new(seed);
        let storage = Storage::simulated(simulator.disk());
        let stopped = simulator.run_until(Duration::from_millis(2), async {
            let pool = BufferPool::new(1 << 20);
            let file = new_file(&storage, "file").await;
            loop {
                write_block(&file, &pool, 0, 7).await;
                file.truncate(0).await.unwrap();
            }
        });
        assert!(stopped.is_none());
        simulator.kill();
        let left = simulator
            .disk()
            .contents(Path::new("file"))
            .unwrap_or_default();
        torn += u64::from(left.contains(&0) && left.contains(&7));
    }
    assert!(torn > 5, "torn {torn} of 200");
}

#[test]
fn process_death_keeps_completed_writes_and_a_later_power_cut_may_not() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut simulator = Simulator::new(seed);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async {
            let pool = BufferPool::new(1 << 20);
            let file = new_file(&storage, "file").await;
            write_block(&file, &pool, 0, 5).await;
        });
        simulator.kill();
        assert_eq!(
            simulator.disk().contents(Path::new("file")).unwrap(),
            [5; BLOCK]
        );
        simulator.crash();
        let left = simulator.disk().contents(Path::new("file")).unwrap();
        lost += u64::from(left != [5; BLOCK]);
    }
    assert!(lost > 20, "lost {lost} of 100");
}

#[test]
fn a_rename_without_a_directory_sync_may_be_lost() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        disk.put(Path::new("dir/a"), b"a").unwrap();
        let storage = Storage::simulated(disk.clone());
        simulator.run(async {
            storage
                .rename(Path::new("dir/a"), Path::new("dir/b"))
                .await
                .unwrap();
        });
        simulator.crash();
        match (
            disk.contents(Path::new("dir/a")),
            disk.contents(Path::new("dir/b")),
        ) {
            (Some(_), None) => old += 1,
            (None, Some(_)) => new += 1,
            other => panic!("a rename is one change, seed {seed}: {other:?}"),
        }
    }
    assert!(old > 20 && new > 20, "old {old}, new {new}");
}

#[test]
fn a_rename_with_a_directory_sync_stays() {
    for seed in 0..100 {
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        disk.put(Path::new("dir/a"), b"a").unwrap();
        let storage = Storage::simulated(disk.clone());
        simulator.run(async {
            storage
                .rename(Path::new("dir/a"), Path::new("dir/b"))
                .await
                .unwrap();
            storage.sync_dir(Path::new("dir")).await.unwrap();
        });
        simulator.crash();
        assert_eq!(
            disk.contents(Path::new("dir/b")).as_deref(),
            Some(&b"a"[..])
        );
    }
}

#[test]
fn a_replaced_file_is_old_or_new_whenever_the_power_goes() {
    for seed in 0..300 {
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        disk.put(Path::new("dir/state"), b"old").unwrap();
        let storage = Storage::simulated(disk.clone());
        let finished = simulator.run_steps(seed % 12, async {
            storage
                .replace_file(Path::new("dir/state"), b"new!")
                .await
                .unwrap();
        });
        simulator.crash();
        let left = disk.contents(Path::new("dir/state")).unwrap();
        assert!(left == b"old" || left == b"new!", "seed {seed}: {left:?}");
        if finished.is_some() {
            assert_eq!(left, b"new!", "seed {seed}");
        }
    }
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let mut simulator = Simulator::new(1);
    let disk = simulator.disk();
    disk.set_capacity(Some(2 * BLOCK as u64));
    let storage = Storage::simulated(disk.clone());
    simulator.run(async {
        let pool = BufferPool::new(1 << 20);
        let file = new_file(&storage, "file").await;
        file.allocate(0, 2 * BLOCK as u64).await.unwrap();
        write_block(&file, &pool, 1, 3).await;
        let (result, _) = file.write_at(block(&pool, 4), 2 * BLOCK as u64).await;
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(file.len().await.unwrap(), 2 * BLOCK as u64);
        assert_eq!(storage.free_space().await.unwrap(), 0);
    });
}

#[test]
fn an_injected_fault_fails_that_operation_and_no_other() {
    let mut simulator = Simulator::new(1);
    let disk = simulator.disk();
    disk.fail_nth(Operation::SyncData, 2, Fault::Device);
    let storage = Storage::simulated(disk.clone());
    simulator.run(async {
        let pool = BufferPool::new(1 << 20);
        let file = new_file(&storage, "file").await;
        file.sync_data().await.unwrap();
        write_block(&file, &pool, 0, 1).await;
        let error = file.sync_data().await.unwrap_err();
        assert!(error.to_string().starts_with("sync file:"), "{error}");
        assert_eq!(disk.durable_contents(Path::new("file")).unwrap(), b"");
        file.sync_data().await.unwrap();
    });
    assert_eq!(disk.counters().syncs, 2);
    assert_eq!(disk.counters().writes, 1);
}

#[test]
fn an_abandoned_write_still_happens() {
    let mut simulator = Simulator::new(1);
    let disk = simulator.disk();
    let storage = Storage::simulated(disk.clone());
    simulator.run(async {
        let pool = BufferPool::new(1 << 20);
        let file = new_file(&storage, "file").await;
        let write = write_block(&file, &pool, 0, 9);
        let given_up = crate::runtime::timeout(Duration::from_micros(2), write).await;
        assert!(given_up.is_err());
        sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(disk.contents(Path::new("file")).unwrap(), [9; BLOCK]);
}

#[test]
fn a_handle_from_before_the_crash_is_refused() {
    let mut simulator = Simulator::new(1);
    let storage = Storage::simulated(simulator.disk());
    let file = simulator.run(new_file(&storage, "file"));
    simulator.crash();
    simulator.run(async {
        let error = file.sync_data().await.unwrap_err();
        assert!(error.to_string().contains("before the crash"), "{error}");
    });
}

#[test]
fn a_flipped_bit_is_read_back() {
    let mut simulator = Simulator::new(1);
    let disk = simulator.disk();
    disk.put(Path::new("file"), &[0; 100]).unwrap();
    disk.flip_bit(Path::new("file"), 50, 3).unwrap();
    simulator.crash();
    assert_eq!(disk.contents(Path::new("file")).unwrap()[50], 8);
}
