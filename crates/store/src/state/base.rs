//! The part of the state table that is on disk.
//!
//! Two tables in one redb file: `state` with the keys and values, and `meta` with two numbers, the `version` of this
//! layout and the journal `position` that the content covers. Commits use redb's two-phase commit with its allocator
//! saved, so that opening after a crash does not walk the whole file.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millstream_env::{Access, Disk, DiskFile};
use millstream_limits::STATE_CACHE_BYTES;
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition};

use super::StateError;
use super::backend::{FileBackend, ShadowBackend};
use super::overlay::Overlay;
use crate::format::FormatError;
use crate::ids::JournalPosition;

const STATE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const POSITION: &str = "position";
const VERSION: &str = "version";
const VERSION_VALUE: u64 = 1;
const WHAT: &str = "state table";

pub(super) struct Base {
    database: Database,
    file: Arc<dyn DiskFile>,
}

impl Base {
    /// Opens the table at `path`, if there is one.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, StateError> {
        let file = open_file(disk, path, Access::ReadWrite)?;
        file.map(|file| Self::checked(FileBackend(Arc::clone(&file)), file))
            .transpose()
    }

    /// Opens the table at `path`, if there is one, and leaves its file as it is.
    pub(super) fn open_shadowed(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, StateError> {
        let file = open_file(disk, path, Access::Read)?;
        file.map(|file| Self::checked(ShadowBackend::new(Arc::clone(&file))?, file))
            .transpose()
    }

    /// Opens a table and reads all of it: redb itself looks at checksums only after a crash.
    fn checked(backend: impl StorageBackend, file: Arc<dyn DiskFile>) -> Result<Self, StateError> {
        let open = || -> Result<Self, StateError> {
            let mut database = builder().create_with_backend(backend).map_err(Box::new)?;
            if !database.check_integrity().map_err(Box::new)? {
                tracing::warn!("the state table was damaged and has been repaired");
            }
            let base = Self { database, file };
            base.begin_read()?.check_version()?;
            Ok(base)
        };
        // redb takes some damage for a mistake of its own.
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
            let damaged = FormatError::Malformed {
                what: WHAT,
                why: "its pages do not fit together",
            };
            Err(damaged.into())
        })
    }

    /// The file that it works on, for [`Base::reopen`].
    pub(super) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// Opens the table in `file` again, as it was before a transaction that was broken off: what was whole then is whole.
    /// It takes the handle that is there, as there may be none to be had.
    pub(super) fn reopen(file: Arc<dyn DiskFile>) -> Result<Self, StateError> {
        let database = builder()
            .create_with_backend(FileBackend(Arc::clone(&file)))
            .map_err(Box::new)?;
        let base = Self { database, file };
        base.begin_read()?.check_version()?;
        Ok(base)
    }

    /// Makes the table at `path`. It appears there whole, or not at all.
    pub(super) fn create(
        disk: &dyn Disk,
        path: &Path,
        entries: &Overlay,
        position: JournalPosition,
    ) -> Result<Self, StateError> {
        let unfinished = path.with_extension("new");
        let file = disk.open(&unfinished, Access::Create)?;
        file.set_len(0)?;
        let database = builder()
            .create_with_backend(FileBackend(Arc::clone(&file)))
            .map_err(Box::new)?;
        let base = Self { database, file };
        base.write(entries, position)?;
        disk.rename(&unfinished, path)?;
        disk.sync_dir(crate::files::parent(path))?;
        Ok(base)
    }

    pub(super) fn position(&self) -> Result<JournalPosition, StateError> {
        self.begin_read()?.position()
    }

    /// Adds `entries` and the position they lead up to, in one transaction, and syncs it.
    pub(super) fn write(
        &self,
        entries: &Overlay,
        position: JournalPosition,
    ) -> Result<(), StateError> {
        let mut transaction = self.database.begin_write().map_err(Box::new)?;
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(STATE).map_err(Box::new)?;
            for (key, value) in entries.iter() {
                match value {
                    Some(value) => table.insert(&key[..], &value[..]).map(drop),
                    None => table.remove(&key[..]).map(drop),
                }
                .map_err(Box::new)?;
            }
            let mut meta = transaction.open_table(META).map_err(Box::new)?;
            meta.insert(VERSION, VERSION_VALUE).map_err(Box::new)?;
            meta.insert(POSITION, position.0).map_err(Box::new)?;
        }
        transaction.commit().map_err(Box::new)?;
        Ok(())
    }

    pub(super) fn begin_read(&self) -> Result<BaseRead, StateError> {
        let transaction = self.database.begin_read().map_err(Box::new)?;
        Ok(BaseRead { transaction })
    }
}

/// The base as it is at one moment.
pub(super) struct BaseRead {
    transaction: ReadTransaction,
}

/// Keys and values of the base, in order.
pub(super) type BaseRange = redb::Range<'static, &'static [u8], &'static [u8]>;

impl BaseRead {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let table = self.transaction.open_table(STATE).map_err(Box::new)?;
        let value = table.get(key).map_err(Box::new)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    pub(super) fn range(&self, prefix: &[u8]) -> Result<BaseRange, StateError> {
        let table = self.transaction.open_table(STATE).map_err(Box::new)?;
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(prefix), Bound::Unbounded);
        Ok(table.range::<&[u8]>(bounds).map_err(Box::new)?)
    }

    fn position(&self) -> Result<JournalPosition, StateError> {
        Ok(JournalPosition(self.meta(POSITION)?))
    }

    fn check_version(&self) -> Result<(), StateError> {
        let found = self.meta(VERSION)?;
        if found > VERSION_VALUE {
            return Err(FormatError::Newer {
                what: WHAT,
                found: found.min(u64::from(u16::MAX)) as u16,
                supported: VERSION_VALUE as u16,
            }
            .into());
        }
        Ok(())
    }

    fn meta(&self, name: &str) -> Result<u64, StateError> {
        let table = self.transaction.open_table(META).map_err(Box::new)?;
        let value = table.get(name).map_err(Box::new)?;
        let missing = FormatError::Malformed {
            what: WHAT,
            why: "its version or position is missing",
        };
        Ok(value.ok_or(missing)?.value())
    }
}

fn open_file(
    disk: &dyn Disk,
    path: &Path,
    access: Access,
) -> Result<Option<Arc<dyn DiskFile>>, StateError> {
    if !disk.exists(path)? {
        return Ok(None);
    }
    let file = disk.open(path, access)?;
    if file.is_empty()? {
        return Err(FormatError::Truncated(WHAT).into());
    }
    Ok(Some(file))
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(STATE_CACHE_BYTES);
    builder
}
