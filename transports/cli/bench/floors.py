"""The floors of this machine: what the parts cost without loom, measured in the same run."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

import zmq

GROUP = 64
SECONDS = 0.6
"""How long each floor is measured."""


def sqlite_steps(group: int) -> float:
    """Steps/s of a bare step (3 inserts of 2.6 KB in all, 1 update, a savepoint), `group` in a commit, synchronous=FULL."""
    with tempfile.TemporaryDirectory(prefix="loom-bench-") as folder:
        connection = sqlite3.connect(Path(folder) / "floor.db", isolation_level=None)
        for pragma in ("page_size = 16384", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, body TEXT) STRICT")
        connection.execute("CREATE TABLE task (id INTEGER PRIMARY KEY, n INTEGER) STRICT")
        connection.executemany("INSERT INTO task VALUES (?, 0)", ((number,) for number in range(100)))
        steps, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(group):
                connection.execute("SAVEPOINT step")
                for size in (2_000, 300, 300):
                    connection.execute("INSERT INTO entry (body) VALUES (?)", ("x" * size,))
                connection.execute("UPDATE task SET n = n + 1 WHERE id = ?", (steps % 100,))
                connection.execute("RELEASE step")
                steps += 1
            connection.execute("COMMIT")
        elapsed = time.perf_counter() - began
        connection.close()
    return steps / elapsed


def zmq_round_trips() -> float:
    """Round trips/s of 1 KB between two threads over ROUTER and DEALER, 64 in flight."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.linger = dealer.linger = 0
    router.bind("inproc://floor")
    dealer.connect("inproc://floor")
    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            if router.poll(50):
                router.send_multipart(router.recv_multipart())

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        body, count, began = b"x" * 1024, 0, time.perf_counter()
        for _ in range(64):
            dealer.send(body)
        while time.perf_counter() - began < SECONDS:
            dealer.recv()
            dealer.send(body)
            count += 1
        return count / (time.perf_counter() - began)
    finally:
        stop.set()
        thread.join()
        router.close(linger=0)
        dealer.close(linger=0)
        context.term()


def python_loops() -> float:
    """Million additions/s of this interpreter: builds of the same version differ by half."""
    count, total, began = 2_000_000, 0, time.perf_counter()
    for number in range(count):
        total += number
    return count / (time.perf_counter() - began) / 1e6


def hashes() -> float:
    """SHA-256 of 1 KB, a second."""
    body, count, began = b"x" * 1024, 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS / 4:
        for _ in range(1_000):
            hashlib.sha256(body).digest()
        count += 1_000
    return count / (time.perf_counter() - began)


def all_floors() -> dict[str, float]:
    """Every floor by name."""
    return {
        "sqlite_steps_per_s_1": round(sqlite_steps(1)),
        "sqlite_steps_per_s_64": round(sqlite_steps(GROUP)),
        "zmq_round_trips_per_s": round(zmq_round_trips()),
        "sha256_1k_per_s": round(hashes()),
        "python_million_additions_per_s": round(python_loops(), 1),
    }
