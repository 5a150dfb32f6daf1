//! Who may commit and fetch offsets of the group.

use super::{ConsumerGroup, GroupError};
use crate::group::MemberId;

impl ConsumerGroup {
    /// Whether offsets may be committed by this member at this epoch. A group without members takes
    /// the commits of consumers that assign partitions to themselves, which say a negative epoch.
    pub fn check_commit(&self, member_id: &MemberId, epoch: i32) -> Result<(), GroupError> {
        if epoch < 0 && self.is_empty() {
            return Ok(());
        }
        self.check_epoch(member_id, epoch)
    }

    /// Whether offsets may be fetched. Those who are nobody's member say neither id nor epoch.
    pub fn check_fetch(&self, member_id: Option<&MemberId>, epoch: i32) -> Result<(), GroupError> {
        match member_id {
            None if epoch < 0 => Ok(()),
            None => Err(GroupError::InvalidRequest {
                what: format!("epoch {epoch} is given without a member id"),
            }),
            Some(member_id) => self.check_epoch(member_id, epoch),
        }
    }

    fn check_epoch(&self, member_id: &MemberId, received: i32) -> Result<(), GroupError> {
        let member = self.check_known(member_id, None)?;
        let expected = member.current.member_epoch;
        if received == expected && !member.is_away() {
            return Ok(());
        }
        Err(GroupError::StaleEpoch {
            member_id: member_id.clone(),
            received,
            expected,
        })
    }
}
