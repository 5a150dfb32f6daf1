//! The same behaviour on both back ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::path::Path;
use std::rc::Rc;

use futures_util::future::join;

use super::*;
use crate::runtime::{BufferPool, Simulator, launch_small, spawn};

/// Runs a test on the simulated disk, and on a real one in a directory of its own.
fn on_both<Fut: Future<Output = ()> + 'static>(test: fn(Storage) -> Fut) {
    for seed in 0..5 {
        let mut simulator = Simulator::new(seed);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(test(storage));
    }
    on_real(test);
}

fn on_real<Fut: Future<Output = ()> + 'static>(test: fn(Storage) -> Fut) {
    // Beside the test binary: the system's temporary directory may be memory, without direct I/O.
    let binary = std::env::current_exe().unwrap();
    let directory = tempfile::tempdir_in(binary.parent().unwrap()).unwrap();
    let root = directory.path().join("data");
    launch_small(move || async move { test(Storage::real(root).await.unwrap()).await })
        .join()
        .unwrap();
}

fn pool() -> BufferPool {
    BufferPool::new(16 << 20)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index / 512 + index % 251) as u8)
        .collect()
}

fn aligned(pool: &BufferPool, bytes: &[u8]) -> AlignedBuffer {
    let mut buffer = pool.aligned(bytes.len()).unwrap();
    buffer.copy_from_slice(bytes);
    buffer
}

async fn file_with(storage: &Storage, pool: &BufferPool, bytes: &[u8]) -> File {
    let file = storage
        .open(Path::new("file"), OpenMode::CreateNew)
        .await
        .unwrap();
    let (result, _) = file.write_at(aligned(pool, bytes), 0).await;
    result.unwrap();
    file
}

#[test]
fn what_was_written_is_read_back_at_any_position() {
    on_both(|storage| async move {
        let pool = pool();
        let bytes = pattern(5 * BLOCK);
        let file = file_with(&storage, &pool, &bytes).await;
        file.sync_data().await.unwrap();
        for (position, len) in [(0, 5 * BLOCK), (1, 1), (4095, 2), (5000, 9000), (BLOCK, 0)] {
            let read = file.read_at(position as u64, len).await.unwrap();
            assert_eq!(
                &read[..],
                &bytes[position..position + len],
                "{len} bytes at {position}"
            );
        }
        let read = file.read_at(100, 10_000).await.unwrap();
        assert_eq!(&read.slice(50..7_000)[..], &bytes[150..7_100]);
        assert_eq!(&read.slice(50..7_000).slice(1..2)[..], &bytes[151..152]);
        assert!(read.slice(3..3).is_empty());
        file.close().await.unwrap();
    });
}

#[test]
fn a_read_ends_at_the_end_of_the_file() {
    on_both(|storage| async move {
        let bytes = pattern(2 * BLOCK);
        let file = file_with(&storage, &pool(), &bytes).await;
        file.truncate(5_000).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 5_000);
        assert_eq!(
            &file.read_at(4_000, 4_000).await.unwrap()[..],
            &bytes[4_000..5_000]
        );
        assert_eq!(
            &file.read_at(4_999, 1).await.unwrap()[..],
            &bytes[4_999..5_000]
        );
        assert!(file.read_at(5_000, 1).await.unwrap().is_empty());
        assert!(file.read_at(1 << 30, 10).await.unwrap().is_empty());
        file.close().await.unwrap();
    });
}

#[test]
fn what_is_larger_than_one_io_is_split() {
    on_both(|storage| async move {
        let pool = pool();
        let bytes = pattern(2 * MAX_IO + 3 * BLOCK);
        let file = file_with(&storage, &pool, &bytes).await;
        let read = file.read_at(77, bytes.len()).await.unwrap();
        assert!(read[..] == bytes[77..]);
        file.close().await.unwrap();
    });
}

#[test]
fn a_buffer_comes_back_from_a_write_and_writes_again() {
    on_both(|storage| async move {
        let pool = pool();
        let file = storage
            .open(Path::new("file"), OpenMode::CreateOrOpen)
            .await
            .unwrap();
        let mut buffer = aligned(&pool, &pattern(2 * BLOCK));
        let start = buffer.as_ptr();
        for index in 0..3_u8 {
            buffer.fill(index);
            let result;
            (result, buffer) = file
                .write_at(buffer, u64::from(index) * 2 * BLOCK as u64)
                .await;
            result.unwrap();
        }
        assert_eq!(buffer.as_ptr(), start);
        buffer.truncate(BLOCK);
        let (result, buffer) = file.write_at(buffer, 0).await;
        result.unwrap();
        drop(buffer);
        let fills: Vec<u8> = file
            .read_at(0, 6 * BLOCK)
            .await
            .unwrap()
            .iter()
            .copied()
            .step_by(BLOCK)
            .collect();
        assert_eq!(fills, [2, 0, 1, 1, 2, 2]);
        assert_eq!(pool.in_use(), 0);
        file.close().await.unwrap();
    });
}

