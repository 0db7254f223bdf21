//! Fetch sessions (KIP-227): a consumer names its partitions once, and afterwards only what changes.
//!
//! A session remembers what is read of each partition and what the consumer was last told. [`FetchSessions::begin`]
//! turns a request into the partitions to read, [`Turn::finish`] leaves out of the response what has not changed.
//! A consumer whose session was evicted, or finds no place, works on without one at the cost of larger requests.
//!
//! Nothing here reads a partition or waits.

mod cache;
mod partitions;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use millstream_kafka_wire::messages::FetchRequest;
use millstream_kafka_wire::messages::fetch::PartitionData;
use millstream_kafka_wire::{ErrorCode, Str};
use parking_lot::Mutex;
use uuid::Uuid;

pub(crate) use cache::FetchSessions;
use partitions::Partitions;

/// The first version of Fetch that names topics by their ids.
pub(crate) const TOPIC_IDS_FROM: i16 = 13;

/// The epoch that asks for a new session.
const FIRST_EPOCH: i32 = 0;

/// The epoch that ends a session or does without one.
const FINAL_EPOCH: i32 = -1;

/// A topic as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicRef {
    Name(Str),
    Id(Uuid),
}

/// A partition as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PartitionRef {
    pub(crate) topic: TopicRef,
    pub(crate) index: i32,
}

/// What to read of a partition. Numbers are as they came: -1 stands for an unknown epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) bytes_max: i32,
}

/// One session. `epoch` is the one that the next request has to have.
#[derive(Debug)]
struct Session {
    epoch: i32,
    names_by_id: bool,
    partitions: Partitions,
}

/// One request's share in a session, from its arrival to its response.
#[derive(Debug)]
pub(crate) struct Turn {
    /// What to read, in order, each partition once.
    pub(crate) wanted: Vec<(PartitionRef, Position)>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    New {
        names_by_id: bool,
    },
    Incremental {
        id: i32,
        session: Arc<Mutex<Session>>,
        next_epoch: i32,
    },
}

/// What goes back: the session, and the partitions to tell of.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) session_id: i32,
    pub(crate) partitions: Vec<(TopicRef, PartitionData)>,
}

impl FetchSessions {
    /// Takes a request of `version` into its session, or says why the session cannot be used.
    pub(crate) fn begin(
        &self,
        request: &FetchRequest,
        version: i16,
        now: Instant,
    ) -> Result<Turn, ErrorCode> {
        let names_by_id = version >= TOPIC_IDS_FROM;
        match request.session_epoch {
            FIRST_EPOCH | FINAL_EPOCH => {
                self.close(request.session_id);
                let kind = if request.session_epoch == FIRST_EPOCH {
                    Kind::New { names_by_id }
                } else {
                    Kind::Sessionless
                };
                let mut seen = HashSet::new();
                let wanted = wanted(request, names_by_id)
                    .filter(|(partition, _)| seen.insert(partition.clone()));
                Ok(Turn {
                    wanted: wanted.collect(),
                    kind,
                })
            }
            _ => self.go_on(request, names_by_id, now),
        }
    }

    fn go_on(
        &self,
        request: &FetchRequest,
        names_by_id: bool,
        now: Instant,
    ) -> Result<Turn, ErrorCode> {
        let id = request.session_id;
        let session = self
            .touch(id, now)
            .ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let mut state = session.lock();
        if state.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if state.names_by_id != names_by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        for (partition, position) in wanted(request, names_by_id) {
            state.partitions.set(partition, position);
        }
        for partition in forgotten(request, names_by_id) {
            state.partitions.remove(&partition);
        }
        state.epoch = next_epoch(state.epoch);
        let next_epoch = state.epoch;
        let wanted = state.partitions.wanted();
        let size = wanted.len();
        drop(state);

        if size == 0 {
            self.close(id);
            return Ok(Turn {
                wanted,
                kind: Kind::Sessionless,
            });
        }
        if !self.resized(id, size) {
            // It grew beyond what all sessions together may remember, and is gone.
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        let kind = Kind::Incremental {
            id,
            session,
            next_epoch,
        };
        Ok(Turn { wanted, kind })
    }

    /// Ends a request's turn with what was found in each of its wanted partitions, in the same order.
    pub(crate) fn finish(
        &self,
        turn: Turn,
        found: Vec<PartitionData>,
        now: Instant,
    ) -> Result<Told, ErrorCode> {
        let Turn { wanted, kind } = turn;
        let (id, session) = match kind {
            Kind::Sessionless => return Ok(Told::everything(0, wanted, found)),
            Kind::New { names_by_id } => {
                let partitions = Partitions::new(&wanted, &found);
                let session = Session {
                    epoch: next_epoch(FIRST_EPOCH),
                    names_by_id,
                    partitions,
                };
                let id = self.open(session, wanted.len(), now).unwrap_or(0);
                return Ok(Told::everything(id, wanted, found));
            }
            Kind::Incremental {
                id,
                session,
                next_epoch,
            } => {
                if session.lock().epoch != next_epoch {
                    return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
                }
                (id, session)
            }
        };
        let mut state = session.lock();
        let mut partitions = Vec::new();
        for ((partition, _), data) in wanted.into_iter().zip(found) {
            if state.partitions.tell(&partition, &data) {
                partitions.push((partition.topic, data));
            }
        }
        Ok(Told {
            session_id: id,
            partitions,
        })
    }
}

impl Told {
    fn everything(
        session_id: i32,
        wanted: Vec<(PartitionRef, Position)>,
        found: Vec<PartitionData>,
    ) -> Told {
        let topics = wanted.into_iter().map(|(partition, _)| partition.topic);
        Told {
            session_id,
            partitions: topics.zip(found).collect(),
        }
    }
}

/// The epoch after `epoch`: 0 and -1 have meanings of their own.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

fn wanted(
    request: &FetchRequest,
    names_by_id: bool,
) -> impl Iterator<Item = (PartitionRef, Position)> {
    request.topics.iter().flat_map(move |topic| {
        let name = topic_ref(&topic.topic, topic.topic_id, names_by_id);
        topic.partitions.iter().map(move |partition| {
            let position = Position {
                offset: partition.fetch_offset,
                leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                bytes_max: partition.partition_max_bytes,
            };
            (
                PartitionRef {
                    topic: name.clone(),
                    index: partition.partition,
                },
                position,
            )
        })
    })
}

fn forgotten(request: &FetchRequest, names_by_id: bool) -> impl Iterator<Item = PartitionRef> {
    request.forgotten_topics_data.iter().flat_map(move |topic| {
        let name = topic_ref(&topic.topic, topic.topic_id, names_by_id);
        topic.partitions.iter().map(move |index| PartitionRef {
            topic: name.clone(),
            index: *index,
        })
    })
}

/// A copy of the topic's name: the request's would keep its whole frame alive for as long as the session lives.
fn topic_ref(name: &Str, id: Uuid, names_by_id: bool) -> TopicRef {
    if names_by_id {
        TopicRef::Id(id)
    } else {
        TopicRef::Name(Str::from(&**name))
    }
}
