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
