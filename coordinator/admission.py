"""Admission: a worker's report becomes the command AttemptEnded.

What an agent said is one JSON object: `outcome`, `summary`, `facts`, `findings`, and one key for each artifact it makes.
Nothing else of it is looked at. Texts over INLINE_TEXT_BYTES become salted blobs; their salts are derived from the salt
that the worker drew, so a re-sent report gives the same command, byte for byte. Identity and stall key of a finding are
computed here, from the full text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from loom.coordinator.inbox import Request, SaltedText
from loom.coordinator.leases import end_key
from loom.kernel.commands import AttemptEnded
from loom.kernel.findings import identity, stall_key
from loom.kernel.flow import Agent
from loom.kernel.limits import INLINE_TEXT_BYTES, MAX_FINDINGS_PER_ATTEMPT, MAX_INTEGER
from loom.kernel.values import (
    NO_TEXT,
    Capability,
    End,
    ErrorClass,
    Execution,
    FindingReport,
    Origin,
    Pairs,
    Place,
    Principal,
    PrincipalKind,
    Severity,
    Statement,
    Text,
    Usage,
)
from loom.workers.protocol import End as WireEnd
from loom.workers.protocol import ErrorClass as WireClass
from loom.workers.protocol import Report, Result, salted_id, split_attempt
from loom.workers.protocol import Statement as Measured
from loom.workers.protocol import Text as Brought
from loom.workers.protocol.signing import derived_salt, drawn_salt

SUMMARY_CUT = 240
"""Bytes of a summary that stand in the entry; the whole of it is in the output."""
NO_MARK = "…"
_ENDS = {end: End(end.value) for end in WireEnd}
_CLASSES = {kind: ErrorClass(kind.value) for kind in WireClass}


class SaidFinding(msgspec.Struct):
    """A finding as an agent says it. What is missing is empty; what is of another type makes the output unparseable."""

    severity: Severity
    category: str = ""
    path: str = ""
    line: int = 0
    side: str = "new"
    message: str = ""
    evidence: str = ""
    suggestion: str = ""


class Said(msgspec.Struct):
    """The generic part of every agent's output."""

    outcome: str
    summary: str = ""
    facts: dict[str, str] = {}
    findings: list[SaidFinding] = []


_said = msgspec.json.Decoder(Said)
_whole = msgspec.json.Decoder(dict[str, Any])
_canonical = msgspec.json.Encoder(order="sorted")


@dataclass(slots=True)
class Texts:
    """Makes inline texts and salted blobs for one report."""

    salt: bytes
    sizes: dict[str, int]
    made: list[SaltedText] = field(default_factory=list)

    def text(self, value: str, name: str) -> Text:
        """A text of ours: inline when short, else a blob whose salt is derived from the worker's and the text's name."""
        if not value:
            return NO_TEXT
        if len(value) <= INLINE_TEXT_BYTES and value.isascii():
            return Text(value, "", len(value))
        data = value.encode(errors="replace")
        if len(data) <= INLINE_TEXT_BYTES:
            return Text(value=data.decode(), size=len(data))
        salt = derived_salt(self.salt, name)
        blob = salted_id(salt, data)
        self.made.append(SaltedText(id=blob, salt=salt, size=len(data), data=data))
        return Text(blob=blob, size=len(data))

    def sent(self, blob: str) -> Text:
        """A text that the worker sent, by id. Raises ValueError when the report does not bring it."""
        if not blob:
            return NO_TEXT
        if blob not in self.sizes:
            raise ValueError(f"text {blob} is named in the report but not brought with it")
        return Text(blob=blob, size=self.sizes[blob])


def admit(report: Report, worker: str, agent: Agent | None) -> Request:
    """The request that ends the attempt. `agent`: of the spawn (None: unknown task; the kernel will refuse).

    Raises ValueError when the report itself is malformed; an agent's unreadable output is not: it ends the attempt as
    unparseable, with one repair. Numbers that hands measured are held to the ledger's range.
    """
    task, spawn, number = split_attempt(report.attempt)
    if number > MAX_INTEGER or abs(report.fence) > MAX_INTEGER:
        raise ValueError(f"attempt {report.attempt[:80]} with fence {report.fence} is beyond 2^53 - 1")
    brought = tuple([SaltedText(text.id, text.salt, _size(text), text.data) for text in report.texts])
    texts = Texts(drawn_salt(report), {text.id: text.size for text in brought})
    result = report.result or Result()
    command = _ended(report, result, spawn, number, worker, agent, texts)
    return Request(
        key=end_key((report.attempt, report.fence)),
        principal=_hands(worker, agent.name if agent else ""),
        task=task,
        command=command,
        texts=(*brought, *texts.made),
    )


