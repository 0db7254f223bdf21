//! Every bound of Millstream in one place, each with its reason.
//!
//! A bound belongs here when something outside the process can push against it: a peer, a configuration, a disk.
//! Sizes are in bytes, times in milliseconds, and the unit is the last word of the name.

#![forbid(unsafe_code)]

/// The largest record batch a topic accepts unless its `max.message.bytes` says otherwise: Kafka's default, so that
/// clients tuned for Kafka fit.
pub const BATCH_BYTES_DEFAULT: usize = 1_048_588;

/// The largest value of a single record after decompression, and so the largest that any protocol can publish.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// The largest record as it is encoded in a batch: the largest value, and a megabyte for its key and headers.
pub const RECORD_ENCODED_BYTES_MAX: usize = RECORD_BYTES_MAX + (1 << 20);

/// The most that one batch may grow to when its records are decompressed, so that a bomb costs no more than this. A full
/// frame of incompressible records fits, and so do the largest records however well they compress.
pub const BATCH_DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// The largest frame read from a Kafka connection: Kafka's `socket.request.max.bytes`.
pub const KAFKA_FRAME_BYTES_MAX: usize = 100 << 20;

/// The longest topic name in bytes of UTF-8.
pub const TOPIC_NAME_BYTES_MAX: usize = 255;

/// The most partitions of one topic: its catalogue entry, 4 bytes a partition, is written whole by every change to it.
pub const TOPIC_PARTITIONS_MAX: u32 = 100_000;

/// The most partitions of one server: each costs a few kilobytes of memory, and a client that may create topics by
/// naming them could otherwise fill the memory.
pub const PARTITIONS_MAX: usize = 200_000;

/// How long the record of a topic's deletion is kept: long enough for anything that still names the topic by its id,
/// such as a backup or a consumer, to come back and be told.
pub const TOPIC_TOMBSTONE_RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The most memory that the arrays of one decoded Kafka frame of `frame_bytes` may take, beside the frame itself. An
/// array's elements are larger in memory than on the wire (an empty string is 1 byte there, 32 here): 16 times covers
/// what clients send with room to spare, the floor covers short frames, and the ceiling keeps one peer's largest frame
/// from taking the process down.
pub const fn kafka_decoded_array_bytes_max(frame_bytes: usize) -> usize {
    let proportional = frame_bytes.saturating_mul(16);
    if proportional < 64 << 10 {
        64 << 10
    } else if proportional > 256 << 20 {
        256 << 20
    } else {
        proportional
    }
}

/// The longest name of a route in bytes of UTF-8, as long as a topic's.
pub const ROUTE_NAME_BYTES_MAX: usize = 255;

/// The most routes: each is looked at when a topic's routes are worked out anew.
pub const ROUTES_MAX: usize = 10_000;

/// The most topics that one route leads to.
pub const ROUTE_TARGETS_MAX: usize = 1000;

/// The most topics that one publish reaches, all routes followed: each of them checks the batch, and a memory topic copies
/// it.
pub const ROUTED_TOPICS_MAX: usize = 1000;

/// The longest key of a record in a topic with a key index: it is part of a key of the state table.
pub const KEY_INDEX_KEY_BYTES_MAX: usize = 8 << 10;

/// The longest idempotency key in bytes: a UUID has 36.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// For how long a publish with an idempotency key is remembered, in milliseconds: as SQS remembers deduplication ids.
pub const IDEMPOTENCY_WINDOW_MS: i64 = 5 * 60 * 1_000;

/// Publishes with an idempotency key that are under way: they go on when whoever asked for them is gone.
pub const IDEMPOTENT_PUBLISHES_MAX: usize = 10_000;

/// How often it is looked whether what is remembered of publishes can go, in milliseconds.
pub const IDEMPOTENCY_TRIM_INTERVAL_MS: u64 = 60_000;

/// So many entries of what is remembered of publishes are dropped in one commit.
pub const IDEMPOTENCY_ENTRIES_DROPPED_AT_ONCE: usize = 1_000;

/// The most records of one key that are read at once: each may lie in a pack of its own.
pub const KEY_RECORDS_MAX: usize = 1000;

/// So many entries of a key index are dropped in one commit.
pub const KEY_ENTRIES_DROPPED_AT_ONCE: usize = 1000;

