"""Git over TLS with an attempt's token: what it opens, for how long, and that the server's own key is held against the pin."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest
from msgspec import structs

from harness.fabrics import RealFabric, fabric, until
from harness.hosts import FarWorker, member
from loom.workers.git import GitError
from loom.workers.githost import Denied, check_push
from loom.workers.protocol import Accepted, Assign, Committed, End, Report, Result, Welcome, WorkspaceRef
from loom.workers.seams import HandsError
from loom.workers.workspaces import repository as repositories
from loom.workers.workspaces.repository import EMPTY_TREE, Repository, ensure, make_bare, open_repository
from loom.workers.workspaces.working import _push, commit_tree

pytestmark = pytest.mark.needs("git")
LISTENING = ("--workers", "0", "--listen", "127.0.0.1:0")
ONE, TWO = b"1" * 40, b"2" * 40


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealFabric]:
    monkeypatch.setattr(repositories, "NETWORK_WAITS_S", (0.5, 1.0))
    with fabric(tmp_path, monkeypatch, arguments=LISTENING) as made:
        yield made


async def filled(path: Path, message: str) -> str:
    """A bare repository with one commit."""
    await make_bare(path)
    repository = Repository(path)
    await repository.git.run("hash-object", "-t", "tree", "-w", "--stdin")
    commit = await commit_tree(repository, EMPTY_TREE, message, 0)
    await repository.keep(repositories.BASE_REFS + commit, commit)
    return commit


def assigned(running: RealFabric, far: FarWorker, base: str) -> Assign:
    """An attempt of a task on project p1, told to a worker elsewhere."""
    far.hello()
    far.expect(Welcome)
    order = replace(running.order("t1"), project="p1", base=base)
    assert "applied" == running.clients[0].call(order, task="t1").outcome
    assign = far.expect(Assign)
    far.say(Accepted(attempt=assign.attempt, fence=assign.fence))
    return assign


def reached(assign: Assign) -> WorkspaceRef:
    assert assign.workspace is not None
    assert assign.workspace.source.startswith("https://*:")
    return structs.replace(assign.workspace, source=assign.workspace.source.replace("*", "127.0.0.1"))


async def mirrored(folder: Path, ref: WorkspaceRef) -> Repository:
    return await open_repository(ref.source, mirrors=folder, token=ref.token, pin=ref.pin)


def test_a_token_opens_one_repository_and_one_ref_while_it_is_leased(running: RealFabric, tmp_path: Path) -> None:
    """Fetch the project's, create the own ref, and again the same; not another ref, not another repository, not after the end,
    not without the token, and not from a server with another key."""
    client = running.client()
    base = asyncio.run(filled(running.home.repos / "p1.git", "one"))
    other = asyncio.run(filled(running.home.repos / "p2.git", "two"))
    with FarWorker(member(client, tmp_path / "a", "far")) as far:
        assign = assigned(running, far, base)
        ref = reached(assign)
        asyncio.run(opened(tmp_path / "mirrors", ref, base, other))
        bare = Repository(running.home.repos / "p1.git")
        listed = asyncio.run(bare.git.text("for-each-ref", "--format=%(refname)")).split()
        assert [repositories.BASE_REFS + base, ref.publish] == sorted(listed)
        said = Result(output='{"outcome": "done", "summary": "s"}')
        far.say(Report(attempt=assign.attempt, fence=assign.fence, end=End.REPORTED, result=said, boot="b1"))
        far.expect(Committed)
        with pytest.raises(HandsError, match="403"):
            asyncio.run(fetch_anew(tmp_path / "late", ref, base))
    assert "403" in (running.home.logs / "git.log").read_text()


async def opened(folder: Path, ref: WorkspaceRef, base: str, other: str) -> None:
    repository = await mirrored(folder, ref)
    await ensure(repository, base)
    made = await commit_tree(repository, EMPTY_TREE, "the result", 0, parent=base)
    await _push(repository, ref.publish, made)
    await _push(repository, ref.publish, made)  # the answer was lost
    for name in ("refs/heads/main", "refs/loom/t1/other/1", repositories.BASE_REFS + made):
        with pytest.raises((HandsError, GitError), match="403"):
            await _push(repository, name, made)
    with pytest.raises(GitError, match=r"403|denied|stale|rejected"):
        await repository.over_network("push", "--force", repository.remote, f"{base}:{ref.publish}")
    with pytest.raises(GitError, match="403"):
        await repository.over_network("push", repository.remote, f":{ref.publish}")
    elsewhere = structs.replace(ref, source=ref.source.replace("p1.git", "p2.git"))
    wrong = ("sha256//" + "A" * 43 + "=", ref.token)
    for changed, commit, said in (
        (elsewhere, other, "403"),
        (structs.replace(ref, source=ref.source.replace("p1.git", "p1.git/../p2.git")), other, "40[34]"),
        (structs.replace(ref, token=""), base, "403"),
        (structs.replace(ref, token=ref.token[:-1] + ("0" if ref.token[-1] != "0" else "1")), base, "403"),
        (structs.replace(ref, pin=wrong[0]), base, "pinned|public key|certificate|SSL"),
    ):
        with pytest.raises(HandsError, match=said):
            await fetch_anew(folder / said[:3] / str(hash(changed)), changed, commit)


async def fetch_anew(folder: Path, ref: WorkspaceRef, commit: str) -> None:
    await ensure(await mirrored(folder, ref), commit)


def test_the_git_server_comes_back(running: RealFabric, tmp_path: Path) -> None:
    """Killed, it is started again on the same port; a fetch meanwhile waits for it. It ends with its coordinator."""
    import psutil

    client = running.client()
    base = asyncio.run(filled(running.home.repos / "p1.git", "one"))

    def servers() -> list[psutil.Process]:
        found = psutil.Process(running.home.running()).children() if running.home.running() else []
        return [each for each in found if "loom.workers.githost" in each.cmdline()]

    with FarWorker(member(client, tmp_path / "a", "far")) as far:
        ref = reached(assigned(running, far, base))
        until(lambda: bool(servers()), "it runs")
        (first,) = servers()
        first.kill()
        asyncio.run(fetch_anew(tmp_path / "mirrors", ref, base))
        (second,) = servers()
        assert first.pid != second.pid
    running.kill_coordinator()
    until(lambda: not second.is_running() or second.status() == psutil.STATUS_ZOMBIE, "it is gone", 10)


def line(text: bytes) -> bytes:
    return b"%04x%b" % (len(text) + 4, text)


OWN = b"refs/loom/t/s/1"
CREATE = b"0" * 40 + b" " + ONE + b" " + OWN
Change = Callable[[], bytes]


@pytest.mark.parametrize(
    "body",
    [
        line(CREATE + b"\0report-status") + line(CREATE.replace(OWN, b"refs/heads/x")) + b"0000",
        line(CREATE.replace(OWN, OWN + b"2") + b"\0report-status") + b"0000",
        line(CREATE.replace(b"0" * 40, TWO) + b"\0report-status") + b"0000",
        line(TWO + b" " + b"0" * 40 + b" " + OWN + b"\0report-status") + b"0000",
        line(b"shallow " + ONE) + line(CREATE) + b"0000",
        line(b"push-cert\0x") + b"0000",
        line(CREATE + b"\n" + CREATE) + b"0000",
        b"0001" + line(CREATE) + b"0000",
        line(CREATE) * 100 + b"0000",
    ],
)
def test_what_a_push_may_not_ask(body: bytes) -> None:
    """Two refs, another ref, an update, a deletion, anything that git would read as more than one creation."""
    with pytest.raises(Denied) as denied:
        check_push(io.BytesIO(body), OWN.decode())
    assert HTTPStatus.FORBIDDEN == denied.value.status


def test_what_a_push_may_ask() -> None:
    """Create the own ref; the body is read from its start afterwards. What is no push is told apart."""
    body = io.BytesIO(line(CREATE + b"\0report-status side-band-64k agent=git/2") + b"0000PACK")
    check_push(body, OWN.decode())
    assert 0 == body.tell()
    check_push(io.BytesIO(b"0000"), OWN.decode())
    with pytest.raises(Denied, match="no push"):
        check_push(io.BytesIO(b"PACK"), OWN.decode())
