use corelog_protocol::native::TopicPartitions;
use corelog_protocol::{Offset, PartitionIndex, TopicId};

use super::*;
use crate::CommittedOffset;
use crate::group::holdings::{Owned, Pending, Start};

const INTERVAL: Duration = Duration::from_millis(3_000);
const MAX_POLL: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

fn id(partition: i32) -> IdPartition {
    IdPartition {
        topic_id: TopicId::from_bytes([7; 16]),
        partition: PartitionIndex::new(partition),
    }
}

fn assignment(partitions: &[i32]) -> Vec<TopicPartitions> {
    by_topic(&partitions.iter().copied().map(id).collect::<Vec<_>>())
}

fn start(committed: Option<i64>) -> Start {
    Start {
        topic: "orders".into(),
        committed: committed.map(|offset| CommittedOffset::from(Offset::new(offset))),
    }
}

fn numbers(partitions: &[Owned]) -> Vec<i32> {
    partitions.iter().map(|it| it.id.partition.get()).collect()
}

/// A membership, a clock, and a coordinator that says what the test says.
struct Rig {
    membership: Membership,
    now: Instant,
}

impl Rig {
    fn new(instance_id: Option<&str>) -> Self {
        let now = Instant::now();
        let identity = Identity {
            group: "billing".to_owned(),
            member_id: "me".to_owned(),
            instance_id: instance_id.map(str::to_owned),
            rack: Some("north".to_owned()),
            assignor: Some("range".to_owned()),
            max_poll_interval: MAX_POLL,
            longest_wait: MAX_POLL,
        };
        let mut membership = Membership::new(identity, now);
        membership.poll_began(now);
        Self { membership, now }
    }

    fn subscribed() -> Self {
        let mut rig = Self::new(None);
        rig.subscribe(&["orders"]);
        rig
    }

    /// In the group at epoch 1, with these partitions.
    fn with(partitions: &[i32]) -> Self {
        let mut rig = Self::subscribed();
        rig.send();
        rig.accept(1, Some(partitions));
        rig.take_all();
        if !partitions.is_empty() {
            rig.send();
            rig.accept(1, None);
        }
        rig
    }

    fn subscribe(&mut self, topics: &[&str]) {
        let subscription = Subscription {
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            pattern: String::new(),
        };
        self.membership.subscribe(subscription, self.now);
    }

    fn next(&mut self) -> Step {
        self.membership.next(self.now)
    }

    #[track_caller]
    fn send(&mut self) -> ConsumerGroupHeartbeatRequest {
        match self.next() {
            Step::Send(request) => request,
            step => panic!("no heartbeat but {step:?}"),
        }
    }

    #[track_caller]
    fn assert_quiet(&mut self) {
        let step = self.next();
        assert!(!matches!(step, Step::Send(_)), "{step:?}");
    }

    fn answer(&mut self, response: &ConsumerGroupHeartbeatResponse) -> bool {
        self.membership.answered(response, self.now)
    }

    fn accept(&mut self, epoch: i32, partitions: Option<&[i32]>) {
        let accepted = ConsumerGroupHeartbeatResponse {
            member_epoch: epoch,
            heartbeat_interval_ms: u32::try_from(INTERVAL.as_millis()).expect("short"),
            session_timeout_ms: 45_000,
            assignment: partitions.map(assignment),
            ..ConsumerGroupHeartbeatResponse::refused(ErrorCode::None, None)
        };
        assert!(self.answer(&accepted));
    }

    fn refuse(&mut self, code: ErrorCode) -> bool {
        let refused = ConsumerGroupHeartbeatResponse::refused(code, Some("so there".to_owned()));
        self.answer(&refused)
    }

    fn take_all(&mut self) -> Vec<i32> {
        for (id, round) in self.membership.holdings.without_start() {
            self.membership.holdings.found_start(id, round, start(None));
        }
        let taken = self.membership.holdings.take();
        taken
            .iter()
            .map(|(owned, _)| owned.id.partition.get())
            .collect()
    }

    fn owned(&self) -> Vec<i32> {
        numbers(&self.membership.holdings.owned())
    }
}

