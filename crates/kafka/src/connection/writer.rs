//! The writing half: takes answers in order and sends all that are ready with one vectored write.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use millstream_broker::Broker;
use millstream_broker::streams::Held;
use millstream_kafka_wire::Frame;
use millstream_limits as limits;
use millstream_metrics::Protocol;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, timeout};

use super::answer::Answer;
use super::pipeline::{Answering, Entry, Pipeline};

/// Slices handed to one vectored write.
const SLICES_MAX: usize = 64;

/// How the writing half ended.
#[derive(Debug)]
pub(crate) enum WriteEnd {
    /// All requests are answered and no more come.
    Done,
    /// An answer asked for the connection to be closed.
    Closed(Cow<'static, str>),
    /// The peer did not take its answers in time.
    Stalled {
        /// Bytes it left.
        unsent_bytes: usize,
    },
    /// The socket failed.
    Io(io::Error),
}

/// The bytes of answers that all connections are sending. What it counts is memory that slow peers pin.
#[derive(Debug, Clone)]
pub(crate) struct Unsent {
    bytes: Arc<AtomicUsize>,
    broker: Broker,
    counts: Arc<Protocol>,
}

impl Unsent {
    pub(crate) fn new(broker: Broker, counts: Arc<Protocol>) -> Unsent {
        Unsent {
            bytes: Arc::default(),
            broker,
            counts,
        }
    }

    /// Counts a request that has its answer.
    fn answered(&self, operation: Option<usize>, begun: Instant) {
        if let Some(operation) = operation {
            self.counts.operation(operation).answered(begun.elapsed());
        }
    }

    /// Whether slow peers are in the way of others.
    fn is_pressing(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > limits::KAFKA_UNSENT_BYTES_MAX
            || self.broker.readers_wait()
    }
}

/// The bytes one connection is sending, counted in [`Unsent`] until they are gone.
struct Outgoing {
    slices: VecDeque<Bytes>,
    bytes: usize,
    /// What the records among them hold of the readers' memory.
    held: Vec<Held>,
    unsent: Unsent,
}

/// Answers the requests of `pipeline` until it ends or the connection cannot go on.
pub(crate) async fn write_answers(
    pipeline: &Pipeline,
    socket: &mut OwnedWriteHalf,
    unsent: Unsent,
) -> WriteEnd {
    let mut outgoing = Outgoing::new(unsent);
    let mut unfinished = None;
    loop {
        let next = match unfinished.take() {
            Some(entry) => Some(entry),
            None => pipeline.next().await,
        };
        let Some(Entry {
            answering,
            operation,
            begun,
            order,
            bytes,
            room,
        }) = next
        else {
            return WriteEnd::Done;
        };
        let mut answer = match answering {
            Answering::Now(answer) => answer,
            Answering::Later(work) => work.await,
        };
        pipeline.answered(order, bytes);
        outgoing.unsent.answered(operation, begun);
        drop(room);

        let closed = loop {
            match answer {
                Answer::Send(frame) => outgoing.push(frame),
                Answer::SendRecords(frame, held) => {
                    outgoing.push(frame);
                    outgoing.held.push(held);
                }
                Answer::Silence => {}
                Answer::Close(reason) => break Some(reason),
            }
            if outgoing.bytes >= limits::KAFKA_GATHERED_BYTES {
                break None;
            }
            match next_ready(pipeline, &outgoing.unsent) {
                Ready::Answer(next) => answer = next,
                Ready::Unfinished(entry) => {
                    unfinished = Some(entry);
                    break None;
                }
                Ready::Nothing => break None,
            }
        };
        if let Err(end) = outgoing.send(socket).await {
            return end;
        }
        if let Some(reason) = closed {
            return WriteEnd::Closed(reason);
        }
    }
}

enum Ready {
    Answer(Answer),
    Unfinished(Entry),
    Nothing,
}

/// The next answer if it can be had without waiting.
fn next_ready(pipeline: &Pipeline, unsent: &Unsent) -> Ready {
    let Some(mut entry) = pipeline.try_next() else {
        return Ready::Nothing;
    };
    let answer = match entry.answering {
        Answering::Now(answer) => answer,
        Answering::Later(mut work) => {
            let Some(answer) = (&mut work).now_or_never() else {
                entry.answering = Answering::Later(work);
                return Ready::Unfinished(entry);
            };
            answer
        }
    };
    pipeline.answered(entry.order, entry.bytes);
    unsent.answered(entry.operation, entry.begun);
    Ready::Answer(answer)
}

impl Outgoing {
    fn new(unsent: Unsent) -> Outgoing {
        Outgoing {
            slices: VecDeque::new(),
            bytes: 0,
            held: Vec::new(),
            unsent,
        }
    }

    fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.unsent.bytes.fetch_add(frame.len(), Ordering::Relaxed);
        self.slices.extend(frame.into_segments());
    }

    /// Writes everything. A peer that is slow is waited for as long as a consumer may legitimately pause, unless it is
    /// in the way of others.
    async fn send(&mut self, socket: &mut OwnedWriteHalf) -> Result<(), WriteEnd> {
        let mut patience = Patience::new(self.bytes);
        let review = Duration::from_millis(limits::KAFKA_ANSWER_REVIEW_MS);
        while self.bytes > 0 {
            match timeout(review, self.write_once(socket)).await {
                Ok(Ok(written)) => {
                    self.sent(written);
                    patience.note_progress();
                }
                Ok(Err(error)) => return Err(WriteEnd::Io(error)),
                Err(_) => self.detach().await,
            }
            if self.bytes > 0 && patience.is_over(|| self.unsent.is_pressing()) {
                return Err(WriteEnd::Stalled {
                    unsent_bytes: self.bytes,
                });
            }
        }
        self.held.clear();
        Ok(())
    }

    async fn write_once(&self, socket: &mut OwnedWriteHalf) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut filled = 0;
        for (slot, bytes) in slices.iter_mut().zip(&self.slices) {
            *slot = IoSlice::new(bytes);
            filled += 1;
        }
        match socket.write_vectored(&slices[..filled]).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    fn sent(&mut self, mut written: usize) {
        self.bytes -= written;
        self.unsent.counts.sent_bytes.add(written as u64);
        self.unsent.bytes.fetch_sub(written, Ordering::Relaxed);
        while let Some(front) = self.slices.front_mut() {
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.slices.pop_front();
        }
    }

    /// Copies what is shared with the log. A few bytes of a tail keep a whole buffer of the journal from being used again,
    /// and a peer that does not read would hold up those who write; a copy costs what the answer is counted with already.
    async fn detach(&mut self) {
        for slice in &mut self.slices {
            if !slice.is_unique() {
                *slice = Bytes::copy_from_slice(slice);
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.unsent.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How long a peer is waited for.
struct Patience {
    begun: Instant,
    progressed: Instant,
    bytes: usize,
}

impl Patience {
    fn new(bytes: usize) -> Patience {
        let now = Instant::now();
        Patience {
            begun: now,
            progressed: now,
            bytes,
        }
    }

    fn note_progress(&mut self) {
        self.progressed = Instant::now();
    }

    /// Whether it is over. `is_pressing` says whether the peer is in the way of others, and is asked only if that decides.
    fn is_over(&self, is_pressing: impl FnOnce() -> bool) -> bool {
        let took = self.begun.elapsed();
        let standing = self.progressed.elapsed();
        let patient = limits::kafka_transfer_time(limits::KAFKA_ANSWER_BASE_MS, self.bytes);
        let pressed = limits::kafka_pressed_transfer_time(self.bytes);
        let standstill = Duration::from_millis(limits::KAFKA_ANSWER_PRESSED_STANDSTILL_MS);
        let stands_still = standing > standstill;
        took > patient || ((stands_still || took > pressed) && is_pressing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_in_nobodys_way_may_pause_for_minutes() {
        let patience = Patience::new(1 << 20);
        tokio::time::advance(500 * SECOND).await;
        assert!(!patience.is_over(|| false));
        tokio::time::advance(200 * SECOND).await;
        assert!(patience.is_over(|| false), "however it trickled");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_while_others_wait_is_cut_off_in_seconds() {
        let patience = Patience::new(1 << 20);
        tokio::time::advance(2 * SECOND).await;
        assert!(!patience.is_over(|| true));
        tokio::time::advance(2 * SECOND).await;
        assert!(patience.is_over(|| true));
        assert!(!patience.is_over(|| false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_while_others_wait_has_the_time_its_bytes_need() {
        let mut patience = Patience::new(20 << 20);
        for _ in 0..29 {
            tokio::time::advance(SECOND).await;
            patience.note_progress();
            assert!(!patience.is_over(|| true));
        }
        tokio::time::advance(2 * SECOND).await;
        patience.note_progress();
        assert!(patience.is_over(|| true));
    }
}
