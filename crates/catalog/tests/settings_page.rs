//! `docs/topic-settings.md` says what the settings table says.

use std::path::Path;

use millstream_catalog::settings::markdown;

#[test]
fn the_page_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/topic-settings.md");
    let page = markdown::page();
    if std::env::var_os("MILLSTREAM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/topic-settings.md has drifted; run MILLSTREAM_UPDATE_DOCS=1 cargo test -p millstream-catalog --test settings_page"
    );
}
