//! What the clients of a simulated broker know of it.

use std::collections::{BTreeMap, BTreeSet};

/// All that was sent, and all that the broker has promised to keep: what it acknowledged, and what it
/// showed to a reader.
#[derive(Default)]
pub(super) struct Model {
    sent: BTreeSet<String>,
    /// By partition and offset.
    promised: BTreeMap<(i32, i64), String>,
    pub(super) acknowledged: usize,
    pub(super) read: usize,
}

impl Model {
    /// A value that was never sent before.
    pub(super) fn fresh_value(&mut self, padding: usize) -> String {
        let value = format!("{}:{}", self.sent.len(), "x".repeat(padding));
        assert!(self.sent.insert(value.clone()), "values are unique");
        value
    }

    /// The broker says that this value is at this offset.
    pub(super) fn promise(&mut self, partition: i32, offset: i64, value: &str) {
        assert!(
            self.sent.contains(value),
            "partition {partition}, offset {offset}: nobody sent this"
        );
        let known = self.promised.entry((partition, offset));
        let known = known.or_insert_with(|| value.to_owned());
        assert_eq!(known, value, "partition {partition}, offset {offset}");
    }

    /// A partition's records from its start: every promise is kept, nothing is there twice.
    pub(super) fn check(&mut self, partition: i32, records: &[(i64, String)], context: &str) {
        let mut values = BTreeSet::new();
        for (index, (offset, value)) in records.iter().enumerate() {
            assert_eq!(*offset, index as i64, "{context}: partition {partition}");
            assert!(values.insert(value), "{context}: {value} is there twice");
            self.promise(partition, *offset, value);
        }
        let promised = self.promised.range((partition, 0)..(partition + 1, 0));
        let end = promised.last().map_or(0, |((_, offset), _)| offset + 1);
        assert!(
            records.len() as i64 >= end,
            "{context}: partition {partition} ends at {} and was promised up to {end}",
            records.len()
        );
    }
}
