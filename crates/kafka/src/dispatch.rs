//! From a frame to the code that answers it.
//!
//! One table, [`APIS`], says which APIs are served, in which versions and by what. ApiVersions answers from it and the
//! documentation is printed from it, so neither can differ from what is served.
//!
//! A handler is `async fn(Arc<Call>, SomeRequest) -> SomeResponse`. To serve another API, write one under `api/` and add a
//! row. One whose answer grows with what the request names counts the items with [`Call::has_room`]. A request waits as
//! the bytes it was read as, which the connection counts, until the requests before it are answered;
//! then it is decoded and handled. Produce alone is begun at once, see [`crate::api::produce`], and even that not before what
//! may change its topics is done: clients are promised that a connection's requests take effect in order. Fetch has an
//! answer of its own, because its records hold memory until they are sent.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use millstream_broker::streams::Held;
use millstream_kafka_wire::api::encode_response;
use millstream_kafka_wire::messages::ProduceRequest;
use millstream_kafka_wire::{
    ApiKey, DecodeError, Message, Reader, Request, RequestHeader, Response, Str, VersionRange,
};
use millstream_limits::KAFKA_ANSWER_BYTES_MAX;
use tokio::task::coop::consume_budget;

use crate::api;
use crate::connection::{Answer, Answering, Order};
use crate::server::Server;

/// What a handler is told beside the request itself.
pub(crate) struct Call {
    /// Everything the connections share.
    pub(crate) server: Arc<Server>,
    /// The request's version, which its response has too.
    pub(crate) version: i16,
    /// What the client calls itself.
    pub(crate) client_id: Option<Str>,
    /// Where the client is.
    pub(crate) peer: SocketAddr,
    correlation_id: i32,
    /// What the answer's items take so far, see [`has_room`](Call::has_room).
    answer_bytes: AtomicUsize,
}

/// One served API.
pub(crate) struct Api {
    /// Which.
    pub(crate) key: ApiKey,
    /// The versions served, which are also those advertised but for Produce.
    pub(crate) versions: VersionRange,
    start: Start,
}

/// How a request of an API begins.
enum Start {
    /// It waits for its turn on the connection.
    InTurn(InTurn),
    /// The same, and because it may change what a Produce finds, none behind it is begun before it is done.
    Fence(InTurn),
    /// Its records are appended at once, so that requests in flight share one sync.
    AtOnce,
}

/// Makes a call and the request's bytes into what is done in its turn.
type InTurn = fn(Call, Bytes) -> Answering;

/// Writes a row: the API, its versions, how it begins and its handler.
macro_rules! api {
    ($key:ident, $min:literal..=$max:literal, $start:ident($handler:path)) => {
        Api {
            key: ApiKey::$key,
            versions: VersionRange {
                min: $min,
                max: $max,
            },
            start: Start::$start(|call, body| in_turn(call, body, $handler)),
        }
    };
}

