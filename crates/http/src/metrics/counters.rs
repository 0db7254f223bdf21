//! What the listener counts beside what every protocol's listener does.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use millstream_broker::Broker;
use millstream_metrics::{Counter, Protocol};

/// What kind of request it is: few enough for a histogram each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Publish,
    Read,
    Receive,
    Settle,
    Live,
    Other,
}

impl Operation {
    pub(crate) const ALL: [Operation; 6] = [
        Operation::Publish,
        Operation::Read,
        Operation::Receive,
        Operation::Settle,
        Operation::Live,
        Operation::Other,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Publish => "publish",
            Operation::Read => "read",
            Operation::Receive => "receive",
            Operation::Settle => "settle",
            Operation::Live => "live",
            Operation::Other => "other",
        }
    }

    /// What a request is, told by its path alone.
    pub(crate) fn of(method: &Method, path: &str) -> Operation {
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_queue = path.starts_with("/v1/queues/");
        match last {
            "records" if method == Method::POST => Operation::Publish,
            "records" if method == Method::GET => Operation::Read,
            "receive" if is_queue => Operation::Receive,
            "ack" | "nack" | "reject" | "extend" | "ack-and-publish" if is_queue => {
                Operation::Settle
            }
            "live" | "ws" => Operation::Live,
            _ => Operation::Other,
        }
    }
}

/// Everything the listeners of a broker count.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Connections, bytes, and how long requests took.
    pub(crate) protocol: Arc<Protocol>,
    /// Requests refused for their `Origin` or `Host`.
    pub(crate) foreign: Counter,
    /// By operation and the hundreds of the status.
    answers: [[Counter; 6]; Operation::ALL.len()],
}

impl Metrics {
    pub(crate) fn new(broker: &Broker) -> Metrics {
        Metrics {
            protocol: broker.protocol("http", Operation::ALL.map(Operation::name)),
            foreign: Counter::default(),
            answers: Default::default(),
        }
    }

    /// A request got its answer.
    pub(crate) fn answered(&self, operation: Operation, status: StatusCode, took: Duration) {
        self.protocol.operation(operation as usize).answered(took);
        let hundreds = usize::from(status.as_u16() / 100).min(5);
        self.answers[operation as usize][hundreds].count();
    }

    /// Answers that there were: the operation, the hundreds of the status, how many.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (Operation, usize, u64)> {
        Operation::ALL.into_iter().flat_map(|operation| {
            let counts = self.answers[operation as usize].iter().enumerate();
            counts.map(move |(hundreds, count)| (operation, hundreds, count.get()))
        })
    }
}
