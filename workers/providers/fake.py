"""The fake provider beside the seam: replies from a function, in process, every request kept for a test to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from loom.workers.protocol import ErrorClass, Usage
from loom.workers.seams import HandsError, ModelReply, ModelRequest

Answer = ModelReply | HandsError | str


class FakeProvider:
    """`answer` gives each request's reply: a ModelReply, a text, or a HandsError to raise. `delay_s` passes before it."""

    def __init__(self, answer: Callable[[ModelRequest], Answer], family: str = "fake", delay_s: float = 0.0) -> None:
        self.family = family
        self.requests: list[ModelRequest] = []
        self.cancelled = 0
        self.closed = False
        self._answer = answer
        self._delay_s = delay_s

    @classmethod
    def scripted(cls, answers: Iterable[Answer], family: str = "fake") -> FakeProvider:
        """Gives the answers in their order, then a permanent error."""
        left = iter(answers)
        spent = HandsError(ErrorClass.PERMANENT, "the fake provider has no answer left")
        return cls(lambda request: next(left, spent), family)

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        """See `seams.Provider`."""
        self.requests.append(request)
        try:
            async with asyncio.timeout(request.timeout_ms / 1000):
                await asyncio.sleep(self._delay_s)
        except TimeoutError as error:
            raise HandsError(ErrorClass.TRANSIENT, f"{request.binding.ref}: no answer in time") from error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        answer = self._answer(request)
        if isinstance(answer, HandsError):
            raise answer
        if isinstance(answer, str):
            usage = Usage(input_tokens=len(request.system) // 4 + 1, output_tokens=len(answer) // 4 + 1, calls=1)
            answer = ModelReply(answer, (), usage, f"fake/{request.binding.model}")
        if answer.text:
            on_text(answer.text)
        return answer

    async def aclose(self) -> None:
        """Remembers that it was closed."""
        self.closed = True
