"""The chain of a task, as it is folded from events and as it is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from loom.transports.chain import Chain, Event, Text
from loom.transports.cli import output, picture

PERSON = {"id": "ada", "kind": "person", "via": "cli"}
POLICY = {"id": "policy", "kind": "policy", "via": "kernel"}


def submitted() -> Event:
    spec = {
        "task": "abcdefghjk",
        "bundle": "code",
        "text": {"value": "Mend it"},
        "preset": "on-blockers",
        "policies": [["final", "auto"]],
        "caps": {"cost": 2_000_000},
    }
    return ("TaskSubmitted", {"spec": spec})


def closed(spawn: str, cost: int | None = 1_500, **more: Any) -> Event:
    usage = {"input_tokens": 1000, "output_tokens": 200, "calls": 1, "cost": cost}
    return (
        "AttemptClosed",
        {"spawn": spawn, "end": "reported", "usage": usage, "execution": {"served_by": "m"}, **more},
    )


def finding(spawn: str, severity: str) -> Event:
    report = {"severity": severity, "place": {"path": "a.py", "line": 3}, "message": {"value": "wrong"}}
    return ("FindingRecorded", {"finding": {"id": "f1", "spawn": spawn, "report": report}})


def run(*groups: list[Event]) -> Chain:
    chain = Chain()
    for number, group in enumerate(groups):
        chain.apply(1_000 * number, group)
    return chain


def test_a_round_of_rework_is_told_in_order() -> None:
    """Spawns, findings, the way back and the second try stand in the order in which they happened."""
    chain = run(
        [submitted(), ("FlowChosen", {"flow": "medium"})],
        [("SpawnOpened", {"spawn": "t/review.1/critic", "agent": "critic", "stage": "review", "iteration": 1, "chain": ["a:b"]})],
        [("AttemptGranted", {"spawn": "t/review.1/critic", "attempt": 1, "binding": 0})],
        [closed("t/review.1/critic"), finding("t/review.1/critic", "blocking"),
         ("SpawnSettled", {"spawn": "t/review.1/critic", "outcome": "block"}), ("Reworked", {"to": "work", "round": 2})],
        [("SpawnOpened", {"spawn": "t/work.2/maker", "agent": "maker", "stage": "work", "iteration": 2})],
    )  # fmt: skip
    assert ["critic", "back to work", "maker"] == [link.name for link in chain.links]
    critic = chain.links[0]
    assert ("done", "block", 1, "m", 1_500) == (critic.state, critic.word, critic.blocking, critic.model, critic.cost)
    assert (1_500, 1_000, 200, False) == chain.spent()
    assert "medium" == chain.flow


def test_a_retry_keeps_what_was_paid() -> None:
    """The usage of every attempt of a spawn counts; one unknown price makes the sum unknown."""
    opened: Event = ("SpawnOpened", {"spawn": "s", "agent": "a", "stage": "x"})
    granted: Event = ("AttemptGranted", {"spawn": "s", "attempt": 2})
    chain = run([submitted(), opened, closed("s", end="failed", message={"value": "429"})], [granted], [closed("s")])
    assert (3_000, 2_000, 400, False) == chain.spent()
    assert 2 == chain.links[0].attempts
    unknown = run([submitted(), opened, closed("s", cost=None)])
    assert (0, 1_000, 200, True) == unknown.spent()


def test_a_gate_waits_until_it_is_decided() -> None:
    """An open gate is the chain's gate; its decision names who took it; a policy decides without opening one."""
    opened: Event = ("GateOpened", {"gate": "g-1", "role": "plan", "answers": ["accept", "revise"], "due_ms": 5})
    chain = run([submitted(), opened])
    waiting = [(link.id, link.answers) for link in chain.links if link is chain.gate]
    assert [("g-1", ("accept", "revise"))] == waiting
    chain.apply(9, [("DecisionRecorded", {"gate": "g-1", "role": "plan", "word": "accept", "by": PERSON})])
    chain.apply(9, [("DecisionRecorded", {"gate": "", "role": "final", "word": "accept", "by": POLICY})])
    assert chain.gate is None
    assert ["ada", "policy auto"] == [link.by for link in chain.links]


