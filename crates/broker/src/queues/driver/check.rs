//! What a queue may be told to do.

use std::borrow::Cow;

use millstream_catalog::TopicName;
use millstream_limits::{QUEUE_POLICY_MS_MAX, QUEUE_WINDOW_RECORDS_MAX};

use crate::broker::Broker;
use crate::queues::error::QueueError;
use crate::queues::policy::{Backoff, Overflow, QueuePolicy};
use crate::routes::Way;

/// Refuses a policy that cannot be, and says what of it.
pub(super) fn check_policy(policy: &QueuePolicy) -> Result<(), QueueError> {
    if policy.window_records == 0 {
        return invalid("window_records is at least 1");
    }
    if policy.window_records > QUEUE_WINDOW_RECORDS_MAX {
        return invalid(format!(
            "window_records is at most {QUEUE_WINDOW_RECORDS_MAX}"
        ));
    }
    if policy.retry.jitter_percent > 100 {
        return invalid("retry.jitter_percent is at most 100");
    }
    if policy.in_flight_max == Some(0) {
        return invalid("in_flight_max is at least 1; pause the queue to deliver nothing");
    }
    if policy.length.is_some_and(|length| length.records_max == 0) {
        return invalid("length.records_max is at least 1; delete a queue that is to hold nothing");
    }
    if policy.dead_letter_expired && !policy.dead_letters {
        return invalid("dead_letter_expired needs dead_letters");
    }
    let overflow = policy.length.map(|length| length.overflow);
    if overflow == Some(Overflow::DeadLetterOldest) && !policy.dead_letters {
        return invalid("length.overflow dead_letter_oldest needs dead_letters");
    }
    let too_long = durations_ms(policy)
        .into_iter()
        .find(|(_, duration_ms)| duration_ms.is_some_and(|one| one > QUEUE_POLICY_MS_MAX));
    match too_long {
        Some((name, _)) => invalid(format!(
            "{name} is at most {QUEUE_POLICY_MS_MAX}, ten years"
        )),
        None => Ok(()),
    }
}

impl Broker {
    /// Refuses dead letters that would come back to their queue, to die again: at once, by other queues' dead letters or by
    /// routes. To be asked while nobody else makes queues or routes.
    pub(super) fn check_dead_letters(
        &self,
        queue: &str,
        topic: &TopicName,
        dead_letter_topic: &str,
    ) -> Result<(), QueueError> {
        let new = vec![way_of_dead_letters(queue, topic, dead_letter_topic)];
        let returns = |target: &str| target == topic.as_str();
        match self.loop_closed_by(new, returns) {
            None => Ok(()),
            Some(steps) => invalid(format!(
                "the queue's dead letters would come back to it for ever: {}; name another dead_letter_topic when you create \
                 the queue, or take one of the other steps out; if messages are to wait before they are tried again, \
                 the queue's own retry.backoff does that",
                steps.join(", ")
            )),
        }
    }

    /// Where the dead letters of a topic's queues go.
    pub(crate) fn ways_of_dead_letters(&self, topic: &str) -> Vec<Way> {
        let Some(topic) = self.topic(topic) else {
            return Vec::new();
        };
        let queues = self.queues_of(topic.id()).into_iter();
        let definitions = queues.map(|queue| queue.definition());
        let keeping = definitions.filter(|definition| definition.policy.dead_letters);
        keeping
            .map(|definition| {
                let dead_letter_topic = &definition.dead_letter_topic;
                way_of_dead_letters(&definition.name, topic.name(), dead_letter_topic)
            })
            .collect()
    }
}

fn way_of_dead_letters(queue: &str, topic: &TopicName, dead_letter_topic: &str) -> Way {
    Way {
        target: dead_letter_topic.to_owned(),
        text: format!("{topic} leads to {dead_letter_topic} (dead letters of queue {queue})"),
    }
}

