//! Laying flags over the environment over the file over the defaults.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ServeSettings;
use super::error::{Origin, SettingsError};
use super::nearest::nearest;
use super::table::{SETTINGS, Setting, VARIABLE_PREFIX, variable};

/// The key that names the configuration file, as a flag and in the environment.
pub const CONFIG_KEY: &str = "config";

/// The file that is read if none is named. It need not exist.
const FILE_DEFAULT: &str = "millstream.toml";

/// The variables that tell the command line's clients where the server is. They are no settings, and whoever has exported
/// them can start a server all the same.
const CLIENT_VARIABLES: [&str; 2] = ["MILLSTREAM_SERVER", "MILLSTREAM_HTTP"];

/// What was given outside the file.
#[derive(Debug, Default, Clone)]
pub struct Given {
    /// Flags by key, without their dashes.
    pub flags: BTreeMap<String, String>,
    /// The environment: all of it, what does not begin with `MILLSTREAM_` is passed over.
    pub environment: BTreeMap<String, String>,
}

impl Given {
    /// `flags` and the environment of this process. Variables that are not text are no settings.
    pub fn with_flags(flags: BTreeMap<String, String>) -> Self {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            flags,
            environment: std::env::vars_os().filter_map(text).collect(),
        }
    }
}

/// Reads the configuration file, if there is one, and lays the environment and then the flags over it.
pub fn load(given: &Given) -> Result<ServeSettings, SettingsError> {
    let mut settings = ServeSettings::default();
    if let Some((path, text)) = read_file(given)? {
        apply_file(&mut settings, &path, &text)?;
    }
    apply_environment(&mut settings, &given.environment)?;
    for (key, value) in given.flags.iter().filter(|(key, _)| *key != CONFIG_KEY) {
        apply(&mut settings, key, value, Origin::Flag)?;
    }
    check_session_timeouts(&settings)?;
    Ok(settings)
}

/// With nothing between them no consumer could join a group.
fn check_session_timeouts(settings: &ServeSettings) -> Result<(), SettingsError> {
    let groups = &settings.broker.groups;
    let (least, most) = (groups.session_timeout_min_ms, groups.session_timeout_max_ms);
    if least > most {
        return Err(SettingsError::Contradiction {
            least: "group-min-session-timeout-ms",
            least_value: least.to_string(),
            most: "group-max-session-timeout-ms",
            most_value: most.to_string(),
        });
    }
    Ok(())
}

fn read_file(given: &Given) -> Result<Option<(PathBuf, String)>, SettingsError> {
    let named = given
        .flags
        .get(CONFIG_KEY)
        .or_else(|| given.environment.get(&variable(CONFIG_KEY)));
    let path = PathBuf::from(named.map_or(FILE_DEFAULT, String::as_str));
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SettingsError::Unreadable { path, source }),
    }
}

fn apply_file(settings: &mut ServeSettings, path: &Path, text: &str) -> Result<(), SettingsError> {
    let table: toml::Table =
        text.parse()
            .map_err(|error: toml::de::Error| SettingsError::NotToml {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
    for (key, value) in table {
        let origin = Origin::File(path.to_owned());
        let setting = find(&key, &origin)?;
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            other => {
                let reason = format!(
                    "it takes one value ({}), in quotes or a number",
                    setting.takes
                );
                return Err(SettingsError::BadValue {
                    key,
                    origin,
                    value: other.to_string(),
                    reason,
                });
            }
        };
        set(settings, setting, &value, origin)?;
    }
    Ok(())
}

/// A variable that only begins like ours may be another's, such as those that Kubernetes sets for a service of that
/// name; but one that looks like a misspelt setting is refused.
fn apply_environment(
    settings: &mut ServeSettings,
    environment: &BTreeMap<String, String>,
) -> Result<(), SettingsError> {
    let mut passed_over = Vec::new();
    for (name, value) in environment
        .iter()
        .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
    {
        let setting = SETTINGS.iter().find(|setting| setting.variable() == *name);
        match setting {
            Some(setting) => set(settings, setting, value, Origin::Environment)?,
            None if *name == variable(CONFIG_KEY) => {}
            None if CLIENT_VARIABLES.contains(&name.as_str()) => {}
            None => {
                let unknown = unknown(name, Origin::Environment);
                if matches!(
                    unknown,
                    SettingsError::UnknownKey {
                        nearest: Some(_),
                        ..
                    }
                ) {
                    return Err(unknown);
                }
                passed_over.push(name.as_str());
            }
        }
    }
    if !passed_over.is_empty() {
        settings.remarks.push(format!(
            "environment variables that are no settings: {}",
            passed_over.join(", ")
        ));
    }
    Ok(())
}

fn apply(
    settings: &mut ServeSettings,
    key: &str,
    value: &str,
    origin: Origin,
) -> Result<(), SettingsError> {
    let setting = find(key, &origin)?;
    set(settings, setting, value, origin)
}

fn set(
    settings: &mut ServeSettings,
    setting: &Setting,
    value: &str,
    origin: Origin,
) -> Result<(), SettingsError> {
    (setting.set)(settings, value.trim()).map_err(|reason| SettingsError::BadValue {
        key: origin.spelled(setting.key),
        value: value.to_owned(),
        origin,
        reason,
    })
}

fn find(key: &str, origin: &Origin) -> Result<&'static Setting, SettingsError> {
    let setting = SETTINGS.iter().find(|setting| setting.key == key);
    setting.ok_or_else(|| unknown(&origin.spelled(key), origin.clone()))
}

/// The error for a key that no setting has, written as it was found.
fn unknown(key: &str, origin: Origin) -> SettingsError {
    let known: Vec<String> = SETTINGS
        .iter()
        .map(|setting| origin.spelled(setting.key))
        .collect();
    let nearest = nearest(key, known.iter().map(String::as_str)).map(str::to_owned);
    SettingsError::UnknownKey {
        key: key.to_owned(),
        origin,
        nearest,
    }
}
