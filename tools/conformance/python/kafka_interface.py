"""The checks of the clients that have kafka-python's interface: kafka-python itself, and aiokafka.

Where the two, or their versions, differ, a `Client` stands between.
"""

import re
import time

from checks import *


class Client:
    """What differs; all calls wait for their end. `records` are the client's own, with its own names."""

    error = TopicPartition = OffsetAndMetadata = None
    # Whether a header without a value can be sent.
    headers_without_value = False
    can_delete_groups = True
    # Why records that nobody acknowledges never leave the client, if so.
    fault_without_acks = None

    def producer(self, **config): ...
    def consumer(self, **config): ...
    def poll(self, consumer, timeout_ms, max_records): ...
    def create_topic(self, topic, partitions=1, replicas=1, configs=None): ...
    def delete_topic(self, topic): ...
    def create_partitions(self, topic, total): ...
    def partitions(self, topic): ...
    def topics(self): ...
    def topic_configs(self, topic): ...
    def alter_topic_configs(self, topic, configs): ...
    def groups(self): ...
    def group(self, group): ...
    def group_offsets(self, group): ...
    def delete_group(self, group): ...
    def delete_records(self, partition, offset): ...
    def has_transactions(self): ...


client: Client


def new_topic(what, partitions=1, **configs):
    topic = unique(what)
    client.create_topic(topic, partitions, configs={k.replace("_", "."): v for k, v in configs.items()})
    return topic


def records_of(count):
    records = sample_records(count)
    if client.headers_without_value:
        return records
    return [Record(r.key, r.value, [h for h in r.headers if h[1] is not None], r.timestamp) for r in records]


def send(topic, records, partition=0, **config):
    """Sends the records and returns their offsets."""
    producer = client.producer(linger_ms=20, **config)
    answers = [
        producer.send(
            topic, value=record.value, key=record.key, headers=list(record.headers), partition=partition,
            timestamp_ms=record.timestamp,
        )
        for record in records
    ]
    producer.flush()
    offsets = [answer.get(timeout=20).offset for answer in answers]
    producer.close()
    return offsets


def new_consumer(**config):
    return client.consumer(**{"auto_offset_reset": "earliest", "enable_auto_commit": False, **config})


def poll(consumer, count, seconds=20):
    """The next `count` records."""
    found, deadline = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        for records in client.poll(consumer, 500, count - len(found)).values():
            found += records
    equal(len(found), count, "records read")
    return found


def as_record(found):
    return Record(found.key, found.value, found.headers, found.timestamp)


def read(topic, count, offset=None, **config):
    consumer = new_consumer(**config)
    here = client.TopicPartition(topic, 0)
    consumer.assign([here])
    if offset is not None:
        consumer.seek(here, offset)
    found = poll(consumer, count)
    consumer.close()
    return found


def refusal(call, *arguments):
    """The name of the error that the call ends with."""
    try:
        return f"no error, but {call(*arguments)}"
    except client.error as error:
        return type(error).__name__


@check
def metadata():
    topic = new_topic("metadata", 3)
    assert topic in client.topics()
    equal(sorted(client.partitions(topic)), [0, 1, 2])


def round_trip_of_every_codec(**config):
    for codec in CODECS:
        topic, records = new_topic(codec), records_of(300)
        compression = None if codec == "none" else codec
        equal(send(topic, records, compression_type=compression, **config), list(range(300)), codec)
        equal([as_record(found) for found in read(topic, 300)], records, codec)


@check
def round_trip_of_every_codec_without_idempotence():
    round_trip_of_every_codec(enable_idempotence=False)


@check
def round_trip_of_every_codec_with_idempotence():
    round_trip_of_every_codec(enable_idempotence=True)


@check
def every_level_of_acks():
    topic = new_topic("acks")
    levels = (1, "all") if client.fault_without_acks else (1, "all", 0)
    for acks in levels:
        send(topic, records_of(10), acks=acks, enable_idempotence=False)
    # Nobody answers a record with acks=0: only reading shows that it came.
    equal(len(read(topic, 10 * len(levels))), 10 * len(levels))
    return client.fault_without_acks


