//! The fields that records are made of: little-endian numbers, texts and lists.

use std::collections::BTreeMap;

use corelog_protocol::{BrokerId, ProducerId, TopicId};

use super::RecordError;

/// Appends little-endian fields.
pub(super) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("a record holds fewer than 2^32 items"));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn topic_id(&mut self, id: TopicId) {
        self.0.extend_from_slice(id.as_bytes());
    }

    pub(super) fn brokers(&mut self, brokers: &[BrokerId]) {
        self.count(brokers.len());
        for broker in brokers {
            self.i32(broker.get());
        }
    }

    pub(super) fn configs(&mut self, configs: &BTreeMap<String, String>) {
        self.count(configs.len());
        for (name, value) in configs {
            self.text(name);
            self.text(value);
        }
    }
}

/// Takes little-endian fields from the front of the bytes it holds.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes not taken yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn bytes(
        &mut self,
        what: &'static str,
        length: usize,
    ) -> Result<&'a [u8], RecordError> {
        let (taken, rest) =
            self.0
                .split_at_checked(length)
                .ok_or_else(|| RecordError::Truncated {
                    what,
                    missing: length - self.0.len(),
                })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], RecordError> {
        let bytes = self.bytes(what, N)?;
        Ok(bytes.try_into().expect("exactly N bytes were taken"))
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, RecordError> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, RecordError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, RecordError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, RecordError> {
        self.array(what).map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self, what: &'static str) -> Result<i64, RecordError> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// A number of items of at least `item_bytes` each: more than the bytes at hand can hold is
    /// refused before anything is reserved for them.
    pub(super) fn count(
        &mut self,
        what: &'static str,
        item_bytes: usize,
    ) -> Result<usize, RecordError> {
        let count = self.u32(what)? as usize;
        let needed = count.saturating_mul(item_bytes);
        if needed > self.0.len() {
            return Err(RecordError::Truncated {
                what,
                missing: needed - self.0.len(),
            });
        }
        Ok(count)
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<String, RecordError> {
        let length = self.count(what, 1)?;
        let bytes = self.bytes(what, length)?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(RecordError::NotText { what }),
        }
    }

    pub(super) fn topic_id(&mut self) -> Result<TopicId, RecordError> {
        self.array("topic id").map(TopicId::from_bytes)
    }

    pub(super) fn broker(&mut self, what: &'static str) -> Result<BrokerId, RecordError> {
        let id = self.i32(what)?;
        BrokerId::try_from(id).map_err(|_| RecordError::OutOfRange {
            what,
            found: id.into(),
        })
    }

    pub(super) fn producer_id(&mut self) -> Result<ProducerId, RecordError> {
        let id = self.i64("producer id")?;
        ProducerId::try_from(id).map_err(|_| RecordError::OutOfRange {
            what: "producer id",
            found: id,
        })
    }

    pub(super) fn brokers(&mut self, what: &'static str) -> Result<Vec<BrokerId>, RecordError> {
        let count = self.count(what, 4)?;
        (0..count).map(|_| self.broker(what)).collect()
    }

    pub(super) fn configs(&mut self) -> Result<BTreeMap<String, String>, RecordError> {
        let count = self.count("number of settings", 8)?;
        let mut configs = BTreeMap::new();
        for _ in 0..count {
            let name = self.text("setting's name")?;
            configs.insert(name, self.text("setting's value")?);
        }
        Ok(configs)
    }
}
