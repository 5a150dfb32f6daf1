// kafkajs: the client of most Node programs, which speaks old versions of the protocol.

import { createRequire } from 'node:module'
import zlib from 'node:zlib'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'
import lz4 from 'lz4js'
import { assert, bootstrap, codecs, eventually, nodes, range, run, sampleRecords, sleep, twoMembersShareAndOneLeaves, unique } from './checks.mjs'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs

// kafkajs brings gzip; the other codecs are what a program gives it.
const codec = (compress, decompress) => () => ({
  compress: async encoder => Buffer.from(compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(decompress(buffer))
})
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = codec(lz4.compress, lz4.decompress)
CompressionCodecs[CompressionTypes.ZSTD] = codec(zlib.zstdCompressSync, zlib.zstdDecompressSync)

const kafka = new Kafka({ clientId: 'somebody', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 5 } })
const admin = kafka.admin()
await admin.connect()

async function newTopic (what, partitions = 1, configEntries = []) {
  const topic = unique(what)
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }] })
  return topic
}

// Sends the records to one partition and returns the offset of the first.
async function send (topic, records, { partition = 0, compression, acks, ...config } = {}) {
  const producer = kafka.producer(config)
  await producer.connect()
  const messages = records.map(record => ({ ...record, partition, timestamp: record.timestamp && String(record.timestamp) }))
  const [answer] = await producer.send({ topic, messages, compression, acks })
  await producer.disconnect()
  return answer && Number(answer.baseOffset)
}

// A consumer that notes what it reads and which partitions it has.
async function subscribed (topic, { groupId = unique('group'), from = {}, run = {}, ...config } = {}) {
  const consumer = kafka.consumer({ groupId, heartbeatInterval: 500, sessionTimeout: 10_000, maxWaitTimeInMs: 500, ...config })
  const found = []
  let assignment = []
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { assignment = Object.values(payload.memberAssignment).flat() })
  consumer.on(consumer.events.REBALANCING, () => { assignment = [] })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true, ...from })
  await consumer.run({ eachMessage: async one => { found.push(one) }, ...run })
  return { consumer, found, partitions: () => assignment }
}

async function read (topic, count) {
  const { consumer, found } = await subscribed(topic)
  await eventually(() => found.length >= count, `${count} records read`)
  await consumer.disconnect()
  return found.map(({ message }) => message)
}

const asRecord = ({ key, value, headers, timestamp }) => ({ key, value, headers, timestamp: Number(timestamp) })

async function refusal (promise) {
  try {
    return `no error, but ${JSON.stringify(await promise)}`
  } catch (error) {
    return error.errors?.[0]?.type ?? error.groups?.[0]?.error.type ?? error.cause?.type ?? error.type ?? error.message
  }
}

async function roundTripOfEveryCodec (config) {
  for (const name of codecs) {
    const topic = await newTopic(name)
    const records = sampleRecords(300)
    const compression = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }[name]
    assert.equal(await send(topic, records, { compression, ...config }), 0)
    assert.deepEqual((await read(topic, 300)).map(asRecord), records, name)
  }
}