#[test]
fn a_member_says_everything_when_it_joins_and_then_only_its_epoch() {
    let mut rig = Rig::subscribed();
    let joining = rig.send();
    assert_eq!(joining.member_epoch, 0);
    assert_eq!(joining.topic_names, Some(vec!["orders".to_owned()]));
    assert_eq!(joining.topic_pattern, Some(String::new()));
    assert_eq!(joining.rebalance_timeout_ms, Some(60_000));
    assert_eq!(joining.assignor.as_deref(), Some("range"));
    assert_eq!(joining.rack_id.as_deref(), Some("north"));
    assert_eq!(joining.owned, Some(vec![]));
    rig.accept(1, Some(&[]));
    let alive = rig.send();
    let only_the_epoch = ConsumerGroupHeartbeatRequest {
        group: "billing".to_owned(),
        member_id: "me".to_owned(),
        member_epoch: 1,
        wait_ms: 3_000,
        ..ConsumerGroupHeartbeatRequest::default()
    };
    assert_eq!(alive, only_the_epoch);
}

#[test]
fn a_heartbeat_that_waited_is_followed_by_the_next_at_once() {
    let mut rig = Rig::with(&[]);
    rig.send();
    rig.now += INTERVAL;
    rig.accept(1, None);
    assert_eq!(rig.send().wait_ms, 3_000);
    // News are no reason for a pause either.
    rig.now += PAUSE;
    rig.accept(2, None);
    rig.send();
    rig.accept(2, Some(&[0]));
    assert_eq!(rig.send().member_epoch, 2);
}

#[test]
fn a_coordinator_that_keeps_no_heartbeat_waiting_is_asked_when_it_says() {
    let mut rig = Rig::with(&[]);
    rig.send();
    rig.now += PAUSE;
    rig.accept(1, None);
    assert_eq!(rig.next(), Step::WaitUntil(rig.now + INTERVAL - PAUSE));
    rig.now += INTERVAL - PAUSE;
    rig.send();
}

#[test]
fn a_heartbeat_that_waits_is_given_up_where_there_is_something_to_say() {
    let mut rig = Rig::with(&[0]);
    rig.send();
    assert!(!rig.membership.breaks_off(rig.now));
    rig.subscribe(&["invoices"]);
    assert!(rig.membership.breaks_off(rig.now));
    // Nobody knows what it was told, and so it says everything.
    let all = rig.send();
    assert_eq!(all.topic_names, Some(vec!["invoices".to_owned()]));
    assert_eq!(all.owned, Some(assignment(&[0])));
    assert_eq!(all.wait_ms, 0);
    rig.subscribe(&["orders"]);
    assert!(!rig.membership.breaks_off(rig.now), "it must be heard");
}

#[test]
fn a_heartbeat_that_waits_is_given_up_when_the_caller_is_away_or_leaves() {
    let mut rig = Rig::with(&[0]);
    rig.send();
    rig.membership.poll_ended(rig.now);
    let away_until = rig.membership.away_until(rig.now);
    assert_eq!(away_until, rig.now + MAX_POLL);
    rig.now = away_until;
    assert!(rig.membership.breaks_off(rig.now));
    assert_eq!(rig.send().member_epoch, -1);

    let mut rig = Rig::with(&[0]);
    rig.send();
    rig.membership.leave(rig.now);
    assert!(rig.membership.breaks_off(rig.now));
    assert_eq!(rig.send().member_epoch, -1);
}

#[test]
fn a_member_without_a_subscription_says_nothing_and_polls_in_vain() {
    let mut rig = Rig::new(None);
    assert_eq!(rig.next(), Step::Wait);
    let error = rig.membership.error(rig.now, MAX_POLL);
    assert!(matches!(error, Some(GroupError::NotSubscribed { .. })));
}

#[test]
fn what_is_assigned_is_taken_when_it_is_known_where_to_begin() {
    let mut rig = Rig::subscribed();
    rig.send();
    rig.accept(1, Some(&[0, 1]));
    assert_eq!(rig.membership.holdings.pending(), Pending::Nothing);
    let wanted = rig.membership.holdings.without_start();
    assert_eq!(wanted.len(), 2);
    rig.membership
        .holdings
        .found_start(wanted[0].0, wanted[0].1, start(Some(42)));
    assert_eq!(rig.membership.holdings.pending(), Pending::Take);
    let taken = rig.membership.holdings.take();
    assert_eq!(taken[0].0.name.to_string(), "orders-0");
    assert_eq!(taken[0].1, start(Some(42)));
    assert_eq!(rig.owned(), [0]);
    assert!(rig.membership.holdings.is_committed(id(0), Offset::new(42)));
    assert!(!rig.membership.holdings.is_committed(id(1), Offset::new(42)));
}

