"""The ledger's JSON: kernel dataclasses ↔ canonical bytes.

The bytes equal RFC 8785 on our restricted values: keys in order, no white space, no floats, integers within
±(2^53 − 1), valid UTF-8. Members of the unions Command and Event stand as `[kind, fields]`, enumerations as their value,
tuples as arrays. A field that equals its default is left out, so a field that is added later, with a default, leaves the
bytes of old entries as they were.

For each class one function is generated, when it is first needed: object → dict with the keys in order; msgspec writes
the dict. (msgspec alone cannot leave out defaults of dataclasses, nor decode a union of them; hence the generated code
and one decoder a kind.)
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, cast

import msgspec

from loom.coordinator.errors import CodecError
from loom.kernel.commands import Command
from loom.kernel.events import Event
from loom.kernel.limits import MAX_INTEGER
from loom.kernel.values import Execution, Usage

T = TypeVar("T")
Plain = Callable[[Any], dict[str, Any]]

COMMANDS: dict[str, type] = {kind.__name__: kind for kind in typing.get_args(Command)}
EVENTS: dict[str, type] = {kind.__name__: kind for kind in typing.get_args(Event)}

dump = _dump = msgspec.json.Encoder().encode
"""Plain values as JSON, keys in the order in which they stand."""


# ------------------------------------------------------------------------------------------------------------ encode


def encode_command(command: Command) -> bytes:
    """`["Submit",{…}]`. Raises CodecError for values outside the ledger's JSON."""
    return _encode(command, plain_command)


def encode_events(events: tuple[Event, ...]) -> bytes:
    """`[["TaskSubmitted",{…}],…]`. Raises as `encode_command`."""
    return _encode(events, plain_events)


def encode_value(value: Any) -> bytes:
    """Any dataclass of the kernel as one JSON object. Raises as `encode_command`."""
    return _encode(value, plain)


def plain(value: Any) -> dict[str, Any]:
    """The dict that stands for a dataclass of the kernel."""
    return _plain[type(value)](value)


def plain_command(command: Command) -> tuple[str, dict[str, Any]]:
    """(kind, fields) of a command."""
    kind = type(command)
    return kind.__name__, _plain[kind](command)


def plain_events(events: tuple[Event, ...]) -> list[tuple[str, dict[str, Any]]]:
    """(kind, fields) of each event."""
    return [(type(event).__name__, _plain[type(event)](event)) for event in events]


def _encode(value: Any, to_plain: Callable[[Any], Any]) -> bytes:
    try:
        return _dump(to_plain(value))
    except (TypeError, AttributeError, ValueError) as error:  # ValueError: lone surrogates
        raise CodecError(f"This cannot stand in the ledger: {error}.") from error


# ------------------------------------------------------------------------------------------------------------ decode


def decode_command(raw: bytes | msgspec.Raw) -> Command:
    """The command of `[kind, fields]`. Raises CodecError for an unknown kind, a wrong field, a number out of range."""
    command = decode_own_command(raw)
    try:
        plain(command)  # msgspec takes any integer
    except ValueError as error:
        raise CodecError(f"The command cannot be taken: {error}.") from error
    return command


def decode_own_command(raw: bytes | msgspec.Raw) -> Command:
    """As `decode_command`, of bytes that `encode_command` made: the ranges of numbers are not looked at again."""
    try:
        kind, fields = _pair.decode(raw)
        return cast(Command, _command_decoders[kind].decode(fields))
    except KeyError as error:
        raise CodecError(f"There is no command {error.args[0]!r}.") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"The command cannot be read: {error}.") from error


def decode_events(raw: bytes | msgspec.Raw) -> tuple[Event, ...]:
    """The events of an entry. Raises as `decode_command`."""
    try:
        return tuple([_event_decoders[kind].decode(fields) for kind, fields in _pairs.decode(raw)])
    except KeyError as error:
        raise CodecError(f"There is no event {error.args[0]!r}.") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"The events cannot be read: {error}.") from error


def decode_value(kind: type[T], raw: bytes | str | msgspec.Raw) -> T:
    """One dataclass of the kernel. Raises as `decode_command`."""
    try:
        return cast(T, _value_decoders[kind].decode(raw))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"This is no {kind.__name__}: {error}.") from error


_pair: msgspec.json.Decoder[tuple[str, msgspec.Raw]] = msgspec.json.Decoder(tuple[str, msgspec.Raw])
_pairs: msgspec.json.Decoder[list[tuple[str, msgspec.Raw]]] = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])


