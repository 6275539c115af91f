"""The client wire: what CLI, HTTP server, bots and agent hosts say to the coordinator, as a closed msgspec union.

Every message carries a token, because ZeroMQ gives no peer identity on ipc. A command travels as the codec's canonical
`[kind, fields]` bytes with the texts that it names. Reads do not go this way: see coordinator/queries.py.
"""

from __future__ import annotations

import msgspec

from loom.workers.protocol import Text, decoded


class ClientWire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t"):
    """Base of every client message. `token` of a person or of a transport that acts for one."""


class Call(ClientWire, frozen=True, kw_only=True, tag="Call"):
    """Ask for a command. `key`: the idempotency key; a re-send with the same key and body gives the recorded outcome.

    via: the surface; acting_for: the person whom a delegated transport acts for.
    """

    token: str
    key: str
    via: str
    command: msgspec.Raw
    task: str = ""
    acting_for: str = ""
    nonce: str = ""
    texts: tuple[Text, ...] = ()


class Watch(ClientWire, frozen=True, kw_only=True, tag="Watch"):
    """Be poked when entries are committed and be sent live progress ("" : of every task), until Unwatch or 60 s silence."""

    token: str
    task: str = ""


class Unwatch(ClientWire, frozen=True, kw_only=True, tag="Unwatch"):
    token: str


class Describe(ClientWire, frozen=True, kw_only=True, tag="Describe"):
    """The volatile state: version, epoch, workers, queue, leases, provider waits, names of secrets in the environment. task:
    also where the waiting attempts of this task stand."""

    token: str
    nonce: str = ""
    task: str = ""


class Leave(ClientWire, frozen=True, kw_only=True, tag="Leave"):
    """Drain and exit. workers: also let the local workers go."""

    token: str
    workers: bool = False


class Answered(ClientWire, frozen=True, kw_only=True, tag="Answered"):
    """outcome: applied, objected, rejected, duplicate; code and sentence for what is not applied."""

    key: str
    outcome: str
    seq: int = -1
    code: str = ""
    sentence: str = ""
    task: str = ""
    was: str = ""
    nonce: str = ""
    """Of the Call that is answered: a late answer to an earlier question with the same key is told apart."""


class Poke(ClientWire, frozen=True, kw_only=True, tag="Poke"):
    """Entries below next_seq are committed: read on."""

    next_seq: int


class Live(ClientWire, frozen=True, kw_only=True, tag="Live"):
    """Lossy progress of a running attempt; decides nothing."""

    task: str
    attempt: str
    kind: str
    note: str = ""
    output_tokens: int = 0
    cost_microusd: int | None = None


class Description(ClientWire, frozen=True, kw_only=True, tag="Description"):
    status: msgspec.Raw
    nonce: str = ""


class Denied(ClientWire, frozen=True, kw_only=True, tag="Denied"):
    """No such token, not allowed, malformed, too large: stable code, sentence."""

    code: str
    sentence: str
    key: str = ""


FromClient = Call | Watch | Unwatch | Describe | Leave
ToClient = Answered | Poke | Live | Description | Denied

_encoder = msgspec.json.Encoder()
_from_client: msgspec.json.Decoder[FromClient] = msgspec.json.Decoder(FromClient)
_to_client: msgspec.json.Decoder[ToClient] = msgspec.json.Decoder(ToClient)


def encode(message: FromClient | ToClient) -> bytes:
    """One frame."""
    return _encoder.encode(message)


def decode_from_client(frame: bytes) -> FromClient:
    """Raises Malformed on anything outside the union."""
    return decoded(_from_client, frame)


def decode_to_client(frame: bytes) -> ToClient:
    """Raises as `decode_from_client`."""
    return decoded(_to_client, frame)
