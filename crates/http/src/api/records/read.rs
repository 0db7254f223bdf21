//! Reading records back: from an offset or a time on, of one key, or one record raw.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millstream_broker::streams::{
    DeleteBefore, FetchPart, FetchSpec, Fetched, Held, Isolation, OffsetQuery,
};
use millstream_broker::topics::PartitionHandle;
use millstream_limits::{
    BATCH_DECOMPRESSED_BYTES_MAX, HTTP_READ_BYTES_MAX, HTTP_RECORDS_MAX, HTTP_WAIT_MS_MAX,
};
use millstream_record::partitioner::partition_of_key;
use millstream_record::{Codec, Offset, Record, TimestampMs};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::schema::BytesSchema;
use crate::api::topics;
use crate::app::App;
use crate::extract::{InPath, InQuery};
use crate::json::{HeldBytes, JsonBuffer};
use crate::problem::{Kind, Problem};

/// Batches that together are larger than this, or are compressed, are looked at on a thread that may take its time.
const IN_PASSING_BYTES_MAX: usize = 1 << 20;

/// Which records to read.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadQuery {
    /// From this offset on.
    #[param(minimum = 0)]
    offset: Option<i64>,
    /// Or from the first record on that is not earlier than this, in milliseconds since the epoch.
    #[param(minimum = 0)]
    time: Option<i64>,
    /// Or from the `earliest` record (as if left out), or only what is still to come after the `latest`.
    from: Option<From>,
    /// At most so many records.
    #[param(minimum = 1, maximum = 10_000)]
    max: Option<usize>,
    /// About so many bytes of records, but always one record.
    #[param(minimum = 1, maximum = 16_777_216)]
    max_bytes: Option<usize>,
    /// If there is nothing, wait so long for something.
    #[param(maximum = 60_000)]
    wait_ms: Option<u64>,
}

/// Which records of a key to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeyQuery {
    /// The key, as text.
    key: Option<String>,
    /// Or the key in base64.
    key_base64: Option<String>,
    /// In this partition; where a publish with the key goes if left out.
    partition: Option<u32>,
    /// From this offset on; from the earliest record if left out.
    #[param(minimum = 0)]
    offset: Option<i64>,
    /// At most so many records.
    #[param(minimum = 1, maximum = 10_000)]
    max: Option<usize>,
}

/// Which records to delete.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TrimQuery {
    /// Those before this offset; all there are if left out.
    #[param(minimum = 0)]
    before: Option<i64>,
}

/// A place without a number.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = From)]
pub(crate) enum From {
    /// The first record there is.
    Earliest,
    /// Behind the last record.
    Latest,
}

/// Records that were read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadRecords)]
pub(crate) struct ReadSchema {
    /// The topic.
    topic: String,
    /// The partition.
    partition: u32,
    /// The records, in their order.
    records: Vec<ReadRecordSchema>,
    /// Where to go on: the `offset` of the next read.
    next_offset: i64,
    /// The offset of the first record there is.
    earliest: i64,
    /// The offset that the next record will have.
    latest: i64,
}

/// A record that was read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadRecord)]
pub(crate) struct ReadRecordSchema {
    /// The topic.
    topic: String,
    /// The partition.
    partition: u32,
    /// The record's place in the partition.
    offset: i64,
    /// In milliseconds since the epoch.
    timestamp: i64,
    /// The key; null if it has none.
    #[schema(value_type = Option<BytesSchema>)]
    key: (),
    /// The value; null if it has none.
    #[schema(value_type = Option<BytesSchema>)]
    value: (),
    /// By name: text, `{"base64": "…"}` or null; an array of these for a name that occurs more than once.
    #[schema(value_type = std::collections::BTreeMap<String, serde_json::Value>)]
    headers: (),
}

/// What a read wants, checked.
struct Wanted {
    from: Offset,
    records_max: usize,
    bytes_max: usize,
    key: Option<Bytes>,
}

/// What was found, as JSON under way.
struct Found {
    json: JsonBuffer,
    count: usize,
    bytes: usize,
    next: Offset,
    /// The memory of what was read.
    held: Held,
}

