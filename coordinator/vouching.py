"""A command that its person signed: the signature is checked where it enters, and the principal is then of assurance A2."""

from __future__ import annotations

from typing import get_args

import msgspec

from loom.coordinator.inbox import Request
from loom.kernel.commands import Signable
from loom.kernel.state import HomeState
from loom.kernel.values import SIGNED, Principal, find
from loom.kernel.work import Refused

SIGNABLE = frozenset(get_args(Signable))


def vouched(request: Request, home: HomeState, now_ms: int) -> Request:
    """The request, given by its person's own key. Raises Refused when the approval is not about exactly this."""
    from loom.coordinator.proof.approvals import ApprovalRefused, check  # loads the cryptography, for who signs

    who = request.principal
    person = who.acting_for or who.id
    try:
        check(
            request.command,
            origin=home.origin,
            task=request.task,
            principal=person,
            key=request.key,
            now_ms=now_ms,
            may_sign=lambda key: find(home.signers, key, "") == person,
        )
    except ApprovalRefused as refusal:
        raise Refused("bad_approval", str(refusal)) from refusal
    signed = Principal(who.id, who.kind, who.via, who.acting_for, SIGNED)
    return msgspec.structs.replace(request, principal=signed)
