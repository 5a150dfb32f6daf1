//! Subscribe: reading by push. The pushes carry a [`FetchResponse`](super::FetchResponse) each.

use flatbuffers::FlatBufferBuilder;

use super::fetch::{FetchPartition, isolation};
use super::parts::read_tables;
use crate::IsolationLevel;
use crate::native::message::{DecodeError, EncodeMessage, Message, root};
use crate::native::{ApiKey, tables};

/// Has record batches pushed, under this request's correlation id, as they become readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// Bytes of payload that may be pushed before more is granted.
    pub credit_bytes: u64,
    /// Most bytes of payload in one push; the first batch comes whole, whatever its size.
    pub max_push_bytes: u32,
    /// Which records may be read.
    pub isolation: IsolationLevel,
    /// Where to start reading.
    pub partitions: Vec<FetchPartition>,
}

impl EncodeMessage for SubscribeRequest {
    const API: ApiKey = ApiKey::Subscribe;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let partitions = Some(FetchPartition::write_all(&self.partitions, builder));
        let table = tables::SubscribeRequest::create(
            builder,
            &tables::SubscribeRequestArgs {
                credit_bytes: self.credit_bytes,
                max_push_bytes: self.max_push_bytes,
                isolation: tables::IsolationLevel(self.isolation.id()),
                partitions,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for SubscribeRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::SubscribeRequest<'_>>(metadata)?;
        Ok(Self {
            credit_bytes: table.credit_bytes(),
            max_push_bytes: table.max_push_bytes(),
            isolation: isolation(table.isolation())?,
            partitions: read_tables(table.partitions(), FetchPartition::read)?,
        })
    }
}

/// The subscription is open. Errors of single partitions arrive as pushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeResponse {}

impl EncodeMessage for SubscribeResponse {
    const API: ApiKey = ApiKey::Subscribe;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let table = tables::SubscribeResponse::create(builder, &tables::SubscribeResponseArgs {});
        builder.finish_minimal(table);
    }
}

impl Message for SubscribeResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        root::<tables::SubscribeResponse<'_>>(metadata)?;
        Ok(Self {})
    }
}

/// Grants more bytes to a subscription. It has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeCreditRequest {
    /// The correlation id of the [`SubscribeRequest`].
    pub subscription: u32,
    /// Bytes of payload that may be pushed on top of what was granted before.
    pub bytes: u64,
}

impl EncodeMessage for SubscribeCreditRequest {
    const API: ApiKey = ApiKey::SubscribeCredit;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let table = tables::SubscribeCreditRequest::create(
            builder,
            &tables::SubscribeCreditRequestArgs {
                subscription: self.subscription,
                bytes: self.bytes,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for SubscribeCreditRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::SubscribeCreditRequest<'_>>(metadata)?;
        Ok(Self {
            subscription: table.subscription(),
            bytes: table.bytes(),
        })
    }
}

/// Ends a subscription: after the response no push of it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeRequest {
    /// The correlation id of the [`SubscribeRequest`].
    pub subscription: u32,
}

impl EncodeMessage for UnsubscribeRequest {
    const API: ApiKey = ApiKey::Unsubscribe;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let table = tables::UnsubscribeRequest::create(
            builder,
            &tables::UnsubscribeRequestArgs {
                subscription: self.subscription,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for UnsubscribeRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::UnsubscribeRequest<'_>>(metadata)?;
        Ok(Self {
            subscription: table.subscription(),
        })
    }
}

/// The subscription has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnsubscribeResponse {}

impl EncodeMessage for UnsubscribeResponse {
    const API: ApiKey = ApiKey::Unsubscribe;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let table =
            tables::UnsubscribeResponse::create(builder, &tables::UnsubscribeResponseArgs {});
        builder.finish_minimal(table);
    }
}

impl Message for UnsubscribeResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        root::<tables::UnsubscribeResponse<'_>>(metadata)?;
        Ok(Self {})
    }
}
