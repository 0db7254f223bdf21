// The agents' side of the protocol; see ../protocol.py.

import { createInterface } from 'node:readline'
import { describe } from './wire.mjs'

export async function answer(operations) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { op, args } = JSON.parse(line)
    let said
    try {
      said = { ok: (await operations[op](args ?? {})) ?? null }
    } catch (failure) {
      console.error(failure)
      said = { error: describe(failure) }
    }
    process.stdout.write(`${JSON.stringify(said)}\n`)
  }
  process.exit(0)
}
