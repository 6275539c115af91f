"""The coordinator reads what a fork takes over from the record; what a client says it was is written over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.ledger import PERSON, Ledger
from harness.play import text
from loom.coordinator.codec import encode_command
from loom.coordinator.forking import with_origin
from loom.coordinator.inbox import Request
from loom.coordinator.store import Store
from loom.kernel import commands as c
from loom.kernel.heritage import Inherited
from loom.kernel.state import TaskState
from loom.kernel.values import AgentBinding, Evidence
from loom.kernel.work import Refused


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    store = Store.create(tmp_path / "state.db")
    ledger = Ledger(store)
    ledger.create_home()
    yield ledger
    store.close()


def under_way(ledger: Ledger) -> TaskState:
    """A task with a review behind it."""
    task = ledger.submit(2, "supervised")
    for pick in range(200):
        state = ledger.tasks[task]
        if state.gate is not None or state.n > 8:
            break
        ledger.advance(pick * 2 + 1)
    ledger.commit()
    return ledger.tasks[task]


def asking(state: TaskState, inherited: Inherited, **changes: object) -> Request:
    spec = state.spec
    command = c.Submit(
        task="forked",
        project=spec.project,
        bundle=spec.bundle,
        rules_digest=spec.rules_digest,
        semantics=1,
        text=text("something else"),
        flow="",
        preset="supervised",
        policies=(),
        base=spec.base,
        subject=spec.base_subject,
        bindings=(AgentBinding("*", ("recorded:x",)),),
        caps=spec.caps,
        origin_task=spec.task,
        inherited=inherited,
    )
    return Request("key", PERSON, "forked", replace(command, **changes))  # type: ignore[arg-type]


def filled(ledger: Ledger, request: Request) -> c.Submit:
    command = with_origin(ledger.store, request).command
    assert isinstance(command, c.Submit)
    return command


def test_what_the_client_says_it_was_is_written_over(ledger: Ledger) -> None:
    """Forged evidence, work and base never reach the kernel; the word to the agents does."""
    state = under_way(ledger)
    forged = Inherited(
        state.n, state.stage, text("mind the edge"), work="evil", subject="evil",
        evidence=(Evidence("review.reviewer", "evil", "approve", PERSON),), facts=(("risky", "no"),),
    )  # fmt: skip
    command = filled(ledger, asking(state, forged, base="evil", subject="evil"))
    assert command.inherited is not None
    assert (state.work, state.subject) == (command.inherited.work, command.inherited.subject)
    assert (state.spec.base, state.spec.base_subject, state.spec.text) == (command.base, command.subject, command.text)
    assert "mind the edge" == command.inherited.message.value
    assert b"evil" not in encode_command(command)


def test_the_same_question_gives_the_same_command(ledger: Ledger) -> None:
    """Also when the origin went on meanwhile: a call that is sent again is the same call."""
    state = under_way(ledger)
    request = asking(state, Inherited(state.n, state.stage))
    first = encode_command(filled(ledger, request))
    for pick in range(5):
        ledger.advance(pick)
    ledger.commit()
    assert first == encode_command(filled(ledger, request))


def test_an_origin_that_is_none_is_refused(ledger: Ledger) -> None:
    """An unknown task, and an entry that it has not got."""
    state = under_way(ledger)
    for request in (
        asking(state, Inherited(state.n + 7, state.stage)),
        asking(state, Inherited(0, state.stage)),
        asking(state, Inherited(1, state.stage), origin_task="nobody"),
        asking(state, Inherited(1, state.stage), origin_task=""),
    ):
        with pytest.raises(Refused, match="has no entry"):
            with_origin(ledger.store, request)


def test_any_other_request_is_left_alone(ledger: Ledger) -> None:
    """A submit without an origin, and every other command."""
    state = under_way(ledger)
    request = asking(state, Inherited(1, "work"))
    assert isinstance(request.command, c.Submit)
    plain = Request("key", PERSON, "t", replace(request.command, inherited=None))
    assert plain is with_origin(ledger.store, plain)
    assert (cancel := Request("k", PERSON, "t", c.Cancel())) is with_origin(ledger.store, cancel)
