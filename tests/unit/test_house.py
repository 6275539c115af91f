"""The house keeps its own rules: links, sizes, words, and what the command line may load.

Imports between the rooms are held by the import-linter contracts in pyproject.toml; this file holds what they cannot say.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.purity import outside_calls

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("kernel", "coordinator", "workers", "bundles", "transports")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70


def sources(*folders: str) -> list[Path]:
    """Every Python file of these folders, sorted; what npm installed is not ours."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "node_modules" not in path.parts)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, line: int | None = None) -> str:
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


# --- the links -------------------------------------------------------------------------------------------------------


def test_links_and_folders_agree() -> None:
    """Every package folder at the root has exactly one link in .import/loom, relative, and no link is left over."""
    links = {path.name: str(path.readlink()) for path in (ROOT / ".import" / "loom").iterdir() if path.is_symlink()}
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py") if not path.parent.name.startswith(".")}
    assert {name: f"../../{name}" for name in ROOMS} == links
    assert set(ROOMS) == folders


def test_the_links_are_the_only_mapping() -> None:
    """A second hatch mapping would empty the wheel that is built from the sdist."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert {"packages": [".import/loom"]} == build["wheel"]
    assert [".import/loom", "tests"] == build["sdist"]["only-include"]


# --- the sizes -------------------------------------------------------------------------------------------------------


def test_files_are_short() -> None:
    """No file outside the tests has more than 400 lines."""
    counts = {where(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*ROOMS, "deploy")}
    assert {} == {name: lines for name, lines in counts.items() if lines > MAX_FILE_LINES}


def test_functions_are_short() -> None:
    """No function outside the tests has more than 70 lines."""
    long = {
        f"{where(path, node.lineno)} {node.name}": lines
        for path in sources(*ROOMS, "deploy")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert {} == long


# --- the kernel's words ----------------------------------------------------------------------------------------------

FORBIDDEN = frozenset(
    # vendors and models
    "anthropic claude sonnet opus haiku openai gpt codex chatgpt google gemini mistral llama ollama openrouter vllm azure "
    "bedrock groq deepseek qwen aider opencode copilot "
    # wires, stores, libraries and machinery
    "zmq zeromq dealer http https url websocket sse cli html css browser dashboard telegram slack discord email smtp "
    "webhook mcp elicitation sqlite sql postgres postgresql redis msgspec pydantic structlog docker podman bubblewrap "
    "bwrap container kubernetes pod systemd linux windows macos bash shell "
    # code
    "tree test diff interdiff file directory folder git github gitlab commit branch repository repo worktree rebase "
    "checkout patch submodule hunk lint linter typecheck typechecker pytest compiler python javascript typescript rust "
    "golang java makefile "
    # the other domains
    "incident runbook outage citation bibliography chapter headline newsletter".split()
)
"""Words of vendors, models, transports and domains. The kernel serves all of them and knows none."""


def words(text: str) -> Iterator[str]:
    """Whole words, lower case, in the singular: "openTestFiles", "open_test-files" → open, test, file."""
    for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text):
        lower = word.lower()
        yield lower
        yield from (lower.removesuffix(end) for end in ("s", "es") if lower.endswith(end))
        if lower.endswith("ies"):
            yield lower.removesuffix("ies") + "y"


def names_and_strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every identifier and string constant; docstrings are prose and may explain by example."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for field, value in ast.iter_fields(node):
            if isinstance(value, str) and field != "type_comment" and id(node) not in prose:
                yield line, value
            elif isinstance(value, list):
                yield from ((line, item) for item in value if isinstance(item, str))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("openTestFiles", {"test", "file"}),
        ("GIT_BRANCHES", {"git", "branch"}),
        ("HTTPError", {"http"}),
        ("two repositories", {"repository"}),
        ("latest contest profile digit commitment", set()),
    ],
)
def test_words_are_whole(text: str, expected: set[str]) -> None:
    """Words are found in every spelling and number, and not inside other words."""
    assert expected == FORBIDDEN.intersection(words(text))


def test_a_planted_word_is_found() -> None:
    """Identifiers, attributes, arguments, imports, keywords, f-strings and literals are looked at; docstrings are not."""
    planted = (
        '"""A tree of files."""\nimport git\nfrom x import repo as y\ndef diff(test, *, sql): "docker"\n'
        'a.http = f(commit=1)\nb = "gpt"\nc = f"{b} claude"\nclass Zmq: pass\nmatch b:\n  case {"k": v, **branch}: pass\n'
    )
    found = {word for _, text in names_and_strings(ast.parse(planted)) for word in FORBIDDEN.intersection(words(text))}
    assert {"git", "repo", "diff", "test", "sql", "http", "commit", "gpt", "claude", "zmq", "branch"} == found


def test_the_kernel_speaks_no_foreign_word() -> None:
    """No identifier, string or module name of the kernel names a vendor, a model, a transport or a domain."""
    found = [
        f"{where(path, line)} {text!r}: {', '.join(sorted(foreign))}"
        for path in sources("kernel")
        for line, text in [(0, path.stem), *names_and_strings(parse(path))]
        if (foreign := FORBIDDEN.intersection(words(text)))
    ]
    assert [] == found


def test_the_kernel_imports_the_standard_library_only() -> None:
    """Every absolute import of the kernel is the standard library's or the kernel's own."""
    found = [
        f"{where(path, line)} {name}"
        for path in sources("kernel")
        for line, name in imports(parse(path))
        if name.split(".")[0] not in sys.stdlib_module_names and not f"{name}.".startswith("loom.kernel.")
    ]
    assert [] == found


def test_the_kernel_calls_nothing_of_the_outside() -> None:
    """No module by name, no code from text, no file, no address and no hash: what no import contract can see."""
    assert [] == outside_calls(ROOT / "kernel")


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module) of every absolute import; an import inside the package itself is relative or named in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""


# --- the command line ------------------------------------------------------------------------------------------------

HEAVY = ("pydantic", "anthropic", "openai", "mcp", "docker", "jinja2")
"""What `loom --version` and `loom status` must not load: each costs between 30 ms and a second."""


def test_the_command_line_starts_light() -> None:
    """Importing the command line loads none of the heavy libraries."""
    script = "import json, sys, loom.transports.cli.main; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert set() == set(HEAVY).intersection(json.loads(done.stdout))