/// How often it is looked whether entries of key indexes can go, in milliseconds. Until then they cost room, and mean
/// nothing.
pub const KEY_INDEX_TRIM_INTERVAL_MS: u64 = 30_000;

/// How many batches a partition remembers of each idempotent producer: as many as a client may have in flight, and what
/// Kafka remembers.
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

/// The most memory that the state table's own page cache takes: what is hot lies in the layers above, so it only serves
/// scans and checkpoints.
pub const STATE_CACHE_BYTES: usize = 4 << 20;

/// One read of a busy Kafka connection takes up to this much; all frames in it are handled together.
pub const KAFKA_STAGING_BYTES_MAX: usize = 256 << 10;

/// One read of a Kafka connection takes at least up to this much: what a peer that sends half a request can pin.
pub const KAFKA_STAGING_BYTES_MIN: usize = 16 << 10;

/// Requests other than Produce up to this size are copied out of the staging buffer, which they would keep alive for
/// as long as they wait.
pub const KAFKA_FRAME_COPY_BYTES: usize = 64 << 10;

/// A frame's buffer is reserved up to this size on the word of its length alone, and then grows with what arrives: a
/// batch of [`BATCH_BYTES_DEFAULT`] is read into one piece.
pub const KAFKA_FRAME_STEP_BYTES: usize = BATCH_BYTES_DEFAULT + (64 << 10);

/// Large frames of all connections together, from their first byte to their answer, unless configured otherwise.
pub const KAFKA_RECEIVE_BYTES_DEFAULT: usize = 128 << 20;

/// Requests of one connection that are read and not yet answered; then its socket is left alone.
pub const KAFKA_PIPELINE_REQUESTS_MAX: usize = 256;

/// Bytes of one connection's requests that are read and not yet answered. One request may exceed it.
pub const KAFKA_PIPELINE_BYTES_MAX: usize = 32 << 20;

/// What one answer may take in memory while it is put together, the records of a fetch and what is told of existing
/// topics' partitions aside. The settings of 20,000 topics fit, and no client takes more than 100 MB by default.
pub const KAFKA_ANSWER_BYTES_MAX: usize = 128 << 20;

/// How often a connection that is not read, because it has as much under way as it may have, looks whether its peer is gone.
pub const KAFKA_GONE_REVIEW_MS: u64 = 1_000;

/// Answers of one connection are gathered into one write up to about this size.
pub const KAFKA_GATHERED_BYTES: usize = 1 << 20;

/// Answers in memory that slow peers have not taken; above it they are given less time.
pub const KAFKA_UNSENT_BYTES_MAX: usize = 256 << 20;

/// The slowest peer worth serving, in bytes a second, beyond the base time of each transfer.
pub const KAFKA_PEER_BYTES_PER_SECOND_MIN: usize = 32 << 10;

/// What any begun request frame is allowed to take, beside the time for its bytes.
pub const KAFKA_FRAME_BASE_MS: u64 = 30_000;

/// What an answer may lie unread, beside the time for its bytes: a consumer that processes what it has for its whole
/// `max.poll.interval.ms` (5 minutes by default) leaves the next answer in its socket meanwhile.
pub const KAFKA_ANSWER_BASE_MS: u64 = 600_000;

/// The same while slow readers are in the way of others: while [`KAFKA_UNSENT_BYTES_MAX`] is exceeded, or a fetch waits
/// for memory. A client that did nothing wrong connects again and loses no more than the answer.
pub const KAFKA_ANSWER_PRESSED_BASE_MS: u64 = 10_000;

/// A peer that takes nothing at all of its answer for so long is cut off while slow readers are in the way of others.
/// Links that are merely slow take something every moment.
pub const KAFKA_ANSWER_PRESSED_STANDSTILL_MS: u64 = 3_000;

/// The slowest reader worth serving, in bytes a second, while slow readers are in the way of others.
pub const KAFKA_READER_PRESSED_BYTES_PER_SECOND_MIN: usize = 1 << 20;

/// How often a blocked write looks whether its time is up. What a peer has not taken any of for so long is copied out of
/// the log's own memory.
pub const KAFKA_ANSWER_REVIEW_MS: u64 = 1_000;

/// After a client has closed its side, requests it had sent may still take this long.
pub const KAFKA_DRAIN_MS: u64 = 1_000;

/// Requests under way when the server shuts down may still take this long.
pub const KAFKA_SHUTDOWN_GRACE_MS: u64 = 3_000;

