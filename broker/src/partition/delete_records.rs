//! Moving the start of a partition's log forward because somebody asks for it.

use std::rc::Rc;

use corelog_protocol::{ErrorCode, Offset};

use super::request::{DeleteRecordsCommand, DeleteRecordsOutcome, Outcome, Refusal};
use super::{Partition, Shared};
use crate::log::RearrangeError;
use crate::runtime::{now, oneshot, spawn, timeout};

impl Partition {
    /// Deletes what lies before an offset. Answers when the new start is durable.
    pub(crate) async fn delete_records(
        &self,
        command: DeleteRecordsCommand,
    ) -> DeleteRecordsOutcome {
        let (checked, marks) = {
            let replica = self.shared.replica.borrow();
            let checked = replica.check_deletion(command.leader_epoch, command.until);
            (checked, replica.marks())
        };
        let start = match checked {
            Ok(start) if start <= marks.log_start_offset => return Outcome::ok((), marks),
            Ok(start) => start,
            Err(refusal) => return Outcome::refused(refusal, Some(marks)),
        };
        // Once begun, it is carried through, whether or not anybody waits for it any longer.
        let (sender, moved) = oneshot::channel();
        let shared = Rc::clone(&self.shared);
        spawn(async move {
            let _ = sender.send(shared.move_log_start(start).await);
        })
        .detach();
        let left = command.deadline.duration_since(now());
        let result = match timeout(left, moved).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Refusal::new(
                ErrorCode::NotLeaderOrFollower,
                "the broker is stopping",
            )),
            Err(_) => Err(Refusal::new(
                ErrorCode::RequestTimedOut,
                "the deletion is under way and did not become durable in time",
            )),
        };
        match result {
            Ok(()) => Outcome::ok((), self.marks()),
            Err(refusal) => Outcome::refused(refusal, Some(self.marks())),
        }
    }
}

impl Shared {
    /// Makes `start` the log's start, durably, and readers go by it.
    pub(super) async fn move_log_start(&self, start: Offset) -> Result<(), Refusal> {
        let moved = self.log.advance_log_start(start).await;
        self.advance();
        moved.map_err(|error| refuse_rearrangement(&error))?;
        Ok(())
    }
}

fn refuse_rearrangement(error: &RearrangeError) -> Refusal {
    let code = match error {
        RearrangeError::Stopped(_) | RearrangeError::Read(_) => ErrorCode::KafkaStorageError,
        RearrangeError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        RearrangeError::Deleted => ErrorCode::UnknownTopicOrPartition,
    };
    Refusal::new(code, error.to_string())
}
