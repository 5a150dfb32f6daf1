//! DescribeGroups: state, members and assignment of groups.

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::group_parts::{GroupKind, GroupState, TopicPartitions};
use super::parts::{
    error_code, read_strings, read_tables, write_string, write_strings, write_tables,
};
use crate::ErrorCode;
use crate::native::message::{DecodeError, EncodeMessage, Message, root};
use crate::native::{ApiKey, tables};

/// Asks for everything about groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeGroupsRequest {
    /// The groups.
    pub groups: Vec<String>,
}

impl EncodeMessage for DescribeGroupsRequest {
    const API: ApiKey = ApiKey::DescribeGroups;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let groups = Some(write_strings(builder, &self.groups));
        let table = tables::DescribeGroupsRequest::create(
            builder,
            &tables::DescribeGroupsRequestArgs { groups },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DescribeGroupsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DescribeGroupsRequest<'_>>(metadata)?;
        Ok(Self {
            groups: read_strings(table.groups()),
        })
    }
}

/// The groups asked for, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsResponse {
    /// The groups.
    pub groups: Vec<GroupDescription>,
}

/// Everything about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub group: String,
    /// Why there is no more to say of it.
    pub error: ErrorCode,
    /// The particulars, for a person.
    pub error_message: Option<String>,
    /// Which protocol its members speak.
    pub kind: GroupKind,
    /// How far it has come.
    pub state: GroupState,
    /// Its epoch; a classic group's generation.
    pub epoch: i32,
    /// The epoch for which the members' targets were computed; a classic group's generation.
    pub assignment_epoch: i32,
    /// Who computed them; a classic group's assignment protocol, empty while it has none.
    pub assignor: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// One member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// Where it is.
    pub rack_id: Option<String>,
    /// What its program calls itself.
    pub client_id: String,
    /// The address of its connection.
    pub client_host: String,
    /// Its epoch; a classic group's generation.
    pub epoch: i32,
    /// The topics that it subscribes to.
    pub topic_names: Vec<String>,
    /// A regular expression over the names of further topics.
    pub topic_pattern: Option<String>,
    /// The partitions that it has.
    pub assigned: Vec<TopicPartitions>,
    /// The partitions that it should have.
    pub target: Vec<TopicPartitions>,
}

impl GroupDescription {
    /// The answer about a group of which there is no more to say.
    pub fn refused(group: String, error: ErrorCode, error_message: Option<String>) -> Self {
        Self {
            group,
            error,
            error_message,
            kind: GroupKind::default(),
            state: GroupState::default(),
            epoch: 0,
            assignment_epoch: 0,
            assignor: String::new(),
            members: Vec::new(),
        }
    }
}

impl EncodeMessage for DescribeGroupsResponse {
    const API: ApiKey = ApiKey::DescribeGroups;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let groups = Some(write_tables(builder, &self.groups, GroupDescription::write));
        let table = tables::DescribeGroupsResponse::create(
            builder,
            &tables::DescribeGroupsResponseArgs { groups },
        );
        builder.finish_minimal(table);
    }
}

impl Message for DescribeGroupsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::DescribeGroupsResponse<'_>>(metadata)?;
        Ok(Self {
            groups: read_tables(table.groups(), GroupDescription::read)?,
        })
    }
}

impl GroupDescription {
    fn write<'a>(
        &self,
        builder: &mut FlatBufferBuilder<'a>,
    ) -> WIPOffset<tables::GroupDescription<'a>> {
        let group = Some(builder.create_string(&self.group));
        let error_message = write_string(builder, self.error_message.as_deref());
        let assignor = Some(builder.create_string(&self.assignor));
        let members = Some(write_tables(builder, &self.members, GroupMember::write));
        tables::GroupDescription::create(
            builder,
            &tables::GroupDescriptionArgs {
                group,
                error: self.error.code(),
                error_message,
                kind: self.kind.write(),
                state: self.state.write(),
                epoch: self.epoch,
                assignment_epoch: self.assignment_epoch,
                assignor,
                members,
            },
        )
    }

    fn read(table: tables::GroupDescription<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            group: table.group().to_owned(),
            error: error_code(table.error())?,
            error_message: table.error_message().map(str::to_owned),
            kind: GroupKind::read(table.kind())?,
            state: GroupState::read(table.state())?,
            epoch: table.epoch(),
            assignment_epoch: table.assignment_epoch(),
            assignor: table.assignor().to_owned(),
            members: read_tables(table.members(), GroupMember::read)?,
        })
    }
}

impl GroupMember {
    fn write<'a>(&self, builder: &mut FlatBufferBuilder<'a>) -> WIPOffset<tables::GroupMember<'a>> {
        let member_id = Some(builder.create_string(&self.member_id));
        let instance_id = write_string(builder, self.instance_id.as_deref());
        let rack_id = write_string(builder, self.rack_id.as_deref());
        let client_id = Some(builder.create_string(&self.client_id));
        let client_host = Some(builder.create_string(&self.client_host));
        let topic_names = Some(write_strings(builder, &self.topic_names));
        let topic_pattern = write_string(builder, self.topic_pattern.as_deref());
        let assigned = Some(write_tables(
            builder,
            &self.assigned,
            TopicPartitions::write,
        ));
        let target = Some(write_tables(builder, &self.target, TopicPartitions::write));
        tables::GroupMember::create(
            builder,
            &tables::GroupMemberArgs {
                member_id,
                instance_id,
                rack_id,
                client_id,
                client_host,
                epoch: self.epoch,
                topic_names,
                topic_pattern,
                assigned,
                target,
            },
        )
    }

    fn read(table: tables::GroupMember<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            member_id: table.member_id().to_owned(),
            instance_id: table.instance_id().map(str::to_owned),
            rack_id: table.rack_id().map(str::to_owned),
            client_id: table.client_id().to_owned(),
            client_host: table.client_host().to_owned(),
            epoch: table.epoch(),
            topic_names: read_strings(table.topic_names()),
            topic_pattern: table.topic_pattern().map(str::to_owned),
            assigned: read_tables(table.assigned(), TopicPartitions::read)?,
            target: read_tables(table.target(), TopicPartitions::read)?,
        })
    }
}
