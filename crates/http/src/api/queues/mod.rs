//! Queues: making them and looking at them ([`admin`]), receiving from them ([`messages`]), and
//! saying what became of what was received ([`settle`], [`ack_and_publish`]).

pub(crate) mod ack_and_publish;
pub(crate) mod admin;
pub(crate) mod messages;
pub(crate) mod policy_schema;
pub(crate) mod settle;

use millstream_broker::Broker;
use millstream_broker::queues::machine::ReceiveRefused;
use millstream_broker::queues::{QueueError, QueueHandle};

use crate::problem::{Kind, Problem};

/// The queue of that name.
pub(crate) fn find(broker: &Broker, name: &str) -> Result<QueueHandle, Problem> {
    broker.queue(name).map_err(|_| {
        Problem::new(
            Kind::UNKNOWN_QUEUE,
            format!("there is no queue {name:?}; create it with POST /v1/queues"),
        )
    })
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Problem {
        let kind = match error {
            QueueError::Broker(error) => return error.into(),
            QueueError::UnknownQueue => Kind::UNKNOWN_QUEUE,
            QueueError::QueueExists(_) => Kind::EXISTS,
            QueueError::InvalidName(_) => Kind::INVALID_NAME,
            QueueError::InvalidPolicy(_) => Kind::INVALID_POLICY,
            QueueError::ConsumerNeeded => Kind::CONSUMER_NEEDED,
            QueueError::Receive(ReceiveRefused::Exclusive) => Kind::QUEUE_TAKEN,
            QueueError::TooManyQueues(_) | QueueError::Receive(ReceiveRefused::TooManyWaiting) => {
                Kind::OVERLOADED
            }
            QueueError::Receipt { .. } => Kind::RECEIPT_LOST,
            QueueError::NoDeadLetters | QueueError::RedriveToDeadLetters(_) => Kind::CONFLICT,
            QueueError::DamagedLetters { .. } => Kind::DAMAGED,
        };
        Problem::new(kind, error.to_string())
    }
}
