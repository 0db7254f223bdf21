// Live feeds and sockets of the HTTP API, by EventSource and WebSocket as they are given: Node's libraries', or a browser's
// own. The same code runs in both.

export class Feeds {
  members = new Map()

  constructor({ base, EventSource, WebSocket }) {
    this.base = base
    this.EventSource = EventSource
    this.WebSocket = WebSocket
  }

  // Follows an event stream, which connects again by itself when it breaks.
  async follow({ member, path, events = [] }) {
    const source = new this.EventSource(`http://${this.base}${path}`)
    const state = { opened: 0, errors: 0, received: [] }
    const take = (event) =>
      state.received.push({ event: event.type, id: event.lastEventId, data: event.data, at: Date.now() })
    source.onopen = () => (state.opened += 1)
    // Browsers raise their own events of the name "error", without data.
    source.onerror = () => (state.errors += 1)
    for (const name of ['message', ...events]) source.addEventListener(name, take)
    this.members.set(member, {
      state: () => ({ ...state, ready: source.readyState }),
      drain: () => (state.received = []),
      close: () => source.close(),
    })
  }

  // Opens a socket, which stays closed once it is.
  async connect({ member, path }) {
    const socket = new this.WebSocket(`ws://${this.base}${path}`)
    const state = { opened: 0, errors: 0, received: [], closed: null }
    socket.onopen = () => (state.opened += 1)
    socket.onerror = () => (state.errors += 1)
    socket.onclose = ({ code, reason }) => (state.closed = { code, reason })
    socket.onmessage = ({ data }) => state.received.push({ data: String(data), at: Date.now() })
    this.members.set(member, {
      state: () => ({ ...state, ready: socket.readyState }),
      drain: () => (state.received = []),
      close: () => socket.close(),
      send: (text) => socket.send(text),
    })
  }

  async send({ member, text }) {
    this.members.get(member).send(text)
  }

  async state({ member, drain = false }) {
    const wanted = this.members.get(member)
    const state = wanted.state()
    if (drain) wanted.drain()
    return state
  }

  async close({ member }) {
    this.members.get(member)?.close()
    this.members.delete(member)
  }
}

// One request, by fetch. Bodies are text.
export async function request(base, { method, path, headers = {}, body }) {
  const answer = await fetch(`http://${base}${path}`, { method, headers, body })
  return { status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text() }
}
