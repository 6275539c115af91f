"""Prompt files: front matter, a system part without variables, a user part with them.

    ---
    about: one sentence
    inputs: task plan blockers
    with: data review
    ---
    [system]
    The stable part: the same for every task, so that providers can cache it.
    [user]
    {{ task }}

`inputs` names what the user part may use. `with` names files of `prompts/shared/` that the system part begins with.
Templates are Jinja2 and rendered by the worker, where an undefined variable is an error; so names are checked here, at load.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from loom.kernel.flow import Agent
from loom.kernel.values import Capability

ALWAYS = ("task", "round", "iteration", "blockers", "messages", "facts")
"""Inputs of every agent: text · int · int (how often this stage was entered) · list of {id, agent, severity, category, path,
line, message, evidence, suggestion}, what was open when the work was sent back and what is open in this round · list of {by, text} · mapping."""
JUDGING = ("own_findings",)
"""Inputs of agents that judge: what they found in the round before, as `blockers` plus `status`."""
WORKSPACE = ("diff", "interdiff", "changed_files")
"""Inputs of agents with a workspace: text ("" : nothing changed yet) · text ("" : nothing was judged before) · list of
{path, status, added, removed}."""
RESERVED = (*ALWAYS, *JUDGING, *WORKSPACE)

KEYS = frozenset({"about", "inputs", "with"})
LAYOUT = "a prompt file is `---`, keys, `---`, `[system]`, text, `[user]`, text"
_FILE = re.compile(r"\A---\n(?P<head>.*?)\n?---\n\s*\[system\]\n(?P<system>.*?)\n\[user\]\n(?P<user>.*)\Z", re.DOTALL)
_TAG = re.compile(r"\{\{(?P<shown>.*?)\}\}|\{%(?P<done>.*?)%\}", re.DOTALL)
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_STRING = re.compile(r"'[^']*'|\"[^\"]*\"")
_LOCAL = re.compile(r"^-?\s*(?:for\s+(?P<loop>[\w\s,()]+?)\s+in\b|set\s+(?P<set>\w+))")
_NAME = re.compile(r"(?P<before>[.|]\s*|\bis\s+(?:not\s+)?)?(?<![\w.])(?P<name>[A-Za-z_]\w*)(?P<after>\s*=(?!=))?")
_WORDS = frozenset(
    "and elif else endfor endif endset false for if in is loop none not or recursive set true False None True "
    "cycler dict joiner lipsum namespace range".split()
)
"""Words of the language, and the functions that Jinja2 brings."""


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A prompt as its author wrote it, `with` resolved."""

    name: str
    about: str
    inputs: tuple[str, ...]
    system: str
    user: str


def parse(name: str, files: Mapping[str, bytes]) -> tuple[PromptFile | None, list[str]]:
    """The prompt `prompts/<name>.md` of a bundle, and what is wrong with the file."""
    place = f"prompts/{name}.md"
    if place not in files:
        return None, [f"{place} is missing"]
    found = _FILE.match(files[place].decode("utf-8", "replace").replace("\r\n", "\n"))
    if found is None:
        return None, [f"{place}: {LAYOUT}"]
    keys, faults = _head(place, found["head"])
    shared, missing = _shared(place, keys.get("with", "").split(), files)
    system = "\n\n".join([*shared, found["system"].strip()])
    faults += missing
    if variables(system):
        faults.append(
            f"{place}: the system part uses {_list(variables(system))}; it is the stable prefix, without inputs"
        )
    inputs = tuple(keys.get("inputs", "").split())
    prompt = PromptFile(name, keys.get("about", ""), inputs, system, found["user"].strip() + "\n")
    return prompt, [*faults, *_unequal(place, set(inputs), variables(prompt.user))]


def available(agent: Agent) -> frozenset[str]:
    """The names that the templates of this agent may use."""
    names = {*ALWAYS, *agent.needs, *agent.wants}
    names.update(JUDGING if agent.judges else ())
    names.update(WORKSPACE if agent.capability in (Capability.READ, Capability.EDIT) else ())
    return frozenset(names)


def variables(template: str) -> frozenset[str]:
    """The free names of a Jinja2 template. Loop variables and what it sets itself are bound in the whole template."""
    used: set[str] = set()
    bound: set[str] = set()
    for tag in _TAG.finditer(_COMMENT.sub("", template)):
        inside = _STRING.sub("''", tag["shown"] or tag["done"] or "")
        local = _LOCAL.match(inside.strip().lstrip("-").strip())
        if local:
            bound.update(re.findall(r"\w+", local["loop"] or local["set"]))
        used.update(name["name"] for name in _NAME.finditer(inside) if not name["before"] and not name["after"])
    return frozenset(used - bound - _WORDS)


def _head(place: str, head: str) -> tuple[dict[str, str], list[str]]:
    keys: dict[str, str] = {}
    faults: list[str] = []
    for line in filter(str.strip, head.split("\n")):
        key, colon, value = line.partition(":")
        if not colon or key.strip() not in KEYS:
            faults.append(f"{place}: the front matter knows {_list(KEYS)}, not {line.strip()!r}")
        keys[key.strip()] = value.strip()
    return keys, faults


def _shared(place: str, names: list[str], files: Mapping[str, bytes]) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    faults: list[str] = []
    for name in names:
        shared = f"prompts/shared/{name}.md"
        if shared in files:
            texts.append(files[shared].decode("utf-8", "replace").replace("\r\n", "\n").strip())
        else:
            faults.append(f"{place}: begins with {name}, but {shared} is missing")
    return texts, faults


def _unequal(place: str, declared: set[str], used: frozenset[str]) -> list[str]:
    faults = [f"{place}: uses {name} without declaring it in `inputs`" for name in sorted(used - declared)]
    return faults + [f"{place}: declares the input {name} and does not use it" for name in sorted(declared - used)]


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
