//! The settings as a page for people: `docs/topic-settings.md` is what [`page`] returns.

use std::fmt::Write;

use super::table::{SETTINGS, Setting, Standing};

const INTRODUCTION: &str = "\
# Topic settings

<!-- Written from the settings table in crates/catalog. To change it, change the table and run
     MILLSTREAM_UPDATE_DOCS=1 cargo test -p millstream-catalog --test settings_page -->

Every setting a topic knows. The keys, defaults and ranges are Kafka's where Kafka has the setting, but for the default of
`index.interval.bytes`, the least `segment.bytes` and the most `max.message.bytes`; those that begin with `millstream.` are
Millstream's own. A key that is not on this page is refused, and so is a value that is out of range: nothing is silently
ignored.
";

/// The page, in Markdown.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    section(
        &mut page,
        "Acted on",
        "What these say is done.",
        |standing| matches!(standing, Standing::Acted),
    );
    section(
        &mut page,
        "Accepted",
        "These are taken, kept and shown, and nothing depends on them: what they ask for holds anyway.",
        |standing| matches!(standing, Standing::Accepted(_)),
    );
    section(
        &mut page,
        "Only at their default",
        "These are shown with their default; any other value is refused.",
        |standing| matches!(standing, Standing::DefaultOnly(_)),
    );
    section(
        &mut page,
        "Refused",
        "Kafka has or had these; here they are refused by name, and the error says what to do instead.",
        |standing| matches!(standing, Standing::Refused(_)),
    );
    page
}

fn section(page: &mut String, title: &str, text: &str, belongs: impl Fn(Standing) -> bool) {
    let mut lines = String::new();
    for setting in SETTINGS.iter().filter(|setting| belongs(setting.standing)) {
        describe(&mut lines, setting).expect("a string takes any text");
    }
    write!(page, "\n## {title}\n\n{text}\n\n{lines}").expect("a string takes any text");
}

fn describe(out: &mut String, setting: &Setting) -> std::fmt::Result {
    writeln!(out, "### `{}`\n", setting.key)?;
    writeln!(out, "{}\n", setting.doc)?;
    if setting.is_shown() {
        let default = if setting.default.is_empty() {
            "empty"
        } else {
            setting.default
        };
        writeln!(out, "- takes {}", setting.kind)?;
        writeln!(out, "- default: `{default}`")?;
    }
    if setting.fixed {
        writeln!(out, "- fixed when the topic is created")?;
    }
    match setting.standing {
        Standing::Acted => {}
        Standing::Accepted(reason) => writeln!(out, "- accepted because {reason}")?,
        Standing::DefaultOnly(reason) | Standing::Refused(reason) => {
            writeln!(out, "- refused: {reason}")?;
        }
    }
    writeln!(out)
}
