//! Everything a topic can be told.
//!
//! [`table`] lists every setting once: what it takes, what it defaults to, what it does here. [`TopicSettings`] keeps
//! what was set apart from what is in force, so that a description can tell the two apart; [`TopicValues`] is what is
//! in force, typed, for the code that acts on it. [`markdown`] renders the table for people. [`SERVER_SETTINGS`] lists
//! the few things that the server itself can be told in the same way.

mod change;
mod error;
mod kind;
pub mod markdown;
mod server;
pub mod table;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use change::{SettingChange, SettingOp};
pub use error::SettingError;
pub use kind::{Kind, Value};
pub use server::{SERVER_SETTINGS, ServerSettings};
pub use table::{Setting, Standing};
pub use values::{Cleanup, TopicValues};

/// A topic's settings: what was set, and what is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSettings {
    set: BTreeMap<&'static str, String>,
    values: TopicValues,
}

impl TopicSettings {
    /// Settings with nothing set: the defaults are in force.
    #[allow(
        clippy::missing_panics_doc,
        reason = "a test shows that it cannot happen"
    )]
    pub fn defaults() -> Self {
        Self::from_known(BTreeMap::new()).expect("the defaults are valid together")
    }

    /// Checks `set`, every key and value and all of them together.
    pub fn new<K, V>(set: impl IntoIterator<Item = (K, V)>) -> Result<Self, SettingError>
    where
        K: AsRef<str>,
        V: Into<String>,
    {
        let mut known = BTreeMap::new();
        for (key, value) in set {
            let setting = table::find(key.as_ref())?;
            let value = value.into();
            setting.check(&value)?;
            known.insert(setting.key, value.trim().to_owned());
        }
        Self::from_known(known)
    }

    /// What was set, by key: the values as they were given.
    pub fn set(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.set.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The value in force for `setting`, as text, and whether it was set rather than defaulted.
    pub fn get(&self, setting: &Setting) -> (&str, bool) {
        setting.in_force(&self.set)
    }

    /// What is in force, typed.
    pub fn values(&self) -> &TopicValues {
        &self.values
    }

    /// These settings after `changes`, in their order. A setting that is fixed once the topic exists must keep its value.
    pub fn changed(&self, changes: &[SettingChange]) -> Result<Self, SettingError> {
        let mut set = self.set.clone();
        for change in changes {
            change.apply(table::find(&change.key)?, &mut set)?;
        }
        self.succeeded_by(Self::from_known(set)?)
    }

    /// Exactly the settings in `set`. A setting that is fixed once the topic exists must keep its value.
    pub fn replaced(
        &self,
        set: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingError> {
        self.succeeded_by(Self::new(set)?)
    }

    fn succeeded_by(&self, next: Self) -> Result<Self, SettingError> {
        let differs = |setting: &&Setting| {
            let parsed = |settings: &Self| setting.kind.parse(settings.get(setting).0);
            setting.fixed && parsed(self) != parsed(&next)
        };
        match table::SETTINGS.iter().find(differs) {
            Some(setting) => Err(SettingError::Fixed { key: setting.key }),
            None => Ok(next),
        }
    }

    /// Takes keys of the table with values that passed their own checks, and checks them together.
    fn from_known(set: BTreeMap<&'static str, String>) -> Result<Self, SettingError> {
        let values = TopicValues::from_text(|key| {
            let setting =
                table::find(key).expect("typed settings are in the table, as a test shows");
            let text = set.get(key).map_or(setting.default, String::as_str);
            setting.kind.parse(text)
        })?;
        values.check_together(&set)?;
        Ok(Self { set, values })
    }
}
