// The HTTP API from a page in headless Chromium: fetch, EventSource and WebSocket as browsers have them. The operations of
// ../http_agent.py, and these:
//
//     visit   origin: opens a page of that site; `http://NAME.test:PORT` are all this agent's own, at the port that `origin`
//             without one stands for -> the page's origin
//     page    url, offline: opens a page of the server, and tells what came of it
//
// Every name below `.test` resolves to this machine for this browser, so that pages can be foreign.

import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { answer } from './requests.mjs'

const [base] = process.argv.slice(2)
const script = await readFile(fileURLToPath(new URL('feeds.mjs', import.meta.url)))

const site = createServer(({ url }, response) => {
  if (url === '/feeds.mjs') return response.setHeader('content-type', 'text/javascript').end(script)
  response.setHeader('content-type', 'text/html').end('<!doctype html><title>a page</title>')
})
await new Promise((listening) => site.listen(0, '127.0.0.1', listening))
const { port } = site.address()

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP *.test 127.0.0.1',
  ],
})
let tab

async function visit({ origin, server = base }) {
  const where = new URL(origin)
  if (where.port === '') where.port = port
  await tab?.close()
  tab = await browser.newPage()
  await tab.goto(where.href)
  await tab.evaluate(async (server) => {
    const { Feeds, request } = await import('/feeds.mjs')
    const feeds = new Feeds({ base: server, EventSource, WebSocket })
    window.operations = {
      request: (how) => request(server, how),
      follow: (how) => feeds.follow(how),
      connect: (how) => feeds.connect(how),
      send: (how) => feeds.send(how),
      state: (how) => feeds.state(how),
      close: (how) => feeds.close(how),
    }
  }, server)
  return where.origin
}

const inPage = (op) => async (how) => {
  if (tab === undefined) await visit({ origin: 'http://localhost' })
  return tab.evaluate(([op, how]) => window.operations[op](how), [op, how])
}

async function page({ url }) {
  const opened = await browser.newPage()
  const asked = []
  const errors = []
  // The page has to do without any other server.
  await opened.route('**/*', (route) => {
    asked.push(route.request().url())
    return new URL(route.request().url()).host === new URL(url).host ? route.continue() : route.abort()
  })
  opened.on('pageerror', (failure) => errors.push(String(failure)))
  opened.on('console', (said) => said.type() === 'error' && errors.push(said.text()))
  try {
    const response = await opened.goto(url, { waitUntil: 'networkidle' })
    const text = await opened.evaluate(() => document.body.innerText)
    return { status: response.status(), text, asked, errors, title: await opened.title() }
  } finally {
    await opened.close()
  }
}

const operations = ['request', 'follow', 'connect', 'send', 'state', 'close']
process.on('exit', () => browser.close())
await answer({ visit, page, ...Object.fromEntries(operations.map((op) => [op, inPage(op)])) })
