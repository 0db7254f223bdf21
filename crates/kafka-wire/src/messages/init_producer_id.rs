//! `InitProducerId`: a producer's id and epoch, for idempotence and transactions (KIP-98, KIP-360).
//!
//! Version 6, for two-phase commit, is not stable in Kafka 4.2, and not here.

use crate::{ErrorCode, Str};

message! {
    /// Asks for an id, or for the next epoch of one.
    message InitProducerIdRequest [0-5, flexible 2+] {
        /// Null from a producer that is only idempotent.
        transactional_id: Option<Str> [0+],
        transaction_timeout_ms: i32 [0+],
        producer_id: i64 [3+] = -1,
        producer_epoch: i16 [3+] = -1,
    }

    /// The id and its epoch.
    message InitProducerIdResponse [0-5, flexible 2+] {
        throttle_time_ms: i32 [0+],
        error_code: ErrorCode [0+],
        producer_id: i64 [0+] = -1,
        producer_epoch: i16 [0+],
    }
}
