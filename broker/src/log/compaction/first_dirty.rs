//! Where the part of a log begins that was not compacted yet.
//!
//! Kept in the partition's folder as `cleaner-offset-checkpoint`, with the bytes of Kafka's file of
//! that name: version, number of entries, then topic, partition and offset. Kafka has one file for a
//! data folder; here each partition has its own, so that a topic that is created anew under an old
//! name can never inherit an offset. It is a cache: if it is missing or makes no sense, everything
//! counts as dirty, and is compacted once more.

use std::path::{Path, PathBuf};

use corelog_protocol::Offset;

use crate::runtime::Storage;

const FILE_NAME: &str = "cleaner-offset-checkpoint";
const LARGEST_FILE: u64 = 4096;

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

/// Reads what was remembered of a log that begins at `log_start` and whose closed segments end at
/// `closed_end`; nothing if it lies behind them.
pub(crate) async fn read(
    storage: &Storage,
    folder: &Path,
    log_start: Offset,
    closed_end: Offset,
) -> Option<Offset> {
    let bytes = storage.read_file(&path(folder), LARGEST_FILE).await.ok()?;
    let offset = decode(std::str::from_utf8(&bytes).ok()?)?;
    (offset <= closed_end).then_some(offset.max(log_start))
}

/// Remembers an offset, durably.
pub(super) async fn write(storage: &Storage, folder: &Path, offset: Offset) -> std::io::Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let (topic, partition) = name.rsplit_once('-').unwrap_or((&name, "0"));
    let text = format!("0\n1\n{topic} {partition} {offset}\n");
    storage.replace_file(&path(folder), text.as_bytes()).await
}

fn decode(text: &str) -> Option<Offset> {
    let mut lines = text.lines();
    if lines.next() != Some("0") || lines.next() != Some("1") {
        return None;
    }
    let mut words = lines.next()?.split(' ').skip(2);
    let offset = words.next()?.parse().ok()?;
    if words.next().is_some() || lines.next().is_some() {
        return None;
    }
    Offset::from_sentinel(offset)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::runtime::Simulator;

    #[test]
    fn an_offset_comes_back_in_kafkas_format_and_what_makes_no_sense_does_not() {
        let mut simulator = Simulator::new(1);
        let storage = Storage::simulated(simulator.disk());
        simulator.run(async {
            let folder = Path::new("my-topic-3");
            storage.create_dir_all(folder).await.unwrap();
            let between = |start, end| {
                let (start, end) = (Offset::new(start), Offset::new(end));
                read(&storage, folder, start, end)
            };
            assert_eq!(between(0, 100).await, None, "missing");
            write(&storage, folder, Offset::new(42)).await.unwrap();
            let bytes = storage.read_file(&path(folder), 100).await.unwrap();
            assert_eq!(bytes, b"0\n1\nmy-topic 3 42\n");
            assert_eq!(between(0, 100).await, Some(Offset::new(42)));
            assert_eq!(
                between(43, 100).await,
                Some(Offset::new(43)),
                "the log begins later"
            );
            assert_eq!(between(0, 41).await, None, "behind what is closed");
            for text in [
                "",
                "0\n1\n",
                "1\n1\na 0 5\n",
                "0\n2\na 0 5\nb 0 6\n",
                "0\n1\na 0 -5\n",
            ] {
                let bytes = text.as_bytes();
                storage.replace_file(&path(folder), bytes).await.unwrap();
                assert_eq!(between(0, 100).await, None, "{text:?}");
            }
        });
    }
}
