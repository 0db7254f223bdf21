//! What was said of each message.

use std::collections::{BTreeMap, BTreeSet};

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
    pub fn make(&mut self, instead_of: Option<u64>) -> u64 {
        self.next += 1;
        let item = Item {
            instead_of,
            ..Item::default()
        };
        self.items.insert(self.next, item);
        self.next
    }

    pub fn item(&mut self, id: u64) -> &mut Item {
        self.items.get_mut(&id).unwrap()
    }

    /// Publishing was acknowledged, or the message was seen.
    pub fn exists(&mut self, id: u64) -> Result<(), String> {
        let item = self
            .items
            .get_mut(&id)
            .ok_or(format!("{id} was never published"))?;
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

    /// A message was delivered, for the so manieth time as it says.
    pub fn delivered(&mut self, id: u64, attempts: u32) -> Result<(), String> {
        self.exists(id)?;
        let item = self.item(id);
        item.deliveries += 1;
        let deliveries = item.deliveries;
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
            if item.exists && !is_over && !seen.contains(id) {
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
