"""Who works: each agent with its words, its facts and what is measured after it.

An agent's word is what it says; a measured fact is what the worker's hands find in the trees, whatever the agent says.
"""

from __future__ import annotations

from loom.kernel.facts import BOOL
from loom.kernel.flow import Agent, Measure
from loom.kernel.values import Capability, Tier

JUDGES = ("approve", "block")
FLOWS = ("question", "trivial", "simple", "medium")
RISKS = ("low", "medium", "high")
MINUTE_MS = 60_000

TESTS = (
    "tests/",
    "test/",
    "__tests__/",
    "spec/",
    "testdata/",
    "test_*.py",
    "*_test.py",
    "tests.py",
    "conftest.py",
    "*_test.go",
    "*_test.rs",
    "*.test.*",
    "*.spec.*",
    "*Test.java",
    "*Tests.java",
    "*_spec.rb",
    "*.snap",
    "pytest.ini",
    "tox.ini",
    "noxfile.py",
    "jest.config.*",
    "vitest.config.*",
    ".coveragerc",
)
"""Places of tests, and of files whose only purpose is to say which tests run. Changing or deleting what was there needs a person.

Patterns are as in .gitignore: without a slash they match the last component, with one at the end everything below."""

TEST_SETUP = (
    "conftest.py",
    "pytest.ini",
    ".pytest.ini",
    "pytest.toml",
    ".pytest.toml",
    "tox.ini",
    "setup.cfg",
    "sitecustomize.py",
    "usercustomize.py",
    "noxfile.py",
    ".coveragerc",
    "jest.config.*",
    "vitest.config.*",
)
"""Files that say how and which tests run, or that run before them. A new one can silence every test, so it needs a person, too."""

SECURITY = (
    "*auth*",
    "*auth*/",
    "*login*",
    "*session*",
    "*passw*",
    "*secret*",
    "*token*",
    "*crypt*",
    "*permission*",
    "*sandbox*",
    "*sanitiz*",
    "*csrf*",
    "*upload*",
    "security/",
    "*.sql",
    "migrations/",
    "*Dockerfile*",
    "*.tf",
    ".github/",
    ".gitlab-ci.yml",
    "requirements*.txt",
    "pyproject.toml",
    "setup.py",
    "package.json",
    "*.lock",
    "*-lock.*",
    "go.mod",
    "go.sum",
    "Cargo.toml",
    "pom.xml",
    "build.gradle*",
    "Makefile",
)
"""Places where a mistake is a hole: identity, secrets, storage, what is installed, what runs by itself."""

MEASURES = (
    Measure("empty", "empty", BOOL),
    Measure("tests_changed", "existing-changed", BOOL, TESTS),
    Measure("test_setup_changed", "paths", BOOL, TEST_SETUP),
    Measure("touches_security", "paths", BOOL, SECURITY),
    Measure("size", "size", ("small", "medium", "large")),
)

CLASSIFIER = Agent(
    "classifier",
    Capability.ANSWER,
    facts=(("flow", FLOWS), ("risk", RISKS)),
    prompt="classifier",
    output="Classification",
    tier=Tier.FAST,
    wall_ms=5 * MINUTE_MS,
)
RESPONDER = Agent("responder", Capability.READ, makes=("answer",), prompt="responder", output="Answer")
SCOUT = Agent("scout", Capability.READ, makes=("notes",), prompt="scout", output="Notes", tier=Tier.FAST)
PLANNER = Agent(
    "planner",
    Capability.READ,
    outcomes=("done", "unclear"),
    needs=("notes",),
    makes=("plan",),
    prompt="planner",
    output="Plan",
    tier=Tier.PREMIUM,
)
PLAN_REVIEWER = Agent(
    "plan_reviewer",
    Capability.READ,
    outcomes=JUDGES,
    needs=("plan",),
    wants=("notes",),
    prompt="plan_reviewer",
    output="Review",
    judges=True,
)
IMPLEMENTER = Agent(
    "implementer",
    Capability.EDIT,
    outcomes=("done", "stuck"),
    measures=MEASURES,
    wants=("notes", "plan", "check_output"),
    prompt="implementer",
    output="Implementation",
)
CHECKS = Agent("checks", Capability.CHECKS, outcomes=("passed", "failed", "skipped"), makes=("check_output",))
CORRECTNESS = Agent(
    "correctness",
    Capability.READ,
    outcomes=JUDGES,
    facts=(("correctness_unproved", BOOL),),
    wants=("plan",),
    prompt="correctness",
    output="CorrectnessReview",
    judges=True,
)
CHALLENGER = Agent(
    "challenger",
    Capability.READ,
    outcomes=JUDGES,
    facts=(("challenger_unproved", BOOL),),
    wants=("plan",),
    prompt="challenger",
    output="ChallengerReview",
    tier=Tier.PREMIUM,
    judges=True,
)
SECURITY_REVIEWER = Agent(
    "security", Capability.READ, outcomes=JUDGES, wants=("plan",), prompt="security", output="Review", judges=True
)
STYLE = Agent(
    "style",
    Capability.READ,
    outcomes=JUDGES,
    wants=("plan",),
    prompt="style",
    output="Review",
    tier=Tier.FAST,
    judges=True,
)
ADJUDICATOR = Agent(
    "adjudicator",
    Capability.READ,
    outcomes=JUDGES,
    wants=("plan", "check_output"),
    prompt="adjudicator",
    output="Review",
    tier=Tier.PREMIUM,
    judges=True,
)
ACCEPTANCE = Agent(
    "acceptance",
    Capability.READ,
    outcomes=JUDGES,
    wants=("plan", "check_output"),
    prompt="acceptance",
    output="Review",
    judges=True,
)
DELIVER = Agent("deliver", Capability.ACT)
"""Makes the branch `loom/<task>` at the accepted commit."""
PUSH = Agent("push", Capability.ACT)
"""Pushes the accepted commit to a remote of the person's repository, when a person asks for it."""

AGENTS = (
    CLASSIFIER,
    RESPONDER,
    SCOUT,
    PLANNER,
    PLAN_REVIEWER,
    IMPLEMENTER,
    CHECKS,
    CORRECTNESS,
    CHALLENGER,
    SECURITY_REVIEWER,
    STYLE,
    ADJUDICATOR,
    ACCEPTANCE,
    DELIVER,
    PUSH,
)