/// Every API that is served, by ascending number.
pub(crate) const APIS: &[Api] = &[
    Api {
        key: ApiKey::Produce,
        versions: VersionRange { min: 3, max: 13 },
        start: Start::AtOnce,
    },
    Api {
        key: ApiKey::Fetch,
        versions: VersionRange { min: 4, max: 18 },
        start: Start::InTurn(api::fetch::start),
    },
    api!(ListOffsets, 1..=11, InTurn(api::offsets::list_offsets)),
    api!(Metadata, 0..=13, Fence(api::metadata::metadata)),
    api!(OffsetCommit, 2..=10, InTurn(api::groups::offset_commit)),
    api!(OffsetFetch, 1..=10, InTurn(api::groups::offset_fetch)),
    api!(
        FindCoordinator,
        0..=6,
        InTurn(api::groups::find_coordinator)
    ),
    api!(JoinGroup, 0..=9, InTurn(api::groups::join_group)),
    api!(Heartbeat, 0..=4, InTurn(api::groups::heartbeat)),
    api!(LeaveGroup, 0..=5, InTurn(api::groups::leave_group)),
    api!(SyncGroup, 0..=5, InTurn(api::groups::sync_group)),
    api!(DescribeGroups, 0..=6, InTurn(api::groups::describe_groups)),
    api!(ListGroups, 0..=5, InTurn(api::groups::list_groups)),
    api!(ApiVersions, 0..=4, InTurn(api::versions::api_versions)),
    api!(CreateTopics, 0..=7, Fence(api::topics::create_topics)),
    api!(DeleteTopics, 0..=6, Fence(api::topics::delete_topics)),
    api!(DeleteRecords, 0..=2, Fence(api::offsets::delete_records)),
    api!(
        InitProducerId,
        0..=5,
        InTurn(api::producers::init_producer_id)
    ),
    api!(
        OffsetForLeaderEpoch,
        0..=4,
        InTurn(api::offsets::offset_for_leader_epoch)
    ),
    api!(
        DescribeConfigs,
        0..=4,
        InTurn(api::configs::describe_configs)
    ),
    api!(AlterConfigs, 0..=2, Fence(api::configs::alter_configs)),
    api!(
        DescribeLogDirs,
        0..=4,
        InTurn(api::log_dirs::describe_log_dirs)
    ),
    api!(
        CreatePartitions,
        0..=3,
        Fence(api::topics::create_partitions)
    ),
    api!(DeleteGroups, 0..=2, InTurn(api::groups::delete_groups)),
    api!(
        IncrementalAlterConfigs,
        0..=1,
        Fence(api::configs::incremental_alter_configs)
    ),
    api!(OffsetDelete, 0..=0, InTurn(api::groups::offset_delete)),
    api!(
        DescribeCluster,
        0..=2,
        InTurn(api::cluster::describe_cluster)
    ),
    api!(
        ListConfigResources,
        0..=1,
        InTurn(api::configs::list_config_resources)
    ),
    api!(
        DescribeTopicPartitions,
        0..=0,
        InTurn(api::metadata::describe_topic_partitions)
    ),
];

/// The place in [`APIS`] of what the request in `frame` asks for, if it is there.
pub(crate) fn operation(frame: &[u8]) -> Option<usize> {
    let key = i16::from_be_bytes(*frame.first_chunk()?);
    APIS.iter().position(|api| api.key.number() == key)
}

/// How a request of the API at that place in [`APIS`] stands to the others of its connection.
pub(crate) fn order(operation: Option<usize>) -> Order {
    match operation.map(|place| &APIS[place].start) {
        Some(Start::AtOnce) => Order::AtOnce,
        Some(Start::Fence(_)) => Order::Fence,
        Some(Start::InTurn(_)) | None => Order::InTurn,
    }
}

/// Starts the request in `frame`. Requests of a connection are started in the order they arrived in, one that begins at
/// once when no fence is before it any more.
pub(crate) async fn start(server: &Arc<Server>, peer: SocketAddr, frame: Bytes) -> Answering {
    match try_start(server, peer, frame).await {
        Ok(answering) => answering,
        Err(fault) => Answering::Now(fault.close()),
    }
}

/// A request after which nothing on the connection can be understood.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("a request cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    #[error("the API with key {key} is not served")]
    UnknownApi { key: i16 },
    #[error("{} version {version} is not served, only {} to {} are", api.name(), served.min, served.max)]
    UnknownVersion {
        api: ApiKey,
        version: i16,
        served: VersionRange,
    },
}

impl Fault {
    fn close(&self) -> Answer {
        Answer::Close(self.to_string().into())
    }
}

