"""Real lines in through a Kafka client and out of the native one, and the reverse, byte for byte.

The lines are this machine's own documentation and headers: text that nobody wrote for a test. kcat leaves out
empty lines, and so does the file. The Kafka client is kcat, or confluent-kafka where kcat could not be installed.
"""

import gzip
import hashlib
import os
import subprocess
import tempfile

from checks import *

KCAT = os.environ.get("KCAT")
CORELOG, NATIVE = os.environ["CORELOG"], os.environ["NATIVE"]
FOLDERS = ("/usr/share/doc", "/usr/include", "/usr/lib/python3", "/usr/share/perl")
LINES = 500_000
# Well below the largest record that a topic takes by default.
LONGEST = 500_000
SECONDS = 40


def texts():
    """The contents of all text files, in one order."""
    for folder in FOLDERS:
        for at, folders, files in os.walk(folder):
            folders.sort()
            for file in sorted(files):
                path = os.path.join(at, file)
                try:
                    with (gzip.open if file.endswith(".gz") else open)(path, "rb") as opened:
                        text = opened.read()
                except OSError:
                    continue
                if b"\0" not in text:
                    yield text


def write_real_lines(file):
    count = 0
    for text in texts():
        for line in text.split(b"\n"):
            if line and len(line) < LONGEST:
                file.write(line + b"\n")
                count += 1
                if count == LINES:
                    return count
    return count


def sum_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def native(*arguments, **files):
    subprocess.run([CORELOG, "--brokers", NATIVE, *arguments], check=True, timeout=SECONDS, **files)


def through_kafka_in(topic, path):
    if KCAT:
        # -l: the file's lines; without it the whole file would be one record.
        subprocess.run([KCAT, "-b", BOOTSTRAP, "-P", "-t", topic, "-p", "0", "-z", "lz4", "-l", path], check=True, timeout=SECONDS)
        return
    from confluent_kafka import Producer

    producer, failed = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 20, "compression.type": "lz4"}), []
    with open(path, "rb") as file:
        for line in file:
            while True:
                try:
                    producer.produce(topic, line[:-1], partition=0, on_delivery=lambda error, _: error and failed.append(error))
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
    equal(producer.flush(SECONDS), 0, "lines without an answer")
    equal(failed, [])


def through_kafka_out(topic, path, count):
    with open(path, "wb") as file:
        if KCAT:
            subprocess.run([KCAT, "-b", BOOTSTRAP, "-C", "-t", topic, "-p", "0", "-e", "-q"], check=True, timeout=SECONDS, stdout=file)
            return
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "none", "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, 0, 0)])
        while count > 0:
            messages = consumer.consume(10_000, 5)
            assert messages, f"{count} lines did not come"
            file.writelines(message.value() + b"\n" for message in messages)
            count -= len(messages)
        consumer.close()


folder = tempfile.TemporaryDirectory()
lines = os.path.join(folder.name, "lines")
with open(lines, "wb") as file:
    count = write_real_lines(file)
detail = f"{count} lines, {os.path.getsize(lines)} bytes, one sha256"


@check
def real_lines_through_kafka_in_and_native_out():
    topic, found = unique("in"), os.path.join(folder.name, "native")
    native("topic", "create", topic, "--partitions", "1", stdout=subprocess.DEVNULL)
    through_kafka_in(topic, lines)
    with open(found, "wb") as file:
        native("consume", topic, "--exit-at-end", stdout=file)
    equal(sum_of(found), sum_of(lines), "sha256")
    return detail


@check
def real_lines_native_in_and_through_kafka_out():
    topic, found = unique("out"), os.path.join(folder.name, "kafka")
    native("topic", "create", topic, "--partitions", "1", stdout=subprocess.DEVNULL)
    with open(lines, "rb") as file:
        native("produce", topic, "--quiet", "--compression", "zstd", stdin=file)
    through_kafka_out(topic, found, count)
    equal(sum_of(found), sum_of(lines), "sha256")
    return detail


run("kcat" if KCAT else "confluent-kafka")
