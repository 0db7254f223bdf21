//! Publishes of one socket.
//!
//! A task of its own gives them their places in the order in which they came, so the socket goes on with other things while
//! one waits for memory or for the store. What has come is published even if the socket ends meanwhile.

use std::sync::Arc;

use millstream_broker::BrokerError;
use millstream_broker::produce::{
    IdempotencyKey, NewMessage, PublishedOnce, Publishing, PublishingOnce,
};
use millstream_broker::topics::TopicHandle;
use millstream_limits::HTTP_SOCKET_FRAME_BYTES_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::app::App;
use crate::problem::{Kind, Problem};

/// What is published on one socket and has no place yet.
pub(super) struct Publisher {
    /// There is a task only for sockets that publish. It is short, since a socket has few requests under way.
    line: Option<mpsc::UnboundedSender<Publish>>,
    /// The bytes of what waits for memory: one large frame more than what lets the next one be read.
    waiting: Arc<Semaphore>,
}

/// Records of one frame.
pub(super) struct ToPublish {
    pub(super) topic: Arc<TopicHandle>,
    pub(super) messages: Vec<NewMessage>,
    /// Says which publishes are the same one sent again.
    pub(super) key: Option<IdempotencyKey>,
}

struct Publish {
    records: ToPublish,
    waiting: Waiting,
    answer: oneshot::Sender<Outcome>,
}

/// A frame that waits for memory.
pub(super) struct Waiting {
    bytes: usize,
    counted: Option<OwnedSemaphorePermit>,
}

type Outcome = Result<PublishedOnce, Problem>;

/// Records that have their places.
enum Begun {
    Plain {
        publishing: Publishing,
        /// What they are slices of is theirs until they are durable.
        _messages: Vec<NewMessage>,
        _room: Option<OwnedSemaphorePermit>,
    },
    Once(PublishingOnce),
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self {
            line: None,
            waiting: Arc::new(Semaphore::new(2 * HTTP_SOCKET_FRAME_BYTES_MAX)),
        }
    }

    /// Whether another frame may be read.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.available_permits() >= HTTP_SOCKET_FRAME_BYTES_MAX
    }

    /// Waits until another frame may be read.
    pub(super) async fn room(&self) {
        let _ = self
            .waiting
            .acquire_many(HTTP_SOCKET_FRAME_BYTES_MAX as u32)
            .await;
    }

    /// Counts what came in a frame of `bytes` as waiting, until there is memory for it.
    pub(super) fn waiting(&self, bytes: usize) -> Waiting {
        let counted = Arc::clone(&self.waiting).try_acquire_many_owned(bytes as u32);
        Waiting {
            bytes,
            counted: counted.ok(),
        }
    }

    /// Publishes records, which came in a frame of `bytes`, after all that came before. What comes back waits until they
    /// are durable.
    pub(super) fn publish(
        &mut self,
        app: &Arc<App>,
        records: ToPublish,
        bytes: usize,
    ) -> impl Future<Output = Outcome> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let publish = Publish {
            records,
            waiting: self.waiting(bytes),
            answer,
        };
        let line = self.line.get_or_insert_with(|| {
            let (line, publishes) = mpsc::unbounded_channel();
            tokio::spawn(publish_in_turn(Arc::clone(app), publishes));
            line
        });
        // If the task is gone, so is the other end of the answer.
        let _ = line.send(publish);
        async move { answered.await.unwrap_or_else(|_| Err(broke_off())) }
    }
}

/// What a client is told whose publish nobody finishes any more.
pub(super) fn broke_off() -> Problem {
    Problem::new(Kind::INTERNAL, "a publish broke off")
}

impl Waiting {
    /// Waits for memory.
    pub(super) async fn room(self, app: &App) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let mut room = None;
        app.bodies.claim(self.bytes, &mut room).await?;
        drop(self.counted);
        Ok(room)
    }
}

async fn publish_in_turn(app: Arc<App>, mut publishes: mpsc::UnboundedReceiver<Publish>) {
    while let Some(publish) = publishes.recv().await {
        let answer = publish.answer;
        match place(&app, publish.records, publish.waiting).await {
            // What it holds is given back as soon as it is durable, whether or not the socket looks for it.
            Ok(begun) => drop(tokio::spawn(async move {
                let published = begun.done().await;
                let _ = answer.send(published.map_err(Problem::from));
            })),
            Err(problem) => drop(answer.send(Err(problem))),
        }
    }
}

/// Gives records their places.
async fn place(app: &App, records: ToPublish, waiting: Waiting) -> Result<Begun, Problem> {
    let room = waiting.room(app).await?;
    let ToPublish {
        topic,
        messages,
        key,
    } = records;
    let broker = &app.broker;
    Ok(match key {
        Some(key) => Begun::Once(
            broker
                .begin_publish_once(&topic, messages, key, room)
                .await?,
        ),
        None => Begun::Plain {
            publishing: broker.begin_publish(&topic, &messages).await?,
            _messages: messages,
            _room: room,
        },
    })
}

impl Begun {
    /// Waits until they are durable.
    async fn done(self) -> Result<PublishedOnce, BrokerError> {
        match self {
            Self::Once(publishing) => publishing.done().await,
            Self::Plain { publishing, .. } => Ok(PublishedOnce {
                records: publishing.done().await?.into(),
                replayed: false,
            }),
        }
    }
}