#[test]
fn an_append_buffer_is_written_while_it_is_read() {
    on_both(|storage| async move {
        let pool = pool();
        let bytes = pattern(4 * BLOCK);
        let file = storage
            .open(Path::new("file"), OpenMode::CreateNew)
            .await
            .unwrap();
        let mut buffer = pool.append_buffer(4 * BLOCK).unwrap();
        assert_eq!(buffer.append(&bytes), bytes.len());
        let held = buffer.slice(10..20);
        file.write_append_buffer_at(&buffer, 0).await.unwrap();
        // A part of it goes through a copy.
        file.write_slice_at(buffer.slice(BLOCK..3 * BLOCK), 4 * BLOCK as u64)
            .await
            .unwrap();
        assert_eq!(&held[..], &bytes[10..20]);
        assert_eq!(&file.read_at(0, 4 * BLOCK).await.unwrap()[..], &bytes);
        let copied = file.read_at(4 * BLOCK as u64, 2 * BLOCK).await.unwrap();
        assert_eq!(&copied[..], &bytes[BLOCK..3 * BLOCK]);
        file.close().await.unwrap();
    });
}

#[test]
fn several_writes_may_be_under_way() {
    on_both(|storage| async move {
        let pool = pool();
        let file = Rc::new(
            storage
                .open(Path::new("file"), OpenMode::CreateNew)
                .await
                .unwrap(),
        );
        let writes: Vec<_> = (0..16_u8)
            .map(|index| {
                let (file, buffer) = (Rc::clone(&file), aligned(&pool, &[index; BLOCK]));
                spawn(async move {
                    file.write_at(buffer, u64::from(index) * BLOCK as u64)
                        .await
                        .0
                })
            })
            .collect();
        for write in writes {
            write.await.unwrap();
        }
        for index in 0..16_u8 {
            let read = file
                .read_at(u64::from(index) * BLOCK as u64, BLOCK)
                .await
                .unwrap();
            assert_eq!(&read[..], &[index; BLOCK]);
        }
        Rc::into_inner(file).unwrap().close().await.unwrap();
    });
}

#[test]
fn allocated_space_reads_as_zeroes() {
    on_both(|storage| async move {
        let file = file_with(&storage, &pool(), &pattern(BLOCK)).await;
        file.allocate(BLOCK as u64, 3 * BLOCK as u64).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 4 * BLOCK as u64);
        assert_eq!(
            &file.read_at(BLOCK as u64, 3 * BLOCK).await.unwrap()[..],
            &[0; 3 * BLOCK]
        );
        assert_eq!(&file.read_at(0, BLOCK).await.unwrap()[..], &pattern(BLOCK));
        file.allocate(0, BLOCK as u64).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 4 * BLOCK as u64);
        file.close().await.unwrap();
    });
}

#[test]
fn an_open_mode_is_kept() {
    on_both(|storage| async move {
        let path = Path::new("file");
        let kind = |result: io::Result<File>| result.err().unwrap().kind();
        assert_eq!(
            kind(storage.open(path, OpenMode::Read).await),
            io::ErrorKind::NotFound
        );
        assert_eq!(
            kind(storage.open(path, OpenMode::ReadWrite).await),
            io::ErrorKind::NotFound
        );
        let file = storage.open(path, OpenMode::CreateNew).await.unwrap();
        assert_eq!(
            kind(storage.open(path, OpenMode::CreateNew).await),
            io::ErrorKind::AlreadyExists
        );
        for mode in [OpenMode::CreateOrOpen, OpenMode::ReadWrite, OpenMode::Read] {
            storage
                .open(path, mode)
                .await
                .unwrap()
                .close()
                .await
                .unwrap();
        }
        file.close().await.unwrap();
    });
}

