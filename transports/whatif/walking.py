"""Recorded runs, walked under other rules, line by line: a run is answered when it ends, or when the record does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import msgspec

from loom.bundles.archives import digest_of
from loom.kernel import commands as c
from loom.kernel import events as e
from loom.kernel.flow import Bundle, Measure
from loom.kernel.replay import HOME_COMMANDS, Record
from loom.kernel.state import TaskSpec
from loom.kernel.values import Pairs, PrincipalKind
from loom.kernel.whatif import Fate, NotOnRecord, Other, Parting, Way
from loom.kernel.work import Unanswered, ask_directly, rules_for
from loom.transports.histories import Kept, Line, Stood, Told
from loom.transports.replaying import record_of
from loom.transports.whatif.rules import Changes, Unusable, changed, load
from loom.transports.whatif.wire import Supposed
from loom.workers.protocol.globs import matcher
from loom.workers.protocol.places import unquote_path

ANSWER_S = 1.0
"""How long one function of a bundle, or of a file of rules, may take; a live coordinator is stricter."""
CUT = "not listed one by one"
"""In the notes of an attempt that changed more paths than its list names."""
TOLD = ("stage", "role", "word", "verdict", "flow", "spawn", "outcome", "name", "value", "code", "rule", "to")


@dataclass
class _Run:
    """One task on its way. way None: these rules do not fit it, and `parting` says why."""

    spec: TaskSpec
    submitted_ms: int
    way: Way | None
    parting: Parting | None = None
    verdict: str = ""
    by: str = ""


class Walk:
    """Takes the lines of a history; `answers` are the runs that have ended."""

    def __init__(self, changes: Changes | None, bundle: Bundle | None) -> None:
        """Exactly one of the two: what is added to each run's own bundle, or the bundle in its place."""
        self._changes, self._bundle = changes, bundle
        self._archives: dict[str, bytes] = {}
        self._texts: dict[str, bytes] = {}
        self._others: dict[str, Other] = {}
        self._runs: dict[str, _Run] = {}

    def take(self, line: Line) -> Supposed | None:
        """One line; the answer about the run that ended with it."""
        match line:
            case Kept():
                self._archives[line.digest] = line.archive
            case Told():
                self._texts[line.id] = line.data
            case Stood():
                return self._entry(record_of(line.seq, bytes(line.body)))
            case _:
                pass
        return None

    def rest(self) -> Iterator[Supposed]:
        """The runs that are still open at the end of the record."""
        yield from map(_answered, self._runs.values())
        self._runs.clear()

    def _entry(self, record: Record) -> Supposed | None:
        if isinstance(record.command, HOME_COMMANDS):
            return None
        first = record.events[0] if record.events else None
        if isinstance(first, e.TaskSubmitted):
            self._runs[record.task] = self._begun(record, first)
        run = self._runs.get(record.task)
        if run is None:
            return None  # the record begins in the middle of it, or it has another bundle
        if run.way is not None and run.parting is None:
            run.parting = run.way.take(record)
        for event in record.events:
            if isinstance(event, e.VerdictReached):
                run.verdict = event.verdict.value
            if isinstance(event, e.DecisionRecorded | e.VerdictReached) and event.by.kind is not PrincipalKind.SYSTEM:
                run.by = event.by.id if event.by.kind is PrincipalKind.PERSON else "a policy"
        if any(isinstance(event, e.TaskClosed) for event in record.events):
            return _answered(self._runs.pop(record.task))
        return None

    def _begun(self, record: Record, submitted: e.TaskSubmitted) -> _Run:
        run = _Run(submitted.spec, submitted.now_ms, None)
        try:
            run.way = Way(self._other(record.rules_digest))
        except Unusable as error:
            sentence = f"these rules do not fit the bundle {run.spec.bundle}: {error.faults[0]}"
            run.parting = Parting(Fate.UNKNOWN, record.seq, record.n, type(record.command).__name__, sentence)
        return run

    def _other(self, digest: str) -> Other:
        """The other rules for runs of one bundle."""
        if digest not in self._others:
            if self._bundle is not None:
                self._others[digest] = Other(rules_for(self._bundle), ask=in_time)
            else:
                self._others[digest] = self._with_changes(digest, self._changes or Changes())
        return self._others[digest]

    def _with_changes(self, digest: str, changes: Changes) -> Other:
        if digest not in self._archives:
            raise Unusable([f"the bundle {digest[:12]} is not kept here"])
        bundle = changed(load(self._archives[digest], digest), changes)
        return Other(
            rules=rules_for(bundle),
            policies=changes.policies,
            measured=self._measured(changes.measures),
            added=frozenset(measure.fact for measure in changes.measures),
            ask=in_time,
        )

    def _measured(self, measures: tuple[Measure, ...]) -> Callable[[c.AttemptEnded], Pairs]:
        matchers = [(measure.fact, matcher(measure.patterns)) for measure in measures]

        def measured(command: c.AttemptEnded) -> Pairs:
            if not matchers:
                return ()
            paths = self._paths(command)
            facts = {fact: any(map(matches, paths)) for fact, matches in matchers}
            if CUT in command.execution.notes.value and not all(facts.values()):
                raise NotOnRecord("the list of what it changed is not complete")
            return tuple((fact, "yes" if found else "no") for fact, found in facts.items())

        return measured

    def _paths(self, command: c.AttemptEnded) -> list[bytes]:
        """The paths that an attempt made or changed; one that it took away does not count, as when it is measured live."""
        listed = command.change_list
        data = self._texts.get(listed.blob) if listed.blob else listed.value.encode()
        if data is None:
            raise NotOnRecord("the list of what it changed is not stored any more")
        found = msgspec.json.decode(data, type=list[_Path]) if data else []
        return [unquote_path(each.path) for each in found if each.status != "D"]


class _Path(msgspec.Struct, frozen=True):
    path: str
    status: str


def _answered(run: _Run) -> Supposed:
    parting, spec = run.parting, run.spec
    answer = Supposed(
        task=spec.task,
        project=spec.project,
        bundle=spec.bundle,
        submitted_ms=run.submitted_ms,
        fate=Fate.SAME.value,
        verdict=run.verdict,
        by=run.by,
    )
    if parting is None:
        return answer
    return msgspec.structs.replace(
        answer,
        fate=parting.fate.value,
        seq=parting.seq,
        n=parting.n,
        command=parting.command,
        rule=parting.rule,
        sentence=parting.sentence,
        because=parting.because,
        recorded=worded(parting.recorded),
        supposed=worded(parting.supposed),
    )


def worded(event: e.Event | None) -> str:
    """An event in a few words: its kind, and what it is about."""
    if event is None:
        return ""
    told = [str(value) for name in TOLD if isinstance(value := getattr(event, name, ""), str) and value]
    return " ".join([type(event).__name__, *told])


def in_time(name: str, function: Any, *arguments: Any) -> Any:
    """Runs a function of a bundle or of a file of rules under a time limit. Raises Unanswered."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it took longer than {ANSWER_S:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, ANSWER_S)
    try:
        return ask_directly(name, function, *arguments)
    except TimeoutError as error:  # it rang between two instructions of ours
        raise Unanswered(name, str(error)) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def replacing(archive: bytes) -> Walk:
    """A walk under another bundle. Raises Unusable."""
    return Walk(None, load(archive, digest_of(archive)))
