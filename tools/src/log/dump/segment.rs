//! Batches of a segment, and their records.

use std::fmt::{self, Display};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use corelog_protocol::TimestampType;
use corelog_protocol::record::{BatchView, Record};
use serde::Serialize;

use super::lines::{Lines, readable};
use crate::log::arguments::DumpArguments;
use crate::log::batch_stream::{Batch, BatchStream};
use crate::log::sequential::SequentialFile;

/// The most that a batch is decompressed to, and the largest whose records are shown.
const LARGEST_BATCH: usize = 256 << 20;

#[derive(Serialize)]
struct BatchLine {
    base_offset: i64,
    last_offset: i64,
    count: i32,
    position: u64,
    size: usize,
    magic: i8,
    codec: &'static str,
    timestamp_type: &'static str,
    base_timestamp: i64,
    max_timestamp: i64,
    leader_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    is_transactional: bool,
    is_control: bool,
    delete_horizon: Option<i64>,
    crc: u32,
    is_valid: bool,
}

impl BatchLine {
    fn of(batch: &Batch) -> BatchLine {
        let header = &batch.header;
        let attributes = batch.attributes();
        let base_timestamp = header.base_timestamp.get();
        BatchLine {
            base_offset: header.base_offset.get(),
            last_offset: batch.last_offset().get(),
            count: header.records_count.get(),
            position: batch.position,
            size: batch.size,
            magic: header.magic,
            codec: attributes
                .compression()
                .map_or("unknown", |codec| codec.name()),
            timestamp_type: match attributes.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            },
            base_timestamp,
            max_timestamp: header.max_timestamp.get(),
            leader_epoch: header.partition_leader_epoch.get(),
            producer_id: header.producer_id.get(),
            producer_epoch: header.producer_epoch.get(),
            base_sequence: header.base_sequence.get(),
            is_transactional: attributes.is_transactional(),
            is_control: attributes.is_control(),
            delete_horizon: attributes.has_delete_horizon().then_some(base_timestamp),
            crc: header.crc.get(),
            is_valid: batch.is_intact(),
        }
    }
}

impl Display for BatchLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "baseOffset: {} lastOffset: {} count: {} baseSequence: {} producerId: {} producerEpoch: {} \
             partitionLeaderEpoch: {} isTransactional: {} isControl: {} position: {} {}: {} size: {} magic: {} \
             compresscodec: {} crc: {} isvalid: {}",
            self.base_offset,
            self.last_offset,
            self.count,
            self.base_sequence,
            self.producer_id,
            self.producer_epoch,
            self.leader_epoch,
            self.is_transactional,
            self.is_control,
            self.position,
            self.timestamp_type,
            self.max_timestamp,
            self.size,
            self.magic,
            self.codec,
            self.crc,
            self.is_valid,
        )?;
        match self.delete_horizon {
            Some(horizon) => write!(f, " deleteHorizon: {horizon}"),
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct RecordLine {
    offset: i64,
    timestamp: i64,
    /// Bytes that are no text stand in hexadecimal behind `0x`.
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
    is_tombstone: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<String>,
}

impl RecordLine {
    fn of(record: &Record<'_>, is_control: bool) -> RecordLine {
        let headers = record.headers.map(|header| {
            let value = header.value.map(readable);
            (header.key.to_owned(), value)
        });
        RecordLine {
            offset: record.offset.get(),
            timestamp: record.timestamp.get(),
            key: record.key.map(readable),
            value: record.value.map(readable),
            headers: headers.collect(),
            is_tombstone: !is_control && record.key.is_some() && record.value.is_none(),
            control: is_control.then(|| control_type(record.key)),
        }
    }
}

/// What a control record says: version and type, each 16 bits, are its key.
fn control_type(key: Option<&[u8]>) -> String {
    match key {
        Some([_, _, 0, 0, ..]) => "abort".to_owned(),
        Some([_, _, 0, 1, ..]) => "commit".to_owned(),
        Some([_, _, high, low, ..]) => {
            format!("type {}", i16::from_be_bytes([*high, *low]))
        }
        _ => "without a type".to_owned(),
    }
}

impl Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Option<String>| bytes.clone().unwrap_or_else(|| "null".to_owned());
        write!(
            f,
            "| offset: {} timestamp: {} key: {} value: {}",
            self.offset,
            self.timestamp,
            text(&self.key),
            text(&self.value)
        )?;
        for (key, value) in &self.headers {
            write!(f, " header {key:?}: {}", text(value))?;
        }
        if self.is_tombstone {
            write!(f, " (tombstone)")?;
        }
        match &self.control {
            Some(control) => write!(f, " (control: {control})"),
            None => Ok(()),
        }
    }
}

pub(super) fn dump(
    path: &Path,
    arguments: &DumpArguments,
    lines: &mut Lines,
) -> anyhow::Result<()> {
    lines.begin(path)?;
    let length = path.metadata()?.len();
    let mut file = SequentialFile::open(path, 0..length)?;
    let mut stream = BatchStream::new(0, length);
    let mut left = arguments.max_batches.unwrap_or(u64::MAX);
    while let Some(piece) = file.next()? {
        let mut printed = Ok(());
        let fed = stream.feed(&piece, |batch| {
            if printed.is_ok() && left > 0 && batch.last_offset().get() >= arguments.from_offset {
                left -= 1;
                printed = print(path, batch, arguments.records, lines);
            }
        });
        printed?;
        file.done(piece);
        if left == 0 {
            return Ok(());
        }
        if let Err(broken) = fed {
            let (position, reason) = (broken.position, broken.reason);
            // Zeros are what was allocated ahead, or the reader's to judge: `verify` does.
            lines.remark(&format!(
                "no batch at byte {position}, {} bytes before the end: {reason}",
                length - position
            ))?;
            return Ok(());
        }
    }
    if let Err(broken) = stream.finish() {
        let (position, reason) = (broken.position, broken.reason);
        lines.remark(&format!("no batch at byte {position}: {reason}"))?;
    }
    Ok(())
}

fn print(path: &Path, batch: &Batch, with_records: bool, lines: &mut Lines) -> io::Result<()> {
    lines.item("batch", &BatchLine::of(batch))?;
    if !batch.is_intact() {
        lines.note_damage();
    }
    if !with_records {
        return Ok(());
    }
    if batch.size > LARGEST_BATCH {
        return lines.remark("the batch is too large to show its records");
    }
    let mut bytes = vec![0; batch.size];
    File::open(path)?.read_exact_at(&mut bytes, batch.position)?;
    let view = match BatchView::parse(&bytes) {
        Ok((view, _)) => view,
        Err(error) => return lines.damage(&error.to_string()),
    };
    let mut scratch = Vec::new();
    let records = match view.records(&mut scratch, LARGEST_BATCH) {
        Ok(records) => records,
        Err(error) => return lines.damage(&format!("its records cannot be read: {error}")),
    };
    for record in records {
        match record {
            Ok(record) => lines.item("record", &RecordLine::of(&record, view.is_control()))?,
            Err(error) => return lines.damage(&error.to_string()),
        }
    }
    Ok(())
}
