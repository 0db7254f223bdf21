//! Routes: what is published to one topic goes to others too, in the same commit.
//!
//! A route leads from a topic, or from all topics of a pattern, to topics, and may have a filter. Routes are followed
//! on: with one from A to B and one from B to C, what is published to A is in B and in C. Loops are refused when a route is
//! made ([`loops`]).
//!
//! - [`route`]: what a route is, and how it is written down.
//! - [`set`]: all routes, in memory.
//! - [`plan`]: where the records of one topic go, worked out once and kept with the topic.
//! - [`spread`]: the appends for one batch. A batch that goes whole to a partition is stored once for all such partitions;
//!   what a filter or the choice among several partitions takes apart becomes new batches, still shared by all targets
//!   that take the same records to the same places.
//! - [`admin`]: [`Routes`], what protocols use.
//!
//! A target takes a batch by its own settings, as if it had been sent there. If it refuses, the whole publish is refused,
//! with an error that names the route and the target: nothing is left out in silence. A target that has been deleted is
//! left out, counted and logged. In a target, a key decides the partition as it does for Kafka's producers; records without
//! a key go to the partition they have in the topic that was published to, modulo the target's count.

mod admin;
mod error;
mod loops;
mod plan;
mod route;
mod set;
mod spread;

pub use admin::{RouteDescription, RouteStats, Routes};
pub use error::{RouteEntryError, RouteProblem};
pub use route::{NewRoute, Route, RouteSource};

pub(crate) use loops::Way;
pub(crate) use plan::{Plan, PlanCache};
pub(crate) use set::RouteSet;
pub(crate) use spread::Spread;
