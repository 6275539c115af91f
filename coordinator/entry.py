"""The ledger's record of one tick: one canonical JSON object, whose stored bytes are hashed and never written again.

`{command, epoch, events, home_reads, key, n, nonce, now_ms, outcome, principal, rules, task, unanswered, v, via,
violations}`: command and events are `[kind, fields]`, `home_reads` are the values of the home that the tick read (so that
one exported task replays alone), `unanswered` the rules that did not answer, `violations` the rules that objected.
Entry 0 of a home is HomeCreated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec

from loom.coordinator.codec import (
    decode_events,
    decode_own_command,
    decode_value,
    plain,
    plain_command,
    plain_events,
)
from loom.coordinator.errors import CodecError
from loom.coordinator.inbox import Outcome
from loom.kernel.commands import Command
from loom.kernel.events import Event
from loom.kernel.limits import MAX_INTEGER
from loom.kernel.values import Pairs, Principal

FORMAT = 1
"""`v` of the entries that are written now."""


class Rules(msgspec.Struct, frozen=True):
    """What the tick was decided by: the kernel's semantics number and the bundle's digest ("" : an entry of the home)."""

    semantics: int
    digest: str = ""


class Entry(msgspec.Struct, frozen=True):
    """One tick. task "" and n 0: about the home. key "": a command that nobody sends twice (a grant, a wake)."""

    epoch: int
    task: str
    n: int
    now_ms: int
    nonce: str
    principal: Principal
    key: str
    command: Command
    events: tuple[Event, ...]
    outcome: Outcome
    rules: Rules
    unanswered: tuple[str, ...] = ()
    home_reads: Pairs = ()
    violations: tuple[str, ...] = ()
    v: int = FORMAT

    @property
    def via(self) -> str:
        """The surface that the command came through."""
        return self.principal.via


@dataclass(frozen=True, slots=True)
class Happened:
    """The part of an entry that folds need."""

    seq: int
    n: int
    now_ms: int
    events: tuple[Event, ...]


def encode_entry(entry: Entry) -> bytes:
    """The body. Raises CodecError for values outside the ledger's JSON."""
    for number in (entry.epoch, entry.n, entry.now_ms):
        if not 0 <= number <= MAX_INTEGER:
            raise CodecError(f"An entry cannot hold the number {number}.")
    rules = entry.rules
    try:
        return _dump(
            {
                "command": plain_command(entry.command),
                "epoch": entry.epoch,
                "events": plain_events(entry.events),
                "home_reads": entry.home_reads,
                "key": entry.key,
                "n": entry.n,
                "nonce": entry.nonce,
                "now_ms": entry.now_ms,
                "outcome": entry.outcome._value_,
                "principal": _principal(entry.principal),
                "rules": {"digest": rules.digest, "semantics": rules.semantics},
                "task": entry.task,
                "unanswered": entry.unanswered,
                "v": entry.v,
                "via": entry.principal.via,
                "violations": entry.violations,
            }
        )
    except (TypeError, AttributeError, ValueError) as error:  # ValueError: lone surrogates
        raise CodecError(f"An entry cannot hold this: {error}.") from error


def decode_entry(body: bytes | str) -> Entry:
    """The entry of stored bytes. Raises CodecError when they are not an entry of a known format."""
    read = _read(body)
    return Entry(
        epoch=read.epoch,
        task=read.task,
        n=read.n,
        now_ms=read.now_ms,
        nonce=read.nonce,
        principal=decode_value(Principal, read.principal),
        key=read.key,
        command=decode_own_command(read.command),
        events=decode_events(read.events),
        outcome=Outcome(read.outcome),
        rules=Rules(read.rules.semantics, read.rules.digest),
        unanswered=read.unanswered,
        home_reads=read.home_reads,
        violations=read.violations,
        v=read.v,
    )


def decode_happened(seq: int, body: bytes | str) -> Happened:
    """Only what folds need: faster than the whole entry."""
    read = _read(body)
    return Happened(seq, read.n, read.now_ms, decode_events(read.events))


def command_bytes(body: bytes | str) -> bytes:
    """The bytes of the command inside a body."""
    return bytes(_read(body).command)


class _Rules(msgspec.Struct, frozen=True):
    digest: str
    semantics: int


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: msgspec.Raw
    epoch: int
    events: msgspec.Raw
    home_reads: Pairs
    key: str
    n: int
    nonce: str
    now_ms: int
    outcome: str
    principal: msgspec.Raw
    rules: _Rules
    task: str
    unanswered: tuple[str, ...]
    v: int
    via: str
    violations: tuple[str, ...]


_dump = msgspec.json.Encoder().encode
_body = msgspec.json.Decoder(_Body)


def _read(body: bytes | str) -> _Body:
    try:
        read = _body.decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CodecError(f"This is no entry: {error}.") from error
    if read.v != FORMAT:
        raise CodecError(f"An entry of format {read.v} cannot be read by this version of loom.")
    return read


@lru_cache(maxsize=256)
def _principal(principal: Principal) -> msgspec.Raw:
    return msgspec.Raw(_dump(plain(principal)))
