//! The APIs this codec knows, and whole frames of them.

use bytes::Bytes;

use crate::error::{DecodeError, DecodeReason, EncodeError};
use crate::frame::Frame;
use crate::header::{RequestHeader, ResponseHeader};
#[allow(clippy::wildcard_imports)]
use crate::messages::*;
use crate::reader::Reader;
use crate::wire::{Message, VersionRange};
use crate::writer::Writer;

/// A message that a client sends.
pub trait Request: Message {
    /// Its API.
    const API: ApiKey;
    /// What it is answered with, at the same version.
    type Response: Response;
}

/// A message that answers a [`Request`].
pub trait Response: Message {
    /// Its API.
    const API: ApiKey;
}

/// Hands the list of APIs to the macro `$then`: name, number, request, response. This is the one place that lists
/// them; the property tests and the fuzz targets go by it too, so that no message escapes them.
#[macro_export]
#[doc(hidden)]
macro_rules! each_api {
    ($then:ident) => {
        $then! {
            Produce = 0, ProduceRequest, ProduceResponse;
            Fetch = 1, FetchRequest, FetchResponse;
            ListOffsets = 2, ListOffsetsRequest, ListOffsetsResponse;
            Metadata = 3, MetadataRequest, MetadataResponse;
            OffsetCommit = 8, OffsetCommitRequest, OffsetCommitResponse;
            OffsetFetch = 9, OffsetFetchRequest, OffsetFetchResponse;
            FindCoordinator = 10, FindCoordinatorRequest, FindCoordinatorResponse;
            JoinGroup = 11, JoinGroupRequest, JoinGroupResponse;
            Heartbeat = 12, HeartbeatRequest, HeartbeatResponse;
            LeaveGroup = 13, LeaveGroupRequest, LeaveGroupResponse;
            SyncGroup = 14, SyncGroupRequest, SyncGroupResponse;
            DescribeGroups = 15, DescribeGroupsRequest, DescribeGroupsResponse;
            ListGroups = 16, ListGroupsRequest, ListGroupsResponse;
            ApiVersions = 18, ApiVersionsRequest, ApiVersionsResponse;
            CreateTopics = 19, CreateTopicsRequest, CreateTopicsResponse;
            DeleteTopics = 20, DeleteTopicsRequest, DeleteTopicsResponse;
            DeleteRecords = 21, DeleteRecordsRequest, DeleteRecordsResponse;
            InitProducerId = 22, InitProducerIdRequest, InitProducerIdResponse;
            OffsetForLeaderEpoch = 23, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
            DescribeConfigs = 32, DescribeConfigsRequest, DescribeConfigsResponse;
            AlterConfigs = 33, AlterConfigsRequest, AlterConfigsResponse;
            DescribeLogDirs = 35, DescribeLogDirsRequest, DescribeLogDirsResponse;
            CreatePartitions = 37, CreatePartitionsRequest, CreatePartitionsResponse;
            DeleteGroups = 42, DeleteGroupsRequest, DeleteGroupsResponse;
            IncrementalAlterConfigs = 44, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
            OffsetDelete = 47, OffsetDeleteRequest, OffsetDeleteResponse;
            DescribeCluster = 60, DescribeClusterRequest, DescribeClusterResponse;
            ListConfigResources = 74, ListConfigResourcesRequest, ListConfigResourcesResponse;
            DescribeTopicPartitions = 75, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
        }
    };
}

