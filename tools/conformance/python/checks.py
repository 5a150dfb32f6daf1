"""What the checks of all Python clients share: names, limits of time, and one line of outcome per check.

A client's file decorates functions with `check` and ends with `run`. A check returns a detail to print, or
nothing; it fails by raising. It runs in a thread of its own, so that one that hangs is named and left behind.
"""

import os
import sys
import threading
import time
import traceback
import uuid

CLIENT, BOOTSTRAP = sys.argv[1:3]
CHECK_SECONDS = 45
# As many nodes as the broker shows: one, or one for each shard.
NODES = int(os.environ.get("NODES", "1"))
# What the names of the checks to run begin with; all run if it is empty.
CHOSEN = tuple(os.environ.get("CHECKS", "").split("|"))
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

_checks = []


class Skip(Exception):
    """The check says nothing about this broker; the text says why."""


def check(function):
    _checks.append((function.__name__.replace("_", "-"), function))
    return function


def run(version):
    """Runs all checks, in the order of the file, and ends the process."""
    print(f"version {CLIENT} {version}", flush=True)
    failed = False
    for name, function in _checks:
        if not name.startswith(CHOSEN):
            continue
        outcome, detail = _outcome(function)
        failed |= outcome == "FAIL"
        detail = " ".join(str(detail or "").split())
        print(f"{outcome} {CLIENT} {name}" + (f" ({detail})" if detail else ""), flush=True)
    # Threads of a check that hangs must not keep the process.
    os._exit(1 if failed else 0)


def _outcome(function):
    result = []

    def attempt():
        try:
            result.append(("ok", function()))
        except Skip as why:
            result.append(("skip", why))
        except BaseException as error:
            traceback.print_exc()
            result.append(("FAIL", f"{type(error).__name__}: {error}, line {_line(error)}"))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(CHECK_SECONDS)
    if not result:
        # Nobody sees where a thread that hangs is, unless it is told now.
        frame = sys._current_frames().get(thread.ident)
        traceback.print_stack(frame)
        here = [f.lineno for f in traceback.extract_stack(frame) if _is_of_checks(f.filename)]
        return "FAIL", f"no end within {CHECK_SECONDS} s, line {here[-1] if here else '?'}"
    return result[0]


def _line(error):
    """Where in the checks it failed, rather than in the client or in what the checks share."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame.lineno for frame in frames if _is_of_checks(frame.filename)][-1]


def _is_of_checks(file):
    return os.path.dirname(file) == os.path.dirname(__file__) and file != __file__


def unique(what):
    """A name that no other check, client or run uses."""
    return f"{CLIENT}-{what}-{uuid.uuid4().hex[:8]}"


def eventually(condition, what, seconds=25):
    """Waits until `condition` gives something true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def equal(found, expected, what=""):
    assert found == expected, f"{what}{': ' if what else ''}found {_short(found)}, expected {_short(expected)}"


def _short(value):
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "..."


class Record(tuple):
    """(key, value, headers, timestamp in ms), as sent and as read."""

    def __new__(cls, key, value, headers=(), timestamp=None):
        return super().__new__(cls, (key, value, tuple(headers), timestamp))

    key = property(lambda self: self[0])
    value = property(lambda self: self[1])
    headers = property(lambda self: self[2])
    timestamp = property(lambda self: self[3])


def sample_records(count):
    """Records that compress, with everything in them that a record can have."""
    # Old enough to be no wall clock of the broker's, young enough for no retention to delete it.
    start = int(time.time() * 1000) - 3_600_000
    odd = [
        Record(b"tombstone", None, [], start),
        Record(None, b"no key", [], start + 1),
        Record(b"", b"", [("empty", b""), ("none", None)], start + 2),
        Record("schlüssel".encode(), bytes(range(256)), [("again", b"1"), ("again", b"2")], start + 3),
    ]
    rest = [
        Record(b"key %d" % i, b"value %d " % i * 20, [("number", b"%d" % i)], start + i)
        for i in range(len(odd), count)
    ]
    return (odd + rest)[:count]


class Member(threading.Thread):
    """A member of a group that reads in a thread of its own until it leaves.

    `poll` returns a list of (partition, value) and may take half a second, `assigned` the partitions that the
    member has, `close` leaves. All three run in this thread, because most consumers allow no other.
    """

    def __init__(self, poll, assigned, close):
        super().__init__(daemon=True)
        self.poll, self.assigned, self.close = poll, assigned, close
        self.partitions, self.read, self.error = frozenset(), [], None
        self.changes = 0
        self.leaving = threading.Event()
        self.start()

    def run(self):
        try:
            while not self.leaving.is_set():
                self.read += self.poll()
                partitions = frozenset(self.assigned())
                self.changes += partitions != self.partitions
                self.partitions = partitions
        except BaseException as error:
            self.error = error
        finally:
            self.close()

    def leave(self):
        self.leaving.set()
        self.join()
        if self.error:
            raise self.error


def _all_shared(members, partitions):
    """Whether all partitions are held, none twice, and by all members."""
    for member in members:
        if member.error:
            raise member.error
    held = [partition for member in members for partition in member.partitions]
    return all(member.partitions for member in members) and sorted(held) == list(range(partitions))


def two_members_share_and_one_leaves(join, send, partitions=4):
    """Two members share the partitions, one leaves, the other takes all; nothing is lost or read twice.

    `join` makes a Member, `send(values)` sends the values to all partitions by turns.
    """
    first = join()
    eventually(lambda: _all_shared([first], partitions), "one member has all partitions")
    second = join()
    both = [first, second]
    eventually(lambda: _all_shared(both, partitions), "two members share the partitions")
    equal(sorted(len(member.partitions) for member in both), [partitions // 2, partitions - partitions // 2])

    shared = [b"shared %d" % i for i in range(40)]
    send(shared)
    eventually(lambda: len(first.read) + len(second.read) >= len(shared), "the two have read all")
    assert first.read and second.read, "one of the two members read nothing"
    second.leave()
    eventually(lambda: _all_shared([first], partitions), "the one that is left has all partitions")
    alone = [b"alone %d" % i for i in range(40)]
    send(alone)
    eventually(lambda: len(first.read) + len(second.read) >= len(shared + alone), "the one that is left has read all")
    first.leave()
    equal(sorted(value for _, value in first.read + second.read), sorted(shared + alone), "records read")


def static_member_keeps_its_partitions(join, partitions=4):
    """A static member that restarts gets its partitions back, and the other keeps its own all the while."""
    first, second = join("instance-1"), join("instance-2")
    eventually(lambda: _all_shared([first, second], partitions), "two static members share the partitions")
    had, changes = first.partitions, second.changes
    first.leave()
    again = join("instance-1")
    eventually(lambda: again.partitions, "the restarted member has partitions")
    equal(again.partitions, had, "partitions of the restarted member")
    equal(second.changes, changes, "changes of the other member's partitions")
    again.leave()
    second.leave()
