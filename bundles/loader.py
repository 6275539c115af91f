"""From a bundle's files to a `Bundle` that can be used, or every fault at once.

Order: what the code may import, then the code itself, then prompts and output types, then the table. A later part is
looked at as far as the earlier one allows, so that an author mends a bundle in one go.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from loom.bundles import imports, prompts
from loom.bundles.archives import BundleError, Files, digest_of, forget, import_from, pack
from loom.bundles.faults import MODELS, table_faults
from loom.bundles.schemas import schema_of, schema_text
from loom.kernel.flow import Agent, Bundle

TABLE = "bundle.py"
OUTPUTS = "outputs.py"
FINDING_KEYS = frozenset({"severity", "category", "path", "line", "message", "evidence", "suggestion"})
"""What each finding of a judging agent has."""
SEVERITIES = ["blocking", "info", "warn"]


def build(files: Files, name: str, digest: str = "", *, kept: bool = False) -> Bundle:
    """The bundle of these files, its digest, templates and output schemas filled in. Raises BundleError with all faults.

    kept: tasks were started with it. Then it is run as it is: what authors are asked for today, it was not asked for then,
    and its tasks must go on and replay for ever.
    """
    if TABLE not in files:
        raise BundleError(name, [f"there is no {TABLE}; a bundle's table is named BUNDLE there"])
    faults = [
        fault
        for file in sorted(files)
        if file.endswith(".py")
        for fault in imports.faults_of(file, files[file].decode("utf-8", "replace"))
    ]
    if faults and not kept:
        raise BundleError(name, faults)
    digest = digest or digest_of(pack(files))
    try:
        bundle, outputs = _run(files, name, digest)
        return _filled(bundle, outputs, files, name, digest, kept=kept)
    except BundleError:
        forget(digest)
        raise


def _run(files: Files, name: str, digest: str) -> tuple[Bundle, ModuleType | None]:
    """Import the table and the output types."""
    package = import_from(files, digest, f"<bundle {name}>").__name__
    try:
        table = importlib.import_module(f"{package}.bundle")
        outputs = importlib.import_module(f"{package}.outputs") if OUTPUTS in files else None
    except Exception as error:  # the author's code may raise anything
        raise BundleError(name, [f"its code raised {type(error).__name__}: {error}"]) from error
    found = getattr(table, "BUNDLE", None)
    if not isinstance(found, Bundle):
        raise BundleError(name, [f"{TABLE} has no BUNDLE of type loom.kernel.flow.Bundle"])
    return found, outputs


def _filled(bundle: Bundle, outputs: ModuleType | None, files: Files, name: str, digest: str, *, kept: bool) -> Bundle:
    templates: dict[str, tuple[str, str]] = {}
    schemas: dict[str, str] = {}
    faults: list[str] = []
    for agent in bundle.agents:
        if agent.capability not in MODELS:
            continue
        if agent.prompt:
            faults += _prompt(agent, files, templates)
        if agent.output:
            faults += _output(agent, outputs, schemas)
    faults += _unused_prompts(bundle, files)
    faults += table_faults(bundle)
    if faults and not kept:
        raise BundleError(bundle.name or name, list(dict.fromkeys(faults)))
    return replace(bundle, digest=digest, templates=templates, outputs=schemas)


def _prompt(agent: Agent, files: Files, templates: dict[str, tuple[str, str]]) -> list[str]:
    prompt, faults = prompts.parse(agent.prompt, files)
    if prompt is None:
        return [f"agent {agent.name}: {fault}" for fault in faults]
    templates[agent.prompt] = (prompt.system, prompt.user)
    there = prompts.available(agent)
    for name in prompt.inputs:
        if name not in there:
            faults.append(
                f"agent {agent.name}: its prompt asks for {name}, which this agent is not given; it is given "
                + ", ".join(sorted(there))
            )
    return faults


def _unused_prompts(bundle: Bundle, files: Files) -> Iterator[str]:
    used = {f"prompts/{agent.prompt}.md" for agent in bundle.agents}
    for file in sorted(files):
        if file.startswith("prompts/") and file.count("/") == 1 and file not in used:
            yield f"{file} is the prompt of no agent"


def _output(agent: Agent, outputs: ModuleType | None, schemas: dict[str, str]) -> list[str]:
    at = f"agent {agent.name}"
    kind = getattr(outputs, agent.output, None)
    if not isinstance(kind, type):
        return [f"{at}: its output type {agent.output} is not in {OUTPUTS}"]
    try:
        schema = schema_of(kind)
    except TypeError as error:
        return [f"{at}: its output type {agent.output} has no JSON schema ({error})"]
    schemas[agent.output] = schema_text(schema)
    return [f"{at}: {fault}" for fault in output_faults(agent, schema)]


def output_faults(agent: Agent, schema: Mapping[str, Any]) -> list[str]:
    """Where an output type says something else than the agent's declaration."""
    what = f"its output type {agent.output}"
    properties: dict[str, dict[str, Any]] = dict(schema.get("properties", {}))
    expected = {"outcome", "summary", *agent.makes}
    expected |= {"facts"} if agent.facts else set()
    expected |= {"findings"} if agent.judges else set()
    faults = [f"{what} lacks the key {key}" for key in sorted(expected - properties.keys())]
    faults += [
        f"{what} has the key {key}, which the agent does not declare" for key in sorted(properties.keys() - expected)
    ]
    words = _words(properties.get("outcome", {}))
    if "outcome" in properties and words != sorted(agent.outcomes):
        faults.append(f"{what} says the outcomes {', '.join(words)}; the agent declares {', '.join(agent.outcomes)}")
    facts = {key: _words(each) for key, each in properties.get("facts", {}).get("properties", {}).items()}
    declared = {key: sorted(values) for key, values in agent.facts}
    if "facts" in properties and facts != declared:
        faults.append(f"{what} says the facts {facts}; the agent declares {declared}")
    if agent.judges and "findings" in properties:
        item = properties["findings"].get("items", {}).get("properties", {})
        if set(item) != FINDING_KEYS:
            faults.append(f"{what}: each of its findings has {', '.join(sorted(FINDING_KEYS))}")
        elif _words(item["severity"]) != SEVERITIES:
            faults.append(f"{what}: the severity of a finding is one of {', '.join(SEVERITIES)}")
    return faults


def _words(schema: Mapping[str, Any]) -> list[str]:
    return sorted(str(word) for word in schema.get("enum", [schema["const"]] if "const" in schema else []))