await run(createRequire(import.meta.url)('kafkajs/package.json').version, {
  async metadata () {
    const topic = await newTopic('metadata', 3)
    const { brokers, clusterId, controller } = await admin.describeCluster()
    assert(clusterId && brokers.some(({ nodeId }) => nodeId === controller))
    assert.equal(brokers.length, nodes)
    const { topics: [{ partitions }] } = await admin.fetchTopicMetadata({ topics: [topic] })
    assert.deepEqual(partitions.map(({ partitionId }) => partitionId).sort(), [0, 1, 2])
    assert(partitions.every(({ leader }) => brokers.some(({ nodeId }) => nodeId === leader)))
    return `${brokers.length} node(s)`
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
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (const i of range(0, 20)) await producer.send({ topic, messages: [{ partition: i % 2, value: String(i) }] })
    await producer.disconnect()
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
    await send(topic, [{ value: Buffer.from('v') }])
    assert.equal(String((await read(topic, 1))[0].value), 'v')
  },

  async seekAndPause () {
    const topic = await newTopic('seek')
    await send(topic, sampleRecords(100))
    const { consumer, found } = await subscribed(topic)
    const offsets = () => found.map(({ message }) => Number(message.offset))
    await eventually(() => found.length === 100, 'all read')
    found.length = 0
    consumer.seek({ topic, partition: 0, offset: '42' })
    await eventually(() => found.length === 58, 'the rest read')
    assert.deepEqual(offsets(), range(42, 100))
    consumer.pause([{ topic }])
    await send(topic, sampleRecords(1))
    await sleep(1500)
    assert.equal(found.length, 58)
    consumer.resume([{ topic }])
    await eventually(() => found.length === 59, 'read after the pause')
    await consumer.disconnect()
  },

  async offsetsForTimesAndEnds () {
    const topic = await newTopic('times')
    const records = sampleRecords(100)
    await send(topic, records)
    const [{ high, low }] = await admin.fetchTopicOffsets(topic)
    assert.deepEqual([low, high], ['0', '100'])
    const at = async time => Number((await admin.fetchTopicOffsetsByTimestamp(topic, time))[0].offset)
    for (const offset of [0, 3, 99]) assert.equal(await at(records[offset].timestamp), offset)
    assert.equal(await at(records[0].timestamp - 1000), 0)
    // Beyond the last record kafkajs asks for the end instead.
    assert.equal(await at(records[99].timestamp + 1), 100)
  },

  async commitsAndLag () {
    const topic = await newTopic('commits', 2)
    const groupId = unique('commits')
    for (const partition of [0, 1]) await send(topic, sampleRecords(50), { partition })
    const first = await subscribed(topic, { groupId, run: { autoCommit: false } })
    await eventually(() => first.found.length === 100, 'all read')
    await first.consumer.commitOffsets([
      { topic, partition: 0, offset: '50' }, { topic, partition: 1, offset: '20', metadata: 'a note' }
    ])
    await first.consumer.disconnect()
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
    const committed = partitions.sort((a, b) => a.partition - b.partition)
    assert.deepEqual(committed.map(({ offset }) => offset), ['50', '20'])
    assert.equal(committed[1].metadata, 'a note')
    const ends = await admin.fetchTopicOffsets(topic)
    const lag = committed.map(({ partition, offset }) => ends.find(end => end.partition === partition).high - offset)
    assert.deepEqual(lag, [0, 30])
    // Another member goes on where the first one stopped.
    const second = await subscribed(topic, { groupId })
    await eventually(() => second.found.length === 30, 'the rest read')
    assert.deepEqual(second.found.map(({ partition, message }) => [partition, Number(message.offset)]), range(20, 50).map(i => [1, i]))
    await second.consumer.disconnect()
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 1, offset: '7' }] })
    const [moved] = await admin.fetchOffsets({ groupId, topics: [topic] })
    assert.equal(moved.partitions.find(({ partition }) => partition === 1).offset, '7')
  },

  async twoMembersShareAndOneLeaves () {
    const topic = await newTopic('shared', 4)
    const groupId = unique('shared')
    await twoMembersShareAndOneLeaves(
      async () => {
        const { consumer, found, partitions } = await subscribed(topic, { groupId })
        return {
          partitions,
          get read () { return found.map(({ message }) => String(message.value)) },
          leave: () => consumer.disconnect()
        }
      },
      async values => {
        for (const partition of range(0, 4)) {
          await send(topic, values.filter((_, i) => i % 4 === partition).map(value => ({ value })), { partition })
        }
      }
    )
  },

  async subscriptionByPattern () {
    const prefix = unique('pattern')
    for (const suffix of ['a', 'b']) {
      await admin.createTopics({ topics: [{ topic: `${prefix}-${suffix}`, numPartitions: 1, replicationFactor: 1 }] })
      await send(`${prefix}-${suffix}`, [{ value: suffix }])
    }
    const { consumer, found } = await subscribed(undefined, { from: { topics: [new RegExp(`^${prefix}-.*`)] } })
    await eventually(() => found.length === 2, 'both topics read')
    assert.deepEqual(found.map(({ message }) => String(message.value)).sort(), ['a', 'b'])
    await consumer.disconnect()
  },

  async adminTopics () {
    const topic = await newTopic('admin', 2)
    const create = (name, partitions = 1, replicationFactor = 1) =>
      admin.createTopics({ topics: [{ topic: name, numPartitions: partitions, replicationFactor }] })
    // kafkajs says of a topic that it is there already by a false, not by an error.
    assert.equal(await create(topic), false)
    assert.equal(await refusal(create("no topic's name")), 'INVALID_TOPIC_EXCEPTION')
    assert.equal(await refusal(create(unique('replicas'), 1, 3)), 'INVALID_REPLICATION_FACTOR')
    await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
    const { topics: [{ partitions }] } = await admin.fetchTopicMetadata({ topics: [topic] })
    assert.equal(partitions.length, 5)
    assert.equal(await refusal(admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })), 'INVALID_PARTITIONS')
    await admin.deleteTopics({ topics: [topic] })
    await eventually(async () => !(await admin.listTopics()).includes(topic), 'the topic is gone')
  },

  async adminConfigs () {
    const topic = await newTopic('configs', 1, [{ name: 'retention.ms', value: '7200000' }])
    const describe = async () => {
      const answer = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }], includeSynonyms: true })
      return Object.fromEntries(answer.resources[0].configEntries.map(entry => [entry.configName, entry]))
    }
    const alter = configEntries => admin.alterConfigs({
      validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }]
    })
    const before = await describe()
    assert.deepEqual([before['retention.ms'].configValue, before['retention.ms'].isDefault], ['7200000', false])
    assert.equal(before['segment.bytes'].isDefault, true)
    // Kafka's older call replaces all settings: what is not named goes back to its default.
    await alter([{ name: 'segment.bytes', value: '20971520' }])
    const after = await describe()
    assert.equal(after['segment.bytes'].configValue, '20971520')
    assert.equal(after['retention.ms'].isDefault, true)
    assert.equal(await refusal(alter([{ name: 'retention.ms', value: 'long' }])), 'INVALID_CONFIG')
  },

  async adminGroups () {
    const topic = await newTopic('groups')
    const groupId = unique('groups')
    await send(topic, sampleRecords(20))
    const { consumer, found } = await subscribed(topic, { groupId })
    await eventually(() => found.length === 20, 'all read')
    const listed = async () => (await admin.listGroups()).groups.find(group => group.groupId === groupId)
    assert.equal((await listed()).protocolType, 'consumer')
    const { groups: [group] } = await admin.describeGroups([groupId])
    assert.deepEqual([group.state, group.members.map(({ clientId }) => clientId)], ['Stable', ['somebody']])
    assert.equal(await refusal(admin.deleteGroups([groupId])), 'NON_EMPTY_GROUP')
    await consumer.disconnect()
    await eventually(async () => (await admin.describeGroups([groupId])).groups[0].state === 'Empty', 'the group is empty')
    await admin.deleteGroups([groupId])
    assert.equal(await listed(), undefined)
  },

  async adminDeleteRecords () {
    const topic = await newTopic('delete')
    await send(topic, sampleRecords(50))
    // The client knows the leaders of topics that it has asked about before.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '30' }] })
    assert.equal((await admin.fetchTopicOffsets(topic))[0].low, '30')
    assert.deepEqual((await read(topic, 20)).map(({ offset }) => Number(offset)), range(30, 50))
  },

  async transactions () {
    const topic = await newTopic('transactions')
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: unique('transactional') })
    try {
      await producer.connect()
      // The client keeps the broker's error to itself, but for whether it may try again.
      const refused = await producer.transaction().then(started => started.abort(), error => error)
      if (refused) {
        assert.deepEqual([refused.name, refused.retriable], ['KafkaJSGroupCoordinatorNotFound', false])
        return `refused for good: ${refused.message}`
      }
      for (const [value, end] of [['kept', 'commit'], ['dropped', 'abort'], ['last', 'commit']]) {
        const transaction = await producer.transaction()
        await transaction.send({ topic, messages: [{ partition: 0, value }] })
        await transaction[end]()
      }
    } finally {
      await producer.disconnect()
    }
    const found = await read(topic, 2)
    assert.deepEqual(found.map(({ value }) => String(value)), ['kept', 'last'])
  }
})
