"""Homes in trouble: unwritable, held by another, damaged, of the future, tracked by git, on a full disk; and opened by hand.

Each time: a sentence that names the thing and the mend, exit 4, nothing lost, nothing changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
import zmq

from harness.cli import REPLIES, Cli, Done, Script, eventually, git, sample
from harness.fabrics import RealFabric, fabric, until
from harness.repositories import tree_digest
from loom.coordinator import api
from loom.coordinator.client import Client
from loom.coordinator.codec import encode_command
from loom.coordinator.keys import client_token

pytestmark = pytest.mark.needs("git")

RUN = ("run", "Mend it", "--model", f"*=recorded:{REPLIES}")
LOOKING = (("tasks",), ("status",), ("replay", "--all"))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
needs_sqlite = pytest.mark.needs("sqlite3")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose home holds one finished task, and where nothing runs any more; to be copied."""
    loom = Cli(tmp_path_factory.mktemp("made"))
    place = sample(loom.root / "project")
    try:
        runs(loom, place)
        assert 0 == loom("daemon", "stop", "--workers", cwd=place).code
        eventually(lambda: not loom.processes(), what="the end of all processes")
    finally:
        loom.close()
    return place


@pytest.fixture
def settled(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    place = tmp_path / "project"
    shutil.copytree(made, place, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    return place


def runs(loom: Cli, project: Path) -> None:
    """A task runs to its end here."""
    assert 0 == loom("projects", "trust", "--yes", cwd=project).code
    done = loom(*RUN, cwd=project)
    assert 0 == done.code, done


def content(home: Path) -> dict[str, str]:
    """Every file of a home and its bytes, but logs, sockets, and what SQLite lays beside the database while it is open."""
    passing = ("logs", "run", "state.db-shm", "state.db-wal", "lock")
    digest = tree_digest(home, lambda name: name.startswith(passing))
    return {name: each.split()[1] for name, each in digest.items() if (home / name).is_file()}


def refused(done: Done, *words: str) -> None:
    """Exit 4, one error with these words and a mend, no traceback."""
    assert 4 == done.code, done
    assert (1, 0) == (done.err.count("error: "), done.err.count("Traceback")), done
    assert "try: " in done.err or "; run `" in done.err, done
    assert [] == [word for word in words if word not in done.err], done


# ------------------------------------------------------------------------------------------------------- unwritable


class ReadOnly(Cli):
    """`loom` in a mount namespace of its own, in which a directory cannot be written."""

    place: Path

    def argv(self, *args: str) -> list[str]:
        script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self.place), *super().argv(*args)]


@needs_root
def test_a_read_only_home(loom: Cli, settled: Path) -> None:
    """What writes is refused with the way out; what only reads goes on; not a byte changes; afterwards all is well."""
    home = settled / ".loom"
    before = content(home)
    frozen = ReadOnly(loom.root)
    frozen.place = home
    for words in (RUN, ("daemon", "start")):
        refused(frozen(*words, cwd=settled), str(home), "Read-only file system", "LOOM_HOME", "L002")
    for looking in LOOKING:
        looked = frozen(*looking, cwd=settled)
        assert 0 == looked.code, looked
    seen = frozen("doctor", cwd=settled)
    assert (4, True, True) == (seen.code, "make it writable" in seen.out, "each as it was hashed" in seen.out), seen
    assert before == content(home)
    runs(loom, settled)


@needs_root
def test_a_home_that_cannot_be_made(loom: Cli, project: Path) -> None:
    """A project on a read-only disk: the home cannot be made there, and another one is named."""
    frozen = ReadOnly(loom.root)
    frozen.place = project
    refused(frozen(*RUN, cwd=project), str(project / ".loom"), "LOOM_HOME")
    assert not (project / ".loom").exists()


def test_open_keys_are_refused(loom: Cli, settled: Path) -> None:
    """A key that others can read: exit 4 with the mend, and no coordinator."""
    (settled / ".loom" / "keys" / "log.key").chmod(0o644)
    refused(loom(*RUN, cwd=settled), "log.key", "chmod", "L004")
    assert [] == loom.processes()


# --------------------------------------------------------------------------------------------------- somebody else's


def test_a_second_coordinator(loom: Cli, settled: Path) -> None:
    """It is told whose home that is, ends with 4, and disturbs nothing."""
    assert 0 == loom("daemon", "start", cwd=settled).code
    pid = loom("daemon", "status", "--json", cwd=settled).json["pid"]
    command = [sys.executable, "-m", "loom.coordinator", "--home", str(settled / ".loom")]
    second = subprocess.run(
        command, env=loom.environment(), capture_output=True, text=True, timeout=30, check=False, cwd=loom.root
    )
    assert (4, "") == (second.returncode, second.stdout)
    for word in ("L003", str(pid), "loom daemon stop"):
        assert word in second.stderr
    assert pid == loom("daemon", "status", "--json", cwd=settled).json["pid"]
    runs(loom, settled)
    assert 0 == loom("doctor", "--rebuild", cwd=settled).code, "a rebuild sends the coordinator away first"


