//! What a bad disk does. Tests inside the crate use it too.

use std::path::Path;

/// Spoils each pack in the middle, and so in the middle of some batch.
pub(crate) fn damage_packs(directory: &Path) {
    for file in std::fs::read_dir(directory.join("packs")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 10].fill(0x55);
        std::fs::write(&path, bytes).unwrap();
    }
}
