//! One request of a connection, from its bytes to its answer.

use std::rc::Rc;

use bytes::Bytes;
use corelog_protocol::ErrorCode;
use corelog_protocol::kafka::{
    KafkaApi, KafkaMessage, RequestHeader, Writer, encode_response_header,
};

use super::connection::Connection;
use super::server::Server;
use super::versions;
use crate::listener::close::Close;
use crate::listener::flow::ReadUnderWay;
use crate::listener::receive_budget::ReceiveCharge;
use crate::partition::FetchedData;

/// What a handler gets.
pub(super) struct Call {
    pub(super) connection: Rc<Connection>,
    pub(super) api: KafkaApi,
    pub(super) version: i16,
    /// What the client calls itself; empty if it does not.
    pub(super) client_id: String,
    correlation_id: i32,
    /// What stands behind the header.
    pub(super) body: Bytes,
    /// Given back with the body.
    charge: Option<ReceiveCharge>,
}

/// How a request ends.
pub(super) enum Answer {
    Reply(Reply),
    /// The request has no reply: a produce with acks=0.
    Nothing,
    Close(Close),
}

/// A response, ready to be sent.
pub(super) struct Reply {
    /// The response's pieces, between which stand the records.
    pub(super) pieces: Vec<Bytes>,
    pub(super) records: Vec<FetchedData>,
}

impl Call {
    /// Reads a request's header.
    ///
    /// # Errors
    /// Nobody can answer it. Kafka closes the connection then, and so does this.
    pub(super) fn new(connection: &Rc<Connection>, request: Bytes) -> Result<Self, Close> {
        let (header, body) = RequestHeader::decode(&request).map_err(Close::BadRequestHeader)?;
        let api = KafkaApi::from_key(header.api_key).filter(|api| versions::of(*api).is_some());
        let Some(api) = api else {
            return Err(Close::UnknownApi {
                key: header.api_key,
                version: header.api_version,
            });
        };
        let is_spoken = versions::of(api).is_some_and(|it| it.contains(&header.api_version));
        // Whoever asks for the versions cannot know those of the question: it gets an answer that it can read.
        if !is_spoken && api != KafkaApi::ApiVersions {
            return Err(Close::ApiVersion {
                api,
                version: header.api_version,
            });
        }
        Ok(Self {
            connection: Rc::clone(connection),
            api,
            version: header.api_version,
            client_id: header.client_id.unwrap_or_default().to_owned(),
            correlation_id: header.correlation_id,
            body: request.slice_ref(body),
            charge: None,
        })
    }

    /// The most that one request of this kind may take. Only a produce brings records.
    pub(super) fn max_bytes(&self) -> usize {
        let limits = self.server().options.frame_limits;
        match self.api {
            KafkaApi::Produce => limits.max_payload as usize,
            _ => limits.max_metadata as usize,
        }
    }

    pub(super) fn charge(&mut self, charge: ReceiveCharge) {
        self.charge = Some(charge);
    }

    /// Gives back the request's bytes, for handlers that wait long and have taken from them what they need.
    pub(super) fn release_body(&mut self) {
        self.body = Bytes::new();
        self.charge = None;
    }

    pub(super) fn server(&self) -> &Rc<Server> {
        &self.connection.server
    }

    /// Held by what may wait for long and changes nothing: a broker that stops does not wait for it.
    pub(super) fn read_under_way(&self) -> ReadUnderWay {
        self.connection.flow.read_under_way()
    }

    /// Reads the request.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn decode<'a, M: KafkaMessage<'a>>(&'a self) -> Result<M, Close> {
        M::decode(&self.body, self.version).map_err(|error| Close::BadRequest {
            api: self.api,
            version: self.version,
            error,
        })
    }

    /// Makes the answer.
    pub(super) fn reply<'a>(&self, response: &impl KafkaMessage<'a>) -> Answer {
        self.reply_with(response, Vec::new())
    }

    /// Makes an answer that holds records, in the order in which the response says that there are some.
    pub(super) fn reply_with<'a>(
        &self,
        response: &impl KafkaMessage<'a>,
        records: Vec<FetchedData>,
    ) -> Answer {
        self.reply_in(self.version, response, records)
    }

    /// As [`Call::reply_with`], in another version than the request's.
    pub(super) fn reply_in<'a>(
        &self,
        version: i16,
        response: &impl KafkaMessage<'a>,
        records: Vec<FetchedData>,
    ) -> Answer {
        let mut writer = Writer::frame();
        encode_response_header(&mut writer, self.api, version, self.correlation_id);
        let written = response
            .encode(&mut writer, version)
            .and_then(|()| writer.finish_frame());
        match written {
            Ok(pieces) => Answer::Reply(Reply { pieces, records }),
            Err(error) => Answer::Close(Close::Unanswerable {
                api: self.api,
                error,
            }),
        }
    }

    /// Counts an error of an answer, and makes a number of it.
    pub(super) fn code(&self, error: ErrorCode) -> i16 {
        self.server().note_error(error);
        error.code()
    }
}
