//! Messages about the connection itself: Hello, ApiVersions, Goodbye and the error reply.

use flatbuffers::FlatBufferBuilder;

use super::parts::{error_code, write_string};
use crate::native::message::{DecodeError, EncodeMessage, Message, non_negative, optional, root};
use crate::native::{ApiKey, tables};
use crate::{BrokerId, ErrorCode, ShardId};

/// Takes the place of the response to any request, in a frame of kind `Error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    /// What is wrong.
    pub code: ErrorCode,
    /// The particulars, for a person.
    pub message: String,
}

impl ErrorResponse {
    /// Writes the table and finishes the buffer with it.
    pub fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let message = Some(builder.create_string(&self.message));
        let table = tables::ErrorResponse::create(
            builder,
            &tables::ErrorResponseArgs {
                code: self.code.code(),
                message,
            },
        );
        builder.finish_minimal(table);
    }

    /// Verifies and reads the table in a frame's metadata.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::ErrorResponse<'_>>(metadata)?;
        Ok(Self {
            code: error_code(table.code())?,
            message: table.message().to_owned(),
        })
    }
}

/// The first frame of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelloRequest {
    /// The lowest version of the messages that the client speaks.
    pub min_version: u16,
    /// The highest version of the messages that the client speaks.
    pub max_version: u16,
    /// Optional features that the client knows, one bit each.
    pub features: u64,
    /// The client's own name, for logs and quotas.
    pub client_id: String,
    /// Name and version of the client's software.
    pub client_software: String,
    /// The cluster that the client believes to reach.
    pub cluster_id: Option<String>,
    /// The broker that the client believes to reach.
    pub broker_id: Option<BrokerId>,
    /// The shard that should serve the connection; none: any.
    pub shard: Option<ShardId>,
    /// How the client authenticates itself.
    pub auth_mechanism: Option<String>,
    /// The first token of that mechanism.
    pub auth_token: Vec<u8>,
}

impl EncodeMessage for HelloRequest {
    const API: ApiKey = ApiKey::Hello;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let client_id = Some(builder.create_string(&self.client_id));
        let client_software = Some(builder.create_string(&self.client_software));
        let cluster_id = write_string(builder, self.cluster_id.as_deref());
        let auth_mechanism = write_string(builder, self.auth_mechanism.as_deref());
        let auth_token = Some(builder.create_vector(&self.auth_token));
        let table = tables::HelloRequest::create(
            builder,
            &tables::HelloRequestArgs {
                min_version: self.min_version,
                max_version: self.max_version,
                features: self.features,
                client_id,
                client_software,
                cluster_id,
                broker_id: self.broker_id.map(BrokerId::get),
                shard: self.shard.map(ShardId::get),
                auth_mechanism,
                auth_token,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for HelloRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::HelloRequest<'_>>(metadata)?;
        Ok(Self {
            min_version: table.min_version(),
            max_version: table.max_version(),
            features: table.features(),
            client_id: table.client_id().to_owned(),
            client_software: table.client_software().to_owned(),
            cluster_id: table.cluster_id().map(str::to_owned),
            broker_id: optional("broker_id", table.broker_id())?,
            shard: table.shard().map(ShardId::new),
            auth_mechanism: table.auth_mechanism().map(str::to_owned),
            auth_token: table
                .auth_token()
                .map(|token| token.bytes().to_vec())
                .unwrap_or_default(),
        })
    }
}

/// What the connection has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloResponse {
    /// The version of the messages, within the client's range.
    pub version: u16,
    /// Optional features that both sides know, one bit each.
    pub features: u64,
    /// The broker's cluster.
    pub cluster_id: String,
    /// The broker.
    pub broker_id: BrokerId,
    /// The shard that serves the connection from now on.
    pub shard: ShardId,
    /// How many shards the broker has.
    pub shards: u16,
    /// Most bytes of metadata that the broker accepts in one frame.
    pub max_frame_metadata: u32,
    /// Most bytes of payload that the broker accepts in one frame.
    pub max_frame_payload: u32,
}

impl EncodeMessage for HelloResponse {
    const API: ApiKey = ApiKey::Hello;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let cluster_id = Some(builder.create_string(&self.cluster_id));
        let table = tables::HelloResponse::create(
            builder,
            &tables::HelloResponseArgs {
                version: self.version,
                features: self.features,
                cluster_id,
                broker_id: self.broker_id.get(),
                shard: self.shard.get(),
                shards: self.shards,
                max_frame_metadata: self.max_frame_metadata,
                max_frame_payload: self.max_frame_payload,
            },
        );
        builder.finish_minimal(table);
    }
}

impl Message for HelloResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::HelloResponse<'_>>(metadata)?;
        Ok(Self {
            version: table.version(),
            features: table.features(),
            cluster_id: table.cluster_id().to_owned(),
            broker_id: non_negative("broker_id", table.broker_id())?,
            shard: ShardId::new(table.shard()),
            shards: table.shards(),
            max_frame_metadata: table.max_frame_metadata(),
            max_frame_payload: table.max_frame_payload(),
        })
    }
}

/// Asks which APIs the broker speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiVersionsRequest {}

impl EncodeMessage for ApiVersionsRequest {
    const API: ApiKey = ApiKey::ApiVersions;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let table = tables::ApiVersionsRequest::create(builder, &tables::ApiVersionsRequestArgs {});
        builder.finish_minimal(table);
    }
}

impl Message for ApiVersionsRequest {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        root::<tables::ApiVersionsRequest<'_>>(metadata)?;
        Ok(Self {})
    }
}

/// One API and the versions of it that a broker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiVersion {
    /// The API's number; it may be one that this crate does not know.
    pub api: u16,
    /// The lowest version.
    pub min: u16,
    /// The highest version.
    pub max: u16,
}

/// The APIs that the broker speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersionsResponse {
    /// Name and version of the broker's software.
    pub software: String,
    /// Its APIs.
    pub apis: Vec<ApiVersion>,
}

impl EncodeMessage for ApiVersionsResponse {
    const API: ApiKey = ApiKey::ApiVersions;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let software = Some(builder.create_string(&self.software));
        let apis = self
            .apis
            .iter()
            .map(|it| tables::ApiVersion::new(it.api, it.min, it.max));
        let apis = Some(builder.create_vector_from_iter(apis));
        let table = tables::ApiVersionsResponse::create(
            builder,
            &tables::ApiVersionsResponseArgs { software, apis },
        );
        builder.finish_minimal(table);
    }
}

impl Message for ApiVersionsResponse {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::ApiVersionsResponse<'_>>(metadata)?;
        let apis = table.apis().iter().map(|it| ApiVersion {
            api: it.api(),
            min: it.min(),
            max: it.max(),
        });
        Ok(Self {
            software: table.software().to_owned(),
            apis: apis.collect(),
        })
    }
}

/// Pushed before the broker closes the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoodbyePush {
    /// Why, for a person.
    pub reason: String,
}

impl EncodeMessage for GoodbyePush {
    const API: ApiKey = ApiKey::Goodbye;

    fn encode(&self, builder: &mut FlatBufferBuilder<'_>) {
        let reason = Some(builder.create_string(&self.reason));
        let table = tables::GoodbyePush::create(builder, &tables::GoodbyePushArgs { reason });
        builder.finish_minimal(table);
    }
}

impl Message for GoodbyePush {
    fn decode(metadata: &[u8]) -> Result<Self, DecodeError> {
        let table = root::<tables::GoodbyePush<'_>>(metadata)?;
        Ok(Self {
            reason: table.reason().to_owned(),
        })
    }
}
