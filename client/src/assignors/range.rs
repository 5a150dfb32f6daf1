use super::{PartitionCounts, Shares, Subscriber, empty_shares, in_dealing_order, partitions};

/// Cuts each topic into runs of neighbours, one for each of its subscribers; the first ones get one
/// more where it does not divide. Equal indexes of topics with equally many partitions and the same
/// subscribers meet in one member.
pub fn range(topics: &PartitionCounts, members: &[Subscriber]) -> Shares {
    let mut shares = empty_shares(members);
    let members = in_dealing_order(members);
    for (topic, &count) in topics {
        let subscribers = members.iter().filter(|member| member.subscribes(topic));
        let subscribers: Vec<_> = subscribers.collect();
        if subscribers.is_empty() {
            continue;
        }
        let mut partitions = partitions(topic, count);
        let count = usize::try_from(count).unwrap_or(0);
        let (each, rest) = (count / subscribers.len(), count % subscribers.len());
        for (index, member) in subscribers.into_iter().enumerate() {
            let length = each + usize::from(index < rest);
            let share = shares.entry(member.member_id.clone()).or_default();
            share.extend(partitions.by_ref().take(length));
        }
    }
    shares
}
