"""Why something happened: from the entry that it stands in, back from cause to cause, to a person's word or the submit.

    story = Story(entries)                      a task's entries, as plain JSON
    answer = story.why("challenger#2")          what, in one sentence, and the chain of causes, the nearest first

No search and no guess: an attempt's end names its attempt, the attempt was readied in one entry, an answer names its gate, a wake its
setting; and each entry says by `because` what was read to decide. Works on what was read, without the kernel's classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from loom.transports.why_words import Fields, asked, ended, said, text

TELLING = (
    "FlowChosen", "TaskForked", "StageSkipped", "SpawnSkipped", "Reworked", "StageEntered", "SpawnFailed", "AttemptReadied",
    "GateOpened", "GateWithdrawn", "DecisionRecorded", "TaskParked", "ObjectionRaised", "BudgetReached", "VerdictReached",
    "FindingRecorded", "FindingAccepted", "TaskPaused", "TaskResumed",
)  # fmt: skip
"""Kinds of events that explain what follows."""
STANDING = ("VerdictReached", "GateOpened", "TaskPaused", "TaskResumed", "StageEntered", "AttemptReadied")
"""Kinds of events that say what a task does from then on."""
ATTEMPT = re.compile(r"(?:(?P<task>[^/]+)/(?P<stage>.+)\.(?P<iteration>\d+)/)?(?P<agent>[^#/]+)#(?P<number>\d+)")
SPAWN = re.compile(r"(?P<task>[^/]+)/(?P<stage>.+)\.(?P<iteration>\d+)/(?P<agent>[^#/]+)")
FINDING = re.compile(r"f\d+")


class NothingThere(Exception):
    """The record of the task has no such thing; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, as plain JSON."""

    seq: int
    n: int
    now_ms: int
    kind: str
    command: Fields
    who: str
    events: tuple[tuple[str, Fields], ...]

    @classmethod
    def of(cls, seq: int, body: Fields) -> Entry:
        kind, command = body["command"]
        events = tuple((name, fields) for name, fields in body["events"])
        return cls(seq, body["n"], body["now_ms"], kind, command, body["principal"]["id"], events)


@dataclass(frozen=True, slots=True)
class Cause:
    """One link. what: the command, in words; led_to: what it led to, with what was read to decide it."""

    seq: int
    n: int
    now_ms: int
    who: str
    what: str
    led_to: tuple[str, ...]


@dataclass(slots=True)
class Answer:
    """sentence: what it is; notes: about itself (the model, the attempts); chain: the causes, the nearest first."""

    about: str
    sentence: str
    chain: list[Cause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Story:
    """A task's entries, with the places where things happened."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)
        self._at: dict[tuple[str, str], list[int]] = {}
        """(kind of event, what it is about) → places, in order."""
        for place, entry in enumerate(self.entries):
            for kind, fields in entry.events:
                self._at.setdefault((kind, _about(kind, fields)), []).append(place)

    # -------------------------------------------------------------------------------------------------- questions

    def why(self, what: str = "") -> Answer:
        """About the task itself (""), a gate, a finding, a stage, an agent, or an attempt of one. Raises NothingThere."""
        if not what:
            return self._standing()
        if self._at.get(("GateOpened", what)):
            return self._gate(what)
        if FINDING.fullmatch(what):
            return self._simple("FindingRecorded", what, f"there is no finding {what}")
        if match := ATTEMPT.fullmatch(what):
            return self._attempt(self._spawn(match["agent"], what), int(match["number"]))
        if SPAWN.fullmatch(what) or self._spawns_of(what):
            return self._attempt(self._spawn(what, what), 0)
        return self._stage(what)

    def _standing(self) -> Answer:
        """What the task does now."""
        for place in range(len(self.entries) - 1, -1, -1):
            for kind, fields in reversed(self.entries[place].events):
                if kind in STANDING:
                    return Answer("task", self._worded(place, kind, fields), self._chain(place))
        raise NothingThere("nothing is on record of it")

    def _gate(self, gate: str) -> Answer:
        place = self._at["GateOpened", gate][-1]
        fields = _event(self.entries[place], "GateOpened", gate)
        answer = Answer(f"gate {gate}", self._worded(place, "GateOpened", fields), self._chain(place))
        for kind, done in (("DecisionRecorded", "it was decided"), ("GateWithdrawn", "it was withdrawn")):
            for later in self._at.get((kind, gate), ()):
                entry = self.entries[later]
                answer.notes.append(
                    f"{done} at entry {entry.seq}: {self._worded(later, kind, _event(entry, kind, gate))}"
                )
        return answer

    def _simple(self, kind: str, about: str, lacking: str) -> Answer:
        places = self._at.get((kind, about))
        if not places:
            raise NothingThere(lacking)
        fields = _event(self.entries[places[-1]], kind, about)
        return Answer(about, self._worded(places[-1], kind, fields), self._chain(places[-1]))

    def _stage(self, stage: str) -> Answer:
        """The last time that the flow came to it: entered, skipped, or all of its agents skipped."""
        name, _, number = stage.partition(".")
        found: list[tuple[int, str, Fields]] = []
        for place, entry in enumerate(self.entries):
            for kind, fields in entry.events:
                here = fields.get("stage") == name and kind in ("StageEntered", "StageSkipped")
                if here and (not number or kind != "StageEntered" or str(fields["iteration"]) == number):
                    found.append((place, kind, fields))
        if not found:
            entered = dict.fromkeys(f["stage"] for e in self.entries for k, f in e.events if k == "StageEntered")
            raise NothingThere(f"it was not at a stage {stage}; its stages so far: {', '.join(entered)}")
        place, kind, fields = found[-1]
        answer = Answer(f"stage {stage}", self._worded(place, kind, fields), self._chain(place))
        for other, skipped in self.entries[place].events:
            if other == "SpawnSkipped" and f"/{name}." in skipped["spawn"]:
                answer.notes.append(self._worded(place, other, skipped))
        return answer

    # --------------------------------------------------------------------------------------------------- attempts

    def _spawns_of(self, agent: str) -> list[str]:
        opened = (f for e in self.entries for k, f in e.events if k in ("SpawnOpened", "SpawnSkipped"))
        return [fields["spawn"] for fields in opened if fields["agent"] == agent]

    def _spawn(self, agent: str, what: str) -> str:
        """The spawn that is meant: by its id, or the latest one of an agent."""
        bare = what.partition("#")[0]
        if self._at.get(("SpawnOpened", bare)) or self._at.get(("SpawnSkipped", bare)):
            return bare
        spawns = self._spawns_of(agent)
        if not spawns:
            raise NothingThere(f"there is no agent or spawn {bare}")
        return spawns[-1]

    def _attempt(self, spawn: str, number: int) -> Answer:
        """Why it ran (number 0: the latest attempt), and on which model."""
        if skipped := self._at.get(("SpawnSkipped", spawn)):
            fields = _event(self.entries[skipped[-1]], "SpawnSkipped", spawn)
            return Answer(spawn, self._worded(skipped[-1], "SpawnSkipped", fields), self._chain(skipped[-1]))
        number = number or self._attempts(spawn)
        place = self._readied(spawn, number)
        if place is None:
            raise NothingThere(f"there is no attempt {number} of {spawn}")
        entry = self.entries[place]
        agent = spawn.rpartition("/")[2]
        reasons = [f for k, f in entry.events if k == "AttemptReadied" and f["spawn"] == spawn]
        back = [f for k, f in entry.events if k == "Reworked"]
        sentence = f"{agent} runs: its stage was entered"
        if back:
            sentence = f"{agent} runs again: {said('Reworked', back[-1])}"
        if reasons:
            sentence = f"{agent} runs again, attempt {number}: {reasons[-1]['reason']}"
        answer = Answer(f"{spawn}#{number}", sentence, self._chain(place))
        answer.notes += self._model(spawn, number)
        return answer

    def _attempts(self, spawn: str) -> int:
        readied = (f for e in self.entries for k, f in e.events if k == "AttemptReadied" and f["spawn"] == spawn)
        return max((fields["attempt"] for fields in readied), default=1)

    def _readied(self, spawn: str, number: int) -> int | None:
        """The place where this attempt was made ready."""
        for place in reversed(self._at.get(("AttemptReadied", spawn), ())):
            fields = _event(self.entries[place], "AttemptReadied", spawn)
            if fields["attempt"] == number:
                return place
        opened = self._at.get(("SpawnOpened", spawn))
        return opened[0] if opened and number == 1 else None

    def _model(self, spawn: str, number: int) -> Iterator[str]:
        """Which binding served it, and how it came to be that one."""
        opened = self._at["SpawnOpened", spawn][0]
        chain = _event(self.entries[opened], "SpawnOpened", spawn)["chain"]
        granted = [
            f for e in self.entries for k, f in e.events
            if k == "AttemptGranted" and (f["spawn"], f["attempt"]) == (spawn, number)
        ]  # fmt: skip
        if not granted:
            yield "it was not given to a worker yet"
            return
        binding = granted[-1]["binding"]
        moves = [
            f["reason"] for e in self.entries for k, f in e.events if k == "AttemptReadied" and f["spawn"] == spawn
        ]
        moved = [reason for reason in moves if reason.startswith("next binding")][:binding]
        how = "; ".join(moved) if moved else "the first of its chain, which was fixed when the stage was entered"
        yield f"model {chain[binding]}, {binding + 1} of {len(chain)}: {how}"
        for entry in self.entries:
            for kind, fields in entry.events:
                if kind == "AttemptClosed" and (fields["spawn"], fields["attempt"]) == (spawn, number):
                    served = fields["execution"].get("served_by", "")
                    yield ended(fields) + (f", served by {served}" if served else "")

    # ------------------------------------------------------------------------------------------------------ chain

    def _chain(self, place: int | None) -> list[Cause]:
        """The causes of what stands in this entry, the nearest first, back to a word from outside."""
        chain: list[Cause] = []
        while place is not None:
            entry = self.entries[place]
            led_to = tuple(self._worded(place, kind, fields) for kind, fields in entry.events if _tells(kind, fields))
            chain.append(
                Cause(entry.seq, entry.n, entry.now_ms, entry.who, asked(entry.kind, entry.command, entry.who), led_to)
            )
            before = self._cause(entry)
            place = before if before is not None and before < place else None
        return chain

    def _cause(self, entry: Entry) -> int | None:
        """The place without which this command would not have come; None: it came from outside."""
        command = entry.command
        match entry.kind:
            case "AttemptEnded" | "Grant":
                return self._readied(command["spawn"], command["attempt"])
            case "Answer":
                opened = self._at.get(("GateOpened", command["gate"]))
                return opened[-1] if opened else None
            case "Wake":
                earlier = [p for p in self._at.get(("WakeSet", command["name"]), ()) if self.entries[p].n < entry.n]
                return earlier[-1] if earlier else None
            case _:
                return None

    # ---------------------------------------------------------------------------------------------------- because

    def _worded(self, place: int, kind: str, fields: Fields) -> str:
        """An event in words, with what was read to decide it, and where that stands."""
        because = "; ".join(self._sourced(place, read) for read in fields.get("because", ()))
        return f"{said(kind, fields)}, because {because}" if because else said(kind, fields)

    def _sourced(self, place: int, read: str) -> str:
        """What was read, with the entries that it comes from where they are not this one."""
        places = {self._latest(place, kind, about) for kind, about in _sources(read)}
        elsewhere = sorted(each for each in places if each is not None and each != place)
        return f"{read} [{'; '.join(self._named(each, read) for each in elsewhere)}]" if elsewhere else read

    def _named(self, place: int, read: str) -> str:
        """An entry by its number; of one in which somebody blocked, the blockers."""
        entry = self.entries[place]
        blockers = [f["finding"] for k, f in entry.events if k == "FindingRecorded" and _tells(k, f)]
        if not blockers or not read.endswith("=block"):
            return f"entry {entry.seq}"
        return f"entry {entry.seq}: " + ", ".join(
            f"{each['id']} {text(each['report']['message'])}" for each in blockers
        )

    def _latest(self, place: int, kind: str, about: str) -> int | None:
        earlier = [each for each in self._at.get((kind, about), ()) if each <= place]
        return earlier[-1] if earlier else None