/// Read records from one partition, in order.
///
/// With `Accept: application/octet-stream` and an `offset` the answer is that one record's value as it is, with its place, its
/// time and its key, if that can be a header, in `Millstream-` headers. The record's own headers are only in the JSON.
#[utoipa::path(get, path = "/v1/topics/{topic}/partitions/{partition}/records", tag = "records", operation_id = "read",
    params(("topic" = String, Path, description = "The topic's name."), ("partition" = u32, Path, description = "The partition."), ReadQuery),
    responses((status = 200, description = "What there is; nothing if nothing came in time.", content((ReadSchema = "application/json"), (String = "application/octet-stream"))),
        (status = 204, description = "The record has no value (with Accept: application/octet-stream).")))]
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    InPath((name, partition)): InPath<(String, u32)>,
    InQuery(query): InQuery<ReadQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let partition = find(&app, &name, partition)?;
    let wait = wait(query.wait_ms)?;
    if wants_raw(&headers) {
        let Some(offset) = query.offset else {
            return Err(Problem::new(
                Kind::BAD_QUERY,
                "a raw value is asked for by its offset",
            ));
        };
        return raw_value(&app, &partition, Offset(offset), wait).await;
    }
    let wanted = Wanted {
        from: start(&app, &partition, &query).await?,
        records_max: count(query.max)?,
        bytes_max: query
            .max_bytes
            .unwrap_or(HTTP_READ_BYTES_MAX)
            .clamp(1, HTTP_READ_BYTES_MAX),
        key: None,
    };
    answer(&app, &name, &partition, wanted, wait).await
}

/// Read the records of one key, in order.
///
/// Go on from `next_offset` until that is `latest`. A topic with `millstream.key.index` knows where they are, and up to
/// 1,000 come at a time; another one is looked through, a bounded part at a time.
#[utoipa::path(get, path = "/v1/topics/{topic}/records", tag = "records", operation_id = "read_key",
    params(("topic" = String, Path, description = "The topic's name."), KeyQuery),
    responses((status = 200, description = "What was found.", body = ReadSchema)))]
pub(crate) async fn by_key(
    State(app): State<Arc<App>>,
    InPath(name): InPath<String>,
    InQuery(query): InQuery<KeyQuery>,
) -> Result<Response, Problem> {
    let key = match (query.key, query.key_base64) {
        (Some(key), None) => Bytes::from(key),
        (None, Some(encoded)) => BASE64
            .decode(encoded.as_bytes())
            .map(Bytes::from)
            .map_err(|_| Problem::new(Kind::BAD_QUERY, "key_base64 is not base64"))?,
        _ => {
            return Err(Problem::new(
                Kind::BAD_QUERY,
                "name the key, as key or as key_base64; to read all records, use /v1/topics/{topic}/partitions/{partition}/records",
            ));
        }
    };
    let topic = topics::find(&app.broker, &name)?;
    let index = query
        .partition
        .unwrap_or_else(|| partition_of_key(&key, topic.partition_count() as i32) as u32);
    let partition = find(&app, &name, index)?;
    let (from, max) = (query.offset.map(Offset), count(query.max)?);
    let from = from.unwrap_or(partition.offsets().log_start);
    if topic.current().settings.values().key_index {
        return indexed(&app, &name, &partition, &key, from, max).await;
    }
    let wanted = Wanted {
        from,
        records_max: max,
        bytes_max: HTTP_READ_BYTES_MAX,
        key: Some(key),
    };
    answer(&app, &name, &partition, wanted, Duration::ZERO).await
}

/// The same where the topic knows where the records of each key are.
async fn indexed(
    app: &App,
    name: &str,
    partition: &PartitionHandle,
    key: &[u8],
    from: Offset,
    max: usize,
) -> Result<Response, Problem> {
    let held = app.broker.hold(HTTP_READ_BYTES_MAX).await;
    let read = app
        .broker
        .read_key(partition, key, from, max, held.bytes())
        .await?;
    let mut found = Found::new(name, partition.index(), 256 * read.records.len());
    for record in &read.records {
        found.add(name, partition.index(), record);
    }
    found.next = read.next;
    found.held = held;
    Ok(found.into_response(app, partition))
}

/// Delete a partition's first records.
#[utoipa::path(delete, path = "/v1/topics/{topic}/partitions/{partition}/records", tag = "records", operation_id = "delete_records",
    params(("topic" = String, Path, description = "The topic's name."), ("partition" = u32, Path, description = "The partition."), TrimQuery),
    responses((status = 204, description = "They are gone.")))]
