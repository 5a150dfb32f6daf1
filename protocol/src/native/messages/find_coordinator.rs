//! FindCoordinator: which shard of which broker looks after a group.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{
    error_code, read_strings, read_tables, write_string, write_strings, write_tables,
};
use crate::native::message::{DecodeError, EncodeMessage, Message, non_negative, root};
use crate::native::{ApiKey, tables};
use crate::{BrokerId, ErrorCode, ShardId};

/// Asks for the coordinators of groups, which need not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindCoordinatorRequest {
    /// The groups.
    pub groups: Vec<String>,
}

impl EncodeMessage for FindCoordinatorRequest {
    const API: ApiKey = ApiKey::FindCoordinator;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let groups = Some(write_strings(builder, &self.groups));
        let table = tables::FindCoordinatorRequest::create(
            builder,
            &tables::FindCoordinatorRequestArgs { groups },
        );
        builder.finish_minimal(table);
    }
}

impl Message for FindCoordinatorRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::FindCoordinatorRequest<'_>>(metadata)?;
        Ok(Self {
            groups: read_strings(table.groups()),
        })
    }
}

/// The coordinators, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindCoordinatorResponse {
    /// One per group.
    pub coordinators: Vec<Coordinator>,
}

/// Who looks after one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinator {
    /// The group.
    pub group: String,
    /// Why there is nobody.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The broker.
    pub broker: BrokerId,
    /// The shard there.
    pub shard: ShardId,
}

impl EncodeMessage for FindCoordinatorResponse {
    const API: ApiKey = ApiKey::FindCoordinator;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let coordinators = Some(write_tables(
            builder,
            &self.coordinators,
            Coordinator::write,
        ));
        let table = tables::FindCoordinatorResponse::create(
            builder,
            &tables::FindCoordinatorResponseArgs { coordinators },
        );
        builder.finish_minimal(table);
    }
}

impl Message for FindCoordinatorResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::FindCoordinatorResponse<'_>>(metadata)?;
        Ok(Self {
            coordinators: read_tables(table.coordinators(), Coordinator::read)?,
        })
    }
}

impl Coordinator {
    fn write<'a>(&self, builder: &mut FlatBufferBuilder<'a>) -> WIPOffset<tables::Coordinator<'a>> {
        let group = Some(builder.create_string(&self.group));
        let error_message = write_string(builder, self.error_message.as_deref());
        tables::Coordinator::create(
            builder,
            &tables::CoordinatorArgs {
                group,
                error: self.error.code(),
                error_message,
                broker: self.broker.get(),
                shard: self.shard.get(),
            },
        )
    }

    fn read(table: tables::Coordinator<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            group: table.group().to_owned(),
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            broker: non_negative("broker", table.broker())?,
            shard: ShardId::new(table.shard()),
        })
    }
}
