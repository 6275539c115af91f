"""Which model serves which agent: from what the user said, else from what this machine has.

The order without any word of the user's: the Claude Code login, if `claude` is there; a key (ANTHROPIC_API_KEY,
OPENAI_API_KEY, OPENROUTER_API_KEY) in the environment or the home's store; a running Ollama. What an agent gets is a chain
of complete references (coordinator/bindings.py): tiers, addresses and paths are put in here, at submit, and stand in the
record from then on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loom.coordinator import bindings
from loom.coordinator.bindings import BadReference, Reference, format_ref, parse_ref
from loom.transports import secrets
from loom.transports.errors import UnavailableProblem, UsageProblem
from loom.transports.settings import Models

TIERS = ("fast", "balanced", "premium")

MODELS: dict[str, dict[str, str]] = {
    "anthropic": {"fast": "claude-haiku-5-5", "balanced": "claude-sonnet-5-5", "premium": "claude-opus-5-5"},
    "openai": {"fast": "gpt-6-luna", "balanced": "gpt-6.1-terra", "premium": "gpt-6.1-sol"},
    "openrouter": {
        "fast": "anthropic/claude-haiku-5.5",
        "balanced": "anthropic/claude-sonnet-5.5",
        "premium": "anthropic/claude-opus-5.5",
    },
    "claude": {"fast": "haiku", "balanced": "sonnet", "premium": "opus"},
    "stub": {"fast": "stub", "balanced": "stub", "premium": "stub"},
}
"""Family → tier → model, as of November 2026; `models.<family>.<tier>` in the settings overrides. Ollama's are its own."""

KEYS: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
}
"""Family → the names of its key; one of them is enough."""

ADDRESSES = {
    "openai": "OPENAI_BASE_URL",
    "openrouter": "OPENROUTER_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
}
"""Family → the variable that names another address; it is captured at submit."""

CLAUDE_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
OLLAMA = "http://127.0.0.1:11434"
OLLAMA_WAIT_S = 0.5
"""Seconds that a local server may take to say what models it has."""
MAX_HEADER = 64 * 1024
"""Bytes of a reply file's first line."""

NOTHING = (
    "loom found no model to work with: no Claude Code login, no API key, no running Ollama.",
    "set ANTHROPIC_API_KEY, OPENAI_API_KEY or OPENROUTER_API_KEY (or `loom secrets set NAME`), log in with `claude`, or start Ollama",
)


@dataclass(frozen=True, slots=True)
class Agent:
    """What a choice of models needs to know of an agent. thinks: it is run with a model."""

    name: str
    tier: str
    thinks: bool


@dataclass(frozen=True)
class Machine:
    """What this machine has: environment, PATH, files, a local server. Tests hand in their own."""

    home: Path | None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def key(self, names: Iterable[str]) -> str:
        """The first of these secrets that there is ("" : none)."""
        return next((name for name in names if secrets.origin(name, self.home, self.environ)), "")

    def claude(self) -> str:
        """The path of Claude Code ("" : not on PATH)."""
        return shutil.which("claude", path=self.environ.get("PATH")) or ""

    def claude_login(self) -> str:
        """How Claude Code is logged in: "key", "login", or "" when it is not, as far as can be told without running it."""
        if any(self.environ.get(name) for name in CLAUDE_KEYS):
            return "key"
        user = Path(self.environ.get("HOME") or Path.home())
        folder = Path(self.environ.get("CLAUDE_CONFIG_DIR") or user / ".claude")
        if (folder / ".credentials.json").is_file():
            return "login"
        for path in (folder / ".claude.json", user / ".claude.json"):
            try:
                if json.loads(path.read_text(encoding="utf-8")).get("oauthAccount"):
                    return "login"
            except (OSError, ValueError, AttributeError):
                continue
        return ""

    def ollama_url(self) -> str:
        """Where Ollama would be, by OLLAMA_HOST or its own default."""
        host = self.environ.get("OLLAMA_HOST") or OLLAMA
        url = (host if "://" in host else f"http://{host}").rstrip("/").removesuffix("/v1")
        return url if url.count(":") > 1 else f"{url}:11434"

    def ollama_models(self) -> tuple[str, ...] | None:
        """Ollama's models, smallest first; None when nothing answers there."""
        import urllib.request

        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{self.ollama_url()}/api/tags", timeout=OLLAMA_WAIT_S) as answer:
                found: Any = json.loads(answer.read(4 * 1024 * 1024))
            models = sorted(found["models"], key=lambda model: (int(model.get("size", 0)), str(model["name"])))
            return tuple(str(model["name"]) for model in models)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Backend:
    """The family that serves every agent without a word of the user's, and why."""

    family: str
    why: str


def default_backend(machine: Machine) -> Backend:
    """What this machine offers, in the order above. Raises UsageProblem when there is nothing."""
    if machine.claude() and (how := machine.claude_login()):
        return Backend("claude", f"Claude Code ({'its key' if how == 'key' else 'your login'})")
    for family, names in KEYS.items():
        if name := machine.key(names):
            return Backend(family, name)
    if models := machine.ollama_models():
        return Backend("ollama", f"Ollama at {machine.ollama_url()} ({len(models)} models)")
    raise UsageProblem(*NOTHING)


