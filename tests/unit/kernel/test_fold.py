"""The fold, and the small functions under it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.player import T0, Player, finding
from harness.toy import FINALIZE, REVIEWER, TOY, WORK, WORKER, gate, make
from loom.kernel import events as e
from loom.kernel import limits
from loom.kernel.copying import copier, filler, quicken
from loom.kernel.draft import Draft
from loom.kernel.evidence import SATISFYING, missing
from loom.kernel.facts import All, Any, AtLeast, Blocked, Fact, Guard, Not, Said, Shown, View, holds
from loom.kernel.findings import identity, normalised, stall_key
from loom.kernel.flow import Flow, Spawn
from loom.kernel.fold import evolve
from loom.kernel.state import SpawnState, TaskState
from loom.kernel.values import Evidence, Finding, Origin, Principal, PrincipalKind, SpawnStatus, drop, find, get, put
from loom.kernel.work import brief, say

NAMES = st.text("abc", max_size=3)
HANDS = Principal("w", PrincipalKind.WORKER, "fabric")


@given(st.lists(st.tuples(NAMES, st.integers())), NAMES)
def test_pairs_are_a_sorted_map(changes: list[tuple[str, int]], asked: str) -> None:
    """put, find, get and drop do what a dict does, in order of the keys."""
    pairs: tuple[tuple[str, int], ...] = ()
    for key, value in changes:
        pairs = put(pairs, key, value)
    model = dict(changes)
    assert tuple(sorted(model.items())) == pairs
    assert model.get(asked, -7) == find(pairs, asked, -7) == get(pairs, asked, -7)
    model.pop(asked, None)
    assert tuple(sorted(model.items())) == drop(pairs, asked)


def test_copies_are_replacements() -> None:
    """The fast copy does what dataclasses.replace does, and leaves the old record alone."""
    copy = copier(SpawnState)
    old = SpawnState("s", "a", SpawnStatus.READY, ("x",), fence=3)
    assert replace(old, fence=4, worker="w") == copy(old, fence=4, worker="w")
    assert 3 == old.fence
    with pytest.raises(AttributeError):
        copy(old, nonsense=1)
    with pytest.raises(AttributeError):
        copy(old).fence = 9  # type: ignore[misc]


def test_a_filled_object_has_every_field() -> None:
    """Filling sets what the record has, and nothing is left out."""

    @dataclass
    class Target:
        name: str = ""

    target = Target()
    filler(SpawnState)(target, SpawnState("s", "a", SpawnStatus.READY, ("x",)))
    assert {field.name for field in fields(SpawnState)} <= set(vars(target))


def test_a_draft_leaves_its_task_alone() -> None:
    """A tick that is thrown away has changed nothing; the next state is one entry later."""
    task = Player(TOY).task
    before = repr(task)
    draft = Draft(task)
    draft.subject = "other"
    draft.change_spawn("t/work.1/worker", fence=9)
    draft.change_spawn("nobody", fence=10)
    after = draft.freeze(T0 + 9)
    assert before == repr(task)
    assert 9 == after.spawns[0].fence
    assert replace(task, subject="other", spawns=after.spawns, n=2, now_ms=T0 + 9) == after
    with pytest.raises(AttributeError):
        draft.subject = "one more"


def test_a_task_starts_with_its_submission() -> None:
    """A history that starts with anything else is none."""
    with pytest.raises(ValueError, match="starts with TaskSubmitted, not with TaskClosed"):
        evolve(None, (e.TaskClosed(),), T0)


def folded(task: TaskState, *events: e.TaskEvent) -> TaskState:
    return evolve(task, events, task.now_ms + 1)


def found(number: int, **changes: object) -> Finding:
    return Finding(f"f{number}", "reviewer", "s", 1, "s0", finding(f"trouble {number:x} {number}", **changes))  # type: ignore[arg-type]


def test_harness_trouble_is_never_bad_work() -> None:
    """What loom itself failed at is neither carried to the next agents nor counted as a stall."""
    task = Player(TOY).task
    events: list[e.TaskEvent] = [
        e.FindingRecorded(found(1, origin=Origin.HARNESS)),
        e.FindingRecorded(found(2)),
        e.Reworked("work", 2, True),
    ]
    after = folded(task, *events)
    assert (["f2"], 1) == ([f.id for f in after.carried], len(after.stalls))


def test_stall_keys_are_bounded() -> None:
    """However many kinds of trouble come and go: the state stays small, and what keeps coming back is remembered."""
    task = Player(TOY).task
    constant = e.FindingRecorded(found(0, stall_key="constant"))
    for i in range(30):
        fresh = [e.FindingRecorded(found(100 * i + j + 1, stall_key=f"k{i}.{j}")) for j in range(99)]
        task = folded(task, constant, *fresh, e.Reworked("work", i + 2, True))
        constant = e.FindingRecorded(found(100 * i + 100, stall_key="constant"))
    assert limits.MAX_STALL_KEYS == len(task.stalls)
    assert 30 == dict(task.stalls)["constant"]
    assert sorted(task.stalls) == list(task.stalls)


def test_evidence_of_another_subject_is_not_folded() -> None:
    """The state holds evidence about the present subject only, the latest of each kind."""
    task = Player(TOY).task
    old, new = Evidence("check", "s0", "failed", HANDS), Evidence("check", "s0", "passed", HANDS)
    other = Evidence("check", "s9", "passed", HANDS)
    assert (new,) == folded(task, *map(e.EvidenceRecorded, (old, new, other))).evidence


def test_missing_counts_what_satisfies_for_this_subject() -> None:
    """Only a satisfying outcome about exactly this subject is there; skipped is missing, in the order of the needs."""
    evidence = [
        Evidence("a", "s1", "passed", HANDS),
        Evidence("b", "s1", "skipped", HANDS),
        Evidence("c", "s0", "passed", HANDS),
    ]
    assert ("c", "b", "d") == missing(("c", "a", "b", "d"), "s1", evidence)
    assert () == missing((), "s1", ())
    assert not {"skipped", "failed", "block", ""} & SATISFYING


def test_a_stall_key_ignores_what_changes_by_itself() -> None:
    """The same trouble in other words of number, place in the place, and case is one trouble; another one is not."""
    assert stall_key("a", "logic", "Leaks at line 12!") == stall_key("a", "logic", "leaks  at line 7")
    assert stall_key("a", "logic", "leaks") != stall_key("b", "logic", "leaks")
    assert stall_key("a", "logic", "leaks") != stall_key("a", "style", "leaks")
    assert stall_key("a", "b", "c") != stall_key("ab", "", "c")
    assert "at # it leaks" == normalised("At 0xFF12: it LEAKS.")


def test_an_identity_is_of_the_whole_finding() -> None:
    """Agent, place, line, check and text: each tells one finding from another."""
    same = identity("r", "a", 1, "logic", "x")
    others = [
        ("q", "a", 1, "logic", "x"),
        ("r", "b", 1, "logic", "x"),
        ("r", "a", 2, "logic", "x"),
        ("r", "a", 1, "x", "logic"),
    ]
    assert same == identity("r", "a", 1, "logic", "x")
    assert same not in {identity(*other) for other in others}


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (Fact("x"), False),
        (Said("worker", "done"), True),
        (Said("worker", "stuck"), False),
        (Not(Fact("x")), True),
        (All((Said("worker", "done"), Not(Fact("x")))), True),
        (All(()), True),
        (Any(()), False),
        (Any((Fact("x"), Said("worker", "done"))), True),
        (AtLeast(2, (Said("worker", "done"), Not(Fact("x")), Fact("y"))), True),
        (AtLeast(3, (Said("worker", "done"), Not(Fact("x")), Fact("y"))), False),
        (Blocked(), True),
        (Blocked(Origin.CHECK), False),
        (Blocked(Origin.AGENT), True),
        (Shown("review.reviewer", "block"), True),
        (Shown("review.reviewer", "approve"), False),
        (Shown("review.reviewer", "block", person=True), False),
    ],
)
def test_guards(guard: Guard, expected: bool) -> None:
    """Each combinator over one task: a worker that is done, a reviewer that blocks."""
    flow = Flow("main", (WORK, Spawn("review", "reviewer"), gate(), FINALIZE))
    bundle = make("seen", (WORKER, REVIEWER), flow)
    player = Player(bundle, {"preset": "supervised"})
    player.report("worker", subject="s1")
    player.block("reviewer")
    view = View(player.task)
    assert expected is holds(guard, view)
    assert bool(view.reads) is (guard not in (All(()), Any(())))


@given(st.text())
def test_a_sentence_of_the_kernel_is_short_and_clean(sentence: str) -> None:
    """Whatever a bundle raises or returns: what stands in an event is valid UTF-8 and fits inline."""
    for words in (sentence, sentence * 40, sentence + "\ud800"):
        said = say(words)
        assert said.size == len(said.value.encode()) <= limits.INLINE_TEXT_BYTES
        assert brief(words) == said.value
    if sentence.isascii() and len(sentence) < 200:
        assert sentence == brief(sentence)


def test_a_quickened_class_is_made_as_before() -> None:
    """The faster making takes the same arguments by place and by name, fills in the same defaults, and refuses the same."""

    @dataclass(frozen=True, slots=True)
    class Plain:
        a: int
        b: str = "b"
        c: tuple[str, ...] = ()

    before = [repr(Plain(1)), repr(Plain(1, "x", c=("y",))), repr(Plain(a=2, b="z"))]
    quicken(Plain)
    assert before == [repr(Plain(1)), repr(Plain(1, "x", c=("y",))), repr(Plain(a=2, b="z"))]
    assert Plain(1) == Plain(1) != Plain(2)
    assert hash(Plain(1)) == hash(Plain(1))
    for wrong in ((), (1, "b", (), 4)):
        with pytest.raises(TypeError):
            Plain(*wrong)
    with pytest.raises(AttributeError):
        Plain(1).a = 2  # type: ignore[misc]
