//! How many client connections the broker has.

use std::sync::Arc;

/// Counts the connections of all shards. Kept by the shard that accepts; the permits travel with
/// the connections, and giving one back needs no message.
#[derive(Debug, Default)]
pub struct ConnectionLimit(Arc<()>);

/// One open connection, wherever it is served. Given back on drop.
#[derive(Debug)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "held to be counted")] Arc<()>);

impl ConnectionLimit {
    pub fn permit(&self) -> ConnectionPermit {
        ConnectionPermit(Arc::clone(&self.0))
    }

    /// Permits that are out.
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_counted_on_every_thread_and_come_back_on_drop() {
        let limit = ConnectionLimit::default();
        let (first, second) = (limit.permit(), limit.permit());
        assert_eq!(limit.open(), 2);
        drop(first);
        std::thread::spawn(move || drop(second))
            .join()
            .expect("the thread only drops");
        assert_eq!(limit.open(), 0);
    }
}
