//! One socket: reads frames, carries requests out, writes answers and what subscriptions bring.
//!
//! Publishes get their places in the order in which they came, by the [`publisher`]; everything else overlaps, and answers
//! come as they are ready. Nothing is read while too many requests are under way, or too much waits to be published, so a
//! client that sends without end is held up by TCP.

mod publisher;
mod requests;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, SinkExt, StreamExt};
use millstream_broker::live::Subscription;
use millstream_broker::queues::{ConsumerId, QueueHandle};
use millstream_limits::{
    HTTP_SOCKET_CLOSE_MS, HTTP_SOCKET_LINE_ITEMS, HTTP_SOCKET_REQUESTS_MAX,
    HTTP_SOCKET_SILENCES_MAX,
};
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite;

use self::publisher::Publisher;
use super::answers;
use super::channels::{Arrival, Came, Channels};
use super::frames::{self, Frame};
use crate::app::App;
use crate::problem::{Kind, Problem};

type Id = Option<Box<str>>;
type UnderWay = Pin<Box<dyn Future<Output = Done> + Send>>;

struct Session {
    app: Arc<App>,
    socket: WebSocket,
    channels: Channels,
    requests: FuturesUnordered<UnderWay>,
    publisher: Publisher,
    consumer: Consumer,
    /// How often it was time to ask the client for a sign of life since the last one. Only what comes while answers are read is
    /// counted: a socket that was busy for long may have the answer still unread.
    silences: u32,
}

/// This socket as a consumer of queues. What it holds goes back when it is gone.
struct Consumer {
    id: ConsumerId,
    queues: Vec<QueueHandle>,
}

/// A request that has come to its end.
enum Done {
    Answer(Message),
    Opened(Id, Arc<str>, Result<Subscription, Problem>),
}

