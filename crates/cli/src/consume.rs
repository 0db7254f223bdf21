//! `millstream consume`: reads records and prints them.

mod format;
mod interrupts;
mod range;

use clap::Args;
use millstream_client::{
    Chunk, Client, Consumer, ConsumerConfig, ConsumerEvent, GroupConfig, GroupConsumer, GroupEvent,
    OffsetSpec, StartAt, TopicPartition,
};
use millstream_record::Offset;
use tokio::io::{AsyncWriteExt, Stdout};

use self::format::Format;
use self::interrupts::Interrupts;
use self::range::Range;
use crate::connect::{Connect, block_on};
use crate::point::{FORMS, Point};

const EXAMPLES: &str = "\
Formats:
  plain      the value
  json       a JSON object a line, which `millstream produce --format json` takes
  TEMPLATE   text with {topic} {partition} {offset} {timestamp} {key} {value} {headers}, \\n and \\t

Examples:
  millstream consume orders                            all there is
  millstream consume orders --follow                   what comes from now on
  millstream consume orders --from -10 --follow        the last 10 records of each partition, and what comes
  millstream consume orders --from 2h --to 1h --format json
  millstream consume orders --group billing --follow --format '{offset} {key}: {value}'";

/// Arguments of `millstream consume`.
#[derive(Debug, Args)]
#[command(after_help = format!("{FORMS}\n\n{EXAMPLES}"))]
pub(crate) struct Consume {
    #[command(flatten)]
    connect: Connect,
    /// The topic.
    topic: String,
    /// Where to start. By default at the first record, or with --follow at the end. In a group it counts only where the
    /// group has committed nothing, and has to be earliest or latest.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    from: Option<Point>,
    /// Where to stop, not included. By default at what is the end now.
    #[arg(
        long,
        value_name = "PLACE",
        allow_hyphen_values = true,
        conflicts_with = "follow"
    )]
    to: Option<Point>,
    /// Go on when the end is reached, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Stop after so many records.
    #[arg(long, short = 'n', value_name = "N")]
    max: Option<u64>,
    /// Read only these partitions; may be given more than once.
    #[arg(long, short, value_name = "N", conflicts_with = "group")]
    partition: Vec<i32>,
    /// Read as a member of this group, and commit what was printed.
    #[arg(long, short, value_name = "GROUP")]
    group: Option<String>,
    /// A static member's own name in the group.
    #[arg(long, value_name = "NAME", requires = "group")]
    instance: Option<String>,
    /// How to print a record: plain, json or a template.
    #[arg(long, value_name = "FORMAT", default_value = "plain")]
    format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How much is formatted before it is written.
const WRITE_BYTES: usize = 64 << 10;

/// Where printing has come to.
struct Printing {
    /// Writes on a thread of its own, so that a reader who takes nothing does not keep this process from hearing signals.
    out: Stdout,
    /// Formatted, but not written.
    unwritten: Vec<u8>,
    format: Format,
    left: Option<u64>,
    range: Range,
}

