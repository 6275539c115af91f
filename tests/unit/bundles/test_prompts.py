"""Prompts: their names are read as Jinja2 reads them, and each of `code` renders in every round with what it is given."""

from __future__ import annotations

import json

import jinja2
import jinja2.meta
import pytest

from loom.bundles import registry
from loom.bundles.prompts import ALWAYS, JUDGING, WORKSPACE, available, variables
from loom.kernel.flow import Agent, Bundle
from loom.workers.prompts import material, render
from loom.workers.protocol import Prompt

TEMPLATES = [
    "{{ a }}",
    "{{ a.b['c'] }} {{ d[e] }}",
    "{% if a and not b or c is defined %}{{ d }}{% elif e %}{% else %}{% endif %}",
    "{% for x in a %}{{ loop.index }}{{ x.y }}{% endfor %}",
    "{% for k, v in a.items() %}{{ k }}{{ v }}{{ w }}{% endfor %}",
    "{% set x = a %}{{ x ~ b }}",
    "{{ a | material('b') | length }}{{ c | default(d, boolean=true) }}",
    "{{ 'a' ~ \"b\" ~ c }}{{ d == e }}{{ f(g=h) }}",
    "{# {{ a }} #}{{- b -}}{%- if c -%}{%- endif -%}",
    "{{ a[:10] ~ b[-3:] }} {{ a | length - 4 }}{{ c if d else e }}",
    "plain {text} % a",
    "{{ a in b }}{{ true }}{{ none }}{{ range(c) }}",
]
FINDING = {
    "id": "f1",
    "agent": "correctness",
    "severity": "blocking",
    "category": "off-by-one",
    "path": "a.py",
    "line": 3,
    "message": "f(0) fails",
    "evidence": "f(0) gives 1, expected 0",
    "suggestion": "use <",
}
FULL = {
    "task": "Mend f.",
    "round": 2,
    "iteration": 2,
    "facts": {"size": "small"},
    "blockers": [FINDING, {**FINDING, "id": "f2", "path": "", "line": 0, "suggestion": ""}],
    "own_findings": [{**FINDING, "message": "what I found"}],
    "messages": [{"by": "ada", "text": "Only f, please."}],
    "diff": "--- a/a.py\n+++ b/a.py\n",
    "interdiff": "--- a/a.py\n+++ b/a.py\n@@\n",
    "changed_files": [{"path": "a.py", "status": "M", "added": 1, "removed": 2}],
}
"""Every input, as a later round has it."""
BARE = {name: type(value)() for name, value in FULL.items()} | {"task": "Mend f.", "round": 1, "iteration": 1}
"""Every input, as the first round has it."""


ENVIRONMENT = jinja2.Environment(autoescape=False)
ENVIRONMENT.filters["material"] = material


@pytest.fixture(scope="module")
def code() -> Bundle:
    return registry.load("code")


def inputs(agent: Agent, values: dict[str, object], *, wanted: bool) -> dict[str, object]:
    """What this agent is given: needs always, wants when they exist, else the empty text."""
    given = {name: value for name, value in values.items() if name in available(agent)}
    given.update({name: f"the {name}" for name in agent.needs})
    return given | {name: f"the {name}" if wanted else "" for name in agent.wants}


@pytest.mark.parametrize("template", TEMPLATES)
def test_names_are_read_as_jinja_reads_them(template: str) -> None:
    """The free names that we find are those that Jinja2 finds."""
    parsed = ENVIRONMENT.parse(template)
    assert jinja2.meta.find_undeclared_variables(parsed) == variables(template)


def test_names_of_all_prompts_are_read_as_jinja_reads_them(code: Bundle) -> None:
    """On every shipped template the reader and Jinja2 agree."""
    for system, user in code.templates.values():
        parsed = ENVIRONMENT.parse(user)
        assert jinja2.meta.find_undeclared_variables(parsed) == variables(user)
        assert frozenset() == variables(system)


