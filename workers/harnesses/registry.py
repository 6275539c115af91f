"""Name → harness. Those of others come from the entry point group `loom.harnesses`: a callable() → Harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from loom.workers.protocol import Binding, ErrorClass
from loom.workers.seams import HandsError, Harness

GROUP = "loom.harnesses"

Factory = Callable[[], Harness]


def _api() -> Harness:
    from loom.workers.harnesses.api import ApiHarness

    return ApiHarness()


def _claude() -> Harness:
    from loom.workers.harnesses.claude import ClaudeHarness

    return ClaudeHarness()


BUILTIN: dict[str, Factory] = {"api": _api, "claude": _claude}


def harness_of(binding: Binding) -> str:
    """The name of the harness that serves a binding: its own word, else `claude` for that family, else `api`."""
    return binding.harness or ("claude" if binding.family == "claude" else "api")


def names() -> tuple[str, ...]:
    """Every harness that is installed; whether its tool is there says its probe."""
    return tuple(sorted({*BUILTIN, *(point.name for point in entry_points(group=GROUP))}))


class Harnesses:
    """The harnesses of one worker, each made when it is first asked for. `extra` stands in front of the built-in ones."""

    def __init__(self, extra: Mapping[str, Harness] | None = None) -> None:
        self._made: dict[str, Harness] = dict(extra or {})

    def of(self, name: str) -> Harness:
        """The harness of a name. Raises HandsError (permanent) for one that is not installed."""
        if name not in self._made:
            self._made[name] = self._factory(name)()
        return self._made[name]

    def working(self) -> tuple[str, ...]:
        """Names of those whose probe works here."""
        return tuple(name for name in names() if self.of(name).probe().works)

    def _factory(self, name: str) -> Factory:
        if name in BUILTIN:
            return BUILTIN[name]
        for point in entry_points(group=GROUP, name=name):
            factory: Factory = point.load()
            return factory
        raise HandsError(ErrorClass.PERMANENT, f"no harness {name}: there are {', '.join(names())}")
