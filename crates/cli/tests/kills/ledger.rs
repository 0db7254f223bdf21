//! What was sent, what was acknowledged, and what was read back: how they have to fit.
//!
//! Every record names its producer and its place in what that producer sent to its partition. Read from a partition's
//! start, each producer's records count up from 0 without a gap, whether idempotent or not: a client sends nothing
//! new before what failed is there. An idempotent producer's never repeat. A plain one's may, where a record was sent
//! before a kill and acknowledged only after it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes};
use millstream_client::{Client, Delivered, TopicPartition};
use millstream_record::{LeaderEpoch, Offset};

use crate::common::records::{Found, read};
use crate::producers::Style;

/// How often the server has been killed.
type Round = u32;

/// Producer and number within its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    producer: usize,
    number: u64,
}

/// One producer's records for one partition.
#[derive(Debug, Default)]
struct Lane {
    /// By number: the round it was sent in and, once acknowledged, the round of that.
    rounds: Vec<(Round, Option<Round>)>,
    /// The number that has not been read yet.
    unread: u64,
    /// Copies read of records that were read before.
    copies: BTreeMap<u64, u32>,
}

/// What was read from one partition, by offset.
#[derive(Debug, Default)]
struct Log {
    names: Vec<Name>,
    epoch: LeaderEpoch,
}

#[derive(Debug, Default)]
struct Books {
    round: Round,
    lanes: BTreeMap<(usize, TopicPartition), Lane>,
    logs: BTreeMap<TopicPartition, Log>,
    /// Where the server said that a record is.
    acknowledged: Vec<(TopicPartition, Offset, Name)>,
    /// How many of them have been found there.
    found: usize,
}

/// The books of one test, shared by producers and the reader.
pub(crate) struct Ledger {
    styles: &'static [Style],
    partitions: Vec<TopicPartition>,
    books: Mutex<Books>,
}

impl Ledger {
    /// Empty books.
    pub(crate) fn new(topics: &[(&str, i32)], styles: &'static [Style]) -> Ledger {
        let of_topic = |(topic, count): &(&str, i32)| {
            let topic = (*topic).to_owned();
            (0..*count).map(move |index| TopicPartition::new(topic.clone(), index))
        };
        Ledger {
            styles,
            partitions: topics.iter().flat_map(of_topic).collect(),
            books: Mutex::default(),
        }
    }

    /// All partitions.
    pub(crate) fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the next record of a lane before it is sent; gives its number and its value, of about `size` bytes.
    pub(crate) fn send(
        &self,
        producer: usize,
        partition: &TopicPartition,
        size: usize,
    ) -> (u64, Vec<u8>) {
        let mut books = self.books();
        let round = books.round;
        let lane = books
            .lanes
            .entry((producer, partition.clone()))
            .or_default();
        let number = lane.rounds.len() as u64;
        lane.rounds.push((round, None));
        (number, encode(Name { producer, number }, size))
    }

    /// Enters that a record was acknowledged.
    pub(crate) fn acknowledge(&self, producer: usize, number: u64, delivered: &Delivered) {
        let mut books = self.books();
        let offset = delivered
            .offset
            .expect("the server says where, for it remembers as many batches as are in flight");
        books.acknowledged.push((
            delivered.partition.clone(),
            offset,
            Name { producer, number },
        ));
        let round = books.round;
        let lane = books
            .lanes
            .get_mut(&(producer, delivered.partition.clone()))
            .expect("it was sent");
        lane.rounds[number as usize].1 = Some(round);
    }

    /// How many records have been acknowledged.
    pub(crate) fn acknowledgements(&self) -> usize {
        self.books().acknowledged.len()
    }

    /// How many records have been read back.
    pub(crate) fn records_seen(&self) -> usize {
        self.books().logs.values().map(|log| log.names.len()).sum()
    }

    /// The end of a partition, as far as it has been read.
    pub(crate) fn end(&self, partition: &TopicPartition) -> Offset {
        Offset(
            self.books()
                .logs
                .get(partition)
                .map_or(0, |log| log.names.len() as i64),
        )
    }

    /// Enters that the server has been killed.
    pub(crate) fn next_round(&self) {
        self.books().round += 1;
    }

