"""Where an attempt may run, and where it would rather: labels, families, warm workers; and who a remote worker may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from harness import toy
from harness.ledger import PERSON, WORKER
from harness.play import text
from loom.coordinator.core import COORDINATOR, Core
from loom.coordinator.inbox import Request, Slot
from loom.coordinator.roster import WARM_PROJECTS, Enrolled, Roster
from loom.coordinator.store import Store
from loom.kernel import commands as c
from loom.kernel.values import AgentBinding, End
from loom.kernel.work import rules_for
from loom.workers.protocol import Hello

GPU_TOY = replace(
    toy.TOY, digest="toy-gpu", agents=tuple(replace(agent, requires=("docker",)) for agent in toy.TOY.agents)
)
RULES = {bundle.digest: rules_for(bundle) for bundle in (toy.TOY, GPU_TOY, toy.DELIVERED)}
HELLO = Hello(worker="far", boot="b", low=1, high=1, host="h", slots=2, labels=("gpu", "act"), token="right")


@pytest.fixture
def core(home: Path) -> Iterator[Core]:
    made = Core(Store.create(home / "state.db"), rules=RULES.__getitem__)
    made.turn([Request("home", COORDINATOR, "", c.CreateHome("o", "k", 1))], (), 1_000)
    made.start(version="0", boot="boot", now_ms=1_001)
    yield made
    made.store.close()


def submit(number: int, *requires: str, digest: str = "toy-toy", project: str = "p") -> Request:
    bundle = RULES[digest].bundle.name
    command = c.Submit(
        task=f"task{number}",
        project=project,
        bundle=bundle,
        rules_digest=digest,
        semantics=1,
        text=text("do it"),
        flow="",
        preset="autonomous",
        policies=(),
        base="base",
        subject="subject",
        bindings=(AgentBinding("*", ("recorded:x",)),),
        caps=toy.TOY.caps,
        requires=requires,
    )
    return Request(f"key{number}", PERSON, "", command)


def test_a_requirement_of_task_and_agent_is_met_or_waits(core: Core) -> None:
    """Not by the widest worker, but by the one with both labels; without it nothing is granted, and others go on."""
    wide, gpu, both = Slot("wide", "b", 9), Slot("gpu", "b", 5, ("gpu",)), Slot("both", "b", 1, ("gpu", "docker"))
    inbox = [submit(1, "gpu", digest="toy-gpu"), submit(2)]
    turned = core.turn(inbox, (wide, gpu), 2_000)
    assert [("task2", "wide")] == [(one.task.spec.task, one.worker) for one in turned.granted]
    assert 1 == turned.ready
    turned = core.turn([], (wide, gpu, both), 2_001)
    assert [("task1", "both")] == [(one.task.spec.task, one.worker) for one in turned.granted]


def test_a_requirement_outlives_a_restart(core: Core, home: Path) -> None:
    """The queue that is made from the rows still asks for the label."""
    core.turn([submit(1, "gpu")], (Slot("wide", "b", 9),), 2_000)
    again = Core(core.store, rules=RULES.__getitem__)
    assert () == again.turn([], (Slot("wide", "b", 9),), 2_001).granted
    assert 1 == len(again.turn([], (Slot("gpu", "b", 1, ("gpu",)),), 2_002).granted)


def test_a_warm_worker_is_preferred_and_never_waited_for(core: Core) -> None:
    """The narrow warm worker first; when it is full the next attempt of the project goes to the cold one at once."""
    cold, warm = Slot("cold", "b", 9), Slot("warm", "b", 1)
    core.near = lambda project, task: ("gone", "warm") if project == "p" else ()
    turned = core.turn([submit(1), submit(2), submit(3, project="q")], (cold, warm), 2_000)
    assert {("task1", "warm"), ("task2", "cold"), ("task3", "cold")} == {
        (one.task.spec.task, one.worker) for one in turned.granted
    }


def test_who_a_key_stands_for_and_with_which_labels() -> None:
    """A key speaks for the worker that it was enrolled as, with the labels of the enrolment and never `home`; on this
    machine the token speaks, and a worker is at home."""
    roster = Roster(epoch=1, secret=b"s", token="right")
    refused = roster.refusal(HELLO, Enrolled("other"))
    assert refused is not None
    assert "identity" == refused.code
    assert "enrolled as worker other" in refused.sentence
    assert roster.refusal(replace_token(HELLO, ""), Enrolled("far")) is None
    wrong = roster.refusal(replace_token(HELLO, ""))
    assert wrong is not None
    assert "token" == wrong.code
    far, _ = roster.enter(b"1", HELLO, 0, Enrolled("far", ("docker",)))
    near, _ = roster.enter(b"2", HELLO, 0)
    assert (("docker",), ("gpu", "act", "home")) == (far.labels, near.labels)
    assert (True, False) == (far.remote, near.remote)


def replace_token(hello: Hello, token: str) -> Hello:
    return structs.replace(hello, token=token)


def test_the_roster_remembers_who_worked_on_what() -> None:
    """The latest first, each once, and a bounded number; work without a project warms nothing."""
    roster = Roster(epoch=1, secret=b"s", token="right")
    for worker in ("a", "b", "a", *"cdefghijk"):
        roster.worked_on("p", worker)
    roster.worked_on("", "a")
    assert tuple("kjihgfed") == roster.near("p", "t")
    assert () == roster.near("", "t")
    for number in range(WARM_PROJECTS):
        roster.worked_on(f"p{number}", "a")
    assert () == roster.near("p", "t")


def test_an_external_effect_needs_a_worker_at_home(core: Core) -> None:
    """A delivery waits for a worker on the home's machine, whatever others have free."""
    far, near = Slot("far", "b", 9, ("gpu",)), Slot("near", "b", 1, ("home",))
    (granted,) = core.turn([submit(1, digest="toy-delivered")], (far,), 2_000).granted
    done = c.AttemptEnded(
        granted.spawn, 1, granted.fence, End.REPORTED, outcome="done", subject="s2", work="w", change="c"
    )
    ended = core.turn([Request("end", replace(WORKER, id="far"), "task1", done)], (far,), 2_001)
    assert ((), 1) == (ended.granted, ended.ready)
    assert ["near"] == [one.worker for one in core.turn([], (far, near), 2_002).granted]
