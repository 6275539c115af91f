"""The one door to `state.db` that writes: entries, projections, texts and logs, in the coordinator's own thread.

    store.begin()
    edge = store.append(entry, edge, texts)        # once for each tick of the group: gathers, and writes nothing
    store.commit()                                 # writes everything and makes it durable; only now may anything be answered

A group is a value before its first row is written, so nothing is taken back in the middle: what `append` refuses before it
gathered (CodecError, BlobError) leaves the group as it was; any other error, of `append` or of `commit`, ends the whole
group: `rollback`, and take it again in smaller pieces. What core keeps in memory (the edge, the next number) it replaces
only after `commit`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from loom.coordinator import database, merkle
from loom.coordinator.blobs import MAX_ROW, BlobFiles, check
from loom.coordinator.database import classify, guarded
from loom.coordinator.entry import Entry, Happened, command_bytes, decode_entry, decode_happened, encode_entry
from loom.coordinator.errors import BlobMissing, StoreConflict, StoreError
from loom.coordinator.gather import Gather, Row
from loom.coordinator.inbox import Outcome, Request, SaltedText
from loom.coordinator.records import DueWake, LateRow, LiveSpawn, Position, Recorded
from loom.coordinator.rows import Rows
from loom.coordinator.statements import load
from loom.kernel.events import ObjectionRaised
from loom.kernel.limits import MAX_INTEGER

WRITE, READ = load("write"), load("read") | load("spent")
MAX_KNOWN_TASKS = 50_000
MAX_DENIALS = 10_000
"""Rows of the log of rejected commands; the oldest go."""


def command_digest(command: bytes) -> bytes:
    """SHA-256 of a command's canonical bytes: same key and same digest is the same request."""
    return hashlib.sha256(command).digest()


