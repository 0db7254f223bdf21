//! Driving the journal, a group at a time.

use std::sync::atomic::Ordering;

use super::Engine;
use crate::error::OpenError;
use crate::ids::JournalPosition;
use crate::journal::composer::{Composed, Composer, Group};
use crate::journal::writer::JournalWriter;
use crate::media::Claim;
use crate::room::Room;
use crate::settings::SlotSettings;

impl Engine {
    /// Writes and publishes one group. `false` when there was nothing to write, or no room for it.
    pub(crate) fn step_journal(&self) -> bool {
        if self.has_failed() {
            return false;
        }
        let composed = self.composed.lock().pop_front();
        if let Some(group) = composed {
            return self.write(&mut self.writer.lock(), group);
        }
        let mut composer = self.composer.lock();
        let Some(group) = self.compose(&mut composer) else {
            return false;
        };
        let mut writer = self.writer.lock();
        drop(composer);
        self.write(&mut writer, group)
    }

    /// Composes a group and leaves it to be written.
    pub(crate) fn step_composing(&self) -> bool {
        if self.has_failed() {
            return false;
        }
        let group = self.compose(&mut self.composer.lock());
        let found = group.is_some();
        self.composed.lock().extend(group);
        found
    }

    fn has_failed(&self) -> bool {
        let failed = self.progress.failure().is_some();
        if failed {
            self.queue.clear();
        }
        failed
    }

    fn compose(&self, composer: &mut Composer) -> Option<Group> {
        let claim = self.claim();
        let composed = composer.compose(self.reach.synced(), claim);
        self.note_room(&composed, claim);
        self.look_for_room_if_due(composer.end());
        match composed {
            Ok(Composed::Group(group)) => Some(group),
            Ok(Composed::Idle | Composed::NoRoom) => None,
            Err(failure) => {
                self.fail(failure);
                None
            }
        }
    }

    fn write(&self, writer: &mut JournalWriter, group: Group) -> bool {
        let before = self.reach.written().0;
        match writer.write(group) {
            Ok(sealed) => {
                let end = self.reach.written().0;
                let settled = self.settled.load(Ordering::Acquire);
                let due = self.settings.settle_after_bytes;
                // At the first byte the settler learns that there is something, at the limit that it is enough.
                let crossed = before <= settled || (before - settled < due && end - settled >= due);
                if sealed.is_some() {
                    *self.sealed.lock() = sealed;
                }
                if sealed.is_some() || crossed {
                    self.settling.raise();
                }
                true
            }
            Err(failure) => {
                self.fail(failure);
                false
            }
        }
    }
}

/// Says in the journal, durably, that a new run begins: from here on a stop is not in order until it is said to be. On a
/// full disk no more is claimed for it than it takes: then what the journal holds can be settled.
pub(super) fn mark_start(
    composer: &mut Composer,
    writer: &mut JournalWriter,
    synced: JournalPosition,
    room: &Room,
    settings: &SlotSettings,
) -> Result<(), OpenError> {
    let context = || format!("writing the journal in {}", settings.data_dir.display());
    let full = || OpenError::io(context())(std::io::ErrorKind::StorageFull.into());
    let failed = |failure| OpenError::io(context())(std::io::Error::other(failure));
    let mut composed = Composed::NoRoom;
    if room.has_room_for_journal() {
        composed = composer.compose(synced, Claim::Ahead).map_err(failed)?;
    }
    if matches!(composed, Composed::NoRoom) {
        composed = composer.compose(synced, Claim::Needed).map_err(failed)?;
    }
    match composed {
        Composed::Group(group) => writer.write(group).map(drop).map_err(failed),
        Composed::Idle | Composed::NoRoom => Err(full()),
    }
}
