"""Pushing: the accepted commit to a branch of a remote of the person's own repository, as that person.

The remote is one that the repository's configuration names; an address that somebody sends is never pushed to. A branch that
is new or that the commit goes on from is pushed; anything else is refused, since nothing is ever forced.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loom.workers import own_git
from loom.workers.git import Git, GitError, GitTimeout
from loom.workers.protocol import ErrorClass
from loom.workers.seams import Finished, HandsError, Seen
from loom.workers.workspaces.projects import user_repository
from loom.workers.workspaces.repository import check_oid, hands_error

LOOK_MS = 60_000
PUSH_MS = 15 * 60_000
REFUSED = "!"
"""How `git push --porcelain` marks a ref that was not taken (git-push(1), "OUTPUT")."""
UNKNOWN = "[remote failure]"
"""The remote did not say what became of the ref."""


@dataclass(frozen=True, slots=True)
class Push:
    """A commit to a branch of a remote. place: in the person's repository; repository: the project's own, which has it."""

    place: Path
    remote: str
    branch: str
    work: str
    repository: Path

    async def look(self) -> Seen:
        """What the remote has under this branch now."""
        check_oid(self.work)
        address = await self._address()
        where = f"{self.remote} ({own_git.shown(address)})"
        try:
            await Git(cwd=self.place).run("check-ref-format", self._ref)
            listed = await own_git.text(self.place, "ls-remote", "--refs", "--", address, self._ref, timeout_ms=LOOK_MS)
        except GitError as error:
            raise hands_error(error, f"branch {self.branch} of {where} cannot be looked at") from error
        found = listed.split("\t", 1)[0]
        if not found:
            return Seen()
        if found == self.work:
            return Seen(done=f"branch {self.branch} of {where} is at {found[:12]}")
        return await self._beside(check_oid(found), where)

    async def _beside(self, found: str, where: str) -> Seen:
        """What it means that something else is there."""
        if not await self._knows(found):
            fetch = f"`git fetch {self.remote}`, look at it, then ask again"
            return Seen(
                obstacle=f"branch {self.branch} of {where} is at {found[:12]}, which is not known here: {fetch}"
            )
        if await self._is_ancestor(self.work, found):
            return Seen(done=f"branch {self.branch} of {where} has {self.work[:12]}, and more on top of it")
        if await self._is_ancestor(found, self.work):
            return Seen()
        return Seen(obstacle=self._not_ahead(where, f"it is at {found[:12]}"))

    async def do(self) -> str:
        """The push itself."""
        refspec = f"{self.work}:{self._ref}"
        options = ("--porcelain", "--no-verify", "--no-follow-tags", "--no-force", "--no-force-with-lease")
        try:
            done = await own_git.call(
                self.place, "push", *options, "--", self.remote, refspec,
                timeout_ms=PUSH_MS, objects=self.repository / "objects",
            )  # fmt: skip
        except GitTimeout as error:
            raise HandsError(ErrorClass.TRANSIENT, f"branch {self.branch} to {self.remote}: {error.message}") from error
        if done.code:
            raise self._failed(done)
        return f"branch {self.branch} was pushed to {self.remote} at {self.work[:12]}"

    def _failed(self, done: Finished) -> HandsError:
        """Refused: then nothing was done. Anything else: nobody can say."""
        for line in done.stdout.decode(errors="replace").splitlines():
            if line.startswith(REFUSED) and UNKNOWN not in line:
                why = line.rsplit("\t", 1)[-1]
                if "non-fast-forward" in why or "fetch first" in why:
                    return HandsError(ErrorClass.PERMANENT, self._not_ahead(self.remote, why))
                sentence = f"{self.remote} does not take branch {self.branch}: {why}: {own_git.said(done)}"
                return HandsError(ErrorClass.PERMANENT, sentence)
        sentence = f"pushing branch {self.branch} to {self.remote} broke off: {own_git.said(done)}"
        return HandsError(ErrorClass.TRANSIENT, sentence)

    def _not_ahead(self, where: str, why: str) -> str:
        return (
            f"branch {self.branch} of {where} has commits that {self.work[:12]} does not go on from ({why}); nothing is ever "
            "forced: push under another name, or merge there"
        )

    # ---------------------------------------------------------------------------------------------------- questions

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.branch}"

    async def _address(self) -> str:
        """Where the remote is pushed to: one address, by the repository's configuration."""
        await user_repository(self.place)
        try:
            names = (await own_git.text(self.place, "remote", timeout_ms=LOOK_MS)).splitlines()
            if self.remote not in names:
                known = ", ".join(names) or "none"
                raise HandsError(
                    ErrorClass.PERMANENT, f"{self.place} has no remote {self.remote!r}; its remotes: {known}"
                )
            found = await own_git.text(
                self.place, "remote", "get-url", "--push", "--all", "--", self.remote, timeout_ms=LOOK_MS
            )
        except GitError as error:
            raise hands_error(error, f"the remotes of {self.place} cannot be read") from error
        addresses = found.splitlines()
        if len(addresses) != 1:
            sentence = f"remote {self.remote} has {len(addresses)} addresses to push to; loom pushes to one"
            raise HandsError(ErrorClass.PERMANENT, sentence)
        return addresses[0]

    async def _local(self) -> Git:
        user = await user_repository(self.place)
        return Git(directory=user.common, extra=own_git.alternates(self.repository / "objects"))

    async def _knows(self, commit: str) -> bool:
        code, _, _ = await (await self._local()).call("cat-file", "-e", f"{commit}^{{commit}}")
        return code == 0

    async def _is_ancestor(self, older: str, newer: str) -> bool:
        code, _, error = await (await self._local()).call("merge-base", "--is-ancestor", older, newer)
        if code not in (0, 1):
            raise HandsError(ErrorClass.PERMANENT, f"{older[:12]} and {newer[:12]} cannot be compared: {error[:200]}")
        return code == 0
