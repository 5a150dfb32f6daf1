//! From a request's frame to the work it asks for, and from the work's end to its reply.

use std::future::Future;
use std::rc::Rc;

use corelog_protocol::ErrorCode;
use corelog_protocol::native::messages::{
    ApiVersionsRequest, ConsumerGroupHeartbeatRequest, ListGroupsRequest,
};
use corelog_protocol::native::{ApiKey, DecodeError, Message};
use futures_util::FutureExt;
use futures_util::future::{Either, LocalBoxFuture};

use super::connection::Connection;
use super::outbox::{Outgoing, Reply};
use super::receiver::Request;
use super::reply_order::Ticket;
use super::server::Server;
use super::{
    alter_topic_configs, api_versions, create_partitions, create_topics, delete_records,
    delete_topics, describe_configs, describe_topics, fetch, groups, init_producer_id,
    list_offsets, metadata, produce, subscribe,
};
use crate::controller::{ControllerError, Outcome};
use crate::listener::close::Close;
use crate::listener::flow::InFlight;
use crate::listener::server::Served;
use crate::partition::Refusal;

/// How a request ends.
pub(super) enum Answer {
    Reply(Reply),
    /// A reply that keeps the order of its partitions.
    Ordered(Order, Ticket, Reply),
    /// The request has no reply.
    Nothing,
    /// Produce with acks=0 that failed.
    Close(Close),
}

/// Which of the connection's orders a ticket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Produce,
    Fetch,
}

/// A request that has been carried out.
pub(super) struct Completion {
    api: u16,
    correlation_id: u32,
    in_flight: InFlight,
    answer: Answer,
}

impl Completion {
    /// Queues the reply, and those that it held back.
    pub(super) fn settle(self, connection: &Connection) {
        let outgoing = |reply| {
            let frame = (self.api, self.correlation_id);
            let outgoing = Outgoing::new(frame, reply, Some(self.in_flight));
            connection.note_held(&outgoing);
            outgoing
        };
        match self.answer {
            Answer::Reply(reply) => connection.outbox.push(outgoing(reply)),
            Answer::Ordered(order, ticket, reply) => {
                let order = match order {
                    Order::Produce => &connection.produce_order,
                    Order::Fetch => &connection.fetch_order,
                };
                order
                    .borrow_mut()
                    .complete(ticket, outgoing(reply), |reply| {
                        connection.outbox.push(reply)
                    });
            }
            Answer::Nothing => {}
            Answer::Close(close) => connection.close(close),
        }
    }
}

impl Request {
    fn complete(self, answer: Answer) -> Completion {
        Completion {
            api: self.header.api,
            correlation_id: self.header.correlation_id,
            in_flight: self.in_flight,
            answer,
        }
    }
}

/// Starts what a request asks for. What must happen in the order of arrival, such as taking a
/// place in a partition's line, has happened when this returns; the future does the rest. `None`
/// when there is no rest: the reply, if any, is queued.
pub(super) fn start(
    connection: &Rc<Connection>,
    mut request: Request,
) -> Option<impl Future<Output = Completion> + use<>> {
    let answer = match begin(connection, &mut request) {
        Ok(Begun::UnderWay(work)) => {
            // The work keeps its own share of what it still needs.
            request.metadata.clear();
            request.payload.clear();
            return Some(work.map(move |answer| request.complete(answer)));
        }
        Ok(Begun::Done(answer)) => answer,
        Err(refusal) => {
            connection.server.note_error(refusal.code);
            Answer::Reply(Reply::error(refusal))
        }
    };
    request.complete(answer).settle(connection);
    connection.flow.sender.wake();
    None
}

enum Begun<F> {
    Done(Answer),
    UnderWay(F),
}

