"""The process that runs other rules: it reads lines, writes lines, and can open nothing.

Rules are somebody's Python. Their imports are checked as those of a bundle are; and from the moment before the first of them
runs, this process can open no file and no connection and start no program: it has no room for one more descriptor. It is
told no place and no secret. Whoever started it ends it when it says nothing for long.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import resource
import sys
from collections.abc import Iterator

import msgspec

from loom import kernel
from loom.bundles import imports, registry
from loom.transports.errors import Problem
from loom.transports.histories import decode_line
from loom.transports.whatif.rules import Unusable, read
from loom.transports.whatif.walking import Walk, replacing
from loom.transports.whatif.wire import Answer, Question, Ready, Refused, decode_question, encode

STANDARD_STREAMS = 3
MAX_MEMORY = 4 * 1024**3


def main() -> int:
    """Question and history in, answers out."""
    lines = iter(sys.stdin.buffer)
    _bring()
    _confine()
    try:
        question = decode_question(next(lines))
        walk, names = _walk(question)
    except Unusable as error:
        _say(Refused(error.faults))
        return 1
    _say(Ready(names))
    try:
        for answer in _answers(walk, lines):
            _say(answer)
    except (Problem, msgspec.MsgspecError) as error:
        _say(Refused((str(error),)))
        return 1
    return 0


def _walk(question: Question) -> tuple[Walk, tuple[str, ...]]:
    if question.archive:
        return replacing(question.archive), ()
    changes = read(question.source, question.name)
    return Walk(changes, None), changes.names


def _answers(walk: Walk, lines: Iterator[bytes]) -> Iterator[Answer]:
    for line in lines:
        if (answer := walk.take(decode_line(line))) is not None:
            yield answer
    yield from walk.rest()


def _bring() -> None:
    """Everything that rules may import is imported now, while files can still be opened; so is what loading a bundle needs,
    which is found by loading one."""
    for name in registry.INTERNAL:
        registry.load(name)
    for module in pkgutil.iter_modules(kernel.__path__):
        importlib.import_module(f"{kernel.__name__}.{module.name}")
    for name in imports.STANDARD:
        importlib.import_module(name)


def _confine() -> None:
    """Nothing more can be opened or written, and memory has an end."""
    for limit, value in (
        (resource.RLIMIT_NOFILE, STANDARD_STREAMS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, MAX_MEMORY),
    ):
        with contextlib.suppress(ValueError, OSError):  # a system that cannot lower this one
            resource.setrlimit(limit, (value, value))


def _say(answer: Answer) -> None:
    sys.stdout.buffer.write(encode(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
