"""Somebody's rules over recorded runs: read in a process that can open nothing, named when they are wrong, ended in time."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loom.bundles import registry
from loom.transports.cli.app import invoke
from loom.transports.cli.whatif import since_ms
from loom.transports.errors import UnavailableProblem, UsageProblem
from loom.transports.histories import FileRuns, Runs, Stood, Told, decode_line, encode_line, told
from loom.transports.whatif.asking import suppose
from loom.transports.whatif.rules import Unusable, read
from loom.transports.whatif.wire import Question, Supposed

HISTORIES = Path(__file__).resolve().parents[2] / "replay" / "histories"
HEAD = """from loom.kernel.facts import BOOL, All, Fact, Not, Said, Shown, View
from loom.kernel.flow import Measure, Role, Rule
"""
CHECK = 'RULES = (Rule("mine", ("VerdictReached",), "no", check=check),)\n'


def asked(source: str, history: str = "trivial", **options: Any) -> Supposed:
    """What these rules make of the one run of a history."""
    with FileRuns(HISTORIES / f"{history}.history") as runs:
        (found,) = suppose(runs, Question(name="mine.py", source=HEAD + source), **options)
    return found


def touched(pattern: str) -> str:
    return (
        f'MEASURES = (Measure("touched", "paths", BOOL, ("{pattern}",)),)\n'
        'RULES = (Rule("untouched", ("VerdictReached",), "it was touched", never=Fact("touched")),)\n'
    )


def test_a_fact_is_measured_anew_from_the_recorded_paths() -> None:
    """A path that was changed counts, one that was not does not; the run is told with what it came to."""
    assert ("same", "accepted") == ((found := asked(touched("docs/"))).fate, found.verdict)
    found = asked(touched("calc.py"))
    assert ("objected", "untouched", "it was touched") == (found.fate, found.rule, found.sentence)
    assert (("fact touched=yes",), "VerdictReached accepted") == (found.because, found.recorded)
    assert ("accepted", "a policy", "AttemptEnded") == (found.verdict, found.by, found.command)
    removed = asked(touched("tests/test_calc.py"), "person_needed")
    assert "same" == removed.fate, "what was taken away is nothing that was made or changed"


class Forgotten:
    """Runs whose lists of changed paths were deleted."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.entries, self.archive = runs.entries, runs.archive

    def text(self, identifier: str) -> bytes | None:
        return None


def test_what_is_not_on_record_is_unknown() -> None:
    """A list that is not stored any more: no guess; unless it stands in the entry itself."""
    with FileRuns(HISTORIES / "medium.history") as runs:
        listed = [line for line in told(runs) if isinstance(line, Told)]
        question = Question(name="mine.py", source=HEAD + touched("calc.py"))
        (found,) = suppose(Forgotten(runs), question)
    if listed:
        assert ("unknown", "the list of what it changed is not stored any more") == (found.fate, found.sentence)
    else:
        assert "objected" == found.fate


def test_floors_and_policies() -> None:
    """ROLES and POLICIES: another floor asks a person, and so does another policy; of an unknown role nothing is known."""
    floor = 'ROLES = (Role("final", floor=("check.test", "review.security")),)\n'
    found = asked(floor)
    assert ("asks", True) == (found.fate, "evidence is missing: review.security" in found.sentence)
    assert "asks" == asked('POLICIES = (("final", "human"),)\n').fate
    found = asked('POLICIES = (("publish", "human"),)\n')
    assert ("unknown", True) == (found.fate, "has no role publish" in found.sentence)


def test_another_bundle(tmp_path: Path) -> None:
    """The installed bundle goes the same way; another one is told where it parts."""
    with FileRuns(HISTORIES / "simple.history") as runs:
        (found,) = suppose(runs, Question(name="code", archive=registry.archive("code")))
        assert "same" == found.fate
        (found,) = suppose(runs, Question(name="bench", archive=registry.archive("bench")))
    assert ("unknown", 1) == (found.fate, found.n)
    assert "does not fit" in found.sentence


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\n", "mine.py:3: imports os"),
        ("def check(:\n", "mine.py:3: is not Python"),
        ("x = open('/etc/passwd')\n", "uses open(); a bundle's functions are pure"),
        ("x = 1\n", "mine.py changes nothing: it has none of RULES, ROLES and POLICIES"),
        ("RULES = [1]\n", "RULES is a tuple of Rule"),
        ("RULES = (1 / 0,)\n", "mine.py raised ZeroDivisionError"),
        ('POLICIES = (("final", "perhaps"),)\n', "perhaps is no policy; there are: human, on-blockers, auto"),
        ('RULES = (Rule("a", ("VerdictReached",), "n", never=Fact("f")),)\nMEASURES = (Measure("f", "size", BOOL),)\n',
         "f can be measured anew from paths only"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_used_are_told_in_words(source: str, words: str) -> None:
    """Before any run is asked."""
    with pytest.raises(Unusable) as problem:
        read(HEAD + source, "mine.py")
    assert words in "; ".join(problem.value.faults)


def test_every_fault_is_told_at_once() -> None:
    """By the process, and as one sentence."""
    with pytest.raises(
        UsageProblem, match=r"These rules cannot be used: mine.py:3: imports os.*mine.py:4: imports sys"
    ):
        asked("import os\nimport sys\n")


def test_rules_that_do_not_fit_a_bundle_leave_its_runs_unknown() -> None:
    """A fact that is never recorded there is no "no": it is a mistake, and said."""
    found = asked('RULES = (Rule("mine", ("VerdictReached",), "no", never=Fact("touches_everything")),)\n')
    assert "unknown" == found.fate
    assert "do not fit the bundle code" in found.sentence
    assert "touches_everything never is recorded here" in found.sentence


# ----------------------------------------------------------------------------------------------------------- isolation


def reaching(what: str) -> str:
    """A rule that goes round the list of imports."""
    return f"import enum\n\ndef check(before, after):\n    os = enum.sys.modules['os']\n    {what}\n\n{CHECK}"


def test_a_rule_opens_no_file(tmp_path: Path) -> None:
    """Neither writes one nor reads one, nor starts a program, whatever it finds to do so."""
    place = tmp_path / "made"
    for what in (
        f"os.close(os.open({str(place)!r}, os.O_CREAT | os.O_WRONLY))",
        "os.open('/etc/hostname', os.O_RDONLY)",
        "enum.sys.modules['builtins'].__import__('socket').socket()",
    ):
        found = asked(reaching(what))
        assert ("objected", True) == (found.fate, "did not answer" in found.sentence), what
        assert any(words in found.sentence for words in ("Too many open files", "No module named")), found.sentence
    assert not place.exists()


def test_a_rule_is_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the surface does not reach it, nor the place of the home."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary-in-a-coal-mine")
    monkeypatch.setenv("LOOM_HOME", "/somewhere/secret")
    found = asked(reaching("return ' '.join(os.environ) + os.getcwd() + str(len(os.environ))"))
    assert found.sentence
    for word in ("ANTHROPIC", "LOOM", "canary"):
        assert word not in found.sentence