def parse_choices(options: Sequence[str], agents: Sequence[Agent]) -> dict[str, str]:
    """`AGENT=REF[,REF…]` options as agent → chain; "*" stands for all. Raises UsageProblem for an unknown agent."""
    known = [agent.name for agent in agents if agent.thinks]
    chosen: dict[str, str] = {}
    for option in options:
        agent, equals, chain = option.partition("=")
        agent, chain = agent.strip(), chain.strip()
        if not equals or not agent or not chain:
            raise UsageProblem(f"--model {option!r} is not of the form AGENT=REF.", "--model '*=anthropic:balanced'")
        check_agent(agent, known)
        if agent in chosen:
            raise UsageProblem(f"--model names the agent {agent} twice.", "give its chain once: AGENT=REF,REF")
        chosen[agent] = chain
    return chosen


def check_agent(agent: str, known: Sequence[str]) -> None:
    """Raises UsageProblem for an agent that takes no model here."""
    if agent != "*" and agent not in known:
        raise UsageProblem(
            f"There is no agent {agent!r} that takes a model.", f"the agents are {', '.join(known)}, or * for all"
        )


class Chooser:
    """Makes each agent's chain; every reference is checked against this machine before anything is created."""

    def __init__(self, machine: Machine, models: Models) -> None:
        self.machine = machine
        self._models = models
        self._checked: set[tuple[str, str, str]] = set()
        self._ollama: tuple[str, ...] | None = None

    def chains(self, agents: Sequence[Agent], options: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(agent, chain) of every agent that thinks: the option's, the settings', else the default family's by tier."""
        chosen: dict[str, str] = {}
        for layer in (self._models.agents, options):
            if "*" in layer:
                chosen = dict.fromkeys((agent.name for agent in agents), layer["*"])
            chosen.update({name: chain for name, chain in layer.items() if name != "*"})
        thinking = [agent for agent in agents if agent.thinks]
        default = ""
        if any(agent.name not in chosen for agent in thinking):
            default = f"{default_backend(self.machine).family}:"
        return tuple((agent.name, self.chain(chosen.get(agent.name, default), agent.tier)) for agent in thinking)

    def chain(self, text: str, tier: str) -> tuple[str, ...]:
        """A chain of complete, checked references. Raises UsageProblem or UnavailableProblem."""
        try:
            references = tuple(parse_ref(part) for part in bindings.split(text))
        except BadReference as error:
            raise UsageProblem(
                f"{error}.", "for example anthropic:balanced, openai:gpt-6.1-sol, claude: or recorded:FILE"
            ) from error
        if not references:
            raise UsageProblem(f"{text!r} names no model.", "--model '*=anthropic:balanced'")
        return tuple(format_ref(self.complete(reference, tier)) for reference in references)

    def complete(self, reference: Reference, tier: str) -> Reference:
        """The reference with model and address put in, and checked."""
        family, model, base_url = reference.family, reference.model, reference.base_url
        if family == "recorded":
            return Reference(family, self._recorded(model))
        if not model or model in TIERS:
            model = self._by_tier(family, model or tier)
        if not base_url and family in ADDRESSES:
            base_url = self.machine.environ.get(ADDRESSES[family], "").rstrip("/")
        self._check(family, model, base_url)
        return Reference(family, model, base_url)

    def _by_tier(self, family: str, tier: str) -> str:
        override: str = getattr(getattr(self._models, family, None), tier, "")
        if override:
            return override
        if family != "ollama":
            return MODELS[family][tier]
        models = self._ollama_models()
        if not models:
            raise UnavailableProblem("Ollama has no model.", "ollama pull NAME, or name one: ollama:NAME")
        return {"fast": models[0], "balanced": models[len(models) // 2], "premium": models[-1]}[tier]

    def _ollama_models(self) -> tuple[str, ...]:
        if self._ollama is None:
            self._ollama = self.machine.ollama_models()
        if self._ollama is None:
            raise UnavailableProblem(f"No Ollama answers at {self.machine.ollama_url()}.", "start it: ollama serve")
        return self._ollama

    def _recorded(self, name: str) -> str:
        """The file's absolute path. Raises UsageProblem unless it is a file of replies."""
        if not name:
            raise UsageProblem("recorded: names no file.", "recorded:FILE, a file written by `loom run --record FILE`")
        path = Path(name).expanduser().absolute()
        try:
            with path.open("rb") as file:
                header = json.loads(file.readline(MAX_HEADER))
            if "loom_replies" not in header:
                raise ValueError
        except OSError as error:
            raise UsageProblem(f"The file of replies {path} cannot be read: {error.strerror}.") from error
        except (ValueError, TypeError) as error:
            raise UsageProblem(
                f"{path} is not a file of replies: its first line is no header.",
                "write one with `loom run --record FILE`",
            ) from error
        return str(path)

    def _check(self, family: str, model: str, base_url: str) -> None:
        """That the family can be reached from here at all: its tool, its key, its server."""
        if (family, model, base_url) in self._checked:
            return
        if family == "claude" and not self.machine.claude():
            raise UsageProblem(
                f"claude:{model} needs Claude Code, and there is no `claude` on PATH.",
                "npm install -g @anthropic-ai/claude-code, then `claude` to log in; or use anthropic: with a key",
            )
        if family == "ollama" and not base_url:
            self._ollama_models()
        names = KEYS.get(family, ())
        needs = bool(names) and not (family == "openai" and base_url)  # a server of one's own may ask for none
        if needs and not self.machine.key(names):
            raise UsageProblem(
                f"{family}:{model} needs {names[0]}, and it is neither in the environment nor in the home's store.",
                f"export {names[0]}=…, or `loom secrets set {names[0]}`",
            )
        self._checked.add((family, model, base_url))
