"""Approvals: a person's own key signs exactly one command, once, for this log, until a time.

The payload is canonical JSON. `command` is the digest of the command's bytes without the approval itself, so it binds all
of it (findings accepted with their reasons, raised budgets, a person's own commit); of an answer, what the person decides on
stands there in words as well. `key` is the command's idempotency key, which makes one entry at most: a signature that is
sent again is a duplicate, and under another key, task, gate, log or name it is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import msgspec

from loom.coordinator.codec import encode_command
from loom.coordinator.errors import CodecError
from loom.coordinator.proof import sshsig
from loom.kernel.commands import Answer, Command, Signable
from loom.kernel.values import Approval

TYPE = "loom.approval/1"
"""Of the payload; the namespace of its SSH signature, too."""
SSHSIG = "sshsig"
VALID_MS = 10 * 60_000
"""How long a signature may wait for its entry, unless its maker says otherwise."""
MAX_VALID_MS = 24 * 3_600_000


class ApprovalRefused(ValueError):
    """An approval does not approve this."""


def payload(command: Signable, *, origin: str, task: str, principal: str, key: str, not_after_ms: int) -> str:
    """What is signed: canonical JSON, one line."""
    about: dict[str, str | int] = {
        "action": type(command).__name__,
        "command": command_digest(command),
        "key": key,
        "not_after_ms": not_after_ms,
        "origin": origin,
        "principal": principal,
        "task": task,
        "type": TYPE,
    }
    if isinstance(command, Answer):
        about |= {
            "base": command.base,
            "change": command.change,
            "gate": command.gate,
            "policy_digest": command.policy_digest,
            "root": command.root,
            "subject": command.subject,
            "word": command.word.value,
        }
    return msgspec.json.encode(about, order="sorted").decode()


def command_digest(command: Signable) -> str:
    """Hex SHA-256 of the command's canonical bytes, without its approval."""
    return hashlib.sha256(encode_command(replace(command, approval=None))).hexdigest()


def approval(payload: str, public: str, signature: str) -> Approval:
    """The approval as it stands in a command."""
    return Approval(payload=payload, type=TYPE, scheme=SSHSIG, parts=(public, signature))


def check(
    command: Command, *, origin: str, task: str, principal: str, key: str, now_ms: int, may_sign: Callable[[str], bool]
) -> str:
    """The public key that signed exactly this command, in time. may_sign: whether a key signs for the principal.

    Raises ApprovalRefused.
    """
    if not isinstance(command, Signable) or command.approval is None:
        raise ApprovalRefused("there is no approval here")
    given = command.approval
    if given.type != TYPE or given.scheme != SSHSIG or len(given.parts) != 2:
        raise ApprovalRefused(f"an approval of type {given.type[:40]} and scheme {given.scheme[:40]} is not known here")
    try:
        not_after_ms = int(msgspec.json.decode(given.payload, type=_Time).not_after_ms)
        expected = payload(command, origin=origin, task=task, principal=principal, key=key, not_after_ms=not_after_ms)
    except (msgspec.MsgspecError, CodecError, ValueError) as error:
        raise ApprovalRefused(f"the payload of the approval cannot be read: {error}") from error
    if given.payload != expected:
        raise ApprovalRefused(f"the approval is about something else: {_difference(given.payload, expected)}")
    if not now_ms <= not_after_ms <= now_ms + MAX_VALID_MS:
        raise ApprovalRefused("the approval is too old, or made for too long")
    public, signature = given.parts
    if not may_sign(public):
        raise ApprovalRefused(f"its key does not sign for {principal}")
    try:
        sshsig.check(signature, public, TYPE, given.payload.encode())
    except sshsig.SignatureRefused as error:
        raise ApprovalRefused(str(error)) from error
    return public


class _Time(msgspec.Struct):
    not_after_ms: int


def _difference(given: str, expected: str) -> str:
    """The first name whose values differ."""
    there, wanted = msgspec.json.decode(given), msgspec.json.decode(expected)
    for name in wanted:
        if there.get(name) != wanted[name]:
            return f"{name} is {str(there.get(name))[:80]!r}, not {str(wanted[name])[:80]!r}"
    return "it says more than it has to"
