//! Builds the machine out of the records of its partition.

use corelog_protocol::kafka::{DecodedGroupRecord, GroupRecord, GroupRecordError};
use corelog_protocol::record::{BatchError, BatchView, ReadBatchError, RecordError, split_batches};
use corelog_protocol::{IsolationLevel, Offset};

use super::Workplace;
use crate::group::coordinator::Coordinator;
use crate::log::Room;
use crate::partition::{FetchCommand, FetchedData, Refusal};
use crate::runtime::{now, yield_now};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// What one batch may hold once it is decompressed: ours are not compressed, another's may be.
const MAX_DECOMPRESSED_BYTES: usize = 64 << 20;

/// Why the groups of a partition cannot be known.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("{}", .0.message)]
    Read(Refusal),
    #[error("the batch after offset {offset} is damaged: {error}")]
    Batch { offset: Offset, error: BatchError },
    #[error("the batch at offset {offset} cannot be read: {error}")]
    Records {
        offset: Offset,
        error: ReadBatchError,
    },
    #[error("a record of the batch at offset {offset} cannot be read: {error}")]
    Record { offset: Offset, error: RecordError },
    #[error("the record at offset {offset} is not what coordinators write: {error}")]
    Group {
        offset: Offset,
        error: GroupRecordError,
    },
}

pub(super) async fn load(workplace: &Workplace) -> Result<Coordinator, LoadError> {
    let started = now();
    let mut machine = Coordinator::new(workplace.config.clone());
    let mut offset = workplace.partition.marks().log_start_offset;
    let mut records = 0_u64;
    loop {
        let outcome = workplace.partition.fetch(command(workplace, offset)).await;
        let fetched = outcome.result.map_err(LoadError::Read)?;
        if fetched.data.is_empty() {
            break;
        }
        let bytes = contiguous(&fetched.data);
        drop(fetched);
        for batch in split_batches(&bytes) {
            let batch = batch.map_err(|error| LoadError::Batch { offset, error })?;
            records += apply(&batch, &mut machine)?;
            offset = batch.next_offset();
            yield_now().await;
        }
    }
    machine.loaded(now());
    workplace.metrics.group_loads.increment();
    workplace.present.groups.set(machine.groups());
    match records {
        // Such are all of a new topic.
        0 => tracing::debug!(partition = %workplace.id, "there are no groups to be loaded"),
        _ => tracing::info!(
            partition = %workplace.id,
            "loaded {} groups from {records} records in {:?}",
            machine.groups(),
            started.elapsed()
        ),
    }
    Ok(machine)
}

fn command(workplace: &Workplace, fetch_offset: Offset) -> FetchCommand {
    FetchCommand {
        topic_partition: workplace.id,
        leader_epoch: None,
        last_fetched_epoch: None,
        fetch_offset,
        max_bytes: READ_BYTES,
        min_bytes: 0,
        deadline: now(),
        isolation: IsolationLevel::ReadCommitted,
        room: Room::Awaited,
    }
}

/// Puts the records of a batch into effect. How many they were comes out.
fn apply(batch: &BatchView<'_>, machine: &mut Coordinator) -> Result<u64, LoadError> {
    let offset = batch.base_offset();
    batch
        .verify_crc()
        .map_err(|error| LoadError::Batch { offset, error })?;
    if batch.is_control() {
        return Ok(0);
    }
    let mut decompressed = Vec::new();
    let records = batch
        .records(&mut decompressed, MAX_DECOMPRESSED_BYTES)
        .map_err(|error| LoadError::Records { offset, error })?;
    let mut applied = 0;
    for record in records {
        let record = record.map_err(|error| LoadError::Record { offset, error })?;
        let offset = record.offset;
        let Some(key) = record.key else {
            tracing::warn!(%offset, "a record without a key is skipped");
            continue;
        };
        match GroupRecord::decode(key, record.value) {
            Ok(DecodedGroupRecord::Record(record)) => machine.apply(&record),
            // Since Kafka 4.1 the metadata hash stands in its place.
            Ok(DecodedGroupRecord::PartitionMetadata { .. }) => {}
            Ok(DecodedGroupRecord::UnknownType { record_type }) => {
                tracing::debug!(%offset, record_type, "a record of another kind of group is skipped");
            }
            Err(error) => return Err(LoadError::Group { offset, error }),
        }
        applied += 1;
    }
    Ok(applied)
}

fn contiguous(data: &FetchedData) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len());
    for slice in data.slices() {
        bytes.extend_from_slice(slice);
    }
    bytes
}
