// What the checks of the Node clients share: names, limits of time, and one line of outcome per check.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

export { assert, sleep }
export const [client, bootstrap] = process.argv.slice(2)
// As many nodes as the broker shows: one, or one for each shard.
export const nodes = Number(process.env.NODES ?? 1)
// What the names of the checks to run begin with; all run if it is empty.
const chosen = (process.env.CHECKS ?? '').split('|')
export const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

const checkSeconds = 45

// Says that a check tells nothing about this broker, and why.
export class Skip extends Error {}

// Runs the checks, an object of functions, in their order, and ends the process. A check returns a detail to print,
// or nothing; it fails by throwing.
export async function run (version, checks) {
  console.log(`version ${client} ${version}`)
  let failed = false
  // What a client throws beside a check belongs to the check that runs.
  let fail
  process.on('uncaughtException', error => fail(error))
  process.on('unhandledRejection', error => fail(error))
  for (const [name, check] of Object.entries(checks)) {
    if (!chosen.some(beginning => dashed(name).startsWith(beginning))) continue
    let outcome = 'ok'
    let detail
    const aside = new Promise((_, reject) => { fail = reject })
    const late = sleep(checkSeconds * 1000, undefined, { ref: false }).then(() => {
      throw new Error(`no end within ${checkSeconds} s`)
    })
    late.catch(() => {})
    try {
      detail = await Promise.race([check(), late, aside])
    } catch (error) {
      outcome = error instanceof Skip ? 'skip' : 'FAIL'
      if (outcome === 'FAIL') console.error(error)
      detail = error instanceof Skip ? error.message : `${describe(error)}${where(error)}`
      failed ||= outcome === 'FAIL'
    }
    const text = detail ? ` (${String(detail).split(/\s+/).join(' ').slice(0, 500)})` : ''
    console.log(`${outcome} ${client} ${dashed(name)}${text}`)
  }
  process.exit(failed ? 1 : 0)
}

const dashed = name => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

const describe = error =>
  [error.message ?? error, ...(error.errors ?? []).map(describe), ...(error.cause ? [describe(error.cause)] : [])].join(': ')

const where = error => /\/(\w+\.mjs:\d+)/.exec(error?.stack ?? '')?.[1].replace(/^/, ', ') ?? ''

export const unique = what => `${client}-${what}-${randomBytes(4).toString('hex')}`

// Waits until the condition gives something true, and returns it.
export async function eventually (condition, what, seconds = 25) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const result = await condition()
    if (result) return result
    assert(Date.now() < deadline, `not within ${seconds} s: ${what}`)
    await sleep(50)
  }
}

export const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i)

// Records that compress, with everything in them that both clients can send.
export function sampleRecords (count) {
  // Old enough to be no wall clock of the broker's, young enough for no retention to delete it.
  const start = Date.now() - 3_600_000
  return range(0, count).map(i => ({
    key: i === 1 ? null : Buffer.from(`key ${i}`),
    value: i === 2 ? null : i === 3 ? Buffer.from(range(0, 256)) : Buffer.from(`value ${i} `.repeat(20)),
    headers: i === 4 ? {} : { number: Buffer.from(`${i}`), empty: Buffer.alloc(0) },
    timestamp: start + i
  }))
}

const sum = numbers => numbers.reduce((total, number) => total + number, 0)

// Whether all partitions are held, none twice, and by all members.
export function allShared (members, partitions = 4) {
  const held = members.flatMap(member => member.partitions())
  return members.every(member => member.partitions().length > 0) &&
    String([...held].sort()) === String(range(0, partitions))
}

// Two members share the partitions, one leaves, the other takes all; nothing is lost or read twice.
//
// `join` gives a member with `partitions()`, `read` (values) and `leave()`; `send` sends values to all partitions.
export async function twoMembersShareAndOneLeaves (join, send) {
  const first = await join()
  await eventually(() => allShared([first]), 'one member has all partitions')
  const second = await join()
  await eventually(() => allShared([first, second]), 'two members share the partitions')
  const read = () => [...first.read, ...second.read]

  const shared = range(0, 40).map(i => `shared ${i}`)
  await send(shared)
  await eventually(() => read().length >= 40, 'the two have read all')
  assert(first.read.length > 0 && second.read.length > 0, 'one of the two members read nothing')
  await second.leave()
  await eventually(() => allShared([first]), 'the one that is left has all partitions')
  const alone = range(0, 40).map(i => `alone ${i}`)
  await send(alone)
  await eventually(() => read().length >= 80, 'the one that is left has read all')
  await first.leave()
  assert.deepEqual(read().sort(), [...shared, ...alone].sort())
}

// A static member that restarts gets its partitions back, and the other keeps its own all the while.
//
// `join` gives a member as above; a static member leaves without a word to the group.
export async function staticMemberKeepsItsPartitions (join) {
  const first = await join('instance-1')
  const second = await join('instance-2')
  await eventually(() => allShared([first, second]), 'two static members share the partitions')
  const had = first.partitions()
  const others = second.partitions()
  await first.leave()
  const again = await join('instance-1')
  await eventually(() => again.partitions().length > 0, 'the restarted member has partitions')
  assert.deepEqual(again.partitions(), had)
  assert.deepEqual(second.partitions(), others)
  await again.leave()
  await second.leave()
}
