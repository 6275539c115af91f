"""Verification for surfaces: keys and approvers read from files, and the record replayed by bundles that are installed here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from loom.bundles import registry
from loom.bundles.archives import BundleError, digest_of
from loom.coordinator.codec import encode_events
from loom.coordinator.entry import Entry
from loom.coordinator.proof import approvals, notes, sshsig
from loom.coordinator.proof.judging import Replayer, State
from loom.kernel.limits import SEMANTICS
from loom.kernel.replay import Record, replay
from loom.kernel.work import Rules, rules_for
from loom.transports.errors import UsageProblem
from loom.transports.replaying import record

MAX_KEY_FILE = 64 * 1024


def verifier(text: str) -> notes.VerifierKey:
    """A verifier key from its line or from a file that holds it. Raises UsageProblem."""
    path = Path(text).expanduser()
    try:
        line = path.read_text(encoding="ascii")[:MAX_KEY_FILE] if path.is_file() else text
        return notes.verifier_key(line)
    except (OSError, ValueError) as error:
        raise UsageProblem(
            f"{text[:80]!r} is no verifier key: {error}.", "--key keys/log.pub, from the log's owner"
        ) from error


def allowed_signers(path: Path) -> dict[str, frozenset[str]]:
    """Person → keys, of a file in ssh-keygen's format allowed_signers: `ada,ada@example.org ssh-ed25519 AAAA… comment`.

    Of its options, `namespaces="loom.approval/1"` is understood; a line with any other is refused. Raises UsageProblem.
    """
    found: dict[str, set[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path} cannot be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            key = sshsig.public_key(line)
        except ValueError as error:
            raise UsageProblem(f"{path}, line {number}: {error}.") from error
        options = words[1 : words.index(key.split()[0])]
        if options not in ([], [f'namespaces="{approvals.TYPE}"']) or set(words[0]) & set("*?!"):
            raise UsageProblem(f"{path}, line {number}: options and patterns are not understood here.", "NAME KEY")
        for name in words[0].split(","):
            found.setdefault(name, set()).add(key)
    return {name: frozenset(keys) for name, keys in found.items()}


def replayer(references: Sequence[str] = ()) -> Replayer:
    """Replays by installed bundles, and those that the references name. Code of an evidence file is never run."""
    installed: dict[str, str] = {}

    def rules(digest: str) -> Rules | None:
        for ref in () if digest in installed else (*references, *registry.names(), *registry.INTERNAL):
            try:
                installed.setdefault(digest_of(registry.archive(ref)), ref)
            except BundleError:
                continue
        if digest not in installed:
            return None
        return rules_for(registry.load_archive(registry.archive(installed[digest]), digest))

    return lambda entries: _replayed(entries, rules)


def _replayed(
    entries: list[tuple[int, Entry]], rules: Callable[[str], Rules | None]
) -> Iterator[tuple[State, str, str]]:
    loaded = {digest: rules(digest) for digest in {entry.rules.digest for _, entry in entries} - {""}}
    missing = {digest for digest, found in loaded.items() if found is None}
    for digest in sorted(missing):
        said = f"not run: the bundle {digest[:12]} is not installed here, and code of the file is never run"
        yield State.OPEN, "replay", said
    if other := {entry.rules.semantics for _, entry in entries} - {SEMANTICS}:
        yield State.OPEN, "replay", f"not run: decided by semantics {other} of the kernel; this loom has {SEMANTICS}"
        return
    known = [record(seq, entry) for seq, entry in entries if entry.rules.digest not in missing]
    yield _outcome(known, {digest: found for digest, found in loaded.items() if found is not None})


def _outcome(records: Iterable[Record], rules: dict[str, Rules]) -> tuple[State, str, str]:
    try:
        found = replay(records, rules.__getitem__, encode_events)
    except Exception as error:  # what the kernel never wrote may be anything
        return State.BAD, "replay", f"the commands cannot be taken again: {type(error).__name__}: {error}"
    if found.difference is None:
        return State.GOOD, "replay", f"{found.ticks} decisions derived again, byte for byte"
    different = found.difference
    return State.BAD, f"entry {different.seq}", f"is decided otherwise: {different.got[:200]}"
