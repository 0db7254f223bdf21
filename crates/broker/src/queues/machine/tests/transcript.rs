//! Runs the transcripts: text files of what happens to a queue and what it does about it.
//!
//! A line `> ...` is an event; the lines below it, up to the next, are what followed, and are compared. Everything else
//! is prose. Run with `UPDATE_TRANSCRIPTS=1` to write down what follows now, and read the difference.
//!
//! ```text
//! > queue [partitions=2] attempts=3 ...      a new queue, with a policy: see policy.rs beside this file
//! > policy attempts=5 ...                    another policy for it
//! > append 0 3 [priority=5] [key=k] [id=i] [delay=100] [ttl=100] [unwanted]
//!                                            three records for partition 0; also: append 0 2 gap|control|damaged
//! > receive a max=2 [for=1000] [wait=500] [credit=5]
//!                                            the consumer a wants records; with credit its request stands. @a is a
//!                                            connection
//! > credit 1 5                               request #1 gets credit for five more
//! > taken 1 2                                request #1 has taken two deliveries
//! > handed 1.1                               what came under lease 1.1 goes on to the consumer
//! > cancel 1                                 request #1 no longer stands
//! > ack 1.1 0:0-3,5                          of lease 1.1, these offsets of partition 0
//! > nack 1.1 0:0 [after=100|now]             else as the policy says
//! > reject 1.1 0:0
//! > extend 1.1 0:0 for=1000
//! > undelivered 1.1 0:0                      of lease 1.1, these reached nobody
//! > gone a                                   the consumer a is gone
//! > wait 5000                                time passes, and every deadline in it
//! > bury 1                                   the dead letters of job 1 are appended
//! > pause | resume | purge | depth | totals
//! > browse 0 from=0 max=10
//! > trim 0 5                                 the log of partition 0 starts at 5
//! > lost 0 3                                 compaction has taken offset 3
//! > room 5                                   may five more be added?
//! > finished 0                               what is finished of partition 0
//! > hold                                     what the queue asks to be looked at is not answered until it says look
//! > look
//! > restart                                  the queue is made anew from what was written down
//! > crash [hold]                             the same, without what the last event wrote
//! > writes                                   from here on, what is written down is shown
//! ```

use std::fmt::Write as _;
use std::path::Path;

use millstream_record::{Offset, TimestampMs};

use super::disk::{Disk, create};
use super::log::{Entry, Log, answer_all};
use super::ms;
use super::words::{Words, offsets_of, policy_of};
use crate::queues::ids::{ConsumerId, Incarnation, JobId, LeaseNumber, Receipt, RequestToken};
use crate::queues::machine::{
    Answers, Effects, Patience, Queue, Receive, Retry, Run, ScanRequest, ScannedRecord, Write,
};
use crate::queues::policy::QueuePolicy;

#[test]
fn transcripts_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/queues/machine/tests/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 10, "the transcripts are there");
    let update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = run(&expected);
        if update {
            std::fs::write(&path, actual).unwrap();
        } else {
            assert_eq!(actual, expected, "{} has changed", path.display());
        }
    }
}