macro_rules! define_apis {
    ($($name:ident = $number:literal, $request:ident, $response:ident;)*) => {
        /// An API of the protocol that this codec knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $number,)*
        }

        impl ApiKey {
            /// All of them, by ascending number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The API of a number.
            pub const fn from_number(number: i16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in Kafka.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The versions that this codec reads and writes, of the request and the response alike.
            pub const fn versions(self) -> VersionRange {
                match self {
                    $(Self::$name => $request::VERSIONS,)*
                }
            }

            const fn flexible_from(self) -> i16 {
                match self {
                    $(Self::$name => $request::FLEXIBLE_FROM,)*
                }
            }
        }

        $(
            impl Request for $request {
                const API: ApiKey = ApiKey::$name;
                type Response = $response;
            }

            impl Response for $response {
                const API: ApiKey = ApiKey::$name;
            }
        )*

        /// A request of any API.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub enum AnyRequest {
            $($name($request),)*
        }

        impl AnyRequest {
            /// Reads the body of a request.
            pub fn decode(reader: &mut Reader<'_>, api: ApiKey, version: i16) -> Result<Self, DecodeError> {
                match api {
                    $(ApiKey::$name => $request::decode(reader, version).map(Self::$name),)*
                }
            }

            /// Writes the body.
            pub fn encode(&self, writer: &mut Writer, version: i16) {
                match self {
                    $(Self::$name(request) => request.encode(writer, version),)*
                }
            }

            /// Its API.
            pub const fn api(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }
        }

        $(
            impl From<$request> for AnyRequest {
                fn from(request: $request) -> Self {
                    Self::$name(request)
                }
            }

            impl From<$response> for AnyResponse {
                fn from(response: $response) -> Self {
                    Self::$name(response)
                }
            }
        )*

        /// A response of any API.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub enum AnyResponse {
            $($name($response),)*
        }

        impl AnyResponse {
            /// Reads the body of a response.
            pub fn decode(reader: &mut Reader<'_>, api: ApiKey, version: i16) -> Result<Self, DecodeError> {
                match api {
                    $(ApiKey::$name => $response::decode(reader, version).map(Self::$name),)*
                }
            }

            /// Writes the body.
            pub fn encode(&self, writer: &mut Writer, version: i16) {
                match self {
                    $(Self::$name(response) => response.encode(writer, version),)*
                }
            }

            /// Its API.
            pub const fn api(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            /// The whole frame of the response to a request of `version`.
            pub fn to_frame(&self, correlation_id: i32, version: i16) -> Result<Frame, EncodeError> {
                match self {
                    $(Self::$name(response) => encode_response(response, correlation_id, version),)*
                }
            }
        }
    };
}

each_api!(define_apis);

impl ApiKey {
    /// The number on the wire.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// The version of the header before a request of `version`.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if version >= self.flexible_from() {
            2
        } else {
            1
        }
    }

    /// The version of the header before a response of `version`. It is always 0 for `ApiVersions`: a client that asks
    /// for a version the broker does not know has to be able to read the answer (KIP-511).
    pub const fn response_header_version(self, version: i16) -> i16 {
        if matches!(self, Self::ApiVersions) || version < self.flexible_from() {
            0
        } else {
            1
        }
    }
}

/// Reads a whole request: `frame` is without its length prefix.
pub fn decode_any_request(frame: &Bytes) -> Result<(RequestHeader, AnyRequest), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader)?;
    let api = header.api().ok_or_else(|| {
        DecodeError::in_message(
            "RequestHeader",
            DecodeReason::UnsupportedApi(header.api_key),
        )
    })?;
    let request = AnyRequest::decode(&mut reader, api, header.api_version)?;
    Ok((header, request))
}

/// The frame of a request, at `version`.
pub fn encode_request<R: Request>(
    request: &R,
    correlation_id: i32,
    client_id: Option<crate::Str>,
    version: i16,
) -> Result<Frame, EncodeError> {
    let mut writer = Writer::new();
    RequestHeader {
        api_key: R::API.number(),
        api_version: version,
        correlation_id,
        client_id,
    }
    .encode(&mut writer);
    request.encode(&mut writer, version);
    writer.finish()
}

/// The frame of the response to a request of `version`.
pub fn encode_response<R: Response>(
    response: &R,
    correlation_id: i32,
    version: i16,
) -> Result<Frame, EncodeError> {
    let mut writer = Writer::new();
    ResponseHeader { correlation_id }.encode(&mut writer, R::API, version);
    response.encode(&mut writer, version);
    writer.finish()
}

/// Reads the response to a request of `version`: `frame` is without its length prefix.
pub fn decode_response<R: Response>(
    frame: &Bytes,
    version: i16,
) -> Result<(ResponseHeader, R), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, R::API, version)?;
    let response = R::decode(&mut reader, version)?;
    Ok((header, response))
}
