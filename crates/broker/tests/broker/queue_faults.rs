//! Queues when something is in the way: a full disk, a target that is gone, messages too large to take at once, batches that
//! cannot be read.

use std::path::Path;
use std::time::Duration;

use millstream_broker::groups::{
    Generation, GroupError, GroupId, MemberId, MemberRef, OffsetCommit, OffsetKey, PartitionCommit,
};
use millstream_broker::headers;
use millstream_broker::produce::{ExpectedPosition, NewMessage};
use millstream_broker::queues::machine::Retry;
use millstream_broker::queues::{
    NewQueue, QueueError, QueueHandle, QueuePolicy, ReceiveSpec, Received, Redrive, StartAt,
};
use millstream_broker::streams::DeleteBefore;
use millstream_env::sim::SimDisk;
use millstream_env::{Access, SeededRng, SystemClock};
use millstream_record::header;

use super::queues::{
    ack, asking, dead, drain, eventually, message, new_queue, publish, queue_on, retrying, values,
    with,
};
use super::routes::from_topic;
use super::*;

const MIB: usize = 1 << 20;

const DISK_BYTES: u64 = 1 << 30;

fn receipts(received: &[Received]) -> Vec<millstream_broker::queues::Receipt> {
    received.iter().map(|one| one.receipt).collect()
}

async fn receive(queue: &QueueHandle, max: u32) -> Vec<Received> {
    queue.receive(asking(max, 5_000)).await.unwrap().0
}

/// A broker on a disk in memory, whose size can change.
async fn on_disk(disk: &SimDisk) -> Broker {
    let mut settings = BrokerSettings::new("/broker");
    settings.slot.journal_file_bytes = 8 << 20;
    settings.slot.disk_reserve_bytes = 8 << 20;
    super::retention::be_eager(&mut settings);
    let env = Env {
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SeededRng::new(1)),
        disk: disk.mount(),
    };
    Broker::open(settings, env).await.unwrap()
}

async fn on_small_disk() -> (SimDisk, Server) {
    let disk = SimDisk::new(1, DISK_BYTES);
    let server = Server {
        broker: on_disk(&disk).await,
        directory: tempfile::tempdir().unwrap(),
    };
    (disk, server)
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_appended_and_the_queue_goes_on_once_there_is_room() {
    let (disk, server) = on_small_disk().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(3)).await;
    publish(&server, &topic, 10).await;
    let received = receive(&queue, 10).await;

    disk.set_capacity(disk.used_bytes() + (1 << 20));
    let noise = server.partition("noise", &[]).await;
    eventually("the disk is full", async || {
        let refused = server.append(&noise, batch(&["noise"])).await;
        matches!(refused, Err(BrokerError::DiskFull { .. }))
    })
    .await;
    let refused = queue
        .ack_and_publish(
            &receipts(&received[..1]),
            &[(Arc::clone(&topic), vec![message("more")])],
        )
        .await;
    let Err(QueueError::Broker(BrokerError::DiskFull {
        available_bytes,
        reserve_bytes,
    })) = refused
    else {
        panic!("{refused:?}");
    };
    assert!(available_bytes > 0 && reserve_bytes > 0);
    // What needs no room goes on: acknowledging, and saying that messages are hopeless.
    ack(&queue, &received[..2]).await;
    queue.reject(&receipts(&received[2..4])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let depth = queue.describe().unwrap().depth;
    assert_eq!((depth.open, depth.leased, depth.parked), (8, 6, 2));

    disk.set_capacity(DISK_BYTES);
    eventually("the letters are written", async || {
        queue.describe().unwrap().totals.dead_lettered == 2
    })
    .await;
    assert_eq!(dead(&server).await.len(), 2);
    ack(&queue, &received[4..]).await;
    assert_eq!(queue.describe().unwrap().depth.open, 0);
}

/// Leaves so much of the disk as is not claimed.
fn leave(disk: &SimDisk, broker: &Broker, unclaimed_bytes: u64) {
    let filler = disk.mount();
    let file = filler.open(Path::new("/filler"), Access::Create).unwrap();
    file.set_len(0).unwrap();
    let claimed = broker.stats().disk_claimed_bytes;
    let filled = DISK_BYTES - disk.used_bytes() - claimed - unclaimed_bytes;
    file.allocate(filled).unwrap();
}

fn is_full<T>(answered: &Result<T, QueueError>) -> bool {
    let full =
        |error: &QueueError| matches!(error, QueueError::Broker(BrokerError::DiskFull { .. }));
    answered.as_ref().err().is_some_and(full)
}

#[tokio::test]
async fn what_a_full_journal_cannot_take_is_refused_and_not_heaped_up() {
    let (disk, server) = on_small_disk().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(3)).await;
    publish(&server, &topic, 10).await;
    let received = receive(&queue, 9).await;
    disk.set_capacity(disk.used_bytes());
    let mut extended = 0;
    let refused = loop {
        let answers = queue.extend(&receipts(&received[..1]), 60_000).await;
        if answers.is_err() {
            break answers;
        }
        extended += 1;
        assert!(extended < 1_000_000, "they are taken without bound");
        tokio::task::yield_now().await;
    };
    assert!(is_full(&refused), "{refused:?}");
    // Nothing of what is refused has happened, and nothing hangs.
    let waiting = Duration::from_secs(5);
    let refused = tokio::time::timeout(waiting, queue.ack(&receipts(&received[..1]))).await;
    assert!(is_full(&refused.unwrap()));
    assert!(is_full(
        &queue
            .nack(&receipts(&received[1..2]), Retry::AsPolicySays)
            .await
    ));
    assert!(is_full(&queue.reject(&receipts(&received[2..3])).await));
    assert!(is_full(&queue.receive(asking(1, 5_000)).await));
    assert!(is_full(&queue.purge().await));
    let depth = queue.describe().unwrap().depth;
    assert_eq!((depth.open, depth.leased), (10, 9));

    disk.set_capacity(DISK_BYTES);
    eventually("acknowledgements are taken", async || {
        queue.ack(&receipts(&received[..9])).await.is_ok()
    })
    .await;
    assert_eq!(receive(&queue, 10).await.len(), 1);
}

