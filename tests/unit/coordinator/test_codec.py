"""The ledger's JSON: total over the unions, canonical, strict, and stable when fields are added."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.strategies import records
from loom.coordinator import codec
from loom.coordinator.errors import CodecError
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.limits import MAX_INTEGER
from loom.kernel.state import HomeState, TaskSpec, TaskState
from loom.kernel.values import AnswerWord, Principal, PrincipalKind, Text, Usage

COMMANDS = typing.get_args(c.Command)
EVENTS = typing.get_args(e.Event)


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_command_comes_back(kind: type, data: st.DataObject) -> None:
    """Every member of Command is written canonically, by the oracle's word, and read back as itself."""
    command = data.draw(records(kind))
    raw = codec.encode_command(command)
    assert rfc8785.dumps(json.loads(raw)) == raw
    assert command == codec.decode_command(raw)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_event_comes_back(kind: type, data: st.DataObject) -> None:
    """Every member of Event is written canonically, by the oracle's word, and read back as itself."""
    events = tuple(data.draw(st.lists(records(kind), min_size=1, max_size=2)))
    raw = codec.encode_events(events)
    assert rfc8785.dumps(json.loads(raw)) == raw
    assert events == codec.decode_events(raw)


@pytest.mark.parametrize("kind", [TaskSpec, TaskState, HomeState, Principal], ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_states_come_back(kind: type, data: st.DataObject) -> None:
    """Snapshots and specifications are the same JSON."""
    value = data.draw(records(kind))
    raw = codec.encode_value(value)
    assert rfc8785.dumps(json.loads(raw)) == raw
    assert value == codec.decode_value(kind, raw)


def test_kinds_are_unique() -> None:
    """A kind names one class, in commands and in events."""
    assert len(COMMANDS) == len(codec.COMMANDS)
    assert len(EVENTS) == len(codec.EVENTS)


def test_the_bytes_are_these() -> None:
    """The form is fixed: kind, then fields in order of their names, defaults left out, enumerations by value."""
    answer = c.Answer(gate="t-1", word=AnswerWord.ACCEPT, message=Text("so be it", size=8))
    expected = b'["Answer",{"gate":"t-1","message":{"size":8,"value":"so be it"},"word":"accept"}]'
    assert expected == codec.encode_command(answer)


def test_control_letters_are_written_as_the_standard_says() -> None:
    """Escapes are RFC 8785's, for every control letter, and nothing else is escaped."""
    text = "".join(map(chr, range(0x20))) + '"\\\x7f é \u2028 \U0001f9f5 /'
    raw = codec.encode_command(c.Wake(text))
    assert rfc8785.dumps(["Wake", {"name": text}]) == raw


@dataclasses.dataclass(frozen=True, slots=True)
class Grown:
    """Wake, as a later version might have it."""

    name: str
    added: str = ""
    among: Usage = Usage()
    count: int = 3


def test_a_field_added_later_leaves_old_bytes_alone() -> None:
    """With its default, a new field changes no byte; without it, it is there."""
    old = codec.encode_value(c.Wake("wall"))
    assert old == codec.encode_value(Grown("wall"))
    assert Grown("wall") == codec.decode_value(Grown, old)
    assert b'{"count":0,"name":"wall"}' == codec.encode_value(Grown("wall", count=0))


@pytest.mark.parametrize("number", [MAX_INTEGER + 1, -MAX_INTEGER - 1])
def test_numbers_beyond_the_range_are_refused(number: int) -> None:
    """Neither written nor read: other readers of JSON would round them."""
    with pytest.raises(CodecError, match=r"2\^53"):
        codec.encode_command(c.Start(number, "1", "b"))
    with pytest.raises(CodecError, match=r"2\^53"):
        codec.decode_command(json.dumps(["Start", {"epoch": number, "version": "1", "boot": "b"}]).encode())


def test_text_that_is_not_utf8_is_refused() -> None:
    """A lone surrogate has no UTF-8, so it has no place in the ledger."""
    with pytest.raises(CodecError):
        codec.encode_command(c.Wake("a\ud800b"))


@pytest.mark.parametrize(
    "raw",
    [
        b'["Nonsense",{}]',
        b'["Wake",{}]',
        b'["Wake",{"name":1}]',
        b'["Wake",{"name":null}]',
        b'["Wake"]',
        b'["Wake",{"name":"a"},1]',
        b'{"Wake":{"name":"a"}}',
        b'["Answer",{"gate":"g","word":"perhaps"}]',
        b'["TaskClosed",{}]',
        b"",
        b"[",
        b'["Wake",{"name":"\xff"}]',
        b'["Wake",{"name":"\\ud800"}]',
    ],
)
def test_what_is_no_command_is_refused(raw: bytes) -> None:
    """Unknown kinds, wrong or missing fields, other shapes, broken bytes: one error class, no other."""
    with pytest.raises(CodecError):
        codec.decode_command(raw)


def test_what_is_no_event_is_refused() -> None:
    """A command among the events is none."""
    with pytest.raises(CodecError):
        codec.decode_events(b'[["Wake",{"name":"a"}]]')


@dataclasses.dataclass(frozen=True, slots=True)
class Weighed:
    weight: float


@dataclasses.dataclass(frozen=True, slots=True)
class Mapped:
    names: dict[str, str]


@pytest.mark.parametrize("value", [Weighed(1.5), Mapped({}), object(), None])
def test_types_outside_the_vocabulary_are_refused(value: Any) -> None:
    """Floats and maps cannot slip into the record through a new field."""
    with pytest.raises(CodecError):
        codec.encode_value(value)


def test_equal_defaults_are_left_out_though_they_are_other_objects() -> None:
    """What counts is the value: a Text made empty is the same as none."""
    spelled = c.Pause(reason=Text("", "", 0))
    assert b'["Pause",{}]' == codec.encode_command(spelled)
    assert Principal("a", PrincipalKind.PERSON, "cli") == codec.decode_value(
        Principal, b'{"id":"a","kind":"person","via":"cli"}'
    )