/// Where each API is taken up. A produce is carried out without a box around it; the others are
/// boxed, so that their size is not moved about for every produce.
fn begin(
    connection: &Rc<Connection>,
    request: &mut Request,
) -> Result<Begun<impl Future<Output = Answer> + use<>>, Refusal> {
    let Some(api) = request.header.api_key() else {
        return Err(Refusal::new(
            ErrorCode::UnsupportedVersion,
            format!(
                "there is no API {}; ApiVersions lists those that there are",
                request.header.api
            ),
        ));
    };
    if api != ApiKey::Produce {
        // Only a produce keeps what it received.
        request.charge = None;
        if !request.payload.is_empty() {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!(
                    "{api} has no payload, found {} bytes",
                    request.payload.len()
                ),
            ));
        }
    }
    let server = &connection.server;
    let router = server.router.clone();
    let boxed: LocalBoxFuture<'static, Answer> = match api {
        ApiKey::Produce => {
            let work = produce::start(connection, request)?;
            return Ok(Begun::UnderWay(Either::Left(work)));
        }
        ApiKey::Fetch => fetch::start(connection, request)?.boxed_local(),
        ApiKey::Subscribe => return subscribe::subscribe(connection, request).map(Begun::Done),
        ApiKey::SubscribeCredit => return subscribe::credit(connection, request).map(Begun::Done),
        ApiKey::Unsubscribe => return subscribe::unsubscribe(connection, request).map(Begun::Done),
        ApiKey::ApiVersions => {
            decode::<ApiVersionsRequest>(request)?;
            return Ok(Begun::Done(Answer::Reply(Reply::ApiVersions(
                api_versions::answer(),
            ))));
        }
        ApiKey::Metadata => {
            let metadata = metadata::answer(&router, decode(request)?);
            return Ok(Begun::Done(Answer::Reply(Reply::Metadata(metadata))));
        }
        ApiKey::ListOffsets => {
            let answer = list_offsets::answer(Rc::clone(server), decode(request)?);
            reply(answer, Reply::ListOffsets)
        }
        ApiKey::DeleteRecords => {
            let answer = delete_records::answer(Rc::clone(server), decode(request)?);
            reply(answer, Reply::DeleteRecords)
        }
        ApiKey::InitProducerId => {
            let answer = init_producer_id::answer(Rc::clone(server), decode(request)?);
            reply(answer, Reply::InitProducerId)
        }
        ApiKey::DescribeTopics => {
            let answer = describe_topics::answer(router, decode(request)?);
            reply(answer, Reply::DescribeTopics)
        }
        ApiKey::CreateTopics => {
            let answer = create_topics::answer(router, decode(request)?);
            change(server, answer, Reply::CreateTopics)
        }
        ApiKey::DeleteTopics => {
            let answer = delete_topics::answer(router, decode(request)?);
            change(server, answer, Reply::DeleteTopics)
        }
        ApiKey::AlterTopicConfigs => {
            let answer = alter_topic_configs::answer(router, decode(request)?);
            change(server, answer, Reply::AlterTopicConfigs)
        }
        ApiKey::ConsumerGroupHeartbeat => {
            let sender = connection.group_member();
            let heartbeat: ConsumerGroupHeartbeatRequest = decode(request)?;
            // One that waits for news is no reason for a connection that ends to wait for it.
            let under_way = (heartbeat.wait_ms > 0).then(|| connection.flow.read_under_way());
            let answer = groups::heartbeat(Rc::clone(server), sender, heartbeat);
            let answer = answer.inspect(move |_| drop(under_way));
            reply(answer, Reply::ConsumerGroupHeartbeat)
        }
        ApiKey::OffsetCommit => {
            let answer = groups::commit(Rc::clone(server), decode(request)?);
            reply(answer, Reply::OffsetCommit)
        }
        ApiKey::OffsetFetch => {
            let answer = groups::fetch(Rc::clone(server), decode(request)?);
            reply(answer, Reply::OffsetFetch)
        }
        ApiKey::OffsetDelete => {
            let answer = groups::delete_offsets(Rc::clone(server), decode(request)?);
            reply(answer, Reply::OffsetDelete)
        }
        ApiKey::FindCoordinator => {
            let answer = groups::find_coordinators(Rc::clone(server), decode(request)?);
            reply(answer, Reply::FindCoordinator)
        }
        ApiKey::ListGroups => {
            decode::<ListGroupsRequest>(request)?;
            reply(groups::list(Rc::clone(server)), Reply::ListGroups)
        }
        ApiKey::DescribeGroups => {
            let answer = groups::describe(Rc::clone(server), decode(request)?);
            reply(answer, Reply::DescribeGroups)
        }
        ApiKey::DeleteGroups => {
            let answer = groups::delete(Rc::clone(server), decode(request)?);
            reply(answer, Reply::DeleteGroups)
        }
        ApiKey::CreatePartitions => {
            let answer = create_partitions::answer(router, decode(request)?);
            change(server, answer, Reply::CreatePartitions)
        }
        ApiKey::DescribeConfigs => {
            let described = describe_configs::answer(&router, &server.config, decode(request)?)?;
            return Ok(Begun::Done(Answer::Reply(Reply::DescribeConfigs(
                described,
            ))));
        }
        ApiKey::Hello => {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Hello is the first frame of a connection and comes once",
            ));
        }
        ApiKey::Goodbye => {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Goodbye is the broker's; a client closes its connection",
            ));
        }
    };
    Ok(Begun::UnderWay(Either::Right(boxed)))
}

/// A request that always has a response of its own.
fn reply<T: 'static>(
    answer: impl Future<Output = T> + 'static,
    reply: fn(T) -> Reply,
) -> LocalBoxFuture<'static, Answer> {
    answer
        .map(move |response| Answer::Reply(reply(response)))
        .boxed_local()
}

/// A request to the controller, which may be refused as a whole.
fn change<T: 'static>(
    server: &Rc<Server>,
    answer: impl Future<Output = Result<T, Refusal>> + 'static,
    reply: fn(T) -> Reply,
) -> LocalBoxFuture<'static, Answer> {
    let server = Rc::clone(server);
    let answer = async move {
        Answer::Reply(match answer.await {
            Ok(response) => reply(response),
            Err(refusal) => {
                server.note_error(refusal.code);
                Reply::error(refusal)
            }
        })
    };
    answer.boxed_local()
}

/// Why a command to the controller has no outcome of its own.
pub(super) fn wrong_outcome(outcome: Result<Outcome, ControllerError>) -> Refusal {
    match outcome {
        Err(error) => Refusal::new(error.code(), error.to_string()),
        Ok(outcome) => unreachable!("the controller answers a command with its kind: {outcome:?}"),
    }
}

/// Reads a request's table.
pub(super) fn decode<M: Message>(request: &Request) -> Result<M, Refusal> {
    M::decode(&request.metadata).map_err(refuse)
}

/// What a peer is told about a request that cannot be read.
pub(super) fn refuse(error: DecodeError) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, error.to_string())
}
