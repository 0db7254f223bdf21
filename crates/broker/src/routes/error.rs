//! Why a route is refused, or cannot be read.

use millstream_catalog::TopicName;
use millstream_limits::{ROUTE_NAME_BYTES_MAX, ROUTE_TARGETS_MAX, ROUTED_TOPICS_MAX, ROUTES_MAX};
use thiserror::Error;

/// Why a route cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteProblem {
    /// The name is empty or too long.
    #[error("a route's name has 1 to {ROUTE_NAME_BYTES_MAX} bytes, not {0}")]
    NameLength(usize),
    /// It would break logs and terminals.
    #[error("a route's name may not contain the control character {0:?}")]
    NameCharacter(char),
    /// None or too many targets.
    #[error("a route has 1 to {ROUTE_TARGETS_MAX} targets, not {0}")]
    TargetCount(usize),
    /// A target that does not exist.
    #[error("target {0} does not exist; create the topic first")]
    UnknownTarget(TopicName),
    /// The source does not exist.
    #[error("source {0} does not exist; create the topic first, or use a pattern")]
    UnknownSource(TopicName),
    /// There are too many routes.
    #[error("there are {ROUTES_MAX} routes already; delete one first, or use one with a pattern")]
    TooMany,
    /// One publish would reach too many topics.
    #[error(
        "what is published to {0} would go to more than {ROUTED_TOPICS_MAX} topics; lead it to fewer"
    )]
    TooFar(TopicName),
    /// Records would go round in circles.
    #[error("that makes a loop: {}; take one of these steps out", .0.join(", "))]
    Loop(Vec<String>),
}

/// Why a route in the state table cannot be read. Nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteEntryError {
    /// A newer server wrote it.
    #[error("route {route} has format {format}, which a newer server wrote; start that one")]
    Newer {
        /// The route.
        route: String,
        /// Its format.
        format: u8,
    },
    /// It does not hold together.
    #[error(
        "route {route} is damaged ({why}); nothing was changed, run `millstream doctor` on the data directory"
    )]
    Damaged {
        /// The route.
        route: String,
        /// What is wrong.
        why: String,
    },
}

impl RouteEntryError {
    pub(super) fn damaged(route: &str, why: &str) -> Self {
        Self::Damaged {
            route: route.to_owned(),
            why: why.to_owned(),
        }
    }
}