/// The id of this server as a Kafka node unless configured otherwise: the examples of Kafka's documentation and the test
/// suites of its clients name broker 0.
pub const KAFKA_NODE_ID_DEFAULT: i32 = 0;

/// Connections of one listener unless configured otherwise: a runaway client must not exhaust the process's files.
pub const KAFKA_CONNECTIONS_DEFAULT: usize = 10_000;

/// Idle time after which a connection is closed unless configured otherwise: Kafka's `connections.max.idle.ms`.
pub const KAFKA_CONNECTION_IDLE_MS_DEFAULT: u64 = 600_000;

/// Warnings about peers' behaviour are logged at most this often.
pub const KAFKA_PEER_WARNING_INTERVAL_MS: u64 = 1_000;

/// The time a transfer of `bytes` from or to a peer may take: `base_ms`, plus the time the slowest peer worth serving
/// needs for the bytes.
pub const fn kafka_transfer_time(base_ms: u64, bytes: usize) -> std::time::Duration {
    let seconds = (bytes / KAFKA_PEER_BYTES_PER_SECOND_MIN) as u64;
    std::time::Duration::from_millis(base_ms + 1_000 * seconds)
}

/// The same while slow readers are in the way of others: `bytes` at the slowest rate that is then worth serving.
pub const fn kafka_pressed_transfer_time(bytes: usize) -> std::time::Duration {
    let seconds = (bytes / KAFKA_READER_PRESSED_BYTES_PER_SECOND_MIN) as u64;
    std::time::Duration::from_millis(KAFKA_ANSWER_PRESSED_BASE_MS + 1_000 * seconds)
}

/// The most members of one group (`group.max.size`'s default and ceiling): each rebalance sends the whole list to the
/// leader and writes it down.
pub const GROUP_MEMBERS_MAX: usize = 10_000;

/// The most member ids of one group that were given out and not yet used (the first half of a two-step join): they
/// cost memory until they expire with the session timeout.
pub const GROUP_PENDING_MEMBERS_MAX: usize = 10_000;

/// The most protocols (assignors) that one member may offer; clients offer one to five.
pub const GROUP_PROTOCOLS_MAX: usize = 64;

/// The most that one member may say of itself over all its protocols: Kafka's `message.max.bytes` bounds its whole
/// group record, so no client needs more.
pub const GROUP_MEMBER_BYTES_MAX: usize = 1 << 20;

/// The most that a group's record may hold, its members' metadata and their assignments together.
pub const GROUP_RECORD_BYTES_MAX: usize = 16 << 20;

/// The longest metadata text stored with a committed offset, in characters of UTF-16: so Kafka counts its
/// `offset.metadata.max.bytes`.
pub const OFFSET_METADATA_CHARACTERS_MAX: usize = 4_096;

/// Committed offsets that are looked through for expiry before others get a turn: about a millisecond's work.
pub const OFFSETS_LOOKED_THROUGH_AT_ONCE: usize = 20_000;

/// What deleting an expired offset costs, where looking at one costs 1.
pub const OFFSET_DELETION_COST: usize = 20;

/// Fetch sessions that are remembered (KIP-227): Kafka's `max.incremental.fetch.session.cache.slots`.
pub const FETCH_SESSIONS_MAX: usize = 1_000;

/// Partitions that all fetch sessions together remember, at a few hundred bytes each.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 500_000;

/// A fetch session is not evicted for another before it has been idle for this long: Kafka's
/// `min.incremental.fetch.session.eviction.ms`.
pub const FETCH_SESSION_IDLE_MS_MIN: u64 = 120_000;

/// A fetch response carries at most this much, whatever the consumer asks for: Kafka's `fetch.max.bytes`.
pub const FETCH_BYTES_MAX: usize = 55 << 20;

/// A fetch waits at most this long, whatever the consumer asks for: the most that librdkafka's `fetch.wait.max.ms` may be.
/// A consumer takes an early answer for what it is, and asks again.
pub const FETCH_WAIT_MS_MAX: u64 = 300_000;

/// What readers have fetched and not taken yet, all of them together, unless configured otherwise: a few answers of
/// [`FETCH_BYTES_MAX`] to the fastest, one of [`ANSWER_BYTES_MIN`] to a hundred others.
pub const READ_MEMORY_BYTES_DEFAULT: usize = 128 << 20;

