//! The APIs of the native protocol and the kinds of frames.

use std::fmt;

/// What a request asks for, and what its response answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ApiKey {
    /// The first frame of a connection: versions, cluster and the shard wanted.
    Hello = 1,
    /// Which APIs the broker speaks, at which versions.
    ApiVersions = 2,
    /// Brokers, topics, leaders and shards.
    Metadata = 3,
    /// Creates topics.
    CreateTopics = 4,
    /// Deletes topics.
    DeleteTopics = 5,
    /// Configuration and offsets of topics.
    DescribeTopics = 6,
    /// Changes the configuration of topics.
    AlterTopicConfigs = 7,
    /// The broker is about to close the connection.
    Goodbye = 8,
    /// Adds partitions to topics.
    CreatePartitions = 9,
    /// Settings of topics and brokers, where they come from and what they mean.
    DescribeConfigs = 10,
    /// Appends record batches.
    Produce = 16,
    /// Reads record batches.
    Fetch = 17,
    /// Has record batches pushed as they become readable.
    Subscribe = 18,
    /// Allows a subscription to push more bytes.
    SubscribeCredit = 19,
    /// Ends a subscription.
    Unsubscribe = 20,
    /// Finds offsets by place or time.
    ListOffsets = 21,
    /// Deletes the oldest records of partitions.
    DeleteRecords = 22,
    /// Gives a producer the id by which its retries are known.
    InitProducerId = 23,
    /// Which shard of which broker looks after a group.
    FindCoordinator = 32,
    /// Joins, stays in and leaves a group.
    ConsumerGroupHeartbeat = 33,
    /// Stores how far a group has come.
    OffsetCommit = 34,
    /// Where a group goes on.
    OffsetFetch = 35,
    /// Forgets where a group goes on.
    OffsetDelete = 36,
    /// The groups of a broker.
    ListGroups = 37,
    /// State, members and assignment of groups.
    DescribeGroups = 38,
    /// Deletes groups without members.
    DeleteGroups = 39,
}

impl ApiKey {
    /// Every API, in order of its number.
    pub const ALL: &[Self] = &[
        Self::Hello,
        Self::ApiVersions,
        Self::Metadata,
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::DescribeTopics,
        Self::AlterTopicConfigs,
        Self::Goodbye,
        Self::CreatePartitions,
        Self::DescribeConfigs,
        Self::Produce,
        Self::Fetch,
        Self::Subscribe,
        Self::SubscribeCredit,
        Self::Unsubscribe,
        Self::ListOffsets,
        Self::DeleteRecords,
        Self::InitProducerId,
        Self::FindCoordinator,
        Self::ConsumerGroupHeartbeat,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::OffsetDelete,
        Self::ListGroups,
        Self::DescribeGroups,
        Self::DeleteGroups,
    ];

    /// The number in a frame's header.
    #[inline]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The API with this number.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|api| api.code() == code)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a frame is to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// From the client: the API's request table.
    Request = 1,
    /// From the broker: the API's response table, under the request's correlation id.
    Response = 2,
    /// From the broker: an `ErrorResponse` instead of the response.
    Error = 3,
    /// From the broker, unasked: subscribed records, or a goodbye.
    Push = 4,
}

impl FrameKind {
    /// The number in a frame's header.
    #[inline]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    #[inline]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Request),
            2 => Some(Self::Response),
            3 => Some(Self::Error),
            4 => Some(Self::Push),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for &api in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(api.code()), Some(api));
        }
        assert_eq!(ApiKey::from_code(11), None);
        for code in 1..=4 {
            assert_eq!(FrameKind::from_code(code).map(FrameKind::code), Some(code));
        }
        assert_eq!(FrameKind::from_code(0), None);
        assert_eq!(FrameKind::from_code(5), None);
    }
}
