// @platformatic/kafka: the younger Node client, which speaks new versions of the protocol and both group protocols.

import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { readFileSync } from 'node:fs'
import { Admin, ConfigResourceTypes, Consumer, IncrementalAlterConfigOperationTypes, ListOffsetTimestamps, Producer } from '@platformatic/kafka'
import { assert, bootstrap, codecs, eventually, nodes, range, run, sampleRecords, sleep, staticMemberKeepsItsPartitions, twoMembersShareAndOneLeaves, unique } from './checks.mjs'

// How long a fetch waits for records.
const maxWaitTime = 500
const base = { clientId: 'somebody', bootstrapBrokers: [bootstrap], retries: 3 }
const admin = new Admin(base)

async function newTopic (what, partitions = 1, configs = []) {
  const topic = unique(what)
  await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs })
  return topic
}

// Sends the records to one partition and returns the offset of the first.
async function send (topic, records, { partition = 0, ...config } = {}) {
  const producer = new Producer({ ...base, ...config })
  const messages = records.map(({ key, value, headers, timestamp }) => ({
    topic,
    partition,
    key: key ?? undefined,
    value: value ?? undefined,
    headers: new Map(Object.entries(headers ?? {}).map(([name, value]) => [Buffer.from(name), value])),
    ...(timestamp && { timestamp: BigInt(timestamp) })
  }))
  const { offsets } = await producer.send({ messages, acks: -1, ...config })
  await producer.close()
  return offsets && Number(offsets[0].offset)
}

// A consumer that notes what it reads and which partitions it has.
async function subscribed (topic, { groupId = unique('group'), consume = {}, ...config } = {}) {
  const ofClassicGroups = config.groupProtocol === 'consumer' ? {} : { heartbeatInterval: 500, sessionTimeout: 10_000 }
  const consumer = new Consumer({ ...base, groupId, maxWaitTime, ...ofClassicGroups, ...config })
  const stream = await consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest', autocommit: true, ...consume })
  const found = []
  stream.on('data', message => found.push(message))
  return {
    consumer,
    stream,
    found,
    get read () { return found.map(({ value }) => String(value)) },
    partitions: () => (consumer.assignments ?? []).flatMap(({ partitions }) => partitions),
    async leave () {
      await stream.close()
      await consumer.close()
    }
  }
}

async function read (topic, count, config) {
  const reader = await subscribed(topic, config)
  await eventually(() => reader.found.length >= count, `${count} records read`)
  await reader.leave()
  return reader.found
}

const asRecord = ({ key, value, headerEntries, timestamp }) => ({
  key: key ?? null,
  value: value ?? null,
  headers: Object.fromEntries(headerEntries.map(([name, value]) => [String(name), value])),
  timestamp: Number(timestamp)
})

const deepest = error => error.errors?.length ? deepest(error.errors[0]) : error.cause ? deepest(error.cause) : error

async function refusal (promise) {
  try {
    return `no error, but ${await promise}`
  } catch (error) {
    const { apiId, message } = deepest(error)
    return apiId ?? message
  }
}

async function roundTripOfEveryCodec (config) {
  for (const compression of codecs) {
    const topic = await newTopic(compression)
    const records = sampleRecords(300)
    assert.equal(await send(topic, records, { compression, ...config }), 0)
    assert.deepEqual((await read(topic, 300)).map(asRecord), records, compression)
  }
}

async function toAllPartitions (topic, values) {
  for (const partition of range(0, 4)) {
    const mine = values.filter((_, i) => i % 4 === partition)
    await send(topic, mine.map(value => ({ value: Buffer.from(value) })), { partition })
  }
}

async function shared (config) {
  const topic = await newTopic('shared', 4)
  const groupId = unique('shared')
  await twoMembersShareAndOneLeaves(() => subscribed(topic, { groupId, ...config }), async values => {
    // The client hands out what a fetch brings that it sent before a rebalance, of partitions that are others' by now.
    await sleep(maxWaitTime + 200)
    await toAllPartitions(topic, values)
  })
}

// The end, or another place, of every partition.
async function offsets (topic, timestamp = ListOffsetTimestamps.LATEST, partitions = [0]) {
  const [{ partitions: found }] = await admin.listOffsets({
    topics: [{ name: topic, partitions: partitions.map(partitionIndex => ({ partitionIndex, timestamp: BigInt(timestamp) })) }]
  })
  return found.sort((a, b) => a.partitionIndex - b.partitionIndex).map(({ offset }) => Number(offset))
}

const entry = createRequire(import.meta.url).resolve('@platformatic/kafka')
const { version } = JSON.parse(readFileSync(join(dirname(entry), '..', 'package.json')))

