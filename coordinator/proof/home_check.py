"""A whole home verified in place: every entry, every signed head, every signature, every decision.

What an evidence file shows to others, this shows to whoever has the home: that entries and tree agree, that each signed head
is the head of the first entries, and that the last one is not ahead of the log, which would then have been cut.
"""

from __future__ import annotations

from collections.abc import Iterable

from loom.coordinator import merkle
from loom.coordinator.home import Home
from loom.coordinator.proof import notes
from loom.coordinator.proof.judging import Approvers, Judgement, Level, Replayer, Signatures, check_numbers, decoded
from loom.coordinator.proof.notes import VerifierKey
from loom.coordinator.proof.reading import LogReader
from loom.coordinator.proof.rotating import follow

V1, V2, V3, V4 = Level.INTEGRITY, Level.AUTHORITY, Level.REPLAY, Level.WITNESSED


def verify_home(
    home: Home,
    *,
    key: VerifierKey | None = None,
    approvers: Approvers | None = None,
    witnesses: Iterable[VerifierKey] = (),
    replay: Replayer | None = None,
) -> Judgement:
    """key: the log's, as you know it (None: the one that the log names itself). Raises StoreError's tree."""
    judgement = Judgement()
    with LogReader(home) as log:
        bodies, roots = _entries(log, judgement)
        entries = decoded(bodies, judgement)
        check_numbers(entries, judgement)
        signatures = Signatures(judgement, approvers)
        for seq, entry in entries:
            signatures.look(seq, entry)
        signatures.close()
        _heads(log, roots, key, signatures, judgement)
    if tuple(witnesses):
        judgement.open(V4, "witness", "a home is judged by its witness: loom witness check")
    if replay is None:
        judgement.open(V3, "replay", "not run")
    for state, part, said in replay(entries) if replay else ():
        {"good": judgement.good, "open": judgement.open, "bad": judgement.bad}[state](V3, part, said)
    return judgement


def _entries(log: LogReader, judgement: Judgement) -> tuple[list[tuple[int, bytes]], dict[int, bytes]]:
    """Every entry's bytes, and the roots at the sizes of the signed heads."""
    sizes = {size for size, _, _ in log.checkpoints()}
    edge, bodies = merkle.Edge(), []
    roots: dict[int, bytes] = {}
    for seq, body, leaf in log.entries():
        if seq != edge.size:
            judgement.bad(V1, f"entry {edge.size}", "is missing")
            break
        if merkle.leaf_hash(body) != leaf:
            judgement.bad(V1, f"entry {seq}", "is not what was hashed")
        edge = merkle.append(edge, merkle.leaf_hash(body))
        bodies.append((seq, body))
        if edge.size in sizes:
            roots[edge.size] = merkle.root(edge)
    if edge != log.edge:
        judgement.bad(V1, "tree", "the edge is not that of the entries")
    else:
        judgement.good(V1, "entries", f"{edge.size}, each as it was hashed")
    return bodies, roots


def _heads(
    log: LogReader, roots: dict[int, bytes], key: VerifierKey | None, signatures: Signatures, judgement: Judgement
) -> None:
    """Each signed head says the root of the first entries, under the key that was the log's then."""
    bad, count, last = 0, 0, 0
    for size, _, note in log.checkpoints():
        count, last = count + 1, size
        try:
            parsed = notes.parse(note)
            head = notes.checkpoint(parsed.text)
        except ValueError as error:
            judgement.bad(V1, f"head {size}", f"is no checkpoint: {error}")
            continue
        if (head.size, head.root) != (size, roots.get(size)):
            bad += 1
            said = (
                "is ahead of the log: entries after it were cut off"
                if size > log.size
                else "is not that of the entries"
            )
            judgement.bad(V1, f"head {size}", said)
        if key is not None and head.origin == key.name:
            rotations = [each for seq, each in signatures.rotations if seq < size]
            try:
                if not notes.signed_by(parsed, follow(key, rotations)[-1]):
                    judgement.bad(V2, f"head {size}", "is not signed by the log's key")
            except ValueError as error:
                judgement.bad(V2, f"head {size}", str(error))
    if not bad:
        judgement.good(V1, "heads", f"{count} signed, the last over {last} of {log.size} entries")
    if key is None:
        judgement.open(V2, "heads", "who signed them is not judged: name the log's key with --key")
    elif judgement.state(V2) != "bad":
        judgement.good(V2, "heads", f"signed by {key.name}")
