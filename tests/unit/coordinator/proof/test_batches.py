"""Workers' signatures: what a report becomes is what its worker signed, whatever is in it; nothing else verifies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from loom.coordinator.admission import admit
from loom.coordinator.inbox import Outcome, Reply, Request
from loom.coordinator.proof.batches import key_of, signed_by_one_of
from loom.coordinator.proof.checking import ReportCheck
from loom.kernel.commands import AttemptEnded
from loom.kernel.flow import Agent
from loom.kernel.limits import INLINE_TEXT_BYTES
from loom.kernel.state import HomeState
from loom.kernel.values import Capability
from loom.kernel.values import Usage as Spent
from loom.workers.protocol import Change, End, ErrorClass, Report, Result, Statement, Text, Usage, salted_id
from loom.workers.protocol.signing import BATCH, INLINE_BYTES, read_slip
from loom.workers.signer import KEY, Signer

AGENT = Agent("writer", Capability.EDIT, outcomes=("done",), prompt="p", output="Work")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer("w1", tmp_path_factory.mktemp("worker"))


def texts(*data: bytes) -> tuple[Text, ...]:
    return tuple(
        Text(id=salted_id(b"salt" + each[:4], each), salt=b"salt" + each[:4], size=len(each), data=each)
        for each in data
    )


def report(number: int = 1, output: str = '{"outcome":"done"}', **more: Any) -> Report:
    brought = texts(b"diff", b"prompt", b"transcript", b"checked")
    diff, prompt, transcript, checked = (each.id for each in brought)
    result = Result(
        output=output,
        change=Change(base="b", commit="c", tree="t", digest="d", diff=diff, paths=()),
        statements=(Statement(kind="check.test", outcome="passed", summary="well", output=checked),),
    )
    return Report(
        attempt=f"t1/work.1/writer#{number}", fence=number, end=End.REPORTED, result=result, usage=Usage(input_tokens=3, calls=1),
        boot="boot", prompt=prompt, transcript=transcript, texts=brought, **more,
    )  # fmt: skip


def command(signed: Report, agent: Agent | None = AGENT) -> AttemptEnded:
    found = admit(signed, "w1", agent).command
    assert isinstance(found, AttemptEnded)
    return found


def good(of: AttemptEnded, *keys: str) -> bool:
    return signed_by_one_of(of, "w1", keys, {})


OUTPUTS = st.one_of(
    st.sampled_from(['{"outcome":"done"}', "", "no json", '{"outcome":"done","summary":"' + "ä" * 200 + '"}', "\ud800", "x" * 256, "x" * 257]),
    st.text(max_size=600),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    output=OUTPUTS,
    end=st.sampled_from(list(End)),
    error=st.sampled_from(list(ErrorClass)),
    bare=st.booleans(),
    cost=st.one_of(st.none(), st.integers(0, 10**9)),
)
def test_whatever_is_reported_verifies(
    signer: Signer, output: str, end: End, error: ErrorClass, bare: bool, cost: int | None
) -> None:
    """Every end, error class and output, readable or not, with texts or without: the command is what was signed."""
    made = structs.replace(report(output=output), end=end, error_class=error, usage=Usage(cost_microusd=cost))
    if bare:
        made = structs.replace(made, result=Result(output=output), texts=(), prompt="", transcript="")
    (signed,) = signer.sign([made])
    assert good(command(signed), signer.line)


def test_one_signature_for_a_batch(signer: Signer) -> None:
    """Twenty reports have three signatures; each report verifies by itself, without the others."""
    signed = signer.sign([report(number) for number in range(1, 21)])
    assert 3 == len({read_slip(each.signature).signature for each in signed})
    assert BATCH == 8
    assert all(good(command(each), signer.line) for each in signed)
    assert INLINE_TEXT_BYTES == INLINE_BYTES


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "other"},
        {"work": "other"},
        {"change": "other"},
        {"fence": 9},
        {"attempt": 9},
        {"spawn": "t1/work.2/writer"},
        {"statements": ()},
        {"usage": Spent(input_tokens=4, calls=1)},
    ],
)
def test_what_was_not_signed(signer: Signer, tmp_path: Path, change: dict[str, Any]) -> None:
    """Another word in the record, another worker, another key, no key, a damaged slip: not signed."""
    (signed,) = signer.sign([report()])
    found = command(signed)
    assert not good(replace(found, **change), signer.line)
    assert not signed_by_one_of(found, "w2", [signer.line], {})
    assert not good(found, Signer("w1", tmp_path).line)
    assert not good(found)
    for signature in ("", "zz", found.execution.signature[:-2], found.execution.signature + "00", "00" * 65):
        assert not good(replace(found, execution=replace(found.execution, signature=signature)), signer.line)


def test_a_workers_key_is_its_own(tmp_path: Path) -> None:
    """Drawn once, private, of the worker's name; a damaged one is named."""
    first = Signer("w1", tmp_path)
    assert first.line == Signer("w1", tmp_path).line
    assert 0o600 == (tmp_path / KEY).stat().st_mode & 0o777
    assert (True, False, False) == (key_of(first.line, "w1"), key_of(first.line, "w2"), key_of("x", "w1"))
    (tmp_path / KEY).write_bytes(b"short")
    with pytest.raises(ValueError, match=KEY):
        Signer("w1", tmp_path)


def test_the_check_after_commit(signer: Signer) -> None:
    """Signed and committed: looked at; wrong ones are logged. What made no entry, or has no signature, is not."""
    said: list[dict[str, Any]] = []
    check = ReportCheck(lambda action, **fields: said.append({"action": action, **fields}))
    (signed,) = signer.sign([report()])
    request = admit(signed, "w1", AGENT)
    wrong = structs.replace(request, key="wrong", command=replace(command(signed), subject="other"))
    lost, bare = structs.replace(wrong, key="lost"), admit(report(), "w1", AGENT)
    group: list[Request] = [request, wrong, lost, bare]
    replies = [Reply(each.key, Outcome.APPLIED, -1 if each is lost else 5) for each in group]
    check.take(group, replies)
    assert 1 == check.look(HomeState(hands=((signer.line, "w1"),)))
    assert [{"action": "signature_wrong", "worker": "w1", "attempt": "t1/work.1/writer#1"}] == said
    assert 0 == check.look(HomeState(hands=((signer.line, "w1"),)))