@lru_cache(maxsize=4096)
def _hands(worker: str, agent: str) -> Principal:
    """The worker that speaks for an agent; one object for all of its reports, so that it is encoded once."""
    return Principal(id=worker, kind=PrincipalKind.WORKER, via="fabric", acting_for=agent)


def _ended(
    report: Report, result: Result, spawn: str, number: int, worker: str, agent: Agent | None, texts: Texts
) -> AttemptEnded:
    said, fault = _read(report, result, agent)
    checks = agent is not None and agent.capability is Capability.CHECKS
    artifacts: tuple[tuple[str, Text], ...] = ()
    if agent is not None and report.end is WireEnd.REPORTED:
        artifacts = _artifacts(result, agent, texts, texts.sent(report.transcript) if checks else NO_TEXT)
    findings = _check_findings(agent.name, result.statements, texts) if agent and checks else ()
    if said.findings and agent is not None:
        findings = _findings(agent.name, said.findings, texts)
    change = result.change
    message = fault or report.message
    return AttemptEnded(
        spawn=spawn,
        attempt=number,
        fence=report.fence,
        end=End.FAILED if fault else _ENDS[report.end],
        error_class=ErrorClass.UNPARSEABLE if fault else _CLASSES[report.error_class],
        message=texts.text(message, "message"),
        not_before_ms=held(report.not_before_ms),
        outcome=said.outcome,
        facts=_facts(said, result, agent),
        findings=findings,
        artifacts=artifacts,
        statements=tuple(
            [
                Statement(s.kind, s.outcome, texts.text(cut(s.summary), f"summary {s.kind}"), texts.sent(s.output))
                for s in result.statements
            ]
        ),
        subject=change.tree if change else result.tree,
        work=change.commit if change else "",
        change=change.digest if change else "",
        change_text=texts.sent(change.diff) if change else NO_TEXT,
        change_list=texts.text(_canonical.encode(change.paths).decode(), "change list") if change else NO_TEXT,
        summary=texts.text(cut(said.summary), "summary"),
        output=texts.text(result.output, "output"),
        prompt=texts.sent(report.prompt),
        transcript=texts.sent(report.transcript),
        usage=_usage(report),
        execution=_execution(report, worker, texts),
        repaired=result.repaired,
    )


def _read(report: Report, result: Result, agent: Agent | None) -> tuple[Said, str]:
    """What the agent said, and why it cannot be read ("" : it can)."""
    if report.end is not WireEnd.REPORTED:
        return Said(outcome=""), ""
    if agent is not None and not agent.output:
        return Said(outcome=_outcome_of_hands(agent, result), summary=_summary_of(result)), ""
    try:
        said = _said.decode(result.output)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Said(outcome=""), f"the output cannot be read: {error}"
    if beyond := [index for index, finding in enumerate(said.findings) if finding.line > MAX_INTEGER]:
        return Said(outcome=""), f"the output cannot be read: the line of finding {beyond[0]} is beyond 2^53 - 1"
    return said, ""


def _facts(said: Said, result: Result, agent: Agent | None) -> Pairs:
    """Facts that the agent may say, from its output; facts that are measured, from the hands. Neither for the other."""
    if agent is None or not (agent.facts or agent.measures):
        return ()
    spoken = {name: said.facts[name] for name, _ in agent.facts if name in said.facts}
    measured = {m.fact: result.measured[m.fact] for m in agent.measures if m.fact in result.measured}
    return tuple(sorted({**spoken, **measured}.items()))


def _outcome_of_hands(agent: Agent, result: Result) -> str:
    """The outcome of an agent without a model: of checks, what they showed; of an effect, that it is done."""
    if agent.capability is not Capability.CHECKS:
        return agent.outcomes[0]
    outcomes = {statement.outcome for statement in result.statements}
    if "failed" in outcomes:
        return "failed"
    return "skipped" if "skipped" in outcomes or not outcomes else "passed"