async fn try_start(
    server: &Arc<Server>,
    peer: SocketAddr,
    frame: Bytes,
) -> Result<Answering, Fault> {
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::decode(&mut reader)?;
    let api = APIS
        .iter()
        .find(|api| api.key.number() == header.api_key)
        .ok_or(Fault::UnknownApi {
            key: header.api_key,
        })?;
    let call = Call {
        server: Arc::clone(server),
        version: header.api_version,
        // A copy: the original would keep the whole frame in memory for as long as the call lives.
        client_id: header.client_id.as_deref().map(Str::from),
        peer,
        correlation_id: header.correlation_id,
        answer_bytes: AtomicUsize::new(0),
    };
    if !api.versions.contains(call.version) {
        return match api.key {
            ApiKey::ApiVersions => Ok(Answering::Now(
                call.answer_at(0, &api::versions::unsupported()),
            )),
            ApiKey::Produce => Ok(api::produce::unsupported_version(call, &mut reader)?),
            api_key => Err(Fault::UnknownVersion {
                api: api_key,
                version: call.version,
                served: api.versions,
            }),
        };
    }
    match api.start {
        Start::InTurn(start) | Start::Fence(start) => {
            let body = frame.len() - reader.remaining();
            Ok(start(call, frame.slice(body..)))
        }
        Start::AtOnce => {
            let request = ProduceRequest::decode(&mut reader, call.version)?;
            Ok(api::produce::start(call, request).await)
        }
    }
}

/// Leaves everything to be done in its turn.
fn in_turn<Q, H, F>(call: Call, body: Bytes, handler: H) -> Answering
where
    Q: Request + Send + 'static,
    Q::Response: Send,
    H: FnOnce(Arc<Call>, Q) -> F + Send + 'static,
    F: Future<Output = Q::Response> + Send,
{
    let call = Arc::new(call);
    Answering::Later(Box::pin(async move {
        match call.decode(body) {
            Ok(request) => {
                let response = handler(Arc::clone(&call), request).await;
                call.answer(&response)
            }
            Err(close) => close,
        }
    }))
}

impl Call {
    /// Reads the request from what follows the header, or says why the connection closes.
    pub(crate) fn decode<Q: Request>(&self, body: Bytes) -> Result<Q, Answer> {
        let decoded = Q::decode(&mut Reader::new(&body), self.version);
        // From here on the frame is there for as long as the request has slices of it.
        drop(body);
        decoded.map_err(|error| Fault::from(error).close())
    }

    /// Counts an item of `bytes` towards the answer, and lets others have a turn now and then. Once it says no, the answer
    /// would be larger than any may be and the connection closes instead, so that the handler need not go on.
    pub(crate) async fn has_room(&self, bytes: usize) -> bool {
        consume_budget().await;
        self.answer_bytes.fetch_add(bytes, Ordering::Relaxed);
        !self.is_too_large()
    }

    fn is_too_large(&self) -> bool {
        self.answer_bytes.load(Ordering::Relaxed) > KAFKA_ANSWER_BYTES_MAX
    }

    /// The answer that carries `response`, whose records `held` counts.
    pub(crate) fn answer_records<R: Response>(&self, response: &R, held: Held) -> Answer {
        match self.answer(response) {
            Answer::Send(frame) => Answer::SendRecords(frame, held),
            answer => answer,
        }
    }

    /// The answer that carries `response`.
    pub(crate) fn answer<R: Response>(&self, response: &R) -> Answer {
        self.answer_at(self.version, response)
    }

    /// The same at another version than the request's.
    fn answer_at<R: Response>(&self, version: i16, response: &R) -> Answer {
        if self.is_too_large() {
            let api = R::API.name();
            let reason = format!(
                "the answer to a {api} request would take more than {KAFKA_ANSWER_BYTES_MAX} bytes; \
                 ask for fewer things at a time"
            );
            return Answer::Close(reason.into());
        }
        match encode_response(response, self.correlation_id, version) {
            Ok(frame) => Answer::Send(frame),
            Err(error) => {
                Answer::Close(format!("a {} cannot be encoded: {error}", R::API.name()).into())
            }
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("key", &self.key)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_within_what_the_codec_knows() {
        assert!(
            APIS.windows(2)
                .all(|pair| pair[0].key.number() < pair[1].key.number())
        );
        for api in APIS {
            let known = api.key.versions();
            assert!(known.contains(api.versions.min), "{api:?}");
            assert!(known.contains(api.versions.max), "{api:?}");
        }
    }
}