/// The least that the answers to readers may share, and Kafka requests: one of either with a batch of
/// [`BATCH_BYTES_DEFAULT`]. Below, each would wait for all others.
pub const SHARED_MEMORY_BYTES_MIN: usize = 2 << 20;

/// However many readers share the memory, the answer to one may take this much: a batch of [`BATCH_BYTES_DEFAULT`], and
/// enough for the way to a reader and back to be worth it.
pub const ANSWER_BYTES_MIN: usize = BATCH_BYTES_DEFAULT;

/// Partitions in one response to `DescribeTopicPartitions`: Kafka's `max.request.partition.size.limit`.
pub const DESCRIBED_PARTITIONS_MAX: usize = 2_000;

/// How much of a client's software name and version is logged.
pub const CLIENT_SOFTWARE_BYTES_LOGGED: usize = 64;

/// The most a commit may take in the journal, framing included: it is written in one piece and held in memory whole.
pub const COMMIT_BYTES_MAX: usize = 32 << 20;

/// The least memory for recent records. A commit lies in a buffer of its own if it is as large as can be, and keeps it until
/// the next one is written, which is let in while what is held leaves it room: two of them fit.
pub const MEMORY_BUDGET_BYTES_MIN: usize = 2 * COMMIT_BYTES_MAX;

/// The smallest journal file, also on a small disk: a commit has to fit, and so a batch of [`BATCH_BYTES_DEFAULT`].
pub const JOURNAL_FILE_BYTES_MIN: u64 = 2 << 20;

/// The most that one write to the journal takes from the queue (a single larger commit aside): big enough to run a device
/// at its speed, small enough that the first commit in it does not wait long for the last.
pub const JOURNAL_GROUP_BYTES_MAX: usize = 8 << 20;

/// What may wait for a journal that has no room, before what clients begin is refused: little enough that it can be written
/// with the boundary that makes room, and that whoever waits for it does not wait long.
pub const JOURNAL_WAITING_BYTES_MAX: usize = 8 << 20;

/// The longest key of the state table, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 16 << 10;

/// The largest batch that a stored format may state: a whole Kafka frame. Reading one back allocates no more.
pub const BATCH_BYTES_MAX: usize = KAFKA_FRAME_BYTES_MAX;

/// The largest footer of a pack, which is read whole to find anything in it: room for more than half a million ranges.
pub const PACK_FOOTER_BYTES_MAX: u64 = 64 << 20;

/// The most memory that footers of open packs take. A footer of 10,000 partitions takes about 1 MB.
pub const PACK_FOOTER_CACHE_BYTES: usize = 32 << 20;

/// The most packs that are open at a time: far below the usual limit of 1024 files a process.
pub const PACKS_OPEN_MAX: usize = 256;

/// Files that a server keeps for itself when the limit on open files bounds its connections: [`PACKS_OPEN_MAX`] packs, the
/// journal's files with a second handle each, packs that are being written, the state table, sockets, and the system's own.
pub const FILES_RESERVED: usize = 400;

/// Reads that wait for the disk at the same time: enough to keep a fast disk busy, and what they read may lie in memory
/// together.
pub const BLOCKING_READS_MAX: usize = 16;

/// Batches that are unpacked at the same time, each of which takes up to [`BATCH_DECOMPRESSED_BYTES_MAX`] and the same
/// again while its buffer grows.
pub const UNPACKING_MAX: usize = 4;

/// Records that are not compressed are looked at in passing up to this size: that takes less than handing them to
/// another thread and back. What is compressed says nothing of what it will take.
pub const UNPACKED_IN_PASSING_BYTES_MAX: usize = 32 << 10;

/// Producer ids are taken from the state table in blocks of this many, so that one commit serves many producers.
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

/// The longest group id in bytes of UTF-8, the same as of a topic's name. It is part of the state key of each of the
/// group's offsets, and one commit deletes them all.
pub const GROUP_ID_BYTES_MAX: usize = 255;

/// The largest manifest, which is read and written whole: room for ten million ranges.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// The most keys that one compaction pass looks at: with their offsets about 50 MB. What does not fit waits for the next
/// pass. A single batch with more keys is still taken whole.
pub const COMPACTION_KEYS_MAX: usize = 1_800_000;

/// Records that the refusal of one batch names: as many as producers put into a batch, and short of a response that
/// costs more than the request.
pub const RECORD_ERRORS_MAX: usize = 10_000;

