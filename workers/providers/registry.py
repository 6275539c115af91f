"""Family → provider. Families of others come from the entry point group `loom.providers`: a callable(secret) → Provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from loom.workers.protocol import ErrorClass
from loom.workers.providers.common import Secret
from loom.workers.seams import HandsError, Provider

GROUP = "loom.providers"

Factory = Callable[[Secret], Provider]


def _openai(family: str) -> Factory:
    def make(secret: Secret) -> Provider:
        from loom.workers.providers.openai import OpenAIProvider

        return OpenAIProvider(family, secret)

    return make


def _anthropic(secret: Secret) -> Provider:
    from loom.workers.providers.anthropic import AnthropicProvider

    return AnthropicProvider(secret)


def _recorded(secret: Secret) -> Provider:
    from loom.workers.providers.recorded import RecordedProvider

    return RecordedProvider()


BUILTIN: dict[str, Factory] = {
    "anthropic": _anthropic,
    "openai": _openai("openai"),
    "openrouter": _openai("openrouter"),
    "ollama": _openai("ollama"),
    "recorded": _recorded,
}


def families() -> tuple[str, ...]:
    """Every family that a provider is installed for; whether its key is there shows at the first call."""
    return tuple(sorted({*BUILTIN, *(point.name for point in entry_points(group=GROUP))}))


class Providers:
    """The providers of one worker, each made when it is first asked for. `extra` stands in front of the built-in ones."""

    def __init__(self, secret: Secret, extra: Mapping[str, Provider] | None = None) -> None:
        self._secret = secret
        self._made: dict[str, Provider] = dict(extra or {})

    def of(self, family: str) -> Provider:
        """The provider of a family. Raises HandsError (permanent) for a family that none is installed for."""
        if family not in self._made:
            self._made[family] = self._factory(family)(self._secret)
        return self._made[family]

    async def aclose(self) -> None:
        """Closes all of them."""
        made, self._made = list(self._made.values()), {}
        for provider in made:
            await provider.aclose()

    def _factory(self, family: str) -> Factory:
        if family in BUILTIN:
            return BUILTIN[family]
        for point in entry_points(group=GROUP, name=family):
            factory: Factory = point.load()
            return factory
        raise HandsError(
            ErrorClass.PERMANENT, f"no provider for the family {family}: there are {', '.join(families())}"
        )
