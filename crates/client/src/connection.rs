//! One connection to one server: any number of requests in flight, answered in order.
//!
//! A request is encoded and queued without waiting ([`Connection::submit`]), in the order of the calls; a task writes
//! what is queued, another reads answers and hands each to the one who waits for it. When anything goes wrong, every
//! request in flight fails with the same error and the connection stays closed: whoever holds it makes a new one.

mod handshake;
mod reading;
mod writing;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_kafka_wire::api::{decode_response, encode_request};
use millstream_kafka_wire::{ApiKey, Frame, Request, Str};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::ClientConfig;
use crate::error::ClientError;

pub(crate) use handshake::Versions;

/// A handle to a connection; clones share it. It closes when the last handle goes.
#[derive(Debug, Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    versions: Versions,
    client_id: Str,
    request_timeout: Duration,
    reader: AbortHandle,
}

/// What the handles and the two tasks share.
#[derive(Debug)]
struct Shared {
    address: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// To the writing task; gone once the connection has failed.
    queue: Option<mpsc::UnboundedSender<Queued>>,
    /// Answers still to come, in the order of their requests.
    waiting: VecDeque<Waiting>,
    next_correlation_id: i32,
    failure: Option<ClientError>,
}

/// A frame to be written.
#[derive(Debug)]
struct Queued {
    frame: Frame,
    /// Who wants to know when it is.
    written: Option<oneshot::Sender<()>>,
}

/// What a request is followed by.
enum Expected {
    Answer(oneshot::Sender<Result<Bytes, ClientError>>),
    Nothing(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    answer: oneshot::Sender<Result<Bytes, ClientError>>,
}

impl Connection {
    /// Connects to `address` and learns what it offers.
    pub async fn open(address: &str, config: &ClientConfig) -> Result<Self, ClientError> {
        let failed = |reason: String| ClientError::Connect {
            address: address.to_owned(),
            reason,
        };
        let limit = config.connect_timeout;
        let mut stream = tokio::time::timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| failed(format!("no connection within {} ms", limit.as_millis())))?
            .map_err(|error| failed(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| failed(error.to_string()))?;
        let client_id = Str::from(config.client_id.as_str());
        let versions = tokio::time::timeout(
            config.request_timeout,
            handshake::negotiate(&mut stream, address, &client_id),
        )
        .await
        .map_err(|_| ClientError::TimedOut {
            what: "ApiVersions",
            after: config.request_timeout,
        })??;

        let (queue, queued) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            state: Mutex::new(State {
                queue: Some(queue),
                waiting: VecDeque::new(),
                next_correlation_id: 0,
                failure: None,
            }),
        });
        let (read_half, write_half) = stream.into_split();
        tokio::spawn(writing::run(write_half, queued, Arc::clone(&shared)));
        let reader = tokio::spawn(reading::run(read_half, Arc::clone(&shared))).abort_handle();
        let request_timeout = config.request_timeout;
        Ok(Self {
            handle: Arc::new(Handle {
                shared,
                versions,
                client_id,
                request_timeout,
                reader,
            }),
        })
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.handle.shared.address
    }

    /// Whether `other` is a handle on the same connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }

    /// The error of what was in flight when the connection ended.
    pub(crate) fn lost(&self) -> ClientError {
        let failure = self.handle.shared.state.lock().failure.clone();
        failure.unwrap_or_else(|| self.handle.shared.disconnected("another took its place"))
    }

    /// Whether it can no longer be used.
    pub fn is_closed(&self) -> bool {
        self.handle.shared.state.lock().failure.is_some()
    }

    /// The newest version of `api` that both sides know.
    pub fn version(&self, api: ApiKey) -> Result<i16, ClientError> {
        self.handle
            .versions
            .highest(api)
            .ok_or_else(|| ClientError::UnsupportedApi {
                api: api.name(),
                address: self.address().to_owned(),
            })
    }

    /// Queues a request and gives its answer to wait for. Requests go out in the order of these calls.
    pub fn submit<R: Request>(&self, request: &R) -> Result<Answer<R>, ClientError> {
        let version = self.version(R::API)?;
        let (sender, receiver) = oneshot::channel();
        self.enqueue(request, version, Expected::Answer(sender))?;
        Ok(Answer {
            receiver,
            version,
            connection: self.clone(),
            asked_at: Instant::now(),
            limit: self.handle.request_timeout,
            request: PhantomData,
        })
    }

    /// Queues a request that has no answer, a produce request with `acks` 0, and gives what tells when it is written.
    pub fn submit_unanswered<R: Request>(&self, request: &R) -> Result<Written, ClientError> {
        let version = self.version(R::API)?;
        let (sender, receiver) = oneshot::channel();
        self.enqueue(request, version, Expected::Nothing(sender))?;
        Ok(Written {
            receiver,
            connection: self.clone(),
        })
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.submit(request)?.wait().await
    }

    fn enqueue<R: Request>(
        &self,
        request: &R,
        version: i16,
        expected: Expected,
    ) -> Result<(), ClientError> {
        let mut state = self.handle.shared.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let correlation_id = state.next_correlation_id;
        let client_id = Some(self.handle.client_id.clone());
        let frame = encode_request(request, correlation_id, client_id, version)?;
        state.next_correlation_id = correlation_id.wrapping_add(1);
        let written = match expected {
            Expected::Nothing(written) => Some(written),
            Expected::Answer(answer) => {
                state.waiting.push_back(Waiting {
                    correlation_id,
                    answer,
                });
                None
            }
        };
        if let Some(queue) = &state.queue {
            // The writing task ends only after it has set the failure, which would have been seen above.
            let _ = queue.send(Queued { frame, written });
        }
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.fail(ClientError::Closed);
        self.reader.abort();
    }
}

