//! What a request comes to.

use std::borrow::Cow;

use millstream_broker::streams::Held;
use millstream_kafka_wire::Frame;

/// The outcome of one request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// This frame goes back.
    Send(Frame),
    /// The same with records in it, which hold memory until they are sent.
    SendRecords(Frame, Held),
    /// Nothing goes back: a produce request with acks=0.
    Silence,
    /// Everything answered so far is sent, then the connection closes, for the reason given.
    Close(Cow<'static, str>),
}
