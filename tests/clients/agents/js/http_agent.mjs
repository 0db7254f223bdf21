// The HTTP API from Node: fetch, and the packages eventsource and ws. See ../http_agent.py for the operations.

import { EventSource } from 'eventsource'
import WebSocket from 'ws'
import { Feeds, request } from './feeds.mjs'
import { answer } from './requests.mjs'

const [base] = process.argv.slice(2)
const feeds = new Feeds({ base, EventSource, WebSocket })

await answer({
  request: (how) => request(base, how),
  follow: (how) => feeds.follow(how),
  connect: (how) => feeds.connect(how),
  send: (how) => feeds.send(how),
  state: (how) => feeds.state(how),
  close: (how) => feeds.close(how),
})
