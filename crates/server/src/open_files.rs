//! The process's limit on open files: every connection is one.
//!
//! The store needs files too, and cannot go on without them. So the connections get what it leaves, and no more.

use millstream_limits::FILES_RESERVED;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::ServeSettings;

/// Raises the soft limit to the hard one, which needs no privilege, and returns it, if there is any. Many systems start
/// processes at 1,024.
pub(crate) fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, limit = ?limit.current, "cannot raise the limit on open files");
            limit.current
        }
    }
}

/// Bounds the connections by what the limit on open files leaves them.
pub(crate) fn bound_connections(settings: &mut ServeSettings, files_max: Option<u64>) {
    let Some(files_max) = files_max else { return };
    let files_max = usize::try_from(files_max).unwrap_or(usize::MAX);
    let left = files_max - FILES_RESERVED.min(files_max / 2);
    let kafka = settings.kafka.connections_max;
    let http = settings.http_addr.map(|_| settings.http.connections_max);
    let wanted = kafka.saturating_add(http.unwrap_or(0));
    if wanted <= left {
        return;
    }
    // In the proportion in which they were asked for.
    let share = |count: usize| ((left as u128 * count as u128 / wanted as u128) as usize).max(1);
    let http = http.map(share);
    settings.kafka.connections_max = share(kafka);
    if let Some(http) = http {
        settings.http.connections_max = http;
    }
    tracing::warn!(
        open_files = files_max,
        kafka_connections_max = settings.kafka.connections_max,
        http_connections_max = http,
        "the limit on open files leaves fewer connections than are set; raise it (`ulimit -n`, `LimitNOFILE`), or lower the settings named here"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(files_max: Option<u64>, kafka: usize, http: usize) -> (usize, usize) {
        let mut settings = ServeSettings::default();
        settings.kafka.connections_max = kafka;
        settings.http.connections_max = http;
        bound_connections(&mut settings, files_max);
        (
            settings.kafka.connections_max,
            settings.http.connections_max,
        )
    }

    #[test]
    fn connections_get_the_files_that_the_store_leaves() {
        assert_eq!(bounded(None, 10_000, 10_000), (10_000, 10_000));
        assert_eq!(bounded(Some(1 << 20), 10_000, 10_000), (10_000, 10_000));
        assert_eq!(bounded(Some(20_400), 10_000, 10_000), (10_000, 10_000));
        assert_eq!(bounded(Some(4_400), 10_000, 10_000), (2_000, 2_000));
        assert_eq!(bounded(Some(1_024), 500, 1_500), (156, 468));
        assert_eq!(bounded(Some(64), 10_000, 10_000), (16, 16));
        assert_eq!(bounded(Some(1), 1_000_000, 1), (1, 1));
    }

    #[test]
    fn what_is_not_served_takes_nothing() {
        let mut settings = ServeSettings {
            http_addr: None,
            ..ServeSettings::default()
        };
        bound_connections(&mut settings, Some(10_400));
        assert_eq!(settings.kafka.connections_max, 10_000);
    }
}