class _ByKind(dict[str, "msgspec.json.Decoder[Any]"]):
    """kind → decoder, made at first use; a kind outside the union is a KeyError."""

    def __init__(self, union: dict[str, type]) -> None:
        super().__init__()
        self._union = union

    def __missing__(self, kind: str) -> msgspec.json.Decoder[Any]:
        decoder = self[kind] = msgspec.json.Decoder(self._union[kind])
        return decoder


class _ByClass(dict[type, "msgspec.json.Decoder[Any]"]):
    def __missing__(self, kind: type) -> msgspec.json.Decoder[Any]:
        decoder = self[kind] = msgspec.json.Decoder(kind)
        return decoder


_command_decoders = _ByKind(COMMANDS)
_event_decoders = _ByKind(EVENTS)
_value_decoders = _ByClass()


# ---------------------------------------------------------------------------------------------------- generated code


REPEATED = (Execution, Usage)
"""Records that stand in a command, in its event and in a row, one after the other."""


def _remembering(function: Plain) -> Plain:
    """The function with the last record's dict at hand. Records are frozen, and the encoder only reads what it is given."""
    last: Any = None
    made: dict[str, Any] = {}

    def to_plain(value: Any) -> dict[str, Any]:
        nonlocal last, made
        if value is not last:
            last, made = value, function(value)
        return made

    return to_plain


class _PlainByClass(dict[type, Plain]):
    """class → its generated function, made at first use."""

    def __missing__(self, kind: type) -> Plain:
        if not dataclasses.is_dataclass(kind):
            raise TypeError(f"{kind.__name__} is no record of the kernel")
        function = self[kind] = _remembering(_generate(kind)) if kind in REPEATED else _generate(kind)
        return function


_plain = _PlainByClass()


def _generate(kind: type) -> Plain:
    """Writes, compiles and returns `plain(value)` for one class: its fields in the order of their names."""
    names: dict[str, Any] = {"out_of_range": _out_of_range}
    hints = typing.get_type_hints(kind)
    lines = ["def to_plain(value):", " out = {}"]
    for field in sorted(dataclasses.fields(cast(Any, kind)), key=lambda each: each.name):
        lines.append(f" it = value.{field.name}")
        condition = _differs(field, names)
        store = f"out[{field.name!r}] = {_expression(hints[field.name], 'it', names)}"
        lines += [f" if {condition}:", f"  {store}"] if condition else [f" {store}"]
    lines.append(" return out")
    exec(compile("\n".join(lines), f"<codec of {kind.__name__}>", "exec"), names)  # our own text, from our own types
    return cast(Plain, names["to_plain"])


def _differs(field: dataclasses.Field[Any], names: dict[str, Any]) -> str:
    """The condition under which a field stands in the bytes ("" : always)."""
    default = field.default
    if default is dataclasses.MISSING:
        return ""
    if default is None:
        return "it is not None"
    if type(default) in (str, int, bool, tuple) and not default:
        return "it"
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        fields = dataclasses.fields(default)
        if all(type(getattr(default, each.name)) in (str, int, bool) for each in fields) and not any(
            getattr(default, each.name) for each in fields
        ):
            return " or ".join(f"it.{each.name}" for each in fields)  # a record's own __eq__ makes two tuples
    name = f"default_{field.name}"
    names[name] = default
    return f"it is not {name}" if isinstance(default, Enum) else f"it is not {name} and it != {name}"


def _expression(hint: Any, value: str, names: dict[str, Any]) -> str:
    """Source text that turns `value`, of the type `hint`, into what msgspec writes."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (str, bool, type(None)):
        return value
    if hint is int:
        return f"({value} if -{MAX_INTEGER} <= {value} <= {MAX_INTEGER} else out_of_range({value}))"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"{value}._value_"
    if dataclasses.is_dataclass(hint):
        name = f"plain_{cast(type, hint).__name__}"
        names[name] = _plain[cast(type, hint)]
        return f"{name}({value})"
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
        inner = _expression(next(each for each in arguments if each is not type(None)), value, names)
        return value if inner == value else f"(None if {value} is None else {inner})"
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        item = f"{value}_"
        inner = _expression(arguments[0], item, names)
        return value if inner == item else f"[{inner} for {item} in {value}]"
    if origin is tuple and Ellipsis not in arguments:
        parts = [_expression(each, f"{value}[{index}]", names) for index, each in enumerate(arguments)]
        plain_parts = [f"{value}[{index}]" for index in range(len(arguments))]
        return value if parts == plain_parts else f"({', '.join(parts)},)"
    raise TypeError(f"{hint!r} has no place in the ledger")


def _out_of_range(value: int) -> int:
    raise ValueError(f"{value} is beyond ±(2^53 − 1)")
