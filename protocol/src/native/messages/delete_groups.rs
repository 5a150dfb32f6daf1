//! DeleteGroups: forgetting groups that have no members, and their offsets.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::parts::{
    error_code, read_strings, read_tables, write_string, write_strings, write_tables,
};
use crate::ErrorCode;
use crate::native::message::{DecodeError, EncodeMessage, Message, root};
use crate::native::{ApiKey, tables};

/// Deletes groups without members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteGroupsRequest {
    /// The groups.
    pub groups: Vec<String>,
}

impl EncodeMessage for DeleteGroupsRequest {
    const API: ApiKey = ApiKey::DeleteGroups;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let groups = Some(write_strings(builder, &self.groups));
        let table = tables::DeleteGroupsRequest::create(
            builder,
            &tables::DeleteGroupsRequestArgs { groups },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DeleteGroupsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DeleteGroupsRequest<'_>>(metadata)?;
        Ok(Self {
            groups: read_strings(table.groups()),
        })
    }
}

/// What became of each group, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroupsResponse {
    /// The groups.
    pub groups: Vec<DeletedGroup>,
}

/// One group that was deleted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedGroup {
    /// Its name.
    pub group: String,
    /// Why it was not deleted.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
}

impl EncodeMessage for DeleteGroupsResponse {
    const API: ApiKey = ApiKey::DeleteGroups;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let groups = Some(write_tables(builder, &self.groups, DeletedGroup::write));
        let table = tables::DeleteGroupsResponse::create(
            builder,
            &tables::DeleteGroupsResponseArgs { groups },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DeleteGroupsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DeleteGroupsResponse<'_>>(metadata)?;
        Ok(Self {
            groups: read_tables(table.groups(), DeletedGroup::read)?,
        })
    }
}

impl DeletedGroup {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::DeletedGroup<'a>> {
        let group = Some(builder.create_string(&self.group));
        let error_message = write_string(builder, self.error_message.as_deref());
        tables::DeletedGroup::create(
            builder,
            &tables::DeletedGroupArgs {
                group,
                error: self.error.code(),
                error_message,
            },
        )
    }

    fn read(table: tables::DeletedGroup<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            group: table.group().to_owned(),
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
        })
    }
}
