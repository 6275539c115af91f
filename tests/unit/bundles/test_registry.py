"""Bundles are found by name and by path, archived to the same bytes everywhere, and run from the archive."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness import bundle_files as small
from loom.bundles import registry
from loom.bundles.archives import MAX_FILE_BYTES, BundleError, digest_of, pack, unpack
from loom.kernel.flow import Bundle


def faults(ref: str) -> str:
    with pytest.raises(BundleError) as caught:
        registry.load(ref)
    return str(caught.value)


def test_bundles_on_offer_are_those_of_entry_points() -> None:
    """The bundle code is on offer; the benchmark's is not, and yet loads by its name."""
    assert "code" in registry.names()
    assert "bench" not in registry.names()
    assert ("code", "bench") == (registry.load("code").name, registry.load("bench").name)


def test_everything_on_offer_is_sound() -> None:
    """Each bundle that a user can name loads without a fault, with prompt and schema for each agent behind a model."""
    for name in registry.names():
        bundle = registry.load(name)
        asked = [agent for agent in bundle.agents if agent.prompt]
        assert {agent.prompt for agent in asked} == set(bundle.templates)
        assert {agent.output for agent in asked} == set(bundle.outputs)


def test_a_bundle_is_named_by_its_path(tmp_path: Path) -> None:
    """A folder is a bundle wherever it is."""
    bundle = registry.load(str(small.write(tmp_path / "mine")))
    assert "small" == bundle.name
    assert {"writer", "reader"} == set(bundle.templates)


def test_a_bundle_next_to_us_needs_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare word is a name, never a folder that happens to be there; the error says how to mean the folder."""
    small.write(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert "small" == registry.load("./mine").name
    assert "as in ./mine" in faults("mine")


def test_an_unknown_name_gets_a_hint() -> None:
    """A mistyped name is answered with the nearest one."""
    assert "did you mean code?" in faults("cood")


def test_a_folder_without_a_table_is_no_bundle(tmp_path: Path) -> None:
    """The error names the folder and what is missing."""
    assert "there is no bundle.py in it" in faults(str(tmp_path))


def test_the_digest_is_of_the_archive(tmp_path: Path) -> None:
    """digest = SHA-256 of the archive's bytes, and the archive holds every file."""
    folder = str(small.write(tmp_path / "mine"))
    data = registry.archive(folder)
    assert hashlib.sha256(data).hexdigest() == registry.load(folder).digest
    assert small.named({}) == unpack(data)


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """Neither the folder, nor times, modes, caches, hidden files or foreign files are part of the identity."""
    one, two = small.write(tmp_path / "one"), small.write(tmp_path / "two")
    os.utime(two / "bundle.py", (1, 1))
    (two / "rules.py").chmod(0o755)
    for name in ("__pycache__/bundle.cpython-311.pyc", "__pycache__/x.py", ".hidden/x.py", ".swp.py", "picture.png"):
        (two / name).parent.mkdir(exist_ok=True)
        (two / name).write_text("x")
    (two / "link.py").symlink_to(one / "bundle.py")
    assert registry.archive(str(one)) == registry.archive(str(two))


def test_the_order_of_files_does_not_matter() -> None:
    """However the files come, the archive is the same."""
    files = small.named({})
    assert pack(files) == pack(dict(reversed(files.items())))


def test_the_archive_of_other_processes_is_the_same(tmp_path: Path) -> None:
    """Another process, with another hash seed, comes to the same digest."""
    folder = str(small.write(tmp_path / "mine"))
    program = "import sys; from loom.bundles import registry; print(registry.load(sys.argv[1]).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    assert registry.load(folder).digest == done.stdout.strip()


@pytest.mark.parametrize("file", sorted(small.SMALL))
def test_any_changed_file_changes_the_digest(tmp_path: Path, file: str) -> None:
    """Code, prompts and documentation alike belong to what a task is pinned to."""
    before = registry.archive(str(small.write(tmp_path / "mine")))
    after = registry.archive(str(small.write(tmp_path / "mine", {file: small.SMALL[file] + "\n"})))
    assert digest_of(before) != digest_of(after)


def test_a_running_task_keeps_its_bundle(tmp_path: Path) -> None:
    """After the folder changed or went away, the kept archive gives the old bundle beside the new one."""
    folder = small.write(tmp_path / "mine")
    kept = registry.archive(str(folder))
    old = registry.load(str(folder))
    small.write(folder, {"rules.py": "RULES = ()\n", "prompts/shared/manners.md": "Be long.\n"})
    new = registry.load(str(folder))
    again = registry.load_archive(kept, digest_of(kept))
    assert (1, 0) == (len(again.rules), len(new.rules))
    assert old == again
    assert ("Be short.\n\nWrite.", "Be long.\n\nWrite.") == (again.templates["writer"][0], new.templates["writer"][0])


def test_what_authors_are_asked_for_later_does_not_touch_a_kept_bundle(tmp_path: Path) -> None:
    """A fault that today's loader finds refuses a new bundle; one that tasks were started with goes on as it is."""
    folder = small.write(tmp_path / "mine", {"prompts/nobody.md": "---\nabout: x\n---\n[system]\na\n[user]\nb\n"})
    data = registry.archive(str(folder))
    with pytest.raises(BundleError, match="prompt of no agent"):
        registry.load(str(folder))
    assert "mine" != registry.load_archive(data, digest_of(data)).digest


def test_an_archive_of_another_digest_is_refused(tmp_path: Path) -> None:
    """One flipped byte, and the archive is not loaded."""
    data = bytearray(registry.archive(str(small.write(tmp_path / "mine"))))
    digest = digest_of(bytes(data))
    data[200] ^= 1
    with pytest.raises(BundleError, match="another digest"):
        registry.load_archive(bytes(data), digest)


def test_what_is_no_archive_is_refused() -> None:
    """Bytes that are no ZIP are a fault of the bundle, not a crash."""
    with pytest.raises(BundleError, match="cannot be read"):
        registry.load_archive(b"no zip", digest_of(b"no zip"))


def test_names_in_an_archive_never_become_paths(tmp_path: Path) -> None:
    """An archive is read in memory: a name that climbs out of it writes nothing."""
    data = pack({**small.named({}), "../evil.md": b"x"})
    assert isinstance(registry.load_archive(data, digest_of(data)), Bundle)
    assert not (tmp_path.parent / "evil.md").exists()


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Limits hold when a folder is read and when an archive is."""
    large = "#" * (MAX_FILE_BYTES + 1)
    assert "is larger than" in faults(str(small.write(tmp_path / "mine", {"notes.md": large})))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("notes.md", large)
    with pytest.raises(BundleError, match="one over"):
        registry.load_archive(buffer.getvalue(), digest_of(buffer.getvalue()))


def test_a_faulty_bundle_leaves_nothing_behind(tmp_path: Path) -> None:
    """Modules and finder of a bundle that was refused are taken out of the process again."""
    finders = len(sys.meta_path)
    folder = str(small.write(tmp_path / "mine", {"rules.py": "RULES = 1 / 0\n"}))
    digest = digest_of(registry.archive(folder))
    assert "its code raised ZeroDivisionError" in faults(folder)
    assert finders == len(sys.meta_path)
    assert [] == [name for name in sys.modules if digest in name]
