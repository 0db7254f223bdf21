//! What was said of each message.

use std::collections::{BTreeMap, BTreeSet};

/// After so many deliveries a message that fails is dead.
pub const ATTEMPTS_MAX: u32 = 4;

/// What is known of a message.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// Publishing it was acknowledged, or it was seen.
    pub exists: bool,
    pub end: End,
    /// How often it was handed out.
    pub deliveries: u32,
    /// How often it was to be acknowledged by itself.
    pub acks_asked: u32,
    /// The message that is acknowledged if, and only if, this one was published.
    pub instead_of: Option<u64>,
    /// Its key. Those of one key come in their order.
    pub key: Option<u64>,
    /// The message whose id it has; it is never seen.
    pub repeats: Option<u64>,
    /// Whether it has an id.
    pub has_id: bool,
    /// The highest goes first.
    pub priority: u8,
    /// When it may be delivered.
    pub due: Option<i64>,
    /// When it is over, whether somebody had it or not.
    pub expires: Option<i64>,
    /// Where it was seen last: its partition, and its place in there.
    pub place: Option<(u32, i64)>,
    /// How often it was delivered when it was seen last.
    pub attempts: u32,
    /// Somebody asked for its death.
    pub rejected: bool,
}

/// A message in a consumer's hands.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub id: u64,
    /// For the so manieth time, as it says.
    pub attempts: u32,
    pub place: (u32, i64),
    pub now: i64,
    /// When the broker was started.
    pub began: i64,
}

/// Whether a message is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    #[default]
    Open,
    /// It was said to be acknowledged.
    Acknowledged,
    /// It was asked to be, and nobody answered.
    Unclear,
}

/// All messages, by number.
#[derive(Debug, Default)]
pub struct Model {
    pub items: BTreeMap<u64, Item>,
    next: u64,
    /// Receives that nobody answered: what they were given counts as delivered.
    pub receives_unclear: u32,
}

impl Model {
    /// A message that is about to be published.
    pub fn make(&mut self, item: Item) -> u64 {
        self.next += 1;
        self.items.insert(self.next, item);
        self.next
    }

    pub fn item(&mut self, id: u64) -> &mut Item {
        self.items.get_mut(&id).unwrap()
    }

    /// Messages with an id that are there for certain, each with its key.
    pub fn repeatable(&self) -> Vec<(u64, Option<u64>)> {
        let there = self.items.iter();
        there
            .filter(|(_, item)| item.exists && item.has_id)
            .map(|(id, item)| (*id, item.key))
            .collect()
    }

    /// Publishing was acknowledged.
    pub fn published(&mut self, id: u64, place: (u32, i64)) -> Result<(), String> {
        let item = self.item(id);
        if item.repeats.is_some() {
            return Ok(());
        }
        item.place = Some(place);
        self.exists(id)
    }

    /// Publishing was acknowledged, or the message was seen.
    pub fn exists(&mut self, id: u64) -> Result<(), String> {
        let item = self
            .items
            .get_mut(&id)
            .ok_or(format!("{id} was never published"))?;
        if let Some(first) = item.repeats {
            return Err(format!("{id} was seen, and repeats the id of {first}"));
        }
        item.exists = true;
        let Some(other) = item.instead_of else {
            return Ok(());
        };
        if self.item(other).end == End::Open {
            return Err(format!(
                "{id} is there, and {other} was not acknowledged with it"
            ));
        }
        self.item(other).end = End::Acknowledged;
        Ok(())
    }

    /// A message was delivered.
    pub fn delivered(&mut self, seen: Seen) -> Result<(), String> {
        let Seen { id, attempts, .. } = seen;
        self.exists(id)?;
        let nobody_had_it = self.receives_unclear == 0;
        let item = self.item(id);
        let is_fresh = nobody_had_it && item.deliveries == 0;
        if is_fresh && item.expires.is_some_and(|expires| expires <= seen.began) {
            return Err(format!("{id} was delivered after its time: {item:?}"));
        }
        item.deliveries += 1;
        (item.place, item.attempts) = (Some(seen.place), attempts);
        let deliveries = item.deliveries;
        if item.due.is_some_and(|due| seen.now < due) {
            return Err(format!("{id} was delivered before its time: {item:?}"));
        }
        match item.end {
            End::Acknowledged => {
                return Err(format!("{id} was delivered after it was acknowledged"));
            }
            // Nobody had answered, and it was not done.
            End::Unclear => item.end = End::Open,
            End::Open => {}
        }
        if attempts == 0 || attempts > deliveries + self.receives_unclear {
            return Err(format!("{id} says {attempts} attempts of {deliveries}"));
        }
        self.is_first_of_its_key(id)?;
        let published = self
            .items
            .iter()
            .find(|(_, item)| item.instead_of == Some(id) && item.exists);
        match published {
            Some((other, _)) => Err(format!(
                "{id} comes again, and {other} was published for it"
            )),
            None => Ok(()),
        }
    }

    /// That nothing of its key which comes before it is still to be done.
    fn is_first_of_its_key(&self, id: u64) -> Result<(), String> {
        let item = &self.items[&id];
        let (Some(key), Some((partition, offset))) = (item.key, item.place) else {
            return Ok(());
        };
        let before = self.items.iter().find(|(_, other)| {
            let is_before = other
                .place
                .is_some_and(|place| place.0 == partition && place.1 < offset);
            let is_open = other.exists && other.end == End::Open;
            let may_be_dead =
                other.rejected || other.attempts + self.receives_unclear >= ATTEMPTS_MAX;
            other.key == Some(key) && is_before && is_open && !may_be_dead
        });
        match before {
            Some((other, _)) => Err(format!("{id} overtook {other}, which has the same key")),
            None => Ok(()),
        }
    }

    /// What was left in the end, and the dead letters: each message is in one place.
    pub fn settle(&mut self, drained: &[u64], dead: &[u64]) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for id in drained.iter().chain(dead) {
            if !seen.insert(*id) {
                return Err(format!("{id} is there twice"));
            }
        }
        for id in dead {
            self.exists(*id)?;
            if self.item(*id).end == End::Acknowledged {
                return Err(format!("{id} was acknowledged and is a dead letter"));
            }
        }
        for (id, item) in &self.items {
            let is_over = matches!(item.end, End::Acknowledged | End::Unclear);
            let may_have_expired = item.expires.is_some();
            if item.exists && !is_over && !may_have_expired && !seen.contains(id) {
                return Err(format!("{id} is lost: {item:?}"));
            }
        }
        // What was acknowledged by publishing another is done only if that is there.
        for (id, item) in &self.items {
            let Some(other) = item.instead_of else {
                continue;
            };
            let other_item = &self.items[&other];
            let is_gone =
                other_item.exists && other_item.end == End::Unclear && !seen.contains(&other);
            let is_gone = is_gone && other_item.expires.is_none();
            let is_only_way = !other_item.asked_otherwise(&self.items, other, *id);
            if is_gone && is_only_way && !item.exists && !seen.contains(id) {
                return Err(format!(
                    "{other} is gone, and {id} was not published for it"
                ));
            }
        }
        Ok(())
    }
}

impl Item {
    /// Whether somebody else asked for its end too.
    fn asked_otherwise(&self, items: &BTreeMap<u64, Item>, of: u64, but: u64) -> bool {
        self.acks_asked > 0
            || items
                .iter()
                .any(|(id, item)| *id != but && item.instead_of == Some(of))
    }
}
