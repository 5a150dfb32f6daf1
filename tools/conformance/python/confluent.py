"""confluent-kafka for Python: librdkafka, as most programs outside the JVM use it."""

import time

import confluent_kafka
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from checks import *

admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def all_of(futures):
    return {name: future.result(timeout=20) for name, future in futures.items()}


def one(futures):
    (result,) = all_of(futures).values()
    return result


def refusal(futures):
    """The name of the error that the only future ends with."""
    try:
        return f"no error, but {one(futures)}"
    except KafkaException as error:
        return error.args[0].name()


def new_topic(what, partitions=1, **config):
    name = unique(what)
    one(admin.create_topics([NewTopic(name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})]))
    return name


def send(topic, records, partition=0, **config):
    """Sends the records and returns their offsets."""
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 20, **config})
    offsets = []

    def delivered(error, message):
        if error is None:
            offsets.append(message.offset())

    for record in records:
        producer.produce(
            topic, record.value, record.key, partition, on_delivery=delivered,
            timestamp=record.timestamp or 0, headers=list(record.headers),
        )
    equal(producer.flush(20), 0, "records without an answer")
    equal(len(offsets), len(records), "records delivered")
    return offsets


def new_consumer(**config):
    return Consumer({
        "bootstrap.servers": BOOTSTRAP, "group.id": unique("none"), "auto.offset.reset": "earliest",
        "enable.auto.commit": False, **config,
    })


def as_record(message):
    return Record(message.key(), message.value(), message.headers() or [], message.timestamp()[1])


def poll(consumer, count, seconds=20):
    """The next `count` messages."""
    found, deadline = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(found), 0.5):
            if message.error():
                raise KafkaException(message.error())
            found.append(message)
    equal(len(found), count, "messages read")
    return found


def read(topic, count, partition=0, offset=OFFSET_BEGINNING, **config):
    consumer = new_consumer(**config)
    consumer.assign([TopicPartition(topic, partition, offset)])
    found = poll(consumer, count)
    consumer.close()
    return found


@check
def metadata():
    topic = new_topic("metadata", 3)
    listed = admin.list_topics(timeout=10)
    equal(sorted(listed.topics[topic].partitions), [0, 1, 2])
    for partition in listed.topics[topic].partitions.values():
        assert partition.leader in listed.brokers and partition.leader in partition.isrs
    cluster = admin.describe_cluster().result(timeout=20)
    equal({node.id for node in cluster.nodes}, set(listed.brokers))
    equal(len(listed.brokers), NODES)
    assert cluster.cluster_id and cluster.controller.id in listed.brokers
    described = one(admin.describe_topics(TopicCollection([topic])))
    equal(len(described.partitions), 3)
    return f"{len(listed.brokers)} node(s)"


@check
def round_trip_of_every_codec():
    for codec in CODECS:
        topic, records = new_topic(codec), sample_records(300)
        equal(send(topic, records, **{"compression.type": codec}), list(range(300)), codec)
        equal([as_record(message) for message in read(topic, 300)], records, codec)


@check
def round_trip_of_every_codec_with_idempotence():
    for codec in CODECS:
        topic, records = new_topic(codec), sample_records(300)
        config = {"compression.type": codec, "enable.idempotence": True, "batch.num.messages": 20}
        equal(send(topic, records, **config), list(range(300)), codec)
        equal([as_record(message) for message in read(topic, 300)], records, codec)


@check
def every_level_of_acks():
    topic = new_topic("acks")
    for acks in ("1", "all"):
        send(topic, sample_records(10), acks=acks)
    # Nobody answers these: librdkafka gives no offset, and only reading shows that they came.
    send(topic, sample_records(10), acks="0")
    equal(len(read(topic, 30)), 30)


@check
def large_message_and_one_too_large():
    topic = new_topic("large", max_message_bytes="2000000")
    large = Record(b"large", bytes(range(256)) * 7000, [], 0)
    send(topic, [large], **{"message.max.bytes": 4_000_000})
    equal(read(topic, 1)[0].value(), large.value)
    errors = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "message.max.bytes": 4_000_000})
    producer.produce(topic, bytes(3_000_000), on_delivery=lambda error, _: errors.append(error))
    producer.flush(20)
    equal([error and error.name() for error in errors], ["MSG_SIZE_TOO_LARGE"])