def test_a_home_in_the_repository_is_refused(loom: Cli, settled: Path) -> None:
    """`.loom/` was committed: no task starts from there; after the mend that is named it goes on."""
    git(settled, "add", "--force", ".loom/keys/log.pub", ".loom/.gitignore")
    git(settled, "commit", "--quiet", "--message", "By accident")
    before = len(loom("tasks", "--json", cwd=settled).json["tasks"])
    refused(loom(*RUN, cwd=settled), ".loom/ is tracked by git", "git rm -r --cached .loom")
    assert before == len(loom("tasks", "--json", cwd=settled).json["tasks"])
    git(settled, "rm", "-r", "--quiet", "--cached", ".loom")
    git(settled, "commit", "--quiet", "--message", "Mended")
    runs(loom, settled)


# ------------------------------------------------------------------------------------------------------------ damaged


def overwritten(database: Path, at: int, size: int) -> None:
    with database.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(size))


def sql(database: Path, script: str) -> subprocess.CompletedProcess[str]:
    """The real command line of SQLite."""
    return subprocess.run(
        ["sqlite3", "-bail", "-batch", str(database), script], capture_output=True, text=True, timeout=30, check=False
    )


def another(database: Path) -> None:
    database.unlink()
    sql(database, "CREATE TABLE t (a); INSERT INTO t VALUES (1)")


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "the head": (lambda path: overwritten(path, 0, 4096), "L014", "not a database"),
    "the middle": (lambda path: overwritten(path, 3 * 16_384, 20 * 16_384), "L014", "malformed"),
    "cut off": (lambda path: os.truncate(path, 200_000), "L014", "malformed"),
    "empty": (lambda path: os.truncate(path, 0), "L0", ""),
    "another program's": (another, "L012", "not a database of loom"),
    "newer": (lambda path: sql(path, "PRAGMA user_version = 99"), "L013", "has schema 99"),
}


@needs_sqlite
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in ("the middle", "newer") else [pytest.mark.slow]) for kind in DAMAGE]
)
def test_a_damaged_database(loom: Cli, settled: Path, kind: str) -> None:
    """Nothing starts, every command says the same with the mend, doctor is red, and no byte of the file changes."""
    damage, code, said = DAMAGE[kind]
    database = settled / ".loom" / "state.db"
    damage(database)
    before = database.read_bytes()
    for words in (RUN, ("daemon", "start"), *LOOKING):
        refused(loom(*words, cwd=settled), "state.db", code, said)
    assert 4 == loom("doctor", "--rebuild", cwd=settled).code
    assert before == database.read_bytes()
    assert [] == loom.processes()


# --------------------------------------------------------------------------------------------------------- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Burst:
    """Submissions that are sent without waiting for answers."""

    def __init__(self, running: RealFabric) -> None:
        self._running = running
        self._token = client_token(running.home.keys)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(running.home.endpoint("client"))

    def close(self) -> None:
        self._socket.close()
        self._context.destroy()

    def send(self, tasks: list[str]) -> dict[str, str]:
        """task → applied, duplicate, or the code with which it was denied."""
        for task in tasks:
            command = msgspec.Raw(encode_command(self._running.order(task)))
            call = api.Call(token=self._token, key=f"key-{task}", via="test", command=command, task=task)
            self._socket.send(api.encode(call))
        found: dict[str, str] = {}
        while len(found) < len(tasks):
            assert self._socket.poll(20_000), f"{len(found)} of {len(tasks)} were answered"
            said = api.decode_to_client(self._socket.recv())
            match said:
                case api.Answered(key=key, outcome=outcome):
                    found[key.removeprefix("key-")] = outcome
                case api.Denied(key=key, code=code):
                    found[key.removeprefix("key-")] = code
                case _:
                    continue
        return found


