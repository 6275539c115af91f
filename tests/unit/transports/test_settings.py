"""Settings: layers, origins, and sentences for what cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom.transports import ids, secrets, settings
from loom.transports.errors import UnavailableProblem, UsageProblem


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration directory, away from the developer's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "loom"


def test_without_files_everything_is_built_in() -> None:
    """Every value has the origin "built in"."""
    loaded = settings.load(None)
    assert {"built in"} == {value.origin for value in loaded.values}
    assert settings.Settings() == loaded.settings


def test_the_home_stands_above_the_user(home: Path, config: Path) -> None:
    """A value is taken from the nearest file that has it, and its origin says so."""
    settings.store(config / settings.FILE, "run.policy", "supervised")
    settings.store(config / settings.FILE, "run.priority", "3")
    settings.store(home / settings.FILE, "run.policy", "autonomous")
    loaded = settings.load(home)
    assert ("autonomous", "home") == (loaded.find("run.policy").value, loaded.find("run.policy").origin)
    assert (3, "user") == (loaded.find("run.priority").value, loaded.find("run.priority").origin)


def test_comments_survive_a_change(home: Path) -> None:
    """A file that a person wrote keeps its words when a command changes a value, and when it takes it out."""
    (home / settings.FILE).write_text('# mine\n[run]\npolicy = "supervised" # because\n')
    settings.store(home / settings.FILE, "run.bundle", "code")
    settings.store(home / settings.FILE, "run.policy", None)
    text = (home / settings.FILE).read_text()
    assert "# mine" in text
    assert 'bundle = "code"' in text
    assert "supervised" not in text


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("run.polcy", "x", "unknown setting `polcy`"),
        ("run.priority", "high", "is a number"),
        ("run.sandbox", "chroot", "run.sandbox"),
        ("run.policy.x", "1", "There is no setting run.policy.x|run.policy"),
        ("nonsense", "1", "unknown setting `nonsense`"),
        ("a b", "1", "not the name of a setting"),
    ],
)
def test_what_is_no_setting_is_refused_and_not_written(home: Path, key: str, value: str, said: str) -> None:
    """A wrong key or value is a usage problem that names it, and the file stays as it was."""
    with pytest.raises(UsageProblem, match=said):
        settings.store(home / settings.FILE, key, value)
    assert not (home / settings.FILE).exists()


def test_a_broken_file_is_named(home: Path) -> None:
    """TOML that cannot be read is a usage problem with the file's name."""
    (home / settings.FILE).write_text("[run\n")
    with pytest.raises(UsageProblem, match=str(home / settings.FILE)):
        settings.load(home)


def test_secrets_are_kept_private(home: Path) -> None:
    """A secret is stored with mode 0600, found again by name, and gone when removed."""
    assert secrets.put(home, "OPENAI_API_KEY", "sk-very-secret")
    assert 0o600 == (home / secrets.FILE).stat().st_mode & 0o777
    assert "store" == secrets.origin("OPENAI_API_KEY", home, {})
    assert secrets.put(home, "OPENAI_API_KEY", None)
    assert "" == secrets.origin("OPENAI_API_KEY", home, {})


def test_the_environment_stands_above_the_store(home: Path, tmp_path: Path) -> None:
    """NAME wins over NAME_FILE, and both over the store; a file that is not there is none."""
    secrets.put(home, "K", "stored")
    (tmp_path / "key").write_text("filed")
    assert "environment" == secrets.origin("K", home, {"K": "x", "K_FILE": str(tmp_path / "key")})
    assert "file" == secrets.origin("K", home, {"K_FILE": str(tmp_path / "key")})
    assert "store" == secrets.origin("K", home, {"K_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize("name", ["", "key", "A-B", "1A", "A=B", "A" * 70])
def test_a_secret_has_the_name_of_a_variable(home: Path, name: str) -> None:
    """Other names are refused before anything is written."""
    with pytest.raises(UsageProblem, match="name for a secret"):
        secrets.put(home, name, "x")


def test_a_damaged_store_is_not_overwritten(home: Path) -> None:
    """A store that cannot be read is refused, and its bytes stay."""
    (home / secrets.FILE).write_text("[1")
    with pytest.raises(UnavailableProblem):
        secrets.put(home, "K", "v")
    assert "[1" == (home / secrets.FILE).read_text()


def test_task_ids_are_safe_everywhere() -> None:
    """Ten characters of the alphabet, and not one twice in a thousand."""
    drawn = {ids.new_task_id() for _ in range(1000)}
    assert 1000 == len(drawn)
    assert all(ids.is_task_id(task) and task.isalnum() and task == task.lower() for task in drawn)
    assert not any(map(ids.is_task_id, ("abc", "abcdefghil", "../../../..", "abcdefghj2\n")))