@check
def automatic_creation_of_a_topic():
    topic = unique("automatic")
    send(topic, [Record(b"k", b"v")])
    equal(read(topic, 1)[0].value(), b"v")


@check
def unknown_topic():
    consumer = new_consumer(**{"allow.auto.create.topics": False})
    consumer.subscribe([unique("unknown")])
    message = eventually(lambda: consumer.poll(0.5), "an answer")
    equal(message.error().name(), "UNKNOWN_TOPIC_OR_PART")
    consumer.close()


@check
def seek_and_pause():
    topic = new_topic("seek")
    send(topic, sample_records(100))
    consumer = new_consumer()
    here = TopicPartition(topic, 0)
    consumer.assign([TopicPartition(topic, 0, 90)])
    equal([message.offset() for message in poll(consumer, 10)], list(range(90, 100)))
    consumer.seek(TopicPartition(topic, 0, 42))
    equal([message.offset() for message in poll(consumer, 3)], [42, 43, 44])
    consumer.pause([here])
    send(topic, sample_records(1))
    equal(consumer.poll(1.5), None, "read while paused")
    consumer.resume([here])
    equal([message.offset() for message in poll(consumer, 56)], list(range(45, 101)))
    equal(consumer.position([here])[0].offset, 101)
    consumer.close()


@check
def offset_out_of_range():
    topic = new_topic("range")
    send(topic, sample_records(10))
    equal(read(topic, 10, offset=1000)[0].offset(), 0)
    consumer = new_consumer(**{"auto.offset.reset": "error"})
    consumer.assign([TopicPartition(topic, 0, 1000)])
    message = eventually(lambda: consumer.poll(0.5), "an answer")
    equal(message.error().name(), "_AUTO_OFFSET_RESET")
    consumer.close()


@check
def offsets_for_times_and_watermarks():
    topic, records = new_topic("times"), sample_records(100)
    send(topic, records)
    consumer = new_consumer()
    equal(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10), (0, 100))

    def at(timestamp):
        return consumer.offsets_for_times([TopicPartition(topic, 0, timestamp)], timeout=10)[0].offset

    equal([at(records[i].timestamp) for i in (0, 3, 99)], [0, 3, 99])
    equal(at(records[0].timestamp - 1000), 0)
    equal(at(records[99].timestamp + 1), confluent_kafka.OFFSET_END)
    consumer.close()
    here = TopicPartition(topic, 0)
    for spec, offset in ((OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 100), (OffsetSpec.for_timestamp(records[50].timestamp), 50)):
        equal(one(admin.list_offsets({here: spec})).offset, offset)


@check
def record_with_the_highest_timestamp():
    topic, records = new_topic("highest"), sample_records(100)
    send(topic, records[50:] + records[:50])
    try:
        found = one(admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.max_timestamp()}))
    except KafkaException as error:
        if error.args[0].code() in (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION):
            raise Skip("needs ListOffsets 7, which the broker does not list")
        raise
    equal((found.offset, found.timestamp), (49, records[99].timestamp))


@check
def commits_and_lag():
    topic, group = new_topic("commits", 2), unique("commits")
    for partition in (0, 1):
        send(topic, sample_records(50), partition)
    consumer = new_consumer(**{"group.id": group})
    consumer.subscribe([topic])
    poll(consumer, 100)
    here = [TopicPartition(topic, partition) for partition in (0, 1)]
    equal([p.offset for p in consumer.committed(here, timeout=10)], [confluent_kafka.OFFSET_INVALID] * 2)
    noted = TopicPartition(topic, 1, 20, "a note")
    consumer.commit(offsets=[TopicPartition(topic, 0, 50), noted], asynchronous=False)
    committed = consumer.committed(here, timeout=10)
    equal([p.offset for p in committed], [50, 20])
    equal(committed[1].metadata, "a note")
    lag = [consumer.get_watermark_offsets(p, timeout=10)[1] - p.offset for p in committed]
    equal(lag, [0, 30])
    consumer.close()
    # Another member goes on where the first one stopped.
    consumer = new_consumer(**{"group.id": group})
    consumer.subscribe([topic])
    equal(sorted((m.partition(), m.offset()) for m in poll(consumer, 30)), [(1, i) for i in range(20, 50)])
    consumer.close()