#[tokio::test]
async fn what_stays_is_refused_on_half_of_the_reserve_and_deletions_are_not() {
    let (disk, server) = on_small_disk().await;
    let topic = server.topic("orders", 1, &[]).await;
    publish(&server, &topic, 10).await;
    let groups = server.broker.groups();
    let commit = |group: &str, offset: i64| {
        let group = GroupId::new(group);
        let partition = PartitionCommit {
            at: OffsetKey {
                topic: topic.id(),
                partition: 0,
            },
            offset: Offset(offset),
            leader_epoch: None,
            metadata: "".into(),
        };
        let commit = OffsetCommit {
            member: MemberRef {
                member_id: MemberId::none(),
                generation: Generation::NONE,
                instance_id: None,
            },
            retention_ms: None,
            partitions: vec![partition],
        };
        async move { groups.commit_offsets(&group, commit).await }
    };
    commit("known", 1).await.unwrap();
    let mut made = 0;
    eventually("what stays is refused", async || {
        leave(&disk, &server.broker, 3 << 20);
        commit("known", 2).await.unwrap();
        let new = commit(&format!("new {made}"), 1).await;
        made += usize::from(new.is_ok());
        new == Err(GroupError::DiskFull)
    })
    .await;
    commit("known", 3).await.unwrap();
    let created = server.broker.create_topic(NewTopic::named("more")).await;
    assert!(matches!(created, Err(BrokerError::DiskFull { .. })));
    let new = new_queue("more", &topic, QueuePolicy::default());
    assert!(is_full(&server.broker.create_queue(new).await));
    assert_eq!(
        groups.list().len(),
        1 + made,
        "nothing came of what was refused"
    );
    server.broker.delete_topic(topic.id()).await.unwrap();
}

