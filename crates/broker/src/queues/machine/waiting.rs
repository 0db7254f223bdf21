//! Consumers that wait for records, in turn.

use std::collections::{BTreeMap, HashMap};

use millstream_limits::QUEUE_UNTAKEN_DELIVERIES_MAX;
use millstream_record::TimestampMs;

use crate::queues::ids::{ConsumerId, RequestToken};
use crate::queues::wheel::TimerId;

/// A consumer wants records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Names the request. No two that wait share one.
    pub token: RequestToken,
    /// Who asks.
    pub consumer: ConsumerId,
    /// The most records in one delivery.
    pub max: u32,
    /// How long the consumer has for them.
    pub visibility_ms: u64,
    /// How long the request stands.
    pub patience: Patience,
}

/// How long a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It is answered once: with records as soon as there are any, or with nothing when this time comes.
    Until(TimestampMs),
    /// It stands until it is cancelled, and is served again and again, as long as it has credit: so many records.
    Standing {
        /// Records that may be delivered to it.
        credit: u32,
    },
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) request: Receive,
    /// What ends its patience.
    pub(crate) timer: Option<TimerId>,
    /// Deliveries to a standing request that were not taken yet.
    pub(crate) untaken: u32,
    /// It waits for looks that are under way, and for nothing else.
    pub(crate) is_hurried: bool,
}

impl Waiter {
    /// Whether it may get more for the time being.
    fn is_in_line(&self) -> bool {
        match self.request.patience {
            Patience::Until(_) => true,
            Patience::Standing { credit } => {
                credit > 0 && self.untaken < QUEUE_UNTAKEN_DELIVERIES_MAX
            }
        }
    }
}

/// Who waits. Served in the order of their tickets; who is served and stays gets a new one.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    in_line: BTreeMap<u64, Waiter>,
    tickets: HashMap<RequestToken, u64>,
    /// Standing requests without credit, or that have enough to take.
    aside: HashMap<RequestToken, Waiter>,
    last_ticket: u64,
    /// How many are in a hurry.
    hurried: usize,
}

impl Waiting {
    /// How many are in line.
    pub(crate) fn len(&self) -> usize {
        self.in_line.len()
    }

    /// How many there are, those that get nothing for the time being included.
    pub(crate) fn total(&self) -> usize {
        self.in_line.len() + self.aside.len()
    }

    /// Somebody queues up, at the end.
    pub(crate) fn push(&mut self, waiter: Waiter) {
        let token = waiter.request.token;
        if !waiter.is_in_line() {
            self.aside.insert(token, waiter);
            return;
        }
        self.hurried += usize::from(waiter.is_hurried);
        self.last_ticket += 1;
        self.tickets.insert(token, self.last_ticket);
        self.in_line.insert(self.last_ticket, waiter);
    }

    /// The first in line that `may` be served.
    pub(crate) fn pop(&mut self, may: impl Fn(ConsumerId) -> bool) -> Option<Waiter> {
        let ticket = *self
            .in_line
            .iter()
            .find(|(_, waiter)| may(waiter.request.consumer))?
            .0;
        let waiter = self.leave(ticket)?;
        self.tickets.remove(&waiter.request.token);
        Some(waiter)
    }

    /// Somebody leaves.
    pub(crate) fn remove(&mut self, token: RequestToken) -> Option<Waiter> {
        match self.tickets.remove(&token) {
            Some(ticket) => self.leave(ticket),
            None => self.aside.remove(&token),
        }
    }

    fn leave(&mut self, ticket: u64) -> Option<Waiter> {
        let waiter = self.in_line.remove(&ticket)?;
        self.hurried -= usize::from(waiter.is_hurried);
        Some(waiter)
    }

    /// Whether somebody is in a hurry.
    pub(crate) fn has_hurried(&self) -> bool {
        self.hurried > 0
    }

    /// Those who are in a hurry, in turn.
    pub(crate) fn hurried(&self) -> Vec<RequestToken> {
        let in_line = self.in_line.values();
        in_line
            .filter(|waiter| waiter.is_hurried)
            .map(|waiter| waiter.request.token)
            .collect()
    }

    /// Gives a standing request more credit. It keeps its place if it had any left.
    pub(crate) fn add_credit(&mut self, token: RequestToken, more: u32) {
        self.change(token, |waiter| {
            if let Patience::Standing { credit } = &mut waiter.request.patience {
                *credit = credit.saturating_add(more);
            }
        });
    }

    /// So many deliveries to a standing request were taken.
    pub(crate) fn taken(&mut self, token: RequestToken, deliveries: u32) {
        self.change(token, |waiter| {
            waiter.untaken = waiter.untaken.saturating_sub(deliveries);
        });
    }

    /// After a change for the better, who was aside may be in line again.
    fn change(&mut self, token: RequestToken, change: impl FnOnce(&mut Waiter)) {
        if let Some(ticket) = self.tickets.get(&token) {
            if let Some(waiter) = self.in_line.get_mut(ticket) {
                change(waiter);
            }
        } else if let Some(mut waiter) = self.aside.remove(&token) {
            change(&mut waiter);
            self.push(waiter);
        }
    }

    pub(crate) fn first_consumer(&self) -> Option<ConsumerId> {
        let (_, first) = self.in_line.first_key_value()?;
        Some(first.request.consumer)
    }

    /// Whether a consumer has a request here.
    pub(crate) fn has(&self, consumer: ConsumerId) -> bool {
        let mut all = self.in_line.values().chain(self.aside.values());
        all.any(|waiter| waiter.request.consumer == consumer)
    }

    /// The requests of a consumer.
    pub(crate) fn tokens_of(&self, consumer: ConsumerId) -> Vec<RequestToken> {
        let all = self.in_line.values().chain(self.aside.values());
        let mut tokens: Vec<_> = all
            .filter(|waiter| waiter.request.consumer == consumer)
            .map(|waiter| waiter.request.token)
            .collect();
        tokens.sort_unstable();
        tokens
    }
}
