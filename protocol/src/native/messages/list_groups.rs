//! ListGroups.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::group_parts::{GroupKind, GroupState};
use super::parts::{error_code, read_tables, write_string, write_tables};
use crate::ErrorCode;
use crate::native::message::{DecodeError, EncodeMessage, Message, root};
use crate::native::{ApiKey, tables};

/// Asks for the groups that the broker coordinates, on whichever shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListGroupsRequest {}

impl EncodeMessage for ListGroupsRequest {
    const API: ApiKey = ApiKey::ListGroups;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let table = tables::ListGroupsRequest::create(builder, &tables::ListGroupsRequestArgs {});
        builder.finish_minimal(table);
    }
}

impl Message for ListGroupsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        root::<tables::ListGroupsRequest<'_>>(metadata)?;
        Ok(Self {})
    }
}

/// The groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListGroupsResponse {
    /// Why groups may be missing here: some coordinator could not be asked.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// The groups, in order of their names.
    pub groups: Vec<ListedGroup>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub group: String,
    /// Which protocol its members speak.
    pub kind: GroupKind,
    /// How far it has come.
    pub state: GroupState,
}

impl EncodeMessage for ListGroupsResponse {
    const API: ApiKey = ApiKey::ListGroups;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let error_message = write_string(builder, self.error_message.as_deref());
        let groups = Some(write_tables(builder, &self.groups, ListedGroup::write));
        let table = tables::ListGroupsResponse::create(
            builder,
            &tables::ListGroupsResponseArgs {
                error: self.error.code(),
                error_message,
                groups,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for ListGroupsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::ListGroupsResponse<'_>>(metadata)?;
        Ok(Self {
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            groups: read_tables(table.groups(), ListedGroup::read)?,
        })
    }
}

impl ListedGroup {
    fn write<'a>(&self, builder: &mut FlatBufferBuilder<'a>) -> WIPOffset<tables::ListedGroup<'a>> {
        let group = Some(builder.create_string(&self.group));
        tables::ListedGroup::create(
            builder,
            &tables::ListedGroupArgs {
                group,
                kind: self.kind.write(),
                state: self.state.write(),
            },
        )
    }

    fn read(table: tables::ListedGroup<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            group: table.group().to_owned(),
            kind: GroupKind::read(table.kind())?,
            state: GroupState::read(table.state())?,
        })
    }
}