/// Neither a lost race for a key nor anything else that refuses a commit changes the queue.
#[tokio::test]
async fn what_is_refused_beside_an_acknowledgement_leaves_the_queue_as_it_was() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let indexed = [("millstream.key.index", "true")];
    let results = server.topic("results", 1, &indexed).await;
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 2).await;
    let received = receive(&queue, 2).await;
    let event = NewMessage {
        key: Some(Bytes::from_static(b"account")),
        expected: Some(ExpectedPosition::At(Offset(7)).into()),
        ..message("paid")
    };
    let publishing = [(Arc::clone(&results), vec![event])];
    for _ in 0..3 {
        let refused = queue
            .ack_and_publish(&receipts(&received), &publishing)
            .await;
        assert!(
            matches!(
                refused,
                Err(QueueError::Broker(BrokerError::PositionMismatch { .. }))
            ),
            "{refused:?}"
        );
    }
    assert_eq!(queue.describe().unwrap().depth.leased, 2);
    ack(&queue, &received).await;
    assert_eq!(queue.describe().unwrap().totals.delivered, 2);
}

#[tokio::test]
async fn a_target_of_a_route_that_vanishes_is_left_out() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let results = server.topic("results", 1, &[]).await;
    let route = from_topic("copies", "results", &["copy"]);
    server.topic("copy", 1, &[]).await;
    server.broker.routes().create(route).await.unwrap();
    let queue = queue_on(&server, &topic, QueuePolicy::default()).await;
    publish(&server, &topic, 200).await;
    let broker = server.broker.clone();
    let flapping = tokio::spawn(async move {
        loop {
            let id = broker.topic("copy").unwrap().id();
            broker.delete_topic(id).await.unwrap();
            broker
                .create_topic(new_topic("copy", 1, &[]))
                .await
                .unwrap();
        }
    });
    let publishing = [(Arc::clone(&results), vec![message("done")])];
    for _ in 0..200 {
        let one = receive(&queue, 1).await;
        let acked = queue.ack_and_publish(&receipts(&one), &publishing).await;
        acked.unwrap();
    }
    flapping.abort();
    assert_eq!(queue.describe().unwrap().depth.open, 0);
    assert_eq!(results.partition(0).unwrap().offsets().log_end, Offset(200));
}

#[tokio::test]
async fn a_delivery_takes_no_more_than_its_bytes_and_the_rest_comes_next() {
    let server = Server::start_with(|settings| settings.read_memory_bytes = 8 << 20).await;
    let settings = [("max.message.bytes", "20000000")];
    let topic = server.topic("orders", 1, &settings).await;
    let queue = queue_on(&server, &topic, retrying(3)).await;
    for n in 0..40 {
        let large = message(&format!("{n} {}", "x".repeat(MIB)));
        server.broker.publish(&topic, &[large]).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 40 {
        // Two at a time, so that they would wait for each other's memory if they waited at all.
        let receive = async || queue.receive(asking(40, 1_000)).await.unwrap().0;
        let (one, other) = tokio::join!(receive(), receive());
        for received in [one, other] {
            assert!(received.len() <= 17, "{} at once", received.len());
            assert!(received.iter().all(|one| one.attempts == 1));
            seen.extend(received);
        }
    }
    // So many dead letters do not fit into one commit either.
    queue.reject(&receipts(&seen)).await.unwrap();
    eventually("the letters are written", async || {
        queue.describe().unwrap().totals.dead_lettered == 40
    })
    .await;
    let letters = server.broker.topic("work.dead").unwrap();
    assert_eq!(letters.partition(0).unwrap().offsets().log_end, Offset(40));
    assert_eq!(queue.describe().unwrap().depth.open, 0);
}

#[tokio::test]
async fn a_delivery_that_nobody_took_does_not_count_as_an_attempt() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(2)).await;
    publish(&server, &topic, 20).await;
    for _ in 0..20 {
        let spec = ReceiveSpec {
            max: 7,
            ..asking(7, 1_000)
        };
        let mut receiving = Box::pin(queue.receive(spec));
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        // However far it got.
        let _ = receiving.as_mut().poll(&mut context).is_ready();
        drop(receiving);
    }
    let left = drain(&queue, 100).await;
    assert!(left.iter().all(|one| one.attempts == 1));
    // The last look may have taken some for good.
    let depth = queue.describe().unwrap().depth;
    assert_eq!((depth.open, depth.ready), (20, 0));

    // Nor after a crash.
    let crashed = server.crashed().await;
    let queue = crashed.broker.queue("work").unwrap();
    queue.nack(&receipts(&left), Retry::Now).await.unwrap();
    assert!(drain(&queue, 100).await.iter().all(|one| one.attempts <= 2));
}

