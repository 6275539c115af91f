"""Queries: everything that surfaces read of the record, over a read-only connection. The answers are the shapes of `--json`.

    async with Queries.opened(home.database) as queries:
        await queries.tasks(status="open")          # {"tasks": [{"id", "status", "verdict", "state", …}]}

Times are ms UTC, money is in micro-units (`cost` None: unknown). Of a task, `status` is open or done; `state` says what it
does: queued, running, waiting (a gate is open), parked, paused, done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from loom.coordinator.reader import Reader, Row, open_reader

PAGE = 500
"""Entries that one statement reads."""
MAX_TASKS = 1_000
MAX_EVENTS = 10_000
TITLE_LETTERS = 120

_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "calls", "cost", "price")
_APPROVAL = ("payload", "type", "scheme", "parts")


class Queries:
    """Reads. Unknown tasks and gates are None, never an error."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path, blobs: Path | None = None) -> AsyncIterator[Queries]:
        """Queries over `state.db` at path, closed at the end. Raises StoreError's tree."""
        reader = await open_reader(path, blobs)
        try:
            yield cls(reader)
        finally:
            await reader.close()

    # ---------------------------------------------------------------------------------------------------- tasks

    async def tasks(
        self,
        *,
        project: str | None = None,
        status: str | None = None,
        verdict: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> Row:
        """{"tasks": […]}, newest first. before: the last id of the page before."""
        rows = await self._reader.rows(
            "tasks",
            task=None,
            project=project,
            status=status,
            verdict=verdict,
            before=before,
            limit=min(limit, MAX_TASKS),
        )
        return {"tasks": [await self._head(row) for row in rows]}

    async def resolve(self, beginning: str) -> list[str]:
        """Ids of the tasks that begin so."""
        return [row["task"] for row in await self._reader.rows("starting_with", prefix=beginning)]

    async def task(self, task: str) -> Row | None:
        """Everything about one task: {"task", "spawns", "findings", "gates", "decisions", "evidence", "artifacts",
        "objections", "subjects", "late"}, texts resolved; transcripts stay references {"blob", "size"}. late: results that
        came too late, by number and attempt; what of them could be taken is `takeable`."""
        reader = self._reader
        async with reader.snapshot():
            head = await self._task_row(task)
            if head is None:
                return None
            row = head.pop("row")
            submission = await reader.row("submission", row=row)
            if submission is not None:
                head["spec"] = msgspec.json.decode(submission["spec"])
                head["caps"] = msgspec.json.decode(submission["caps"])
                head["base_subject"] = submission["subject"]
            head["text"] = await reader.show(head["text"])
            return {
                "task": head,
                "spawns": await self._spawns(row),
                "findings": await self._findings(row),
                "gates": [await self._gate(each) for each in await self._gate_rows(task=task)],
                "decisions": [await self._decision(each) for each in await reader.rows("decisions", row=row)],
                "evidence": [
                    await reader.unfold(each, texts=("summary", "output"), values=("by",))
                    for each in await reader.rows("evidence", row=row)
                ],
                "artifacts": [
                    await reader.unfold(each, texts=("text",)) for each in await reader.rows("artifacts", row=row)
                ],
                "objections": [
                    await reader.unfold(each, values=("remedies", "because"))
                    for each in await reader.rows("objections", row=row)
                ],
                "subjects": await reader.rows("subjects", row=row),
                "late": [_late(each) for each in await reader.rows("late", row=row, task=task)],
            }

    async def _task_row(self, task: str) -> Row | None:
        row = await self._reader.row("tasks", task=task, project=None, status=None, verdict=None, before=None, limit=1)
        return None if row is None else _with_state(row)

    async def _head(self, row: Row) -> Row:
        _with_state(row)
        del row["row"]
        text = (await self._reader.show(row["text"])).strip()
        first = text.splitlines()[0] if text else ""
        row["text"] = first if len(first) <= TITLE_LETTERS else first[: TITLE_LETTERS - 1] + "…"
        return row

    async def _spawns(self, row: int) -> list[Row]:
        reader = self._reader
        attempts: dict[int, list[Row]] = {}
        chains: dict[int, list[str]] = {}
        spawns = await reader.rows("spawns", row=row)
        for spawn in spawns:
            chains[spawn["row"]] = msgspec.json.decode(spawn["chain"])
        for attempt in await reader.rows("attempts", row=row):
            key = attempt.pop("spawn")
            attempts.setdefault(key, []).append(await self._attempt(attempt, chains[key]))
        return [await self._spawn(spawn, chains[spawn["row"]], attempts.get(spawn["row"], [])) for spawn in spawns]

    async def _spawn(self, row: Row, chain: list[str], attempts: list[Row]) -> Row:
        del row["row"]
        row["chain"] = chain
        row["summary"] = await self._reader.show(row["summary"])
        row["prompt"] = next((each["prompt"] for each in reversed(attempts) if each["prompt"]), "")
        row["output"] = next((each["output"] for each in reversed(attempts) if each["output"]), "")
        row["attempts"] = attempts
        return row

    async def _attempt(self, row: Row, chain: list[str]) -> Row:
        await self._reader.unfold(row, texts=("message", "prompt", "output"), values=("transcript", "execution"))
        row["ref"] = chain[row["binding"]] if row["binding"] < len(chain) else ""
        notes = (row["execution"] or {}).get("notes")
        row["notes"] = await self._reader.show(msgspec.json.encode(notes).decode()) if notes else ""
        row["usage"] = {name: row.pop(name) for name in _USAGE}
        row["counted"], row["repaired"] = bool(row["counted"]), bool(row["repaired"])
        return row

    async def _findings(self, row: int) -> list[Row]:
        texts, values = ("message", "evidence", "suggestion", "reason"), ("accepted_by",)
        rows = await self._reader.rows("findings", row=row)
        return [await self._reader.unfold(each, texts=texts, values=values) for each in rows]

    async def _decision(self, row: Row) -> Row:
        await self._reader.unfold(row, texts=("message",), values=("by", "accepts", "because", "parts"))
        for accepted in row["accepts"]:
            accepted["reason"] = await self._reader.show(msgspec.json.encode(accepted["reason"]).decode())
        approval = {name: row.pop(name) for name in _APPROVAL}
        row["approval"] = approval if approval["scheme"] else None
        return row

    # ---------------------------------------------------------------------------------------------------- gates

    async def gates(self, *, task: str | None = None, every: bool = False) -> Row:
        """{"gates": […]}, oldest first; only the open ones unless `every`. Open gates name the open blockers."""
        rows = await self._gate_rows(task=task, status=None if every else "open")
        return {"gates": [await self._gate(row) for row in rows]}

    async def gate(self, gate: str) -> Row | None:
        """One gate, open or not."""
        rows = await self._gate_rows(gate=gate)
        return await self._gate(rows[0]) if rows else None

    async def _gate_rows(
        self, *, task: str | None = None, gate: str | None = None, status: str | None = None
    ) -> list[Row]:
        return await self._reader.rows("gates", task=task, gate=gate, status=status)

    async def _gate(self, row: Row) -> Row:
        await self._reader.unfold(row, texts=("reason",), values=("answers", "shows", "because", "barred"))
        row["barred"] = [{"person": person, "duty": duty} for person, duty in row["barred"]]
        key = row.pop("row")
        row["blockers"] = []
        if row["status"] == "open":
            for blocker in await self._reader.rows("blockers", row=key):
                row["blockers"].append(await self._reader.unfold(blocker, texts=("message",)))
        return row

    # ------------------------------------------------------------------------------------------------- the record

    async def head(self) -> int:
        """The number of the next entry: what has changed when it has grown."""
        row = await self._reader.row("head")
        return int(row["size"]) if row else 0

    async def entries(self, task: str | None = None, *, since: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """(seq, stored bytes) of a task's entries, or of all, from seq `since` on."""
        key: int | None = None
        if task is not None:
            row = await self._task_row(task)
            if row is None:
                return
            key = row["row"]
        query = "entries" if key is None else "task_entries"
        while True:
            page = await self._reader.rows(query, row=key, since=since, limit=PAGE)
            for entry in page:
                yield entry["seq"], entry["body"].encode()
            if len(page) < PAGE:
                return
            since = page[-1]["seq"] + 1

    async def log(self, task: str | None = None, *, since: int = 0, limit: int = MAX_EVENTS) -> Row:
        """{"events": [{"seq", "at", "task", "n", "now_ms", "kind", "fields", "command", "outcome", "principal", "via"}],
        "next_seq"}: what happened, from entry `since` on; read on from next_seq."""
        events: list[Row] = []
        async for seq, body in self.entries(task, since=since):
            entry = msgspec.json.decode(body)
            common = {
                "seq": seq,
                "task": entry["task"],
                "n": entry["n"],
                "now_ms": entry["now_ms"],
                "command": entry["command"][0],
                "outcome": entry["outcome"],
                "principal": entry["principal"]["id"],
                "via": entry["via"],
            }
            for place, (kind, fields) in enumerate(entry["events"]):
                events.append({**common, "at": place, "kind": kind, "fields": fields})
            since = seq + 1
            if len(events) >= limit:
                break
        return {"events": events, "next_seq": since}

    async def diff(self, task: str) -> Row | None:
        """{"task", "base", "subject", "work", "change", "text", "list"} of the present change; text "" when there is none."""
        head = await self._task_row(task)
        if head is None:
            return None
        found = await self._reader.row("change", row=head["row"])
        answer = {"task": task, "base": head["base"], "subject": "", "work": "", "change": "", "text": "", "list": ""}
        if found is not None:
            answer["text"] = await self._whole(found.pop("change_text"))
            answer["list"] = await self._whole(found.pop("change_list"))
            answer.update(found)
        return answer

    async def text(self, identifier: str) -> bytes:
        """The bytes of a stored text. Raises BlobMissing."""
        return await self._reader.read_text(identifier)

    async def _whole(self, column: str | None) -> str:
        """A text in full; bytes that are not UTF-8 come as lone surrogates, so that they can be written back."""
        text = msgspec.json.decode(column) if column else {}
        if not text.get("blob"):
            return str(text.get("value", ""))
        return (await self._reader.read_text(text["blob"])).decode(errors="surrogateescape")

    # --------------------------------------------------------------------------------------------------- the home

    async def home(self) -> Row | None:
        """{"origin", "log_key", "schema", "epoch", "version", "boot", "started_ms"}, None before entry 0."""
        return await self._reader.row("home")

    async def authority(self, token_digest: str) -> Row:
        """{"origin", "log_key", "signed_roles", "separate_duties", "you", "keys": [{"key", "principal", "kind", "now_ms", "revoked_ms"}]}: who
        signs. you: whom the token stands for."""
        home = await self.home() or {"origin": "", "log_key": ""}
        owner = await self._reader.row("token", digest=token_digest)
        from loom.kernel.duties import SEPARATE_DUTIES, listed  # only here: `loom status` reads without a kernel
        from loom.kernel.values import SIGNED_ROLES

        settings = await self.settings()
        return {
            "origin": home["origin"],
            "log_key": home["log_key"],
            "signed_roles": list(listed(settings.get(SIGNED_ROLES, ""))),
            "separate_duties": list(listed(settings.get(SEPARATE_DUTIES, ""))),
            "you": owner["principal"] if owner else "",
            "keys": await self._reader.rows("signers"),
        }

    async def users(self) -> Row:
        """{"users": [{"user", "role", "now_ms"}]}: the people of this home, by name; role: what they may do."""
        rows = await self._reader.rows("people")
        return {"users": [row | {"role": " ".join(msgspec.json.decode(row["role"]))} for row in rows]}

    async def counts(self) -> Row:
        """{"tasks", "open_tasks", "running", "ready", "open_gates"}"""
        return await self._reader.row("counts") or {}

    async def projects(self) -> Row:
        """{"projects": [{"id", "name", "place", "kind", "trusted", "trusted_by", "content", "open_tasks"}]}"""
        rows = await self._reader.rows("projects")
        return {
            "projects": [await self._reader.unfold(row, texts=("content",), values=("trusted_by",)) for row in rows]
        }

    async def workers(self) -> Row:
        """{"workers": [{"worker", "key", "labels", "host", "now_ms", "revoked_ms", "revoked_by"}], "invitations": [{"digest",
        "labels", "expires_ms", "by", "now_ms"}]}: workers of other hosts that were ever enrolled, and open invitations."""
        enrolled, invited = await self._reader.rows("workers"), await self._reader.rows("invitations")
        return {
            "workers": [await self._reader.unfold(row, values=("labels", "revoked_by")) for row in enrolled],
            "invitations": [await self._reader.unfold(row, values=("labels", "by")) for row in invited],
        }

    async def settings(self) -> dict[str, str]:
        """Settings that were changed, by name."""
        return {row["name"]: row["value"] for row in await self._reader.rows("settings")}

    async def spent(self) -> list[tuple[Any, ...]]:
        """What the tasks of each project spent and have reserved, for `spending.summed`."""
        return [tuple(row.values()) for row in await self._reader.rows("spent")]

    async def bundles(self) -> list[Row]:
        """[{"digest", "name", "archive": {"blob", "size"}, "now_ms"}]: the archives that tasks were run with."""
        return [await self._reader.unfold(row, values=("archive",)) for row in await self._reader.rows("bundles")]

    async def cost(self, task: str | None = None) -> Row:
        """{"tasks": [{"id", "attempts", "tokens", "cost", "unpriced", "reserved", "parts": [by agent and model]}]}"""
        parts: dict[str, list[dict[str, Any]]] = {}
        for row in await self._reader.rows("cost", task=task):
            parts.setdefault(row.pop("task"), []).append(row)
        tasks = await self._reader.rows(
            "tasks", task=task, project=None, status=None, verdict=None, before=None, limit=MAX_TASKS
        )
        names = ("id", "project", "verdict", "attempts", "tokens", "cost", "unpriced", "reserved")
        return {"tasks": [{name: row[name] for name in names} | {"parts": parts.get(row["id"], [])} for row in tasks]}

    async def denials(self, limit: int = 100) -> list[Row]:
        """Rejected commands, newest first."""
        return await self._reader.rows("denials", limit=limit)

    async def orphans(self, limit: int = 100) -> list[Row]:
        """Results that came too late, newest first."""
        return await self._reader.rows("orphans", limit=limit)


def _late(row: Row) -> Row:
    """A late result as people name it; `takeable`: nothing on record stands against it (the kernel has the last word)."""
    spawn_status, end, given_to = row.pop("spawn_status"), row.pop("end"), row.pop("given_to")
    row["number"], row["attempt"] = row.pop("id"), f"{row['spawn']}#{row['attempt']}"
    row["taken"] = end == "taken"
    row["takeable"] = given_to == row["worker"] and spawn_status in ("ready", "granted", "failed")
    return row


def _with_state(row: Row) -> Row:
    """Adds what the task does now, and opens its JSON columns."""
    row["paused"] = bool(row["paused"])
    row["facts"] = msgspec.json.decode(row["facts"])
    row["state"] = _state(row)
    return row


def _state(row: Row) -> str:
    if row["status"] == "done":
        return "done"
    if row["paused"]:
        return "paused"
    if row["parked"]:
        return "parked"
    if row["gate"]:
        return "waiting"
    return "running" if row["running"] else "queued"
