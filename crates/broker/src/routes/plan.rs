//! Where the records of one topic go, all routes followed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_catalog::TopicName;
use millstream_limits::ROUTED_TOPICS_MAX;
use parking_lot::RwLock;

use super::error::RouteProblem;
use super::set::{RouteSet, Routed};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::topics::TopicHandle;

/// Where the records of one topic go.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Topics that are reached, each after all topics from which it is.
    pub(super) nodes: Vec<Node>,
    pub(super) steps: Vec<Step>,
    /// The steps that begin at the topic itself.
    pub(super) first: Vec<usize>,
}

/// A topic that is reached.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) topic: Arc<TopicHandle>,
    /// The steps that lead here.
    pub(super) arrivals: Vec<usize>,
    /// The steps that lead on.
    pub(super) departures: Vec<usize>,
}

/// A route, taken from one topic.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) routed: Arc<Routed>,
    /// How many of its targets are not there.
    pub(super) missing: u64,
}

/// A topic's plan, kept as long as it holds.
#[derive(Debug, Default)]
pub(crate) struct PlanCache(RwLock<Option<(u64, Kept)>>);

/// `None` for a topic from which no route leads.
type Kept = Result<Option<Arc<Plan>>, RouteProblem>;

impl Broker {
    /// Where records that are published to `topic` go beside it. `None` if nowhere.
    pub(crate) fn routes_from(
        &self,
        topic: &Arc<TopicHandle>,
    ) -> Result<Option<Arc<Plan>>, BrokerError> {
        let set = &self.inner.routes;
        if set.is_empty() {
            return Ok(None);
        }
        let generation = set.generation();
        if let Some((of, kept)) = &*topic.plan.0.read()
            && *of == generation
        {
            return Ok(kept.clone()?);
        }
        let made = self.plan_from(topic.name(), &[]);
        let kept = made.map(|plan| (!plan.steps.is_empty()).then(|| Arc::new(plan)));
        *topic.plan.0.write() = Some((generation, kept.clone()));
        Ok(kept?)
    }

    /// The plan of the topic of that name, with `new` among the routes.
    pub(super) fn plan_from(
        &self,
        topic: &TopicName,
        new: &[Arc<Routed>],
    ) -> Result<Plan, RouteProblem> {
        Survey {
            set: &self.inner.routes,
            new,
            find: &|name| self.topic(name.as_str()),
        }
        .plan(topic)
    }
}

/// What a plan is made from.
struct Survey<'a> {
    set: &'a RouteSet,
    new: &'a [Arc<Routed>],
    find: &'a dyn Fn(&TopicName) -> Option<Arc<TopicHandle>>,
}

impl Survey<'_> {
    fn plan(&self, topic: &TopicName) -> Result<Plan, RouteProblem> {
        let mut plan = Plan {
            nodes: Vec::new(),
            steps: Vec::new(),
            first: Vec::new(),
        };
        let mut numbers: HashMap<TopicName, usize> = HashMap::new();
        plan.first = self.leave(topic, &mut plan, &mut numbers)?;
        let mut at = 0;
        while let Some(node) = plan.nodes.get(at) {
            let name = node.topic.name().clone();
            plan.nodes[at].departures = self.leave(&name, &mut plan, &mut numbers)?;
            at += 1;
        }
        if plan.nodes.len() > ROUTED_TOPICS_MAX {
            return Err(RouteProblem::TooFar(topic.clone()));
        }
        Ok(plan.sorted())
    }

    /// Adds the steps that leave `topic` and where they lead, and returns the steps.
    fn leave(
        &self,
        topic: &TopicName,
        plan: &mut Plan,
        numbers: &mut HashMap<TopicName, usize>,
    ) -> Result<Vec<usize>, RouteProblem> {
        let new = self.new.iter();
        let new = new.filter(|routed| routed.route.source.matches(topic.as_str()));
        let mut steps = Vec::new();
        for routed in self.set.from(topic).iter().chain(new) {
            let step = plan.steps.len();
            steps.push(step);
            let mut missing = 0;
            for target in &routed.route.targets {
                let Some(found) = (self.find)(target) else {
                    missing += 1;
                    note_missing(routed, target);
                    continue;
                };
                let number = *numbers.entry(target.clone()).or_insert_with(|| {
                    plan.nodes.push(Node {
                        topic: found,
                        arrivals: Vec::new(),
                        departures: Vec::new(),
                    });
                    plan.nodes.len() - 1
                });
                plan.nodes[number].arrivals.push(step);
            }
            plan.steps.push(Step {
                routed: Arc::clone(routed),
                missing,
            });
            if plan.nodes.len() > 2 * ROUTED_TOPICS_MAX {
                return Err(RouteProblem::TooFar(topic.clone()));
            }
        }
        Ok(steps)
    }
}

fn note_missing(routed: &Routed, target: &TopicName) {
    if !routed.logged.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            route = %routed.route.name,
            %target,
            "a target of the route has been deleted and gets nothing; create it or delete the route"
        );
    }
}

impl Plan {
    /// Puts each node after all from which it is reached. There are no loops; what a damaged table made into one is left
    /// out.
    fn sorted(mut self) -> Self {
        let mut waits: Vec<usize> = self.nodes.iter().map(|node| node.arrivals.len()).collect();
        let mut reaches: Vec<Vec<usize>> = vec![Vec::new(); self.steps.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            for step in &node.arrivals {
                reaches[*step].push(at);
            }
        }
        let mut ready: Vec<usize> = self.first.clone();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(step) = ready.pop() {
            for &node in &reaches[step] {
                waits[node] -= 1;
                if waits[node] == 0 {
                    order.push(node);
                    ready.extend(&self.nodes[node].departures);
                }
            }
        }
        let mut nodes: Vec<Option<Node>> = self.nodes.into_iter().map(Some).collect();
        self.nodes = order
            .into_iter()
            .filter_map(|at| nodes[at].take())
            .collect();
        self
    }

    /// Whether a batch may have to be looked into to tell where its records go.
    pub(crate) fn looks_inside(&self) -> bool {
        let filters = self
            .steps
            .iter()
            .any(|step| step.routed.route.filter.is_some());
        filters
            || self
                .nodes
                .iter()
                .any(|node| node.topic.partition_count() > 1)
    }

    /// The topics that are reached.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Arc<TopicHandle>> {
        self.nodes.iter().map(|node| &node.topic)
    }
}
