"""What a rotation of the log's key says, and which keys follow from one that is trusted."""

from __future__ import annotations

from collections.abc import Iterable

from loom.coordinator.proof import notes
from loom.coordinator.proof.notes import NoteError, VerifierKey

TITLE = "loom: the log goes on under another key"


def rotation_text(origin: str, old: str, new: str) -> str:
    """The text that both keys sign. old, new: verifier lines."""
    return f"{TITLE}\n{origin}\n{old}\n{new}\n"


def follow(trusted: VerifierKey, rotations: Iterable[str]) -> tuple[VerifierKey, ...]:
    """The keys that a trusted key vouches for: itself, the one it signed over to, and so on. rotations: notes in the order
    of the log. Raises NoteError for a note that a key of the chain is named in and did not sign."""
    chain = [trusted]
    for note in rotations:
        parsed = notes.parse(note)
        title, origin, old, new, *more = parsed.text.split("\n")
        if title != TITLE or more != [""]:
            raise NoteError("a rotation's note says something else")
        if old != chain[-1].line:
            continue  # of an earlier key than the one that is trusted
        following = notes.verifier_key(new)
        if origin != trusted.name or following.name != trusted.name:
            raise NoteError(f"a rotation of {trusted.name} names another log")
        if not (notes.signed_by(parsed, chain[-1]) and notes.signed_by(parsed, following)):
            raise NoteError("a rotation is not signed by both keys")
        chain.append(following)
    return tuple(chain)