def test_an_event_of_a_later_version_is_left_out() -> None:
    """What this version does not know changes nothing."""
    chain = run([submitted(), ("Teleported", {"to": "mars"})])
    assert [] == chain.links


def test_a_closed_task_leaves_nothing_running() -> None:
    """A cancelled task's open spawn is shown as stopped."""
    chain = run(
        [submitted(), ("SpawnOpened", {"spawn": "s", "agent": "a", "stage": "x"})],
        [("VerdictReached", {"verdict": "cancelled", "by": PERSON}), ("TaskClosed", {})],
    )
    assert chain.over
    assert ("failed", "stopped", "cancelled") == (chain.links[0].state, chain.links[0].word, chain.verdict)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_say_what_happened_at_every_width(width: int) -> None:
    """Agent, word and blocker are readable on a narrow terminal, too."""
    chain = run(
        [submitted(), ("SpawnOpened", {"spawn": "s", "agent": "critic", "stage": "x", "chain": ["a:b"]})],
        [closed("s"), finding("s", "blocking"), ("SpawnSettled", {"spawn": "s", "outcome": "block"})],
    )
    lines = [line.plain for line in picture.finished(chain.links[0], width, lambda text: text.value)]
    assert "critic" in lines[0]
    assert "block · 1 blocking" in lines[0]
    assert "a.py:3" in lines[1]


def test_foreign_text_cannot_drive_the_terminal() -> None:
    """Escape sequences, backspaces and direction marks of a model's text are shown, not obeyed."""
    chain = run(
        [submitted(), ("SpawnOpened", {"spawn": "s", "agent": "a\x1b[2J", "stage": "x"})],
        [("SpawnSettled", {"spawn": "s", "outcome": "done", "summary": {"value": "ok\x1b[31m\x08\u202etxt"}})],
    )
    shown = "\n".join(line.plain for line in picture.finished(chain.links[0], 120, lambda text: text.value))
    assert not {"\x1b", "\x08", "\u202e"} & set(shown)
    assert "\\x1b[31m" in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a\nb\tc"),
        ("ü–✓", "ü–✓"),
        ("\x07", "\\x07"),
        ("\udcff", "\\udcff"),
        ("a\rb", "a\\x0db"),
    ],
)
def test_clean_keeps_words_and_shows_controls(text: str, expected: str) -> None:
    """Only what could drive the terminal is changed."""
    assert expected == output.clean(text)


def test_figures_for_people() -> None:
    """Money, counts and spans are short and never lie about unknown."""
    assert ["$0.00", "$0.0042", "$1.23", "?"] == [output.money(n) for n in (0, 4_200, 1_234_567, None)]
    assert ["999", "1.2k", "100k", "3.4M"] == [output.count(n) for n in (999, 1_234, 99_960, 3_400_000)]
    spans = (400, 12_000, 185_000, 7_800_000, 273_600_000)
    assert ["0.4s", "12s", "3m05s", "2h10m", "3d4h"] == [output.duration(n) for n in spans]


def test_a_link_has_the_reference_that_it_runs_with() -> None:
    """The binding's place in the chain decides; before any grant it is the first."""
    opened: Event = ("SpawnOpened", {"spawn": "s", "agent": "a", "stage": "x", "chain": ["a:1", "b:2"]})
    chain = run([submitted(), opened])
    assert "a:1" == chain.links[0].reference
    chain.apply(2, [("AttemptReadied", {"spawn": "s", "attempt": 2, "binding": 1, "reason": "permanent"})])
    assert ("b:2", "permanent") == (chain.links[0].reference, chain.links[0].note.value)
    assert Text("x") == Text("x")
