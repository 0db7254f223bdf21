//! Room for ids that several queues share.

use std::sync::Arc;

use millstream_record::Offset;

use super::disk::Disk;
use super::log::{Entry, Log, answer_all};
use super::{ms, setup};
use crate::queues::machine::dedup::GROUP_IDS_MAX;
use crate::queues::machine::{Effects, IdsRoom, Queue, RecordState, ScannedRecord, Setup, Write};
use crate::queues::policy::QueuePolicy;

/// A queue and its log, which it looks at whenever something is appended.
struct Sharing {
    queue: Queue,
    log: Log,
    disk: Disk,
}

impl Sharing {
    fn new(room: &Arc<IdsRoom>) -> Self {
        let log = Log::default();
        let mut effects = Effects::default();
        let mut sharing = Self {
            queue: Queue::create(Self::setup(&log, 1, room), ms(0), &mut effects),
            log,
            disk: Disk::default(),
        };
        sharing.take(effects);
        sharing
    }

    fn setup(log: &Log, life: u32, room: &Arc<IdsRoom>) -> Setup {
        Setup {
            ids: Arc::clone(room),
            ..setup(QueuePolicy::default(), vec![log.bounds()], life)
        }
    }

    /// One look brings all of them.
    fn append(&mut self, ids: std::ops::Range<u128>) {
        for id in ids {
            let mut record = ScannedRecord::new(self.log.end(), ms(0));
            record.id = Some(id);
            self.log.entries.push(Entry::Record(record));
        }
        let mut effects = Effects::default();
        let end = self.log.end();
        self.queue.appended(0, end, ms(0), &mut effects);
        self.take(effects);
    }

    fn restart(&mut self, room: &Arc<IdsRoom>) {
        let setup = Self::setup(&self.log, 2, room);
        let mut effects = Effects::default();
        self.queue = Queue::restore(setup, self.disk.found(), ms(0), &mut effects);
        self.take(effects);
    }

    fn take(&mut self, mut effects: Effects) {
        let logs = std::slice::from_ref(&self.log);
        answer_all(logs, &mut self.queue, &mut effects, 1_000_000, 0);
        self.disk.write(&effects.writes);
    }

    /// How many were taken for new, how many repeated one, and how many ids were forgotten early.
    fn counts(&self) -> (u64, u64, u64) {
        let totals = self.queue.totals();
        let open = self.queue.depth(None).open;
        (open, totals.duplicates, totals.ids_forgotten)
    }
}

#[test]
fn a_queue_with_more_than_its_share_forgets_its_own_oldest() {
    let room = Arc::new(IdsRoom::for_ids(10));
    let (mut one, mut other) = (Sharing::new(&room), Sharing::new(&room));
    one.append(0..4);
    for first in [0, 2, 4] {
        other.append(first..first + 2);
    }
    assert_eq!((one.counts().2, other.counts().2), (0, 0));
    other.append(6..7);
    assert_eq!(other.counts(), (7, 0, 2));
    // The next ones of `other` are still known, and so are all of `one`.
    other.append(2..7);
    assert_eq!(other.counts(), (7, 5, 2));
    one.append(0..4);
    assert_eq!(one.counts(), (4, 4, 0));
    // What was forgotten is new again, and has the place that became free.
    other.append(0..1);
    assert_eq!(other.counts(), (8, 5, 2));
    other.append(0..1);
    assert_eq!(other.counts(), (8, 6, 2));
}

#[test]
fn a_queue_that_took_every_place_keeps_no_other_from_remembering() {
    let room = Arc::new(IdsRoom::for_ids(10));
    let (mut greedy, mut other) = (Sharing::new(&room), Sharing::new(&room));
    greedy.append(0..6);
    greedy.append(6..10);
    other.append(0..5);
    other.append(0..5);
    assert_eq!(other.counts(), (5, 5, 0));
    assert_eq!(greedy.counts(), (10, 0, 0));
    // Whoever has more than its share pays for it when it goes on.
    greedy.append(10..11);
    assert_eq!(greedy.counts(), (11, 0, 6));
    other.append(0..5);
    assert_eq!(other.counts(), (5, 10, 0));
    // Beyond its share the other one makes room as well.
    other.append(5..6);
    assert_eq!(other.counts(), (6, 10, 5));
}

