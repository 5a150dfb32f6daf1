//! What a leader changes in a producer's batch, in place.

use zerocopy::FromBytes;

use super::builder::ProducerStamp;
use super::header::{BatchHeader, CRC_COVERS_FROM};
use super::view::BatchView;
use crate::{LeaderEpoch, Offset, Timestamp, TimestampType};

/// Sets the base offset and the leader epoch. The CRC does not cover them and stays.
///
/// # Panics
/// If `batch` is shorter than a header: only a batch that was parsed is ever patched.
#[inline]
pub fn patch_base_offset(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    let header = header_of(batch);
    header.base_offset.set(base_offset.get());
    header.partition_leader_epoch.set(leader_epoch.get());
}

/// Sets the timestamp type to log append time, the greatest timestamp to `now`, and a new CRC.
///
/// The new CRC would hide damage done before: verify the old one first. `batch` must be exactly
/// one batch.
///
/// # Panics
/// If `batch` is not exactly one batch that parses.
pub fn patch_log_append_time(batch: &mut [u8], now: Timestamp) {
    let (view, rest) = BatchView::parse(batch).expect("only a batch that was parsed is patched");
    assert!(
        rest.is_empty(),
        "the CRC covers one batch, not its neighbour"
    );
    let attributes = view
        .attributes()
        .with_timestamp_type(TimestampType::LogAppendTime);
    let header = header_of(batch);
    header.attributes.set(attributes.bits());
    header.max_timestamp.set(now.get());
    let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    header_of(batch).crc.set(crc);
}

/// Sets who produced the batch and its numbers, and a new CRC: for a producer that numbers anew what
/// the broker did not take.
///
/// # Panics
/// If `batch` is not exactly one batch that parses.
pub fn patch_producer(batch: &mut [u8], stamp: ProducerStamp) {
    let (view, rest) = BatchView::parse(batch).expect("only a batch that was parsed is patched");
    assert!(
        rest.is_empty(),
        "the CRC covers one batch, not its neighbour"
    );
    let attributes = view.attributes().with_transactional(stamp.transactional);
    let header = header_of(batch);
    header.attributes.set(attributes.bits());
    header.producer_id.set(stamp.id.get());
    header.producer_epoch.set(stamp.epoch.get());
    header.base_sequence.set(stamp.base_sequence.get());
    let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    header_of(batch).crc.set(crc);
}

fn header_of(batch: &mut [u8]) -> &mut BatchHeader {
    let (header, _) = BatchHeader::mut_from_prefix(batch)
        .map_err(|_| "too short")
        .expect("only a batch that was parsed is patched");
    header
}
