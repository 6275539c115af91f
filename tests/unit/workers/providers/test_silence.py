"""How long a model may be silent."""

from __future__ import annotations

import pytest

from loom.workers.protocol import ErrorClass
from loom.workers.providers.common import IDLE_S, SILENCE, silence_s
from loom.workers.seams import HandsError


def test_the_environment_wins_over_what_is_usual() -> None:
    """Unset or empty: the usual time; else the number."""
    assert IDLE_S == silence_s({})
    assert 7.0 == silence_s({SILENCE: " "}, 7.0)
    assert 0.5 == silence_s({SILENCE: "0.5"}, 7.0)


@pytest.mark.parametrize("said", ["soon", "0", "-1", "nan", "inf", "1e9"])
def test_what_is_no_time_is_refused(said: str) -> None:
    """A value that would mean no bound, or none at all, ends the attempt with the variable's name."""
    with pytest.raises(HandsError, match=SILENCE) as caught:
        silence_s({SILENCE: said})
    assert ErrorClass.PERMANENT == caught.value.error_class