    /// Reads what has been added to all partitions, and checks that it continues what was read before.
    pub(crate) async fn read_on(&self, client: &Client) {
        let from: Vec<_> = self
            .partitions
            .iter()
            .map(|partition| (partition.clone(), self.end(partition)))
            .collect();
        read(client, &from, |partition, record| {
            self.enter(partition, &record);
        })
        .await;
    }

    fn enter(&self, partition: &TopicPartition, record: &Found) {
        let at = record.offset;
        let name =
            decode(&record.value).unwrap_or_else(|| panic!("{partition} {at} is none of ours"));
        let books = &mut *self.books();
        let log = books.logs.entry(partition.clone()).or_default();
        assert_eq!(log.names.len() as i64, at.0, "{partition} skips offsets");
        assert!(
            log.epoch <= record.epoch,
            "{partition} {at}: the leader epoch falls from {:?}",
            log.epoch
        );
        log.names.push(name);
        log.epoch = record.epoch;

        let lane = books.lanes.get_mut(&(name.producer, partition.clone()));
        let lane = lane.unwrap_or_else(|| panic!("{partition} {at}: nothing was sent by {name:?}"));
        if name.number == lane.unread {
            assert!(
                name.number < lane.rounds.len() as u64,
                "{partition} {at}: {name:?} was not sent"
            );
            lane.unread += 1;
            return;
        }
        assert!(
            name.number < lane.unread,
            "{partition} {at}: {name:?} follows a gap, {} was next",
            lane.unread
        );
        let style = &self.styles[name.producer];
        assert!(
            !style.idempotent,
            "{partition} {at}: {name:?} is there twice"
        );
        let copies = lane.copies.entry(name.number).or_default();
        *copies += 1;
        let (sent, acknowledged) = lane.rounds[name.number as usize];
        let kills = acknowledged.unwrap_or(books.round) - sent;
        assert!(
            *copies <= kills,
            "{partition} {at}: {name:?} is there {} times after {kills} kills",
            *copies + 1
        );
    }

    /// Checks that the first `count` acknowledged records were read where they should be.
    pub(crate) fn assert_holds(&self, count: usize) {
        let books = &mut *self.books();
        for (partition, offset, name) in &books.acknowledged[books.found..count] {
            let log = books.logs.get(partition);
            let found = log.and_then(|log| log.names.get(offset.0 as usize));
            assert_eq!(
                found,
                Some(name),
                "what was acknowledged at {partition} {offset}"
            );
        }
        books.found = count;
    }

    /// Checks that every record that was sent was acknowledged and read.
    pub(crate) fn assert_complete(&self) {
        let books = self.books();
        for (lane, Lane { rounds, unread, .. }) in &books.lanes {
            assert_eq!(
                *unread,
                rounds.len() as u64,
                "records sent and read of {lane:?}"
            );
            assert!(
                rounds
                    .iter()
                    .all(|(_, acknowledged)| acknowledged.is_some()),
                "{lane:?}"
            );
        }
    }

    /// Reads everything once more and compares it with what was read as it came.
    pub(crate) async fn assert_reads_the_same_again(&self, client: &Client) {
        let from: Vec<_> = self
            .partitions
            .iter()
            .map(|partition| (partition.clone(), Offset::ZERO))
            .collect();
        let mut counts = BTreeMap::<TopicPartition, usize>::new();
        read(client, &from, |partition, record| {
            let count = counts.entry(partition.clone()).or_default();
            let books = self.books();
            assert_eq!(record.offset.0, *count as i64, "{partition}");
            assert_eq!(
                decode(&record.value).as_ref(),
                books.logs[partition].names.get(*count),
                "{partition} {count}"
            );
            *count += 1;
        })
        .await;
        for (partition, log) in &self.books().logs {
            assert_eq!(counts.get(partition), Some(&log.names.len()), "{partition}");
        }
    }
}

/// The name, and bytes that follow from it up to `size`.
fn encode(name: Name, size: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(size.max(16));
    value.put_u64(name.producer as u64);
    value.put_u64(name.number);
    let filler = (name.number as u8).wrapping_add(name.producer as u8);
    value.resize(size.max(16), filler);
    value
}

fn decode(value: &Bytes) -> Option<Name> {
    let mut reader = value.as_ref();
    let producer = reader.try_get_u64().ok()? as usize;
    let number = reader.try_get_u64().ok()?;
    let filler = (number as u8).wrapping_add(producer as u8);
    reader
        .iter()
        .all(|byte| *byte == filler)
        .then_some(Name { producer, number })
}