/// The coordinator gives to others at once what a member does not claim, also while the member's heartbeat is on its way.
#[test]
fn what_may_be_taken_while_the_coordinator_is_told_is_claimed_before() {
    let mut rig = Rig::subscribed();
    rig.send();
    rig.accept(1, Some(&[0, 1]));
    assert_eq!(rig.send().owned, Some(assignment(&[0, 1])));
    assert_eq!(rig.take_all(), [0, 1]);
    assert!(!rig.membership.breaks_off(rig.now), "that is no news");
    rig.accept(1, None);
    assert_eq!(rig.send().owned, None);
}

#[test]
fn a_start_found_for_an_earlier_assignment_is_worth_nothing() {
    let mut rig = Rig::subscribed();
    rig.send();
    rig.accept(1, Some(&[0]));
    let (id, round) = rig.membership.holdings.without_start()[0];
    rig.now += INTERVAL;
    rig.send();
    rig.accept(2, Some(&[]));
    rig.now += INTERVAL;
    rig.send();
    // Somebody else had it in between, and committed.
    rig.accept(3, Some(&[0]));
    rig.membership
        .holdings
        .found_start(id, round, start(Some(1)));
    assert_eq!(rig.membership.holdings.pending(), Pending::Nothing);
    let (id, round) = rig.membership.holdings.without_start()[0];
    rig.membership
        .holdings
        .found_start(id, round, start(Some(2)));
    assert_eq!(rig.membership.holdings.take()[0].1, start(Some(2)));
}

#[test]
fn starts_are_looked_for_again_after_an_answer_that_was_lost() {
    let mut rig = Rig::subscribed();
    rig.send();
    rig.accept(1, Some(&[0]));
    let (id, round) = rig.membership.holdings.without_start()[0];
    rig.membership
        .holdings
        .found_start(id, round, start(Some(1)));
    rig.now += INTERVAL;
    rig.send();
    rig.membership.unanswered("cut off".to_owned());
    assert_eq!(rig.membership.holdings.pending(), Pending::Nothing);
    assert_ne!(rig.membership.holdings.without_start()[0].1, round);
}

#[test]
fn a_partition_is_owned_until_poll_has_given_it_up_and_then_said_to_be_free_at_once() {
    let mut rig = Rig::with(&[0, 1]);
    rig.now += INTERVAL;
    rig.send();
    rig.accept(1, Some(&[0]));
    assert_eq!(rig.owned(), [0, 1]);
    rig.send();
    assert!(!rig.membership.breaks_off(rig.now));
    let Pending::Revoke(leaving) = rig.membership.holdings.pending() else {
        panic!("nothing to revoke");
    };
    assert_eq!(numbers(&leaving), [1]);
    rig.membership.holdings.revoked(&leaving);
    assert_eq!(rig.owned(), [0]);
    assert!(!rig.membership.holdings.still_owns(&leaving[0]));
    assert!(rig.membership.breaks_off(rig.now));
    assert_eq!(rig.send().owned, Some(assignment(&[0])));
}

/// The coordinator waits to hear that it is free.
#[test]
fn what_is_taken_back_before_it_was_taken_is_said_to_be_free_at_once() {
    let mut rig = Rig::with(&[0]);
    rig.send();
    rig.accept(2, Some(&[0, 1]));
    assert_eq!(rig.send().owned, Some(assignment(&[0, 1])));
    rig.accept(2, Some(&[0]));
    let free = rig.send();
    assert_eq!((free.owned, free.wait_ms), (Some(assignment(&[0])), 0));
    rig.accept(3, None);
    assert_eq!(rig.send().wait_ms, 3_000);
}

#[test]
fn what_is_given_again_while_it_is_being_given_up_is_taken_anew() {
    let mut rig = Rig::with(&[0]);
    rig.now += INTERVAL;
    rig.send();
    rig.accept(1, Some(&[]));
    let Pending::Revoke(leaving) = rig.membership.holdings.pending() else {
        panic!("nothing to revoke");
    };
    rig.now += INTERVAL;
    rig.send();
    rig.accept(2, Some(&[0]));
    rig.membership.holdings.revoked(&leaving);
    assert_eq!(rig.owned(), [] as [i32; 0]);
    assert_eq!(rig.take_all(), [0]);
    // Another member may have committed in between: what was to be committed before is not any more.
    assert!(!rig.membership.holdings.still_owns(&leaving[0]));
}

