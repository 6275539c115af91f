"""Effects on real repositories: look first, never done twice, never forced, and a failure says whether nothing was done."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from harness.cli import git, repository
from loom.workers import effects, own_git
from loom.workers.protocol import ErrorClass, Input, WorkspaceRef
from loom.workers.seams import HandsError
from loom.workers.workspaces import fetch_project

pytestmark = pytest.mark.needs("git")

BRANCH = "loom/task1"
LOST = "task1/finalize.2/push#1"


class Shop:
    """A person's repository with a bare remote `origin` that counts pushes, and a commit of loom's that only the home has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = repository(root / "shop", {"a.txt": "one\n"})
        self.remote = root / "remote.git"
        git(root, "init", "--quiet", "--bare", "--initial-branch", "main", str(self.remote))
        git(self.place, "remote", "add", "origin", str(self.remote))
        self.hook("post-receive", f"cat >> {root}/pushes")
        self.base = git(self.place, "rev-parse", "HEAD")
        self.home = root / "home"
        self.work = ""

    async def prepare(self) -> Shop:
        """The home's own repository, with the accepted commit."""
        fetched = await fetch_project(self.home, "shop", self.place)
        self.private = fetched.repository
        tree = git(self.private, "rev-parse", f"{self.base}^{{tree}}")
        self.work = self.commit(self.private, tree, self.base, "the work")
        return self

    def commit(self, where: Path, tree: str, parent: str, message: str) -> str:
        return git(where, "commit-tree", tree, "-p", parent, "-m", message)

    def hook(self, name: str, body: str) -> None:
        path = self.remote / "hooks" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    @property
    def pushes(self) -> int:
        """How many refs the remote took."""
        path = self.root / "pushes"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def at(self, branch: str = BRANCH) -> str:
        return git(self.remote, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    async def perform(self, kind: str = "push", reconciles: str = "", **said: str) -> str:
        effect = {"kind": kind, "place": str(self.place), "branch": BRANCH, "work": self.work}
        effect |= {"remote": "origin"} if kind == "push" else {}
        ref = WorkspaceRef(source=str(self.private), commit=self.work, base=self.base)
        value = json.dumps(effect | said)
        return await effects.perform([Input(name="effect", media="json", value=value)], ref, reconciles)

    async def refused(self, kind: str = "push", reconciles: str = "", **said: str) -> tuple[ErrorClass, str]:
        with pytest.raises(HandsError) as caught:
            await self.perform(kind, reconciles, **said)
        return caught.value.error_class, caught.value.message


@pytest.fixture
async def shop(tmp_path: Path) -> Shop:
    return await Shop(tmp_path).prepare()


# ------------------------------------------------------------------------------------------------------------- push


async def test_a_push_is_done_once(shop: Shop) -> None:
    """The remote gets the commit, which the person's own repository need not have; the second time is a look."""
    assert f"branch {BRANCH} was pushed to origin at {shop.work[:12]}" == await shop.perform()
    assert (shop.work, 1) == (shop.at(), shop.pushes)
    assert f"branch {BRANCH} of origin ({shop.remote}) is at {shop.work[:12]}" == await shop.perform()
    assert 1 == shop.pushes


async def test_a_reconcile_finds_what_was_done(shop: Shop) -> None:
    """After a push whose report was lost nothing is pushed; after one that never came through it is."""
    await shop.perform()
    assert (await shop.perform(reconciles=LOST)).endswith(f"is at {shop.work[:12]}, by {LOST} or somebody else")
    assert 1 == shop.pushes
    assert (await shop.perform(reconciles=LOST, branch="other")).endswith(f"({LOST} had not)")
    assert (2, shop.work) == (shop.pushes, shop.at("other"))


async def test_a_reconcile_that_cannot_look_does_nothing(shop: Shop) -> None:
    """The remote is away: nothing is pushed, and the sentence says that the doubt stands."""
    shop.remote.rename(shop.root / "away.git")
    error_class, sentence = await shop.refused(reconciles=LOST)
    assert (ErrorClass.PERMANENT, True) == (error_class, sentence.startswith(f"whether {LOST} did it cannot be seen"))
    error_class, sentence = await shop.refused()
    assert (ErrorClass.PERMANENT, "remote.git" in sentence) == (error_class, True)


async def test_what_somebody_built_on_it_is_done(shop: Shop) -> None:
    """The branch went on from our commit: it has arrived, and nothing is taken back."""
    await shop.perform()
    git(shop.place, "fetch", "--quiet", "origin")
    later = shop.commit(shop.place, git(shop.place, "rev-parse", f"{shop.work}^{{tree}}"), shop.work, "on top")
    git(shop.place, "push", "--quiet", "origin", f"{later}:refs/heads/{BRANCH}")
    assert "and more on top of it" in await shop.perform(reconciles=LOST)
    assert (later, 2) == (shop.at(), shop.pushes)


async def test_a_branch_goes_on_from_what_is_there(shop: Shop) -> None:
    """A fast-forward is a push."""
    git(shop.place, "push", "--quiet", "origin", f"{shop.base}:refs/heads/{BRANCH}")
    await shop.perform()
    assert (shop.work, 2) == (shop.at(), shop.pushes)


@pytest.mark.parametrize("known", [True, False])
async def test_nothing_is_forced(shop: Shop, known: bool) -> None:
    """Another commit is there, known here or not: refused with a sentence, and the remote keeps what it has."""
    where = shop.place
    if not known:
        git(shop.root, "clone", "--quiet", str(shop.place), "other")
        where = shop.root / "other"
    other = shop.commit(where, git(where, "rev-parse", f"{shop.base}^{{tree}}"), shop.base, "another")
    git(where, "push", "--quiet", str(shop.remote), f"{other}:refs/heads/{BRANCH}")
    error_class, sentence = await shop.refused()
    wanted = "nothing is ever forced: push under another name" if known else "`git fetch origin`, look at it"
    assert (ErrorClass.PERMANENT, True) == (error_class, wanted in sentence), sentence
    assert (other, 1) == (shop.at(), shop.pushes)


async def test_what_comes_between_look_and_push_is_not_forced(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """git itself refuses what the look did not see yet."""
    from loom.workers.pushing import Push
    from loom.workers.seams import Seen

    async def blind(self: Push) -> Seen:
        return Seen()

    other = shop.commit(shop.place, git(shop.place, "rev-parse", f"{shop.base}^{{tree}}"), shop.base, "another")
    git(shop.place, "push", "--quiet", "origin", f"{other}:refs/heads/{BRANCH}")
    monkeypatch.setattr(Push, "look", blind)
    error_class, sentence = await shop.refused()
    assert (ErrorClass.PERMANENT, True, other) == (error_class, "nothing is ever forced" in sentence, shop.at())


async def test_a_remote_that_declines_says_why(shop: Shop) -> None:
    """Its hook's words reach the person, and nothing was done."""
    shop.hook("pre-receive", "echo 'only on Mondays' >&2; exit 1")
    error_class, sentence = await shop.refused()
    assert (ErrorClass.PERMANENT, True, "") == (error_class, "only on Mondays" in sentence, shop.at())


async def test_a_push_that_breaks_off_is_a_doubt(shop: Shop) -> None:
    """The remote took it and died before it said so: no certain word, in either direction."""
    shop.hook("post-receive", f"cat >> {shop.root}/pushes; kill -9 $PPID")
    error_class, sentence = await shop.refused()
    assert (ErrorClass.TRANSIENT, True) == (error_class, "broke off" in sentence)
    assert (shop.work, 1) == (shop.at(), shop.pushes)
    await shop.perform(reconciles=LOST)
    assert 1 == shop.pushes


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"remote": "upstream"}, "has no remote 'upstream'; its remotes: origin"),
        ({"remote": "--all"}, "has no remote '--all'"),
        ({"remote": "file:///tmp/x.git"}, "has no remote"),
        ({"branch": "a..b"}, "cannot be looked at"),
        ({"branch": ""}, "cannot be looked at"),
        ({"work": "HEAD"}, "is not a commit id"),
        ({"place": ""}, "is no git repository"),
        ({"place": "/nowhere"}, "is not in a git repository"),
        ({"kind": "publish"}, "knows no such effect"),
        ({"force": "yes"}, "knows no such effect"),
    ],
)
async def test_what_cannot_be_pushed_is_refused(shop: Shop, said: dict[str, str], words: str) -> None:
    """Only to a remote that the repository names, only a branch, only a commit."""
    error_class, sentence = await shop.refused(**said)
    assert (ErrorClass.PERMANENT, True) == (error_class, words in sentence), sentence
    assert 0 == shop.pushes


