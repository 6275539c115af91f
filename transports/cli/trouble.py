"""Errors of other rooms, in words for the person at the terminal. Loaded only when something went wrong."""

from __future__ import annotations

USAGE, UNAVAILABLE = 2, 4


def words_of(error: Exception) -> tuple[str, str, int]:
    """(sentence, mend, exit code) of an error that no command has put into words."""
    from loom.coordinator.errors import LoomError

    if isinstance(error, LoomError):
        return error.what, f"{error.remedy} ({error.code})", UNAVAILABLE
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}.", "", UNAVAILABLE
    return (
        f"loom met something that it did not expect: {type(error).__name__}: {error}",
        "LOOM_DEBUG=1 shows where; please report it with `loom doctor --json`",
        UNAVAILABLE,
    )