/// A batch whose checksum is right and whose records make no sense: any producer can send one.
#[tokio::test]
async fn a_batch_that_cannot_be_decoded_is_one_dead_letter() {
    let server = Server::start().await;
    let partition = server.partition("orders", &[]).await;
    let policy = QueuePolicy {
        priorities: true,
        ..retrying(3)
    };
    let queue = queue_on(&server, partition.topic(), policy).await;
    server.publish(&partition, &["before"]).await;
    let mut garbage = batch(&["a", "b", "c"]).to_vec();
    let end = garbage.len();
    garbage[end - 20..].fill(0xee);
    header::seal(&mut garbage);
    let garbage = Bytes::from(garbage);
    server.append(&partition, garbage.clone()).await.unwrap();
    server.publish(&partition, &["after"]).await;
    let received = drain(&queue, 10).await;
    assert_eq!(values(&received), ["before", "after"]);
    ack(&queue, &received).await;
    eventually("the letter is written", async || {
        queue.describe().unwrap().depth.open == 0
    })
    .await;
    let letters = server.broker.topic("work.dead").unwrap();
    let letters = letters.partition(0).unwrap();
    assert_eq!(letters.offsets().log_end, Offset(1));
    let fetched = server.fetch(&letters, 0).await.unwrap();
    let letter = fetched.batches().next().unwrap().unwrap();
    let letter = letter.records(1 << 20).next().unwrap().unwrap();
    // But for where it lies and under which leadership, it is what was sent.
    assert_eq!(letter.value.unwrap()[16..], garbage[16..]);
    let mut reasons = letter.headers.iter();
    let reason = reasons.find(|one| one.key == headers::DEAD_LETTER_REASON.as_bytes());
    assert_eq!(reason.unwrap().value, Some(&b"undecodable"[..]));
}

/// Damage to what is stored costs what is damaged, is counted, and nothing is tried for ever.
#[tokio::test]
async fn stored_messages_that_are_damaged_are_counted_and_passed_over() {
    let server = Server::start().await;
    let partition = server.partition("orders", &[]).await;
    let queue = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
    let filler = "x".repeat(5_000);
    for n in 0..100 {
        let value = format!("{n} {filler}");
        server
            .append(&partition, batch(&[&value, "second"]))
            .await
            .unwrap();
    }
    let some = receive(&queue, 10).await;
    drop((queue, partition));
    let server = server.restart_after(damage_packs).await;
    let queue = server.broker.queue("work").unwrap();
    ack(&queue, &some).await;
    let rest = drain(&queue, 50).await;
    assert_eq!(rest.len(), 200 - 10 - 2);
    ack(&queue, &rest).await;
    let described = queue.describe().unwrap();
    assert_eq!((described.totals.damaged, described.depth.open), (2, 0));

    // One that has to look inside comes past it too.
    let policy = QueuePolicy {
        priorities: true,
        ..QueuePolicy::default()
    };
    let topic = server.broker.topic("orders").unwrap();
    let new = new_queue("looks", &topic, policy);
    let queue = server.broker.create_queue(new).await.unwrap();
    assert_eq!(drain(&queue, 50).await.len(), 198);
    assert_eq!(queue.describe().unwrap().totals.damaged, 2);
}

/// Dead letters of the queue `work`, of which `change` makes what it likes while the server is down.
async fn with_letters(count: usize, change: impl FnOnce(&Path)) -> (Server, QueueHandle) {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    let letters = server.broker.topic("work.dead").unwrap();
    for n in 0..count {
        let letter = message(&format!("{n} {}", "x".repeat(5_000)));
        let letter = with(letter, headers::DEAD_LETTER_QUEUE, &"work");
        let letter = with(letter, headers::DEAD_LETTER_TOPIC, &"orders");
        server.broker.publish(&letters, &[letter]).await.unwrap();
    }
    drop((queue, topic, letters));
    let server = server.restart_after(change).await;
    let queue = server.broker.queue("work").unwrap();
    (server, queue)
}

