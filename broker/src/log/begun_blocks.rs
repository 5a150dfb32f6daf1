//! Saved begun blocks: old bytes of blocks that are about to be rewritten where the journal has no
//! room to carry them, or is itself being replayed.
//!
//! A checkpointed block that was begun lies in its segment only. Writing it again with more bytes
//! behind the old ones could, if the power fails meanwhile, take the old ones along. So they are
//! saved in a small file first, synced: `journal/shard-<n>.blocks` by a checkpoint of a shard,
//! `journal/start.blocks` by a replay. A file means something only in the generation it was
//! written in, and a block only if its bytes have the checksum that the checkpoint names.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use corelog_protocol::{PartitionIndex, ShardId, TopicId};
use crc32c::crc32c;

use super::shard_log::JOURNAL_FOLDER;
use super::{Generation, RecoveryError, TopicPartition};
use crate::runtime::Storage;

pub(super) const MAGIC: [u8; 4] = *b"CLBB";
const LARGEST_FILE: u64 = 1 << 30;

pub(super) type BegunBlocks = BTreeMap<TopicPartition, Vec<u8>>;

/// Where a replay saves blocks.
pub(super) fn path() -> PathBuf {
    Path::new(JOURNAL_FOLDER).join("start.blocks")
}

/// Where a checkpoint of a shard saves blocks.
pub(super) fn shard_path(shard: ShardId) -> PathBuf {
    Path::new(JOURNAL_FOLDER).join(format!("shard-{}.blocks", shard.get()))
}

/// Reads a file of saved blocks; none when there is no file, or it is of another generation.
pub(super) async fn load(
    storage: &Storage,
    path: &Path,
    generation: Generation,
) -> Result<BegunBlocks, RecoveryError> {
    match storage.read_file(path, LARGEST_FILE).await {
        Ok(bytes) => Ok(decode(&bytes, generation)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BegunBlocks::new()),
        Err(error) => Err(RecoveryError::io("read", path)(error)),
    }
}

/// magic, CRC of the rest, generation, salt; then per block: topic id, partition, length, bytes.
pub(super) fn encode(generation: Generation, blocks: &BegunBlocks) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&generation.number.to_le_bytes());
    bytes.extend_from_slice(&generation.salt.to_le_bytes());
    for (id, block) in blocks {
        bytes.extend_from_slice(id.topic_id.as_bytes());
        bytes.extend_from_slice(&id.partition.get().to_le_bytes());
        let length = u16::try_from(block.len()).expect("less than a block");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(block);
    }
    let crc = crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The blocks saved by a start that replayed the same generation; none when the file is anything
/// else, since it is replaced as a whole and then synced.
fn decode(bytes: &[u8], generation: Generation) -> BegunBlocks {
    match read(bytes) {
        Some((found, blocks)) if found == generation => blocks,
        _ => BegunBlocks::new(),
    }
}

/// The blocks of a whole file, and the generation they were saved for.
pub(super) fn read(bytes: &[u8]) -> Option<(Generation, BegunBlocks)> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != crc32c(rest) {
        return None;
    }
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (salt, mut rest) = rest.split_first_chunk::<8>()?;
    let found = Generation {
        number: u64::from_le_bytes(*number),
        salt: u64::from_le_bytes(*salt),
    };
    let mut blocks = BegunBlocks::new();
    while !rest.is_empty() {
        let (topic_id, after) = rest.split_first_chunk::<16>()?;
        let (partition, after) = after.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<2>()?;
        let (block, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
        let id = TopicPartition {
            topic_id: TopicId::from_bytes(*topic_id),
            partition: PartitionIndex::try_from(i32::from_le_bytes(*partition)).ok()?,
        };
        blocks.insert(id, block.to_vec());
        rest = after;
    }
    Some((found, blocks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_only_for_the_generation_they_were_saved_for() {
        let generation = Generation {
            number: 4,
            salt: 77,
        };
        let id = TopicPartition {
            topic_id: TopicId::from_bytes([3; 16]),
            partition: PartitionIndex::new(2),
        };
        let blocks = BegunBlocks::from([(id, b"old bytes".to_vec())]);
        let bytes = encode(generation, &blocks);
        assert_eq!(decode(&bytes, generation), blocks);
        assert!(
            decode(
                &bytes,
                Generation {
                    number: 5,
                    ..generation
                }
            )
            .is_empty()
        );
        let mut damaged = bytes;
        damaged[30] ^= 1;
        assert!(decode(&damaged, generation).is_empty());
    }
}