def group_of(topic, **config):
    """Gives what makes a Member of one group that reads the topic."""
    group = unique("group")

    def join(instance=None):
        consumer = new_consumer(**{
            "group.id": group, "enable.auto.commit": True,
            **({"group.instance.id": instance} if instance else {}), **config,
        })
        consumer.subscribe([topic])

        def poll():
            messages = consumer.consume(100, 0.2)
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
            return [(message.partition(), message.value()) for message in messages]

        return Member(poll, lambda: [p.partition for p in consumer.assignment()], consumer.close)

    return join


def to_all_partitions(topic, values, partitions=4):
    for partition in range(partitions):
        send(topic, [Record(None, value) for value in values[partition::partitions]], partition)


def shared(**config):
    topic = new_topic("shared", 4)
    two_members_share_and_one_leaves(group_of(topic, **config), lambda values: to_all_partitions(topic, values))


@check
def two_share_and_one_leaves_with_range():
    shared(**{"partition.assignment.strategy": "range"})


@check
def two_share_and_one_leaves_with_cooperative_sticky():
    shared(**{"partition.assignment.strategy": "cooperative-sticky"})


@check
def two_share_and_one_leaves_with_the_new_protocol():
    shared(**{"group.protocol": "consumer"})


@check
def static_member():
    static_member_keeps_its_partitions(group_of(new_topic("static", 4)))


@check
def static_member_with_the_new_protocol():
    static_member_keeps_its_partitions(group_of(new_topic("static", 4), **{"group.protocol": "consumer"}))


@check
def second_member_of_one_instance_fences_the_first():
    join = group_of(new_topic("fenced"))
    first = join("instance")
    eventually(lambda: first.partitions, "the first has partitions")
    second = join("instance")
    eventually(lambda: second.partitions, "the second has partitions")
    error = eventually(lambda: first.error, "the first is told")
    equal(error.args[0].name(), "_FATAL" if error.args[0].name() == "_FATAL" else "FENCED_INSTANCE_ID")
    second.leave()


@check
def subscription_by_pattern():
    prefix = unique("pattern")
    for suffix in ("a", "b"):
        one(admin.create_topics([NewTopic(f"{prefix}-{suffix}", 1, 1)]))
        send(f"{prefix}-{suffix}", [Record(None, suffix.encode())])
    for protocol in ("classic", "consumer"):
        consumer = new_consumer(**{"group.protocol": protocol})
        consumer.subscribe([f"^{prefix}-.*"])
        equal(sorted(message.value() for message in poll(consumer, 2)), [b"a", b"b"], protocol)
        consumer.close()


@check
def admin_topics():
    topic = new_topic("admin", 2)
    equal(refusal(admin.create_topics([NewTopic(topic, 2, 1)])), "TOPIC_ALREADY_EXISTS")
    equal(refusal(admin.create_topics([NewTopic("no topic's name", 1, 1)])), "TOPIC_EXCEPTION")
    equal(refusal(admin.create_topics([NewTopic(unique("replicas"), 1, 3)])), "INVALID_REPLICATION_FACTOR")
    one(admin.create_topics([NewTopic(unique("validated"), 1, 1)], validate_only=True))
    one(admin.create_partitions([NewPartitions(topic, 5)]))
    equal(len(admin.list_topics(topic, timeout=10).topics[topic].partitions), 5)
    equal(refusal(admin.create_partitions([NewPartitions(topic, 3)])), "INVALID_PARTITIONS")
    one(admin.delete_topics([topic]))
    eventually(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic is gone")
    equal(refusal(admin.delete_topics([topic])), "UNKNOWN_TOPIC_OR_PART")


@check
def admin_configs():
    topic = new_topic("configs", retention_ms="7200000")

    def config(name):
        return one(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))[name]

    def alter(operation, name, value=None):
        entry = ConfigEntry(name, value, incremental_operation=operation)
        return admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])])

    equal((config("retention.ms").value, config("retention.ms").is_default), ("7200000", False))
    assert config("segment.bytes").is_default
    one(alter(AlterConfigOpType.SET, "segment.bytes", "20971520"))
    equal((config("segment.bytes").value, config("retention.ms").value), ("20971520", "7200000"))
    one(alter(AlterConfigOpType.DELETE, "retention.ms"))
    assert config("retention.ms").is_default
    equal(refusal(alter(AlterConfigOpType.SET, "retention.ms", "long")), "INVALID_CONFIG")
    broker = next(iter(admin.list_topics(timeout=10).brokers))
    broker_configs = one(admin.describe_configs([ConfigResource(ResourceType.BROKER, str(broker))]))
    assert broker_configs, "a broker without settings"


