"""kcat, the command line on librdkafka. It cannot create topics: a request of our own does."""

import json
import os
import socket
import struct
import subprocess
import tempfile
import time

from checks import *

KCAT = os.environ["KCAT"]
# What kcat prints of a record: offset, key's length, key, value's length, value, headers, timestamp.
FORMAT = "%o|%K|%k|%S|%s|%h|%T\\n"


def kcat(*arguments, stdin=b"", fails=False):
    """Runs kcat and returns what it prints; with `fails`, what it prints as its error."""
    done = subprocess.run(
        [KCAT, "-b", BOOTSTRAP, *arguments], input=stdin, capture_output=True, timeout=30,
    )
    assert (done.returncode != 0) == fails, f"kcat {' '.join(arguments)}: exit {done.returncode}, {done.stderr.decode()}"
    return (done.stderr if fails else done.stdout).decode()


def new_topic(what, partitions=1):
    """Creates a topic with CreateTopics of version 2, which is simple to write by hand."""
    def text(value):
        return struct.pack(">h", len(value)) + value.encode()

    name = unique(what)
    body = struct.pack(">i", 1) + text(name) + struct.pack(">ihiiib", partitions, 1, 0, 0, 20_000, False)
    request = struct.pack(">hhi", 19, 2, 1) + text("checks") + body
    host, port = BOOTSTRAP.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answers:
            answer = answers.read(struct.unpack(">i", answers.read(4))[0])
    # Correlation id, throttle time, one topic: its name, its error code.
    (error,) = struct.unpack_from(">h", answer, 4 + 4 + 4 + 2 + len(name))
    equal(error, 0, "error code of CreateTopics")
    return name


def produce(topic, lines, *arguments):
    kcat("-P", "-t", topic, "-p", "0", *arguments, stdin="".join(line + "\n" for line in lines).encode())


def consume(topic, *arguments, form="%o %s\\n"):
    return kcat("-C", "-t", topic, "-q", "-e", "-f", form, *arguments).splitlines()


@check
def list_of_topics():
    topic = new_topic("list", 3)
    listed = json.loads(kcat("-L", "-J"))
    (found,) = [t for t in listed["topics"] if t["topic"] == topic]
    brokers = {broker["id"] for broker in listed["brokers"]}
    equal(len(brokers), NODES)
    equal([p["partition"] for p in found["partitions"]], [0, 1, 2])
    assert all(p["leader"] in brokers and p["isrs"] for p in found["partitions"])
    (alone,) = json.loads(kcat("-L", "-J", "-t", topic))["topics"]
    equal(alone["topic"], topic)
    return f"{len(brokers)} node(s)"


def round_trip_of_every_codec(*arguments):
    for codec in CODECS:
        topic = new_topic(codec)
        lines = [f"key {i}:value {i} " + "again " * 20 for i in range(500)]
        produce(topic, lines, "-K", ":", "-z", codec, *arguments)
        found = consume(topic, form="%o %k:%s\\n")
        equal(found, [f"{i} {line}" for i, line in enumerate(lines)], codec)


@check
def produce_and_consume_with_every_codec():
    round_trip_of_every_codec()


@check
def produce_and_consume_with_every_codec_with_idempotence():
    round_trip_of_every_codec("-X", "enable.idempotence=true", "-X", "batch.num.messages=50")


@check
def keys_headers_and_tombstones():
    topic = new_topic("headers")
    before = int(time.time() * 1000)
    produce(topic, ["k:v"], "-K", ":", "-H", "name=value", "-H", "name=again", "-H", "empty")
    produce(topic, ["gone:", ":v"], "-K", ":", "-Z")
    produce(topic, ["no key"])
    found = [line.split("|") for line in consume(topic, form=FORMAT)]
    equal([line[:6] for line in found], [
        ["0", "1", "k", "1", "v", "name=value,name=again,empty=NULL"],
        ["1", "4", "gone", "-1", "", ""],
        ["2", "-1", "", "1", "v", ""],
        ["3", "-1", "", "6", "no key", ""],
    ])
    assert all(before <= int(line[6]) <= time.time() * 1000 + 1 for line in found)


@check
def every_level_of_acks():
    topic = new_topic("acks")
    for acks in ("0", "1", "-1"):
        produce(topic, [f"acks {acks}"], "-X", f"acks={acks}")
    equal(eventually(lambda: len(found := consume(topic)) == 3 and found, "three records"), ["0 acks 0", "1 acks 1", "2 acks -1"])


@check
def query_of_offsets():
    topic = new_topic("query", 2)
    produce(topic, ["a", "b"])
    time.sleep(0.01)
    between = int(time.time() * 1000)
    time.sleep(0.01)
    produce(topic, ["c"])

    def at(when, partition=0):
        return kcat("-Q", "-t", f"{topic}:{partition}:{when}").strip()

    equal(at(-2), f"{topic} [0] offset 0")
    equal(at(-1), f"{topic} [0] offset 3")
    equal(at(between), f"{topic} [0] offset 2")
    equal(at(0), f"{topic} [0] offset 0")
    equal(at(-1, 1), f"{topic} [1] offset 0")


@check
def consume_from_an_offset():
    topic = new_topic("from")
    produce(topic, [f"v{i}" for i in range(10)])
    equal(consume(topic, "-p", "0", "-o", "7"), ["7 v7", "8 v8", "9 v9"])
    equal(consume(topic, "-p", "0", "-o", "-2"), ["8 v8", "9 v9"])
    equal(consume(topic, "-p", "0", "-o", "3", "-c", "2"), ["3 v3", "4 v4"])
    equal(consume(topic, "-p", "0", "-o", "end"), [])


@check
def consume_between_timestamps():
    topic = new_topic("between")
    times = []
    for i in range(3):
        times.append(int(time.time() * 1000))
        time.sleep(0.01)
        produce(topic, [f"v{i}"])
        time.sleep(0.01)
    equal(consume(topic, "-p", "0", "-o", f"s@{times[1]}", "-o", f"e@{times[2]}"), ["1 v1"])


@check
def group_goes_on_where_it_stopped():
    topic, group = new_topic("group", 2), unique("group")

    def read(count):
        # kcat takes the last arguments for topics.
        return kcat("-G", group, "-q", "-c", str(count), "-f", "%s\\n", "-X", "auto.offset.reset=earliest", topic).split()

    produce(topic, ["a", "b"])
    equal(read(2), ["a", "b"])
    produce(topic, ["c"])
    equal(read(1), ["c"])


@check
def large_message():
    topic = new_topic("large")
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(900_000))
        file.flush()
        kcat("-P", "-t", topic, "-p", "0", file.name)
        found = subprocess.run(
            [KCAT, "-b", BOOTSTRAP, "-C", "-t", topic, "-q", "-e", "-f", "%s"], capture_output=True, timeout=30,
        )
        file.seek(0)
        equal(found.stdout, file.read())


@check
def automatic_creation_of_a_topic():
    topic = unique("automatic")
    produce(topic, ["v"])
    equal(consume(topic), ["0 v"])


@check
def unknown_topic():
    error = kcat("-C", "-e", "-t", unique("unknown"), "-X", "allow.auto.create.topics=false", fails=True)
    assert "Unknown topic or partition" in error, error


version = kcat("-V").split("Version ")[1]
run(f"{version.split()[0]} (librdkafka {version.split('librdkafka ')[1].split()[0]})")
