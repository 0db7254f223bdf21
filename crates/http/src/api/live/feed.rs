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
use millstream_broker::live::{Disconnected, LiveItem, ResumeToken, Subscription};
use millstream_limits::HTTP_LIVE_GATHERED_BYTES;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::events::Events;
use crate::app::App;

struct Feed {
    app: Arc<App>,
    subscription: Subscription,
    events: Events,
    /// Where the reader stands, as far as it was told.
    told: Option<ResumeToken>,
    /// Whether nothing was sent since the last time that was asked.
    is_quiet: bool,
    keep_alive: Interval,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_ended: bool,
}

/// The body that tells what comes out of `subscription`.
pub(super) fn body(app: &Arc<App>, subscription: Subscription) -> Body {
    let every = app.settings.keep_alive;
    let mut keep_alive = interval_at(Instant::now() + every, every);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut events = Events::default();
    let told = subscription.position();
    events.subscribed(told.as_ref());
    let app = Arc::clone(app);
    let stopping = Arc::clone(&app);
    let feed = Feed {
        app,
        subscription,
        events,
        told,
        is_quiet: true,
        keep_alive,
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
                    self.is_quiet = false;
                    self.take(item);
                    self.gather();
                }
                () = &mut self.stopped => {}
                _ = self.keep_alive.tick() => {
                    if std::mem::replace(&mut self.is_quiet, true) {
                        self.keep_alive();
                    }
                }
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

    /// Tells a reader that has heard nothing for a while where it stands, if that is further on: its filter may have left out
    /// all there was.
    fn keep_alive(&mut self) {
        let position = self.subscription.position();
        match &position {
            Some(position) if self.told.as_ref() != Some(position) => {
                self.events.position(position);
            }
            _ => self.events.keep_alive(),
        }
        self.told = position;
    }

    fn take(&mut self, item: LiveItem) {
        let events = &mut self.events;
        match item {
            LiveItem::Record(message) => {
                self.told = self.subscription.position();
                events.record(&message, self.told.as_ref());
            }
            LiveItem::Dropped { count } => events.dropped(count),
            LiveItem::Lost(lost) => {
                self.told = self.subscription.position();
                events.lost(&lost, self.told.as_ref());
            }
            LiveItem::Disconnected(reason) => {
                events.end(&reason.into());
                self.has_ended = true;
            }
        }
    }
}