def test_a_rule_without_end_is_stopped() -> None:
    """A function is, by itself, and the run is not the same; one that will not be stopped ends the question."""
    found = asked(f"def check(before, after):\n    while True:\n        pass\n\n{CHECK}")
    assert ("objected", True) == (found.fate, "took longer than 1 s" in found.sentence)
    stubborn = "def check(before, after):\n    while True:\n        try:\n            for _ in iter(int, 1): len('')\n"
    stubborn += f"        except BaseException:\n            pass\n\n{CHECK}"
    with pytest.raises(UnavailableProblem, match="does not come to an end"):
        asked(stubborn, silence_s=4)
    with pytest.raises(UnavailableProblem, match="does not come to an end"):
        asked("while True:\n    pass\n", silence_s=4)


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is one sentence, not a traceback."""
    with pytest.raises(UnavailableProblem, match="ended early"):
        asked(f"import enum\nenum.sys.modules['os']._exit(3)\n{CHECK}")


# -------------------------------------------------------------------------------------------------------- the command


def test_the_command_counts_and_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 when all go the same way, 1 when one does not; words for people, `--json` for programs."""
    rules, history = tmp_path / "mine.py", str(HISTORIES / "gates.history")
    rules.write_text(HEAD + touched("docs/"))
    assert 0 == invoke(["whatif", "--rules", str(rules), "--history", history])
    assert "1 run: 1 same\n" == capsys.readouterr().out
    rules.write_text(HEAD + touched("calc.py"))
    assert 1 == invoke(["whatif", "--rules", str(rules), "--history", history])
    said = capsys.readouterr().out
    for words in (
        "1 run: 0 same, 1 objected",
        "would have been objected to at entry",
        "it was touched",
        "fact touched",
    ):
        assert words in said
    assert 1 == invoke(["whatif", "--rules", str(rules), "--history", history, "--json"])
    found = msgspec.json.decode(capsys.readouterr().out)
    assert (1, 0, 1, "untouched") == (found["runs"], found["same"], found["objected"], found["parted"][0]["rule"])


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--rules", "a.py", "--bundle", "code"),
        ("--rules", "not-there.py"),
        ("--bundle", "not-there"),
        ("--rules", __file__, "--history", "x", "--since", "90d"),
    ],
)
def test_asked_wrongly(words: tuple[str, ...]) -> None:
    """Exit 2."""
    assert 2 == invoke(["whatif", *words])


def test_since() -> None:
    """Spans and dates; anything else is refused."""
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert int((now.timestamp() - 90 * 86400) * 1000) == since_ms("90d", now)
    assert int((now.timestamp() - 12 * 3600) * 1000) == since_ms("12h", now)
    assert int(datetime(2026, 11, 1).astimezone().timestamp() * 1000) == since_ms("2026-11-01")  # local
    assert 0 == since_ms("")
    with pytest.raises(UsageProblem, match="no date"):
        since_ms("last week")


def test_a_line_keeps_the_bytes_of_an_entry() -> None:
    """What stands in a history is what was hashed, to the byte."""
    with FileRuns(HISTORIES / "question.history") as runs:
        for seq, body in runs.entries():
            line = decode_line(encode_line(Stood(seq, msgspec.Raw(body))))
            assert isinstance(line, Stood)
            assert body == bytes(line.body)


def test_the_file_can_be_read_with_common_tools() -> None:
    """`xzcat` gives JSON lines."""
    path = HISTORIES / "question.history"
    done = subprocess.run(["xz", "-dc", "--format=xz", "--suffix=.history", path], capture_output=True, check=False)
    assert 0 == done.returncode
    assert "history" == msgspec.json.decode(done.stdout.splitlines()[0])["line"]
