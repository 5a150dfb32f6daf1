#!/usr/bin/env python3
"""Segments read and written by PyPI's kafka-python, an implementation that is not ours.

usage: kafka_python.py read FOLDER   prints every record of the segments in FOLDER, a JSON line each
       kafka_python.py write FOLDER  writes one segment there and prints the records as `read` would

Bytes are hexadecimal in the lines.
"""

import glob
import json
import os
import struct
import sys

from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
FIRST_OFFSET = 700
FIRST_TIMESTAMP = 1_700_000_000_000


def line(codec, offset, timestamp, key, value, headers):
    def text(data):
        return None if data is None else bytes(data).hex()

    record = {
        "codec": codec,
        "offset": offset,
        "timestamp": timestamp,
        "key": text(key),
        "value": text(value),
        "headers": [[name, text(data)] for name, data in headers],
    }
    print(json.dumps(record))


def read(folder):
    names = {number: name for name, number in CODECS.items()}
    for path in sorted(glob.glob(os.path.join(folder, "*.log"))):
        with open(path, "rb") as file:
            records = MemoryRecords(file.read())
        while (batch := records.next_batch()) is not None:
            assert batch.magic == 2, batch.magic
            assert batch.validate_crc(), f"{path}: the CRC of the batch at {batch.base_offset}"
            codec = names[batch.compression_type]
            for record in batch:
                line(codec, record.offset, record.timestamp, record.key, record.value, record.headers)


def write(folder):
    os.makedirs(folder)
    offset = FIRST_OFFSET
    with open(os.path.join(folder, f"{offset:020}.log"), "wb") as file:
        for round in range(20):
            for codec, number in CODECS.items():
                builder = MemoryRecordsBuilder(2, number, 1 << 20)
                first = offset
                for index in range(7):
                    key = [None, b"", f"key {offset}".encode()][index % 3]
                    value = [f"value {offset} ".encode() * 50, None, b""][index % 4 % 3]
                    headers = [("origin", b"kafka-python"), ("empty", b""), ("none", None)][: index % 4]
                    timestamp = FIRST_TIMESTAMP + offset
                    appended = builder.append(timestamp, key, value, headers)
                    assert appended is not None
                    line(codec, offset, timestamp, key, value, headers)
                    offset += 1
                builder.close()
                # A producer's batch begins at 0; the broker sets the base offset, which no CRC covers.
                file.write(struct.pack(">q", first) + builder.buffer()[8:])


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    {"read": read, "write": write}[command](folder)
