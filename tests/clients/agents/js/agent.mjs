// kafkajs as an agent; see ../protocol.py for the protocol.

import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import kafkajs from 'kafkajs'
import { codecs } from './codecs.mjs'
import { administration } from './administration.mjs'
import { Member } from './member.mjs'
import { answer } from './requests.mjs'
import { decode, recordOf } from './wire.mjs'

const { CompressionTypes, Kafka, logLevel } = kafkajs
const [bootstrap] = process.argv.slice(2)
const version = createRequire(import.meta.url)('kafkajs/package.json').version
const kafka = new Kafka({
  clientId: `kafkajs-${version}`,
  brokers: [bootstrap],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 1000, retries: 8 },
})
codecs(kafkajs)

const COMPRESSION = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}
const members = new Map()

// One name may come several times; kafkajs takes an array for that.
function headersOf(record) {
  const headers = {}
  for (const [name, value] of record.headers ?? []) {
    headers[name] = [...(headers[name] ?? []), decode(value)]
  }
  return headers
}

async function produce({ topic, records, compression = 'none', acks = 'all', idempotent = false }) {
  const producer = kafka.producer({ idempotent, maxInFlightRequests: idempotent ? 1 : undefined })
  await producer.connect()
  try {
    const sent = await producer.send({
      topic,
      acks: acks === 'all' ? -1 : Number(acks),
      compression: COMPRESSION[compression],
      messages: records.map((record) => ({
        key: decode(record.key),
        value: decode(record.value),
        headers: headersOf(record),
        partition: record.partition,
        timestamp: record.timestamp?.toString(),
      })),
    })
    return placesOf(records, sent)
  } finally {
    await producer.disconnect()
  }
}

// The answer has one base offset for each partition; a send goes to each partition in one batch, in order.
function placesOf(records, sent) {
  const next = new Map(sent.map((entry) => [entry.partition, Number(entry.baseOffset)]))
  if (records.some((record) => record.partition === undefined)) {
    return sent.map((entry) => ({ partition: entry.partition, offset: Number(entry.baseOffset) }))
  }
  return records.map(({ partition }) => {
    const offset = next.get(partition)
    next.set(partition, offset + 1)
    return { partition, offset }
  })
}

// kafkajs reads in groups only: a group of its own is placed with committed offsets before it starts.
async function fetch({ topic, start, count, seconds = 20 }) {
  const groupId = `fetch-${randomUUID()}`
  await place(groupId, topic, start)
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 })
  await consumer.connect()
  const records = []
  try {
    await consumer.subscribe({ topic, fromBeginning: true })
    await new Promise((resolve, reject) => {
      const deadline = setTimeout(resolve, seconds * 1000)
      const done = (how, what) => {
        clearTimeout(deadline)
        how(what)
      }
      consumer.on(consumer.events.CRASH, ({ payload }) => done(reject, payload.error))
      consumer
        .run({
          autoCommit: false,
          eachMessage: async ({ partition, message }) => {
            records.push(recordOf(topic, partition, message))
            if (records.length === count) done(resolve)
          },
        })
        .catch((failure) => done(reject, failure))
    })
  } finally {
    await consumer.disconnect()
  }
  return records.slice(0, count)
}

async function place(groupId, topic, start) {
  if (start === 'earliest') return
  const admin = kafka.admin()
  await admin.connect()
  try {
    const ends = await admin.fetchTopicOffsets(topic)
    let partitions = ends
    if (start.offset !== undefined) {
      partitions = ends.map(({ partition }) => ({ partition, offset: String(start.offset) }))
    } else if (start.time !== undefined) {
      const found = await admin.fetchTopicOffsetsByTimestamp(topic, start.time)
      partitions = found.map(({ partition, offset }) =>
        Number(offset) < 0 ? ends.find((end) => end.partition === partition) : { partition, offset },
      )
    }
    await admin.setOffsets({ groupId, topic, partitions: partitions.map(({ partition, offset }) => ({ partition, offset })) })
  } finally {
    await admin.disconnect()
  }
}

async function join({ member, ...how }) {
  const joined = new Member(kafka, kafkajs, how)
  members.set(member, joined)
  await joined.start()
}

async function tell({ member, what, ...how }) {
  const wanted = members.get(member)
  if (what === 'leave') members.delete(member)
  return wanted[what](how)
}

await answer({ produce, fetch, join, tell, ...administration(kafka, kafkajs) })
