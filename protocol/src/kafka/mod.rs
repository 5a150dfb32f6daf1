//! Kafka's own formats outside of record batches: its primitive types, the messages of its wire
//! protocol, the records of `__consumer_offsets`, and the blobs that members of classic groups exchange.
//!
//! The source is the JSON schemas of Apache Kafka 4
//! (`group-coordinator/src/main/resources/common/message`,
//! `clients/src/main/resources/common/message`) and KIP-482 for the flexible encoding;
//! `docs/consumer_offsets.md` shows the records field by field.
//!
//! Records and blobs are read and written in the schemas' order, by hand; messages, of which there are many, by declarations.
//! What is read is bounded by the bytes
//! at hand: a length or a count that they cannot hold is refused before anything is reserved.

mod consumer_protocol;
mod group_record;
mod header;
mod message;
pub mod messages;
mod reader;
mod writer;

pub use consumer_protocol::{ConsumerAssignment, ConsumerSubscription, TopicPartitionNames};
pub use group_record::{
    ClassicMember, ClassicProtocol, ConsumerGroupMember, ConsumerGroupMetadata,
    CurrentMemberAssignment, DecodedGroupRecord, EncodedGroupRecord, GroupMetadata, GroupRecord,
    GroupRecordError, MemberState, OffsetCommit, RegularExpression, TargetAssignmentMetadata,
    TopicPartitions,
};
pub use header::{RequestHeader, encode_response_header};
pub use message::{KafkaMessage, Records};
pub use messages::KafkaApi;
pub use reader::{ReadError, ReadProblem, Reader};
pub use writer::{WriteError, Writer};
