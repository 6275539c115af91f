"""What a worker signs of its reports, and the slip that carries it in `Report.signature`.

    statement   of one report: one line of JSON, made of what the entry will hold word for word
    batch       SHA-256 over a title and the SHA-256 of each statement, of at most BATCH reports that were kept together
    slip        signature (64 bytes, Ed25519 over the batch) ‖ place (1) ‖ digests of the other statements (32 each)

So one signature is made for the reports of one fsync, and each report can be checked without the others.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from loom.workers.protocol.messages import Report
from loom.workers.protocol.parts import Result, salted_id

BATCH = 8
"""Reports under one signature at most."""
TITLE = b"loom worker reports/1\n"
SIGNATURE_BYTES, DIGEST_BYTES = 64, 32
INLINE_BYTES = 256
"""A longer output is recorded under an id (the kernel's INLINE_TEXT_BYTES; a test holds both together)."""

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Slip:
    """One report's share of a signed batch."""

    signature: bytes
    place: int
    others: tuple[bytes, ...]

    def batch(self, statement: bytes) -> bytes:
        """What was signed, if this is the report's statement."""
        mine = hashlib.sha256(statement).digest()
        return batch_of([*self.others[: self.place], mine, *self.others[self.place :]])

    @property
    def bytes(self) -> bytes:
        return self.signature + bytes([self.place]) + b"".join(self.others)


def statement(
    *,
    worker: str,
    boot: str,
    attempt: str,
    fence: int,
    end: str,
    error: str,
    output: str,
    subject: str,
    work: str,
    change: str,
    texts: tuple[str, str, str],
    statements: Sequence[tuple[str, str, str]],
    usage: tuple[int, int, int, int, int | None],
) -> bytes:
    """output: the text when it is short, else its id. texts: ids of diff, prompt, transcript. statements: kind, outcome,
    id of the output. usage: input, output and cached tokens, calls, cost in micro-units."""
    return _encode(
        {
            "attempt": attempt,
            "boot": boot,
            "change": change,
            "end": end,
            "error": "" if end == "reported" else error,  # a report that can be read has no class of error
            "fence": fence,
            "output": output,
            "statements": statements,
            "subject": subject,
            "texts": texts,
            "usage": usage,
            "work": work,
            "worker": worker,
        }
    )


def said(report: Report, worker: str) -> bytes:
    """The statement of a report, as the worker that sends it makes it."""
    result = report.result or Result()
    change, usage = result.change, report.usage
    return statement(
        worker=worker,
        boot=report.boot,
        attempt=report.attempt,
        fence=report.fence,
        end=report.end.value,
        error=report.error_class.value,
        output=output_as_recorded(report, result.output),
        subject=change.tree if change else result.tree,
        work=change.commit if change else "",
        change=change.digest if change else "",
        texts=(change.diff if change else "", report.prompt, report.transcript),
        statements=[(each.kind, each.outcome, each.output) for each in result.statements],
        usage=(usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.calls, usage.cost_microusd),
    )


def output_as_recorded(report: Report, output: str) -> str:
    """The output when it is short, else the id that it is recorded under."""
    data = output.encode(errors="replace")
    if len(data) <= INLINE_BYTES:
        return data.decode()
    return salted_id(derived_salt(drawn_salt(report), "output"), data)


def drawn_salt(report: Report) -> bytes:
    """What the worker drew for its texts; of a report without texts, what nobody else has."""
    return b"".join([text.salt for text in report.texts]) or f"{report.boot}{report.attempt}".encode()


def derived_salt(drawn: bytes, name: str) -> bytes:
    """The salt of a text that is split out of a report: the same whenever the report comes."""
    return hashlib.sha256(b"loom text\x00" + drawn + name.encode()).digest()[:16]


def verifier_line(name: str, public: bytes) -> str:
    """A public key with its name, as signed notes have them: `<name>+<key id>+<base64(1 ‖ public key)>`."""
    typed = b"\x01" + public
    identifier = hashlib.sha256(f"{name}\n".encode() + typed).hexdigest()[:8]
    return f"{name}+{identifier}+{base64.b64encode(typed).decode()}"


def batch_of(digests: Sequence[bytes]) -> bytes:
    """The digest that is signed."""
    return hashlib.sha256(TITLE + b"".join(digests)).digest()


def slips(statements: Sequence[bytes], signer: Callable[[bytes], bytes]) -> list[Slip]:
    """One for each statement, in their order; one signature for every BATCH of them."""
    found = []
    for first in range(0, len(statements), BATCH):
        digests = [hashlib.sha256(each).digest() for each in statements[first : first + BATCH]]
        signature = signer(batch_of(digests))
        found += [Slip(signature, place, (*digests[:place], *digests[place + 1 :])) for place in range(len(digests))]
    return found


def read_slip(data: bytes) -> Slip:
    """The slip of a report's signature. Raises ValueError."""
    others = data[SIGNATURE_BYTES + 1 :]
    count, rest = divmod(len(others), DIGEST_BYTES)
    if len(data) <= SIGNATURE_BYTES or rest or count >= BATCH or data[SIGNATURE_BYTES] > count:
        raise ValueError("this is no worker's signature")
    digests = tuple(others[place : place + DIGEST_BYTES] for place in range(0, len(others), DIGEST_BYTES))
    return Slip(data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES], digests)