class Store:
    """The writer. Every method raises errors of `StoreError`'s tree; see each for those that core must expect."""

    def __init__(self, connection: sqlite3.Connection, files: BlobFiles) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._files = files
        self._gather = Gather()
        self._rows = Rows(connection.execute, self._gather)
        self._task_ids: dict[str, int] = {}
        self._keys: dict[str, tuple[int, bytes]] = {}
        self._texts: dict[str, SaltedText] = {}
        self._edge: merkle.Edge | None = None
        self._broken = False

    @classmethod
    def create(cls, path: Path, blobs: Path | None = None) -> Store:
        """A new, empty database (entry 0 is the caller's). blobs: the folder of large texts (default: beside it)."""
        return cls(database.create(path), BlobFiles(blobs or path.parent / "blobs"))

    @classmethod
    def open(cls, path: Path, blobs: Path | None = None) -> Store:
        """An existing database, migrated if it is older. Raises StoreMissing, StoreForeign, StoreNewer, StoreCorrupt,
        StoreUnavailable (read-only), StoreBusy."""
        connection, migrated = database.open_writer(path)
        if migrated:
            from loom.coordinator.rebuild import rebuild_projections

            rebuild_projections(connection)
        return cls(connection, BlobFiles(blobs or path.parent / "blobs"))

    def close(self) -> None:
        """Close the connection; an open transaction is taken back."""
        self._connection.close()

    # ------------------------------------------------------------------------------------------------ transactions

    def begin(self) -> None:
        """Start a group. SQLite's own transaction starts with the first row that is written."""

    @property
    def in_transaction(self) -> bool:
        """Whether rows were written that are neither committed nor taken back."""
        return self._connection.in_transaction

    @property
    def broken(self) -> bool:
        """Whether an entry was gathered in part: the group cannot be committed."""
        return self._broken

    @guarded
    def flush(self) -> None:
        """Write what was gathered into the open transaction. Raises StoreConflict (a key is taken, a number is not the next),
        StoreRefused (a trigger's rule), StoreFull, StoreUnavailable: roll the whole group back."""
        if self._broken:
            raise StoreConflict("An entry of this group was gathered in part.")
        if self._edge is None and not self._gather:
            return
        if not self._connection.in_transaction:
            self._execute("BEGIN IMMEDIATE")
        try:
            self._rows.write(self._write_many)
        except (TypeError, ValueError, OverflowError) as error:  # a value that no column can hold
            raise StoreConflict(f"The rows of this group cannot be written: {error}.") from error
        if self._edge is not None:
            hashes = msgspec.json.encode([each.hex() for each in self._edge.hashes]).decode()
            self._execute(WRITE["update_edge"], (self._edge.size, hashes))
            self._edge = None
        self._keys.clear()
        self._texts.clear()

    @guarded
    def commit(self) -> None:
        """Write everything and make it durable. Raises as `flush`: nothing of it happened, once it is rolled back."""
        self.flush()
        if self._connection.in_transaction:
            self._execute("COMMIT")

    @guarded
    def rollback(self) -> None:
        """Forget the whole group, and take back what SQLite has not taken back already."""
        self._gather.clear()
        self._rows.forget()
        self._task_ids.clear()
        self._keys.clear()
        self._texts.clear()
        self._edge = None
        self._broken = False
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def _write_many(self, sql: str, rows: list[Row]) -> int:
        return self._connection.executemany(sql, rows).rowcount

    # ------------------------------------------------------------------------------------------------ the ledger

    def append(self, entry: Entry, edge: merkle.Edge, texts: tuple[SaltedText, ...] = ()) -> merkle.Edge:
        """Gather the next entry (its seq is `edge.size`), the texts that it names and the rows of its events; returns the
        edge after it.

        Raises CodecError (what cannot stand in the ledger), BlobMissing, BlobMismatch: nothing was gathered. Any other
        error: `broken`, roll the group back.
        """
        body = encode_entry(entry)
        blobs = [row for row in map(self._blob, texts) if row is not None] if texts else ()
        self._broken = True
        seq = edge.size
        leaf = merkle.leaf_hash(body)
        try:
            task = self._task_id(entry, seq)
            self._rows.add(seq, task, entry.n, entry.now_ms, entry.events)
        except sqlite3.Error as error:
            raise classify(error) from error
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:  # events that no kernel makes
            raise StoreConflict(f"The rows of entry {seq} cannot be made: {type(error).__name__}: {error}.") from error
        put = self._gather.put
        key = entry.key
        put("insert_entry", (seq, task, entry.n, entry.now_ms, key or None, body.decode(), leaf))
        for blob in blobs:
            put("insert_blob", blob)
        for node in merkle.completed(edge, leaf):
            put("insert_node", node)
        for text in texts:
            self._texts[text.id] = text
        if key:
            if key in self._keys:
                raise StoreConflict(f"The key {key} stands twice in one group.")
            self._keys[key] = (seq, body)
        self._edge = merkle.append(edge, leaf)
        self._broken = False
        return self._edge

    def _task_id(self, entry: Entry, seq: int) -> int | None:
        if not entry.task:
            return None
        if entry.n == 1:
            self._task_ids[entry.task] = seq
            return seq
        return self._known_task(entry.task)

    def _known_task(self, task: str) -> int:
        known = self._find_task(task)
        if known is None:
            raise StoreConflict(f"There is no task {task}.")
        return known

    def _find_task(self, task: str) -> int | None:
        known = self._task_ids.get(task)
        if known is None:
            row = self._execute(READ["task_id"], (task,)).fetchone()
            if row is None:
                return None
            if len(self._task_ids) >= MAX_KNOWN_TASKS:
                self._task_ids.clear()
            known = self._task_ids[task] = row[0]
        return known

    @guarded
    def known(self, key: str) -> Recorded | None:
        """The entry that this key made, if any. Keys of rejected commands are not kept: they may be sent again."""
        row = self._keys.get(key) or (self._execute(READ["key"], (key,)).fetchone() if key else None)
        if row is None:
            return None
        entry = decode_entry(row[1])
        digest = command_digest(command_bytes(row[1]))
        sentences = [event.sentence for event in entry.events if isinstance(event, ObjectionRaised)]
        code = "objected" if entry.outcome is Outcome.OBJECTED else ""
        return Recorded(row[0], entry.outcome, entry.task, digest, code, "; ".join(sentences))

    @guarded
    def head(self) -> Position:
        """Where the log stands. Raises StoreConflict when edge and entries disagree."""
        size, hashes = self._execute(READ["edge"]).fetchone()
        last, now_ms = self._execute(READ["last_time"]).fetchone()
        if last + 1 != size:
            raise StoreConflict(f"The ledger's edge covers {size} entries; there are {last + 1}.")
        (epoch,) = self._execute(READ["epoch"]).fetchone()
        edge = merkle.Edge(size, tuple(bytes.fromhex(each) for each in msgspec.json.decode(hashes)))
        return Position(edge, epoch, now_ms)

    @guarded
    def node(self, level: int, place: int) -> bytes:
        """The hash of a complete subtree, for proofs: stored from level 8 up, made from its leaves below."""
        if level >= merkle.STORED_LEVEL:
            row = self._execute(READ["node"], (level, place)).fetchone()
            if row is None:
                raise StoreConflict(f"Node {place} of level {level} of the log is missing.")
            return bytes(row[0])
        first = place << level
        leaves = [bytes(row[0]) for row in self._execute(READ["leaves"], (first, first + (1 << level)))]
        return merkle.subtree(leaves)

    # ------------------------------------------------------------------------------------------------ folds and scans

    @guarded
    def task_entries(self, task: str) -> Iterator[tuple[int, str]]:
        """(seq, body) of a task's entries, in order."""
        return iter(self._execute(READ["task_entries"], (self._find_task(task), 0)))

    @guarded
    def load_events(self, task: str, after_n: int = 0) -> Iterator[Happened]:
        """What a fold of the task needs, from its entry after_n + 1 on; nothing for an unknown task."""
        rows = self._execute(READ["task_entries"], (self._find_task(task), after_n))
        return (decode_happened(seq, body) for seq, body in rows)

    @guarded
    def home_events(self) -> Iterator[Happened]:
        """What a fold of the home needs, from entry 0 on."""
        return (decode_happened(seq, body) for seq, body in self._execute(READ["home_entries"]))

    @guarded
    def spent(self) -> tuple[Row, ...]:
        """What the tasks of each project spent and have reserved, for `spending.summed`."""
        return tuple(self._execute(READ["spent"]))

    @guarded
    def open_tasks(self) -> tuple[str, ...]:
        """Tasks that are not done, oldest first."""
        return tuple(row[0] for row in self._execute(READ["open_tasks"]))

    def ready_spawns(self) -> tuple[LiveSpawn, ...]:
        """Spawns of open tasks that wait for a grant (or for a time), in the order in which they were opened."""
        return self._live("ready")

    def granted_spawns(self) -> tuple[LiveSpawn, ...]:
        """Spawns of open tasks whose attempt runs, by the record."""
        return self._live("granted")

    @guarded
    def _live(self, status: str) -> tuple[LiveSpawn, ...]:
        rows = self._execute(READ["spawns"], (status,))
        return tuple(
            LiveSpawn(
                task=task,
                project=project,
                priority=priority,
                weight=weight,
                held=bool(held),
                spawn=spawn,
                agent=agent,
                attempt=attempt,
                not_before_ms=not_before_ms,
                chain=tuple(msgspec.json.decode(chain)),
                binding=binding,
                fence=fence,
                worker=worker,
                boot=boot,
                granted_ms=granted_ms,
                why=why,
                rules_digest=rules_digest,
                requires=tuple(msgspec.json.decode(requires)),
            )
            for (
                task, project, priority, weight, held, spawn, agent, attempt, not_before_ms, chain, binding, fence, worker,
                boot, granted_ms, why, rules_digest, requires,
            ) in rows
        )  # fmt: skip

    @guarded
    def wakes(self, due_ms: int = MAX_INTEGER) -> tuple[DueWake, ...]:
        """The wakes that are set (and due at due_ms), in order of their time."""
        return tuple(DueWake(*row) for row in self._execute(READ["wakes"], (due_ms,)))

    # ------------------------------------------------------------------------------------------------ texts and logs

    def put_text(self, text: SaltedText) -> None:
        """Gather a text that no entry of this group names; the same text again changes nothing. Raises as `_blob`."""
        row = self._blob(text)
        if row is not None:
            self._gather.put("insert_blob", row)
            self._texts[text.id] = text

    @guarded
    def _blob(self, text: SaltedText) -> Row | None:
        """The row of a text (None: it is stored already); long ones are written to their files at once.

        Raises BlobMismatch (not what its id names), BlobMissing (sent as a file that is not there).
        """
        data, identifier = text.data, text.id
        if data is None:
            if not self._files.has(identifier):
                if self._row_of(identifier) is None:
                    raise BlobMissing(f"Text {identifier} was named before it was sent.")
                return None
        else:
            check(identifier, text.salt, data)
            if len(data) > MAX_ROW:
                self._files.put(identifier, text.salt, data)
                data = None
        return bytes.fromhex(identifier), text.size, text.salt, data

    def _row_of(self, identifier: str) -> Row | None:
        gathered = self._texts.get(identifier)
        if gathered is not None:
            data = gathered.data
            return gathered.salt, data if data is not None and len(data) <= MAX_ROW else None, gathered.size
        found: Row | None = self._execute(READ["blob"], (bytes.fromhex(identifier),)).fetchone()
        return found

    @guarded
    def has_text(self, identifier: str) -> bool:
        """Whether a text of this id is stored, or gathered in the open group."""
        try:
            return self._row_of(identifier) is not None
        except ValueError:  # no id at all
            return False

    @guarded
    def text(self, identifier: str) -> bytes:
        """The bytes of a stored text, also of one of the open group. Raises BlobMissing."""
        row = self._row_of(identifier)
        if row is None or row[0] is None:
            raise BlobMissing(f"Text {identifier} is not stored.")
        return self._files.read(identifier) if row[1] is None else bytes(row[1])

    def deny(self, now_ms: int, request: Request, code: str, sentence: str) -> None:
        """Log a rejected command; beyond MAX_DENIALS the oldest is forgotten."""
        who, kind = request.principal, type(request.command).__name__
        row = (now_ms, who.id, who.via, request.task, kind, code, sentence, request.key)
        self._gather.put("insert_denial", row)
        self._gather.put("trim_denials", (MAX_DENIALS,))

    def orphan(
        self, *, now_ms: int, task: str, spawn: str, attempt: int, fence: int, worker: str, reason: str, command: bytes
    ) -> None:
        """Keep a result that came too late, once for each worker that brings it."""
        row = (now_ms, task, spawn, attempt, fence, worker, reason, command.decode())
        self._gather.put("insert_orphan", row)

    @guarded
    def orphan_row(self, number: int) -> LateRow | None:
        """A result that came too late, by the number under which it was kept."""
        row = self._execute(READ["orphan"], (number,)).fetchone()
        return None if row is None else LateRow(*row)

    def keep_checkpoint(self, size: int, now_ms: int, note: str) -> None:
        """Keep a signed tree head."""
        self._gather.put("insert_checkpoint", (size, now_ms, note))

    @guarded
    def checkpointed(self) -> int:
        """How many entries the last checkpoint covers (0: there is none)."""
        row = self._execute(READ["last_checkpoint"]).fetchone()
        return 0 if row is None else int(row[0])


__all__ = ["DueWake", "LiveSpawn", "Position", "Recorded", "Store", "StoreError", "command_digest"]
