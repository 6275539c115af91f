"""What has been said, cut down to what can still make a difference: facts, words and evidence of a state, one voice at a time.

A *voice* is what is written together: an agent's word with its facts and its evidence, what is measured after an agent, an
approval. Two things said are the same when every guard that can still be asked is left the same by both, whatever the other
voices say, and stays so when a part of it is forgotten. Then the first of them that was met stands for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loom.bundles.alphabets import KERNEL_FACTS
from loom.bundles.checking.residues import Atom, Known, Residue, atoms, residue
from loom.bundles.checking.ways import Node, Sight, sights
from loom.kernel.admission import BLOCK
from loom.kernel.facts import Fact, Guard, Said, Shown
from loom.kernel.flow import Bundle, Step
from loom.kernel.values import REVIEW, TROUBLE, WAIVED, Capability, Pairs

Exhibit = tuple[str, str, bool]
"""A piece of evidence about the present subject: (kind, outcome, made by a person)."""
CHECK = "check."


@dataclass(frozen=True, slots=True)
class Voice:
    """speakers: the agents whose report writes it (nobody: the kernel, a step, a gate)."""

    speakers: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    facts: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    """Kinds of evidence; CHECK stands for every check."""

    def joined(self, other: Voice) -> Voice:
        return Voice(
            self.speakers | other.speakers,
            self.words | other.words,
            self.facts | other.facts,
            self.kinds | other.kinds,
        )

    @property
    def lasting(self) -> bool:
        """Whether only its speakers ever take back what it said: evidence goes with its subject, or is waived."""
        return not self.kinds

    def brings(self, kind: str) -> bool:
        return kind in self.kinds or (kind.startswith(CHECK) and CHECK in self.kinds)

    def settles(self, atom: Atom) -> bool:
        """Whether this voice says whether the atom holds."""
        match atom:
            case Fact(name, _):
                return name in self.facts
            case Said(agent, _):
                return agent in self.words
            case Shown(kind, _, _):
                return self.brings(kind)
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Heard:
    """What a state holds of voices, each part sorted."""

    words: Pairs = ()
    facts: Pairs = ()
    shown: tuple[Exhibit, ...] = ()

    def of(self, voice: Voice) -> Heard:
        return Heard(
            tuple(pair for pair in self.words if pair[0] in voice.words),
            tuple(pair for pair in self.facts if pair[0] in voice.facts),
            tuple(one for one in self.shown if voice.brings(one[0])),
        )

    def beside(self, other: Heard) -> Heard:
        return Heard(
            tuple(sorted(self.words + other.words)),
            tuple(sorted(self.facts + other.facts)),
            tuple(sorted(self.shown + other.shown)),
        )


SILENCE = Heard()
Guards = tuple[Residue, ...]
Questions = tuple[Guards, Guards]
"""What may be asked of a voice while its words stand; and what may be asked of it at all."""
Moment = tuple[Sight, bool]
"""What is in sight, and whether the agent of the stage has reported."""
Fixed = tuple[tuple[Voice, Heard], ...]
"""Voices that never speak again, with what they said."""
Print = tuple[Guards, ...]
"""What tells one thing said from another."""


@dataclass
class Ear:
    """Hears what a state holds as what can still make a difference from its stage on."""

    bundle: Bundle
    sights: Mapping[Node, Sight] = field(init=False)
    voices: tuple[Voice, ...] = field(init=False)
    _heard: dict[tuple[Sight, bool, Heard], Heard] = field(init=False, default_factory=dict)
    _asked: dict[tuple[Voice, Moment, Fixed], Questions] = field(init=False, default_factory=dict)
    _stands: dict[tuple[Voice, Questions, Heard], Heard] = field(init=False, default_factory=dict)
    _first: dict[tuple[Voice, Questions, Print], Heard] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.sights = sights(self.bundle)
        asked = {atom for sight in self.sights.values() for guard in sight.guards for atom in atoms(guard)}
        self.voices = tuple(voice for voice in voices(self.bundle) if any(voice.settles(atom) for atom in asked))

    def hear(self, node: Node, heard: Heard, *, told: bool) -> Heard:
        """What stands for all that is the same to this stage and to every later one. told: the stage's agent has reported."""
        key = (self.sights[node], told, heard)
        found = self._heard.get(key)
        if found is None:
            found = self._heard[key] = self._hear(*key)
        return found

    def _hear(self, sight: Sight, told: bool, heard: Heard) -> Heard:
        if sight.opaque:
            return heard
        fixed: list[tuple[Voice, Heard]] = []
        result = SILENCE
        for voice in self.voices:
            said = self._standing(voice, (sight, told), tuple(fixed), heard.of(voice))
            result = result.beside(said)
            if voice.lasting and voice.speakers.isdisjoint(sight.speaking):  # never written again: put in for good
                fixed.append((voice, said))
        return result

    def tells(self, sight: Sight, agent: str, heard: Heard) -> Heard:
        """What stands for an agent's report, whatever else is said."""
        if sight.opaque:
            return heard
        result = SILENCE
        for voice in self.voices:
            if agent in voice.speakers:
                result = result.beside(self._standing(voice, (sight, True), (), heard.of(voice)))
        return result

    def _standing(self, voice: Voice, at: Moment, fixed: Fixed, said: Heard) -> Heard:
        """The first that was met of what is the same; silence, if that is the same, too."""
        if said == SILENCE:
            return SILENCE
        asked = self._questions(voice, at, fixed)
        if not any(asked):
            return SILENCE
        found = self._stands.get((voice, asked, said))
        if found is None:
            told = fingerprint(voice, asked, said)
            silent = told == fingerprint(voice, asked, SILENCE)
            found = SILENCE if silent else self._first.setdefault((voice, asked, told), said)
            self._stands[voice, asked, said] = found
        return found

    def _questions(self, voice: Voice, at: Moment, fixed: Fixed) -> Questions:
        """What may still be asked of a voice: while its words stand, and in all; with what is fixed put in."""
        found = self._asked.get((voice, at, fixed))
        if found is None:
            sight, told = at
            standing = {guard for word in voice.words for guard in sight.fresh.get(word, ())} if voice.words else set()
            ever = sight.guards
            if len(voice.speakers) == 1:
                ever = (sight.told if told else sight.ever).get(next(iter(voice.speakers)), ever)
            found = self._asked[voice, at, fixed] = (
                _asked_of(voice, (guard for guard in sight.guards if guard in standing), fixed),
                _asked_of(voice, ever, fixed),
            )
        return found