fn durations_ms(policy: &QueuePolicy) -> [(&'static str, Option<u64>); 6] {
    let (Backoff::Fixed { delay_ms }
    | Backoff::Linear { delay_ms }
    | Backoff::Exponential { delay_ms }) = policy.retry.backoff;
    [
        ("retry.backoff delay_ms", Some(delay_ms)),
        ("retry.delay_ms_max", policy.retry.delay_ms_max),
        ("delay_ms", Some(policy.delay_ms)),
        ("ttl_ms", policy.ttl_ms),
        ("dedup_window_ms", Some(policy.dedup_window_ms)),
        ("consumer_idle_ms", Some(policy.consumer_idle_ms)),
    ]
}

fn invalid(why: impl Into<Cow<'static, str>>) -> Result<(), QueueError> {
    Err(QueueError::InvalidPolicy(why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queues::policy::LengthPolicy;

    type Change = fn(&mut QueuePolicy);

    fn refusal(change: Change) -> Option<String> {
        let mut policy = QueuePolicy::default();
        change(&mut policy);
        check_policy(&policy).err().map(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_is_refused_by_name_and_with_its_bound() {
        let bounds: [(Change, &str); 15] = [
            (
                |policy| policy.window_records = 0,
                "window_records is at least 1",
            ),
            (
                |policy| policy.window_records = QUEUE_WINDOW_RECORDS_MAX + 1,
                "window_records is at most 10000000",
            ),
            (
                |policy| policy.retry.jitter_percent = 101,
                "retry.jitter_percent is at most 100",
            ),
            (
                |policy| policy.in_flight_max = Some(0),
                "in_flight_max is at least 1; pause the queue to deliver nothing",
            ),
            (
                |policy| {
                    policy.length = Some(LengthPolicy {
                        records_max: 0,
                        overflow: Overflow::Refuse,
                    });
                },
                "length.records_max is at least 1; delete a queue that is to hold nothing",
            ),
            (
                |policy| policy.dead_letter_expired = true,
                "dead_letter_expired needs dead_letters",
            ),
            (
                |policy| {
                    policy.length = Some(LengthPolicy {
                        records_max: 1,
                        overflow: Overflow::DeadLetterOldest,
                    });
                },
                "length.overflow dead_letter_oldest needs dead_letters",
            ),
            (
                |policy| policy.retry.backoff = Backoff::Fixed { delay_ms: u64::MAX },
                "retry.backoff delay_ms is at most 315360000000, ten years",
            ),
            (
                |policy| policy.retry.backoff = Backoff::Linear { delay_ms: u64::MAX },
                "retry.backoff delay_ms is at most 315360000000, ten years",
            ),
            (
                |policy| policy.retry.backoff = Backoff::Exponential { delay_ms: u64::MAX },
                "retry.backoff delay_ms is at most 315360000000, ten years",
            ),
            (
                |policy| policy.retry.delay_ms_max = Some(QUEUE_POLICY_MS_MAX + 1),
                "retry.delay_ms_max is at most 315360000000, ten years",
            ),
            (
                |policy| policy.delay_ms = QUEUE_POLICY_MS_MAX + 1,
                "delay_ms is at most 315360000000, ten years",
            ),
            (
                |policy| policy.ttl_ms = Some(u64::MAX),
                "ttl_ms is at most 315360000000, ten years",
            ),
            (
                |policy| policy.dedup_window_ms = u64::MAX,
                "dedup_window_ms is at most 315360000000, ten years",
            ),
            (
                |policy| policy.consumer_idle_ms = u64::MAX,
                "consumer_idle_ms is at most 315360000000, ten years",
            ),
        ];
        for (change, why) in bounds {
            assert_eq!(refusal(change).as_deref(), Some(why));
        }
    }

    #[test]
    fn what_is_at_a_bound_is_taken() {
        let taken: [Change; 5] = [
            |_| {},
            |policy| policy.window_records = 1,
            |policy| policy.window_records = QUEUE_WINDOW_RECORDS_MAX,
            |policy| {
                policy.retry.backoff = Backoff::Fixed {
                    delay_ms: QUEUE_POLICY_MS_MAX,
                };
                policy.retry.delay_ms_max = Some(QUEUE_POLICY_MS_MAX);
                policy.retry.jitter_percent = 100;
                policy.delay_ms = QUEUE_POLICY_MS_MAX;
                policy.ttl_ms = Some(QUEUE_POLICY_MS_MAX);
                policy.dedup_window_ms = QUEUE_POLICY_MS_MAX;
                policy.consumer_idle_ms = QUEUE_POLICY_MS_MAX;
                policy.in_flight_max = Some(1);
            },
            |policy| {
                policy.dead_letters = true;
                policy.dead_letter_expired = true;
                policy.length = Some(LengthPolicy {
                    records_max: 1,
                    overflow: Overflow::DeadLetterOldest,
                });
            },
        ];
        for change in taken {
            assert_eq!(refusal(change), None);
        }
    }
}
