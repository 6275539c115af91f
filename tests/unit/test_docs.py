"""The pages say what is so: links lead somewhere, commands and settings exist, tables that copy the code agree with it."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import click
import msgspec
import pytest

from loom.bundles import registry
from loom.coordinator import database, merkle
from loom.coordinator.home import Home
from loom.coordinator.opening import open_home
from loom.kernel.limits import ATTEMPTS_PER_TASK, INLINE_TEXT_BYTES, ROUNDS_PER_TASK
from loom.transports import backends
from loom.transports.cli.app import COMMANDS
from loom.transports.settings import Settings
from loom.workers import project_file
from loom.workers.harnesses import tools
from loom.workers.protocol import LEASE_MS, MAX_INLINE
from loom.workers.providers import replies

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("bundles/*/README.md")]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    return FENCE.sub("", text)


def tables(text: str) -> Iterator[list[list[str]]]:
    """Every table of a page: rows of cells, the head first."""
    rows: list[list[str]] = []
    for line in [*prose(text).splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                rows.append(cells)
        elif rows:
            yield rows
            rows = []


def table(name: str, first: str) -> list[list[str]]:
    """The rows below the head of the table whose head begins with this cell."""
    found = [rows for rows in tables(page(name)) if rows[0][0] == first]
    assert 1 == len(found), f"{name} has {len(found)} tables that begin with {first!r}"
    return found[0][1:]


def words(cell: str) -> list[str]:
    """The code words of a cell."""
    return SPAN.findall(cell)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    heads = re.findall(r"^#+ +(.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    """The file is there, and so is the heading."""
    text = path.read_text(encoding="utf-8")
    for link in LINK.findall(SPAN.sub("", prose(text))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}: there is no such heading"


def test_the_index_lists_every_page() -> None:
    """Every page below docs/ is one step away from its index."""
    listed = {(ROOT / "docs" / link).resolve() for link in LINK.findall(page("docs/index.md"))}
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "index.md"}
    assert set() == pages - listed


# --- commands --------------------------------------------------------------------------------------------------------


def command_lines(text: str) -> Iterator[str]:
    """Everything that a page gives a reader to type, as far as it begins with `loom`."""
    for span in SPAN.findall(prose(text)):
        yield from (part.strip() for part in span.split(" · ") if re.match(r"loom( |$)", part.strip()))
    for language, block in FENCE.findall(text):
        for line in block.splitlines():
            for part in re.split(r" · |; ", line.removeprefix("$ ")) if language == "sh" else [line]:
                if found := re.match(r"^(?:\$ )?(loom .*)$", part.strip()):
                    yield found.group(1).split("  #")[0]


def command_of(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    assert isinstance(found, click.Command)
    return found


def check_line(line: str) -> None:
    """The command exists, and so do its subcommand and the options that the line names."""
    given = shlex.split(re.sub(r"[\[\]]", "", line).replace("…", ""), comments=True)[1:]
    while given and given[0] == "--home":
        given = given[2:]
    if not given or given[0] in ("COMMAND", "--version", "--help"):
        return
    assert given[0] in COMMANDS, f"{line}: there is no command {given[0]}"
    command = command_of(given[0])
    if isinstance(command, click.Group) and len(given) > 1:
        assert given[1] in command.commands, f"{line}: {given[0]} has no command {given[1]}"
        command = command.commands[given[1]]
    options = {option for each in command.params for option in each.opts} | {"--help"}
    for word in given:
        if re.match(r"--?[a-z]", word):
            name = word.partition("=")[0]
            assert name in options, f"{line}: {command.name} has no option {name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_named_exists(path: Path) -> None:
    """What a reader is told to type is taken by the command line."""
    for line in command_lines(path.read_text(encoding="utf-8")):
        check_line(line)


def test_every_command_and_option_is_told() -> None:
    """docs/cli.md leaves out no command, no subcommand and no option (but --help, and -m, --json, --user, said once)."""
    text = page("docs/cli.md")
    for name in COMMANDS:
        command = command_of(name)
        told = [name] if not isinstance(command, click.Group) else [f"{name} {each}" for each in command.commands]
        for each in told:
            assert re.search(rf"`loom {each}\b", text), f"loom {each} is not in docs/cli.md"
        inner = command.commands.values() if isinstance(command, click.Group) else [command]
        for option in {each.opts[0] for one in inner for each in one.params if isinstance(each, click.Option)}:
            assert option in text or option in ("--message", "--bundle"), f"loom {name} {option} is not in docs/cli.md"


# --- settings --------------------------------------------------------------------------------------------------------


def leaves(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_the_table_of_settings_is_the_schema() -> None:
    """Every setting with its built-in value, and no other."""
    told: dict[str, str] = {}
    for key, value, _ in table("docs/configuration.md", "setting"):
        for name in [key.strip("`").replace("TIER", tier) for tier in backends.TIERS]:
            told[name] = value.strip("`")
    schema = {name: str(value) for name, value in leaves(msgspec.to_builtins(Settings())) if value != {}}
    assert {**schema, "models.agents.AGENT": ""} == told


def test_the_project_file_of_the_page_can_be_read() -> None:
    """The example of loom.toml is one, and its table has each key once."""
    blocks = [block for language, block in FENCE.findall(page("docs/configuration.md")) if language == "toml"]
    file = project_file.parse(blocks[0].encode())
    named = {f"checks.{check.name}" for check in file.checks} | {"workspace.setup", "workspace.include", "requires"}
    assert ("docker",) == file.requires
    assert (("make", "deps"),) == file.setup
    assert named == {word for row in table("docs/configuration.md", "key") for word in words(row[0])}


# --- models and bundles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "column"), [("README.md", 2), ("docs/configuration.md", 1)])
def test_the_tables_of_families_are_the_code(name: str, column: int) -> None:
    """Families in order of choice, with the models of their tiers and the names of their keys."""
    rows = {row[0].strip("`").partition(":")[0]: row for row in table(name, "family")}
    for family, models in backends.MODELS.items():
        if family != "stub":
            assert " · ".join(models[tier] for tier in backends.TIERS) == rows[family][column]
    for family, (key, *_) in backends.KEYS.items():
        assert any(key in cell for cell in rows[family])
    assert ["claude", *backends.KEYS, "ollama"] == [family for family in rows if family != "recorded"]


def test_the_tables_of_the_bundle_are_the_bundle() -> None:
    """Agents, flows, presets, roles and floors of `code`, as its table has them."""
    bundle = registry.load("code")
    text = page("docs/bundles.md")
    told = {}
    for names, can, tier, *_, measured in table("docs/bundles.md", "agent"):
        for name in names.split(", "):
            told[name] = (can, tier, measured)
    for agent in bundle.agents:
        tier = agent.tier.value if agent.prompt else "–"
        assert (agent.capability.value, tier, ", ".join(m.fact for m in agent.measures)) == told.pop(agent.name)
    assert {} == told
    presets = {row[0].split("`")[1]: tuple(row[1:]) for row in table("docs/bundles.md", "preset")}
    roles = [role.name for role in bundle.roles]
    assert {name: tuple(dict(of)[role] for role in roles) for name, of in bundle.presets} == presets
    assert f"| `{bundle.default_preset}` (default) |" in text
    assert sorted(flow.name for flow in bundle.flows) == sorted(
        row[0].strip("`") for row in table("docs/bundles.md", "flow")
    )
    for name, floor, *_ in table("docs/bundles.md", "role"):
        role = next(role for role in bundle.roles if role.name == name)
        assert list(role.floor or ()) == re.findall(r"check\.\w+", floor)


def test_the_limits_that_pages_name_are_the_limits() -> None:
    """Numbers in prose that a change of the code would make wrong."""
    bundles = page("docs/bundles.md")
    assert (40, 4) == (ATTEMPTS_PER_TASK, ROUNDS_PER_TASK)
    assert "attempts (40)" in bundles
    assert "four automatic reworks" in bundles
    assert f"{LEASE_MS:,}" in page("docs/configuration.md")
    assert f"over {MAX_INLINE // 1024} KiB" in page("docs/store.md")
    assert f"over {INLINE_TEXT_BYTES} bytes" in page("docs/decisions/0006-salts-of-split-texts-are-derived.md")


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A database with the entries that found a home."""
    home = Home(tmp_path / "home")
    opened = open_home(home, version="test", now_ms=1_000)
    assert opened.core.head.seq > 2
    opened.core.store.close()
    return home.database


