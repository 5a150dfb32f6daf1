use super::{PartitionCounts, Shares, Subscriber, empty_shares, in_dealing_order, partitions};

/// Deals all partitions of all topics to the members in turn, past those that did not subscribe to
/// the topic.
pub fn round_robin(topics: &PartitionCounts, members: &[Subscriber]) -> Shares {
    let mut shares = empty_shares(members);
    let members = in_dealing_order(members);
    let mut turn = 0;
    for (topic, &count) in topics {
        if !members.iter().any(|member| member.subscribes(topic)) {
            continue;
        }
        for partition in partitions(topic, count) {
            while !members[turn % members.len()].subscribes(topic) {
                turn += 1;
            }
            let member = members[turn % members.len()];
            turn += 1;
            let share = shares.entry(member.member_id.clone()).or_default();
            share.push(partition);
        }
    }
    shares
}
