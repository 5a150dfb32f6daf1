"""kafka-python 2 and 3: the old client in pure Python, and its rewrite."""

import kafka
import kafka_interface
from checks import BOOTSTRAP, run
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import BrokerResponseError, KafkaError, for_code
from kafka.structs import OffsetAndMetadata


class Version3(kafka_interface.Client):
    error = KafkaError
    TopicPartition = TopicPartition

    def __init__(self):
        self.admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)

    def OffsetAndMetadata(self, offset, metadata):
        return OffsetAndMetadata(offset, metadata, -1)

    def producer(self, **config):
        producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **config)
        if "transactional_id" in config:
            producer.init_transactions()
        return producer

    def consumer(self, **config):
        return KafkaConsumer(bootstrap_servers=BOOTSTRAP, **config)

    def poll(self, consumer, timeout_ms, max_records):
        return consumer.poll(timeout_ms=timeout_ms, max_records=max_records)

    def create_topic(self, topic, partitions=1, replicas=1, configs=None):
        self.admin.create_topics([NewTopic(topic, partitions, replicas, topic_configs=configs or {})])

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def create_partitions(self, topic, total):
        self.admin.create_partitions({topic: NewPartitions(total)})

    def partitions(self, topic):
        return [partition["partition_index"] for partition in self.admin.describe_topics([topic])[0]["partitions"]]

    def topics(self):
        return self.admin.list_topics()

    def topic_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        (configs,) = self.admin.describe_configs([resource], config_filter="all")["topic"].values()
        return {name: config["value"] for name, config in configs.items()}

    def alter_topic_configs(self, topic, configs):
        result = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])["topic"][topic]
        # This client gives the error as its text: "[Error 40] InvalidConfigurationError: ...".
        raise_by_name(str(result).split("] ")[-1].split(":")[0])

    def groups(self):
        return {group["group_id"]: group["protocol_type"] for group in self.admin.list_groups()}

    def group(self, group):
        described = self.admin.describe_groups([group])[group]
        return described["group_state"], [member["client_id"] for member in described["members"]]

    def group_offsets(self, group):
        return self.admin.list_group_offsets(group)[group]

    def delete_group(self, group):
        raise_by_name(self.admin.delete_groups([group])[group])

    def delete_records(self, partition, offset):
        return self.admin.delete_records({partition: offset})[partition]["low_watermark"]

    def has_transactions(self):
        return 24 in {int(api) for api in self.admin.api_versions()}


class Version2(Version3):
    fault_without_acks = "not with acks=0: the client then sends nothing"

    def partitions(self, topic):
        return [partition["partition"] for partition in self.admin.describe_topics([topic])[0]["partitions"]]

    def topic_configs(self, topic):
        (response,) = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {name: value for name, value, *_ in response.resources[0][4]}

    def alter_topic_configs(self, topic, configs):
        response = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
        code, message = response.resources[0][:2]
        if code:
            raise for_code(code)(message)

    def groups(self):
        return dict(self.admin.list_consumer_groups())

    def group(self, group):
        (described,) = self.admin.describe_consumer_groups([group])
        return described.state, [member.client_id for member in described.members]

    def group_offsets(self, group):
        return self.admin.list_consumer_group_offsets(group)

    def delete_group(self, group):
        ((_, error),) = self.admin.delete_consumer_groups([group])
        if error.errno:
            raise error()

    def has_transactions(self):
        return 24 in self.admin._client._api_versions


def raise_by_name(name):
    """This client gives some errors as the names of their classes."""
    if name != "OK":
        raise next(c for c in BrokerResponseError.__subclasses__() if c.__name__ == name)()


kafka_interface.client = Version3() if kafka.__version__.startswith("3.") else Version2()
run(kafka.__version__)