/// The longest request on a server's control socket: a command and a path.
pub const CONTROL_REQUEST_BYTES_MAX: u64 = 64 << 10;

/// Priorities of a queue, from 0 to one less: AMQP and JMS clients know ten.
pub const QUEUE_PRIORITIES: usize = 10;

/// How far a queue looks ahead of delivery unless configured otherwise, in records: as far as SQS FIFO queues do. Each
/// record in it costs some bits, with order by key about a hundred bytes.
pub const QUEUE_WINDOW_RECORDS_DEFAULT: usize = 120_000;

/// The furthest a queue looks ahead, in records: with order by key a gigabyte of memory.
pub const QUEUE_WINDOW_RECORDS_MAX: usize = 10_000_000;

/// Records that a queue takes in at one look at the log: what one event sorts, and some ten megabytes beside it.
pub const QUEUE_SCAN_RECORDS_MAX: usize = 100_000;

/// Bytes of the log that a queue reads at one look, so that large records do not keep others waiting.
pub const QUEUE_SCAN_BYTES_MAX: usize = 64 << 20;

/// The longest time that a queue's policy may name: ten years of 365 days. More is a mistake, or an overflow.
pub const QUEUE_POLICY_MS_MAX: u64 = 10 * 365 * 86_400_000;

/// Records that one queue keeps a timer for because their own time has not come, at 32 bytes each; beyond, the scan waits.
pub const QUEUE_SCHEDULED_MAX: usize = 10_000_000;

/// The deduplication window of queues that do not say otherwise, in milliseconds: as long as SQS's.
pub const QUEUE_DEDUP_WINDOW_MS_DEFAULT: u64 = 5 * 60_000;

/// Ids that all queues together remember for their deduplication windows, at about 100 bytes each, twice that if they come
/// one by one; beyond, a queue that has more than an equal share forgets its oldest, and counts them. Until it does, the
/// shares of the others come on top: at most twice as many.
pub const QUEUE_DEDUP_IDS_MAX: usize = 2_000_000;

/// Records in one delivery of a queue: what one answer and one lease hold.
pub const QUEUE_RECEIVE_RECORDS_MAX: u32 = 10_000;

/// Bytes of records in one delivery of a queue: what is beyond, goes back and is delivered next. A single record may be larger.
pub const QUEUE_RECEIVE_BYTES_MAX: usize = 16 << 20;

/// Bytes of dead letters in one commit: half of what fits, as each says a few hundred bytes more than the record.
pub const QUEUE_BURIAL_BYTES_MAX: usize = COMMIT_BYTES_MAX / 2;

/// Deliveries to a subscription that nobody has taken yet: enough that the next is there when one is done, and few enough
/// that their leases have time left when it comes to them.
pub const QUEUE_UNTAKEN_DELIVERIES_MAX: u32 = 4;

/// Compressed batches that queues keep unpacked, all queues together: a batch is delivered in many pieces.
pub const QUEUE_UNPACKED_BYTES_MAX: usize = 32 << 20;

/// How many batches those are at most: they are searched one by one.
pub const QUEUE_UNPACKED_BATCHES_MAX: usize = 64;

/// Requests that wait at one queue: each holds a connection, or a place on one.
pub const QUEUE_WAITING_REQUESTS_MAX: usize = 100_000;

/// How long a receive without a wait still waits for a look at the log that is under way, in milliseconds. A look takes far
/// less, unless the disk fails.
pub const QUEUE_LOOK_WAIT_MS: u64 = 1_000;

/// When a consumer that is the only one to receive counts as gone unless configured otherwise, if it shows no sign of
/// life.
pub const QUEUE_CONSUMER_IDLE_MS_DEFAULT: u64 = 30_000;

/// Timers that a queue acts on at once before others get a turn: a lease of a hundred records each is a few milliseconds.
pub const QUEUE_TIMERS_PER_STEP: usize = 1_000;

/// Records that a queue which is too long drops at once before others get a turn.
pub const QUEUE_OVERFLOW_RECORDS_PER_STEP: u64 = 100_000;

/// The longest filter, as JSON: a route or a subscription keeps one in memory, and each is written by a person.
pub const FILTER_BYTES_MAX: usize = 16 << 10;

/// Conditions and values in one filter, each of which every record may be asked.
pub const FILTER_NODES_MAX: usize = 512;

/// How deep conditions of a filter lie in each other; asking one is recursive.
pub const FILTER_DEPTH_MAX: usize = 16;