fn letters(server: &Server) -> PartitionHandle {
    let letters = server.broker.topic("work.dead").unwrap();
    letters.partition(0).unwrap()
}

/// What cannot be read is left for somebody to mend, or to give up.
#[tokio::test]
async fn a_redrive_ends_at_dead_letters_that_are_damaged() {
    let (server, queue) = with_letters(100, damage_packs).await;
    let letters = letters(&server);
    let before = queue.redrive(&Redrive::default()).await.unwrap();
    let Some(QueueError::DamagedLetters { from, upto, .. }) = before.stopped else {
        panic!("{before:?}");
    };
    assert!(before.moved > 0 && from < upto && upto < Offset(100));
    assert_eq!(from, Offset(before.moved as i64));
    let one = Redrive {
        max: Some(1),
        ..Redrive::default()
    };
    for redrive in [&one, &Redrive::default()] {
        let refused = queue.redrive(redrive).await.unwrap_err();
        let said = format!("delete the records of that partition before {upto}");
        assert!(refused.to_string().contains(&said), "{refused}");
        assert_eq!(letters.offsets().log_start, from, "nothing is taken out");
    }

    let before_them = DeleteBefore::Offset(upto);
    let deleted = server.broker.delete_records(&letters, before_them).await;
    assert_eq!(deleted.unwrap(), upto);
    let behind = queue.redrive(&Redrive::default()).await.unwrap();
    assert!(behind.stopped.is_none(), "{behind:?}");
    let damaged = (upto - from) as u64;
    assert_eq!(before.moved + damaged + behind.moved, 100);
    assert_eq!(drain(&queue, 50).await.len() as u64, 100 - damaged);
}

#[tokio::test]
async fn damaged_dead_letters_hold_up_no_other_partition() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    server.topic("work.dead", 2, &[]).await;
    let queue = queue_on(&server, &topic, retrying(1)).await;
    let letters = server.broker.topic("work.dead").unwrap();
    for n in 0..110 {
        let letter = message(&"x".repeat(5_000));
        let letter = with(letter, headers::DEAD_LETTER_QUEUE, &"work");
        let mut letter = with(letter, headers::DEAD_LETTER_TOPIC, &"orders");
        letter.partition = Some(n / 100);
        server.broker.publish(&letters, &[letter]).await.unwrap();
    }
    drop((queue, topic, letters));
    let server = server.restart_after(damage_packs).await;
    let queue = server.broker.queue("work").unwrap();
    let redriven = queue.redrive(&Redrive::default()).await.unwrap();
    let Some(QueueError::DamagedLetters {
        partition, from, ..
    }) = redriven.stopped
    else {
        panic!("{redriven:?}");
    };
    assert_eq!(partition, 0);
    assert_eq!(redriven.moved, from.get() as u64 + 10);
    let again = queue.redrive(&Redrive::default()).await.unwrap_err();
    assert!(matches!(again, QueueError::DamagedLetters { .. }));
}

#[tokio::test]
async fn a_redrive_takes_nothing_from_files_that_are_away() {
    let move_packs = |directory: &Path, from: &str, to: &str| {
        for file in std::fs::read_dir(directory.join("packs")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == from) {
                std::fs::rename(&path, path.with_extension(to)).unwrap();
            }
        }
    };
    let (server, queue) = with_letters(10, |_| ()).await;
    let packs = server.directory.path().to_owned();
    move_packs(&packs, "pack", "away");
    let refused = queue.redrive(&Redrive::default()).await.unwrap_err();
    assert!(
        matches!(refused, QueueError::DamagedLetters { .. }),
        "{refused}"
    );
    assert_eq!(letters(&server).offsets().log_start, Offset(0));
    move_packs(&packs, "away", "pack");
    let redriven = queue.redrive(&Redrive::default()).await.unwrap();
    assert_eq!(redriven.moved, 10);
}

