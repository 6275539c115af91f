"""The benchmark's workload is what performance is reported for: nine calls, wide fan-outs, a thousand steps."""

from __future__ import annotations

import pytest

from harness.play import Play
from loom.bundles import registry
from loom.kernel.flow import Bundle
from loom.kernel.values import Capability, Verdict


@pytest.fixture(scope="module")
def bench() -> Bundle:
    return registry.load("bench")


def test_main_is_nine_calls(bench: Bundle) -> None:
    """classify → plan → implement → four reviewers → validate → finish, accepted on the reviews' evidence."""
    played = Play(bench).run()
    reviewers = [f"reviewer{i}" for i in (1, 2, 3, 4)]
    assert ["classifier", "planner", "implementer", *reviewers, "validator", "finisher"] == played.agents
    assert Verdict.ACCEPTED is played.task.verdict
    assert {f"review.{name}" for name in reviewers} == {evidence.kind for evidence in played.task.evidence}


def test_all_agents_only_answer(bench: Bundle) -> None:
    """No workspace, no harness: the figures are loom's own."""
    assert {Capability.ANSWER} == {agent.capability for agent in bench.agents}


@pytest.mark.parametrize(("flow", "calls"), [("fanout128", 128), ("fanout256", 256), ("long", 1_000)])
def test_the_other_flows(bench: Bundle, flow: str, calls: int) -> None:
    """Each runs to its end with exactly as many calls as its name says, within its caps."""
    played = Play(bench, flow=flow).run()
    assert calls == len(played.agents)
    assert Verdict.ANSWERED is played.task.verdict
