//! The bytes of one metadata record. `broker/docs/metadata_log.md` draws them.

use corelog_protocol::{BrokerId, LeaderEpoch, PartitionIndex};

use super::fields::{Reader, Writer};
use super::{BrokerRegistration, MetadataRecord, PartitionImage};

/// Bytes before a record's body: length, CRC, kind, version.
const HEADER_BYTES: usize = 10;

/// The version that this code writes, of every kind of record, and the newest that it reads.
const VERSION: u8 = 1;

/// Why bytes are not a metadata record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the record ends {missing} bytes too early, in its {what}")]
    Truncated { what: &'static str, missing: usize },
    #[error("the record's checksum is {found:#010x}, its bytes give {computed:#010x}")]
    Crc { found: u32, computed: u32 },
    #[error("no kind of record has the number {found}")]
    UnknownKind { found: u8 },
    #[error(
        "the record has version {found}, this broker reads versions 1 to {VERSION}: \
         it was written by a newer one"
    )]
    Version { found: u8 },
    #[error("the record's {what} is not UTF-8")]
    NotText { what: &'static str },
    #[error("the record's {what} cannot be {found}")]
    OutOfRange { what: &'static str, found: i64 },
    #[error("{count} bytes are left over after the record's last field")]
    LeftOver { count: usize },
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    ClusterFormed = 1,
    ControllerStarted = 2,
    BrokerRegistered = 3,
    TopicCreated = 4,
    TopicDeleted = 5,
    TopicConfigChanged = 6,
    DeletedTopicsForgotten = 7,
    TopicTombstone = 8,
    ProducerIdsAllocated = 9,
    PartitionsAdded = 10,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::ClusterFormed,
        Self::ControllerStarted,
        Self::BrokerRegistered,
        Self::TopicCreated,
        Self::TopicDeleted,
        Self::TopicConfigChanged,
        Self::DeletedTopicsForgotten,
        Self::TopicTombstone,
        Self::ProducerIdsAllocated,
        Self::PartitionsAdded,
    ];

    fn from_number(number: u8) -> Result<Self, RecordError> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == number)
            .ok_or(RecordError::UnknownKind { found: number })
    }
}

/// Appends the record's bytes to `out`.
pub fn encode_record(record: &MetadataRecord, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let kind = write_body(record, &mut Writer::new(out));
    let length = u32::try_from(out.len() - start - HEADER_BYTES).expect("a record is below 4 GiB");
    let record = &mut out[start..];
    record[8] = kind as u8;
    record[9] = VERSION;
    record[0..4].copy_from_slice(&length.to_le_bytes());
    let crc = record_crc(length, &record[8..]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the record at the beginning of `bytes`; also returns the bytes behind it.
pub fn decode_record(bytes: &[u8]) -> Result<(MetadataRecord, &[u8]), RecordError> {
    let mut header = Reader::new(bytes);
    let length = header.u32("length")?;
    let found = header.u32("checksum")?;
    // The record's bytes stay in place: a length that lies is found out before it is used.
    let checked = header.bytes("body", 2 + length as usize)?;
    let computed = record_crc(length, checked);
    if found != computed {
        return Err(RecordError::Crc { found, computed });
    }
    let mut body = Reader::new(checked);
    let kind = Kind::from_number(body.u8("kind")?)?;
    let version = body.u8("version")?;
    if !(1..=VERSION).contains(&version) {
        return Err(RecordError::Version { found: version });
    }
    let record = read_body(kind, &mut body)?;
    match body.rest().len() {
        0 => Ok((record, header.rest())),
        count => Err(RecordError::LeftOver { count }),
    }
}

/// CRC-32C over the length and everything after the checksum.
fn record_crc(length: u32, checked: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), checked)
}

fn write_body(record: &MetadataRecord, out: &mut Writer<'_>) -> Kind {
    match record {
        MetadataRecord::ClusterFormed { cluster_id } => {
            out.text(cluster_id);
            Kind::ClusterFormed
        }
        MetadataRecord::ControllerStarted { epoch } => {
            out.i32(*epoch);
            Kind::ControllerStarted
        }
        MetadataRecord::BrokerRegistered(broker) => {
            out.i32(broker.id.get());
            out.i64(broker.broker_epoch);
            out.u16(broker.shards);
            out.u16(broker.port);
            out.text(&broker.host);
            Kind::BrokerRegistered
        }
        MetadataRecord::TopicCreated {
            id,
            name,
            internal,
            configs,
            partitions,
        } => {
            out.topic_id(*id);
            out.u8((*internal).into());
            out.text(name);
            out.configs(configs);
            write_partitions(partitions, out);
            Kind::TopicCreated
        }
        MetadataRecord::TopicDeleted { id } => {
            out.topic_id(*id);
            Kind::TopicDeleted
        }
        MetadataRecord::TopicConfigChanged { id, configs } => {
            out.topic_id(*id);
            out.configs(configs);
            Kind::TopicConfigChanged
        }
        MetadataRecord::DeletedTopicsForgotten { through_offset } => {
            out.i64(*through_offset);
            Kind::DeletedTopicsForgotten
        }
        MetadataRecord::TopicTombstone { id, deleted_at } => {
            out.topic_id(*id);
            out.i64(*deleted_at);
            Kind::TopicTombstone
        }
        MetadataRecord::ProducerIdsAllocated { next } => {
            out.i64(next.get());
            Kind::ProducerIdsAllocated
        }
        MetadataRecord::PartitionsAdded {
            id,
            first,
            partitions,
        } => {
            out.topic_id(*id);
            out.i32(first.get());
            write_partitions(partitions, out);
            Kind::PartitionsAdded
        }
    }
}

