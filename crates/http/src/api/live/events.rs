//! Server-Sent Events on their way to one reader: the HTML standard, section 9.2.

use std::collections::VecDeque;
use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_broker::live::{LiveMessage, Lost, LostReason, ResumeToken};
use millstream_limits::{HTTP_LIVE_RETRY_MS, HTTP_LIVE_SHARED_BYTES_MIN};

use super::render;
use crate::json::JsonBuffer;
use crate::problem::Problem;

/// Events that are written and not sent. Small ones are gathered in one piece; large records are pieces by themselves, whose
/// memory all readers share.
#[derive(Debug, Default)]
pub(super) struct Events {
    pieces: VecDeque<Bytes>,
    pieces_bytes: usize,
    text: BytesMut,
}

impl Events {
    /// How much waits to be sent.
    pub(super) fn len(&self) -> usize {
        self.pieces_bytes + self.text.len()
    }

    /// The next piece to send.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            self.pieces_bytes -= piece.len();
            return Some(piece);
        }
        (!self.text.is_empty()).then(|| self.text.split().freeze())
    }

    /// The beginning: how long to wait before connecting again, and where the reader stands. That is an event of its own,
    /// since many clients keep the ids only of events that have data.
    pub(super) fn subscribed(&mut self, position: Option<&ResumeToken>) {
        let _ = writeln!(self.text, "retry: {HTTP_LIVE_RETRY_MS}");
        self.text.put_slice(b"event: subscribed\n");
        self.id(position);
        match position {
            // It has nothing in it that JSON would escape.
            Some(position) => {
                let _ = write!(self.text, "data: {{\"position\":\"{position}\"}}\n\n");
            }
            None => self.text.put_slice(b"data: {\"position\":null}\n\n"),
        }
    }

    /// A record, and where the reader stands after it.
    pub(super) fn record(&mut self, message: &LiveMessage, position: Option<&ResumeToken>) {
        self.id(position);
        self.text.put_slice(b"data: ");
        let json = message.rendered(render);
        if json.len() < HTTP_LIVE_SHARED_BYTES_MIN {
            self.text.put_slice(json);
        } else {
            self.push(json.clone());
        }
        self.text.put_slice(b"\n\n");
    }

    /// Records were dropped here.
    pub(super) fn dropped(&mut self, count: u64) {
        let _ = write!(self.text, "event: dropped\ndata: {{\"count\":{count}}}\n\n");
    }

    /// Records cannot be had any more.
    pub(super) fn lost(&mut self, lost: &Lost, position: Option<&ResumeToken>) {
        self.text.put_slice(b"event: lost\n");
        self.id(position);
        self.text.put_slice(b"data: ");
        self.text.put_slice(&lost_json(lost));
        self.text.put_slice(b"\n\n");
    }

    /// The end, and why.
    pub(super) fn end(&mut self, problem: &Problem) {
        self.text.put_slice(b"event: end\ndata: ");
        self.text.put_slice(&problem.to_json());
        self.text.put_slice(b"\n\n");
    }

    /// Where the reader stands by now, though nothing came that it wants.
    pub(super) fn position(&mut self, position: &ResumeToken) {
        self.text.put_slice(b"event: position\n");
        self.id(Some(position));
        let _ = write!(self.text, "data: {{\"position\":\"{position}\"}}\n\n");
    }

    /// Nothing: a comment.
    pub(super) fn keep_alive(&mut self) {
        self.text.put_slice(b":\n\n");
    }

    fn id(&mut self, position: Option<&ResumeToken>) {
        if let Some(position) = position {
            let _ = writeln!(self.text, "id: {position}");
        }
    }

    fn push(&mut self, piece: Bytes) {
        let before = self.text.split().freeze();
        self.pieces_bytes += before.len() + piece.len();
        self.pieces.extend([before, piece]);
    }
}

/// `{"topic":…,"partition":…,"from":…,"to":…,"reason":…}`
pub(crate) fn lost_json(lost: &Lost) -> Bytes {
    let mut json = JsonBuffer::default();
    json.raw("{\"topic\":");
    json.text(lost.topic.as_str());
    json.raw(",\"partition\":");
    json.number(lost.partition);
    json.raw(",\"from\":");
    json.number(lost.from.get());
    json.raw(",\"to\":");
    json.number(lost.to.get());
    json.raw(",\"reason\":");
    json.text(match lost.reason {
        LostReason::Retention => "retention",
        LostReason::Undecodable => "undecodable",
        LostReason::Damaged => "damaged",
    });
    json.raw("}");
    json.into_bytes()
}