def fill(disk: Path, leave: int) -> Path:
    """Takes all space but `leave` bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > leave:
            file.write(b"b" * 4096)
    return ballast


WHOLE = """SELECT task.task FROM task
    JOIN submission ON submission.task = task.id
    JOIN entry ON entry.seq = task.id AND entry.task = task.id AND entry.n = 1
    JOIN spawn ON spawn.task = task.id GROUP BY task.id"""


def there(running: RealFabric) -> set[str]:
    """The tasks in the database, each of them whole: its entry, its row, its submission, its first spawn."""
    tasks = {str(task) for (task,) in running.rows("SELECT task FROM task")}
    assert tasks == {str(task) for (task,) in running.rows(WHOLE)}
    entries = running.rows("SELECT count(*), max(seq) + 1, (SELECT size FROM edge) FROM entry")
    assert 1 == len(set(entries[0])), "entries, their numbers and the tree's edge agree"
    return tasks


def goes_on(client: Client) -> None:
    until(lambda: not client.describe()["read_only"], "it writes again by itself", 20)


@needs_root
def test_a_disk_that_fills_in_a_burst(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No acknowledged task is missing, no refused one is there, none is half there; with space it goes on by itself."""
    seed = int(os.environ.get("LOOM_SEED", "") or random.SystemRandom().randrange(1 << 32))
    dice = random.Random(seed)
    print(f"LOOM_SEED={seed}")
    with ExitStack() as stack:
        running = stack.enter_context(fabric(small_disk, monkeypatch))
        running.starts_file = tmp_path / "starts"
        monkeypatch.setenv("LOOM_BENCH_STARTS", str(running.starts_file))
        client = running.client()
        assert "applied" == running.submit(client, "first").outcome
        until(lambda: running.done(1), "the first task is done")
        burst = stack.enter_context(closing(Burst(running)))
        taken, denied = {"first"}, 0
        for number in range(4):
            names = [f"t{number}-{each}" for each in range(64)]
            ballast = fill(small_disk, dice.randint(0, 200_000) if number else 0)
            said = burst.send(names)
            assert {"applied", "read_only"} >= set(said.values()), said
            yes = {task for task, word in said.items() if word == "applied"}
            assert taken | yes == there(running), "what was acknowledged is there, and nothing else"
            denied += len(names) - len(yes)
            ballast.unlink()
            goes_on(client)
            again = burst.send(sorted(set(names) - yes)) if yes != set(names) else {}
            assert {"applied"} >= set(again.values())
            taken |= set(names)
        assert denied >= 64, "the first burst met a full disk"
        until(lambda: running.done(len(taken)), "all tasks are done", 90)
        assert taken == there(running)
        assert [("accepted", len(taken))] == running.rows("SELECT verdict, count(*) FROM task GROUP BY verdict")
        print(f"{len(taken)} tasks, {denied} times refused, {len(running.starts())} starts")
        running.close()
        loom = Cli(tmp_path)
        replayed = loom("--home", str(running.home.path), "replay", "--all", "--json")
        assert (0, True) == (replayed.code, replayed.json["identical"]), replayed
        rebuilt = loom("--home", str(running.home.path), "doctor", "--rebuild")
        assert "the same rows" in rebuilt.out, rebuilt


# ------------------------------------------------------------------------------------------------------------ by hand


@needs_sqlite
def test_the_database_can_be_read_by_anybody(settled: Path) -> None:
    """sqlite3 state.db: entries are JSON with kind, principal and events; the views answer."""
    database = settled / ".loom" / "state.db"
    bodies = [json.loads(line) for line in sql(database, "SELECT body FROM entry").stdout.splitlines()]
    assert len(bodies) > 20
    assert {"principal", "command", "events"} <= set(bodies[-1])
    assert "CreateHome" == bodies[0]["command"][0]
    invalid = "SELECT count(*) FROM entry WHERE NOT json_valid(body)"
    assert "0" == sql(database, invalid).stdout.strip()
    trail = sql(database, "SELECT kind FROM audit_trail").stdout.split()
    assert {"Submit", "Grant", "AttemptEnded"} <= set(trail)


@needs_sqlite
def test_the_ledger_cannot_be_changed_by_hand(settled: Path) -> None:
    """UPDATE and DELETE of an entry, a shorter edge, a changed decision or verdict: each is refused with its reason."""
    database = settled / ".loom" / "state.db"
    before = database.read_bytes()
    for script, said in (
        ("UPDATE entry SET body = '{}' WHERE seq = 3", "an entry of the ledger is never changed"),
        ("UPDATE entry SET now_ms = now_ms + 1", "an entry of the ledger is never changed"),
        ("DELETE FROM entry WHERE seq = 3", "an entry of the ledger is never deleted"),
        ("DELETE FROM entry", "an entry of the ledger is never deleted"),
        ("UPDATE edge SET size = 1", "the ledger never gets shorter"),
        ("UPDATE decision SET word = 'abandon'", "a decision is never changed"),
        ("UPDATE task SET verdict = 'failed'", "a verdict is final"),
    ):
        done = sql(database, script)
        assert (True, True) == (done.returncode != 0, said in done.stderr), (script, done)
    assert before == database.read_bytes()


@needs_sqlite
def test_nobody_accepts_over_a_blocker_by_hand(loom: Cli, project: Path) -> None:
    """A task that waits with an open blocker cannot be set to accepted in the database either."""
    script = Script.of_demo()

    def block(text: dict[str, object]) -> None:
        text.update(
            outcome="block",
            findings=[{"severity": "blocking", "category": "wrong", "message": "It is wrong.", "evidence": "See it."}],
        )

    script.change("acceptance", block)
    replies = script.write(loom.root / "blocking.jsonl")
    done = loom("run", "Mend it", "--model", f"*=recorded:{replies}", "--json", cwd=project)
    assert 3 == done.code, done
    blockers = [each for each in done.json["findings"] if (each["severity"], each["status"]) == ("blocking", "open")]
    assert blockers, done
    database = project / ".loom" / "state.db"
    for update in ("verdict = 'accepted'", "status = 'done', verdict = 'accepted'"):
        tried = sql(database, f"UPDATE task SET {update}")
        assert tried.returncode != 0
        assert "a task with an open blocking finding cannot be accepted" in tried.stderr
    assert "a task without a verdict cannot be done" in sql(database, "UPDATE task SET status = 'done'").stderr
    assert [("open", "")] == [(each["status"], each["verdict"])
                              for each in loom("tasks", "--json", cwd=project).json["tasks"]]  # fmt: skip