#[test]
fn after_an_error_everything_is_said_again_but_not_before_its_time() {
    let mut rig = Rig::with(&[0]);
    for answered in [true, false] {
        rig.now += INTERVAL;
        rig.send();
        if answered {
            assert!(!rig.refuse(ErrorCode::CoordinatorLoadInProgress));
        } else {
            rig.membership.unanswered("cut off".to_owned());
        }
        rig.membership.retry_at(rig.now + PAUSE);
        assert_eq!(rig.next(), Step::WaitUntil(rig.now + PAUSE));
        rig.now += PAUSE;
        let again = rig.send();
        assert_eq!(again.member_epoch, 1);
        assert_eq!(again.owned, Some(assignment(&[0])));
        assert!(again.topic_names.is_some() && again.rebalance_timeout_ms.is_some());
        rig.accept(1, None);
    }
}

#[test]
fn a_fenced_member_loses_all_and_joins_when_the_caller_knows() {
    for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId] {
        let mut rig = Rig::with(&[0, 1]);
        rig.now += INTERVAL;
        rig.send();
        assert!(rig.refuse(code));
        assert_eq!(rig.owned(), [] as [i32; 0]);
        assert_eq!(rig.membership.member(), None);
        let Pending::Lost(lost) = rig.membership.holdings.pending() else {
            panic!("nothing lost");
        };
        assert_eq!(numbers(&lost), [0, 1]);
        let why = rig.membership.holdings.why_not_owned();
        assert!(why.contains("so there"), "{why}");
        rig.assert_quiet();
        rig.membership.holdings.loss_was_told();
        let joining = rig.send();
        assert_eq!(joining.member_epoch, 0);
        assert_eq!(joining.member_id, "me");
        assert_eq!(joining.owned, Some(vec![]));
    }
}

#[test]
fn a_member_that_stops_polling_leaves_and_comes_back_with_the_next_poll() {
    let mut rig = Rig::with(&[0]);
    // A poll may take as long as it likes.
    for _ in 0..100 {
        rig.now += INTERVAL;
        rig.send();
        rig.accept(1, None);
    }
    rig.membership.poll_ended(rig.now);
    let away = rig.now + MAX_POLL;
    while rig.now + INTERVAL < away {
        rig.now += INTERVAL;
        rig.send();
        rig.accept(1, None);
    }
    assert_eq!(rig.next(), Step::WaitUntil(away));
    rig.now = away;
    assert_eq!(rig.send().member_epoch, -1);
    assert_eq!(rig.owned(), [] as [i32; 0]);
    let why = rig.membership.holdings.why_not_owned();
    assert!(why.contains("max.poll.interval.ms = 60000"), "{why}");
    rig.accept(-1, None);
    assert_eq!(rig.next(), Step::Wait);
    rig.now += MAX_POLL;
    assert!(rig.membership.poll_began(rig.now));
    assert!(matches!(
        rig.membership.holdings.pending(),
        Pending::Lost(_)
    ));
    rig.membership.holdings.loss_was_told();
    assert_eq!(rig.send().member_epoch, 0);
}

#[test]
fn a_poll_that_comes_before_the_farewell_is_answered_joins_again() {
    let mut rig = Rig::with(&[]);
    rig.membership.poll_ended(rig.now);
    rig.now += MAX_POLL;
    assert_eq!(rig.send().member_epoch, -1);
    rig.membership.poll_began(rig.now);
    rig.accept(-1, None);
    assert_eq!(rig.send().member_epoch, 0);
}

#[test]
fn a_member_leaves_for_good_and_a_static_one_for_now() {
    for (instance, epoch) in [(None, -1), (Some("one"), -2)] {
        let mut rig = Rig::new(instance);
        rig.subscribe(&["orders"]);
        assert_eq!(rig.send().instance_id.as_deref(), instance);
        rig.accept(1, Some(&[0]));
        rig.take_all();
        rig.membership.leave(rig.now);
        assert!(rig.membership.is_leaving());
        assert_eq!(rig.owned(), [] as [i32; 0]);
        let farewell = rig.send();
        assert_eq!(farewell.member_epoch, epoch);
        assert_eq!(farewell.instance_id.as_deref(), instance);
        assert_eq!(farewell.owned, None);
        // Whether it was known at all does not matter any more.
        assert!(rig.refuse(ErrorCode::UnknownMemberId));
        assert!(!rig.membership.is_leaving());
        assert_eq!(rig.next(), Step::Wait);
    }
}

