//! What the listener counts, and the page on which Prometheus reads everything that the server counts.
//!
//! The page has one series for each topic, queue, group and route, up to a bound: what is beyond it, in the order of
//! names, is left out and counted.

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
        self.0.push((what, over));
    }

    fn write(&self, page: &mut Page) {
        let mut family = page.gauges(
            "millstream_metrics_omitted",
            "Topics, queues, groups and routes beyond those that are shown, in the order of names.",
        );
        for (what, over) in &self.0 {
            family.sample(&[("of", what)], over);
        }
    }
}
