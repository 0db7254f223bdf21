//! One feed: a body that goes on for as long as somebody reads it.
//!
//! It is asked for its next piece when the connection has room for one, so what a slow reader holds is what its subscription
//! buffers, one piece here and what the connection has not sent. One that takes nothing at all, or has vanished, is found out
//! by the connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use millstream_broker::live::{Disconnected, LiveItem, Subscription};
use millstream_limits::HTTP_LIVE_GATHERED_BYTES;

use super::events::Events;
use super::standing::Standing;
use crate::app::App;

struct Feed {
    app: Arc<App>,
    subscription: Subscription,
    events: Events,
    standing: Standing,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_ended: bool,
}

/// The body that tells what comes out of `subscription`.
pub(super) fn body(app: &Arc<App>, subscription: Subscription) -> Body {
    let mut events = Events::default();
    let told = subscription.position();
    events.subscribed(told.as_ref());
    let every = app.settings.keep_alive;
    let app = Arc::clone(app);
    let stopping = Arc::clone(&app);
    let feed = Feed {
        app,
        subscription,
        events,
        standing: Standing::new(told, every),
        stopped: Box::pin(async move { stopping.stopped().await }),
        has_ended: false,
    };
    Body::from_stream(stream::unfold(feed, Feed::next))
}

impl Feed {
    /// The next piece, when there is one.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if let Some(piece) = self.events.take() {
                return Some((Ok(piece), self));
            }
            if self.has_ended {
                return None;
            }
            if self.app.is_stopping() {
                self.take(LiveItem::Disconnected(Disconnected::ShuttingDown));
                continue;
            }
            // First what there is most often, so that a delivery does not pay for asking the others.
            tokio::select! {
                biased;
                item = self.subscription.next() => {
                    self.standing.spoke();
                    self.take(item);
                    self.gather();
                }
                () = &mut self.stopped => {}
                () = self.standing.silence() => self.keep_alive(),
            }
        }
    }

    /// Takes what else there is already, so that it is sent together.
    fn gather(&mut self) {
        while !self.has_ended && self.events.len() < HTTP_LIVE_GATHERED_BYTES {
            let Some(item) = self.subscription.try_next() else {
                return;
            };
            self.take(item);
        }
    }

    /// Tells a reader that has heard nothing for a while that the feed is there, and where it stands if that is further on.
    fn keep_alive(&mut self) {
        match self.standing.news(self.subscription.position()) {
            Some(position) => self.events.position(&position),
            None => self.events.keep_alive(),
        }
    }

    fn take(&mut self, item: LiveItem) {
        let events = &mut self.events;
        match item {
            LiveItem::Record(message) => {
                let position = self.subscription.position();
                events.record(&message, position.as_ref());
                self.standing.tell(position);
            }
            LiveItem::Dropped { count } => events.dropped(count),
            LiveItem::Lost(lost) => {
                let position = self.subscription.position();
                events.lost(&lost, position.as_ref());
                self.standing.tell(position);
            }
            LiveItem::Disconnected(reason) => {
                events.end(&reason.into());
                self.has_ended = true;
            }
        }
    }
}
