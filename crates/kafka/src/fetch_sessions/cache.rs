//! Which sessions there are, within bounds.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_limits as limits;
use parking_lot::Mutex;

use super::Session;

/// All sessions. Beyond the bounds the one that was longest without a request makes room, if it was idle for a while;
/// otherwise there is no place for a new one.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Cache {
    places: HashMap<i32, Place>,
    /// Partitions of all sessions.
    partitions: usize,
    last_id: i32,
}

#[derive(Debug)]
struct Place {
    session: Arc<Mutex<Session>>,
    partitions: usize,
    used: Instant,
}

impl FetchSessions {
    /// No sessions. Ids begin at a random number, so that a client that has a session from before a restart does not
    /// find itself in another one's.
    pub(crate) fn new() -> FetchSessions {
        let last_id = (RandomState::new().hash_one(()) as i32) & i32::MAX;
        FetchSessions {
            cache: Mutex::new(Cache {
                places: HashMap::new(),
                partitions: 0,
                last_id,
            }),
        }
    }

    /// The session of `id`, which is in use now.
    pub(super) fn touch(&self, id: i32, now: Instant) -> Option<Arc<Mutex<Session>>> {
        let mut cache = self.cache.lock();
        let place = cache.places.get_mut(&id)?;
        place.used = now;
        Some(Arc::clone(&place.session))
    }

    /// Keeps `session` and returns its id, if there is room.
    pub(super) fn open(&self, session: Session, partitions: usize, now: Instant) -> Option<i32> {
        let mut cache = self.cache.lock();
        if partitions == 0 || !cache.make_room(partitions, now) {
            return None;
        }
        let id = cache.free_id();
        let session = Arc::new(Mutex::new(session));
        cache.places.insert(
            id,
            Place {
                session,
                partitions,
                used: now,
            },
        );
        cache.partitions += partitions;
        Some(id)
    }

    /// Notes how many partitions a session has now. Returns false, and closes it, if that is too many.
    pub(super) fn resized(&self, id: i32, partitions: usize) -> bool {
        let mut cache = self.cache.lock();
        let Some(place) = cache.places.get_mut(&id) else {
            return false;
        };
        let before = std::mem::replace(&mut place.partitions, partitions);
        cache.partitions = cache.partitions - before + partitions;
        if cache.partitions > limits::FETCH_SESSION_PARTITIONS_MAX && partitions > before {
            cache.remove(id);
            return false;
        }
        true
    }

    /// Forgets the session, if there is one.
    pub(super) fn close(&self, id: i32) {
        self.cache.lock().remove(id);
    }
}

impl Cache {
    fn make_room(&mut self, partitions: usize, now: Instant) -> bool {
        if partitions > limits::FETCH_SESSION_PARTITIONS_MAX {
            return false;
        }
        while self.places.len() >= limits::FETCH_SESSIONS_MAX
            || self.partitions + partitions > limits::FETCH_SESSION_PARTITIONS_MAX
        {
            let oldest = self.places.iter().min_by_key(|(_, place)| place.used);
            let Some((&id, place)) = oldest else {
                return false;
            };
            let idle_ms_min = Duration::from_millis(limits::FETCH_SESSION_IDLE_MS_MIN);
            if now.saturating_duration_since(place.used) < idle_ms_min {
                return false;
            }
            self.remove(id);
        }
        true
    }

    fn remove(&mut self, id: i32) {
        if let Some(place) = self.places.remove(&id) {
            self.partitions -= place.partitions;
        }
    }

    /// Ids count up and start again from 1: a session that was evicted long ago is not taken for another one.
    fn free_id(&mut self) -> i32 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.places.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}
