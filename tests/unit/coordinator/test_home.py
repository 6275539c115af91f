"""The home: where it is, what is private, one coordinator at a time; its keys."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loom.coordinator import home as homes
from loom.coordinator.errors import HomeExposed, HomeLocked, HomeMissing, HomeUnwritable, KeyDamaged
from loom.coordinator.home import MAX_SOCKET_PATH_BYTES, Home, find_home
from loom.coordinator.keys import client_token, log_key, read_log_key, token_digest


def test_the_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOOM_HOME first, then the nearest .loom upwards, then the user's data directory."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert tmp_path / "data" / "loom" == find_home(deep, {}).path
    (tmp_path / ".loom").mkdir()
    assert tmp_path / ".loom" == find_home(deep, {}).path
    (tmp_path / "a" / ".loom").mkdir()
    assert tmp_path / "a" / ".loom" == find_home(deep, {}).path
    assert tmp_path / "named" == find_home(deep, {"LOOM_HOME": str(tmp_path / "named")}).path
    with pytest.raises(HomeMissing):
        find_home(deep, {}).require()


def test_a_home_is_private_and_ignores_itself(tmp_path: Path) -> None:
    """Made 0700, also under a generous umask; git sees nothing of it; making it again changes nothing."""
    before = os.umask(0)
    try:
        home = Home(tmp_path / "h").make().make()
    finally:
        os.umask(before)
    assert {0o700} == {path.stat().st_mode & 0o777 for path in (home.path, home.keys, home.blobs, home.run, home.spool)}
    assert "*\n" == (home.path / ".gitignore").read_text()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the place."""
    (tmp_path / "file").touch()
    with pytest.raises(HomeUnwritable, match="file/h"):
        Home(tmp_path / "file" / "h").make()
    with pytest.raises(HomeUnwritable), Home(tmp_path / "nowhere").lock():
        pass


def test_one_coordinator(tmp_path: Path) -> None:
    """A second one, in another process, is told the first one's pid; death frees the lock."""
    home = Home(tmp_path / "h").make()
    assert 0 == home.running()
    script = (
        "import sys; from pathlib import Path; from loom.coordinator.home import Home\n"
        f"with Home(Path({str(home.path)!r})).lock(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert b"held\n" == holder.stdout.readline()
    assert holder.pid == home.running()
    with pytest.raises(HomeLocked, match=str(holder.pid)) as caught, home.lock():
        pass
    assert holder.pid == caught.value.pid
    holder.kill()
    holder.communicate()
    assert 0 == home.running()
    with home.lock():
        assert os.getpid() == home.running()
    assert 0 == home.running()


def test_looking_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator gets the lock although others look whether one runs."""
    monkeypatch.setattr(homes, "LOCK_TRIES", 1)
    home = Home(tmp_path / "h").make()
    for _ in range(3):
        with home.lock():
            pass
        assert 0 == home.running()


def test_socket_paths_fit(tmp_path: Path) -> None:
    """Short ones lie in the home, those of a deep home in a private directory named by its digest, the same each time."""
    shallow = Home(Path("/tmp/h"))
    assert "ipc:///tmp/h/run/control.sock" == shallow.endpoint("control")
    deep = Home(tmp_path / ("d" * 100))
    address = deep.endpoint("control")
    assert address == deep.endpoint("control")
    assert len(address.removeprefix("ipc://")) <= MAX_SOCKET_PATH_BYTES
    folder = Path(address.removeprefix("ipc://")).parent
    assert deep.digest == folder.name
    assert 0o700 == folder.stat().st_mode & 0o777
    folder.chmod(0o755)
    with pytest.raises(HomeExposed):
        deep.endpoint("control")
    folder.rmdir()


def test_keys_are_drawn_once_and_private(tmp_path: Path) -> None:
    """The log's key and the client's token stay what they are; open rights are an error that names the file."""
    home = Home(tmp_path / "h").make()
    key, token = log_key(home.keys), client_token(home.keys)
    assert (key, token) == (log_key(home.keys), client_token(home.keys))
    assert key.public == (home.keys / "log.pub").read_text().strip()
    assert {0o600} == {(home.keys / name).stat().st_mode & 0o777 for name in ("log.key", "client.token")}
    assert key.seed.hex() not in repr(key)
    assert 64 == len(token_digest(token))
    home.check_private()
    (home.keys / "log.key").chmod(0o644)
    with pytest.raises(HomeExposed, match=r"log\.key"):
        home.check_private()


_EXAMPLE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
"""Of golang.org/x/mod/sumdb/note."""


def test_the_private_line_is_a_note_signer(tmp_path: Path) -> None:
    """The published example reads as a key and is written the same; signatures verify under its public half."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    path = tmp_path / "log.key"
    path.write_text(_EXAMPLE + "\n")
    key = read_log_key(path)
    assert _EXAMPLE == key.line
    assert "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW" == key.public
    raw = base64.b64decode(key.public.split("+", 2)[2])[1:]
    Ed25519PublicKey.from_public_bytes(raw).verify(key.sign(b"head"), b"head")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PRIVATE+KEY+name",
        _EXAMPLE.replace("c74f20a3", "c74f20a4"),
        _EXAMPLE.replace("AYEK", "AoEK"),
        _EXAMPLE.replace("PRIVATE", "PUBLIC"),
        _EXAMPLE[:-8],
        "PRIVATE+KEY+ä+c74f20a3+AYEK",
    ],
)
def test_damaged_keys_are_named(tmp_path: Path, text: str) -> None:
    """A key that cannot be what it says is an error, never another key."""
    path = tmp_path / "log.key"
    path.write_text(text)
    with pytest.raises(KeyDamaged):
        read_log_key(path)
    assert text == path.read_text()
