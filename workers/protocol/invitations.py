"""The token of `loom workers token`: all that a worker on another host needs to come in once. To be kept as a password is."""

from __future__ import annotations

import base64
import binascii

import msgspec

PREFIX = "loom1."
MAX_TOKEN = 2_048


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """server: the coordinator's public CURVE key, Z85; enrol: tcp://HOST:PORT; secret: works once; until_ms: Unix time."""

    server: str
    enrol: str
    secret: str
    until_ms: int

    def __repr__(self) -> str:
        return f"Invitation({self.enrol})"


_decoder = msgspec.json.Decoder(Invitation)


def write_invitation(invitation: Invitation) -> str:
    """The token: one word."""
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(invitation)).decode().rstrip("=")


def read_invitation(token: str) -> Invitation:
    """What a token says. Raises ValueError with a sentence."""
    text = "".join(token.split())
    if not text.startswith(PREFIX) or len(text) > MAX_TOKEN:
        raise ValueError(f"this is no token of `loom workers token`: those begin with {PREFIX}")
    encoded = text.removeprefix(PREFIX)
    try:
        found = _decoder.decode(base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise ValueError("this token is damaged: copy it whole, or make another one") from error
    if not found.enrol.startswith("tcp://") or len(found.server) != 40:
        raise ValueError("this token is damaged: it names no address or no key")
    return found
