//! Finding loops among the ways that records take by themselves: routes, and queues' dead letters.
//!
//! A route leads from its source to its targets, whether or not the topics exist at present: one that is deleted and made
//! anew must not close a loop. As targets are names, asking a pattern about them is exact. Filters do not count: that two
//! of them never let the same record through is not known. A queue with dead letters leads from its topic to theirs.

use std::collections::HashSet;

use super::route::Route;
use crate::broker::Broker;

/// A step that records take from one topic to another.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Where it leads.
    pub(crate) target: String,
    /// What it is, for whoever has to take it out.
    pub(crate) text: String,
}

impl Way {
    /// All that a route leads to.
    pub(super) fn of_route(route: &Route) -> impl Iterator<Item = Self> {
        let Route { name, source, .. } = route;
        route.targets.iter().map(move |target| Self {
            target: target.to_string(),
            text: format!("{source} leads to {target} (route {name})"),
        })
    }
}

impl Broker {
    /// The loop that a new way or some would close, step by step, if they begin where `returns` says.
    pub(crate) fn loop_closed_by(
        &self,
        new: Vec<Way>,
        returns: impl Fn(&str) -> bool,
    ) -> Option<Vec<String>> {
        let routes = self.inner.routes.all();
        closed_by(new, returns, |topic| {
            let routes = routes.iter().map(|routed| &*routed.route);
            let routes = routes.filter(|route| route.source.matches(topic));
            let mut ways: Vec<Way> = routes.flat_map(Way::of_route).collect();
            ways.extend(self.ways_of_dead_letters(topic));
            ways
        })
    }
}

/// The loop that `new` would close beside what leads on `from` a topic. Each topic is entered once: what did not lead back
/// from there does not the next time.
fn closed_by(
    new: Vec<Way>,
    returns: impl Fn(&str) -> bool,
    from: impl Fn(&str) -> Vec<Way>,
) -> Option<Vec<String>> {
    let mut entered: HashSet<String> = HashSet::new();
    // What is left to look at after each step; the last of each is the step itself.
    let mut path = vec![new];
    while let Some(ways) = path.last_mut() {
        let Some(way) = ways.last() else {
            path.pop();
            path.last_mut().and_then(Vec::pop);
            continue;
        };
        if returns(&way.target) {
            let steps = path.iter().filter_map(|ways| ways.last());
            return Some(steps.map(|way| way.text.clone()).collect());
        }
        if entered.insert(way.target.clone()) {
            let next = from(&way.target);
            path.push(next);
        } else {
            ways.pop();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millstream_catalog::TopicName;
    use millstream_record::TimestampMs;
    use proptest::prelude::*;

    use super::super::route::RouteSource;
    use super::*;
    use crate::filter::TopicPattern;

    fn route(name: &str, source: &str, targets: &[&str]) -> Route {
        Route {
            name: name.to_owned(),
            source: RouteSource::Pattern(TopicPattern::new(source).unwrap()),
            filter: None,
            targets: targets
                .iter()
                .map(|name| TopicName::new(name).unwrap())
                .collect(),
            created: TimestampMs(0),
        }
    }

    fn closed_by<'a>(
        new: &Route,
        routes: &(impl Iterator<Item = &'a Route> + Clone),
    ) -> Option<Vec<String>> {
        let from = |topic: &str| {
            let leading = routes.clone().filter(|route| route.source.matches(topic));
            leading.flat_map(Way::of_route).collect()
        };
        let returns = |topic: &str| new.source.matches(topic);
        super::closed_by(Way::of_route(new).collect(), returns, from)
    }

    #[test]
    fn the_loop_is_told_step_by_step() {
        let routes = [
            route("one", "a", &["x", "b"]),
            route("two", "b.#", &["y", "c"]),
        ];
        let closing = route("three", "c", &["z", "a"]);
        assert_eq!(
            closed_by(&closing, &routes.iter()).unwrap(),
            [
                "c leads to a (route three)",
                "a leads to b (route one)",
                "b.# leads to c (route two)"
            ]
        );
        assert_eq!(
            closed_by(&route("three", "c", &["z", "d"]), &routes.iter()),
            None
        );
    }

    #[test]
    fn a_route_to_its_own_source_is_a_loop() {
        assert!(closed_by(&route("one", "a", &["a"]), &[].iter()).is_some());
        assert!(closed_by(&route("one", "#", &["a"]), &[].iter()).is_some());
        assert!(closed_by(&route("one", "a.*", &["a"]), &[].iter()).is_none());
    }

    /// Every topic's successors, and whether some topic comes back to itself.
    fn has_loop(routes: &[Route], topics: &[String]) -> bool {
        let next = |topic: &str| -> BTreeSet<String> {
            let from = routes.iter().filter(|route| route.source.matches(topic));
            from.flat_map(|route| route.targets.iter().map(ToString::to_string))
                .collect()
        };
        topics.iter().any(|start| {
            let mut reached = next(start);
            for _ in topics {
                let more: Vec<_> = reached.iter().flat_map(|topic| next(topic)).collect();
                reached.extend(more);
            }
            reached.contains(start)
        })
    }

    proptest! {
        #[test]
        fn loops_are_found_as_by_following_every_path(
            made in proptest::collection::vec((0..7usize, proptest::collection::vec(0..6usize, 1..3)), 1..12),
        ) {
            let names: Vec<String> = (0..6).map(|n| format!("t.{n}")).collect();
            let sources = ["t.0", "t.1", "t.2", "t.3", "t.4", "t.5", "*.0"];
            let mut routes: Vec<Route> = Vec::new();
            for (source, targets) in made {
                let targets: Vec<&str> = targets.iter().map(|at| names[*at].as_str()).collect();
                let new = route("r", sources[source], &targets);
                let found = closed_by(&new, &routes.iter()).is_some();
                let with: Vec<_> = routes.iter().cloned().chain([new.clone()]).collect();
                prop_assert_eq!(found, has_loop(&with, &names));
                if !found {
                    routes.push(new);
                }
            }
        }
    }
}
