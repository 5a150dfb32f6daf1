//! Managing groups: who is asked, what is tried again, and what each answer becomes.

use std::collections::{BTreeMap, BTreeSet};

use corelog_client::{
    Admin, AdminError, CommittedOffset, ErrorCode, GroupState, Offset, PartitionIndex, ShardId,
    TopicPartition,
};

use crate::coordinator::Group;
use crate::fake::{BROKER, FakeBroker};

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("orders", PartitionIndex::new(index))
}

fn offsets(offsets: &[(i32, i64)]) -> BTreeMap<TopicPartition, CommittedOffset> {
    let offsets = offsets.iter();
    offsets
        .map(|(index, offset)| (partition(*index), Offset::new(*offset).into()))
        .collect()
}

/// An admin, and a broker whose group is prepared like this.
async fn with_group(prepare: impl FnOnce(&mut Group)) -> (FakeBroker, Admin) {
    let broker = FakeBroker::start(&[("orders", 3)]).await;
    broker.change(|state| prepare(&mut state.group));
    let admin = Admin::new(&broker.config()).await.unwrap();
    (broker, admin)
}

async fn describe(admin: &Admin) -> Result<corelog_client::GroupDescription, AdminError> {
    let described = admin.describe_groups(&["billing"]).await;
    described.into_iter().next().unwrap()
}

async fn delete(admin: &Admin) -> Result<(), AdminError> {
    let deleted = admin.delete_groups(&["billing"]).await;
    deleted.into_iter().next().unwrap()
}

#[tokio::test]
async fn members_are_described_with_their_partitions_names() {
    let (_broker, admin) = with_group(|group| group.assigned = vec![2, 0]).await;
    let group = describe(&admin).await.unwrap();
    assert_eq!(group.state, GroupState::Reconciling);
    assert_eq!(group.coordinator, (BROKER, ShardId::new(1)));
    let member = &group.members[0];
    assert_eq!(member.epoch, 3);
    assert_eq!(member.assigned, [partition(0), partition(2)]);
    assert_eq!(
        member.target, member.assigned,
        "what was deleted has no name any more"
    );
}

#[tokio::test]
async fn a_coordinator_that_loads_or_has_moved_is_asked_again() {
    let (_broker, admin) = with_group(|group| {
        group.admin_errors = [
            ErrorCode::CoordinatorLoadInProgress,
            ErrorCode::NotCoordinator,
        ]
        .into();
    })
    .await;
    describe(&admin).await.unwrap();

    let (broker, admin) = with_group(|group| {
        group.admin_errors = [ErrorCode::CoordinatorNotAvailable].into();
    })
    .await;
    assert_eq!(admin.list_groups().await.unwrap().len(), 1);
    broker.change(|state| state.group.admin_errors = [ErrorCode::NotCoordinator].into());
    delete(&admin).await.unwrap();
}

#[tokio::test]
async fn a_refusal_names_its_group() {
    let (broker, admin) = with_group(|group| {
        group.admin_errors = [ErrorCode::GroupIdNotFound, ErrorCode::NonEmptyGroup].into();
    })
    .await;
    let refused = describe(&admin).await.unwrap_err();
    assert!(
        matches!(&refused, AdminError::Group { group, code, .. }
            if group == "billing" && *code == ErrorCode::GroupIdNotFound),
        "{refused}"
    );
    let refused = delete(&admin).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("group billing: NON_EMPTY_GROUP"),
        "{refused}"
    );
    broker
        .change(|state| state.group.admin_errors = [ErrorCode::ClusterAuthorizationFailed].into());
    let refused = admin.list_groups().await.unwrap_err();
    assert!(
        matches!(&refused, AdminError::Broker { broker, code, .. }
            if broker == "7" && *code == ErrorCode::ClusterAuthorizationFailed),
        "{refused}"
    );
}

#[tokio::test]
async fn a_group_is_not_deleted_twice_when_the_answer_is_lost() {
    let (broker, admin) = with_group(|group| group.lose_after_delete = true).await;
    let unknown = delete(&admin).await.unwrap_err();
    assert!(
        matches!(unknown, AdminError::OutcomeUnknown { .. }),
        "{unknown}"
    );
    assert_eq!(broker.state().group.events, ["deletes the group"]);
}

#[tokio::test]
async fn offsets_are_committed_looked_at_and_forgotten_partition_by_partition() {
    let (broker, admin) = with_group(|group| {
        group.commit_errors = [ErrorCode::NotCoordinator].into();
        group.partition_errors = [ErrorCode::OffsetMetadataTooLarge].into();
    })
    .await;
    let wanted = offsets(&[(0, 5), (1, 6), (2, 7)]);
    let outcomes = admin.alter_group_offsets("billing", &wanted).await.unwrap();
    let refused = outcomes[&partition(0)].as_ref().unwrap_err();
    assert!(
        matches!(refused, AdminError::GroupOffset { partition: it, code, .. }
            if *it == partition(0) && *code == ErrorCode::OffsetMetadataTooLarge),
        "{refused}"
    );
    assert!(outcomes[&partition(1)].is_ok() && outcomes[&partition(2)].is_ok());
    let committed = admin.group_offsets("billing").await.unwrap();
    assert_eq!(committed, offsets(&[(1, 6), (2, 7)]));

    broker.change(|state| {
        let errors = [ErrorCode::GroupSubscribedToTopic];
        state.group.partition_errors = errors.into();
    });
    let both = BTreeSet::from([partition(1), partition(2)]);
    let outcomes = admin.delete_group_offsets("billing", &both).await.unwrap();
    let refused = outcomes[&partition(1)].as_ref().unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("group billing: orders-1: GROUP_SUBSCRIBED_TO_TOPIC"),
        "{refused}"
    );
    assert!(outcomes[&partition(2)].is_ok());
    let committed = admin.group_offsets("billing").await.unwrap();
    assert_eq!(committed, offsets(&[(1, 6)]));
}

#[tokio::test]
async fn offsets_of_topics_that_do_not_exist_are_refused_alone() {
    let (_broker, admin) = with_group(|_| {}).await;
    let absent = TopicPartition::new("absent", PartitionIndex::ZERO);
    let mut wanted = offsets(&[(0, 5)]);
    wanted.insert(absent.clone(), Offset::new(1).into());
    let outcomes = admin.alter_group_offsets("billing", &wanted).await.unwrap();
    assert!(outcomes[&partition(0)].is_ok());
    let refused = outcomes[&absent].as_ref().unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("absent: UNKNOWN_TOPIC_OR_PARTITION"),
        "{refused}"
    );
}
