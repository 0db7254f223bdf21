//! Driving the journal, a group at a time.

use std::sync::atomic::Ordering;

use super::{Engine, ROOM_INTERVAL};
use crate::error::OpenError;
use crate::ids::JournalPosition;
use crate::journal::composer::{Composed, Composer, Group};
use crate::journal::writer::JournalWriter;
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
        let composed = composer.compose(self.reach.synced());
        let stuck = matches!(composed, Ok(Composed::NoRoom));
        self.look_for_room_if_due(composer.end(), stuck);
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

    /// Looks at the disk's free space if that was long ago, in time or in bytes written since.
    fn look_for_room_if_due(&self, end: JournalPosition, stuck: bool) {
        let now = self.env.clock.monotonic();
        let mut looked_at = self.room_looked_at.lock();
        let due = looked_at.is_none_or(|(then, written)| {
            let since = end.0 - written.0;
            now.saturating_sub(then) >= ROOM_INTERVAL || since >= self.room.reserve_bytes() / 8
        });
        if due || stuck {
            *looked_at = Some((now, end));
            self.look_for_room(stuck);
        }
    }

    /// Looks at the disk's free space again. `stuck` says that what had to be written was just not to be had.
    pub(crate) fn look_for_room(&self, stuck: bool) {
        // What is settled needs its size once more, and the journal a file to go on in meanwhile.
        let file_bytes = self.journal.room(JournalPosition::ZERO);
        let was_full = self.room.is_full();
        self.room
            .refresh(self.unsettled_bytes() + file_bytes, stuck);
        if self.room.is_full() && !was_full {
            // There may be something to give back.
            self.settling.raise();
        }
    }
}

/// Says in the journal, durably, that a new run begins: from here on a stop is not in order until it is said to be.
pub(super) fn mark_start(
    composer: &mut Composer,
    writer: &mut JournalWriter,
    synced: JournalPosition,
    settings: &SlotSettings,
) -> Result<(), OpenError> {
    let context = || format!("writing the journal in {}", settings.data_dir.display());
    let full = || OpenError::io(context())(std::io::ErrorKind::StorageFull.into());
    let failed = |failure| OpenError::io(context())(std::io::Error::other(failure));
    match composer.compose(synced).map_err(failed)? {
        Composed::Group(group) => writer.write(group).map(drop).map_err(failed),
        Composed::Idle | Composed::NoRoom => Err(full()),
    }
}
