"""Replay derives every decision again, byte for byte, on any machine; a difference names its place."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.player import ANNA, CORE, T0, Player, finding
from harness.toy import ALL, CHECKED, FINALIZE, REVIEW, SIBLINGS, STEPPED, TOY, WORK, WORKER, gate, make
from loom.coordinator.codec import encode_command, encode_events
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.flow import Bundle, Fanout, Flow, Member
from loom.kernel.replay import Record, Replay, replay
from loom.kernel.values import Capability
from loom.kernel.work import rules_for

TESTS = Path(__file__).resolve().parents[2]


def long_way(player: Player) -> Player:
    """Failures, rework, trouble, answers: as much as one task can meet."""
    player.fail("worker", "transient")
    player.fail("worker", "rate_limit", not_before_ms=player.now_ms + 5_000)
    player.report("worker", subject="s1", tokens=10)
    for name in player.agents():
        player.report(
            name, "block", findings=[finding(f"{name} sees a leak", agent=name), finding("nit", "info", agent=name)]
        )
    player.answer("revise", "mind the edge")
    player.report("worker", subject="s2")
    for name in player.agents()[:-1]:
        player.report(name)
    for _ in range(2):
        player.fail(player.agents()[-1], "permanent")
    player.answer("retry")
    player.report(player.agents()[-1])
    player.answer("accept")
    return player


REVIEWS = Fanout("review", tuple(Member(s.name) for s in SIBLINGS))
NO_LOOP = make("noloop", (WORKER, *SIBLINGS), Flow("main", (WORK, REVIEWS, gate(), FINALIZE), rework="work"))


def history() -> list[Record]:
    player = long_way(Player(NO_LOOP, {"preset": "supervised"}))
    assert "accepted" == player.task.verdict
    return player.records


def again(records: list[Record]) -> Replay:
    return replay(records, lambda _: rules_for(NO_LOOP), encode_events)


def test_a_history_is_identical() -> None:
    """All ticks taken again give the recorded bytes."""
    records = history()
    assert (len(records), None) == (again(records).ticks, again(records).difference)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("now_ms", lambda r: replace(r, now_ms=r.now_ms + 1)),
        ("outcome", lambda r: replace(r, outcome="objected")),
        ("events", lambda r: replace(r, events=r.events[:-1])),
        ("home_reads", lambda r: replace(r, home_reads=(("root", "other"), ("signed_roles", "spec")))),
        ("command", lambda r: replace(r, command=c.Pause())),
        ("principal", lambda r: replace(r, principal=replace(r.principal, kind=ANNA.kind, id="eve"))),
    ],
)
def test_a_change_is_found_at_its_entry(name: str, change: Callable[[Record], Record]) -> None:
    """One field of one entry changed: the replay stops there, and says what it expected and what it got."""
    records = history()
    for place, record in enumerate(records):
        changed = change(record)
        if name == "home_reads" and not record.home_reads:
            continue
        if name in ("principal", "now_ms") and not isinstance(record.command, SHOWN[name]):
            continue
        found = again([*records[:place], changed, *records[place + 1 :]]).difference
        assert found is not None, (name, place, record.command)
        assert (record.seq, record.task) == (found.seq, found.task)
        assert found.expected != found.got


SHOWN: dict[str, tuple[type, ...]] = {"principal": (c.Submit, c.Answer), "now_ms": (c.Submit,)}
"""The commands whose events say who gave them, and when."""


def test_a_missing_entry_is_found() -> None:
    """What followed the missing one does not follow any more."""
    records = history()
    assert again([*records[:3], *records[4:]]).difference is not None


def test_home_entries_are_taken_again_too() -> None:
    """The home's own commands are part of the history; a command that does not fit names its entry."""
    created = e.HomeCreated("o", "k", 1)
    first = Record(0, "", 0, T0, CORE, c.CreateHome("o", "k", 1), (created,), "applied", (), (), "")
    assert replay([first], rules_for, encode_events).difference is None  # type: ignore[arg-type]
    twice = replay([first, replace(first, seq=1)], rules_for, encode_events)  # type: ignore[arg-type]
    assert twice.difference is not None
    assert (1, 2) == (twice.difference.seq, twice.ticks)
    other = replace(first, events=(replace(created, log_key="x"),))
    assert replay([other], rules_for, encode_events).difference is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("bundle", ALL, ids=lambda bundle: bundle.name)
def test_every_toy_replays(bundle: Bundle) -> None:
    """Whatever the bundle, its first steps give the same events again."""
    player = Player(bundle)
    for _ in range(3):
        for name in player.agents("ready")[:1]:
            editing = player.rules.agents[name].capability is Capability.EDIT
            player.report(name, subject=f"s{player.now_ms}" if editing else "")
    assert player.replayed().difference is None


def digest() -> str:
    """SHA-256 over the bytes of some long histories: what two interpreters must agree on."""
    log = hashlib.sha256()
    for bundle in (CHECKED, STEPPED, REVIEW, TOY):
        player = Player(bundle, {"preset": "autonomous"})
        for i in range(40):
            ready = player.agents("ready")
            if not ready:
                break
            name = ready[i % len(ready)]
            agent = player.rules.agents[name]
            if agent.judges and i % 3:
                player.block(name, f"trouble {'abc'[i % 3]}")
            elif name == "worker":
                player.report(name, subject=f"s{i}", facts={"risky": "yes", "empty": "no"})
            else:
                player.report(name, checks={"check.test": "passed", "check.lint": "passed"})
        for record in player.records:
            log.update(encode_command(record.command) + encode_events(record.events))
    for record in history():
        log.update(encode_command(record.command) + encode_events(record.events))
    return log.hexdigest()


def test_no_byte_depends_on_the_hash_seed() -> None:
    """Two interpreters with other hash seeds write the same histories."""
    script = f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(Path(__file__).parent)!r}]; import test_replay; print(test_replay.digest())"
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout.strip()
        for seed in ("1", "20")
    }  # fmt: skip
    assert {digest()} == found