#[test]
fn a_farewell_that_may_not_have_been_heard_is_said_again() {
    let mut rig = Rig::with(&[]);
    rig.membership.leave(rig.now);
    rig.send();
    rig.membership.unanswered("cut off".to_owned());
    rig.membership.retry_at(rig.now + PAUSE);
    rig.now += PAUSE;
    assert_eq!(rig.send().member_epoch, -1);
}

#[test]
fn one_who_leaves_before_its_first_heartbeat_has_nobody_to_tell() {
    let mut rig = Rig::subscribed();
    rig.membership.leave(rig.now);
    assert!(!rig.membership.is_leaving());
    assert_eq!(rig.next(), Step::Wait);
}

#[test]
fn an_answer_to_what_is_no_longer_meant_changes_nothing() {
    let mut rig = Rig::with(&[]);
    rig.now += INTERVAL;
    rig.send();
    rig.membership.leave(rig.now);
    rig.accept(2, Some(&[0, 1]));
    assert_eq!(rig.membership.holdings.without_start(), []);
    assert_eq!(rig.send().member_epoch, -1);
}

#[test]
fn another_subscription_is_said_at_once_and_only_that() {
    let mut rig = Rig::with(&[0]);
    rig.subscribe(&["invoices"]);
    let changed = rig.send();
    assert_eq!(changed.member_epoch, 1);
    assert_eq!(changed.topic_names, Some(vec!["invoices".to_owned()]));
    assert_eq!((changed.owned, changed.assignor), (None, None));
}

#[test]
fn a_refusal_for_good_ends_the_membership_until_the_next_subscription() {
    for code in [
        ErrorCode::GroupMaxSizeReached,
        ErrorCode::InvalidRegularExpression,
        ErrorCode::UnsupportedAssignor,
        ErrorCode::FencedInstanceId,
        ErrorCode::InvalidRequest,
    ] {
        let mut rig = Rig::with(&[0]);
        rig.now += INTERVAL;
        rig.send();
        assert!(rig.refuse(code));
        assert_eq!(rig.next(), Step::Wait);
        assert!(matches!(
            rig.membership.holdings.pending(),
            Pending::Lost(_)
        ));
        rig.membership.holdings.loss_was_told();
        for _ in 0..2 {
            let error = rig.membership.error(rig.now, MAX_POLL).expect("refused");
            assert!(
                matches!(&error, GroupError::Refused { code: found, message, .. } if *found == code && message == "so there"),
                "{error}"
            );
            assert!(!error.is_retriable());
        }
        rig.subscribe(&["orders"]);
        assert_eq!(rig.send().member_epoch, 0);
    }
}

#[test]
fn one_who_cannot_join_is_told_so_now_and_then_and_goes_on_trying() {
    let within = Duration::from_secs(10);
    let mut rig = Rig::subscribed();
    rig.send();
    assert!(!rig.refuse(ErrorCode::UnreleasedInstanceId));
    rig.membership.retry_at(rig.now + PAUSE);
    assert!(rig.membership.error(rig.now, within).is_none());
    rig.now += within;
    let error = rig.membership.error(rig.now, within).expect("too long");
    assert!(error.is_retriable());
    let text = error.to_string();
    assert!(
        text.contains("billing") && text.contains("UNRELEASED_INSTANCE_ID"),
        "{text}"
    );
    assert!(rig.membership.error(rig.now, within).is_none());
    assert_eq!(rig.send().member_epoch, 0);
}

#[test]
fn a_coordinator_that_must_be_asked_is_asked_at_once_but_not_against_a_pause() {
    let mut rig = Rig::with(&[]);
    rig.send();
    rig.accept(1, None);
    rig.assert_quiet();
    rig.membership.hurry(rig.now);
    rig.send();
    rig.membership.unanswered("cut off".to_owned());
    rig.membership.retry_at(rig.now + PAUSE);
    rig.membership.hurry(rig.now);
    assert_eq!(rig.next(), Step::WaitUntil(rig.now + PAUSE));
}
