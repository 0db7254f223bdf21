//! How a queue's policy is described. It is read by the broker's own types; defaults are theirs, and a test compares the rest.

use millstream_broker::queues::policy::QueuePolicy;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, Schema};
use utoipa::openapi::{OpenApi, RefOr};

/// What a queue is told to do. What is left out, or null, has its default.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueuePolicy)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicySchema {
    /// How far the queue looks ahead of delivery, in records: priorities and the order of keys hold within that.
    #[schema(minimum = 1, maximum = 10_000_000)]
    window_records: Option<u64>,
    /// What happens between attempts, and after the last.
    retry: Option<RetrySchema>,
    /// Whether messages that fail for good go to the dead-letter topic; else they are dropped, and counted.
    dead_letters: Option<bool>,
    /// Whether messages are delivered by their priority.
    priorities: Option<bool>,
    /// Whether messages' own delays count.
    delays: Option<bool>,
    /// Every message waits so long after its timestamp.
    #[schema(maximum = 315_360_000_000u64)]
    delay_ms: Option<u64>,
    /// Whether messages' own times to live count.
    record_ttl: Option<bool>,
    /// Every message lives so long from its timestamp; for ever without.
    #[schema(maximum = 315_360_000_000u64)]
    ttl_ms: Option<u64>,
    /// Whether expired messages go to the dead letters, which needs `dead_letters`.
    dead_letter_expired: Option<bool>,
    /// Order and limits by key; none without.
    keys: Option<KeysSchema>,
    /// Messages with an id that was seen so recently are dropped; 0 is never.
    #[schema(maximum = 315_360_000_000u64)]
    dedup_window_ms: Option<u64>,
    /// How many messages the queue may hold; any number without.
    length: Option<LengthSchema>,
    /// How many messages may be held by consumers at a time; any number without.
    #[schema(minimum = 1)]
    in_flight_max: Option<u64>,
    /// How fast messages may be delivered; as fast as it goes without.
    rate: Option<RateSchema>,
    /// Who may receive.
    access: Option<AccessSchema>,
    /// When a consumer that holds nothing and asks for nothing stops being the active one.
    #[schema(maximum = 315_360_000_000u64)]
    consumer_idle_ms: Option<u64>,
}

/// Attempts and the time between them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueRetry)]
#[serde(deny_unknown_fields)]
struct RetrySchema {
    /// After so many deliveries a message that fails again is dead; never without.
    #[schema(minimum = 1, maximum = 4_294_967_295u64)]
    attempts_max: Option<u64>,
    /// How the delay grows.
    backoff: Option<BackoffSchema>,
    /// The delay is at most this; as long as it gets without.
    #[schema(maximum = 315_360_000_000u64)]
    delay_ms_max: Option<u64>,
    /// Up to this part of the delay, in percent, is taken off at random.
    #[schema(maximum = 100)]
    jitter_percent: Option<u64>,
}

/// How the delay before an attempt grows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueBackoff)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes what the broker reads")]
enum BackoffSchema {
    /// Always the same.
    Fixed(DelaySchema),
    /// The same more after each attempt.
    Linear(DelaySchema),
    /// Twice as much after each attempt.
    Exponential(DelaySchema),
}

/// How long it is at first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueDelay)]
#[serde(deny_unknown_fields)]
struct DelaySchema {
    /// The delay after the first attempt.
    #[schema(maximum = 315_360_000_000u64)]
    delay_ms: u64,
}

/// What one key may take.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueKeys)]
#[serde(deny_unknown_fields)]
struct KeysSchema {
    /// Messages of one key on their way at a time; 1 is first in, first out.
    #[schema(minimum = 1, maximum = 4_294_967_295u64)]
    in_flight_max: u64,
    /// The least time between two messages of one key.
    #[schema(maximum = 4_294_967_295u64)]
    interval_ms: u64,
}

/// The most messages a queue holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueLength)]
#[serde(deny_unknown_fields)]
struct LengthSchema {
    /// Messages that are not finished, those that are held included.
    #[schema(minimum = 1)]
    records_max: u64,
    /// What happens beyond.
    overflow: OverflowSchema,
}

/// What happens to a queue that is too long. The oldest are those that nobody holds; `dead_letter_oldest` needs
/// `dead_letters`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueOverflow)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes what the broker reads")]
enum OverflowSchema {
    Refuse,
    DropOldest,
    DeadLetterOldest,
}

/// How fast messages may be delivered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueRate)]
#[serde(deny_unknown_fields)]
struct RateSchema {
    /// Messages a second.
    #[schema(minimum = 1, maximum = 4_294_967_295u64)]
    per_second: u64,
    /// How many may come at once after a pause.
    #[schema(minimum = 1, maximum = 4_294_967_295u64)]
    burst: u64,
}

/// Who may receive: anybody in turn; one consumer, while others are refused; or one while others wait.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueAccess)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes what the broker reads")]
enum AccessSchema {
    Shared,
    Exclusive,
    SingleActive,
}

/// Writes the defaults into the description.
pub(crate) fn add_defaults(document: &mut OpenApi) {
    let Some(components) = &mut document.components else {
        return;
    };
    let policy = serde_json::to_value(QueuePolicy::default());
    let policy = policy.expect("a policy can be written as JSON");
    for (name, defaults) in [("QueueRetry", &policy["retry"]), ("QueuePolicy", &policy)] {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
            add(object, defaults);
        }
    }
}

fn add(object: &mut Object, defaults: &Value) {
    for (name, property) in &mut object.properties {
        let default = defaults.get(name).filter(|default| !default.is_null());
        match property {
            RefOr::T(Schema::Object(one)) => one.default = default.cloned(),
            RefOr::T(Schema::OneOf(one)) => one.default = default.cloned(),
            _ => {}
        }
    }
}
