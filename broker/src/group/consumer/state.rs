//! The state of a group that its records make, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use corelog_protocol::TopicId;

use super::{
    Change, CurrentAssignment, MemberMetadata, Partitions, ResolvedPattern, STATIC_MEMBER_AWAY,
    TopicPartition, Topics,
};
use crate::group::MemberId;

/// What survives a move of the coordinator.
///
/// A log that is being compacted may show a record next to older ones of other keys, so while it is
/// read again two members may seem to own a partition. `apply` takes that without complaint: the
/// last record of every key decides, and those agree.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct State {
    pub(super) epoch: i32,
    pub(super) metadata_hash: i64,
    /// The group epoch of the target.
    pub(super) target_epoch: i32,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) patterns: BTreeMap<String, ResolvedPattern>,
    /// Who may still read each partition; follows from the members.
    owners: BTreeMap<TopicPartition, MemberId>,
    /// The static members; follows from the members.
    instances: BTreeMap<String, MemberId>,
}

#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Member {
    pub(super) metadata: MemberMetadata,
    pub(super) target: Partitions,
    pub(super) current: CurrentAssignment,
}

impl State {
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Group(value) => {
                self.epoch = value.map_or(0, |group| group.epoch);
                self.metadata_hash = value.map_or(0, |group| group.metadata_hash);
            }
            Change::Target(value) => {
                self.target_epoch = value.map_or(0, |target| target.assignment_epoch);
            }
            Change::Member { member_id, value } => self.apply_member(member_id, value.as_ref()),
            Change::TargetOfMember { member_id, value } => match value {
                Some(target) => self.member_mut(member_id).target = target.clone(),
                None => {
                    if let Some(member) = self.members.get_mut(member_id) {
                        member.target = Partitions::new();
                    }
                }
            },
            Change::CurrentOfMember { member_id, value } => {
                self.release_all(member_id);
                match value {
                    Some(current) => {
                        for partition in current.held() {
                            self.owners.insert(partition, member_id.clone());
                        }
                        self.member_mut(member_id).current = current.clone();
                    }
                    None => {
                        if let Some(member) = self.members.get_mut(member_id) {
                            member.current = CurrentAssignment::default();
                        }
                    }
                }
            }
            Change::Pattern { pattern, value } => {
                match value {
                    Some(resolved) => self.patterns.insert(pattern.clone(), resolved.clone()),
                    None => self.patterns.remove(pattern),
                };
            }
        }
    }

    fn apply_member(&mut self, member_id: &MemberId, value: Option<&MemberMetadata>) {
        let known = self.members.get(member_id);
        if let Some(instance_id) = known.and_then(|member| member.metadata.instance_id.as_ref())
            && self.instances.get(instance_id) == Some(member_id)
        {
            self.instances.remove(instance_id);
        }
        match value {
            Some(metadata) => {
                if let Some(instance_id) = &metadata.instance_id {
                    self.instances
                        .insert(instance_id.clone(), member_id.clone());
                }
                self.member_mut(member_id).metadata = metadata.clone();
            }
            None => {
                self.release_all(member_id);
                self.members.remove(member_id);
            }
        }
    }

    fn release_all(&mut self, member_id: &MemberId) {
        let Some(member) = self.members.get(member_id) else {
            return;
        };
        for partition in member.current.held() {
            if self.owners.get(&partition) == Some(member_id) {
                self.owners.remove(&partition);
            }
        }
    }

    /// A record may come before the one that names its member: compaction keeps the last of each.
    fn member_mut(&mut self, member_id: &MemberId) -> &mut Member {
        self.members.entry(member_id.clone()).or_default()
    }

    pub(super) fn owner(&self, partition: TopicPartition) -> Option<&MemberId> {
        self.owners.get(&partition)
    }

    /// The static member with this instance id.
    pub(super) fn holder(&self, instance_id: &str) -> Option<(&MemberId, &Member)> {
        let member_id = self.instances.get(instance_id)?;
        Some((member_id, self.members.get(member_id)?))
    }

    /// The names that a member subscribes to, whether they exist or not.
    pub(super) fn subscribed_names<'a>(
        &'a self,
        metadata: &'a MemberMetadata,
    ) -> impl Iterator<Item = &'a str> {
        let pattern = metadata.subscribed_topic_regex.as_ref();
        let matched = pattern.and_then(|pattern| self.patterns.get(pattern));
        let names = metadata.subscribed_topic_names.iter();
        names
            .chain(matched.into_iter().flat_map(|resolved| &resolved.topics))
            .map(String::as_str)
    }

    /// The topics that a member subscribes to and that exist.
    pub(super) fn subscribed_ids(
        &self,
        metadata: &MemberMetadata,
        topics: &Topics,
    ) -> BTreeSet<TopicId> {
        self.subscribed_names(metadata)
            .filter_map(|name| topics.get(name))
            .map(|topic| topic.id)
            .collect()
    }

    /// Stands for the names, ids and sizes of all subscribed topics that exist. It is compared over
    /// restarts and versions, so it is a fixed function (FNV-1a), not the process's hasher.
    pub(super) fn hash_of_subscribed(&self, topics: &Topics) -> i64 {
        let names: BTreeSet<&str> = self
            .members
            .values()
            .flat_map(|member| self.subscribed_names(&member.metadata))
            .collect();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for name in names {
            let Some(topic) = topics.get(name) else {
                continue;
            };
            let partitions = topic.partitions.to_be_bytes();
            let parts: [&[u8]; 4] = [topic.id.as_bytes(), &partitions, name.as_bytes(), &[0]];
            for byte in parts.into_iter().flatten() {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash.cast_signed()
    }
}

impl Member {
    /// True for a static member that left and may come back.
    pub(super) fn is_away(&self) -> bool {
        self.current.member_epoch == STATIC_MEMBER_AWAY
    }
}

impl CurrentAssignment {
    /// What the member may still read.
    pub(super) fn held(&self) -> impl Iterator<Item = TopicPartition> {
        self.assigned
            .iter()
            .chain(&self.pending_revocation)
            .copied()
    }
}
