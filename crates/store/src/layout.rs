//! A slot's directory: what is where, and the file that says what kind of directory this is.
//!
//! ```text
//! LOCK        held by the process that has the slot open
//! FORMAT      this is a slot, of which version, with which identity and journal files
//! journal/    the journal's files
//! packs/      packs
//! manifest/   which packs count
//! state.redb  the state table's checkpoint
//! quarantine/ damaged stretches of the journal, as they were found
//! ```
//!
//! `FORMAT` is four lines of text, a name and a value in each, so that a person can tell what a directory is:
//!
//! ```text
//! millstream-slot 1
//! slot 5f0c2d9a7b3e4418
//! journal-file-bytes 67108864
//! crc32c 8a9136aa
//! ```

use std::io;
use std::path::{Path, PathBuf};

use millstream_env::Env;

use crate::error::OpenError;
use crate::files;
use crate::format::crc32c;
use crate::media::local_journal_file_size_is_valid;

/// The version that this release writes, and the latest it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

const FORMAT_FILE_BYTES_MAX: u64 = 4096;

/// Where a slot's parts are.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the slot in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held while the slot is open.
    pub fn lock(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    /// Says what the directory is.
    pub fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    /// The journal's directory.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The packs' directory.
    pub fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    /// The manifests' directory.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest")
    }

    /// The state table's file.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.redb")
    }

    /// Where damage is put aside.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}

/// What a slot is made with, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotFormat {
    /// A random number that its journal entries carry.
    pub slot: u64,
    /// The size of its journal files.
    pub journal_file_bytes: u64,
}

impl SlotFormat {
    /// Reads a slot's format; `None` where there is no slot.
    pub fn read(env: &Env, layout: &Layout) -> Result<Option<Self>, OpenError> {
        let path = layout.format();
        let context = || format!("reading {}", path.display());
        match files::read(&*env.disk, &path, FORMAT_FILE_BYTES_MAX) {
            Ok(content) => Self::decode(&content, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::io(context())(error)),
        }
    }

    /// Writes the format of a new slot.
    pub fn write(&self, env: &Env, layout: &Layout) -> Result<(), OpenError> {
        let path = layout.format();
        files::write_whole(&*env.disk, &path, self.encode().as_bytes())
            .map_err(OpenError::io(format!("writing {}", path.display())))
    }

    fn encode(self) -> String {
        let content = format!(
            "millstream-slot {FORMAT_VERSION}\nslot {:016x}\njournal-file-bytes {}\n",
            self.slot, self.journal_file_bytes
        );
        let crc = crc32c(content.as_bytes());
        format!("{content}crc32c {crc:08x}\n")
    }

    fn decode(content: &[u8], path: &Path) -> Result<Self, OpenError> {
        let damaged = |reason: &str| OpenError::Damaged {
            file: path.to_owned(),
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(content).map_err(|_| damaged("it is not text"))?;
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or_else(|| damaged(&format!("it has no line {name}")))
        };
        let version: u32 = value("millstream-slot")?
            .parse()
            .map_err(|_| damaged("its version is not a number"))?;
        if version > FORMAT_VERSION {
            return Err(OpenError::NewerFormat {
                file: path.to_owned(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        let parsed = Self {
            slot: u64::from_str_radix(value("slot")?, 16)
                .map_err(|_| damaged("its slot is not a number"))?,
            journal_file_bytes: value("journal-file-bytes")?
                .parse()
                .ok()
                .filter(|bytes| local_journal_file_size_is_valid(*bytes))
                .ok_or_else(|| damaged("its journal file size cannot be one"))?,
        };
        if parsed.encode().as_bytes() != content {
            return Err(damaged("its content does not match its checksum"));
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&str) -> String, expected: &str) {
        let format = SlotFormat {
            slot: 0x5f0c_2d9a_7b3e_4418,
            journal_file_bytes: 64 << 20,
        };
        let content = change(&format.encode());
        let found = match SlotFormat::decode(content.as_bytes(), Path::new("FORMAT")) {
            Ok(found) if found == format => "same".to_owned(),
            Ok(_) => "different".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn only_an_unaltered_file_is_taken() {
        check(str::to_owned, "same");
        check(|text| text.replace("5f0c", "5f0d"), "checksum");
        check(|text| text.replace("slot 1", "slot 2"), "has format 2");
        check(|text| text.replace("67108864", "67108865"), "cannot be one");
        check(|_| String::new(), "no line");
    }
}
