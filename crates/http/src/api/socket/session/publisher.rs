//! Publishes of one socket.
//!
//! A task of its own gives them their places in the order in which they came, so the socket goes on with other things while
//! one waits for memory or for the store. What has come is published even if the socket ends meanwhile.

use std::sync::Arc;

use millstream_broker::produce::{NewMessage, Published, Publishing};
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
struct Publish {
    topic: Arc<TopicHandle>,
    messages: Vec<NewMessage>,
    bytes: usize,
    waiting: Option<OwnedSemaphorePermit>,
    answer: oneshot::Sender<Outcome>,
}

type Outcome = Result<Vec<Published>, Problem>;

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

    /// Publishes records, which came in a frame of `bytes`, after all that came before. What comes back waits until they
    /// are durable.
    pub(super) fn publish(
        &mut self,
        app: &Arc<App>,
        topic: Arc<TopicHandle>,
        messages: Vec<NewMessage>,
        bytes: usize,
    ) -> impl Future<Output = Outcome> + Send + use<> {
        let line = self.line.get_or_insert_with(|| {
            let (line, publishes) = mpsc::unbounded_channel();
            tokio::spawn(publish_in_turn(Arc::clone(app), publishes));
            line
        });
        let (answer, answered) = oneshot::channel();
        let waiting = Arc::clone(&self.waiting).try_acquire_many_owned(bytes as u32);
        let publish = Publish {
            topic,
            messages,
            bytes,
            waiting: waiting.ok(),
            answer,
        };
        // If the task is gone, so is the other end of the answer.
        let _ = line.send(publish);
        async move {
            let broke_off = |_| Err(Problem::new(Kind::INTERNAL, "a publish broke off"));
            answered.await.unwrap_or_else(broke_off)
        }
    }
}

async fn publish_in_turn(app: Arc<App>, mut publishes: mpsc::UnboundedReceiver<Publish>) {
    while let Some(mut publish) = publishes.recv().await {
        match place(&app, &mut publish).await {
            // What it holds is given back as soon as it is durable, whether or not the socket looks for it.
            Ok((publishing, room)) => drop(tokio::spawn(async move {
                let published = publishing.done().await;
                drop((publish.messages, room));
                let _ = publish.answer.send(published.map_err(Problem::from));
            })),
            Err(problem) => drop(publish.answer.send(Err(problem))),
        }
    }
}

/// Gives records their places.
async fn place(
    app: &App,
    publish: &mut Publish,
) -> Result<(Publishing, Option<OwnedSemaphorePermit>), Problem> {
    let mut room = None;
    app.bodies.claim(publish.bytes, &mut room).await?;
    drop(publish.waiting.take());
    let begun = app.broker.begin_publish(&publish.topic, &publish.messages);
    Ok((begun.await?, room))
}
