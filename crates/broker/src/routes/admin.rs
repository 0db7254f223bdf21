//! Making, deleting and looking at routes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_catalog::TopicName;
use millstream_limits::ROUTES_MAX;
use millstream_store::{Commit, Durability, Stay, Ticket};

use super::error::RouteProblem;
use super::loops::Way;
use super::route::{NewRoute, Route, RouteSource};
use super::set::Routed;
use crate::broker::Broker;
use crate::error::BrokerError;

/// The routes of a broker.
#[derive(Debug, Clone)]
pub struct Routes<'a> {
    broker: &'a Broker,
}

/// What a route has done since the server started. Publishes that are refused later on, or that a producer sent again,
/// count as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteStats {
    /// Records it took, once for all its targets.
    pub records: u64,
    /// Publishes that were refused because a target did not take a record.
    pub refused: u64,
    /// Records that a target did not get because it has been deleted: one for each record and target.
    pub skipped: u64,
}

/// A route as it is at present.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteDescription {
    /// The route.
    pub route: Arc<Route>,
    /// Topics whose records it takes.
    pub sources: Vec<TopicName>,
    /// Targets that have been deleted.
    pub missing: Vec<TopicName>,
    /// What it has done.
    pub stats: RouteStats,
}

impl Broker {
    /// The routes between its topics.
    pub fn routes(&self) -> Routes<'_> {
        Routes { broker: self }
    }
}

impl Routes<'_> {
    /// Makes a route. Refused if a topic it names is not there, or if it would close a loop.
    pub async fn create(&self, new: NewRoute) -> Result<Arc<Route>, BrokerError> {
        let (route, durable) = {
            // A queue that is being made may lead back by its dead letters.
            let _changing = self.broker.inner.queues.changes.lock().await;
            self.begin_create(new)?
        };
        durable.await?;
        tracing::info!(route = %route.name, source = %route.source, "route created");
        Ok(route)
    }

    /// Deletes the route of that name.
    pub async fn delete(&self, name: &str) -> Result<(), BrokerError> {
        let durable = {
            let set = &self.broker.inner.routes;
            let _changing = set.changing.lock();
            if set.get(name).is_none() {
                return Err(BrokerError::UnknownRoute(name.into()));
            }
            let durable = self.commit(Commit {
                deletes: vec![Route::key(name)],
                ..Commit::default()
            })?;
            set.remove(name);
            durable
        };
        durable.await?;
        tracing::info!(route = name, "route deleted");
        Ok(())
    }

    /// All routes, in the order of their names.
    pub fn list(&self) -> Vec<Arc<Route>> {
        let all = self.broker.inner.routes.all();
        all.iter().map(|routed| Arc::clone(&routed.route)).collect()
    }

    /// The route of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Route>> {
        let routed = self.broker.inner.routes.get(name)?;
        Some(Arc::clone(&routed.route))
    }

    /// The route of that name, and how it is doing.
    pub fn describe(&self, name: &str) -> Option<RouteDescription> {
        let routed = self.broker.inner.routes.get(name)?;
        let route = Arc::clone(&routed.route);
        let topics = self.broker.topics();
        let names = topics.iter().map(|topic| topic.name());
        let sources = names.filter(|name| route.source.matches(name.as_str()));
        let is_missing = |name: &&TopicName| self.broker.topic(name.as_str()).is_none();
        Some(RouteDescription {
            sources: sources.cloned().collect(),
            missing: route.targets.iter().filter(is_missing).cloned().collect(),
            stats: stats(&routed),
            route,
        })
    }

    /// What the route of that name has done.
    pub fn stats(&self, name: &str) -> Option<RouteStats> {
        Some(stats(&*self.broker.inner.routes.get(name)?))
    }

    fn begin_create(&self, new: NewRoute) -> Result<(Arc<Route>, Ticket), BrokerError> {
        let route = Route::check(new, self.broker.now())?;
        let set = &self.broker.inner.routes;
        let _changing = set.changing.lock();
        if set.get(&route.name).is_some() {
            return Err(BrokerError::RouteExists(route.name.as_str().into()));
        }
        self.check_topics(&route)?;
        let all = set.all();
        if all.len() >= ROUTES_MAX {
            return Err(RouteProblem::TooMany.into());
        }
        let returns = |topic: &str| route.source.matches(topic);
        let new = Way::of_route(&route).collect();
        if let Some(steps) = self.broker.loop_closed_by(new, returns) {
            return Err(RouteProblem::Loop(steps).into());
        }
        let routed = Routed::new(route);
        self.check_reach(&routed)?;
        let route = Arc::clone(&routed.route);
        self.broker.inner.slot.check_room(Stay::Lasting)?;
        let durable = self.commit(Commit {
            puts: vec![(Route::key(&route.name), route.encode())],
            ..Commit::default()
        })?;
        set.insert(routed);
        Ok((route, durable))
    }

    fn check_topics(&self, route: &Route) -> Result<(), RouteProblem> {
        let exists = |name: &TopicName| self.broker.topic(name.as_str()).is_some();
        if let RouteSource::Topic(name) = &route.source
            && !exists(name)
        {
            return Err(RouteProblem::UnknownSource(name.clone()));
        }
        match route.targets.iter().find(|name| !exists(name)) {
            Some(name) => Err(RouteProblem::UnknownTarget(name.clone())),
            None => Ok(()),
        }
    }

    /// That no topic there is would be led too far. One that comes later is found out when it is published to.
    fn check_reach(&self, new: &Arc<Routed>) -> Result<(), RouteProblem> {
        let new = std::slice::from_ref(new);
        for topic in self.broker.topics() {
            self.broker.plan_from(topic.name(), new)?;
        }
        Ok(())
    }

    fn commit(&self, commit: Commit) -> Result<Ticket, BrokerError> {
        let commit = Commit {
            promise: Some(Durability::Fsync),
            ..commit
        };
        Ok(self.broker.inner.slot.commit(commit)?.durable)
    }
}

fn stats(routed: &Routed) -> RouteStats {
    RouteStats {
        records: routed.records.load(Ordering::Relaxed),
        refused: routed.refused.load(Ordering::Relaxed),
        skipped: routed.skipped.load(Ordering::Relaxed),
    }
}
