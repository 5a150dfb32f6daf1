//! The small files beside segments, read within a bound.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use corelog_protocol::{LeaderEpoch, Offset, TopicId};

/// Kafka's text files.
pub(crate) const LARGEST_TEXT: u64 = 16 << 20;
/// `.index` and `.timeindex`.
pub(crate) const LARGEST_INDEX: u64 = 64 << 20;
/// Checkpoints and saved blocks.
pub(crate) const LARGEST_CHECKPOINT: u64 = 64 << 30;

/// Reads a whole file that is no longer than `largest`.
pub(crate) fn read_bounded(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {largest} bytes"),
        ));
    }
    Ok(bytes)
}

/// The topic id in a `partition.metadata`.
pub(crate) fn topic_id(text: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(text).ok()?;
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("topic_id: "))?;
    id.trim().parse().ok()
}

/// What a `leader-epoch-checkpoint` says that the batches contradict: each of their epochs, with its first
/// offset and the one behind it. The file may hold more: epochs of which compaction left no batch, or
/// none was written yet. Its first entry begins with the log, which may be inside of a segment.
pub(crate) fn epochs_contradicted(
    known: &[(LeaderEpoch, Offset)],
    batches: &[(LeaderEpoch, Offset, Offset)],
) -> Option<String> {
    known.iter().enumerate().find_map(|(n, &(epoch, start))| {
        batches.iter().find_map(|&(found, first, next)| {
            if n > 0 && found == epoch && first < start {
                Some(format!(
                    "it says that epoch {epoch} begins at offset {start}, and a batch of it at {first}"
                ))
            } else if found < epoch && next > start {
                Some(format!(
                    "it says that epoch {epoch} begins at offset {start}, and epoch {found} goes on \
                     to {next}"
                ))
            } else {
                None
            }
        })
    })
}

/// The epochs of a `leader-epoch-checkpoint`; the error says what is wrong.
pub(crate) fn leader_epochs(text: &[u8]) -> Result<Vec<(LeaderEpoch, Offset)>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default().trim();
    if version != "0" {
        return Err(format!("its version is {version:?}, not 0"));
    }
    let count = lines.next().unwrap_or_default().trim();
    let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let entry = || {
            let (epoch, offset) = line.trim().split_once(' ')?;
            let epoch = LeaderEpoch::try_from(epoch.parse::<i32>().ok()?).ok()?;
            Some((epoch, Offset::try_from(offset.parse::<i64>().ok()?).ok()?))
        };
        let (epoch, offset) = entry().ok_or_else(|| format!("{line:?} is no epoch and offset"))?;
        if epochs
            .last()
            .is_some_and(|last| epoch <= last.0 || offset < last.1)
        {
            return Err(format!(
                "epoch {epoch} at {offset} does not follow the one before"
            ));
        }
        epochs.push((epoch, offset));
    }
    if count.parse() != Ok(epochs.len()) {
        return Err(format!(
            "it says {count:?} entries and holds {}",
            epochs.len()
        ));
    }
    Ok(epochs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn leader_epochs_are_read_and_contradictions_told() {
        let epochs = leader_epochs(b"0\n2\n0 0\n3 42\n").unwrap();
        assert_eq!(epochs[1], (LeaderEpoch::new(3), Offset::new(42)));
        for (text, problem) in [
            (&b"1\n0\n"[..], "version"),
            (b"0\n3\n0 0\n3 42\n", "holds 2"),
            (b"0\n2\n3 0\n1 42\n", "does not follow"),
            (b"0\n1\n0 -1\n", "no epoch and offset"),
            (b"", "version"),
            (&[0xff, 0xfe], "no text"),
        ] {
            let error = leader_epochs(text).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_topic_id_is_read_from_kafkas_file() {
        let id = TopicId::random();
        let text = format!("version: 0\ntopic_id: {id}");
        assert_eq!(topic_id(text.as_bytes()), Some(id));
        assert_eq!(topic_id(b"version: 0"), None);
    }
}
