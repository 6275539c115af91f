"""Hypothesis strategies made from the kernel's types: any value that a dataclass of commands, events or state can hold."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from functools import cache
from typing import Any, TypeVar, cast

from hypothesis import strategies as st

from loom.kernel.limits import MAX_INTEGER

T = TypeVar("T")
MAX_ITEMS = 3

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTEGERS = st.one_of(st.integers(0, 100), st.integers(-MAX_INTEGER, MAX_INTEGER))


def records(kind: type[T]) -> st.SearchStrategy[T]:
    """Values of one dataclass, of one enumeration, or of str, int, bool."""
    return cast("st.SearchStrategy[T]", _strategy(cast(Any, kind)))


@cache
def _strategy(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is str:
        return TEXTS
    if hint is int:
        return INTEGERS
    if hint is bool:
        return st.booleans()
    if hint is type(None):
        return st.none()
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if dataclasses.is_dataclass(hint):
        return _record(cast(type, hint))
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_strategy(each) for each in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(_strategy(arguments[0]), max_size=MAX_ITEMS).map(tuple)
    if origin is tuple:
        return st.tuples(*(_strategy(each) for each in arguments))
    raise TypeError(f"no strategy for {hint!r}")


def _record(kind: type) -> st.SearchStrategy[Any]:
    """A field with a default takes it half of the time: left-out fields are the codec's common case."""
    hints = typing.get_type_hints(kind)
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in dataclasses.fields(cast(Any, kind)):
        values = _strategy(hints[field.name])
        if field.default is not dataclasses.MISSING:
            values = st.one_of(st.just(field.default), values)
        fields[field.name] = values
    return st.builds(kind, **fields)
