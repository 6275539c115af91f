"""The command line as a person has it: `loom` in a child process, in a directory, with an environment of its own.

    loom = Cli(tmp_path)                       # HOME, configuration and PATH are the test's; no key, no login
    project = sample(tmp_path / "project")     # the demo's project as a git repository
    done = loom("run", "Do it", "--model", f"*=recorded:{replies}", cwd=project)
    assert done.code == 0, done

Coordinators and workers that were started are stopped by `close` (use the fixture in tests/e2e/conftest.py).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

DEMO = Path(__file__).resolve().parents[2] / "transports" / "cli" / "demo"
REPLIES = DEMO / "replies.jsonl"
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@dataclass(frozen=True, slots=True)
class Done:
    """What a command came to."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it has to be."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"loom {' '.join(self.args)}: exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


@dataclass
class Cli:
    """Runs `loom` for one test. `environ`: what is added to the bare environment."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        *args: str,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float = 90,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """One command line, to its end. stdin None: closed."""
        done = subprocess.run(
            self.argv(*args),
            cwd=cwd or self.root,
            env=self.environment(env),
            input=stdin.encode() if stdin is not None else None,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Done(
            args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="surrogateescape")
        )

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "loom.transports.cli.main", *args]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Nothing of the developer's: no key, no login, no settings, no git identity."""
        home = self.root / "user"
        home.mkdir(exist_ok=True)
        bare = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "OLLAMA_HOST": "127.0.0.1:9",
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_RUNTIME_DIR": str(_private(home / "run")),
            "LOOM_TEST_ROOT": str(self.root),
            "LOOM_MACHINE_SLOTS": "-1",
        }
        return {**bare, **self.environ, **(more or {})}

    def processes(self) -> list[psutil.Process]:
        """Every coordinator and worker that this test's commands have left running, by their environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("LOOM_TEST_ROOT") == str(self.root):
                    found.append(process)
        return found

    def close(self) -> None:
        """Ends what was left running."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(self.processes(), timeout=5)


def _private(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def git(where: Path, *args: str) -> str:
    """git's standard output, stripped; no configuration but the repository's own."""
    done = subprocess.run(
        ["git", *args],
        cwd=where,
        env={**os.environ, **IDENTITY},
        capture_output=True,
        timeout=30,
        check=True,
    )
    return done.stdout.decode(errors="surrogateescape").strip()


def repository(where: Path, files: Mapping[str, str | bytes]) -> Path:
    """A git repository with one commit of these files."""
    for name, content in files.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return commit_all(where)


def commit_all(where: Path) -> Path:
    """Makes a repository of a directory as it is."""
    git(where, "init", "--quiet", "--initial-branch", "main")
    git(where, "add", "--all")
    git(where, "commit", "--quiet", "--message", "As it was")
    return where


def sample(where: Path) -> Path:
    """The demo's project: two of its six tests fail."""
    shutil.copytree(DEMO / "sample", where, ignore=shutil.ignore_patterns("__pycache__"))
    (where / "gitignore").rename(where / ".gitignore")
    return commit_all(where)


class Script:
    """A file of replies in the making: the demo's, or an empty one."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self.lines = lines

    @classmethod
    def of_demo(cls) -> Script:
        """The replies of `loom demo`."""
        return cls([json.loads(line) for line in REPLIES.read_text(encoding="utf-8").splitlines()])

    @classmethod
    def empty(cls) -> Script:
        return cls([{"loom_replies": 1, "kind": "scripted", "note": "a test's"}])

    def change(self, agent: str, change: Callable[[dict[str, Any]], None], *, iteration: int | None = None) -> Script:
        """Applies `change` to every final reply (one that calls no tool) of an agent, or of one iteration of it."""
        hit = 0
        for line in self.lines[1:]:
            final = line["agent"] == agent and isinstance(line["reply"].get("text"), dict)
            if final and (iteration is None or line.get("iteration") == iteration):
                change(line["reply"]["text"])
                hit += 1
        assert hit, f"no reply of {agent} in iteration {iteration}"
        return self

    def drop(self, agent: str) -> Script:
        """Leaves out every reply of an agent."""
        self.lines = [line for line in self.lines if line.get("agent") != agent]
        return self

    def say(
        self,
        agent: str,
        stage: str,
        text: str | dict[str, Any],
        *,
        iteration: int | None = None,
        ordinal: int = 0,
        calls: list[tuple[str, dict[str, Any]]] | None = None,
    ) -> Script:
        """Adds a reply."""
        reply: dict[str, Any] = {"text": text}
        if calls:
            reply["calls"] = [{"name": name, "arguments": arguments} for name, arguments in calls]
        line: dict[str, Any] = {"agent": agent, "stage": stage, "ordinal": ordinal, "reply": reply}
        if iteration is not None:
            line["iteration"] = iteration
        self.lines.append(line)
        return self

    def write(self, path: Path) -> Path:
        """The file."""
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")
        return path


def eventually(found: Callable[[], Any], *, within: float = 20, what: str = "it") -> Any:
    """The first true value of `found`. Fails after `within` seconds."""
    ends = time.monotonic() + within
    while time.monotonic() < ends:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {within} s")


def files_of(where: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every regular file below a directory, but git's own and loom's own."""
    for path in sorted(where.rglob("*")):
        name = path.relative_to(where)
        if path.is_file() and not path.is_symlink() and name.parts[0] not in (".git", ".loom"):
            yield str(name), path.read_bytes()
