//! Record headers that mean something to Millstream itself.
//!
//! Any producer may set the first group, whatever its protocol; the second is what a dead letter carries. Numbers are
//! decimal ASCII digits, times are milliseconds since the epoch. A value that cannot be read counts as absent: a record
//! is never refused, or lost, for what its headers say.

/// From 0 to 9, the highest first; more counts as 9. For queues with priorities.
pub const PRIORITY: &str = "millstream.priority";

/// When the record is to be delivered at the earliest. For queues with delays.
pub const DELIVER_AT: &str = "millstream.deliver-at";

/// When the record's time to live is over. For queues that mind it.
pub const EXPIRES_AT: &str = "millstream.expires-at";

/// The record's id, any bytes. Queues drop what repeats one, unless they are told not to.
pub const ID: &str = "millstream.id";

/// The queue that a dead letter was in.
pub const DEAD_LETTER_QUEUE: &str = "millstream.dead-letter.queue";

/// The topic that a dead letter was published to.
pub const DEAD_LETTER_TOPIC: &str = "millstream.dead-letter.topic";

/// The partition that a dead letter was in.
pub const DEAD_LETTER_PARTITION: &str = "millstream.dead-letter.partition";

/// The offset that a dead letter had.
pub const DEAD_LETTER_OFFSET: &str = "millstream.dead-letter.offset";

/// Why it is dead: `attempts`, `rejected`, `expired`, `overflow` or `undecodable`.
pub const DEAD_LETTER_REASON: &str = "millstream.dead-letter.reason";

/// How often it was delivered.
pub const DEAD_LETTER_ATTEMPTS: &str = "millstream.dead-letter.attempts";

/// When it was delivered first; absent if never.
pub const DEAD_LETTER_FIRST_DELIVERED_AT: &str = "millstream.dead-letter.first-delivered-at";

/// When it was delivered last; absent if never.
pub const DEAD_LETTER_LAST_DELIVERED_AT: &str = "millstream.dead-letter.last-delivered-at";

/// When it died.
pub const DEAD_LETTER_DEAD_AT: &str = "millstream.dead-letter.dead-at";

/// What all headers of a dead letter start with.
pub const DEAD_LETTER_PREFIX: &str = "millstream.dead-letter.";
