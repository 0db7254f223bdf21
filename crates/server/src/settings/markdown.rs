//! The settings as a page for people: `docs/configuration.md` is what [`page`] returns.

use std::fmt::Write;

use super::table::{Group, SETTINGS};

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from the settings table in crates/server. To change it, change the table and run `make docs`. -->

A server needs no configuration. What it can be told is below. Each setting can be given

- as a flag of `millstream serve`: `--data-dir /var/lib/millstream`;
- in the environment, in capitals with underscores: `MILLSTREAM_DATA_DIR=/var/lib/millstream`;
- in `millstream.toml` in the directory the server is started in, or in the file that `--config` or
  `MILLSTREAM_CONFIG` names: `data-dir = \"/var/lib/millstream\"`.

A flag wins over the environment, the environment over the file. A key that is not on this page is refused, and the error
names the nearest one. `MILLSTREAM_SERVER` and `MILLSTREAM_HTTP` tell the other commands where the server is, and mean nothing
to the server itself. Sizes are bytes, or take `KiB`, `MiB`, `GiB` or `TiB`.

What a topic can be told is in [topic settings](topic-settings.md).
";

/// The page, in Markdown.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in Group::ALL {
        let _ = write!(
            page,
            "\n## {}\n\n| setting | default | meaning |\n| --- | --- | --- |\n",
            group.title()
        );
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            let default = setting
                .default()
                .map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
            let _ = writeln!(
                page,
                "| `{}` {} | {default} | {} |",
                setting.key, setting.takes, setting.doc
            );
        }
    }
    page
}
