//! `docs/configuration.md` is what the settings table says.

use std::path::Path;

use millstream_server::settings::markdown;

#[test]
fn docs_configuration_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = markdown::page();
    if std::env::var_os("MILLSTREAM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, page).expect("docs/ can be written");
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md has drifted from the settings table; run `make docs`"
    );
}
