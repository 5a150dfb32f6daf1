//! What the cluster agreed on: brokers, topics, partitions, settings.
//!
//! An immutable image, and the records that lead from one image to the next. Pure: records come
//! in, images go out; the controller makes the records durable and the shards act on the images.
//! The records' bytes are drawn in `broker/docs/metadata_log.md`.

mod codec;
mod fields;
mod image;
mod placement;
mod record;

#[cfg(test)]
mod tests;

pub use codec::{RecordError, decode_record, encode_record};
pub use image::{ApplyError, MetadataImage, PartitionImage, TopicImage};
pub use placement::shard_of;
pub use record::{BrokerRegistration, MetadataRecord};

/// The longest name of a topic, in bytes: a partition's folder is named after its topic, and file names end
/// at 255 bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The topic where groups keep their offsets and members. Only coordinators write to it.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// True for the names of topics that the cluster keeps for itself.
pub fn is_internal(topic: &str) -> bool {
    topic == OFFSETS_TOPIC
}