impl Shared {
    /// Closes the connection and fails what is in flight; the first reason counts.
    fn fail(&self, error: ClientError) {
        let (waiting, error) = {
            let mut state = self.state.lock();
            state.queue = None;
            let error = state.failure.get_or_insert(error).clone();
            (std::mem::take(&mut state.waiting), error)
        };
        for waiting in waiting {
            // Whoever no longer waits needs no answer.
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }

    fn disconnected(&self, reason: &(impl ToString + ?Sized)) -> ClientError {
        ClientError::Disconnected {
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }
}

/// An answer that is still to come.
#[derive(Debug)]
pub struct Answer<R: Request> {
    receiver: oneshot::Receiver<Result<Bytes, ClientError>>,
    version: i16,
    connection: Connection,
    asked_at: Instant,
    limit: Duration,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Answer<R> {
    /// Allows the server `extra` time, for a request that makes it wait.
    #[must_use]
    pub fn allow(mut self, extra: Duration) -> Self {
        self.limit += extra;
        self
    }

    /// Waits for the answer. If none comes in time, counted from the request, the connection is closed: what would follow
    /// on it is late too.
    pub async fn wait(self) -> Result<R::Response, ClientError> {
        let shared = &self.connection.handle.shared;
        let Ok(answered) = tokio::time::timeout_at(self.asked_at + self.limit, self.receiver).await
        else {
            let error = ClientError::TimedOut {
                what: R::API.name(),
                after: self.limit,
            };
            shared.fail(error.clone());
            return Err(error);
        };
        let frame = answered.unwrap_or_else(|_| Err(shared.disconnected("it was given up")))?;
        let (_, response) = decode_response(&frame, self.version)?;
        Ok(response)
    }
}

/// A request without an answer, on its way to the socket.
#[derive(Debug)]
pub struct Written {
    receiver: oneshot::Receiver<()>,
    connection: Connection,
}

impl Written {
    /// Waits until the socket has taken it.
    pub async fn wait(self) -> Result<(), ClientError> {
        let shared = &self.connection.handle.shared;
        self.receiver.await.map_err(|_| {
            shared
                .state
                .lock()
                .failure
                .clone()
                .unwrap_or_else(|| shared.disconnected("it was given up"))
        })
    }
}

#[cfg(test)]
mod tests;
