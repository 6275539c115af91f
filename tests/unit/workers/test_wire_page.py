"""`docs/wire.md` is held against the code: every message is there, once, in its section, and nothing else."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

from loom.coordinator import api
from loom.workers import protocol

PAGE = Path(__file__).resolve().parents[3] / "docs" / "wire.md"
UNIONS = {
    "Worker → coordinator": protocol.FromWorker,
    "Coordinator → worker": protocol.ToWorker,
    "Blob socket": protocol.OnBlobSocket,
    "Enrol socket": protocol.OnEnrolSocket,
    "Client → coordinator": api.FromClient,
    "Coordinator → client": api.ToClient,
}


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert found, f"docs/wire.md has no section {title}"
    return found.group(1)


@pytest.mark.parametrize("title", UNIONS)
def test_every_message_has_its_line(title: str) -> None:
    """The first column of a section's table names exactly the members of its union."""
    names = re.findall(r"^\| (\w+) \|", section(title), re.M)
    assert sorted(["message", *(kind.__name__ for kind in typing.get_args(UNIONS[title]))]) == sorted(names)


@pytest.mark.parametrize("title", UNIONS)
def test_names_are_tags(title: str) -> None:
    """The name in the table is the tag on the wire."""
    for kind in typing.get_args(UNIONS[title]):
        assert kind.__name__ == kind.__struct_config__.tag


def test_the_times_are_the_codes() -> None:
    """Lease, grace, ping and their relations as the page says them."""
    times = section("Times")
    assert f"{protocol.LEASE_MS // 1000} s (`lease_ms`)" in times
    assert f"| grace | {protocol.GRACE_MS // 1000} s" in times
    assert f"| ping | {protocol.PING_MS // 1000} s |" in times
    assert protocol.PINGS_MISSED == 4
    assert protocol.grace_ms(6_000) == 1_000
    assert protocol.renew_every_ms(90_000) == 30_000
    assert "64 KiB" in PAGE.read_text(encoding="utf-8")
    assert protocol.MAX_FRAME == 64 * 1024