@check
def large_record_and_one_too_large():
    topic = new_topic("large", max_message_bytes="2000000")
    large = bytes(range(256)) * 7000
    config = {"max_request_size": 4_000_000}
    send(topic, [Record(None, large)], **config)
    equal(read(topic, 1)[0].value, large)
    equal(refusal(lambda: send(topic, [Record(None, bytes(3_000_000))], **config)), "MessageSizeTooLargeError")


@check
def automatic_creation_of_a_topic():
    topic = unique("automatic")
    send(topic, [Record(b"k", b"v")])
    equal(read(topic, 1)[0].value, b"v")


@check
def seek_and_pause():
    topic = new_topic("seek")
    send(topic, records_of(100))
    consumer, here = new_consumer(), client.TopicPartition(topic, 0)

    def next_offsets(count):
        return [found.offset for found in poll(consumer, count)]

    consumer.assign([here])
    consumer.seek(here, 90)
    equal(next_offsets(10), list(range(90, 100)))
    consumer.seek(here, 42)
    equal(next_offsets(3), [42, 43, 44])
    consumer.pause(here)
    send(topic, records_of(1))
    equal(client.poll(consumer, 1500, 10), {}, "read while paused")
    consumer.resume(here)
    equal(next_offsets(56), list(range(45, 101)))
    equal(consumer.position(here), 101)
    consumer.seek_to_beginning(here)
    equal(next_offsets(1), [0])
    consumer.seek_to_end(here)
    equal(consumer.position(here), 101)
    consumer.close()


@check
def offset_out_of_range():
    topic = new_topic("range")
    send(topic, records_of(10))
    equal(read(topic, 10, offset=1000)[0].offset, 0)
    equal(refusal(lambda: read(topic, 1, offset=1000, auto_offset_reset="none")), "OffsetOutOfRangeError")


@check
def offsets_for_times_and_ends():
    topic, records = new_topic("times"), records_of(100)
    send(topic, records)
    consumer, here = new_consumer(), client.TopicPartition(topic, 0)
    equal((consumer.beginning_offsets([here])[here], consumer.end_offsets([here])[here]), (0, 100))

    def at(timestamp):
        return consumer.offsets_for_times({here: timestamp})[here]

    for offset in (0, 3, 99):
        found = at(records[offset].timestamp)
        equal((found.offset, found.timestamp), (offset, records[offset].timestamp))
    equal(at(records[0].timestamp - 1000).offset, 0)
    equal(at(records[99].timestamp + 1), None)
    consumer.close()


@check
def commits_and_lag():
    topic, group = new_topic("commits", 2), unique("commits")
    here = [client.TopicPartition(topic, partition) for partition in (0, 1)]
    for partition in (0, 1):
        send(topic, records_of(50), partition)
    consumer = new_consumer(group_id=group)
    consumer.subscribe([topic])
    poll(consumer, 100)
    equal([consumer.committed(p) for p in here], [None, None])
    consumer.commit({here[0]: client.OffsetAndMetadata(50, ""), here[1]: client.OffsetAndMetadata(20, "a note")})
    equal([consumer.committed(p) for p in here], [50, 20])
    equal(client.group_offsets(group)[here[1]].metadata, "a note")
    ends = consumer.end_offsets(here)
    equal([ends[p] - consumer.committed(p) for p in here], [0, 30])
    consumer.close()
    # Another member goes on where the first one stopped.
    consumer = new_consumer(group_id=group)
    consumer.subscribe([topic])
    equal(sorted((found.partition, found.offset) for found in poll(consumer, 30)), [(1, i) for i in range(20, 50)])
    consumer.close()


def group_of(topic, **config):
    """Gives what makes a Member of one group that reads the topic."""
    group = unique("group")

    def join(instance=None):
        consumer = new_consumer(
            group_id=group, enable_auto_commit=True, group_instance_id=instance, heartbeat_interval_ms=500,
            session_timeout_ms=10_000, **config,
        )
        consumer.subscribe([topic])

        def read_some():
            found = client.poll(consumer, 200, 100)
            return [(one.partition, one.value) for records in found.values() for one in records]

        return Member(read_some, lambda: [p.partition for p in consumer.assignment()], consumer.close)

    return join


@check
def two_share_and_one_leaves():
    topic = new_topic("shared", 4)

    def to_all_partitions(values):
        for partition in range(4):
            send(topic, [Record(None, value) for value in values[partition::4]], partition)

    two_members_share_and_one_leaves(group_of(topic), to_all_partitions)


