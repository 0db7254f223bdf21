//! What an operator can say about groups.

use millstream_limits as limits;

/// How all groups of a broker behave. The names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members after the first has joined.
    ///
    /// Kafka's 3 seconds make every start slow. A tenth is enough for members that are started together to begin in
    /// one generation, and for a client that joins before it has asked for the topics' partitions to learn of them.
    pub initial_rebalance_delay_ms: u32,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: u32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: u32,
    /// `group.max.size`: members a group may have.
    pub members_max: usize,
    /// `offsets.retention.minutes`, in milliseconds: how long an offset outlives the last sign that it is wanted
    /// (KIP-211).
    pub offsets_retention_ms: u64,
    /// `offsets.retention.check.interval.ms`: how often offsets are looked through for what has expired.
    pub offsets_check_interval_ms: u64,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            initial_rebalance_delay_ms: 100,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            members_max: limits::GROUP_MEMBERS_MAX,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_check_interval_ms: 600_000,
        }
    }
}
