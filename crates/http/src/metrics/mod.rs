//! What the listener counts, and the page on which Prometheus reads everything that the server counts.
//!
//! The page has one series for each topic, queue, group and route, up to a bound: what is beyond it, in the order of
//! names, is left out and counted. Those of a group's lag, one for each of its topics, are bounded together.

mod clients;
mod counters;
mod cursors;
mod queues;
mod storage;
mod text;
mod topics;

use millstream_limits::METRICS_SERIES_MAX;

use crate::app::App;
use text::Page;

pub(crate) use counters::{Metrics, Operation};

/// Everything there is to count at present.
pub(crate) async fn page(app: &App) -> String {
    let mut page = Page::default();
    let mut omitted = Omitted::default();
    clients::write(&mut page, app);
    storage::write(&mut page, &app.broker);
    topics::write(&mut page, &app.broker, &mut omitted);
    cursors::write(&mut page, &app.broker, &mut omitted).await;
    queues::write(&mut page, &app.broker, &mut omitted);
    omitted.write(&mut page);
    page.finish()
}

/// What has no series of its own.
#[derive(Debug, Default)]
struct Omitted(Vec<(&'static str, usize)>);

impl Omitted {
    /// Cuts a list of `what` down to what is shown.
    fn cut<T>(&mut self, what: &'static str, all: &mut Vec<T>) {
        let over = all.len().saturating_sub(METRICS_SERIES_MAX);
        all.truncate(METRICS_SERIES_MAX);
        self.count(what, over);
    }

    /// So many of `what` are not shown.
    fn count(&mut self, what: &'static str, over: usize) {
        self.0.push((what, over));
    }

    fn write(&self, page: &mut Page) {
        let mut family = page.gauges(
            "millstream_metrics_omitted",
            "Topics, queues, groups, topics of groups and routes beyond those that are shown, in the order of names.",
        );
        for (what, over) in &self.0 {
            family.sample(&[("of", what)], over);
        }
    }
}

/// Room for so many, of things that come one by one.
#[derive(Debug)]
struct Room {
    left: usize,
    /// Those that found none.
    over: usize,
}

impl Room {
    fn new(left: usize) -> Self {
        Self { left, over: 0 }
    }

    /// Whether there is room for one more.
    fn take(&mut self) -> bool {
        let has_room = self.left > 0;
        if has_room {
            self.left -= 1;
        } else {
            self.over += 1;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut room = Room::new(2);
        let taken: Vec<_> = (0..5).map(|_| room.take()).collect();
        assert_eq!(taken, [true, true, false, false, false]);
        assert_eq!(room.over, 3);
    }
}
