"""Pictures are drawn from the table, and the READMEs show the present one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import toy
from loom.bundles import picture, registry
from loom.bundles.__main__ import main
from loom.kernel.facts import ALWAYS, All, Any, AtLeast, Blocked, Fact, Guard, Not, Said, Shown
from loom.kernel.flow import Bundle
from loom.kernel.values import Origin


@pytest.mark.parametrize("name", registry.names())
def test_the_readme_shows_the_present_flows(name: str) -> None:
    """Drawn anew (python -m loom.bundles NAME --write), the README is the same."""
    readme = (registry.folder_of(name) / "README.md").read_text(encoding="utf-8")
    assert readme == picture.renewed(readme, registry.load(name))


def test_a_changed_flow_changes_the_readme() -> None:
    """A README whose pictures are old is told from a present one."""
    drawn = picture.renewed(f"# toy\n\n{picture.BEGIN}\n{picture.END}\n", toy.REVIEW)
    changed = replace(toy.REVIEW, flows=(replace(toy.REVIEW.flows[0], stages=toy.TOY.flows[0].stages),))
    assert drawn == picture.renewed(drawn, toy.REVIEW)
    assert drawn != picture.renewed(drawn, changed)


def test_a_readme_without_marks_is_not_overwritten() -> None:
    """Nothing is drawn where no place for it is marked."""
    with pytest.raises(ValueError, match="the pictures go between them"):
        picture.renewed("# toy\n", toy.REVIEW)


def test_a_flow_as_text() -> None:
    """Every stage with its agents, its guards and its moves."""
    expected = """\
main (default)
  ▷ work: worker (edit, balanced)
  │     worker says stuck → a person: the worker is stuck
  │ check: checks (checks)
  │     checks says failed → back to work
  │ review: at once reviewer (read, balanced)
  │     reviewer only when risky
  │     a blocker is open → back to work
  │ decide: gate, role final
  │     revise → back to work
  ▽ finalize: accepted
  │     needs check.test
"""
    assert expected == picture.text(toy.CHECKED, toy.CHECKED.flows[0])


def test_a_flow_as_a_chart() -> None:
    """Boxes for agents, a diamond for the gate, a dotted arrow for each way that is not the next stage."""
    expected = """\
flowchart LR
  work_["work"]
  review_["review"]
  decide_{"decide"}
  finalize_(["accepted"])
  work_ --> review_
  review_ --> decide_
  decide_ --> finalize_
  review_ -. back .-> work_
  decide_ -. back .-> work_
"""
    assert expected == picture.mermaid(toy.REVIEW.flows[0])


@pytest.mark.parametrize("bundle", toy.ALL, ids=lambda bundle: bundle.name)
def test_every_stage_is_in_the_picture(bundle: Bundle) -> None:
    """No kind of stage is left out, in either form."""
    for flow in bundle.flows:
        for stage in flow.stages:
            assert f" {stage.name}: " in picture.text(bundle, flow)
            assert f"  {stage.name}_" in picture.mermaid(flow)


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (Fact("empty"), "empty"),
        (Fact("size", "large"), "size = large"),
        (Not(Fact("empty")), "not empty"),
        (Said("checks", "failed"), "checks says failed"),
        (Blocked(), "a blocker is open"),
        (Blocked(Origin.HARNESS), "a blocker of origin harness is open"),
        (Shown("approval.final", "accept", person=True), "approval.final = accept by a person"),
        (ALWAYS, "always"),
        (All((Fact("a"), Any((Fact("b"), Fact("c"))))), "a and (b or c)"),
        (Not(Any((Fact("a"), Fact("b")))), "not (a or b)"),
        (AtLeast(2, (Fact("a"), Fact("b"), Fact("c"))), "at least 2 of (a; b; c)"),
    ],
)
def test_guards_in_words(guard: Guard, expected: str) -> None:
    """A guard reads as a person would say it, without losing what belongs together."""
    assert expected == picture.words(guard)


def test_the_command_shows_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    """python -m loom.bundles REF: flows and digest with 0; a bad reference is 2, one sentence, no traceback."""
    assert 0 == main(["code"])
    assert registry.load("code").digest in capsys.readouterr().out
    assert 2 == main(["cood"])
    assert "did you mean code?" in capsys.readouterr().err
    assert 2 == main([])
