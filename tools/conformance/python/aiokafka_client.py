"""aiokafka: kafka-python's interface, on asyncio."""

import asyncio
import inspect
import threading

import aiokafka
import aiokafka.admin
import kafka_interface
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from checks import BOOTSTRAP, run

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def wait(call, *arguments, **named):
    """Calls in the loop's thread, and waits for what is to be awaited."""

    async def in_loop():
        result = call(*arguments, **named)
        return await result if inspect.isawaitable(result) and not isinstance(result, asyncio.Future) else result

    return asyncio.run_coroutine_threadsafe(in_loop(), loop).result()


class Blocking:
    """A client whose calls wait for their end."""

    def __init__(self, make):
        self._inner = wait(make)
        wait(self._inner.start)

    def __getattr__(self, name):
        inner = getattr(self._inner, name)
        if not callable(inner):
            return inner

        def call(*arguments, **named):
            result = wait(inner, *arguments, **named)
            return Answer(result) if isinstance(result, asyncio.Future) else result

        return call

    def close(self):
        wait(getattr(self._inner, "stop", None) or self._inner.close)


class Answer:
    """The answer to a record that was sent."""

    def __init__(self, future):
        self._future = future

    def get(self, timeout):
        async def answer():
            return await asyncio.wait_for(self._future, timeout)

        # There is none to a record that nobody acknowledges.
        return asyncio.run_coroutine_threadsafe(answer(), loop).result() or Unanswered


class Unanswered:
    offset = -1


def check_errors(errors):
    for _, code, *message in errors:
        if code:
            raise for_code(code)(*message)


class Client(kafka_interface.Client):
    error = KafkaError
    TopicPartition = TopicPartition
    OffsetAndMetadata = OffsetAndMetadata
    can_delete_groups = False

    def __init__(self):
        self.admin = Blocking(lambda: aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP))

    def producer(self, **config):
        return Blocking(lambda: aiokafka.AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **config))

    def consumer(self, **config):
        return Blocking(lambda: aiokafka.AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, **config))

    def poll(self, consumer, timeout_ms, max_records):
        return consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)

    def create_topic(self, topic, partitions=1, replicas=1, configs=None):
        new = aiokafka.admin.NewTopic(topic, partitions, replicas, topic_configs=configs or {})
        check_errors(self.admin.create_topics([new]).topic_errors)

    def delete_topic(self, topic):
        check_errors(self.admin.delete_topics([topic]).topic_error_codes)

    def create_partitions(self, topic, total):
        self.admin.create_partitions({topic: aiokafka.admin.NewPartitions(total)})

    def partitions(self, topic):
        return [partition["partition"] for partition in self.admin.describe_topics([topic])[0]["partitions"]]

    def topics(self):
        return self.admin.list_topics()

    def topic_configs(self, topic):
        (response,) = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {name: value for name, value, *_ in response.resources[0][4]}

    def alter_topic_configs(self, topic, configs):
        (response,) = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
        code, message = response.resources[0][:2]
        if code:
            raise for_code(code)(message)

    def groups(self):
        return dict(group[:2] for group in self.admin.list_consumer_groups())

    def group(self, group):
        (response,) = self.admin.describe_consumer_groups([group])
        _, _, state, _, _, members, *_ = response.groups[0]
        return state, [member[2] if len(member) > 5 else member[1] for member in members]

    def group_offsets(self, group):
        return self.admin.list_consumer_group_offsets(group)

    def delete_records(self, partition, offset):
        records = aiokafka.admin.RecordsToDelete(before_offset=offset)
        return self.admin.delete_records({partition: records})[partition]


kafka_interface.client = Client()
run(aiokafka.__version__)