/// Live subscriptions of one server: each has a connection, or a place on one, and a buffer.
pub const LIVE_SUBSCRIPTIONS_MAX: usize = 20_000;

/// Topics and patterns that one live subscription names, each of which a new topic is compared with.
pub const LIVE_TOPICS_MAX: usize = 100;

/// Partitions of one live subscription, each with some hundred bytes in it.
pub const LIVE_PARTITIONS_MAX: usize = 20_000;

/// Records that wait for the reader of a live subscription unless it says otherwise: about a second of a busy topic.
pub const LIVE_BUFFER_RECORDS_DEFAULT: usize = 1_024;

/// Bytes of them.
pub const LIVE_BUFFER_BYTES_DEFAULT: usize = 1 << 20;

/// The most that a live subscription may ask for.
pub const LIVE_BUFFER_RECORDS_MAX: usize = 65_536;

/// The most bytes that a live subscription may ask for. Subscribers share messages, but the slow ones do not wait for the
/// same: all together they have as much memory as is configured for readers.
pub const LIVE_BUFFER_BYTES_MAX: usize = 16 << 20;

/// Records that a partition's live hub keeps, so that subscribers a little behind it need not read the log.
pub const LIVE_RECENT_RECORDS: usize = 1_024;

/// Bytes of them.
pub const LIVE_RECENT_BYTES: usize = 1 << 20;

/// Records that a live subscription which is behind reads at a time, and that a hub offers at a time.
pub const LIVE_STEP_RECORDS: usize = 512;

/// Bytes of them; one record may be larger.
pub const LIVE_STEP_BYTES: usize = 256 << 10;

/// Keys of which a live subscription can be given the latest record before it follows.
pub const LIVE_LATEST_KEYS_MAX: usize = 1_000_000;

/// Bytes of those records.
pub const LIVE_LATEST_BYTES_MAX: usize = 64 << 20;

/// Bytes of those records of all subscriptions that have not been delivered.
pub const LIVE_LATEST_BYTES_TOTAL: usize = 256 << 20;

/// Partitions whose positions a live subscription gives out to resume from: the text has to fit into an HTTP header.
pub const LIVE_TOKEN_POSITIONS_MAX: usize = 256;

/// The largest body of an HTTP request: what one commit holds, so that a body which is taken can also be published.
pub const HTTP_BODY_BYTES_MAX: usize = COMMIT_BYTES_MAX;

/// The head of an HTTP request, its line and headers together, is read on until it has this size; also what is read of a
/// body at a time.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 << 10;

/// Headers of an HTTP request: beside those of browsers and proxies, a message brings some of its own.
pub const HTTP_HEADERS_MAX: usize = 128;

/// Connections of the HTTP listener unless configured otherwise: a runaway client must not exhaust the process's files.
pub const HTTP_CONNECTIONS_DEFAULT: usize = 10_000;

/// How long an HTTP connection may take to send the head of its first or next request, unless configured otherwise. Common
/// clients keep idle connections for less.
pub const HTTP_CONNECTION_IDLE_MS_DEFAULT: u64 = 60_000;

/// Bodies of all HTTP requests together, from their first byte to their answer, unless configured otherwise.
pub const HTTP_RECEIVE_BYTES_DEFAULT: usize = 128 << 20;

/// How long a request waits for memory for its body before it is told to come back later.
pub const HTTP_RECEIVE_WAIT_MS: u64 = 5_000;

/// What any body of an HTTP request is allowed to take, beside the time for its bytes.
pub const HTTP_BODY_BASE_MS: u64 = 10_000;

/// The slowest peer worth serving over HTTP, in bytes a second, beyond the base time of each body.
pub const HTTP_PEER_BYTES_PER_SECOND_MIN: usize = 32 << 10;

/// An HTTP peer that takes nothing at all of what is written to it for so long is cut off.
pub const HTTP_WRITE_STANDSTILL_MS: u64 = 30_000;

/// When a peer that is silent is asked by TCP whether it is still there, and how often again after that.
pub const HTTP_KEEPALIVE_SECONDS: u64 = 30;

/// Requests under way when the server shuts down may still take this long.
pub const HTTP_SHUTDOWN_GRACE_MS: u64 = 3_000;

/// The longest that an HTTP request may ask to wait for records: proxies and clients commonly give up after a minute.
pub const HTTP_WAIT_MS_MAX: u64 = 60_000;

