//! Which committed offsets expire: those that nobody reads on from, `offsets.retention.minutes` after
//! they were committed or after the group lost its last member (KIP-211).

use std::collections::BTreeSet;

use corelog_protocol::kafka::GroupRecord;

use super::CoordinatorConfig;
use super::command::Moment;
use super::group::{Group, Members, subscription};
use crate::group::GroupId;
use crate::group::classic::{GroupState, OffsetExpiry};

impl Group {
    /// Drops the offsets that expired, `most` of them, and the group if nothing else is left of it. False if
    /// there are more.
    pub(super) fn expire(
        &mut self,
        group_id: &GroupId,
        moment: &Moment<'_>,
        config: &CoordinatorConfig,
        most: usize,
        records: &mut Vec<GroupRecord>,
    ) -> bool {
        let rule = match &self.members {
            Members::None => OffsetExpiry::SinceCommit {
                subscribed: BTreeSet::new(),
            },
            Members::Consumer(group) => OffsetExpiry::SinceCommit {
                subscribed: group.subscribed_topics(),
            },
            Members::Classic(group) => group.offset_expiry(subscription),
        };
        let retention = i64::try_from(config.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let now = moment.unix_millis;
        let is_older = |since: i64| now.saturating_sub(since) >= retention;
        let is_complete = self.offsets.delete_where(
            group_id,
            |topic, committed| {
                let committed_at = committed.committed_at.get();
                let may_expire = |otherwise: bool| match committed.expires_at {
                    Some(at) => at.get() <= now,
                    None => otherwise,
                };
                match &rule {
                    OffsetExpiry::Never => false,
                    OffsetExpiry::SinceEmpty(since) => {
                        may_expire(is_older(since.unwrap_or(committed_at).max(committed_at)))
                    }
                    OffsetExpiry::SinceCommit { subscribed } => {
                        !subscribed.contains(topic) && may_expire(is_older(committed_at))
                    }
                }
            },
            most,
            records,
        );
        if self.offsets.is_empty() && self.has_no_members() {
            // Nothing refuses it: there are no members.
            let _ = self.delete(group_id, records);
        }
        is_complete
    }

    fn has_no_members(&self) -> bool {
        match &self.members {
            Members::None => true,
            Members::Consumer(group) => group.is_empty(),
            Members::Classic(group) => group.state() == GroupState::Empty,
        }
    }
}
