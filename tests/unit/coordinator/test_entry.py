"""The record of one tick: one canonical object, total, strict about its format."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from harness.strategies import records
from loom.coordinator.entry import Entry, Rules, decode_entry, decode_happened, encode_entry
from loom.coordinator.errors import CodecError
from loom.coordinator.inbox import Outcome
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.values import Principal, PrincipalKind

NUMBERS = st.integers(0, 2**53 - 1)
ENTRIES = st.builds(
    Entry,
    epoch=NUMBERS,
    task=st.text(max_size=5),
    n=NUMBERS,
    now_ms=NUMBERS,
    nonce=st.text(max_size=5),
    principal=records(Principal),
    key=st.text(max_size=5),
    command=records(cast(Any, c.Command)),
    events=st.lists(records(cast(Any, e.Event)), max_size=2).map(tuple),
    outcome=st.sampled_from([Outcome.APPLIED, Outcome.OBJECTED]),
    rules=st.builds(Rules, NUMBERS, st.text(max_size=5)),
    unanswered=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    home_reads=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=2).map(tuple),
    violations=st.lists(st.text(max_size=5), max_size=2).map(tuple),
)


@given(ENTRIES)
@settings(max_examples=60, deadline=None)
def test_entries_come_back(entry: Entry) -> None:
    """One canonical object, by the oracle's word, that reads back as itself."""
    body = encode_entry(entry)
    assert rfc8785.dumps(json.loads(body)) == body
    assert entry == decode_entry(body) == decode_entry(body.decode())
    happened = decode_happened(7, body)
    assert (7, entry.n, entry.now_ms, entry.events) == (happened.seq, happened.n, happened.now_ms, happened.events)


WHO = Principal("ada", PrincipalKind.PERSON, "cli")
FIRST = Entry(
    epoch=0,
    task="",
    n=0,
    now_ms=1_790_000_000_000,
    nonce="n",
    principal=WHO,
    key="k",
    command=c.CreateHome("loom.local/a", "key", 1),
    events=(e.HomeCreated("loom.local/a", "key", 1),),
    outcome=Outcome.APPLIED,
    rules=Rules(1),
)


def test_the_bytes_of_entry_0_are_these() -> None:
    """The format of the ledger is fixed to the byte: what is hashed today must be readable for ever."""
    expected = (
        b'{"command":["CreateHome",{"log_key":"key","origin":"loom.local/a","schema":1}],"epoch":0,'
        b'"events":[["HomeCreated",{"log_key":"key","origin":"loom.local/a","schema":1}]],"home_reads":[],"key":"k","n":0,'
        b'"nonce":"n","now_ms":1790000000000,"outcome":"applied","principal":{"id":"ada","kind":"person","via":"cli"},'
        b'"rules":{"digest":"","semantics":1},"task":"","unanswered":[],"v":1,"via":"cli","violations":[]}'
    )
    assert expected == encode_entry(FIRST)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"more": 1},
        {"n": "1"},
        {"outcome": "perhaps"},
        {"events": [["Nothing", {}]]},
        {"command": ["Nothing", {}]},
        {"principal": {"id": "ada"}},
    ],
)
def test_what_is_no_entry_is_refused(change: dict[str, Any]) -> None:
    """Another format, unknown or wrong fields: an error, not a guess."""
    body = json.dumps(json.loads(encode_entry(FIRST)) | change).encode()
    with pytest.raises((CodecError, ValueError)):
        decode_entry(body)


@pytest.mark.parametrize("field", ["epoch", "n", "now_ms"])
@pytest.mark.parametrize("number", [-1, 2**53])
def test_numbers_of_an_entry_are_in_range(field: str, number: int) -> None:
    """Neither negative nor beyond what every JSON reader can hold."""

    with pytest.raises(CodecError):
        encode_entry(structs.replace(FIRST, **cast(Any, {field: number})))
