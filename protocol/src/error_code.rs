//! Kafka's error codes, which both dialects answer with.

use std::fmt;

/// Defines the enum and its tables from one list, so that they cannot disagree.
macro_rules! error_codes {
    ($($name:ident = $code:literal, $kafka:literal, $retriable:literal, $message:literal;)*) => {
        /// Kafka's error codes with Kafka's numbers (`org.apache.kafka.common.protocol.Errors`
        /// as of Kafka 4); the sentences are ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $message] $name = $code,)*
        }

        impl ErrorCode {
            /// Every code, in order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code with this number.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name, for example `UNKNOWN_TOPIC_OR_PARTITION`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $kafka,)*
                }
            }

            /// One sentence that says what is wrong.
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$name => $message,)*
                }
            }

            /// True when the same request may succeed later, perhaps at another broker.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$name => $retriable,)*
                }
            }
        }
    };
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// True for every code but [`ErrorCode::None`].
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::None)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[rustfmt::skip]
error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", false, "The server failed in a way it has no code for.";
    None = 0, "NONE", false, "No error.";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", false, "The offset lies outside the partition's log.";
    CorruptMessage = 2, "CORRUPT_MESSAGE", true, "A batch fails its checksum, has a wrong length or breaks the format.";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", true, "This server hosts no such topic or partition.";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", false, "The size asked for in a fetch is not valid.";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", true, "The partition has no leader at the moment.";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", true, "This broker does not lead, or does not replicate, the partition.";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", true, "The request was not completed in the time it allowed.";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", false, "The broker cannot be reached.";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", true, "The replica is not there for this partition.";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", false, "A batch is larger than the topic allows.";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", false, "The request comes from a controller that was replaced.";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", false, "The text stored with a committed offset is too long.";
    NetworkException = 13, "NETWORK_EXCEPTION", true, "The connection broke before the reply arrived.";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", true, "The coordinator is still loading its state.";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", true, "There is no coordinator at the moment.";
    NotCoordinator = 16, "NOT_COORDINATOR", true, "This broker is not the coordinator asked for.";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", false, "The topic's name is not allowed, or the topic may not be used this way.";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", false, "A batch is larger than a segment may be.";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", true, "Fewer replicas are in sync than the topic requires.";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", true, "The records were appended, but too few replicas are in sync.";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", false, "The acks value is not 0, 1 or all.";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", false, "The group has moved on from this generation.";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", false, "The member shares no assignment protocol with its group.";
    InvalidGroupId = 24, "INVALID_GROUP_ID", false, "The group id is not valid.";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", false, "The coordinator does not know this member.";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", false, "The session time-out is outside the range the broker allows.";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", false, "The group is rebalancing: join again.";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", false, "The committed offset data is too large.";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", false, "The client may not do this with the topic.";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", false, "The client may not do this with the group.";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", false, "The client may not do this with the cluster.";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", false, "A timestamp is outside the range the topic accepts.";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", false, "The server does not offer this SASL mechanism.";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", false, "The request does not fit the state of the authentication.";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", false, "The server does not speak this version of the API.";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", false, "A topic with this name exists.";
    InvalidPartitions = 37, "INVALID_PARTITIONS", false, "The number of partitions is not valid.";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", false, "The replication factor is below 1 or above the number of brokers.";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", false, "The assignment of replicas is not valid.";
    InvalidConfig = 40, "INVALID_CONFIG", false, "A configuration value is not valid.";
    NotController = 41, "NOT_CONTROLLER", true, "This broker is not the active controller.";
    InvalidRequest = 42, "INVALID_REQUEST", false, "The request contradicts itself or the protocol.";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", false, "The topic's record format does not support the request.";
    PolicyViolation = 44, "POLICY_VIOLATION", false, "The cluster's policy forbids the request.";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", false, "A producer's sequence skipped records.";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", false, "The broker already holds this sequence.";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", false, "A newer instance of the producer has taken over.";
    InvalidTxnState = 48, "INVALID_TXN_STATE", false, "The transaction is in a state that does not allow this.";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", false, "The producer id does not belong to this transactional id.";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", false, "The transaction time-out is longer than the broker allows.";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", true, "Another step of this producer's transaction is still under way.";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", false, "A newer transaction coordinator has taken over.";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", false, "The client may not use this transactional id.";
    SecurityDisabled = 54, "SECURITY_DISABLED", false, "The broker runs without the security feature asked for.";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", false, "The operation was not tried, because another part of the request failed.";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", true, "The disk that holds the partition failed.";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", false, "The broker has no such log directory.";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", false, "The credentials were refused.";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", false, "The broker knows nothing of this producer id.";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", false, "The partition is already being reassigned.";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", false, "Delegation tokens are switched off.";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", false, "There is no such delegation token.";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", false, "The delegation token belongs to someone else.";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", false, "Delegation tokens cannot be handled over this connection.";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", false, "The client may not do this with the delegation token.";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", false, "The delegation token has expired.";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", false, "The type of the principal is not supported.";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", false, "The group still has members.";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", false, "There is no such group.";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", true, "The broker has dropped this fetch session.";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", true, "The fetch session is at another epoch.";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", true, "The leader has no listener of the name the request came through.";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", false, "The cluster does not allow topics to be deleted.";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", true, "The request names a leader epoch older than the broker's.";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", true, "The request names a leader epoch newer than the broker's.";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", false, "The codec of a batch is not supported here.";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", false, "The broker was registered again since it sent this.";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", true, "The new leader does not know yet how far the log is readable.";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", false, "The group wants the member to join again under the id it was given.";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", true, "The preferred leader is not available.";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", false, "The group is full.";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", false, "Another member took over this static instance id.";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", true, "No replica that may lead is available.";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", true, "The partition already has the leader asked for.";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", false, "The partition is not being reassigned.";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", false, "The group still reads the topic whose offsets are to be deleted.";
    InvalidRecord = 87, "INVALID_RECORD", false, "A record breaks a rule of the broker or of the topic.";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", true, "A transaction with commits of this group is still open.";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", true, "The client has used up its quota for now.";
    ProducerFenced = 90, "PRODUCER_FENCED", false, "A newer producer with this transactional id has taken over.";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", false, "There is no such resource.";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", false, "The request names a resource twice, or it exists already.";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", false, "The credential does not meet the server's rules.";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", false, "The voters that sender and receiver know differ.";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", false, "The version given for an update is not valid.";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", false, "The feature could not be changed.";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", false, "A forwarded principal could not be read.";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", false, "There is no such snapshot.";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", false, "The position lies outside the snapshot.";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", true, "This server hosts no topic with this id.";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", false, "Another live broker is registered under this id.";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", false, "No broker is registered under this id.";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", true, "The topic's id is not the one on disk.";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", false, "The request is meant for another cluster.";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", false, "There is no such transactional id.";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", true, "The fetch session mixes topic ids and names.";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", false, "The replica may not join the in-sync set.";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", false, "The change of the in-sync set brought a new leader.";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", false, "The offset is only in remote storage by now.";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", false, "The member's epoch is behind: it must give up its partitions and join again.";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", false, "The static instance id is still in use.";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", false, "The group coordinator does not have this assignor.";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", false, "The member must first learn its new epoch.";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", false, "The request went to the wrong type of endpoint.";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", false, "This type of endpoint is not supported.";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", false, "There is no controller with this id.";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", false, "The telemetry subscription is not the current one.";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", false, "The telemetry is larger than the broker accepts.";
    InvalidRegistration = 119, "INVALID_REGISTRATION", false, "The registration contradicts the cluster's state.";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", false, "The transaction failed and can only be aborted.";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", false, "The acknowledged record is in another state.";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", true, "The broker has dropped this share session.";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", true, "The share session is at another epoch.";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", false, "The state of the share group is at a newer epoch.";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", false, "The voter's key is not the receiver's.";
    DuplicateVoter = 126, "DUPLICATE_VOTER", false, "The voter is in the set already.";
    VoterNotFound = 127, "VOTER_NOT_FOUND", false, "The voter is not in the set.";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", false, "The regular expression is not valid.";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", false, "The client must start again from its bootstrap servers.";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", false, "The topology of the streams application is not valid.";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", false, "The epoch of the topology is not valid.";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", false, "The epoch of the topology is behind.";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", true, "The broker holds as many share sessions as it may.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_leave_no_gap() {
        for (code, number) in ErrorCode::ALL.iter().zip(-1..) {
            assert_eq!(code.code(), number, "{code}");
            assert_eq!(ErrorCode::from_code(number), Some(*code));
        }
        assert_eq!(ErrorCode::from_code(-2), None);
        assert_eq!(ErrorCode::from_code(134), None);
    }

    /// The table of a crate that is not ours gives the same name and the same answer about
    /// retries for every number, but for one correction.
    #[test]
    fn numbers_names_and_retries_agree_with_the_kafka_protocol_crate() {
        use kafka_protocol::error::ResponseError;
        for &code in ErrorCode::ALL {
            let Some(theirs) = ResponseError::try_from_code(code.code()) else {
                assert_eq!(code, ErrorCode::None);
                continue;
            };
            assert_eq!(format!("{theirs:?}"), format!("{code:?}"));
            // ConcurrentTransactionsException has been retriable since Kafka 2.8.
            if code != ErrorCode::ConcurrentTransactions {
                assert_eq!(theirs.is_retriable(), code.is_retriable(), "{code}");
            }
        }
    }
}