def test_each_prompt_renders_in_the_first_round(code: Bundle) -> None:
    """With nothing found, said or changed yet, no prompt of `code` misses a name or shows an empty chapter."""
    for agent in (agent for agent in code.agents if agent.prompt):
        system, user = code.templates[agent.prompt]
        shown = render(Prompt(digest="", system=system, user=user), inputs(agent, BARE, wanted=False))
        assert "Mend f." in shown.user
        chapters = [part.strip() for part in ("\n" + shown.user).split("\n## ")[1:]]
        empty = [part for part in chapters if "\n" not in part]
        assert set(empty) <= {"Changed files"}, (agent.name, empty)


def test_each_prompt_shows_what_it_is_given(code: Bundle) -> None:
    """In a later round every input that a prompt asks for reaches the model."""
    marks = {
        "blockers": "f(0) fails",
        "own_findings": "what I found",
        "messages": "Only f, please.",
        "diff": '<material name="diff">',
        "interdiff": '<material name="interdiff">',
        "changed_files": "M a.py (+1 −2)",
    }
    for agent in (agent for agent in code.agents if agent.prompt):
        system, user = code.templates[agent.prompt]
        shown = render(Prompt(digest="", system=system, user=user), inputs(agent, FULL, wanted=True))
        asked = variables(user)
        for name in (*agent.needs, *agent.wants):
            assert name not in asked or f"the {name}" in shown.user, (agent.name, name)
        for name, mark in marks.items():
            assert (mark in shown.user) == (name in asked), (agent.name, name)


def test_every_artifact_that_an_agent_asks_for_is_shown(code: Bundle) -> None:
    """Nothing is carried to an agent that its prompt does not use."""
    for agent in (agent for agent in code.agents if agent.prompt):
        assert set(agent.needs) | set(agent.wants) <= variables(code.templates[agent.prompt][1]), agent.name


def test_messages_of_people_reach_every_agent(code: Bundle) -> None:
    """Whatever stage a person's answer leads to, the next model reads it; it stands last."""
    for agent in (agent for agent in code.agents if agent.prompt):
        system, user = code.templates[agent.prompt]
        shown = render(Prompt(digest="", system=system, user=user), inputs(agent, FULL, wanted=True))
        assert shown.user.rstrip().endswith("- ada: Only f, please."), agent.name


def test_the_system_part_is_a_stable_prefix(code: Bundle) -> None:
    """Two rounds of one agent share the whole system text, so that a provider can cache it."""
    for agent in (agent for agent in code.agents if agent.prompt):
        system, user = code.templates[agent.prompt]
        prompt, schema = Prompt(digest="", system=system, user=user), code.outputs[agent.output]
        first = render(prompt, inputs(agent, FULL, wanted=True), schema)
        later = render(prompt, inputs(agent, {**FULL, "task": "Other."}, wanted=True), schema)
        assert first.system == later.system
        assert json.loads(first.system.rpartition("\n")[2]) == json.loads(schema)


def test_long_output_of_checks_is_cut(code: Bundle) -> None:
    """Head and tail of a long output reach the implementer; what is left out is said."""
    implementer = next(agent for agent in code.agents if agent.name == "implementer")
    system, user = code.templates["implementer"]
    output = "HEAD" + "x" * 100_000 + "TAIL"
    given = {**inputs(implementer, FULL, wanted=True), "check_output": output}
    shown = render(Prompt(digest="", system=system, user=user), given).user
    assert len(shown) < 50_000
    assert "HEAD" in shown
    assert "TAIL\n</material>" in shown
    assert f"{len(output) - 40_000} characters" in shown


def test_what_an_agent_is_given_follows_its_declaration(code: Bundle) -> None:
    """Judges see findings, agents with a workspace see the change, an answering one sees neither."""
    given = {agent.name: available(agent) for agent in code.agents}
    assert set(ALWAYS) == given["classifier"]
    assert {*ALWAYS, *WORKSPACE, "notes"} == given["planner"]
    assert {*ALWAYS, *WORKSPACE, *JUDGING, "plan"} == given["correctness"]