def test_every_table_and_view_is_told(written: Path) -> None:
    """docs/store.md names each table and view of the schema, and the columns of an entry's body."""
    found = sqlite3.connect(written).execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    names = {name for (name,) in found if not name.startswith("sqlite_")}
    told = set(words(prose(page("docs/store.md"))))
    assert set() == names - told
    (body,) = sqlite3.connect(written).execute("SELECT body FROM entry WHERE seq = 0").fetchone()
    keys = {word for row in table("docs/store.md", "key") for word in words(row[0])}
    assert set(msgspec.json.decode(body)) == keys


def test_the_questions_can_be_asked(written: Path) -> None:
    """Each SQL statement of docs/store.md is one, on the schema as it is."""
    blocks = [block for language, block in FENCE.findall(page("docs/store.md")) if language == "sql"]
    statements = [each for block in blocks for each in database.split(block)]
    assert len(statements) >= 5
    connection = sqlite3.connect(written)
    for statement in statements:
        connection.execute(statement).fetchall()


def test_the_script_that_verifies_says_yes_and_no(written: Path, tmp_path: Path) -> None:
    """The Python of docs/store.md finds the root of a sound database, and refuses one whose entry was changed."""
    (script,) = [block for language, block in FENCE.findall(page("docs/store.md")) if language == "python"]
    path = tmp_path / "verify.py"
    path.write_text(script)
    leaves = [leaf for (leaf,) in sqlite3.connect(written).execute("SELECT leaf FROM entry ORDER BY seq")]
    done = subprocess.run([sys.executable, path, written], capture_output=True, text=True, timeout=30, check=False)
    assert f"{len(leaves)} entries, root {merkle.subtree(leaves).hex()}" == done.stdout.strip(), done.stderr
    connection = sqlite3.connect(written)
    connection.execute("DROP TRIGGER entry_is_never_changed")
    connection.execute("UPDATE entry SET body = replace(body, 'test', 'best') WHERE seq = 2")
    connection.commit()
    done = subprocess.run([sys.executable, path, written], capture_output=True, text=True, timeout=30, check=False)
    assert (1, True) == (done.returncode, "entry 2 is not what its leaf says" in done.stderr)


# --- replies ---------------------------------------------------------------------------------------------------------


def test_the_examples_of_replies_can_be_read(tmp_path: Path) -> None:
    """Header and line of docs/recorded-replies.md are a file of replies; the tools that it lists are the tools."""
    text = page("docs/recorded-replies.md")
    header, line = [block for language, block in FENCE.findall(text) if language == "json"]
    path = tmp_path / "replies.jsonl"
    path.write_text(header + " ".join(line.split()) + "\n")
    assert {("planner", "plan", 1, 0)} == set(replies.load(path).entries)
    offered = [tool.name for tool in (*tools.READING, *tools.EDITING, tools.CHECKS)]
    (sentence,) = re.findall(r"^The tools of our own loop are .*?\.", text, re.MULTILINE)
    assert offered == words(sentence)


def test_decisions_are_numbered_without_a_gap() -> None:
    """0001, 0002, …: each with what was decided, why, what was rejected and what follows."""
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(path.name[:4]) for path in found]
    assert 1 == numbers[0]
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]} ")
        for part in ("**Decided.**", "**Why.**", "**Rejected.**", "**Follows.**"):
            assert part in text, f"{path.name} lacks {part}"
