"""The texts that a client's command names: each must be sent with the command, or be stored, before the command is taken."""

from __future__ import annotations

from loom.kernel import commands as c
from loom.kernel.values import Text

OWN = frozenset((c.AttemptEnded, c.Grant, c.Starve, c.Wake))
"""Commands of the fabric and of loom itself, which bring their texts along."""


def texts_of(command: c.Command) -> tuple[Text, ...]:
    """Every Text of a command that people and surfaces send; () for those that the fabric makes with their texts."""
    if type(command) in OWN:
        return ()
    match command:
        case c.Submit(text=text, inherited=inherited):
            return (text, inherited.message) if inherited else (text,)
        case c.Answer(message=message, accepts=accepts):
            return (message, *(accepted.reason for accepted in accepts))
        case c.Pause(reason=reason) | c.Resume(reason=reason) | c.Cancel(reason=reason) | c.Act(reason=reason):
            return (reason,)
        case c.Take(reason=reason, report=report):
            return (reason, *(_of_report(report) if report else ()))
        case c.TrustProject(content=content):
            return (content,)
        case c.KeepBundle(archive=archive):
            return (archive,)
        case _:
            return ()


def _of_report(report: c.AttemptEnded) -> tuple[Text, ...]:
    """The texts of a report that was kept: they were stored beside it."""
    found = [report.message, report.change_text, report.change_list, report.summary, report.output, report.prompt]
    found += [report.transcript, report.execution.notes, *(text for _, text in report.artifacts)]
    for finding in report.findings:
        found += [finding.message, finding.evidence, finding.suggestion]
    for statement in report.statements:
        found += [statement.summary, statement.output]
    return tuple(found)
