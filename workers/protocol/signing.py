"""What a worker signs of its reports, and the slip that carries it in `Report.signature`.

    statement   of one report: one line of JSON, made of what the entry will hold word for word
    batch       SHA-256 over a title and the SHA-256 of each statement, of at most BATCH reports that were kept together
    slip        signature (64 bytes, Ed25519 over the batch) ‖ place (1) ‖ digests of the other statements (32 each)

So one signature is made for the reports of one fsync, and each report can be checked without the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

BATCH = 8
"""Reports under one signature at most."""
TITLE = b"loom worker reports/1\n"
SIGNATURE_BYTES, DIGEST_BYTES = 64, 32

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
            "error": error,
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
