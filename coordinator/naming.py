"""The texts that a client's command names: each must be sent with the command, or be stored, before the command is taken."""

from __future__ import annotations

from loom.kernel import commands as c
from loom.kernel.values import Text


def texts_of(command: c.Command) -> tuple[Text, ...]:
    """Every Text of a command that people and surfaces send; () for those that the fabric makes with their texts."""
    match command:
        case c.Submit(text=text):
            return (text,)
        case c.Answer(message=message, accepts=accepts):
            return (message, *(accepted.reason for accepted in accepts))
        case c.Pause(reason=reason) | c.Resume(reason=reason) | c.Cancel(reason=reason):
            return (reason,)
        case c.TrustProject(content=content):
            return (content,)
        case c.KeepBundle(archive=archive):
            return (archive,)
        case _:
            return ()
