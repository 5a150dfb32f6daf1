"""Writes the table of README.md from the lines of outcome of a run.

    table.py LINES README
"""

import re
import sys

BEGIN, END = "<!-- table: written by run.sh --table -->", "<!-- end of the table -->"
NAMES = {
    "kcat": "kcat",
    "real-lines": "500,000 real lines",
    "confluent-kafka": "confluent-kafka (Python)",
    "kafka-python-3": "kafka-python 3",
    "kafka-python-2": "kafka-python 2",
    "aiokafka": "aiokafka",
    "kafkajs": "kafkajs (Node)",
    "platformatic": "@platformatic/kafka (Node)",
    "rdkafka": "rdkafka (Rust)",
}
UNTESTED = [("Java client 4", "not in the registries that the script uses")]


def read(path):
    """Version, and outcomes by check as (outcome, detail), of every client."""
    versions, outcomes, missing = {}, {}, {}
    with open(path) as file:
        for line in file:
            if found := re.match(r"version (\S+) (.*)", line):
                versions[found[1]] = found[2]
            elif found := re.match(r"SKIPPED (\S+) \((.*)\)", line):
                missing[found[1]] = found[2]
            elif found := re.match(r"(ok|FAIL|skip) (\S+) (\S+)(?: \((.*)\))?", line):
                outcomes.setdefault(found[2], {})[found[3]] = found[1], found[4]
    return versions, outcomes, missing


def cell(checks):
    """How many checks passed of those that say something."""
    said = [outcome for outcome, _ in checks.values() if outcome != "skip"]
    return f"{said.count('ok')} of {len(said)}" if said else "—"


def remarks(checks, sharded):
    """What did not pass or was not asked, and what the client could not do."""
    told = []
    for suffix, of in (("", checks), (" (shards)", sharded)):
        for name, (outcome, detail) in of.items():
            name = name.replace("-", " ")
            if outcome == "FAIL":
                told.append(f"**{name}{suffix} fails**: {detail}")
            elif outcome == "skip":
                told.append(f"{name}: {detail}")
            elif detail and "node(s)" not in detail:
                told.append(f"{name}: {detail}")
    # What holds in both runs is said once.
    return "; ".join(dict.fromkeys(told)).replace("|", "\\|")


def rows(versions, outcomes, missing):
    yield "| client | version | one port | a port for each shard | remarks |"
    yield "|---|---|---|---|---|"
    for client, name in NAMES.items():
        if client in missing:
            yield f"| {name} | | untested | untested | {missing[client]} |"
        elif client in outcomes:
            one, shards = outcomes[client], outcomes.get(f"{client}+shards", {})
            version = versions.get(client, "")
            if client == "real-lines":
                version = f"through {version}"
            yield f"| {name} | {version} | {cell(one)} | {cell(shards)} | {remarks(one, shards)} |"
    for name, why in UNTESTED:
        yield f"| {name} | | untested | untested | {why} |"


def main(lines, readme):
    table = "\n".join(rows(*read(lines)))
    with open(readme) as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    with open(readme, "w") as file:
        file.write(f"{before}{BEGIN}\n{table}\n{END}{after}")


main(*sys.argv[1:])
