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

    /// What a request is, told by its whole path.
    pub(crate) fn of(method: &Method, path: &str) -> Operation {
        let mut pieces = path.split('/');
        // What is before the first slash: nothing.
        pieces.next();
        if pieces.next() != Some("v1") {
            return Operation::Other;
        }
        let mut piece = || pieces.next();
        match (
            method,
            [piece(), piece(), piece(), piece(), piece(), piece()],
        ) {
            (&Method::POST, [Some("topics"), _, Some("records"), None, ..]) => Operation::Publish,
            (
                &Method::GET,
                [Some("topics"), _, Some("records"), None, ..]
                | [
                    Some("topics"),
                    _,
                    Some("partitions"),
                    _,
                    Some("records"),
                    None,
                ],
            ) => Operation::Read,
            (&Method::POST, [Some("queues"), _, Some("receive"), None, ..]) => Operation::Receive,
            (&Method::POST, [Some("queues"), _, Some(action), None, ..])
                if SETTLING.contains(&action) =>
            {
                Operation::Settle
            }
            (&Method::GET, [Some("live" | "ws"), None, ..]) => Operation::Live,
            _ => Operation::Other,
        }
    }
}

/// What ends what a receive began.
const SETTLING: [&str; 5] = ["ack", "nack", "reject", "extend", "ack-and-publish"];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_paths_tell_operations() {
        for (method, path, operation) in [
            (Method::POST, "/v1/topics/a/records", Operation::Publish),
            (Method::GET, "/v1/topics/a/records", Operation::Read),
            (
                Method::GET,
                "/v1/topics/a/partitions/0/records",
                Operation::Read,
            ),
            (Method::POST, "/v1/queues/a/receive", Operation::Receive),
            (Method::POST, "/v1/queues/a/ack", Operation::Settle),
            (
                Method::POST,
                "/v1/queues/a/ack-and-publish",
                Operation::Settle,
            ),
            (Method::GET, "/v1/live", Operation::Live),
            (Method::GET, "/v1/ws", Operation::Live),
            (Method::GET, "/v1/topics/live", Operation::Other),
            (Method::GET, "/v1/queues/ws", Operation::Other),
            (Method::GET, "/v1/topics/records", Operation::Other),
            (Method::POST, "/v1/queues/ack", Operation::Other),
            (Method::POST, "/v1/queues/a/ack/b", Operation::Other),
            (
                Method::DELETE,
                "/v1/topics/a/partitions/0/records",
                Operation::Other,
            ),
            (Method::GET, "/live", Operation::Other),
            (Method::GET, "", Operation::Other),
        ] {
            assert_eq!(Operation::of(&method, path), operation, "{method} {path}");
        }
    }
}
