//! How records to publish are described.

use serde::Serialize;
use utoipa::ToSchema;

/// A record to publish. Its value is a text, any other JSON (which is kept as it is written), or bytes in base64.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Record, example = json!({"key": "customer-7", "value": {"order": 1}, "headers": {"source": "web"}}))]
pub(crate) struct RecordSchema {
    /// Text, or `{"base64": "…"}`.
    #[schema(value_type = Option<BytesSchema>)]
    key: Option<()>,
    /// Any JSON. A string stands for its text, `{"base64": "…"}` for bytes, null for no value (which deletes the key on a
    /// compacted topic); everything else is kept as it is written.
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<()>,
    /// By name: text, `{"base64": "…"}`, null, or an array of these.
    #[schema(value_type = Option<std::collections::BTreeMap<String, serde_json::Value>>)]
    headers: Option<()>,
    /// When it was made, in milliseconds since the epoch; now if left out.
    #[schema(minimum = 0)]
    timestamp: Option<i64>,
    /// Where it goes; the key decides if left out.
    partition: Option<u32>,
    /// From 0 to 9, the highest first, in queues with priorities.
    #[schema(maximum = 9)]
    priority: Option<u8>,
    /// Queues with delays do not deliver it before this time has passed.
    delay_ms: Option<u64>,
    /// Or before this moment, in milliseconds since the epoch.
    #[schema(minimum = 0)]
    deliver_at: Option<i64>,
    /// Queues that mind it let the record expire after this time.
    ttl_ms: Option<u64>,
    /// Or at this moment, in milliseconds since the epoch.
    #[schema(minimum = 0)]
    expires_at: Option<i64>,
    /// Queues drop what repeats an id within their `dedup_window_ms`. Text, or `{"base64": "…"}`.
    #[schema(value_type = Option<BytesSchema>)]
    id: Option<()>,
    /// Where the last record of the key has to be, otherwise nothing is published (412): its offset, or `absent` for a key
    /// without records. For topics with `millstream.key.index`.
    #[schema(value_type = Option<ExpectedSchema>)]
    expected: Option<()>,
}

/// Where the last record of a key has to be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExpectedPosition)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is read by hand")]
pub(crate) enum ExpectedSchema {
    /// At that offset.
    Offset(u64),
    /// Nowhere.
    Absent(AbsentSchema),
}

/// The key has no records.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Absent)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what is read by hand")]
pub(crate) enum AbsentSchema {
    /// The key has no records.
    Absent,
}

/// Text, or bytes in base64.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bytes)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is read and written by hand")]
pub(crate) enum BytesSchema {
    /// Text.
    Text(String),
    /// Bytes that are not text.
    Encoded(EncodedSchema),
}

/// Bytes in base64.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Base64)]
pub(crate) struct EncodedSchema {
    /// The bytes.
    base64: String,
}

/// Several records to publish at once: all of them or none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Records)]
pub(crate) struct RecordsSchema {
    /// The records.
    #[schema(max_items = 10_000)]
    records: Vec<RecordSchema>,
}

/// One record or several.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Publish)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is read by hand")]
pub(crate) enum PublishSchema {
    /// One.
    One(RecordSchema),
    /// Several.
    Several(RecordsSchema),
}
