//! The metadata on disk: a snapshot and the log after it. `broker/docs/metadata_log.md` draws both.
//!
//! Invariant: a record is applied, and so can be seen by anyone, only when it is durable. Entries are
//! whole blocks that are only ever appended, one write and one sync each: a crash can tear the last
//! entry, which nobody was told about, and nothing before it. A bad entry with a good one behind it is
//! therefore damage, and the broker refuses to start rather than forget what was agreed.
//!
//! Ignored on purpose: other copies. When there is a quorum, this becomes one member's log.

mod entry;
mod folder;
mod replay;
mod snapshot;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use corelog_protocol::BrokerId;

use self::entry::{EntryHeader, HEADER_BYTES};
use self::folder::{FOLDER, SNAPSHOT, begin_log, log_path, refuse_used_folder, remove_other_logs};
use self::replay::replay;
pub use self::snapshot::SnapshotError;
use crate::config::{ByteSize, TopicConfig};
use crate::metadata::{
    ApplyError, BrokerRegistration, MetadataImage, MetadataRecord, encode_record,
};
use crate::runtime::{AlignedBuffer, BLOCK, BufferPool, File, OpenMode, Storage};

/// The largest snapshot that is read.
const SNAPSHOT_MAX_BYTES: u64 = 1 << 30;

/// Memory for entries on their way to the disk. It is apart from the shard's budget, so that full
/// buffers do not keep topics from being created; one entry must fit in.
const ENTRY_BUFFER_BYTES: usize = 32 << 20;

/// Records are gathered into one entry up to about this size.
const ENTRY_TARGET_BYTES: usize = 1 << 20;

/// Why metadata could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the metadata snapshot cannot be used: {error}")]
    Snapshot {
        #[source]
        error: SnapshotError,
    },
    #[error(
        "metadata/snapshot is missing although the data folder was used before (there is `{found}`)"
    )]
    SnapshotMissing { found: String },
    #[error("the metadata snapshot names the log `{name}`, which is missing")]
    LogMissing { name: String },
    #[error(
        "{path} is damaged at byte {position}: {reason}; a good entry follows at byte \
         {good_position}, so that this is no write that a crash cut short"
    )]
    Damaged {
        path: String,
        position: u64,
        reason: String,
        good_position: u64,
    },
    #[error("a record of the metadata log does not follow from those before it: {0}")]
    Apply(#[from] ApplyError),
    #[error("the data folder belongs to cluster `{expected}`, its metadata to cluster `{found}`")]
    OtherCluster { expected: String, found: String },
    #[error("{bytes} bytes of metadata are more than one entry can hold")]
    TooLarge { bytes: usize },
    /// An earlier write or sync failed; what it left on the disk is not known.
    #[error("metadata is no longer written since an error: {cause}")]
    Stopped { cause: String },
}

/// How this broker shows itself to the cluster when it starts.
#[derive(Clone, Debug)]
pub struct BrokerStart {
    pub id: BrokerId,
    pub host: String,
    pub port: u16,
    pub shards: u16,
}

/// The metadata log, open for appending. One per broker, on shard 0.
pub struct MetadataStore {
    storage: Storage,
    pool: BufferPool,
    image: Arc<MetadataImage>,
    log: File,
    log_number: u64,
    /// Where the next entry goes.
    position: u64,
    snapshot_interval: ByteSize,
    stopped: Option<String>,
}