/// A live feed over HTTP that has nothing to say says so this often, so that proxies keep it and a reader that has vanished
/// is found out.
pub const HTTP_KEEP_ALIVE_MS_DEFAULT: u64 = 15_000;

/// How long readers of live feeds are asked to wait before they connect again.
pub const HTTP_LIVE_RETRY_MS: u64 = 1_000;

/// Events of a live feed are gathered into one write up to about this size: large enough to spare most system calls, small
/// enough to hold for thousands of slow readers.
pub const HTTP_LIVE_GATHERED_BYTES: usize = 16 << 10;

/// Records that are larger than this as JSON are sent from the memory that all readers share; others are copied, which is
/// cheaper than pieces.
pub const HTTP_LIVE_SHARED_BYTES_MIN: usize = 4 << 10;

/// What is sent to an HTTP peer and not confirmed by its machine for so long, its having vanished or its standing still,
/// ends the connection.
pub const HTTP_UNCONFIRMED_MS: u64 = 30_000;

/// The largest message of a client on a WebSocket: memory for it is reserved on the word of its length alone. Larger ones can
/// be published by requests, whose bodies are counted while they come.
pub const HTTP_SOCKET_FRAME_BYTES_MAX: usize = 1 << 20;

/// What is read of a WebSocket at a time, and gathered before it is written.
pub const HTTP_SOCKET_WRITE_BYTES: usize = 16 << 10;

/// Requests of one WebSocket that are not answered yet; then it is left alone.
pub const HTTP_SOCKET_REQUESTS_MAX: usize = 256;

/// Subscriptions of one WebSocket, each a task with a buffer.
pub const HTTP_SOCKET_SUBSCRIPTIONS_MAX: usize = 100;

/// What subscriptions of one WebSocket have handed over and is not written yet.
pub const HTTP_SOCKET_LINE_ITEMS: usize = 16;

/// Bytes of records and messages among them: other readers wait for the memory that they hold. One delivery may exceed it.
pub const HTTP_SOCKET_LINE_BYTES: usize = 1 << 20;

/// While readers wait for memory, an HTTP peer is given up that takes less than [`HTTP_PEER_BYTES_PER_SECOND_MIN`] for so long of
/// what is written to it.
pub const HTTP_PRESSED_MS: u64 = 5_000;

/// The longest name of a subscription, or id of a request, on a WebSocket: both are repeated in frames.
pub const HTTP_SOCKET_NAME_BYTES_MAX: usize = 128;

/// A WebSocket whose client has shown no sign of life for so many times the interval at which it is asked for one is dropped.
pub const HTTP_SOCKET_SILENCES_MAX: u32 = 3;

/// How long a WebSocket that ends has for what was under way, and then for saying goodbye.
pub const HTTP_SOCKET_CLOSE_MS: u64 = 1_000;

/// Records in one HTTP publish or read.
pub const HTTP_RECORDS_MAX: usize = 10_000;

/// Bytes of records in the answer to one HTTP read: as JSON they grow by a third at least if they are not text.
pub const HTTP_READ_BYTES_MAX: usize = 16 << 20;

/// Topics, groups, queues or routes with series of their own among the metrics: a page of them has to be read in seconds.
pub const METRICS_SERIES_MAX: usize = 1_000;

/// Topics of groups whose lag is among the metrics, all groups together.
pub const METRICS_GROUP_LAGS_MAX: usize = 10_000;

/// Entries in one page of an HTTP list.
pub const HTTP_PAGE_MAX: usize = 1_000;

/// What is reported after seconds when a request is to be tried again.
pub const HTTP_RETRY_AFTER_SECONDS: u64 = 1;

/// The time that the body of an HTTP request of `bytes` may take.
pub const fn http_body_time(bytes: usize) -> std::time::Duration {
    let seconds = (bytes / HTTP_PEER_BYTES_PER_SECOND_MIN) as u64;
    std::time::Duration::from_millis(HTTP_BODY_BASE_MS + 1_000 * seconds)
}

/// Queues on one server: each has a task, some kilobytes, and what its messages in flight take. What it remembers of ids is
/// bounded for all together by [`QUEUE_DEDUP_IDS_MAX`].
pub const QUEUES_MAX: usize = 100_000;

/// Entries of a deleted queue's state that one commit removes.
pub const QUEUE_STATE_DELETES_PER_COMMIT: usize = 50_000;