def _asked_of(voice: Voice, guards: Iterable[Guard], fixed: Fixed) -> Guards:
    left: list[Residue] = []
    for guard in guards:
        rest: Residue = guard
        for other, said in fixed:
            rest = residue(rest, settles(other, said))
        if any(voice.settles(atom) for atom in atoms(rest)):
            left.append(rest)
    return tuple(left)


def settles(voice: Voice, said: Heard) -> Known:
    """What a voice settles of a guard, when it says this and nothing else."""
    words, facts = dict(said.words), dict(said.facts)
    waived = {kind for kind, outcome, _ in said.shown if outcome == WAIVED}

    def holds(atom: Atom) -> bool | None:
        if not voice.settles(atom):
            return None
        match atom:
            case Fact(name, value):
                return facts.get(name, "") == value
            case Said(agent, word):
                return ("" if REVIEW + agent in waived else words.get(agent, "")) == word
            case Shown(kind, outcome, person):
                return any(one[:2] == (kind, outcome) and (not person or one[2]) for one in said.shown)
            case _:
                return None

    return holds


def fingerprint(voice: Voice, asked: Questions, said: Heard) -> Print:
    """What is left of the guards when all of it is there, when a person waives its block, and when a part is forgotten."""
    standing, ever = asked
    waived = tuple(
        (kind, WAIVED, True) if outcome == BLOCK else (kind, outcome, own) for kind, outcome, own in said.shown
    )
    return (
        _left(voice, standing, said),
        _left(voice, standing, Heard(said.words, said.facts, waived)),
        _left(voice, standing, Heard(said.words, said.facts)),
        _left(voice, ever, Heard((), said.facts, said.shown)),
        _left(voice, ever, Heard((), said.facts, waived)),
        _left(voice, ever, Heard((), said.facts)),
    )


def _left(voice: Voice, guards: Guards, said: Heard) -> Guards:
    return tuple(residue(guard, settles(voice, said)) for guard in guards)


def voices(bundle: Bundle) -> tuple[Voice, ...]:
    """The voices of a bundle. What two agents write is one voice."""
    found: list[Voice] = []
    for agent in bundle.agents:
        kinds = {REVIEW + agent.name} if agent.judges else set()
        if agent.capability is Capability.CHECKS:
            kinds.add(CHECK)
        me = frozenset((agent.name,))
        found.append(Voice(me, me, frozenset(name for name, _ in agent.facts), frozenset(kinds)))
        if agent.measures:
            found.append(Voice(me, facts=frozenset(measure.fact for measure in agent.measures)))
    steps = [stage for flow in bundle.flows for stage in flow.stages if isinstance(stage, Step)]
    found += [Voice(facts=frozenset(name for name, _ in step.writes)) for step in steps]
    found += [Voice(facts=frozenset((name,))) for name in KERNEL_FACTS]
    found += [Voice(kinds=frozenset((f"approval.{name}",))) for name in [*(r.name for r in bundle.roles), TROUBLE]]
    return _apart(found)


def _apart(found: list[Voice]) -> tuple[Voice, ...]:
    """Voices that write the same thing are joined."""
    apart: list[Voice] = []
    for voice in found:
        whole = voice
        for one in [one for one in apart if one.facts & voice.facts or one.kinds & voice.kinds]:
            apart.remove(one)
            whole = whole.joined(one)
        apart.append(whole)
    return tuple(apart)