pub(crate) async fn trim(
    State(app): State<Arc<App>>,
    InPath((name, partition)): InPath<(String, u32)>,
    InQuery(query): InQuery<TrimQuery>,
) -> Result<StatusCode, Problem> {
    let partition = find(&app, &name, partition)?;
    let before = query.before.map_or(DeleteBefore::HighWatermark, |offset| {
        DeleteBefore::Offset(Offset(offset))
    });
    app.broker.delete_records(&partition, before).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn find(app: &App, name: &str, index: u32) -> Result<PartitionHandle, Problem> {
    let topic = topics::find(&app.broker, name)?;
    topic.partition(index).ok_or_else(|| {
        let count = topic.partition_count();
        Problem::new(
            Kind::UNKNOWN_PARTITION,
            format!("topic {name:?} has no partition {index}; it has {count}, counted from 0"),
        )
    })
}

fn count(max: Option<usize>) -> Result<usize, Problem> {
    match max {
        None => Ok(HTTP_RECORDS_MAX),
        Some(max) if (1..=HTTP_RECORDS_MAX).contains(&max) => Ok(max),
        Some(max) => Err(Problem::new(
            Kind::BAD_QUERY,
            format!("max is {max}; it goes from 1 to {HTTP_RECORDS_MAX}"),
        )),
    }
}

/// How long to wait, checked.
pub(crate) fn wait(wait_ms: Option<u64>) -> Result<Duration, Problem> {
    match wait_ms {
        None => Ok(Duration::ZERO),
        Some(ms) if ms <= HTTP_WAIT_MS_MAX => Ok(Duration::from_millis(ms)),
        Some(ms) => Err(Problem::new(
            Kind::BAD_QUERY,
            format!("wait_ms is {ms}; it goes up to {HTTP_WAIT_MS_MAX}: ask again after that"),
        )),
    }
}

/// Where a read begins.
async fn start(
    app: &App,
    partition: &PartitionHandle,
    query: &ReadQuery,
) -> Result<Offset, Problem> {
    let named = [
        query.offset.is_some(),
        query.time.is_some(),
        query.from.is_some(),
    ];
    if named.iter().filter(|is_named| **is_named).count() > 1 {
        return Err(Problem::new(
            Kind::BAD_QUERY,
            "offset, time and from exclude each other",
        ));
    }
    let offsets = partition.offsets();
    if let Some(offset) = query.offset {
        return Ok(Offset(offset));
    }
    if let Some(time) = query.time {
        let since = OffsetQuery::Since(TimestampMs(time));
        let found = app
            .broker
            .offset_at(partition, since, None, Isolation::ReadCommitted)
            .await?;
        return Ok(found.map_or(offsets.last_stable, |found| found.offset));
    }
    Ok(match query.from {
        Some(From::Latest) => offsets.last_stable,
        Some(From::Earliest) | None => offsets.log_start,
    })
}

/// Reads until something is found or the time is over, and answers.
async fn answer(
    app: &App,
    name: &str,
    partition: &PartitionHandle,
    wanted: Wanted,
    wait: Duration,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + wait;
    let (wanted, topic) = (Arc::new(wanted), Arc::<str>::from(name));
    let mut from = wanted.from;
    loop {
        let fetched = fetch(app, partition, from, wanted.bytes_max, deadline).await?;
        let had_any = !fetched.slices.is_empty();
        let found = render(&topic, partition.index(), &wanted, from, fetched).await?;
        from = found.next;
        // Batches without a record for the reader are passed over, unless only a key is looked for: then it is told how far
        // this went.
        let goes_on = found.count == 0 && had_any && wanted.key.is_none();
        if goes_on {
            continue;
        }
        if found.count == 0
            && Instant::now() < deadline
            && wanted.key.is_none()
            && !app.is_stopping()
        {
            continue;
        }
        return Ok(found.into_response(app, partition));
    }
}

/// Fetches once, waiting until `deadline`, or the server's end, for something to come.
async fn fetch(
    app: &App,
    partition: &PartitionHandle,
    from: Offset,
    bytes_max: usize,
    deadline: Instant,
) -> Result<Fetched, Problem> {
    let spec = |max_wait| FetchSpec {
        parts: vec![FetchPart::of(partition, from, bytes_max)],
        max_bytes: bytes_max,
        min_bytes: 1,
        max_wait,
        isolation: Isolation::ReadCommitted,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let mut parts = tokio::select! {
        parts = app.broker.fetch(spec(left)) => parts,
        () = app.stopped(), if !left.is_zero() => app.broker.fetch(spec(Duration::ZERO)).await,
    };
    let part = parts.pop().expect("one part was asked for");
    Ok(part.result?)
}

/// Writes the records of what was fetched, in place if that is quick.
async fn render(
    topic: &Arc<str>,
    partition: u32,
    wanted: &Arc<Wanted>,
    from: Offset,
    fetched: Fetched,
) -> Result<Found, Problem> {
    let bytes: usize = fetched.slices.iter().map(Bytes::len).sum();
    let is_quick = bytes <= IN_PASSING_BYTES_MAX
        && fetched
            .batches()
            .all(|batch| batch.is_ok_and(|batch| batch.header.codec == Codec::None));
    if is_quick {
        return write(topic, partition, wanted, from, fetched);
    }
    let (topic, wanted) = (Arc::clone(topic), Arc::clone(wanted));
    let writing =
        tokio::task::spawn_blocking(move || write(&topic, partition, &wanted, from, fetched));
    match writing.await {
        Ok(written) => written,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn write(
    topic: &str,
    partition: u32,
    wanted: &Wanted,
    from: Offset,
    fetched: Fetched,
) -> Result<Found, Problem> {
    let bytes: usize = fetched.slices.iter().map(Bytes::len).sum();
    let mut found = Found::new(topic, partition, bytes.min(wanted.bytes_max) * 5 / 4);
    found.next = each_record(&fetched, from, |record| {
        let is_wanted = wanted
            .key
            .as_ref()
            .is_none_or(|key| record.key.as_ref() == Some(key));
        if !is_wanted {
            return ControlFlow::Continue(());
        }
        if found.count > 0 && (found.count >= wanted.records_max || found.bytes >= wanted.bytes_max)
        {
            return ControlFlow::Break(());
        }
        found.add(topic, partition, record);
        ControlFlow::Continue(())
    })?;
    found.held = fetched.held;
    Ok(found)
}

/// Goes through the records from `from` on; returns the offset after the last one that was taken.
fn each_record(
    fetched: &Fetched,
    from: Offset,
    mut take: impl FnMut(&Record) -> ControlFlow<()>,
) -> Result<Offset, Problem> {
    let damaged = |error: millstream_record::BatchError| {
        Problem::new(
            Kind::DAMAGED,
            format!(
                "a stored batch cannot be read: {error}; run `millstream doctor` on the data directory"
            ),
        )
    };
    let mut next = from;
    for batch in fetched.batches() {
        let batch = batch.map_err(damaged)?;
        if !batch.header.control {
            for record in batch.records(BATCH_DECOMPRESSED_BYTES_MAX) {
                let record = record.map_err(damaged)?;
                if record.offset < from {
                    continue;
                }
                if take(&record).is_break() {
                    return Ok(record.offset);
                }
                next = record.offset.next();
            }
        }
        next = next.max(batch.header.next_offset());
    }
    Ok(next)
}

impl Found {
    fn new(topic: &str, partition: u32, bytes: usize) -> Self {
        let mut json = JsonBuffer::with_capacity(256 + bytes);
        json.raw("{\"topic\":");
        json.text(topic);
        json.raw(",\"partition\":");
        json.number(partition);
        json.raw(",\"records\":[");
        Self {
            json,
            count: 0,
            bytes: 0,
            next: Offset::ZERO,
            held: Held::default(),
        }
    }

    fn add(&mut self, topic: &str, partition: u32, record: &Record) {
        if self.count > 0 {
            self.json.raw(",");
        }
        let from = self.json.len();
        self.json.placed_record(topic, partition, record);
        self.bytes += self.json.len() - from;
        self.count += 1;
    }

    fn into_response(self, app: &App, partition: &PartitionHandle) -> Response {
        let offsets = partition.offsets();
        let mut json = self.json;
        json.raw("],\"next_offset\":");
        json.number(self.next.get());
        json.raw(",\"earliest\":");
        json.number(offsets.log_start.get());
        json.raw(",\"latest\":");
        json.number(offsets.last_stable.get());
        json.raw("}");
        json.into_held_response(&app.broker, self.held)
    }
}

/// Whether the client asks for raw bytes rather than JSON.
fn wants_raw(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter();
    accepts
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.trim_start().starts_with("application/octet-stream"))
}

/// One record's value as it is.
async fn raw_value(
    app: &App,
    partition: &PartitionHandle,
    offset: Offset,
    wait: Duration,
) -> Result<Response, Problem> {
    let fetched = fetch(app, partition, offset, 1, Instant::now() + wait).await?;
    let find = move || {
        let mut found = None;
        each_record(&fetched, offset, |record| {
            // Of its own memory: a peer may take its time, and the batch may be the log's.
            found = (record.offset == offset).then(|| record.clone().detached());
            ControlFlow::Break(())
        })?;
        Ok::<_, Problem>((found, fetched.held))
    };
    let (found, mut held) = match tokio::task::spawn_blocking(find).await {
        Ok(found) => found?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let record = found.ok_or_else(|| {
        Problem::new(
            Kind::UNKNOWN_RECORD,
            format!("there is no record at offset {offset}; the JSON form tells where to go on"),
        )
    })?;
    let mut response = match record.value.clone() {
        Some(value) => {
            let content_type = [(header::CONTENT_TYPE, "application/octet-stream")];
            app.broker.recount(&mut held, value.len());
            (content_type, HeldBytes::body(value, held)).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert("millstream-partition", partition.index().into());
    headers.insert("millstream-offset", record.offset.get().into());
    headers.insert("millstream-timestamp", record.timestamp.get().into());
    let key = record.key.as_deref().map(HeaderValue::from_bytes);
    if let Some(Ok(key)) = key {
        headers.insert("millstream-key", key);
    }
    Ok(response)
}
