//! Which response answers which request.

use corelog_protocol::native::{
    AlterTopicConfigsRequest, AlterTopicConfigsResponse, ApiVersionsRequest, ApiVersionsResponse,
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DescribeTopicsRequest, DescribeTopicsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, HelloRequest, HelloResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListGroupsRequest, ListGroupsResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, UnsubscribeRequest, UnsubscribeResponse,
};

use crate::connection::Request;

macro_rules! answered_by {
    ($($request:ty => $response:ty,)*) => {
        $(impl Request for $request {
            type Response = $response;
        })*
    };
}

answered_by! {
    HelloRequest => HelloResponse,
    ApiVersionsRequest => ApiVersionsResponse,
    MetadataRequest => MetadataResponse,
    CreateTopicsRequest => CreateTopicsResponse,
    DeleteTopicsRequest => DeleteTopicsResponse,
    DescribeTopicsRequest => DescribeTopicsResponse,
    AlterTopicConfigsRequest => AlterTopicConfigsResponse,
    CreatePartitionsRequest => CreatePartitionsResponse,
    DescribeConfigsRequest => DescribeConfigsResponse,
    InitProducerIdRequest => InitProducerIdResponse,
    ListOffsetsRequest => ListOffsetsResponse,
    DeleteRecordsRequest => DeleteRecordsResponse,
    UnsubscribeRequest => UnsubscribeResponse,
    FindCoordinatorRequest => FindCoordinatorResponse,
    ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse,
    OffsetCommitRequest => OffsetCommitResponse,
    OffsetFetchRequest => OffsetFetchResponse,
    OffsetDeleteRequest => OffsetDeleteResponse,
    ListGroupsRequest => ListGroupsResponse,
    DescribeGroupsRequest => DescribeGroupsResponse,
    DeleteGroupsRequest => DeleteGroupsResponse,
}