impl Consume {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        block_on(async {
            let client = self.connect.client().await?;
            let mut printing = Printing {
                out: tokio::io::stdout(),
                unwritten: Vec::new(),
                format: if self.json {
                    Format::Json
                } else {
                    self.format.clone()
                },
                left: self.max,
                range: Range::default(),
            };
            match &self.group {
                Some(group) => self.consume_in_group(&client, group, &mut printing).await?,
                None => self.consume_alone(&client, &mut printing).await?,
            }
            Ok(())
        })
    }

    async fn consume_alone(&self, client: &Client, printing: &mut Printing) -> anyhow::Result<()> {
        let partitions = self.partitions(client).await?;
        let default = if self.follow {
            Point::Latest
        } else {
            Point::Earliest
        };
        let starts = self
            .from
            .unwrap_or(default)
            .resolve(client, &partitions)
            .await?;
        if !self.follow {
            let ends = self
                .to
                .unwrap_or(Point::Latest)
                .resolve(client, &partitions)
                .await?;
            printing.range = Range::new(&starts, ends);
        }
        if printing.is_over() {
            return Ok(());
        }
        let starts: Vec<_> = starts
            .into_iter()
            .map(|(partition, offset)| (partition, StartAt::Offset(offset)))
            .collect();
        let mut consumer = Consumer::new(client, ConsumerConfig::default());
        consumer.assign(&starts).await?;
        let mut interrupts = Interrupts::take()?;
        while !printing.is_over() {
            let event = tokio::select! {
                biased;
                () = interrupts.next() => return Ok(()),
                event = consumer.next_event() => event?,
            };
            match event {
                ConsumerEvent::Records(chunk) => {
                    tokio::select! {
                        printed = printing.print(&chunk) => printed?,
                        () = interrupts.patience_ends() => return Ok(()),
                    };
                }
                ConsumerEvent::TopicDeleted(_) => self.topic_is_deleted()?,
                ConsumerEvent::TopicReplaced(_) => {
                    self.topic_is_replaced()?;
                    // The new one may have more partitions, or fewer.
                    let begin = |partition| (partition, StartAt::Find(OffsetSpec::Earliest));
                    let partitions = self.partitions(client).await?;
                    let starts: Vec<_> = partitions.into_iter().map(begin).collect();
                    consumer.assign(&starts).await?;
                }
            }
        }
        Ok(())
    }

    /// There may be another of its name for who follows; what was to be read otherwise is gone.
    fn topic_is_deleted(&self) -> anyhow::Result<()> {
        if !self.follow {
            anyhow::bail!("topic '{}' has been deleted", self.topic);
        }
        eprintln!(
            "topic '{}' has been deleted; waiting for another of that name",
            self.topic
        );
        Ok(())
    }

    fn topic_is_replaced(&self) -> anyhow::Result<()> {
        if !self.follow {
            anyhow::bail!(
                "topic '{}' has been deleted, and another of that name been created",
                self.topic
            );
        }
        eprintln!(
            "topic '{}' has been created anew; reading it from its beginning",
            self.topic
        );
        Ok(())
    }

    async fn partitions(&self, client: &Client) -> anyhow::Result<Vec<TopicPartition>> {
        let topic = client.topic(&self.topic).await?;
        for &number in &self.partition {
            topic.partition(number)?;
        }
        Ok(topic
            .partitions
            .iter()
            .filter(|partition| {
                self.partition.is_empty() || self.partition.contains(&partition.number)
            })
            .map(|partition| TopicPartition::new(topic.name.clone(), partition.number))
            .collect())
    }

    async fn consume_in_group(
        &self,
        client: &Client,
        group: &str,
        printing: &mut Printing,
    ) -> anyhow::Result<()> {
        let default = if self.follow {
            Point::Latest
        } else {
            Point::Earliest
        };
        let start = match self.from.unwrap_or(default) {
            Point::Earliest => OffsetSpec::Earliest,
            Point::Latest => OffsetSpec::Latest,
            _ => anyhow::bail!(
                "in a group --from is earliest or latest, for where the group has committed nothing; to move a group use \
                 `millstream group reset-offsets {group} --topic {} --to PLACE`",
                self.topic
            ),
        };
        let config = GroupConfig {
            instance_id: self.instance.clone(),
            start,
            ..GroupConfig::new(group, vec![self.topic.clone()])
        };
        let mut member = GroupConsumer::new(client, config, ConsumerConfig::default());
        let mut interrupts = Interrupts::take()?;
        let outcome = self
            .print_as_member(client, group, &mut member, printing, &mut interrupts)
            .await;
        // Whatever ended it, even that nobody reads the output any more: what was printed is committed, and the group does not
        // have to wait for this member.
        let left = tokio::select! {
            biased;
            // The server may be gone.
            () = interrupts.insisted() => Err(anyhow::anyhow!("group '{group}' was not left in order")),
            left = member.close() => left.map_err(anyhow::Error::from),
        };
        outcome?;
        left
    }

    async fn print_as_member(
        &self,
        client: &Client,
        group: &str,
        member: &mut GroupConsumer,
        printing: &mut Printing,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<()> {
        loop {
            let event = tokio::select! {
                biased;
                () = interrupts.next() => return Ok(()),
                event = member.next() => event?,
            };
            match event {
                GroupEvent::Assigned(partitions) => {
                    eprintln!(
                        "reading {} partitions of '{}' in group '{group}'",
                        partitions.len(),
                        self.topic
                    );
                    if !self.follow {
                        printing.range = self.range_in_group(client, group, &partitions).await?;
                    }
                }
                GroupEvent::Records(chunk) => {
                    // Committed is only what has left this process.
                    let printed = tokio::select! {
                        printed = printing.print(&chunk) => printed,
                        () = interrupts.patience_ends() => {
                            member.not_worked_on();
                            return Ok(());
                        }
                    };
                    match printed {
                        Ok(printed_to) => member.worked_up_to(&chunk.partition, printed_to),
                        Err(error) => {
                            member.not_worked_on();
                            return Err(error);
                        }
                    }
                }
                GroupEvent::TopicDeleted(_) => self.topic_is_deleted()?,
                GroupEvent::TopicReplaced(_) => self.topic_is_replaced()?,
            }
            if printing.is_over() {
                return Ok(());
            }
        }
    }

    /// From where the group is to the end.
    async fn range_in_group(
        &self,
        client: &Client,
        group: &str,
        partitions: &[TopicPartition],
    ) -> anyhow::Result<Range> {
        let mut starts = self
            .from
            .unwrap_or(Point::Earliest)
            .resolve(client, partitions)
            .await?;
        for (partition, committed) in client.group_offsets(group, Some(partitions)).await? {
            starts.insert(partition, committed.offset);
        }
        let ends = self
            .to
            .unwrap_or(Point::Latest)
            .resolve(client, partitions)
            .await?;
        Ok(Range::new(&starts, ends))
    }
}

impl Printing {
    fn is_over(&self) -> bool {
        self.left == Some(0) || self.range.is_over()
    }

    /// Prints what of `chunk` is wanted. Returns the offset after the last record that was dealt with.
    async fn print(&mut self, chunk: &Chunk) -> anyhow::Result<Offset> {
        let end = self.range.end(&chunk.partition);
        let mut printed_to = chunk.from;
        for record in chunk.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.write_out().await?;
                    return Err(error.into());
                }
            };
            if self.left == Some(0) || end.is_some_and(|end| record.offset >= end) {
                break;
            }
            self.format
                .write(&mut self.unwritten, &chunk.partition, &record)?;
            if self.unwritten.len() >= WRITE_BYTES {
                self.write_out().await?;
            }
            printed_to = record.offset.next();
            self.left = self.left.map(|left| left - 1);
        }
        // What is left of a chunk that was read to its end are offsets without records.
        if self.left != Some(0) {
            printed_to = end.map_or(chunk.next_offset(), |end| chunk.next_offset().min(end));
        }
        self.range.reached(&chunk.partition, printed_to);
        // Somebody may be watching.
        self.write_out().await?;
        Ok(printed_to)
    }

    async fn write_out(&mut self) -> std::io::Result<()> {
        self.out.write_all(&self.unwritten).await?;
        self.unwritten.clear();
        self.out.flush().await
    }
}
