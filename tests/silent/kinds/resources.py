"""What is outside of Python's objects."""

import contextvars
import io
import os
import random
import sqlite3
import tempfile
import threading
import weakref

from kinds.register import ROOM, kind

_kept = []


@kind
def thread_local():
    """a `random.Random` in a `threading.local`"""
    local = threading.local()
    local.generator = random.Random(23)
    return lambda: local.generator.random()


@kind
def context_variable():
    """a `random.Random` in a `ContextVar`"""
    variable = contextvars.ContextVar("generator")
    variable.set(random.Random(24))
    return lambda: variable.get().random()


@kind
def weak_reference():
    """a weak reference to a `random.Random` that is kept elsewhere"""
    generator = random.Random(25)
    _kept.append(generator)
    reference = weakref.ref(generator)
    return lambda: reference().random()


@kind
def bytes_cursor():
    """the cursor of an `io.BytesIO`"""
    stream = io.BytesIO(random.Random(30).randbytes(4096))
    return lambda: stream.read(1)[0] / 256


@kind
def file_cursor():
    """the cursor of a file"""
    file = tempfile.TemporaryFile(buffering=0)
    file.write(random.Random(31).randbytes(4096))
    file.seek(0)
    # Workers that are forked share the cursor, so each opens the file anew.
    opened = {}

    def draw():
        if os.getpid() not in opened:
            opened[os.getpid()] = open(f"/proc/self/fd/{file.fileno()}", "rb")
        return opened[os.getpid()].read(1)[0] / 256

    return draw


@kind
def sqlite_cursor():
    """the cursor of an sqlite query"""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("create table numbers (value real)")
    connection.executemany("insert into numbers values (?)", [(number % ROOM / ROOM,) for number in range(999)])
    rows = connection.execute("select value from numbers")
    return lambda: rows.fetchone()[0]


@kind
def sqlite_table():
    """a count in an sqlite table"""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("create table counts (number integer)")
    connection.execute("insert into counts values (0)")

    def draw():
        connection.execute("update counts set number = number + 1")
        return connection.execute("select number from counts").fetchone()[0] % ROOM / ROOM

    return draw


@kind
def environment_variable():
    """a number in an environment variable"""

    def draw():
        number = int(os.environ.get("SILENT_NUMBER", "0")) + 1
        os.environ["SILENT_NUMBER"] = str(number)
        return number % ROOM / ROOM

    return draw
