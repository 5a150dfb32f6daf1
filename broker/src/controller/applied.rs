use std::cell::RefCell;

use corelog_protocol::ShardId;

use crate::runtime::WaitFor;

/// How far every shard has applied the metadata. Lives on shard 0; the others report to it.
pub(super) struct Applied {
    by_shard: RefCell<Vec<i64>>,
    /// The lowest of them.
    by_all: WaitFor<i64>,
}

impl Applied {
    /// `start`: the offset of the image that every shard starts with.
    pub(super) fn new(shards: u16, start: i64) -> Self {
        assert!(shards > 0, "a broker has at least one shard");
        Self {
            by_shard: RefCell::new(vec![start; shards.into()]),
            by_all: WaitFor::new(start),
        }
    }

    /// Reports may come late or twice; a shard never goes back.
    pub(super) fn report(&self, shard: ShardId, offset: i64) {
        let lowest = {
            let mut by_shard = self.by_shard.borrow_mut();
            let applied = &mut by_shard[usize::from(shard.get())];
            *applied = offset.max(*applied);
            by_shard.iter().copied().min()
        };
        self.by_all.advance(lowest.expect("there is a shard"));
    }

    /// Waits until every shard has applied `offset`; false when the broker stops before.
    pub(super) async fn by_all(&self, offset: i64) -> bool {
        self.by_all.reached(offset).await.is_ok()
    }

    pub(super) fn close(&self) {
        self.by_all.close();
    }
}