/// It begins at damage that lies on the way there, and finds it as any queue does.
#[tokio::test]
async fn a_queue_from_a_time_on_finds_its_way_around_damage() {
    let server = Server::start().await;
    let partition = server.partition("orders", &[]).await;
    let filler = "x".repeat(500);
    for n in 0..100 {
        let batch = batch_at(TimestampMs(1_000 + n), &[&format!("{n} {filler}")]);
        server.append(&partition, batch).await.unwrap();
    }
    drop(partition);
    let server = server.restart_after(damage_packs).await;
    let topic = server.broker.topic("orders").unwrap();
    let mut damaged = 0;
    for n in 0..100 {
        let new = NewQueue {
            start: StartAt::Time(TimestampMs(1_000 + n)),
            ..new_queue(&format!("from {n}"), &topic, QueuePolicy::default())
        };
        let queue = server.broker.create_queue(new).await.unwrap();
        if n % 10 == 5 {
            let received = drain(&queue, 100).await.len() as u64;
            damaged = damaged.max(queue.describe().unwrap().totals.damaged);
            let wanted = 100 - n as u64;
            assert!(received + damaged >= wanted, "{received} from {n} on");
        }
    }
    assert!(damaged > 0);
}

/// What compaction takes from under a queue is over, and counted; nothing is lost that is still there.
#[tokio::test]
async fn a_queue_on_a_compacted_topic_delivers_what_is_left() {
    let server = super::retention::eager().await;
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "10"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    let partition = server.partition("state", &settings).await;
    let queue = queue_on(&server, partition.topic(), QueuePolicy::default()).await;
    let value = "x".repeat(10_000);
    for _ in 0..100 {
        server.publish(&partition, &[&value]).await;
    }
    server.publish(&partition, &["latest"]).await;
    super::retention::eventually("compaction", || partition.size_bytes() < 100_000).await;
    let received = drain(&queue, 1_000).await;
    assert_eq!(values(&received).last().unwrap(), "latest");
    ack(&queue, &received).await;
    let described = queue.describe().unwrap();
    assert_eq!(described.depth.open, 0);
    let totals = described.totals;
    assert_eq!(totals.acknowledged + totals.lost + totals.skipped, 101);
}

/// A change of policy acts on who waits and what lies there.
#[tokio::test]
async fn a_change_of_policy_acts_at_once() {
    let server = Server::start().await;
    let topic = server.topic("orders", 1, &[]).await;
    let limited = QueuePolicy {
        in_flight_max: Some(2),
        ..retrying(9)
    };
    let queue = queue_on(&server, &topic, limited).await;
    publish(&server, &topic, 10).await;
    assert_eq!(receive(&queue, 10).await.len(), 2);
    assert!(queue.receive(asking(10, 50)).await.unwrap().0.is_empty());
    let waiting = {
        let queue = queue.clone();
        tokio::spawn(async move { receive(&queue, 3).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    queue.alter(retrying(1)).await.unwrap();
    let three = waiting.await.unwrap();
    assert_eq!(three.len(), 3);

    // One attempt is enough by now.
    queue.nack(&receipts(&three), Retry::Now).await.unwrap();
    eventually("they are dead", async || {
        queue.describe().unwrap().totals.dead_lettered == 3
    })
    .await;

    // What is published with a delay waits only as long as delays count.
    let delaying = QueuePolicy {
        delay_ms: 60_000,
        ..QueuePolicy::default()
    };
    queue.alter(delaying).await.unwrap();
    assert!(queue.receive(asking(10, 100)).await.unwrap().0.is_empty());
    queue.alter(QueuePolicy::default()).await.unwrap();
    assert_eq!(receive(&queue, 10).await.len(), 5);

    let short = QueuePolicy {
        ttl_ms: Some(1),
        ..QueuePolicy::default()
    };
    publish(&server, &topic, 4).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    queue.alter(short).await.unwrap();
    eventually("they expire", async || {
        queue.describe().unwrap().totals.expired == 4
    })
    .await;
}
