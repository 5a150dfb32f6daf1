//! Record batches made of texts, and back.

use bytes::Bytes;
use corelog_protocol::record::{BatchBuilder, split_batches};
use corelog_protocol::{Compression, Offset, Timestamp};

/// One uncompressed batch with these values.
pub(crate) fn batch_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 4096);
    for value in values {
        builder
            .append(Timestamp::now(), None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.finish(None)
}

/// Offsets and values of all records in some batches. Checks every CRC on the way.
pub(crate) fn values_in(batches: &[u8]) -> Vec<(Offset, String)> {
    let mut values = Vec::new();
    for batch in split_batches(batches) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let mut decompressed = Vec::new();
        for record in batch.records(&mut decompressed, 1 << 20).unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            values.push((record.offset, value));
        }
    }
    values
}