#[test]
fn a_single_look_at_more_than_there_is_room_for_keeps_the_first() {
    let room = Arc::new(IdsRoom::for_ids(10));
    let mut one = Sharing::new(&room);
    one.append(0..15);
    assert_eq!(one.counts(), (15, 0, 5));
    one.append(0..15);
    assert_eq!(one.counts(), (20, 10, 15));
}

#[test]
fn places_are_given_back_with_the_ids() {
    let room = Arc::new(IdsRoom::for_ids(10));
    let (mut one, mut other) = (Sharing::new(&room), Sharing::new(&room));
    let fills = |sharing: &mut Sharing| {
        let (_, before, forgotten) = sharing.counts();
        sharing.append(0..10);
        sharing.append(0..10);
        assert_eq!(sharing.counts().1 - before, 10);
        assert_eq!(sharing.counts().2, forgotten);
    };
    fills(&mut one);
    // The window is over.
    let mut effects = Effects::default();
    one.queue.expire(ms(400_000), &mut effects);
    one.take(effects);
    fills(&mut other);
    // The policy has none any more.
    let every = QueuePolicy {
        dedup_window_ms: 0,
        ..QueuePolicy::default()
    };
    let mut effects = Effects::default();
    other.queue.set_policy(every, ms(0), &mut effects);
    other.take(effects);
    let mut third = Sharing::new(&room);
    fills(&mut third);
    // The queue goes.
    drop(third);
    fills(&mut Sharing::new(&room));
}

#[test]
fn what_is_too_much_for_the_room_at_a_restart_is_forgotten() {
    let room = Arc::new(IdsRoom::for_ids(10));
    let mut one = Sharing::new(&room);
    one.append(0..4);
    one.append(4..10);
    let smaller = Arc::new(IdsRoom::for_ids(7));
    one.restart(&smaller);
    assert_eq!(one.counts(), (10, 0, 4));
    one.append(4..10);
    assert_eq!(one.counts(), (10, 6, 4));
    one.append(0..1);
    assert_eq!(one.counts(), (11, 6, 4));
    one.restart(&Arc::new(IdsRoom::for_ids(7)));
    assert_eq!(one.counts().2, 0, "what was forgotten is not stored");
    assert_eq!(one.queue.state(0, Offset(10)), Some(RecordState::Finished));
}

#[test]
fn at_a_restart_too_a_queue_with_less_than_its_share_keeps_it() {
    let room = Arc::new(IdsRoom::for_ids(10));
    let (mut greedy, mut other) = (Sharing::new(&room), Sharing::new(&room));
    greedy.append(0..4);
    greedy.append(4..8);
    other.append(0..2);
    let smaller = Arc::new(IdsRoom::for_ids(5));
    greedy.restart(&smaller);
    other.restart(&smaller);
    assert_eq!((greedy.counts().2, other.counts().2), (4, 0));
    other.append(0..2);
    assert_eq!(other.counts().1, 2);
}

#[test]
fn very_many_ids_of_one_look_are_written_down_in_pieces() {
    let many = 3 * GROUP_IDS_MAX as u128 + 1;
    let room = Arc::new(IdsRoom::for_ids(1_000_000));
    let mut one = Sharing::new(&room);
    one.append(0..many);
    assert_eq!(one.counts(), (many as u64, 0, 0));
    let pieces = one.disk.found().filter_map(|write| match write {
        Write::Ids(image) => Some(image.ids.len()),
        _ => None,
    });
    let pieces: Vec<_> = pieces.collect();
    assert_eq!(pieces.iter().sum::<usize>() as u128, many);
    assert!(pieces.iter().all(|ids| *ids <= GROUP_IDS_MAX), "{pieces:?}");

    one.restart(&room);
    one.append(0..many);
    assert_eq!(one.counts().1, many as u64);
    // They also go piece by piece.
    let mut effects = Effects::default();
    one.queue.expire(ms(400_000), &mut effects);
    one.take(effects);
    one.append(0..many);
    assert_eq!(one.counts().1, many as u64);
}
