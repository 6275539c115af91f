"""Settings: one schema, three places, and for every value where it comes from.

    built in  <  user      config.toml in the user's configuration directory (platformdirs)
              <  home      config.toml in the home

`loom.toml` in a repository is not among them: it is the project's, and untrusted. A key is a dotted path of the schema
(`run.policy`, `models.agents.planner`, `models.anthropic.fast`).
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from loom.transports.errors import UsageProblem

FILE = "config.toml"
MAX_FILE = 256 * 1024
"""Bytes of one settings file."""

Origin = Literal["built in", "user", "home", "ledger"]

KEY = re.compile(r"[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """Base of every section: a key that does not exist is an error, not a silence."""


class Run(Section, frozen=True):
    """What `loom run` takes when its options say nothing."""

    bundle: str = "code"
    flow: str = ""
    """The flow of every task ("" : the classifier chooses)."""
    policy: str = ""
    """The preset of policies ("" : the bundle's own default)."""
    sandbox: Literal["auto", "bubblewrap", "none"] = "auto"
    budget_usd: float = 0.0
    """Money a task may cost (0: no cap)."""
    priority: int = 0


class Tiers(Section, frozen=True):
    """Models of one family by tier ("" : the built-in one)."""

    fast: str = ""
    balanced: str = ""
    premium: str = ""


class Models(Section, frozen=True):
    """`agents`: agent (or *) → REF[,REF…]. The others: model names by tier."""

    agents: dict[str, str] = {}
    anthropic: Tiers = Tiers()
    openai: Tiers = Tiers()
    openrouter: Tiers = Tiers()
    ollama: Tiers = Tiers()
    claude: Tiers = Tiers()


class Coordinator(Section, frozen=True):
    """How the process behind a home is started by the command line (0: its own default)."""

    workers: int = 0
    slots: int = 0
    lease_ms: int = 0
    machine_slots: int = 0
    """Slots that all homes on this machine share (-1: this one shares none)."""
    listen: str = ""
    """HOST:PORT where workers on other hosts come in ("" : nowhere)."""
    labels: str = ""
    """Labels of the local workers, with commas between."""


class Settings(Section, frozen=True):
    """The whole schema."""

    run: Run = Run()
    models: Models = Models()
    coordinator: Coordinator = Coordinator()


@dataclass(frozen=True, slots=True)
class Value:
    """One value that is in force."""

    key: str
    value: str | int | float
    origin: Origin


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and where each value comes from."""

    settings: Settings
    values: tuple[Value, ...]

    def find(self, key: str) -> Value:
        """The value of a key. Raises UsageProblem for one that does not exist."""
        for value in self.values:
            if value.key == key:
                return value
        if key.startswith("models.agents."):
            raise UsageProblem(
                f"No model is set for the agent {key.removeprefix('models.agents.')}.", "loom models list"
            )
        raise UsageProblem(f"There is no setting {key}.", "loom config list shows all of them")


def user_file() -> Path:
    """Where the user's own settings are."""
    import platformdirs

    return platformdirs.user_config_path("loom") / FILE


def load(home: Path | None) -> Loaded:
    """The settings for a home (None: without one). Raises UsageProblem that names file and key."""
    places: list[tuple[Origin, Path]] = [("user", user_file())]
    if home is not None:
        places.append(("home", home / FILE))
    merged: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for origin, path in places:
        found = _read(path)
        _check(found, path)
        for key, _ in _leaves(found):
            origins[key] = origin
        merged = _merge(merged, found)
    settings = msgspec.convert(merged, Settings)
    values = [Value(key, value, origins.get(key, "built in")) for key, value in _leaves(msgspec.to_builtins(settings))]
    return Loaded(settings, tuple(values))


def store(path: Path, key: str, text: str | None) -> None:
    """Sets a key in a file, or takes it out (None); the file's comments and order stay. Raises UsageProblem."""
    import tomlkit

    if not KEY.fullmatch(key):
        raise UsageProblem(f"{key!r} is not the name of a setting.", "loom config list shows all of them")
    document = tomlkit.parse(_text(path))
    *sections, last = key.split(".")
    table: Any = document
    for section in sections:
        if section not in table:
            if text is None:
                return
            table[section] = tomlkit.table(is_super_table=section != sections[-1])
        table = table[section]
        if not isinstance(table, dict):
            raise UsageProblem(f"There is no setting {key}.", "loom config list shows all of them")
    if text is None:
        table.pop(last, None)
    else:
        table[last] = _value(key, text)
    plain = document.unwrap()
    _check(plain, path)
    _replace(path, tomlkit.dumps(document))


def _value(key: str, text: str) -> str | int | float:
    """The text as the type that the schema wants at this key."""
    for known, default in _leaves(msgspec.to_builtins(Settings())):
        if known == key and not isinstance(default, str):
            try:
                number: int | float = msgspec.convert(text, type(default), strict=False)
                return number
            except msgspec.ValidationError as error:
                raise UsageProblem(f"{key} is a number, not {text!r}.") from error
    return text


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageProblem(f"{path} is not valid TOML: {error}.", "mend the file, or move it away") from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE:
            raise UsageProblem(f"{path} is larger than {MAX_FILE} bytes: not a settings file.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path} cannot be read: {error}.", "mend the file, or move it away") from error


def _check(found: dict[str, Any], path: Path) -> None:
    try:
        msgspec.convert(found, Settings)
    except msgspec.ValidationError as error:
        raise UsageProblem(f"{path}: {_plain(error)}.", "loom config list shows every setting") from error


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's sentence, with the place as a dotted key: "unknown field `polcy` in `$.run`" → "…in run"."""
    said = re.sub(r" - at `\$\.?([^`]*)`", r" in \1", str(error)).replace(
        "Object contains unknown field", "unknown setting"
    )
    return said.replace(" in key in ...", "").rstrip()


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _replace(path: Path, text: str) -> None:
    """Writes the file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        raise UsageProblem(f"{path} cannot be written: {error.strerror}.") from error
