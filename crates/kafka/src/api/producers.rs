//! InitProducerId: ids for idempotent producers.

use std::sync::Arc;

use millstream_kafka_wire::ErrorCode;
use millstream_kafka_wire::messages::{InitProducerIdRequest, InitProducerIdResponse};

use crate::dispatch::Call;
use crate::errors::Refusal;

/// What a transactional id is answered with until transactions are served. Both the Java client and librdkafka take
/// it as fatal and stop at once, where most other codes would make them try again for minutes: Java in
/// `TransactionManager`'s handlers of FindCoordinator, InitProducerId and produce responses, librdkafka in
/// `rdkafka_txnmgr.c` and `rdkafka_idempotence.c`.
pub(crate) const TRANSACTIONS_REFUSED: ErrorCode = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;

/// Gives out a producer id. A producer that has one already and asks for its next epoch (KIP-360) gets a new id as
/// well, as with Kafka: only transactional ids keep theirs.
pub(crate) async fn init_producer_id(
    call: Arc<Call>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return InitProducerIdResponse {
            error_code: TRANSACTIONS_REFUSED,
            ..Default::default()
        };
    }
    match call.server.broker.init_producer_id().await {
        Ok((id, epoch)) => InitProducerIdResponse {
            producer_id: id.0,
            producer_epoch: epoch.0,
            ..Default::default()
        },
        Err(error) => InitProducerIdResponse {
            error_code: Refusal::from(error).code,
            ..Default::default()
        },
    }
}