fn read_body(kind: Kind, body: &mut Reader<'_>) -> Result<MetadataRecord, RecordError> {
    Ok(match kind {
        Kind::ClusterFormed => MetadataRecord::ClusterFormed {
            cluster_id: body.text("cluster id")?,
        },
        Kind::ControllerStarted => MetadataRecord::ControllerStarted {
            epoch: body.i32("controller epoch")?,
        },
        Kind::BrokerRegistered => {
            let id = body.broker("broker id")?;
            let broker_epoch = body.i64("broker epoch")?;
            let shards = body.u16("number of shards")?;
            if shards == 0 {
                return Err(RecordError::OutOfRange {
                    what: "number of shards",
                    found: 0,
                });
            }
            MetadataRecord::BrokerRegistered(BrokerRegistration {
                id,
                broker_epoch,
                shards,
                port: body.u16("port")?,
                host: body.text("host")?,
            })
        }
        Kind::TopicCreated => {
            let id = body.topic_id()?;
            let internal = match body.u8("internal flag")? {
                0 => false,
                1 => true,
                found => {
                    return Err(RecordError::OutOfRange {
                        what: "internal flag",
                        found: found.into(),
                    });
                }
            };
            let name = body.text("topic name")?;
            MetadataRecord::TopicCreated {
                id,
                name,
                internal,
                configs: body.configs()?,
                partitions: read_partitions(body)?,
            }
        }
        Kind::TopicDeleted => MetadataRecord::TopicDeleted {
            id: body.topic_id()?,
        },
        Kind::TopicConfigChanged => MetadataRecord::TopicConfigChanged {
            id: body.topic_id()?,
            configs: body.configs()?,
        },
        Kind::DeletedTopicsForgotten => MetadataRecord::DeletedTopicsForgotten {
            through_offset: body.i64("offset")?,
        },
        Kind::TopicTombstone => MetadataRecord::TopicTombstone {
            id: body.topic_id()?,
            deleted_at: body.i64("offset")?,
        },
        Kind::ProducerIdsAllocated => MetadataRecord::ProducerIdsAllocated {
            next: body.producer_id()?,
        },
        Kind::PartitionsAdded => {
            let id = body.topic_id()?;
            let first = body.i32("first partition")?;
            let first = PartitionIndex::try_from(first).map_err(|_| RecordError::OutOfRange {
                what: "first partition",
                found: first.into(),
            })?;
            MetadataRecord::PartitionsAdded {
                id,
                first,
                partitions: read_partitions(body)?,
            }
        }
    })
}

fn write_partitions(partitions: &[PartitionImage], out: &mut Writer<'_>) {
    out.count(partitions.len());
    for partition in partitions {
        out.i32(BrokerId::to_sentinel(partition.leader));
        out.i32(partition.leader_epoch.get());
        out.i32(partition.partition_epoch);
        out.brokers(&partition.replicas);
        out.brokers(&partition.in_sync_replicas);
    }
}

fn read_partitions(body: &mut Reader<'_>) -> Result<Vec<PartitionImage>, RecordError> {
    // A partition takes at least its three numbers and two counts.
    let count = body.count("number of partitions", 20)?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        partitions.push(read_partition(body)?);
    }
    Ok(partitions)
}

fn read_partition(body: &mut Reader<'_>) -> Result<PartitionImage, RecordError> {
    let leader = BrokerId::from_sentinel(body.i32("leader")?);
    let leader_epoch = body.i32("leader epoch")?;
    Ok(PartitionImage {
        leader,
        leader_epoch: LeaderEpoch::try_from(leader_epoch).map_err(|_| RecordError::OutOfRange {
            what: "leader epoch",
            found: leader_epoch.into(),
        })?,
        partition_epoch: body.i32("partition epoch")?,
        replicas: body.brokers("replicas")?,
        in_sync_replicas: body.brokers("in-sync replicas")?,
    })
}