#[test]
fn directories_are_made_listed_renamed_and_removed() {
    on_both(|storage| async move {
        storage.create_dir_all(Path::new("one/two")).await.unwrap();
        storage
            .replace_file(Path::new("one/b"), b"bb")
            .await
            .unwrap();
        storage
            .replace_file(Path::new("one/a"), b"a")
            .await
            .unwrap();
        storage
            .rename(Path::new("one/a"), Path::new("one/c"))
            .await
            .unwrap();
        storage.sync_dir(Path::new("one")).await.unwrap();
        let entry = |name: &str, is_dir, len| DirEntry {
            name: name.to_owned(),
            is_dir,
            len,
        };
        assert_eq!(
            storage.list(Path::new("one")).await.unwrap(),
            [
                entry("b", false, 2),
                entry("c", false, 1),
                entry("two", true, 0)
            ],
        );
        let error = storage.remove_dir(Path::new("one")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
        storage.remove_dir(Path::new("one/two")).await.unwrap();
        storage.remove_file(Path::new("one/b")).await.unwrap();
        storage.remove_file(Path::new("one/c")).await.unwrap();
        storage.remove_dir(Path::new("one")).await.unwrap();
        assert!(!storage.exists(Path::new("one")).await.unwrap());
        assert_eq!(storage.list(Path::new("")).await.unwrap(), []);
        assert!(storage.free_space().await.unwrap() > 0);
    });
}

#[test]
fn a_small_file_is_replaced_and_its_length_is_bounded() {
    on_both(|storage| async move {
        let path = Path::new("state");
        storage.replace_file(path, b"first version").await.unwrap();
        storage.replace_file(path, b"second").await.unwrap();
        assert_eq!(storage.read_file(path, 6).await.unwrap(), b"second");
        let error = storage.read_file(path, 5).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(
            error.to_string(),
            "read state: the file has 6 bytes, more than the 5 it may have"
        );
        assert!(!storage.exists(Path::new("state.tmp")).await.unwrap());
    });
}

#[test]
fn an_error_names_the_operation_and_the_path() {
    on_both(|storage| async move {
        let error = storage.remove_file(Path::new("no/such")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("remove no/such: "), "{error}");
    });
}

/// The first file that a process opens on a device decides how glommio reads there. An empty one made
/// every later read fail with EOPNOTSUPP.
#[test]
fn reads_work_although_the_first_file_was_empty() {
    on_real(|storage| async move {
        let empty = storage
            .open(Path::new("empty"), OpenMode::CreateNew)
            .await
            .unwrap();
        assert!(empty.read_at(0, BLOCK).await.unwrap().is_empty());
        let file = file_with(&storage, &pool(), &pattern(BLOCK)).await;
        assert_eq!(&file.read_at(0, BLOCK).await.unwrap()[..], &pattern(BLOCK));
        file.close().await.unwrap();
        empty.close().await.unwrap();
    });
}

#[test]
fn a_file_keeps_its_length_after_it_was_renamed() {
    on_both(|storage| async move {
        let file = file_with(&storage, &pool(), &pattern(BLOCK)).await;
        storage
            .rename(Path::new("file"), Path::new("other"))
            .await
            .unwrap();
        assert_eq!(file.len().await.unwrap(), BLOCK as u64);
        file.close().await.unwrap();
    });
}

#[test]
fn a_removed_file_has_no_name_and_one_that_was_renamed_has_one() {
    on_both(|storage| async move {
        let file = file_with(&storage, &pool(), &pattern(BLOCK)).await;
        let other = Path::new("other");
        storage.rename(Path::new("file"), other).await.unwrap();
        assert_eq!(file.links().await.unwrap(), 1);
        storage.remove_file(other).await.unwrap();
        assert_eq!(file.links().await.unwrap(), 0);
        file.close().await.unwrap();
    });
}

/// A timeout drops a write that the device is still carrying out. Its memory must not be given to the
/// next buffer meanwhile.
#[test]
fn a_file_that_loses_its_name_while_it_is_opened_opens_or_is_not_found() {
    on_both(|storage| async move {
        let path = Path::new("file");
        let mut opened = 0;
        for _ in 0..100 {
            storage.replace_file(path, b"short-lived").await.unwrap();
            let open = async {
                match storage.open(path, OpenMode::ReadWrite).await {
                    Ok(file) => {
                        opened += 1;
                        file.close().await.unwrap();
                    }
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
                }
            };
            let (removed, ()) = join(storage.remove_file(path), open).await;
            removed.unwrap();
        }
        println!("{opened} of 100 were opened");
    });
}

#[test]
fn the_memory_of_an_abandoned_write_is_not_reused_under_it() {
    on_real(|storage| async move {
        let pool = pool();
        let file = storage
            .open(Path::new("file"), OpenMode::CreateNew)
            .await
            .unwrap();
        let buffer = aligned(&pool, &[1; 16 * BLOCK]);
        let under_way = buffer.as_ptr();
        let mut write = Box::pin(file.write_at(buffer, 0));
        assert!(
            futures_util::future::poll_immediate(&mut write)
                .await
                .is_none()
        );
        drop(write);
        assert_eq!(pool.in_use(), 0);
        assert_ne!(pool.aligned(16 * BLOCK).unwrap().as_ptr(), under_way);
        file.close().await.unwrap();
    });
}
