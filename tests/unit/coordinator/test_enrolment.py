"""The enrol door: one message, bounded tries, an answer after COMMIT; and the address that it stands at."""

from __future__ import annotations

from typing import Any

import pytest

from loom.coordinator.doors import Address, BindRefused, read_address, server_key
from loom.coordinator.enrolment import TRIES, TRIES_MS, Enrolment, bad_label, secret_digest
from loom.coordinator.home import Home
from loom.coordinator.inbox import Outcome, Reply, Request, Turned
from loom.kernel.commands import EnrolWorker
from loom.kernel.state import HomeState, WorkerState
from loom.workers.protocol import (
    Enrol,
    Enrolled,
    Hello,
    Invitation,
    Refused,
    encode,
    encode_enrol,
    read_invitation,
    write_invitation,
)

ASK = Enrol(secret="s3cret", worker="far", low=1, high=1, host="box")


class Door:
    """An enrolment whose home can be set."""

    def __init__(self) -> None:
        self.home = HomeState()
        self.enrolment = Enrolment(home=lambda: self.home, control="tcp://*:1", log=lambda action, **fields: None)

    def ask(self, frame: bytes, at: int = 0, key: str = "key") -> Request | None:
        return self.enrolment.hear(b"@p", key, frame, at)

    def said(self) -> list[Any]:
        return [message for _, message in self.enrolment.take_outbox()]


def turned(reply: Reply) -> Turned:
    return Turned(replies=(reply,), granted=(), halts=(), first_seq=0, next_seq=1, tasks=(), due_ms=0, ready=0)


def test_a_secret_becomes_a_command_with_its_digest_only() -> None:
    """The key is the connection's; the answer waits for the commit, and is given again to a key that is enrolled."""
    door = Door()
    request = door.ask(encode_enrol(ASK))
    assert request is not None
    assert EnrolWorker("far", "key", secret_digest("s3cret"), "box") == request.command
    assert "s3cret" not in repr(request)
    assert [] == door.said()
    door.home = HomeState(workers=(WorkerState("far", "key", ("gpu",), "box"),))
    door.enrolment.settle(turned(Reply(request.key, Outcome.APPLIED, 7)))
    expected = Enrolled(worker="far", control="tcp://*:1", labels=("gpu",))
    assert [expected] == door.said()
    assert door.ask(encode_enrol(ASK)) is None
    assert [expected] == door.said()


def test_the_kernels_no_is_told() -> None:
    """With its code and sentence."""
    door = Door()
    request = door.ask(encode_enrol(ASK))
    assert request is not None
    door.enrolment.settle(turned(Reply(request.key, Outcome.REJECTED, -1, "invitation_expired", "too late")))
    assert [Refused(code="invitation_expired", sentence="too late")] == door.said()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"garbage", "malformed"),
        (encode([Hello(worker="far", boot="b", low=1, high=1, host="h", slots=1)]), "malformed"),
        (encode_enrol(Enrolled(worker="w", control="c")), "malformed"),
        (encode_enrol(Enrol(secret="s", worker="far", low=90, high=99)), "protocol"),
        (encode_enrol(Enrol(secret="s", worker="local-1", low=1, high=1)), "bad_name"),
        (encode_enrol(Enrol(secret="s", worker="../x", low=1, high=1)), "bad_name"),
    ],
)
def test_what_is_refused_before_any_turn(frame: bytes, code: str) -> None:
    """Anything but a sound Enrol costs no transaction."""
    door = Door()
    assert door.ask(frame) is None
    assert [code] == [message.code for message in door.said()]


def test_tries_are_bounded_for_everybody_together() -> None:
    """Beyond the bound the answer is "busy", whoever asks; after the time it is taken again."""
    door = Door()
    for number in range(TRIES):
        assert door.ask(encode_enrol(ASK), number, f"key{number}") is not None
    assert door.ask(encode_enrol(ASK), TRIES, "another") is None
    assert ["busy"] == [message.code for message in door.said()]
    assert door.ask(encode_enrol(ASK), TRIES_MS, "another") is not None


def test_labels_and_tokens() -> None:
    """`home` is nobody's elsewhere; a token comes back as it was, and a damaged one is told from another word."""
    assert ["", "", True, True] == [
        bad_label("gpu"),
        bad_label("a-b_2"),
        bool(bad_label("home")),
        bool(bad_label("A b")),
    ]
    invitation = Invitation(server="k" * 40, enrol="tcp://h:4753", secret="s3cret", until_ms=9)
    token = write_invitation(invitation)
    assert invitation == read_invitation(f" {token}\n")
    assert "s3cret" not in repr(invitation)
    for wrong in ("nonsense", token[:-4], "loom1.", token.replace("loom1.", "loom2.")):
        with pytest.raises(ValueError, match="token"):
            read_invitation(wrong)


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("0.0.0.0:5000", ("tcp://0.0.0.0:5000", "tcp://0.0.0.0:5003")),
        ("tcp://127.0.0.1:0", ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")),
        ("10.1.2.3", ("tcp://10.1.2.3:4750", "tcp://10.1.2.3:4753")),
        ("[::1]:6000", ("tcp://[::1]:6000", "tcp://[::1]:6003")),
    ],
)
def test_an_address(text: str, endpoints: tuple[str, str]) -> None:
    """Five ports in a row, or five free ones."""
    address = read_address(text)
    assert endpoints == (address.endpoint(0), address.endpoint(3))


@pytest.mark.parametrize("text", ["udp://1.2.3.4:5", "1.2.3.4:99999", "1.2.3.4:65535", "ipc:///x", ":4750"])
def test_no_address(text: str) -> None:
    """Refused with a sentence."""
    with pytest.raises(BindRefused, match="L050"):
        read_address(text)


def test_without_curve_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ZeroMQ that cannot tell peers apart opens no TCP port at all, not even on loopback."""
    monkeypatch.setattr("zmq.has", lambda what: False)
    with pytest.raises(BindRefused, match="CURVE"):
        read_address("127.0.0.1:0")


def test_the_server_key_is_drawn_once(home: Any) -> None:
    """Private, and never in a repr."""
    keys = Home(home).make().keys
    key = server_key(keys)
    assert key == server_key(keys)
    assert 0o600 == (keys / "server.key").stat().st_mode & 0o777
    assert key.secret not in repr(key)
    assert Address("h", 1).endpoint(1) == "tcp://h:2"