def _summary_of(result: Result) -> str:
    return "; ".join(f"{s.kind} {s.outcome}" for s in result.statements)


def _artifacts(result: Result, agent: Agent, texts: Texts, transcript: Text) -> tuple[tuple[str, Text], ...]:
    """The artifacts that the agent declares to make. Of checks: their whole output, under the one name they make."""
    if agent.capability is Capability.CHECKS:
        return tuple((name, transcript) for name in agent.makes)
    if not agent.makes:
        return ()
    try:
        whole = _whole.decode(result.output)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ()
    found = []
    for name in agent.makes:
        value = whole.get(name)
        if value is not None:
            plain = value if isinstance(value, str) else _canonical.encode(value).decode()
            found.append((name, texts.text(plain, f"artifact {name}")))
    return tuple(found)


def _findings(agent: str, said: list[SaidFinding], texts: Texts) -> tuple[FindingReport, ...]:
    found = []
    for index, one in enumerate(said[: MAX_FINDINGS_PER_ATTEMPT + 1]):
        whole = f"{one.message}\n{one.evidence}"
        found.append(
            FindingReport(
                severity=one.severity,
                category=cut(one.category or "other"),
                place=Place(cut(one.path), max(0, one.line), one.side if one.side in ("old", "new") else "new"),
                message=texts.text(one.message, f"finding {index} message"),
                evidence=texts.text(one.evidence, f"finding {index} evidence"),
                suggestion=texts.text(one.suggestion, f"finding {index} suggestion"),
                identity=identity(agent, one.path, one.line, one.category, whole),
                stall_key=stall_key(one.path, one.category, one.message),
            )
        )
    return tuple(found)


def _check_findings(agent: str, statements: tuple[Measured, ...], texts: Texts) -> tuple[FindingReport, ...]:
    """A failing check is a blocker of origin check; its stall key is the check with the normalised summary."""
    return tuple(
        FindingReport(
            severity=Severity.BLOCKING,
            category=cut(s.kind),
            place=Place(),
            message=texts.text(s.summary or f"{s.kind} failed", f"finding {s.kind}"),
            evidence=texts.sent(s.output),
            suggestion=NO_TEXT,
            identity=identity(agent, "", 0, s.kind, s.summary),
            stall_key=stall_key("", s.kind, s.summary),
            origin=Origin.CHECK,
        )
        for s in statements
        if s.outcome == "failed"
    )


def _usage(report: Report) -> Usage:
    usage = report.usage
    return Usage(
        input_tokens=held(usage.input_tokens),
        output_tokens=held(usage.output_tokens),
        cached_tokens=held(usage.cached_tokens),
        calls=held(usage.calls),
        cost=None if usage.cost_microusd is None else held(usage.cost_microusd),
        price=cut(usage.price),
    )


def _execution(report: Report, worker: str, texts: Texts) -> Execution:
    used = report.sandbox
    return Execution(
        worker=worker,
        boot=report.boot,
        host=cut(report.host),
        executor=cut(report.executor),
        binding=held(report.binding),
        served_by=cut(report.model),
        sandbox=used.kind if used else "",
        network=used.network if used else "",
        credentials=cut(used.credentials) if used else "",
        wall_ms=held(report.wall_ms),
        notes=texts.text("\n".join(report.notes), "notes") if report.notes else NO_TEXT,
        signature=report.signature.hex(),
    )


def held(number: int) -> int:
    """A measured number, held to what the ledger takes: 0 … MAX_INTEGER."""
    return number if 0 <= number <= MAX_INTEGER else min(max(0, number), MAX_INTEGER)


def _size(text: Brought) -> int:
    """Bytes of a text that came with a report; of one that was put before, as the worker says."""
    return held(text.size) if text.data is None else len(text.data)


def cut(text: str) -> str:
    """At most SUMMARY_CUT bytes, cut between characters, with a mark."""
    if len(text) <= SUMMARY_CUT and text.isascii():
        return text
    data = text.encode(errors="replace")
    if len(data) <= SUMMARY_CUT:
        return data.decode()
    return data[:SUMMARY_CUT].decode(errors="ignore") + NO_MARK
