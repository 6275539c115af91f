"""What is left of a guard agrees with the kernel's own evaluation, however the knowledge is split."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from loom.bundles.checking.residues import Atom, atoms, brought, residue
from loom.kernel.evidence import SATISFYING, missing
from loom.kernel.facts import All, Any, AtLeast, Fact, Guard, Not, Said, View, holds
from loom.kernel.values import Evidence, Finding, Pairs, Principal, PrincipalKind

NAMES = ("a", "b", "c", "d")
ATOMS = st.one_of(
    st.sampled_from(NAMES).map(lambda n: Fact(n, "yes")), st.sampled_from(NAMES).map(lambda n: Said(n, "yes"))
)
HANDS = Principal("w", PrincipalKind.WORKER, "test")


def _larger(inner: st.SearchStrategy[Guard]) -> st.SearchStrategy[Guard]:
    parts = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        parts.map(All),
        parts.map(Any),
        inner.map(Not),
        st.builds(AtLeast, st.integers(0, 3), parts),
    )


GUARDS: st.SearchStrategy[Guard] = st.recursive(ATOMS, _larger, max_leaves=8)
WORDS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(("yes", "no")))


@dataclass(frozen=True)
class Seen:
    """What a view looks at."""

    facts: Pairs = ()
    outcomes: Pairs = ()
    findings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    subject: str = "s"


def of(atom: Atom, facts: dict[str, str], words: dict[str, str]) -> bool:
    if isinstance(atom, Fact):
        return facts.get(atom.name, "") == atom.value
    assert isinstance(atom, Said)
    return words.get(atom.agent, "") == atom.word


@given(GUARDS, WORDS, WORDS)
def test_known_at_once_or_in_two_parts(guard: Guard, facts: dict[str, str], words: dict[str, str]) -> None:
    """With all known it is what `holds` says; facts first and words then give the same."""
    view = View(Seen(tuple(sorted(facts.items())), tuple(sorted(words.items()))))
    expected = holds(guard, view)
    assert expected is residue(guard, lambda atom: of(atom, facts, words))
    half = residue(guard, lambda atom: of(atom, facts, words) if isinstance(atom, Fact) else None)
    assert not any(isinstance(atom, Fact) for atom in atoms(half))
    assert expected is residue(half, lambda atom: of(atom, facts, words))


@given(
    st.lists(st.sampled_from(("x", "y")), unique=True),
    st.dictionaries(st.sampled_from(("x", "y")), st.text(max_size=3)),
)
def test_needs_as_a_guard(needs: list[str], outcomes: dict[str, str]) -> None:
    """A floor as a guard holds exactly when the kernel finds nothing missing."""
    for outcome in (*sorted(SATISFYING), "failed", "block"):
        evidence = tuple(Evidence(kind, "s", outcome, HANDS) for kind in outcomes)
        lacking = missing(needs, "s", evidence)
        assert (not lacking) is holds(brought(needs), View(Seen(evidence=evidence)))