async def test_several_addresses_are_refused(shop: Shop) -> None:
    """One push is one effect."""
    git(shop.place, "remote", "set-url", "--add", "--push", "origin", str(shop.remote))
    git(shop.place, "remote", "set-url", "--add", "--push", "origin", "/other.git")
    assert "2 addresses" in (await shop.refused())[1]


async def test_no_hook_of_the_persons_runs(shop: Shop) -> None:
    """Whoever wrote into the repository's hooks has no word in what loom runs."""
    hook = shop.place / ".git" / "hooks" / "pre-push"
    hook.write_text(f"#!/bin/sh\ntouch {shop.root}/ran\n")
    hook.chmod(0o755)
    await shop.perform()
    assert not (shop.root / "ran").exists()


async def test_it_is_the_persons_own_git(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person's configuration counts: an address that it rewrites leads where it leads for the person."""
    config = shop.root / "gitconfig"
    config.write_text(f'[url "{shop.root}/"]\n\tinsteadOf = shop:\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    git(shop.place, "remote", "set-url", "origin", "shop:remote.git")
    await shop.perform()
    assert (shop.work, 1) == (shop.at(), shop.pushes)


def test_what_git_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person's ways to a remote, not the traces of a git that called us, and nobody to prompt."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_CONFIG_COUNT", "LOOM_HOME", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "7")
    found = own_git.environment({})
    assert {"GIT_SSH_COMMAND", "SSH_AUTH_SOCK", "PATH"} <= set(found)
    assert not {"GIT_DIR", "GIT_INDEX_FILE", "LOOM_HOME"} & set(found)
    assert ("0", str(len(own_git.FORCED))) == (found["GIT_TERMINAL_PROMPT"], found["GIT_CONFIG_COUNT"])


def test_passwords_are_not_shown() -> None:
    """What stands before the @ of an address is nobody's to read."""
    assert "https://example.org/x and ssh://h/y" == own_git.shown("https://ann:secret@example.org/x and ssh://git@h/y")


# ----------------------------------------------------------------------------------------------------------- branch


async def test_a_branch_is_made_once(shop: Shop) -> None:
    """Absent: made. Equal: found, also by a reconcile. Other: refused, and nothing is changed."""
    assert f"branch {BRANCH} was made in {shop.place}" == await shop.perform("branch")
    assert f"branch {BRANCH} was there already in {shop.place}" == await shop.perform("branch")
    assert (await shop.perform("branch", LOST)).endswith(f", by {LOST} or somebody else")
    git(shop.place, "branch", "--force", BRANCH, shop.base)
    error_class, sentence = await shop.refused("branch")
    assert (ErrorClass.PERMANENT, True) == (error_class, "nothing was changed" in sentence)
    assert shop.base == git(shop.place, "rev-parse", BRANCH)


async def test_without_a_repository_the_result_stays(shop: Shop) -> None:
    """A delivery into nothing is done at once."""
    assert "the result is kept in the home" in await shop.perform("branch", place="")


async def test_an_assignment_without_effect_is_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(HandsError, match="names no effect"):
        await effects.perform([], None)


def test_alternates_are_quoted() -> None:
    """A colon or a quotation mark in a path is part of the path."""
    assert {"GIT_ALTERNATE_OBJECT_DIRECTORIES": '"/a:b/\\\\"\\\\"c"'.replace("\\\\", "\\")} == own_git.alternates(
        Path('/a:b/""c')
    )
    assert os.sep == "/"
