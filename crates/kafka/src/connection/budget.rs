//! The memory that large request frames of all connections may hold together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit stands for this many bytes, so that a semaphore's `u32` counts reach any budget.
const UNIT_BYTES: usize = 1 << 10;

/// A byte budget shared by the connections of a listener: a large frame claims room for its bytes as they arrive, and
/// holds it until its request is answered. Connections that find the budget spent stop reading, in the order they came.
///
/// Frames that are half read could then wait for each other for ever, so one of them at a time goes on without.
#[derive(Debug, Clone)]
pub(crate) struct FrameBudget {
    units: Arc<Semaphore>,
    units_max: usize,
    exemption: Arc<Semaphore>,
}

/// What one frame holds of the budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    units: OwnedSemaphorePermit,
    exemption: Option<OwnedSemaphorePermit>,
}

impl FrameBudget {
    pub(crate) fn new(bytes: usize) -> FrameBudget {
        let units_max = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        FrameBudget {
            units: Arc::new(Semaphore::new(units_max)),
            units_max,
            exemption: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits until `room` is enough for `bytes`. A frame larger than the whole budget waits for all of it.
    ///
    /// Cancelling it loses nothing.
    pub(crate) async fn claim(&self, room: &mut Option<Room>, bytes: usize) {
        let wanted = bytes.div_ceil(UNIT_BYTES).min(self.units_max);
        match room {
            None => {
                *room = Some(Room {
                    units: self.take(wanted).await,
                    exemption: None,
                });
            }
            Some(room) => {
                let held = room.units.num_permits();
                if wanted <= held || room.exemption.is_some() {
                    return;
                }
                tokio::select! {
                    biased;
                    more = self.take(wanted - held) => room.units.merge(more),
                    exemption = acquire(&self.exemption, 1) => room.exemption = Some(exemption),
                }
            }
        }
    }

    async fn take(&self, units: usize) -> OwnedSemaphorePermit {
        acquire(&self.units, u32::try_from(units).unwrap_or(u32::MAX)).await
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_many_owned(permits)
        .await
        .expect("the budget's semaphores are never closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn claimed(budget: &FrameBudget, bytes: usize) -> Option<Room> {
        let mut room = None;
        budget.claim(&mut room, bytes).await;
        room
    }

    #[tokio::test]
    async fn a_claim_waits_for_its_bytes_and_an_oversized_one_for_all() {
        let budget = FrameBudget::new(10 << 10);
        let held = claimed(&budget, 8 << 10).await;
        let mut larger = Box::pin(claimed(&budget, 1 << 30));
        assert!(futures_util::poll!(&mut larger).is_pending());
        drop(held);
        drop(larger.await);
        drop(claimed(&budget, 1).await);
    }

    #[tokio::test]
    async fn of_frames_that_wait_for_each_other_one_goes_on() {
        let budget = FrameBudget::new(10 << 10);
        let mut first = claimed(&budget, 5 << 10).await;
        let mut second = claimed(&budget, 5 << 10).await;
        budget.claim(&mut first, 8 << 10).await;
        {
            let mut waiting = Box::pin(budget.claim(&mut second, 8 << 10));
            assert!(futures_util::poll!(&mut waiting).is_pending());
            drop(first);
            waiting.await;
        }
        // It got what the first one gave back, and left the way open for others.
        assert!(second.is_some_and(|room| room.exemption.is_none()));
    }
}
