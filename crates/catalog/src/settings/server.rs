//! What a client may change of the server itself while it runs.
//!
//! Almost everything that the server is told, it is told when it starts. The few keys below are Kafka's, are taken
//! because what they ask for holds anyway, and are kept and shown; any other is refused.

use std::collections::BTreeMap;

use super::change::SettingChange;
use super::error::SettingError;
use super::kind::Kind;
use super::table::{Setting, accepted};

const SYNCED: &str = "every record is synced before it is acknowledged, but on a topic whose own `millstream.durability` asks for less";

/// Every setting, in the order of their keys; the defaults and ranges are Kafka's.
pub static SERVER_SETTINGS: &[Setting] = &[
    accepted(
        "log.flush.interval.messages",
        Kind::Long {
            min: 1,
            max: i64::MAX,
        },
        "9223372036854775807",
        SYNCED,
        "After how many records of a partition a sync to the disk is forced.",
    ),
    accepted(
        "log.flush.interval.ms",
        Kind::Long {
            min: 0,
            max: i64::MAX,
        },
        "9223372036854775807",
        SYNCED,
        "After how long a sync to the disk is forced.",
    ),
    accepted(
        "sasl.kerberos.min.time.before.relogin",
        Kind::Long {
            min: 0,
            max: i64::MAX,
        },
        "60000",
        "the server never logs in to Kerberos, so it never logs in again too soon",
        "How long the server waits before it logs in to Kerberos again.",
    ),
];

/// The settings of a server that were set while it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerSettings {
    set: BTreeMap<&'static str, String>,
}

impl ServerSettings {
    /// Checks `set`, every key and value.
    pub fn new<K, V>(set: impl IntoIterator<Item = (K, V)>) -> Result<Self, SettingError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut known = BTreeMap::new();
        for (key, value) in set {
            let setting = find(key.as_ref())?;
            setting.check(value.as_ref())?;
            known.insert(setting.key, value.as_ref().trim().to_owned());
        }
        Ok(Self { set: known })
    }

    /// What was set, by key: the values as they were given.
    pub fn set(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.set.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The value in force for `setting`, as text, and whether it was set rather than defaulted.
    pub fn get(&self, setting: &Setting) -> (&str, bool) {
        setting.in_force(&self.set)
    }

    /// These settings after `changes`, in their order.
    pub fn changed(&self, changes: &[SettingChange]) -> Result<Self, SettingError> {
        let mut set = self.set.clone();
        for change in changes {
            change.apply(find(&change.key)?, &mut set)?;
        }
        Ok(Self { set })
    }
}

fn find(key: &str) -> Result<&'static Setting, SettingError> {
    let found = SERVER_SETTINGS.iter().find(|setting| setting.key == key);
    found.ok_or_else(|| SettingError::ToldAtStart {
        key: key.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::SettingOp;
    use super::*;

    fn change(key: &str, op: SettingOp) -> SettingChange {
        SettingChange {
            key: key.to_owned(),
            op,
        }
    }

    #[test]
    fn the_table_is_sorted_and_its_defaults_are_valid() {
        assert!(SERVER_SETTINGS.is_sorted_by(|a, b| a.key < b.key));
        for setting in SERVER_SETTINGS {
            assert_eq!(setting.check(setting.default), Ok(()), "{}", setting.key);
        }
    }

    #[test]
    fn a_setting_is_changed_and_goes_back_to_its_default() {
        let setting = find("log.flush.interval.ms").unwrap();
        let set = ServerSettings::new([("log.flush.interval.ms", " 1000 ")]).unwrap();
        assert_eq!(set.get(setting), ("1000", true));
        let deleted = set.changed(&[change("log.flush.interval.ms", SettingOp::Delete)]);
        assert_eq!(deleted.unwrap().get(setting), (setting.default, false));
    }

    #[test]
    fn what_the_server_is_told_at_its_start_is_refused_by_name() {
        for key in ["num.io.threads", "log.cleanup.policy", "no.such.setting"] {
            let op = SettingOp::Set("1".to_owned());
            let refused = ServerSettings::default().changed(&[change(key, op)]);
            assert_eq!(refused.unwrap_err().key(), key);
        }
        assert!(ServerSettings::new([("log.flush.interval.messages", "0")]).is_err());
    }
}
