"""A bundle's files are refused with every fault: imports, prompts, output types."""

from __future__ import annotations

import json

import pytest
from msgspec import Struct

from harness import bundle_files as small
from loom.bundles.archives import BundleError
from loom.bundles.loader import build
from loom.bundles.schemas import schema_of

OTHER = {
    "outcome": ('outcome: Literal["done"]', 'outcome: Literal["done", "late"]'),
    "no outcome": ('    outcome: Literal["done"]\n', ""),
    "artifact": ("    text: str\n", ""),
    "extra": ("    text: str\n", "    text: str\n    note: str\n"),
    "fact": ('good: Literal["yes", "no"]', 'good: Literal["yes", "no", "so so"]'),
    "no facts": ("    facts: Facts\n", ""),
    "no findings": ("    findings: list[Finding]\n", ""),
    "finding's keys": ("    suggestion: str\n", ""),
    "severity": ('"blocking", "warn", "info"', '"blocking", "warn"'),
}
SAID = {
    "outcome": "says the outcomes done, late; the agent declares done",
    "no outcome": "lacks the key outcome",
    "artifact": "lacks the key text",
    "extra": "has the key note, which the agent does not declare",
    "fact": "says the facts {'good': ['no', 'so so', 'yes']}",
    "no facts": "lacks the key facts",
    "no findings": "lacks the key findings",
    "finding's keys": "each of its findings has category, evidence, line, message, path, severity, suggestion",
    "severity": "the severity of a finding is one of blocking, info, warn",
}
FILES: dict[str, tuple[dict[str, str | None], str]] = {
    "no table": ({"bundle.py": None}, "there is no bundle.py"),
    "no BUNDLE": ({"bundle.py": "X = 1\n"}, "bundle.py has no BUNDLE"),
    "not Python": ({"rules.py": "RULES = (\n"}, "rules.py:1: is not Python"),
    "code that raises": ({"rules.py": "RULES = {}['x']\n"}, "its code raised KeyError"),
    "no rules module": ({"rules.py": None}, "its code raised ModuleNotFoundError"),
    "reads a clock": ({"rules.py": "import time\nRULES = ()\n"}, "rules.py:1: imports time; allowed are"),
    "from os": ({"rules.py": "RULES = ()\nfrom os.path import join\n"}, "rules.py:2: imports os.path"),
    "msgspec in rules": ({"rules.py": "import msgspec\nRULES = ()\n"}, "rules.py:1: imports msgspec"),
    "another bundle": ({"rules.py": "from loom.bundles.code import x\n"}, "and no other bundle"),
    "the coordinator": ({"rules.py": "import loom.coordinator\n"}, "imports loom.coordinator"),
    "a lookalike of the kernel": ({"rules.py": "import loom.kernels\n"}, "imports loom.kernels"),
    "out of its folder": ({"rules.py": "from ..code import rules\n"}, "imports from outside of the bundle's folder"),
    "inside a function": ({"rules.py": "RULES = ()\ndef f():\n    import random\n"}, "rules.py:3: imports random"),
    "by __import__": ({"rules.py": "RULES = ()\nx = __import__('time')\n"}, "rules.py:2: uses __import__()"),
    "opens a file": ({"steps.py": "def f(): return open('x')\n"}, "steps.py:1: uses open()"),
    "prompt missing": ({"prompts/writer.md": None}, "agent writer: prompts/writer.md is missing"),
    "prompt of nobody": ({"prompts/editor.md": small.READER}, "prompts/editor.md is the prompt of no agent"),
    "prompt without parts": ({"prompts/reader.md": "Read {{ text }}"}, "prompts/reader.md: a prompt file is"),
    "unknown key": (
        {"prompts/reader.md": small.READER.replace("inputs", "input")},
        "the front matter knows about, inputs, with, not 'input: text'",
    ),
    "shared missing": ({"prompts/shared/manners.md": None}, "prompts/shared/manners.md is missing"),
    "system varies": (
        {"prompts/reader.md": small.READER.replace("Read.", "Read {{ text }}.")},
        "the system part uses text",
    ),
    "shared varies": ({"prompts/shared/manners.md": "For {{ task }}"}, "the system part uses task"),
    "undeclared input": (
        {"prompts/reader.md": small.READER.replace("{{ text", "{{ task }}{{ text")},
        "prompts/reader.md: uses task without declaring it",
    ),
    "unused input": (
        {"prompts/reader.md": small.READER.replace("inputs: text", "inputs: text task")},
        "declares the input task and does not use it",
    ),
    "input that is not there": (
        {"prompts/reader.md": small.READER.replace("text", "diff")},
        "agent reader: its prompt asks for diff, which this agent is not given",
    ),
    "judge's input": (
        {"prompts/writer.md": small.WRITER.replace("blockers", "own_findings")},
        "agent writer: its prompt asks for own_findings",
    ),
    "no output types": ({"outputs.py": None}, "its output type Text is not in outputs.py"),
    "output that is no type": (
        {"outputs.py": small.OUTPUTS + "\nText = 3\n"},
        "its output type Text is not in outputs.py",
    ),
    "output without a schema": (
        {"outputs.py": small.OUTPUTS.replace("text: str", "text: complex")},
        "its output type Text has no JSON schema",
    ),
    "output without an end": (
        {"outputs.py": small.OUTPUTS.replace("text: str", 'text: list["Text"]')},
        "Text contains itself",
    ),
    "the table's own": (
        {"bundle.py": small.TABLE.replace('rework="write"', 'rework="wirte"')},
        "flow main, stage decide: Rework('wirte') names no stage of this flow; did you mean write?",
    ),
}


