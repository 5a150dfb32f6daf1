//! What the group has to say about offsets: who may commit them, and which expire.

use std::collections::BTreeSet;

use super::error::ClassicError;
use super::group::{ClassicGroup, Phase};
use crate::group::MemberId;
use crate::runtime::Instant;

/// The type of the groups whose subscriptions and assignments are the consumer's.
const CONSUMER: &str = "consumer";

/// Who a commit says it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitClaim {
    pub member_id: Option<MemberId>,
    pub instance_id: Option<String>,
    /// `None`: the sender is no member, but an administrator or a consumer with partitions of its
    /// own choice.
    pub generation: Option<i32>,
    /// Part of a transaction (TxnOffsetCommit).
    pub is_transactional: bool,
}

/// Which committed offsets of the group expire, `offsets.retention.minutes` after what.
#[derive(Clone, Debug, PartialEq)]
pub enum OffsetExpiry {
    /// None: the members still read, and nobody can say what.
    Never,
    /// All, counted from when the last member left (milliseconds since 1970); `None` where the
    /// record does not say: each from its own commit.
    SinceEmpty(Option<i64>),
    /// Those of other topics, each counted from its own commit.
    SinceCommit { subscribed: BTreeSet<String> },
}

impl ClassicGroup {
    /// Whether a commit may be written. A member's is a sign of life.
    ///
    /// For a group that does not exist: a commit with a generation is refused with
    /// ILLEGAL_GENERATION, one without makes the offsets of a group that has no record.
    pub fn check_commit(&mut self, now: Instant, claim: &CommitClaim) -> Result<(), ClassicError> {
        if self.phase == Phase::Dead {
            return Err(ClassicError::Removed(self.id.clone()));
        }
        if claim.generation.is_none() && self.phase == Phase::Empty {
            return Ok(());
        }
        let instance_id = claim.instance_id.as_deref();
        let names_nobody = claim.member_id.is_none() && instance_id.is_none();
        if claim.generation.is_none() && names_nobody {
            // Old transactional producers do not say who they are.
            return match claim.is_transactional {
                true => Ok(()),
                false => Err(ClassicError::UnknownMember(String::new())),
            };
        }
        let nobody = MemberId::new("");
        let claimed = claim.member_id.as_ref().unwrap_or(&nobody);
        let member_id = self.check_member(claimed, instance_id)?;
        self.check_generation(claim.generation.unwrap_or(-1))?;
        let completing = matches!(self.phase, Phase::CompletingRebalance { .. });
        if completing && !claim.is_transactional {
            return Err(ClassicError::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(&member_id) {
            member.renew_session(now);
        }
        Ok(())
    }

    /// The topics that the members read, for a consumer group whose subscriptions `parse` can read
    /// (a `ConsumerProtocolSubscription`; its topics are in every version). `None`: nobody knows.
    pub fn subscribed_topics(
        &self,
        parse: impl Fn(&[u8]) -> Option<Vec<String>>,
    ) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(parse(&member.metadata(Some(protocol)))?);
        }
        Some(topics)
    }

    /// Which offsets of the group expire. See [`ClassicGroup::subscribed_topics`] for `parse`.
    pub fn offset_expiry(&self, parse: impl Fn(&[u8]) -> Option<Vec<String>>) -> OffsetExpiry {
        if self.protocol_type.is_none() {
            return OffsetExpiry::SinceCommit {
                subscribed: BTreeSet::new(),
            };
        }
        match self.phase {
            Phase::Empty => OffsetExpiry::SinceEmpty(self.state_timestamp),
            Phase::Stable { .. } => match self.subscribed_topics(parse) {
                Some(subscribed) => OffsetExpiry::SinceCommit { subscribed },
                None => OffsetExpiry::Never,
            },
            _ => OffsetExpiry::Never,
        }
    }
}
