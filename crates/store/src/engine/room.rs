//! What there is room for on the disk, and what is done when there is none.
//!
//! While the journal may claim no more, what is queued for it waits for the next boundary, or for a deletion: those are
//! written with what they need, and what waits before them with them. So the journal goes on in rounds, and what clients
//! may begin meanwhile is bounded.

use super::{Engine, ROOM_INTERVAL};
use crate::error::{CommitError, SlotFailure};
use crate::ids::JournalPosition;
use crate::journal::composer::Composed;
use crate::media::Claim;
use crate::room::Stay;
use crate::sequencer::Refusals;

impl Engine {
    /// Refuses what a client asks for if there is no room for it.
    pub(crate) fn check_room(&self, stay: Stay) -> Result<(), CommitError> {
        let room = &self.room;
        let refused = self.is_stuck() || (stay == Stay::Lasting && room.is_short());
        if refused { Err(room.refusal()) } else { Ok(()) }
    }

    /// What appends are refused with at present.
    pub(super) fn refusals(&self) -> Refusals {
        let (room, budget) = (&self.room, &self.budget);
        // What is queued does not show in what is free.
        let left_bytes = room
            .unclaimed_bytes()
            .saturating_sub(room.reserve_bytes() / 2);
        let disk_full = room.is_full() || budget.queued_bytes() as u64 > left_bytes;
        let journal_full =
            room.journal_waits() && (self.is_stuck() || budget.memory_partitions_full(0));
        Refusals {
            disk: disk_full.then(|| room.refusal()),
            journal: journal_full.then(|| room.refusal()),
        }
    }

    /// Whether what is queued for the journal waits for room, and is as much as may wait, or waits in vain.
    fn is_stuck(&self) -> bool {
        self.room.journal_waits()
            && (self.room.settling_waits() || self.queue.waiting_bytes() >= self.waiting_bytes_max)
    }

    /// How much the next group may claim of the disk. What is left in the end is for settling, and for what frees more.
    pub(super) fn claim(&self) -> Claim {
        let has_room = self.room.has_room_for_journal();
        // There may be none although there seems to be: a quota does not show.
        let is_tight = !has_room || self.room.journal_waits();
        if is_tight && self.queue.makes_room() {
            Claim::Needed
        } else if has_room {
            Claim::Ahead
        } else {
            Claim::Nothing
        }
    }

    /// Notes whether there was room for a group.
    pub(super) fn note_room(&self, composed: &Result<Composed, SlotFailure>, claim: Claim) {
        let waits = matches!(composed, Ok(Composed::NoRoom));
        let waited = self.room.set_journal_waits(waits);
        if waits && claim == Claim::Needed {
            self.room.set_settling_waits(true);
        }
        if waits && !waited {
            // A boundary is to be drawn.
            self.settling.raise();
        }
    }

    /// Looks at the disk's free space if that was long ago, in time or in bytes written since, or something waits for it.
    pub(super) fn look_for_room_if_due(&self, end: JournalPosition) {
        let now = self.env.clock.monotonic();
        let mut looked_at = self.room_looked_at.lock();
        let due = looked_at.is_none_or(|(then, written)| {
            let since = end.0 - written.0;
            now.saturating_sub(then) >= ROOM_INTERVAL || since >= self.room.reserve_bytes() / 8
        });
        if due || self.room.journal_waits() {
            *looked_at = Some((now, end));
            self.look_for_room();
        }
    }

    /// Looks at the disk's free space again.
    pub(crate) fn look_for_room(&self) {
        // What is settled needs its size once more, and the journal a file to go on in meanwhile.
        let file_bytes = self.journal.room(JournalPosition::ZERO);
        let was_full = self.room.is_full();
        self.room.refresh(self.unsettled_bytes() + file_bytes);
        if self.room.is_full() && !was_full {
            // There may be something to give back.
            self.settling.raise();
        }
    }
}