await run(version, {
  async metadata () {
    const topic = await newTopic('metadata', 3)
    const { id, brokers, controllerId, topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
    assert(id && brokers.has(controllerId))
    assert.equal(brokers.size, nodes)
    const { partitions } = topics.get(topic)
    assert.equal(partitions.length, 3)
    assert(partitions.every(({ leader, isr }) => brokers.has(leader) && isr.includes(leader)))
    return `${brokers.size} node(s)`
  },

  roundTripOfEveryCodec: () => roundTripOfEveryCodec({}),

  roundTripOfEveryCodecWithIdempotence: () => roundTripOfEveryCodec({ idempotent: true }),

  async everyLevelOfAcks () {
    const topic = await newTopic('acks')
    for (const acks of [-1, 1, 0]) await send(topic, sampleRecords(10), { acks })
    assert.equal((await read(topic, 30)).length, 30)
  },

  async idempotentProducerSendsMany () {
    const topic = await newTopic('idempotent', 2)
    const producer = new Producer({ ...base, idempotent: true })
    for (const i of range(0, 20)) {
      await producer.send({ messages: [{ topic, partition: i % 2, value: Buffer.from(String(i)) }] })
    }
    await producer.close()
    const values = (await read(topic, 20)).map(({ value }) => Number(value))
    assert.deepEqual(values.sort((a, b) => a - b), range(0, 20))
  },

  async largeMessageAndOneTooLarge () {
    const topic = await newTopic('large', 1, [{ name: 'max.message.bytes', value: '2000000' }])
    const large = Buffer.alloc(1_800_000, 'large ')
    await send(topic, [{ value: large }])
    assert.deepEqual((await read(topic, 1))[0].value, large)
    assert.equal(await refusal(send(topic, [{ value: Buffer.alloc(3_000_000) }])), 'MESSAGE_TOO_LARGE')
  },

  async automaticCreationOfATopic () {
    const topic = unique('automatic')
    await send(topic, [{ value: Buffer.from('v') }], { autocreateTopics: true })
    assert.equal(String((await read(topic, 1))[0].value), 'v')
  },

  async startAtAnOffsetAndPause () {
    const topic = await newTopic('seek')
    await send(topic, sampleRecords(100))
    const reader = await subscribed(topic, {
      consume: { mode: 'manual', fallbackMode: undefined, offsets: [{ topic, partition: 0, offset: 42n }] }
    })
    await eventually(() => reader.found.length === 58, 'the rest read')
    assert.deepEqual(reader.found.map(({ offset }) => Number(offset)), range(42, 100))
    reader.stream.pause()
    await send(topic, sampleRecords(1))
    await sleep(1500)
    assert.equal(reader.found.length, 58)
    reader.stream.resume()
    await eventually(() => reader.found.length === 59, 'read after the pause')
    await reader.leave()
  },

  async offsetsForTimesAndEnds () {
    const topic = await newTopic('times')
    const records = sampleRecords(100)
    await send(topic, records)
    assert.deepEqual(await offsets(topic, ListOffsetTimestamps.EARLIEST), [0])
    assert.deepEqual(await offsets(topic), [100])
    for (const offset of [0, 3, 99]) assert.deepEqual(await offsets(topic, records[offset].timestamp), [offset])
    assert.deepEqual(await offsets(topic, records[0].timestamp - 1000), [0])
    assert.deepEqual(await offsets(topic, records[99].timestamp + 1), [-1])
  },

  async commitsAndLag () {
    const topic = await newTopic('commits', 2)
    const groupId = unique('commits')
    for (const partition of [0, 1]) await send(topic, sampleRecords(50), { partition })
    const first = await subscribed(topic, { groupId, consume: { autocommit: false } })
    await eventually(() => first.found.length === 100, 'all read')
    await first.consumer.commit({
      offsets: [50n, 20n].map((offset, partition) => ({ topic, partition, offset, leaderEpoch: 0 }))
    })
    const committed = await first.consumer.listCommittedOffsets({ topics: [{ topic, partitions: [0, 1] }] })
    assert.deepEqual(committed.get(topic), [50n, 20n])
    // The client counts the lag from what it has read, not from what is committed.
    const ends = await offsets(topic, ListOffsetTimestamps.LATEST, [0, 1])
    assert.deepEqual(ends.map((end, i) => end - Number(committed.get(topic)[i])), [0, 30])
    await first.leave()
    // Another member goes on where the first one stopped.
    const second = await subscribed(topic, { groupId })
    await eventually(() => second.found.length === 30, 'the rest read')
    assert.deepEqual(second.found.map(({ partition, offset }) => [partition, Number(offset)]), range(20, 50).map(i => [1, i]))
    await second.leave()
    await admin.alterConsumerGroupOffsets({ groupId, topics: [{ name: topic, partitionOffsets: [{ partition: 1, offset: 7n }] }] })
    const [listed] = await admin.listConsumerGroupOffsets({ groups: [groupId] })
    const moved = listed.topics[0].partitions.find(({ partitionIndex }) => partitionIndex === 1)
    assert.equal(moved.committedOffset, 7n)
  },

  twoMembersShareAndOneLeaves: () => shared({}),

  twoMembersShareAndOneLeavesWithTheNewProtocol: () => shared({ groupProtocol: 'consumer' }),

  async staticMember () {
    const topic = await newTopic('static', 4)
    const groupId = unique('static')
    await staticMemberKeepsItsPartitions(groupInstanceId => subscribed(topic, { groupId, groupInstanceId }))
  },

  async adminTopics () {
    const topic = await newTopic('admin', 2)
    const create = (name, replicas = 1) => refusal(admin.createTopics({ topics: [name], partitions: 1, replicas }))
    assert.equal(await create(topic), 'TOPIC_ALREADY_EXISTS')
    assert.equal(await create("a-topic's-name"), 'INVALID_TOPIC_EXCEPTION')
    assert.equal(await create(unique('replicas'), 3), 'INVALID_REPLICATION_FACTOR')
    await admin.createPartitions({ topics: [{ name: topic, count: 5 }] })
    const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
    assert.equal(topics.get(topic).partitions.length, 5)
    assert.equal(await refusal(admin.createPartitions({ topics: [{ name: topic, count: 3 }] })), 'INVALID_PARTITIONS')
    await admin.deleteTopics({ topics: [topic] })
    await eventually(async () => !(await admin.listTopics()).includes(topic), 'the topic is gone')
    assert.equal(await refusal(admin.deleteTopics({ topics: [topic] })), 'UNKNOWN_TOPIC_OR_PARTITION')
  },

  async adminConfigs () {
    const topic = await newTopic('configs', 1, [{ name: 'retention.ms', value: '7200000' }])
    const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }
    const describe = async () => {
      const [{ configs }] = await admin.describeConfigs({ resources: [resource], includeSynonyms: true, includeDocumentation: true })
      return Object.fromEntries(configs.map(config => [config.name, config]))
    }
    const alter = (type, name, value) => admin.incrementalAlterConfigs({
      resources: [{ ...resource, configs: [{ name, value, configOperation: IncrementalAlterConfigOperationTypes[type] }] }]
    })
    const before = await describe()
    assert.equal(before['retention.ms'].value, '7200000')
    assert(before['retention.ms'].documentation && before['retention.ms'].synonyms.length > 0)
    await alter('SET', 'segment.bytes', '20971520')
    const after = await describe()
    assert.deepEqual([after['segment.bytes'].value, after['retention.ms'].value], ['20971520', '7200000'])
    await alter('DELETE', 'segment.bytes')
    assert.equal((await describe())['segment.bytes'].value, before['segment.bytes'].value)
    assert.equal(await refusal(alter('SET', 'retention.ms', 'long')), 'INVALID_CONFIG')
  },

  async adminGroups () {
    const topic = await newTopic('groups')
    const groupId = unique('groups')
    await send(topic, sampleRecords(20))
    const reader = await subscribed(topic, { groupId })
    await eventually(() => reader.found.length === 20, 'all read')
    const listed = await admin.listGroups()
    assert.deepEqual([listed.get(groupId).protocolType, listed.get(groupId).state], ['consumer', 'Stable'])
    const described = async () => (await admin.describeGroups({ groups: [groupId] })).get(groupId)
    const { state, members } = await described()
    assert.deepEqual([state, [...members.values()].map(({ clientId }) => clientId)], ['Stable', ['somebody']])
    assert.equal(await refusal(admin.deleteGroups({ groups: [groupId] })), 'NON_EMPTY_GROUP')
    await reader.leave()
    await eventually(async () => (await described()).state === 'Empty', 'the group is empty')
    await admin.deleteGroups({ groups: [groupId] })
    assert(!(await admin.listGroups()).has(groupId))
  },

  async adminDeleteRecords () {
    const topic = await newTopic('delete')
    await send(topic, sampleRecords(50))
    const [{ partitions }] = await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 30n }] }] })
    assert.equal(partitions[0].lowWatermark, 30n)
    assert.deepEqual((await read(topic, 20)).map(({ offset }) => Number(offset)), range(30, 50))
  },

  async transactions () {
    const topic = await newTopic('transactions')
    const producer = new Producer({ ...base, idempotent: true, transactionalId: unique('transactional') })
    const listed = (await producer.listApis()).some(({ name }) => name === 'AddPartitionsToTxn')
    if (!listed) {
      const name = await refusal(producer.beginTransaction())
      assert.equal(name, 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED')
      return `refused for good: ${name}`
    }
    for (const [value, end] of [['kept', 'commit'], ['dropped', 'abort'], ['last', 'commit']]) {
      const transaction = await producer.beginTransaction()
      await transaction.send({ messages: [{ topic, partition: 0, value: Buffer.from(value) }] })
      await transaction[end]()
    }
    await producer.close(true)
    const found = await read(topic, 2, { isolationLevel: 1 })
    assert.deepEqual(found.map(({ value }) => String(value)), ['kept', 'last'])
  }
})
