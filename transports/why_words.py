"""Entries and events in words, for `loom why`: from their plain JSON, one short clause each."""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]


def text(value: Fields | str | None) -> str:
    """A text of the ledger: what stands inline, else its size."""
    if isinstance(value, dict):
        return str(value.get("value") or (f"[a text of {value['size']} bytes]" if value.get("blob") else ""))
    return value or ""


def asked(kind: str, command: Fields, who: str) -> str:
    """The command in words."""
    match kind:
        case "AttemptEnded":
            words = text(command.get("summary")) or text(command.get("message"))
            agent = str(command["spawn"]).rpartition("/")[2]
            return f"attempt {command['attempt']} of {agent} ended: {_how(command)}" + (f" ({words})" if words else "")
        case "Answer":
            words = text(command.get("message"))
            return f"{who} answered {command['word']} at {command['gate']}" + (f": {words}" if words else "")
        case "Wake":
            return f"the time {command['name']!r} was up"
        case "Submit":
            inherited = command.get("inherited")
            if inherited:
                return f"{who} forked it from {command['origin_task']} at {inherited['stage']}"
            flow = f", flow {command['flow']}" if command["flow"] else ""
            return f"{who} submitted it: {command['preset']}{flow}"
        case "Grant":
            return f"attempt {command['attempt']} of {command['spawn']} was given to {command['worker']}"
        case _:
            reason = text(command.get("reason"))
            return f"{who} said {kind.lower()}" + (f": {reason}" if reason else "")


def _how(fields: Fields) -> str:
    return str(fields.get("outcome") or fields.get("error_class") or fields["end"])


def ended(fields: Fields) -> str:
    """How an attempt ended."""
    words = text(fields.get("message"))
    return f"it ended {_how(fields)}" + (f": {words}" if words else "")


def said(kind: str, fields: Fields) -> str:
    """An event in words."""
    match kind:
        case "StageEntered":
            times = f" for the {fields['iteration']}. time" if fields["iteration"] > 1 else ""
            return f"stage {fields['stage']} was entered{times}"
        case "StageSkipped":
            return f"stage {fields['stage']} was skipped"
        case "SpawnSkipped":
            return f"{fields['agent']} was skipped"
        case "SpawnFailed":
            return f"{fields['agent']} failed ({fields.get('error_class', '')}): {text(fields['reason'])}"
        case "AttemptReadied":
            return f"{fields['spawn'].rpartition('/')[2]} tries again, attempt {fields['attempt']}: {fields['reason']}"
        case "FlowChosen":
            return f"flow {fields['flow']} was chosen"
        case "TaskForked":
            return f"it took over what {fields['origin']} came to"
        case "Reworked":
            counted = "" if fields["counted"] else " by a person's word"
            return f"the work went back to {fields['to']}{counted}, round {fields['round']}"
        case "FindingRecorded":
            finding = fields["finding"]
            return f"{finding['agent']} found {finding['id']}: {text(finding['report']['message'])}"
        case _:
            return _decided(kind, fields)


def _decided(kind: str, fields: Fields) -> str:
    match kind:
        case "GateOpened":
            return f"a person is asked at {fields['stage']} (gate {fields['gate']}, {fields['role']}): {text(fields['reason'])}"
        case "GateWithdrawn":
            return f"gate {fields['gate']} was withdrawn"
        case "DecisionRecorded":
            return f"{fields['by']['id']} decided {fields['role']}: {fields['word']}"
        case "TaskParked":
            return f"it was parked ({fields['code']}): {text(fields['reason'])}"
        case "ObjectionRaised":
            return f"the rule {fields['rule']} objected: {fields['sentence']}"
        case "BudgetReached":
            return f"{fields['percent']} % of the budget {fields['budget']} were reached"
        case "VerdictReached":
            return f"the verdict is {fields['verdict']}"
        case "FindingAccepted":
            return f"{fields['by']['id']} accepted {fields['finding']}: {text(fields.get('reason'))}"
        case "TaskPaused" | "TaskResumed":
            return (
                f"{fields['by']['id']} {'paused' if kind == 'TaskPaused' else 'resumed'} it: {text(fields['reason'])}"
            )
        case _:
            return kind
