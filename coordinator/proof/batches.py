"""A worker's signature on its reports, checked from the record: what the worker signed stands in the entry, word for word.

The worker signs one digest a batch of reports (`loom.workers.protocol.signing`). A report's own statement is made again here
from the command that it became; of an unreadable output, the worker had said that it reported.
"""

from __future__ import annotations

from collections.abc import Iterable

from loom.coordinator.proof import notes
from loom.kernel.commands import AttemptEnded
from loom.kernel.values import End, ErrorClass
from loom.workers.protocol.signing import Slip, read_slip, statement


def statements(command: AttemptEnded, worker: str) -> tuple[bytes, ...]:
    """What the worker may have signed, so that it became this command."""
    ends = [(command.end.value, command.error_class.value)]
    if command.error_class is ErrorClass.UNPARSEABLE:
        ends.append((End.REPORTED.value, ErrorClass.NONE.value))
    usage = command.usage
    return tuple(
        statement(
            worker=worker,
            boot=command.execution.boot,
            attempt=f"{command.spawn}#{command.attempt}",
            fence=command.fence,
            end=end,
            error=error,
            output=command.output.blob or command.output.value,
            subject=command.subject,
            work=command.work,
            change=command.change,
            texts=(command.change_text.blob, command.prompt.blob, command.transcript.blob),
            statements=[(each.kind, each.outcome, each.output.blob) for each in command.statements],
            usage=(usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.calls, usage.cost),
        )
        for end, error in ends
    )


def key_of(line: str, worker: str) -> bool:
    """Whether this is a verifier key of this worker's name."""
    try:
        return notes.verifier_key(line).name == worker
    except ValueError:
        return False


def signed_by_one_of(command: AttemptEnded, worker: str, keys: Iterable[str], known: dict[bytes, bool]) -> bool:
    """Whether one of these verifier keys signed the batch that this report stands in. known: batches that were verified."""
    try:
        slip = read_slip(bytes.fromhex(command.execution.signature))
        public = [notes.verifier_key(key) for key in keys]
    except ValueError:
        return False
    return any(_good(slip, slip.batch(each), public, known) for each in statements(command, worker))


def _good(slip: Slip, batch: bytes, keys: list[notes.VerifierKey], known: dict[bytes, bool]) -> bool:
    mark = slip.signature + batch + "".join(key.line for key in keys).encode()
    if mark not in known:
        if len(known) >= MAX_KNOWN:
            known.clear()
        known[mark] = any(key.verifies(slip.signature, batch) for key in keys)
    return known[mark]


MAX_KNOWN = 10_000