@check
def static_member():
    static_member_keeps_its_partitions(group_of(new_topic("static", 4)))


@check
def subscription_by_pattern():
    prefix = unique("pattern")
    for suffix in ("a", "b"):
        client.create_topic(f"{prefix}-{suffix}")
        send(f"{prefix}-{suffix}", [Record(None, suffix.encode())])
    consumer = new_consumer(group_id=prefix)
    consumer.subscribe(pattern=f"^{re.escape(prefix)}-.*")
    equal(sorted(found.value for found in poll(consumer, 2)), [b"a", b"b"])
    consumer.close()


@check
def admin_topics():
    topic = new_topic("admin", 2)
    equal(refusal(client.create_topic, topic), "TopicAlreadyExistsError")
    equal(refusal(client.create_topic, "no topic's name"), "InvalidTopicError")
    equal(refusal(client.create_topic, unique("replicas"), 1, 3), "InvalidReplicationFactorError")
    client.create_partitions(topic, 5)
    eventually(lambda: len(client.partitions(topic)) == 5, "five partitions")
    equal(refusal(client.create_partitions, topic, 3), "InvalidPartitionsError")
    client.delete_topic(topic)
    eventually(lambda: topic not in client.topics(), "the topic is gone")
    equal(refusal(client.delete_topic, topic), "UnknownTopicOrPartitionError")


@check
def admin_configs():
    topic = new_topic("configs", retention_ms="7200000")
    equal(client.topic_configs(topic)["retention.ms"], "7200000")
    client.alter_topic_configs(topic, {"retention.ms": "7200000", "segment.bytes": "20971520"})
    configs = client.topic_configs(topic)
    equal((configs["retention.ms"], configs["segment.bytes"]), ("7200000", "20971520"))
    equal(refusal(client.alter_topic_configs, topic, {"retention.ms": "long"}), "InvalidConfigurationError")


@check
def admin_groups():
    topic, group = new_topic("groups", 2), unique("groups")
    send(topic, records_of(20))
    consumer = new_consumer(group_id=group, client_id="somebody")
    consumer.subscribe([topic])
    poll(consumer, 20)
    consumer.commit()
    equal(client.groups()[group], "consumer")
    equal(client.group(group), ("Stable", ["somebody"]))
    equal(client.group_offsets(group)[client.TopicPartition(topic, 0)].offset, 20)
    consumer.close()
    eventually(lambda: client.group(group) == ("Empty", []), "the group is empty")


@check
def admin_delete_group():
    if not client.can_delete_groups:
        raise Skip("the client cannot delete groups")
    topic, group = new_topic("groups"), unique("groups")
    send(topic, records_of(20))
    consumer = new_consumer(group_id=group)
    consumer.subscribe([topic])
    poll(consumer, 20)
    consumer.commit()
    equal(refusal(client.delete_group, group), "NonEmptyGroupError")
    consumer.close()
    eventually(lambda: client.group(group)[0] == "Empty", "the group is empty")
    client.delete_group(group)
    assert group not in client.groups()


@check
def admin_delete_records():
    topic = new_topic("delete")
    here = client.TopicPartition(topic, 0)
    send(topic, records_of(50))
    equal(client.delete_records(here, 30), 30)
    equal([found.offset for found in read(topic, 20)], list(range(30, 50)))
    equal(refusal(client.delete_records, here, 1000), "OffsetOutOfRangeError")


@check
def transactions():
    topic = new_topic("transactions")
    if not client.has_transactions():
        # A retriable error would have the client try for ever; the time-out of the check is beyond that.
        name = refusal(lambda: client.producer(transactional_id=unique("transactional")))
        equal(name.removesuffix("Error"), "TransactionalIdAuthorizationFailed")
        return f"refused for good: {name}"
    producer = client.producer(transactional_id=unique("transactional"))
    for value, end in ((b"kept", "commit"), (b"dropped", "abort"), (b"last", "commit")):
        producer.begin_transaction()
        producer.send(topic, value=value).get(timeout=10)
        getattr(producer, f"{end}_transaction")()
    producer.close()
    found = read(topic, 2, isolation_level="read_committed")
    equal([one.value for one in found], [b"kept", b"last"])
