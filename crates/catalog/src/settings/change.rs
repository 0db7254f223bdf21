//! A change to one setting.

use std::collections::BTreeMap;

use super::error::SettingError;
use super::kind::{Kind, items};
use super::table::Setting;

/// A change to one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// Which setting.
    pub key: String,
    /// What to do with it.
    pub op: SettingOp,
}

/// What to do with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOp {
    /// Give it this value.
    Set(String),
    /// Let the default be in force again.
    Delete,
    /// Add these items to the list, but for those it has.
    Append(String),
    /// Take these items from the list.
    Subtract(String),
}

impl SettingChange {
    /// Applies the change, which is one to `setting`, to `set`, the values that were set so far.
    pub(super) fn apply(
        &self,
        setting: &'static Setting,
        set: &mut BTreeMap<&'static str, String>,
    ) -> Result<(), SettingError> {
        let value = match &self.op {
            SettingOp::Delete => {
                set.remove(setting.key);
                return Ok(());
            }
            SettingOp::Set(value) => value.trim().to_owned(),
            SettingOp::Append(added) => {
                let mut list = current_list(setting, set)?;
                for item in items(added) {
                    if !list.iter().any(|have| have == item) {
                        list.push(item.to_owned());
                    }
                }
                list.join(",")
            }
            SettingOp::Subtract(removed) => {
                let removed = items(removed);
                let mut list = current_list(setting, set)?;
                list.retain(|item| !removed.contains(&item.as_str()));
                list.join(",")
            }
        };
        setting.check(&value)?;
        set.insert(setting.key, value);
        Ok(())
    }
}

/// The list in force.
fn current_list(
    setting: &Setting,
    set: &BTreeMap<&'static str, String>,
) -> Result<Vec<String>, SettingError> {
    if !matches!(setting.kind, Kind::List(_)) {
        return Err(SettingError::NotAList { key: setting.key });
    }
    let (text, _) = setting.in_force(set);
    Ok(items(text).into_iter().map(str::to_owned).collect())
}
