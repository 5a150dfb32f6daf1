//! What a mended log remembers of idempotent producers.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use corelog_broker::log::inspect::{PartitionPlace, ProducersOfLog, RememberedProducers};
use corelog_protocol::Offset;
use corelog_protocol::record::BatchHeader;

use crate::log::batch_stream::BatchStream;
use crate::log::sequential::SequentialFile;

/// What the checkpoint says, as far as the log still reaches, and the batches that the segments hold
/// behind that. Without it a retry of one of them would be appended again.
pub(super) fn remembered<'a>(
    segments: impl Iterator<Item = (Offset, &'a Path)>,
    known: Option<&PartitionPlace>,
    end: Offset,
) -> anyhow::Result<RememberedProducers> {
    let (checkpointed, from) = match known {
        Some(place) => (place.producers.clone(), place.next_offset),
        None => (RememberedProducers::default(), Offset::ZERO),
    };
    let first_segment = known.map_or(Offset::ZERO, |place| place.segment_base);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    });
    let mut producers = ProducersOfLog::new(&checkpointed, end);
    for (_, path) in segments.filter(|(base, _)| *base >= first_segment) {
        let read = each_batch(path, |header, base_offset| {
            if base_offset >= from {
                producers.note(header, now_ms);
            }
        });
        read.with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(producers.finish())
}

fn each_batch(path: &Path, mut look: impl FnMut(&BatchHeader, Offset)) -> io::Result<()> {
    let bytes = std::fs::metadata(path)?.len();
    let mut pieces = SequentialFile::open(path, 0..bytes)?;
    let mut stream = BatchStream::new(0, bytes);
    while let Some(piece) = pieces.next()? {
        let fed = stream.feed(&piece, |batch| look(&batch.header, batch.base_offset()));
        pieces.done(piece);
        if fed.is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;

    use corelog_protocol::record::{BatchBuilder, ProducerStamp, patch_base_offset};
    use corelog_protocol::{
        Compression, LeaderEpoch, ProducerEpoch, ProducerId, Sequence, Timestamp,
    };
    use tempfile::TempDir;

    use super::*;

    /// A batch of one record at this offset; the sequence of its producer is the offset too.
    fn batch(id: i64, offset: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None, 256);
        builder
            .append(Timestamp::new(1), None, Some(b"v"), &[])
            .unwrap();
        let stamp = ProducerStamp {
            id: ProducerId::new(id),
            epoch: ProducerEpoch::ZERO,
            base_sequence: Sequence::new(i32::try_from(offset).unwrap()),
            transactional: false,
        };
        let mut bytes = builder.finish(Some(stamp)).to_vec();
        patch_base_offset(&mut bytes, Offset::new(offset), LeaderEpoch::new(1));
        bytes
    }

    /// Id, and the offset of each remembered batch.
    fn told(remembered: &RememberedProducers) -> Vec<(i64, Vec<i64>)> {
        let producers = remembered.list().into_iter();
        let offsets = |batches: Vec<(_, Offset, _)>| batches.iter().map(|it| it.1.get()).collect();
        let told = producers.map(|it| (it.id.get(), offsets(it.batches)));
        told.collect()
    }

    #[test]
    fn what_the_segments_hold_is_remembered_and_what_is_lost_is_not() {
        let folder = TempDir::new().unwrap();
        let first = folder.path().join("00000000000000000000.log");
        let second = folder.path().join("00000000000000000003.log");
        fs::write(&first, [batch(7, 0), batch(8, 1), batch(7, 2)].concat()).unwrap();
        fs::write(&second, [batch(9, 3), batch(7, 4)].concat()).unwrap();
        let segments = || {
            let segments = [(Offset::ZERO, &*first), (Offset::new(3), &*second)];
            segments.into_iter()
        };
        let all = remembered(segments(), None, Offset::new(5)).unwrap();
        assert_eq!(told(&all), [(7, vec![0, 2, 4]), (8, vec![1]), (9, vec![3])]);

        // A checkpoint that knew the first segment: only the second one is read behind it.
        let known = PartitionPlace {
            applied_sequence: 0,
            segment_base: Offset::new(3),
            position: 0,
            next_offset: Offset::new(3),
            log_start: Offset::ZERO,
            block_crc: 0,
            epochs: Vec::new(),
            producers: remembered(segments().take(1), None, Offset::new(3)).unwrap(),
        };
        let later = remembered(segments(), Some(&known), Offset::new(5)).unwrap();
        assert_eq!(told(&later), told(&all));

        // What the log lost of the checkpointed part is not remembered either.
        let cut = remembered(segments().take(0), Some(&known), Offset::new(1)).unwrap();
        assert_eq!(told(&cut), [(7, vec![0])]);
    }
}