@check
def admin_groups():
    topic, group = new_topic("groups", 2), unique("groups")
    send(topic, sample_records(20))
    consumer = new_consumer(**{"group.id": group, "client.id": "somebody"})
    consumer.subscribe([topic])
    poll(consumer, 20)
    consumer.commit(asynchronous=False)

    def listed(**filters):
        return {g.group_id: g for g in admin.list_consumer_groups(**filters).result(timeout=20).valid}

    equal((listed()[group].state, listed()[group].type), (ConsumerGroupState.STABLE, ConsumerGroupType.CLASSIC))
    assert group in listed(states={ConsumerGroupState.STABLE})
    assert group not in listed(types={ConsumerGroupType.CONSUMER})
    described = one(admin.describe_consumer_groups([group]))
    (member,) = described.members
    equal((described.state, member.client_id), (ConsumerGroupState.STABLE, "somebody"))
    equal([(p.topic, p.partition) for p in member.assignment.topic_partitions], [(topic, 0), (topic, 1)])
    equal(refusal(admin.delete_consumer_groups([group])), "NON_EMPTY_GROUP")
    consumer.close()
    eventually(lambda: listed()[group].state == ConsumerGroupState.EMPTY, "the group is empty")

    def committed():
        listing = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        return {p.partition: p.offset for p in listing.topic_partitions if p.offset >= 0}

    equal(committed()[0], 20)
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 7)])
    one(admin.alter_consumer_group_offsets([moved]))
    equal(committed()[0], 7)
    one(admin.delete_consumer_groups([group]))
    assert group not in listed()


@check
def admin_groups_of_the_new_protocol():
    topic, group = new_topic("groups"), unique("groups")
    send(topic, sample_records(5))
    consumer = new_consumer(**{"group.id": group, "group.protocol": "consumer"})
    consumer.subscribe([topic])
    poll(consumer, 5)
    listing = {g.group_id: g for g in admin.list_consumer_groups().result(timeout=20).valid}[group]
    equal((listing.state, listing.type), (ConsumerGroupState.STABLE, ConsumerGroupType.CONSUMER))
    described = one(admin.describe_consumer_groups([group]))
    equal((described.type, len(described.members)), (ConsumerGroupType.CONSUMER, 1))
    equal([(p.topic, p.partition) for p in described.members[0].assignment.topic_partitions], [(topic, 0)])
    consumer.close()


@check
def admin_delete_records():
    topic = new_topic("delete")
    send(topic, sample_records(50))
    equal(one(admin.delete_records([TopicPartition(topic, 0, 30)])).low_watermark, 30)
    equal([m.offset() for m in read(topic, 20)], list(range(30, 50)))
    equal(refusal(admin.delete_records([TopicPartition(topic, 0, 1000)])), "OFFSET_OUT_OF_RANGE")


@check
def transactions():
    topic = new_topic("transactions")
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "transactional.id": unique("transactional")})
    try:
        producer.init_transactions(20)
    except KafkaException as error:
        # A retriable error would have the program try for ever.
        assert error.args[0].fatal() and not error.args[0].retriable(), error
        return f"refused for good: {error.args[0].name()}"
    for value, end in ((b"kept", producer.commit_transaction), (b"dropped", producer.abort_transaction), (b"last", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(10)
        end()
    found = read(topic, 2, **{"isolation.level": "read_committed"})
    equal([message.value() for message in found], [b"kept", b"last"])


run(f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})")