/// Why a socket ends.
enum Ended {
    /// The client is gone.
    Gone,
    /// The client says goodbye, or is told so.
    Farewell(Option<(u16, &'static str)>),
}

/// Serves a socket until either side ends it.
pub(super) async fn run(app: Arc<App>, socket: WebSocket) {
    let mut session = Session {
        consumer: Consumer {
            id: app.next_consumer(),
            queues: Vec::new(),
        },
        app,
        socket,
        channels: Channels::new(),
        requests: FuturesUnordered::new(),
        publisher: Publisher::new(),
        silences: 0,
    };
    let app = Arc::clone(&session.app);
    let ended = tokio::select! {
        ended = session.serve() => ended,
        // One that is held up by its client does not see the end coming.
        () = overdue(&app) => Ended::Gone,
    };
    session.end(ended).await;
}

impl Session {
    async fn serve(&mut self) -> Ended {
        let app = Arc::clone(&self.app);
        let mut stopped = std::pin::pin!(app.stopped());
        let every = app.settings.keep_alive;
        let mut keep_alive = interval_at(tokio::time::Instant::now() + every, every);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let may_read = self.requests.len() < HTTP_SOCKET_REQUESTS_MAX;
            let went = tokio::select! {
                () = &mut stopped => {
                    return Ended::Farewell(Some((close_code::AWAY, "the server is shutting down")));
                }
                arrival = self.channels.next() => self.bring(arrival).await,
                Some(done) = self.requests.next() => self.answer(done).await,
                message = next_message(&mut self.socket, &self.publisher), if may_read => match message {
                    Some(Ok(message)) => self.hear(message).await,
                    Some(Err(error)) => Err(broken(error)),
                    None => Err(Ended::Gone),
                },
                _ = keep_alive.tick() => {
                    if may_read && self.publisher.has_room() {
                        self.silences += 1;
                    }
                    if self.silences >= HTTP_SOCKET_SILENCES_MAX {
                        return Ended::Gone;
                    }
                    self.feed(Message::Ping(Bytes::new())).await
                }
            };
            if let Err(ended) = went {
                return ended;
            }
            if let Err(ended) = self.write_out().await {
                return ended;
            }
        }
    }

    /// Writes what else there is already, and sends all of it.
    async fn write_out(&mut self) -> Result<(), Ended> {
        for _ in 0..HTTP_SOCKET_LINE_ITEMS {
            if let Some(Some(done)) = self.requests.next().now_or_never() {
                self.answer(done).await?;
            } else if let Some(arrival) = self.channels.try_next() {
                self.bring(arrival).await?;
            } else {
                break;
            }
        }
        self.socket.flush().await.map_err(|_| Ended::Gone)
    }

    async fn feed(&mut self, message: Message) -> Result<(), Ended> {
        self.socket.feed(message).await.map_err(|_| Ended::Gone)
    }

    async fn refuse(&mut self, id: &Id, problem: &Problem) -> Result<(), Ended> {
        self.feed(answers::error(id.as_deref(), problem)).await
    }

    /// Writes what came for a subscription.
    async fn bring(&mut self, arrival: Arrival) -> Result<(), Ended> {
        let name = arrival.name;
        let frame = match arrival.came {
            Came::Record(message, at) => {
                let frame = answers::record(&name, &message, at.as_deref());
                // The message is kept until it is written, since it counts for as long as it is there.
                return self.feed(frame).await;
            }
            Came::Dropped(count) => answers::dropped(&name, count),
            Came::Lost(lost, at) => answers::lost(&name, &lost, at.as_deref()),
            Came::Position(at) => answers::standing(&name, &at),
            Came::Messages(mut loan) => {
                // Nothing is handed over before there is room for it.
                let ready = poll_fn(|cx| self.socket.poll_ready_unpin(cx));
                ready.await.map_err(|_| Ended::Gone)?;
                if !loan.hand_over() {
                    return Ok(());
                }
                while let Some(one) = loan.next() {
                    let frame = answers::message(&name, loan.queue(), one);
                    self.feed(frame).await?;
                    loan.hand_out();
                }
                return Ok(());
            }
            Came::Ended(problem) => {
                self.channels.release(&name);
                answers::end(&name, &problem)
            }
        };
        self.feed(frame).await
    }

    /// Writes the answer to a request.
    async fn answer(&mut self, done: Done) -> Result<(), Ended> {
        match done {
            Done::Answer(message) => self.feed(message).await,
            Done::Opened(id, name, Ok(subscription)) => {
                let position = subscription.position().map(|at| at.to_string());
                let every = self.app.settings.keep_alive;
                self.channels.follow(&name, subscription, every);
                let at = position.as_deref();
                self.feed(answers::subscribed(id.as_deref(), &name, at))
                    .await
            }
            Done::Opened(id, name, Err(problem)) => {
                self.channels.release(&name);
                self.refuse(&id, &problem).await
            }
        }
    }

    /// Takes a message from the client.
    async fn hear(&mut self, message: Message) -> Result<(), Ended> {
        self.silences = 0;
        match message {
            Message::Text(text) => {
                let text = Bytes::from(text);
                let Frame { id, request } = frames::parse(&text, self.app.now_ms());
                let carried = match request {
                    Ok(request) => self.carry_out(id.clone(), request, text.len()),
                    Err(problem) => Err(problem),
                };
                match carried {
                    Ok(Some(answer)) => self.feed(answer).await,
                    Ok(None) => Ok(()),
                    Err(problem) => self.refuse(&id, &problem).await,
                }
            }
            Message::Binary(_) => {
                let problem = Problem::new(
                    Kind::BAD_JSON,
                    "frames are JSON in text messages, not in binary ones",
                );
                self.refuse(&None, &problem).await
            }
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(Ended::Farewell(None)),
        }
    }

    /// Ends what is left. First requests that had come are carried out, whether or not the client reads; then it is told.
    async fn end(mut self, ended: Ended) {
        let patience = Duration::from_millis(HTTP_SOCKET_CLOSE_MS);
        let mut answers = Vec::new();
        let finish = async {
            while let Some(done) = self.requests.next().await {
                if let Done::Answer(answer) = done {
                    answers.push(answer);
                }
            }
        };
        let _ = timeout(patience, finish).await;
        self.channels.close().await;
        drop(self.consumer);
        if let Ended::Farewell(why) = ended {
            let _ = timeout(patience, say_goodbye(self.socket, answers, why)).await;
        }
    }
}

/// Sends the last answers, and why the socket ends.
async fn say_goodbye(
    mut socket: WebSocket,
    answers: Vec<Message>,
    why: Option<(u16, &'static str)>,
) {
    for answer in answers {
        if socket.feed(answer).await.is_err() {
            break;
        }
    }
    let frame = why.map(|(code, reason)| CloseFrame {
        code,
        reason: reason.into(),
    });
    let _ = socket.send(Message::Close(frame)).await;
    // A socket that is closed with something unread takes what was sent last with it.
    while let Some(Ok(_)) = socket.recv().await {}
}

/// What the client says next, once there is room for it.
async fn next_message(
    socket: &mut WebSocket,
    publisher: &Publisher,
) -> Option<Result<Message, axum::Error>> {
    publisher.room().await;
    socket.recv().await
}

/// Resolves a while after the listener has begun to shut down.
async fn overdue(app: &App) {
    app.stopped().await;
    tokio::time::sleep(Duration::from_millis(HTTP_SOCKET_CLOSE_MS)).await;
}

impl Consumer {
    fn remember(&mut self, queue: QueueHandle) {
        if self.queues.iter().all(|known| known.id() != queue.id()) {
            self.queues.push(queue);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.consumer_gone(self.id);
        }
    }
}

/// How a socket ends that cannot be read on.
fn broken(error: axum::Error) -> Ended {
    let why = match error.into_inner().downcast::<tungstenite::Error>() {
        Ok(error) => match *error {
            tungstenite::Error::Capacity(_) => (close_code::SIZE, "the message is too large"),
            tungstenite::Error::Utf8(_) => (close_code::INVALID, "text is UTF-8"),
            tungstenite::Error::Protocol(_) => (close_code::PROTOCOL, "this is no WebSocket frame"),
            _ => return Ended::Gone,
        },
        Err(_) => return Ended::Gone,
    };
    Ended::Farewell(Some(why))
}