/// The transcript with what follows each event replaced by what follows it now.
fn run(transcript: &str) -> String {
    let (mut stage, _) = Stage::new(QueuePolicy::default(), 0);
    let mut out = String::new();
    for line in transcript.lines() {
        if let Some(event) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            stage.play(&Words::of(event), &mut out);
        } else if !line.starts_with("  ") {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

struct Stage {
    queue: Queue,
    policy: QueuePolicy,
    logs: Vec<Log>,
    now: i64,
    life: u32,
    requests: u64,
    disk: Disk,
    /// Before the last event.
    disk_before: Disk,
    shows_writes: bool,
    /// Looks that are not answered for the time being.
    held: Option<Vec<ScanRequest>>,
}

impl Stage {
    fn new(policy: QueuePolicy, partitions: usize) -> (Self, Effects) {
        let (queue, logs, effects) = create(&policy, partitions);
        let stage = Self {
            queue,
            policy,
            logs,
            now: 0,
            life: 1,
            requests: 0,
            disk: Disk::default(),
            disk_before: Disk::default(),
            shows_writes: false,
            held: None,
        };
        (stage, effects)
    }

    fn play(&mut self, words: &Words<'_>, out: &mut String) {
        let kind = words.plain[0];
        if kind != "crash" {
            self.disk_before = self.disk.clone();
        }
        let (now, mut effects) = (ms(self.now), Effects::default());
        match kind {
            "queue" => effects = self.begin(words),
            "policy" => {
                self.policy = policy_of(words);
                let policy = self.policy.clone();
                self.queue.set_policy(policy, now, &mut effects);
            }
            "append" => self.append(words, &mut effects),
            "receive" => self.receive(words, &mut effects, out),
            "credit" => {
                let (token, more) = (RequestToken(words.at(1)), words.at(2));
                self.queue.add_credit(token, more, now, &mut effects);
            }
            "taken" => {
                let (token, deliveries) = (RequestToken(words.at(1)), words.at(2));
                self.queue.taken(token, deliveries, now, &mut effects);
            }
            "handed" => tell(&self.queue.handed(lease_of(words.plain[1])), out),
            "cancel" => {
                let token = RequestToken(words.at(1));
                tell(&self.queue.cancel(token, now, &mut effects), out);
            }
            "ack" | "nack" | "reject" | "extend" => self.settle(words, &mut effects, out),
            "undelivered" => {
                let receipts = receipts(words);
                self.queue.undelivered(&receipts, now, &mut effects);
            }
            "gone" => self
                .queue
                .consumer_gone(consumer(words.plain[1]), now, &mut effects),
            "wait" => self.wait(words.at(1), out),
            "bury" => tell(
                &self
                    .queue
                    .buried(JobId(words.at(1)), Offset(i64::MAX), now, &mut effects),
                out,
            ),
            "pause" => self.queue.pause(&mut effects),
            "resume" => self.queue.resume(now, &mut effects),
            "purge" => tell(&self.queue.purge(now, &mut effects), out),
            "trim" => {
                self.logs[words.at::<usize>(1)].start = words.at(2);
                let (partition, start) = (words.at(1), Offset(words.at(2)));
                let lost = self.queue.trimmed(partition, start, now, &mut effects);
                writeln!(out, "  lost {lost}").unwrap();
            }
            "lost" => {
                let offsets = [Offset(words.at(2))];
                tell(
                    &self.queue.gone(words.at(1), &offsets, now, &mut effects),
                    out,
                );
            }
            "restart" => effects = self.restart(),
            "crash" => {
                if words.plain.get(1) == Some(&"hold") {
                    self.held = Some(Vec::new());
                }
                self.disk = self.disk_before.clone();
                effects = self.restart();
            }
            "writes" => self.shows_writes = true,
            "hold" => self.held = Some(Vec::new()),
            "look" => effects.scans = self.held.take().unwrap_or_default(),
            other => self.ask(other, words, out),
        }
        self.tell(effects, out);
    }

    /// What changes nothing.
    fn ask(&self, kind: &str, words: &Words<'_>, out: &mut String) {
        match kind {
            "depth" => tell(&self.queue.depth(None), out),
            "totals" => tell(self.queue.totals(), out),
            "room" => tell(&self.queue.has_room(words.at(1)), out),
            "finished" => {
                let end = self.logs[words.at::<usize>(1)].end();
                for range in self.queue.finished(words.at(1), Offset(0), end) {
                    writeln!(out, "  {}..{}", range.start, range.end).unwrap();
                }
            }
            "browse" => {
                let from = Offset(words.number("from", 0));
                for found in self
                    .queue
                    .browse(words.at(1), from, words.number("max", 10))
                {
                    let attempts = found.attempts;
                    writeln!(out, "  {} {:?} x{attempts}", found.offset, found.state).unwrap();
                }
            }
            other => panic!("no such event: {other}"),
        }
    }

    fn begin(&mut self, words: &Words<'_>) -> Effects {
        let effects;
        (*self, effects) = Self::new(policy_of(words), words.number("partitions", 1));
        effects
    }

    fn restart(&mut self) -> Effects {
        self.life += 1;
        let restored = (self.disk).restore(&self.policy, &self.logs, self.life, self.now);
        self.queue = restored.0;
        restored.1
    }

    fn append(&mut self, words: &Words<'_>, effects: &mut Effects) {
        let log = &mut self.logs[words.at::<usize>(1)];
        for _ in 0..words.at::<usize>(2) {
            let entry = match words.plain.get(3) {
                Some(&"gap") => Entry::Gap,
                Some(&"control") => Entry::Control,
                Some(&"damaged") => Entry::Damaged,
                other => {
                    let mut record = ScannedRecord::new(log.end(), ms(self.now));
                    record.priority = words.number("priority", 0);
                    record.key = words.hash("key").map(|key| key as u64);
                    record.id = words.hash("id");
                    record.deliver_at = words.after("delay", self.now);
                    record.expires_at = words.after("ttl", self.now);
                    record.wanted = other != Some(&"unwanted");
                    Entry::Record(record)
                }
            };
            log.entries.push(entry);
        }
        let end = log.end();
        self.queue.appended(words.at(1), end, ms(self.now), effects);
    }

    fn receive(&mut self, words: &Words<'_>, effects: &mut Effects, out: &mut String) {
        self.requests += 1;
        let until = ms(self.now + words.number("wait", 0_i64));
        let credit = words.number("credit", 0);
        let request = Receive {
            token: RequestToken(self.requests),
            consumer: consumer(words.plain[1]),
            max: words.number("max", 1),
            visibility_ms: words.number("for", 1_000),
            patience: if words.named.contains_key("credit") {
                Patience::Standing { credit }
            } else {
                Patience::Until(until)
            },
        };
        if let Err(refused) = self.queue.receive(request, ms(self.now), effects) {
            writeln!(out, "  #{} refused: {refused:?}", self.requests).unwrap();
        }
    }

    fn settle(&mut self, words: &Words<'_>, effects: &mut Effects, out: &mut String) {
        let receipts = receipts(words);
        let (now, mut answers) = (ms(self.now), Answers::new());
        match words.plain[0] {
            "ack" => self.queue.ack(&receipts, now, &mut answers, effects),
            "reject" => self.queue.reject(&receipts, now, &mut answers, effects),
            "extend" => {
                let visibility_ms = words.number("for", 1_000);
                self.queue
                    .extend(&receipts, visibility_ms, now, &mut answers, effects);
            }
            _ => {
                let retry = match words.named.get("after") {
                    None => Retry::AsPolicySays,
                    Some(&"now") => Retry::Now,
                    Some(_) => Retry::After(words.number("after", 0)),
                };
                self.queue
                    .nack(&receipts, retry, now, &mut answers, effects);
            }
        }
        for (receipt, answer) in receipts.iter().zip(answers) {
            if let Err(refused) = answer {
                let (partition, offset) = (receipt.partition, receipt.offset);
                writeln!(out, "  {partition}:{offset} refused: {refused:?}").unwrap();
            }
        }
    }

    fn wait(&mut self, duration_ms: i64, out: &mut String) {
        let until = self.now + duration_ms;
        while let Some(next) = self
            .queue
            .next_deadline()
            .filter(|next| next.get() <= until)
        {
            self.now = self.now.max(next.get());
            let mut effects = Effects::default();
            self.queue.expire(ms(self.now), &mut effects);
            if !effects.is_empty() {
                writeln!(out, "  at {}:", self.now).unwrap();
            }
            self.tell(effects, out);
        }
        self.now = until;
    }

    fn tell(&mut self, mut effects: Effects, out: &mut String) {
        if let Some(held) = &mut self.held {
            held.append(&mut effects.scans);
        }
        answer_all(&self.logs, &mut self.queue, &mut effects, 1_000, self.now);
        for delivery in &effects.deliveries {
            let (token, lease, until) = (delivery.token.0, delivery.lease, delivery.deadline);
            write!(out, "  #{token} gets {lease} until {until}:").unwrap();
            for part in &delivery.parts {
                write!(out, " {}:{}", part.partition, offsets(&part.run)).unwrap();
            }
            for again in &delivery.redelivered {
                let (partition, offset) = (again.partition, again.offset);
                write!(out, " ({partition}:{offset} x{})", again.attempts).unwrap();
            }
            out.push('\n');
        }
        for token in &effects.unanswered {
            writeln!(out, "  #{} gets nothing", token.0).unwrap();
        }
        for letter in &effects.dead_letters {
            let (job, place) = (letter.job.0, letter.part.partition);
            let times = (letter.first_delivered, letter.last_delivered);
            let times = (times.0.map(TimestampMs::get), times.1.map(TimestampMs::get));
            let offsets = offsets(&letter.part.run);
            writeln!(
                out,
                "  job {job}: bury {place}:{offsets}, {:?} x{} {times:?}",
                letter.reason, letter.attempts
            )
            .unwrap();
        }
        self.write(&effects, out);
    }

    fn write(&mut self, effects: &Effects, out: &mut String) {
        if self.shows_writes {
            for write in &effects.writes {
                writeln!(out, "  {}", tell_write(write)).unwrap();
            }
        }
        self.disk.write(&effects.writes);
    }
}

fn tell(what: &dyn std::fmt::Debug, out: &mut String) {
    writeln!(out, "  {what:?}").unwrap();
}

fn consumer(name: &str) -> ConsumerId {
    let number = name.bytes().map(u64::from).sum();
    if name.starts_with('@') {
        ConsumerId::of_connection(number)
    } else {
        ConsumerId(number)
    }
}

/// Of a lease, and places in it.
fn receipts(words: &Words<'_>) -> Vec<Receipt> {
    let lease = lease_of(words.plain[1]);
    let places = words.plain[2..].iter().flat_map(|word| offsets_of(word));
    places
        .map(|(partition, offset)| Receipt::new(lease, partition, offset))
        .collect()
}

fn lease_of(word: &str) -> LeaseNumber {
    let (life, count) = word.split_once('.').unwrap();
    let first = LeaseNumber::before_first(Incarnation(life.parse().unwrap()));
    LeaseNumber(first.0 + count.parse::<u64>().unwrap())
}

/// `0-3,5`
fn offsets(run: &Run) -> String {
    let mut ranges: Vec<(Offset, Offset)> = Vec::new();
    for offset in run.offsets() {
        match ranges.last_mut() {
            Some((_, last)) if last.next() == offset => *last = offset,
            _ => ranges.push((offset, offset)),
        }
    }
    let told = ranges.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    told.collect::<Vec<_>>().join(",")
}

fn tell_write(write: &Write) -> String {
    match write {
        Write::Block {
            partition,
            block,
            done,
        } => {
            let count: u32 = done.iter().map(|word| word.count_ones()).sum();
            format!("write block {partition}:{block}, {count} finished")
        }
        Write::Lease(image) => format!("write lease {} piece {}", image.number, image.piece),
        Write::DropLease { number, piece } => format!("drop lease {number} piece {piece}"),
        Write::History {
            partition,
            start,
            span,
        } => format!(
            "write history {partition}:{start}+{} x{} due {}",
            span.length, span.attempts, span.due
        ),
        other => format!("{other:?}"),
    }
}
