//! `millstream serve`: a server in the foreground.
//!
//! Its flags are the rows of the server's settings table, so a setting cannot exist without its flag.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use millstream_server::settings::{self, CONFIG_KEY, Given, SETTINGS};

/// The flags that were given, by setting.
#[derive(Debug, Clone)]
pub(crate) struct Serve {
    flags: BTreeMap<String, String>,
}

impl Serve {
    /// Runs the server until a signal stops it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let settings = settings::load(&Given::with_flags(self.flags))?;
        Ok(millstream_server::run(settings)?)
    }
}

impl Args for Serve {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG_KEY)
            .long(CONFIG_KEY)
            .value_name("FILE")
            .help("The configuration file [default: millstream.toml, if it is there]");
        let flags = SETTINGS.iter().map(|setting| {
            let default = setting
                .default()
                .map(|value| format!(" [default: {value}]"))
                .unwrap_or_default();
            Arg::new(setting.key)
                .long(setting.key)
                .value_name(setting.takes)
                .help_heading(setting.group.title())
                .help(format!("{}{default}", setting.doc))
        });
        command
            .arg(config)
            .args(flags)
            .after_help(
                "Every flag can also be given in the environment (--data-dir as MILLSTREAM_DATA_DIR) or in \
                 millstream.toml (data-dir = \"...\"). Flags win over the environment, that over the file.",
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Serve {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let keys = SETTINGS
            .iter()
            .map(|setting| setting.key)
            .chain([CONFIG_KEY]);
        let given =
            keys.filter_map(|key| Some((key.to_owned(), matches.get_one::<String>(key)?.clone())));
        Ok(Self {
            flags: given.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
