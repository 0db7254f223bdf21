//! Where a reader stands, for when nothing else comes that would tell: its filter may have left out all there was.

use std::time::Duration;

use millstream_broker::live::ResumeToken;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// What a reader was told last, and when it is looked whether there is more to tell.
pub(crate) struct Standing {
    told: Option<ResumeToken>,
    /// Whether nothing was sent since the last look.
    is_quiet: bool,
    looks: Interval,
}

impl Standing {
    /// The reader has just been told where it stands.
    pub(crate) fn new(told: Option<ResumeToken>, every: Duration) -> Self {
        let mut looks = interval_at(Instant::now() + every, every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            told,
            is_quiet: true,
            looks,
        }
    }

    /// Something is sent.
    pub(crate) fn spoke(&mut self) {
        self.is_quiet = false;
    }

    /// It says where the reader stands.
    pub(crate) fn tell(&mut self, position: Option<ResumeToken>) {
        self.told = position;
    }

    /// Waits until nothing has been sent between two looks.
    pub(crate) async fn silence(&mut self) {
        loop {
            self.looks.tick().await;
            if std::mem::replace(&mut self.is_quiet, true) {
                return;
            }
        }
    }

    /// What to tell a reader that stands at `position`: nothing, if it knows.
    pub(crate) fn news(&mut self, position: Option<ResumeToken>) -> Option<ResumeToken> {
        let has_moved = position.is_some() && self.told != position;
        self.told.clone_from(&position);
        position.filter(|_| has_moved)
    }
}
