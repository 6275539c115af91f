"""What a kernel must not have, planted into a copy of it: each is caught, by the imports, the calls or the recorded bytes.

The copy stands in a folder of its own, as a whole package `loom` whose other rooms are the real ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.purity import outside_calls

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = Path(__file__).parent / "histories"
ROOMS = ("bundles", "coordinator", "transports", "workers")
REPLAY = (
    "import sys; from loom.transports.cli.app import invoke\n"
    "import loom.kernel; assert loom.kernel.__file__.startswith(sys.argv[1]), loom.kernel.__file__\n"
    "sys.exit(max(invoke(['replay', '--history', file]) for file in sys.argv[2:]))"
)
STAGE = "    work.emit(e.StageEntered(stage=name, iteration=iteration, because=because))\n"
"""A line of the kernel, at which every history comes by."""


@dataclass(frozen=True)
class Copy:
    """A package `loom` with a kernel of its own."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Copy:
        package = folder / "loom"
        package.mkdir()
        (package / "__init__.py").write_bytes((ROOT / ".import/loom/__init__.py").read_bytes())
        shutil.copytree(ROOT / "kernel", package / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
        for room in ROOMS:
            (package / room).symlink_to(ROOT / room)
        return cls(folder)

    def plant(self, instead: str, *, file: str = "stages.py", at: str = STAGE, top: str = "") -> None:
        """Something in the place of a line, and above the first import."""
        path = self.folder / "loom/kernel" / file
        text = path.read_text(encoding="utf-8")
        assert 1 == text.count(at), f"{file} has this line no more: choose another one"
        first = "from __future__ import annotations\n"
        path.write_text(text.replace(at, instead).replace(first, first + top), encoding="utf-8")

    def run(self, *command: str, seed: str = "0") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONHASHSEED": seed}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=100, check=False
        )

    def replayed(self, *names: str, seed: str = "0") -> subprocess.CompletedProcess[str]:
        files = [str(HISTORIES / f"{name}.history") for name in names or ("fanout", "medium")]
        return self.run(sys.executable, "-c", REPLAY, str(self.folder), *files, seed=seed)

    def imports(self) -> subprocess.CompletedProcess[str]:
        """The import contract of the kernel, asked of the copy."""
        tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
        (pure,) = (each for each in tool["contracts"] if each["id"] == "pure")
        lines = [
            "[importlinter]",
            "root_package = loom",
            "include_external_packages = True",
            "[importlinter:contract:pure]",
        ]
        lines += [f"name = {pure['name']}", "type = forbidden", "source_modules = loom.kernel", "forbidden_modules ="]
        (self.folder / "contract.ini").write_text("\n".join([*lines, *(f"  {m}" for m in pure["forbidden_modules"])]))
        lint = str(Path(sys.executable).with_name("lint-imports"))
        return self.run(lint, "--no-logo", "--no-cache", "--config", "contract.ini")


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy.make(tmp_path)


def test_the_copy_as_it_is(copy: Copy) -> None:
    """Nothing planted: the contract is kept, nothing of the outside is called, the histories replay."""
    assert 0 == copy.imports().returncode
    assert [] == outside_calls(copy.folder / "loom/kernel")
    done = copy.replayed()
    assert (0, 2) == (done.returncode, done.stdout.count("identical")), done


@pytest.mark.parametrize(
    ("module", "value"),
    [("time", "str(time.time_ns())"), ("random", "str(random.random())"), ("uuid", "uuid.uuid4().hex")],
)
def test_a_clock_or_a_random_number_that_is_imported(copy: Copy, module: str, value: str) -> None:
    """The import contract names the module; and without the contract, the recorded bytes are others."""
    copy.plant(STAGE.replace("because=because", f"because=({value},)"), top=f"import {module}\n")
    linted = copy.imports()
    assert (1, True) == (linted.returncode, f"loom.kernel.stages -> {module}" in linted.stdout), linted
    done = copy.replayed()
    assert (1, 2) == (done.returncode, done.stdout.count("StageEntered, because")), done


@pytest.mark.parametrize(
    "value",
    ["str(__import__('time').time_ns())", "str(eval('__import__(\"random\").random()'))", "str(id(work))", "str(hash(name))"],
)  # fmt: skip
def test_one_that_no_import_shows(copy: Copy, value: str) -> None:
    """A module fetched by a call, an address, a hash: the calls are named, and the recorded bytes are others."""
    copy.plant(STAGE.replace("because=because", f"because=({value},)"))
    assert 0 == copy.imports().returncode, "the contract does not see it"
    assert outside_calls(copy.folder / "loom/kernel")
    assert 1 == copy.replayed().returncode


def test_the_order_of_a_set(copy: Copy) -> None:
    """Reasons that go through a set come out in another order under another hash seed."""
    copy.plant(STAGE.replace("because=because", "because=tuple({'a', 'b', 'c', 'd', *because})"))
    assert [] == outside_calls(copy.folder / "loom/kernel"), "no list of names sees it"
    said = {derived(copy.replayed("trivial", seed=seed).stdout) for seed in ("0", "1")}
    assert len(said) == 2, said


def derived(said: str) -> str:
    """What the kernel derived at the first difference."""
    return next(line for line in said.splitlines() if line.strip().startswith("derived"))
