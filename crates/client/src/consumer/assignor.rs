//! Kafka's range assignor: of each topic, every member that wants it gets consecutive partitions.

use std::collections::{BTreeMap, HashMap};

use millstream_kafka_wire::Str;

use crate::admin::offsets::TopicPartition;

/// Its name in the protocol.
pub(super) const RANGE: &str = "range";

/// A member as far as assigning goes.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub member_id: Str,
    /// A static member's own name, by which it keeps its place when its id changes.
    pub instance_id: Option<Str>,
    pub topics: Vec<Str>,
}

/// Shares out partitions: `partitions` tells how many a topic has. Every member is in the result.
///
/// Members are ordered as Kafka orders them, static ones by their names before all others by their ids. Of P partitions
/// each of M members gets P / M, and the first P mod M of them one more.
pub(super) fn assign_range(
    candidates: &[Candidate],
    partitions: &HashMap<Str, i32>,
) -> HashMap<Str, Vec<TopicPartition>> {
    let mut assignments: HashMap<_, Vec<_>> = candidates
        .iter()
        .map(|candidate| (candidate.member_id.clone(), Vec::new()))
        .collect();
    for (topic, mut members) in by_topic(candidates) {
        let Some(&count) = partitions.get(topic) else {
            continue;
        };
        members.sort_by_key(|member| {
            (
                member.instance_id.is_none(),
                &member.instance_id,
                &member.member_id,
            )
        });
        let each = count / members.len() as i32;
        let more = count % members.len() as i32;
        let mut next = 0;
        for (place, member) in (0..).zip(members) {
            let share = each + i32::from(place < more);
            let assigned =
                (next..next + share).map(|partition| TopicPartition::new(topic.clone(), partition));
            assignments
                .entry(member.member_id.clone())
                .or_default()
                .extend(assigned);
            next += share;
        }
    }
    assignments
}

fn by_topic(candidates: &[Candidate]) -> BTreeMap<&Str, Vec<&Candidate>> {
    let mut topics = BTreeMap::<_, Vec<_>>::new();
    for candidate in candidates {
        for topic in &candidate.topics {
            topics.entry(topic).or_default().push(candidate);
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(member: &str, instance: Option<&str>, topics: &[&str]) -> Candidate {
        Candidate {
            member_id: member.into(),
            instance_id: instance.map(Str::from),
            topics: topics.iter().map(|&topic| topic.into()).collect(),
        }
    }

    fn assigned(candidates: &[Candidate], topics: &[(&str, i32)], member: &str) -> Vec<String> {
        let partitions = topics
            .iter()
            .map(|&(topic, count)| (topic.into(), count))
            .collect();
        assign_range(candidates, &partitions)[member]
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_first_members_get_what_does_not_divide() {
        let members = [candidate("b", None, &["t"]), candidate("a", None, &["t"])];
        assert_eq!(assigned(&members, &[("t", 5)], "a"), ["t-0", "t-1", "t-2"]);
        assert_eq!(assigned(&members, &[("t", 5)], "b"), ["t-3", "t-4"]);
    }

    #[test]
    fn topics_are_shared_out_each_on_its_own() {
        let members = [
            candidate("a", None, &["t", "u"]),
            candidate("b", None, &["u"]),
        ];
        let topics = [("t", 2), ("u", 3)];
        assert_eq!(
            assigned(&members, &topics, "a"),
            ["t-0", "t-1", "u-0", "u-1"]
        );
        assert_eq!(assigned(&members, &topics, "b"), ["u-2"]);
    }

    #[test]
    fn static_members_come_first_by_name() {
        let members = [
            candidate("a", None, &["t"]),
            candidate("z", Some("one"), &["t"]),
            candidate("y", Some("two"), &["t"]),
        ];
        assert_eq!(assigned(&members, &[("t", 3)], "z"), ["t-0"]);
        assert_eq!(assigned(&members, &[("t", 3)], "y"), ["t-1"]);
        assert_eq!(assigned(&members, &[("t", 3)], "a"), ["t-2"]);
    }

    #[test]
    fn members_without_a_share_and_topics_without_partitions_are_fine() {
        let members = [
            candidate("a", None, &["t", "gone"]),
            candidate("b", None, &["t"]),
        ];
        assert_eq!(assigned(&members, &[("t", 1)], "a"), ["t-0"]);
        assert!(assigned(&members, &[("t", 1)], "b").is_empty());
    }
}
