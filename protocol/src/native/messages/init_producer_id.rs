//! InitProducerId: the id by which the broker tells a retry from a new record (KIP-98).

use flatbuffers::FlatBufferBuilder;

use super::parts::{error_code, write_string};
use crate::native::message::{DecodeError, EncodeMessage, Message, non_negative, root};
use crate::native::{ApiKey, tables};
use crate::{ErrorCode, ProducerEpoch, ProducerId};

/// Asks for a producer id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InitProducerIdRequest {
    /// The id and epoch that the producer has, which then keeps its id and gets the next epoch;
    /// none: a new id.
    pub current: Option<(ProducerId, ProducerEpoch)>,
}

impl EncodeMessage for InitProducerIdRequest {
    const API: ApiKey = ApiKey::InitProducerId;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let table = tables::InitProducerIdRequest::create(
            builder,
            &tables::InitProducerIdRequestArgs {
                producer_id: self.current.map(|(id, _)| id.get()),
                producer_epoch: self.current.map(|(_, epoch)| epoch.get()),
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for InitProducerIdRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::InitProducerIdRequest<'_>>(metadata)?;
        let current = match (table.producer_id(), table.producer_epoch()) {
            (None, None) => None,
            (Some(id), Some(epoch)) => Some((
                non_negative("producer_id", id)?,
                non_negative("producer_epoch", epoch)?,
            )),
            (Some(_), None) | (None, Some(_)) => {
                return Err(DecodeError::Inconsistent {
                    table: "InitProducerIdRequest",
                    rule: "producer_id and producer_epoch must both be present or both be absent",
                });
            }
        };
        Ok(Self { current })
    }
}

/// The producer's id and epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerIdResponse {
    /// Why there is none.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The id.
    pub producer_id: ProducerId,
    /// The epoch; lower ones of this id are fenced.
    pub producer_epoch: ProducerEpoch,
}

impl EncodeMessage for InitProducerIdResponse {
    const API: ApiKey = ApiKey::InitProducerId;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let error_message = write_string(builder, self.error_message.as_deref());
        let table = tables::InitProducerIdResponse::create(
            builder,
            &tables::InitProducerIdResponseArgs {
                error: self.error.code(),
                error_message,
                producer_id: self.producer_id.get(),
                producer_epoch: self.producer_epoch.get(),
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for InitProducerIdResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::InitProducerIdResponse<'_>>(metadata)?;
        Ok(Self {
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            producer_id: non_negative("producer_id", table.producer_id())?,
            producer_epoch: non_negative("producer_epoch", table.producer_epoch())?,
        })
    }
}