def faults(changed: dict[str, str | None]) -> tuple[str, ...]:
    with pytest.raises(BundleError) as caught:
        build(small.named(changed), "small")
    return caught.value.faults


def test_the_small_bundle_is_sound() -> None:
    """What these tests break is whole before: templates, schemas and digest are filled in."""
    bundle = build(small.named({}), "small")
    assert ("Be short.\n\nWrite.", small.WRITER.partition("[user]\n")[2]) == bundle.templates["writer"]
    assert {"Text", "Review"} == set(bundle.outputs)
    assert 64 == len(bundle.digest)


@pytest.mark.parametrize("name", FILES)
def test_a_fault_in_a_file_is_found(name: str) -> None:
    """Each way to break a file is refused with a sentence that names it."""
    changed, expected = FILES[name]
    found = faults(changed)
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize("name", OTHER)
def test_an_output_type_says_what_the_agent_declares(name: str) -> None:
    """A type that says more, less or other than the declaration is refused."""
    old, new = OTHER[name]
    changed = small.OUTPUTS.replace(old, new, 1)
    assert changed != small.OUTPUTS
    found = faults({"outputs.py": changed})
    assert any(SAID[name] in fault for fault in found), found


def test_faults_of_all_files_come_at_once() -> None:
    """Prompts, output types and the table are all looked at before anything is said."""
    found = faults(
        {
            "prompts/writer.md": None,
            "outputs.py": small.OUTPUTS.replace("    text: str\n", ""),
            "bundle.py": small.TABLE.replace('entry="main"', 'entry="other"'),
        }
    )
    assert 3 == len(found), found


def test_a_schema_is_what_every_provider_takes() -> None:
    """One object, all keys required, none besides, no references, no defaults."""
    schema = json.loads(build(small.named({}), "small").outputs["Review"])
    finding = schema["properties"]["findings"]["items"]
    assert ["outcome", "summary", "findings"] == schema["required"]
    assert False is schema["additionalProperties"] is finding["additionalProperties"]
    assert "$ref" not in json.dumps(schema)
    assert len(finding["properties"]) == len(finding["required"]) == 7


class Titled(Struct):
    """A type whose fields have names that are words of JSON schema."""

    title: str
    default: int = 3


def test_fields_may_be_called_title() -> None:
    """Only the schema's own title and default are dropped, not fields of these names."""
    schema = schema_of(Titled)
    assert ["title", "default"] == schema["required"]
    assert {"type": "integer"} == schema["properties"]["default"]
    assert "title" not in schema