impl MetadataStore {
    /// Reads what is there, or forms the cluster `cluster_id` in a folder that was never used.
    pub async fn open(
        storage: Storage,
        cluster_id: &str,
        topic_defaults: Arc<TopicConfig>,
        snapshot_interval: ByteSize,
    ) -> Result<Self, MetadataError> {
        storage.create_dir_all(Path::new(FOLDER)).await?;
        storage.sync_dir(Path::new("")).await?;
        if !storage.exists(Path::new(SNAPSHOT)).await? {
            refuse_used_folder(&storage).await?;
            let formed = MetadataRecord::ClusterFormed {
                cluster_id: cluster_id.to_owned(),
            };
            let image = MetadataImage::empty(Arc::clone(&topic_defaults)).apply(&[formed])?;
            let log = begin_log(&storage, &image, 1).await?;
            log.close().await?;
        }

        // A process that died may have renamed the snapshot without syncing its name. What is read
        // here must be what the next start reads too, before the log it replaced is removed.
        storage.sync_dir(Path::new(FOLDER)).await?;
        let bytes = storage
            .read_file(Path::new(SNAPSHOT), SNAPSHOT_MAX_BYTES)
            .await?;
        let (mut image, log_number) = snapshot::decode(&bytes, topic_defaults)
            .map_err(|error| MetadataError::Snapshot { error })?;
        if *image.cluster_id != *cluster_id {
            return Err(MetadataError::OtherCluster {
                expected: cluster_id.to_owned(),
                found: image.cluster_id.to_string(),
            });
        }
        remove_other_logs(&storage, log_number).await?;
        let path = log_path(log_number);
        if !storage.exists(&path).await? {
            return Err(MetadataError::LogMissing {
                name: path.display().to_string(),
            });
        }
        let log = storage.open(&path, OpenMode::ReadWrite).await?;
        let position = replay(&log, log_number, &mut image).await?;
        // What lies behind is a torn entry. It goes, so that its parts cannot be taken for anything
        // once shorter entries were written over its beginning.
        if log.len().await? > position {
            log.truncate(position).await?;
        }
        // The last entry may have been written but never synced by a process that died: without this
        // sync, the broker would act on what a power cut can still take back.
        log.sync_data().await?;
        Ok(Self {
            storage,
            pool: BufferPool::new(ENTRY_BUFFER_BYTES),
            image: Arc::new(image),
            log,
            log_number,
            position,
            snapshot_interval,
            stopped: None,
        })
    }

    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image)
    }

    /// Takes over as controller and registers this broker: the leader epoch of everything it leads
    /// rises durably, before anything is appended.
    pub async fn start_broker(
        &mut self,
        broker: BrokerStart,
    ) -> Result<Arc<MetadataImage>, MetadataError> {
        let started = MetadataRecord::ControllerStarted {
            epoch: self.image.epoch.saturating_add(1),
        };
        let registered = MetadataRecord::BrokerRegistered(BrokerRegistration {
            id: broker.id,
            host: broker.host,
            port: broker.port,
            shards: broker.shards,
            broker_epoch: self.image.offset + 2,
        });
        self.append(&[started, registered]).await
    }

    /// Makes the records durable, then applies them. After an error of the disk the store takes no
    /// more records: what the failed write left behind is not known, and a failed sync must not be
    /// tried again.
    pub async fn append(
        &mut self,
        records: &[MetadataRecord],
    ) -> Result<Arc<MetadataImage>, MetadataError> {
        if let Some(cause) = &self.stopped {
            return Err(MetadataError::Stopped {
                cause: cause.clone(),
            });
        }
        // Nothing that does not apply may reach the log: it could never be read again.
        let image = Arc::new(self.image.apply(records)?);
        let mut rest = records;
        while !rest.is_empty() {
            let (written, behind) = rest.split_at(self.append_entry(rest).await?);
            self.image = match behind {
                [] => Arc::clone(&image),
                _ => Arc::new(self.image.apply(written)?),
            };
            rest = behind;
        }
        if self.position >= self.snapshot_interval.get()
            && let Err(error) = self.take_snapshot().await
        {
            // The records themselves are durable: their command has succeeded.
            tracing::error!(%error, "could not take a snapshot of the metadata");
            self.note_failure(&error);
        }
        Ok(self.image())
    }

    pub async fn close(self) -> Result<(), MetadataError> {
        Ok(self.log.close().await?)
    }

    /// Replaces the log by a snapshot and an empty log.
    async fn take_snapshot(&mut self) -> Result<(), MetadataError> {
        let log = begin_log(&self.storage, &self.image, self.log_number + 1).await?;
        let old = std::mem::replace(&mut self.log, log);
        let old_path = log_path(self.log_number);
        self.log_number += 1;
        self.position = 0;
        // Should the old log stay behind, the next start removes it.
        old.close().await?;
        self.storage.remove_file(&old_path).await?;
        Ok(())
    }

    /// Writes as many of the records as make one entry, and returns how many.
    async fn append_entry(&mut self, records: &[MetadataRecord]) -> Result<usize, MetadataError> {
        let mut bytes = vec![0; HEADER_BYTES];
        let mut count = 0;
        for record in records {
            if bytes.len() >= ENTRY_TARGET_BYTES {
                break;
            }
            encode_record(record, &mut bytes);
            count += 1;
        }
        let length = bytes.len() - HEADER_BYTES;
        let too_large = || MetadataError::TooLarge { bytes: length };
        let header = EntryHeader {
            log_number: self.log_number,
            first_offset: self.image.offset + 1,
            record_count: count as u32,
            length: u32::try_from(length).map_err(|_| too_large())?,
        };
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        let padded = bytes.len().next_multiple_of(BLOCK);
        let mut buffer = self.pool.aligned(padded).map_err(|_| too_large())?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        buffer[bytes.len()..].fill(0);

        if let Err(error) = self.write_synced(buffer).await {
            let error = error.into();
            self.note_failure(&error);
            return Err(error);
        }
        self.position += padded as u64;
        Ok(count)
    }

    async fn write_synced(&self, buffer: AlignedBuffer) -> io::Result<()> {
        let (written, _) = self.log.write_at(buffer, self.position).await;
        written?;
        self.log.sync_data().await
    }

    /// Stops the store for good, unless the file system was merely full: then nothing was promised
    /// and the next entry is written over what the failed one left.
    fn note_failure(&mut self, error: &MetadataError) {
        let full = matches!(error, MetadataError::Io(error)
            if error.kind() == io::ErrorKind::StorageFull);
        if !full {
            self.stopped = Some(error.to_string());
        }
    }
}
