//! Reading the groups at start.

use millstream_env::Env;
use millstream_record::TimestampMs;
use millstream_store::Slot;
use millstream_store::state::StateError;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use super::Groups;
use super::cell::Cell;
use crate::fields::RecordError;
use crate::groups::ids::GroupId;
use crate::groups::machine::ClassicGroup;
use crate::groups::record::{group, offset};
use crate::groups::settings::GroupSettings;

/// Why the groups could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GroupsLoadError {
    /// A record is damaged, or a newer server wrote it.
    #[error("reading the consumer groups: {0}")]
    Record(#[from] RecordError),
    /// The state table could not be read.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Groups {
    /// Reads all groups. Their members have a fresh session from now on. Blocks.
    pub(crate) fn open(
        slot: Slot,
        env: Env,
        settings: GroupSettings,
    ) -> Result<Self, GroupsLoadError> {
        let groups = Self::new(slot, env, settings);
        let mut cells: HashMap<GroupId, Cell> = HashMap::new();
        for entry in groups.slot.state().scan(&group::prefix())? {
            let (key, value) = entry?;
            let id = group::decode_key(&key)?;
            let record = group::decode(&value)?;
            let machine = ClassicGroup::restore(record.image, groups.rules(), groups.now());
            cells.insert(id.clone(), Cell::new(id, machine, record.emptied));
        }
        for entry in groups.slot.state().scan(&offset::prefix())? {
            let (key, value) = entry?;
            let (id, at) = offset::decode_key(&key)?;
            let without_members = || {
                Cell::new(
                    id.clone(),
                    ClassicGroup::new(groups.rules()),
                    TimestampMs(0),
                )
            };
            let cell = cells.entry(id.clone()).or_insert_with(without_members);
            cell.offsets.insert(at, offset::decode(&value)?);
        }
        for cell in cells.values_mut() {
            groups.alarms.set(cell);
        }
        let shared = cells
            .into_iter()
            .map(|(id, cell)| (id, Arc::new(Mutex::new(cell))));
        *groups.cells.write() = shared.collect();
        Ok(groups)
    }
}
