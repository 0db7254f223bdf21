//! The machine, by transcripts and by properties.

mod everything;
mod log;
mod model;
mod properties;
mod size;
mod transcript;
mod words;
mod world;

use millstream_record::{Offset, TimestampMs};

use super::{PartitionBounds, Setup};
use crate::queues::ids::Incarnation;
use crate::queues::policy::QueuePolicy;

fn setup(policy: QueuePolicy, partitions: Vec<PartitionBounds>, incarnation: u32) -> Setup {
    Setup {
        policy,
        partitions,
        incarnation: Incarnation(incarnation),
        seed: 7,
    }
}

fn bounds(start: i64, end: i64) -> PartitionBounds {
    PartitionBounds {
        start: Offset(start),
        end: Offset(end),
    }
}

fn ms(time: i64) -> TimestampMs {
    TimestampMs(time)
}