def _sources(read: str) -> Iterator[tuple[str, str]]:
    """The events that could have set what was read: (kind, what it is about). The forms are those of the kernel's view."""
    what, _, rest = read.partition(" ")
    if what in ("said", "fact"):
        yield ("SpawnSettled" if what == "said" else "FactRecorded"), rest.partition("=")[0]
    elif what == "shown" and read.endswith(": yes"):
        yield "EvidenceRecorded", rest.partition("=")[0]
    elif what.startswith("blockers"):
        yield from (("FindingRecorded", name) for name in read.partition("=")[2].split(",") if FINDING.fullmatch(name))


def _about(kind: str, fields: Fields) -> str:
    """What an event is about, by the name that later commands use."""
    if kind == "FindingRecorded":
        return str(fields["finding"]["id"])
    if kind == "EvidenceRecorded":
        return str(fields["evidence"]["kind"])
    if kind == "SpawnSettled":
        return str(fields["agent"])
    for name in ("gate", "spawn", "stage", "name", "finding"):
        if name in fields:
            return str(fields[name])
    return ""


def _event(entry: Entry, kind: str, about: str) -> Fields:
    return next(fields for name, fields in reversed(entry.events) if name == kind and _about(name, fields) == about)


def _tells(kind: str, fields: Fields) -> bool:
    """Whether an event explains what follows; of findings only what blocks."""
    if kind == "FindingRecorded":
        return bool(fields["finding"]["report"]["severity"] == "blocking")
    return kind in TELLING


def told(entries: Sequence[tuple[int, Fields]]) -> Story:
    """The story of (seq, body) pairs."""
    return Story(Entry.of(seq, body) for seq, body in entries)
