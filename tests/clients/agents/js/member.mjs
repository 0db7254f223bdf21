// A member of a group, running until it is told to leave.

import { describe, recordOf } from './wire.mjs'

export class Member {
  received = []
  errors = []
  assigned = []
  assignments = 0
  revoked = 0
  next = new Map()

  constructor(kafka, { PartitionAssigners }, { group, topics, reset = 'earliest', session_ms = 6000 }) {
    this.topics = topics
    this.fromBeginning = reset === 'earliest'
    this.consumer = kafka.consumer({
      groupId: group,
      sessionTimeout: session_ms,
      heartbeatInterval: 500,
      maxWaitTimeInMs: 100,
      partitionAssigners: [PartitionAssigners.roundRobin],
    })
  }

  async start() {
    const { consumer } = this
    consumer.on(consumer.events.REBALANCING, () => {
      this.revoked += this.assigned.length
      this.assigned = []
    })
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = Object.entries(payload.memberAssignment).flatMap(([topic, partitions]) =>
        partitions.map((partition) => [topic, partition]),
      )
      this.assignments += 1
    })
    consumer.on(consumer.events.CRASH, ({ payload }) => this.errors.push(describe(payload.error)))
    await consumer.connect()
    await consumer.subscribe({ topics: this.topics, fromBeginning: this.fromBeginning })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, partition, message }) => {
        this.received.push(recordOf(topic, partition, message))
        this.next.set(`${partition}@${topic}`, { topic, partition, offset: String(Number(message.offset) + 1) })
      },
    })
  }

  async state({ drain = false } = {}) {
    const { received, errors, assigned, assignments, revoked } = this
    if (drain) {
      this.received = []
      this.errors = []
    }
    return { received, errors, assigned: assigned.toSorted(), assignments, revoked }
  }

  async commit() {
    const held = new Set(this.assigned.map(([topic, partition]) => `${partition}@${topic}`))
    const offsets = [...this.next].filter(([place]) => held.has(place)).map(([, position]) => position)
    await this.consumer.commitOffsets(offsets)
  }

  async pause() {
    this.consumer.pause(this.topics.map((topic) => ({ topic })))
  }

  async resume() {
    this.consumer.resume(this.topics.map((topic) => ({ topic })))
  }

  async seek({ topic, partition, offset }) {
    this.consumer.seek({ topic, partition, offset: String(offset) })
  }

  async leave() {
    await this.consumer.disconnect()
  }
}
