//! Finding loops among routes.
//!
//! One route leads to another if a target of the first is a source of the second, by name or by pattern, whether or not the
//! topic exists at present: a topic that is deleted and made anew must not close a loop. As targets are names, asking the
//! pattern about them is exact. Filters do not count: that two of them never let the same record through is not known.

use std::collections::HashSet;

use super::route::Route;

/// The loop that `new` would close among `routes`, step by step, each as text.
pub(super) fn closed_by<'a>(
    new: &'a Route,
    routes: impl Iterator<Item = &'a Route>,
) -> Option<Vec<String>> {
    let routes: Vec<&Route> = routes.chain([new]).collect();
    // Only what is reached from the new route can lead back to it. Each route is entered once, from the one before it.
    let mut entered: HashSet<usize> = HashSet::new();
    let mut path: Vec<Step<'_>> = vec![Step::of(new)];
    while let Some(step) = path.last_mut() {
        let Some(target) = step.route.targets.get(step.target) else {
            path.pop();
            if let Some(before) = path.last_mut() {
                before.next += 1;
            }
            continue;
        };
        if new.source.matches(target.as_str()) {
            return Some(path.iter().map(Step::text).collect());
        }
        let leads_on = |at: &usize| routes[*at].source.matches(target.as_str());
        let next = (step.next..routes.len() - 1).find(leads_on);
        match next {
            Some(at) => {
                step.next = at;
                if entered.insert(at) {
                    path.push(Step::of(routes[at]));
                } else {
                    step.next += 1;
                }
            }
            None => (step.target, step.next) = (step.target + 1, 0),
        }
    }
    None
}

/// A route on the way, and how far it has been looked at.
struct Step<'a> {
    route: &'a Route,
    target: usize,
    /// The first route that has not been asked whether it goes on from that target.
    next: usize,
}

impl<'a> Step<'a> {
    fn of(route: &'a Route) -> Self {
        Self {
            route,
            target: 0,
            next: 0,
        }
    }

    fn text(&self) -> String {
        let Route { name, source, .. } = self.route;
        format!(
            "{source} leads to {} (route {name})",
            self.route.targets[self.target]
        )
    }
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

    #[test]
    fn the_loop_is_told_step_by_step() {
        let routes = [
            route("one", "a", &["x", "b"]),
            route("two", "b.#", &["y", "c"]),
        ];
        let closing = route("three", "c", &["z", "a"]);
        assert_eq!(
            closed_by(&closing, routes.iter()).unwrap(),
            [
                "c leads to a (route three)",
                "a leads to b (route one)",
                "b.# leads to c (route two)"
            ]
        );
        assert_eq!(
            closed_by(&route("three", "c", &["z", "d"]), routes.iter()),
            None
        );
    }

    #[test]
    fn a_route_to_its_own_source_is_a_loop() {
        assert!(closed_by(&route("one", "a", &["a"]), [].iter()).is_some());
        assert!(closed_by(&route("one", "#", &["a"]), [].iter()).is_some());
        assert!(closed_by(&route("one", "a.*", &["a"]), [].iter()).is_none());
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
                let found = closed_by(&new, routes.iter()).is_some();
                let with: Vec<_> = routes.iter().cloned().chain([new.clone()]).collect();
                prop_assert_eq!(found, has_loop(&with, &names));
                if !found {
                    routes.push(new);
                }
            }
        }
    }
}
