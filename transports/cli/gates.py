"""`loom gates` and `loom answer`: what waits for a person, and the person's word."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json, signing
from loom.transports.errors import UnavailableProblem, UsageProblem

if TYPE_CHECKING:
    from loom.coordinator.home import Home
    from loom.coordinator.queries import Queries

WORDS = ("accept", "revise", "abandon", "apply", "retry", "raise")


@click.command()
@click.option("--all", "every", is_flag=True, help="Also those that were decided.")
@as_json
@click.pass_context
def gates(context: click.Context, every: bool, as_json: bool) -> None:
    """List what waits for a person."""
    home = homes.opened(context)
    found = reading.read(home, lambda queries: queries.gates(every=every))
    if as_json:
        output.print_json(found)
        return
    now_ms = time.time_ns() // 1_000_000
    rows = [
        (
            gate["id"],
            gate["role"],
            "|".join(gate["answers"]) if gate["status"] == "open" else gate["status"],
            f"{len(gate['blockers'])} open" if gate["blockers"] else "",
            ", ".join(dict.fromkeys(each["person"] for each in gate["barred"])),
            f"{output.duration(now_ms - gate['opened_ms'])} ago",
            gate["reason"],
        )
        for gate in found["gates"]
    ]
    output.table(
        ["gate", "decides", "answers", "blockers", "not by", ">opened", "why"], rows, empty="Nothing waits for you."
    )


@click.command()
@click.argument("gate", metavar="GATE|TASK")
@click.argument("word", type=click.Choice(WORDS))
@click.option("-m", "--message", default="", help="Your words to the next agents, or your reason.")
@click.option(
    "--accept",
    "accepts",
    multiple=True,
    metavar="FINDING=REASON",
    help="Accept an open blocker by name, with a reason.",
)
@click.option("--tree", "revision", metavar="REF", default="", help="With revise: your own commit goes on instead.")
@click.option("--budget", metavar="USD", default="", help="With raise: what the task may cost in all.")
@signing
@as_json
@click.pass_context
def answer(
    context: click.Context,
    *,
    gate: str,
    word: str,
    message: str,
    accepts: Sequence[str],
    revision: str,
    budget: str,
    sign: str,
    as_json: bool,
) -> None:
    """Decide at GATE, or at the gate that TASK has open: accept, revise, abandon, apply, retry or raise."""
    home = homes.opened(context)
    found = reading.read(home, lambda queries: open_gate(queries, gate))
    answered = give(home, found, word, message=message, accepts=accepts, revision=revision, budget=budget, sign=sign)
    if as_json:
        output.print_json(
            {"gate": found["id"], "task": found["task"], "word": word, "seq": answered.seq, "outcome": answered.outcome}
        )
        return
    follows = "ends" if word == "abandon" else "goes on"
    output.say(f"{word} is recorded at {found['id']}; the task {found['task']} {follows}")
    output.note(f"  loom show {found['task']} · loom log -f {found['task']}")


async def open_gate(queries: Queries, name: str) -> dict[str, Any]:
    """The gate of this name, or the one that the task of this name has open. Raises UsageProblem, UnavailableProblem."""
    found = await queries.gate(name)
    if found is None:
        task = await reading.find_task(queries, name)
        waiting = (await queries.gates(task=task))["gates"]
        if not waiting:
            raise UnavailableProblem(
                f"The task {task} has no open gate: nothing waits for an answer.", f"loom show {task}"
            )
        return dict(waiting[-1])
    if found["status"] != "open":
        raise UnavailableProblem(
            f"The gate {name} is {found['status']} already; it takes no second answer.", f"loom show {found['task']}"
        )
    return found


def give(
    home: Home,
    gate: dict[str, Any],
    word: str,
    *,
    message: str = "",
    accepts: Sequence[str] = (),
    revision: str = "",
    budget: str = "",
    sign: str = "",
) -> Any:
    """Sends the answer, about exactly what the gate shows. Raises a Problem when it is refused."""
    from loom.coordinator.client import make_text
    from loom.kernel.commands import Answer
    from loom.kernel.values import AnswerWord
    from loom.transports.asking import ask
    from loom.transports.orders import micro_usd

    check(gate, word, message=message, accepts=accepts, revision=revision, budget=budget)
    text, texts = make_text(message)
    named, more = _accepted(accepts)
    work, subject, change = own_work(home, gate, revision) if revision else ("", "", "")
    command = Answer(
        gate=gate["id"],
        word=AnswerWord(word),
        message=text,
        accepts=named,
        base=gate["base"],
        subject=gate["subject"],
        change=gate["change"],
        policy_digest=gate["policy_digest"],
        root=gate["root"],
        work=work,
        new_subject=subject,
        new_change=change,
        raises=(("cost", micro_usd(budget)),) if budget else (),
    )
    sent = (*texts, *more)
    if not sign:
        return ask(home, command, task=gate["task"], texts=sent)
    return _signed(home, command, gate, sign, sent)


def _signed(home: Home, command: Any, gate: dict[str, Any], sign: str, texts: tuple[Any, ...]) -> Any:
    """The answer with the person's signature. What is signed is shown before."""
    from loom.transports.asking import token_of_mine
    from loom.transports.signing import ask_signed

    token = token_of_mine(home)
    found = reading.read(home, lambda queries: queries.authority(token))
    about = f"{command.word.value} at {gate['id']} ({gate['role']}), about {gate['subject']}"
    output.note(f"you sign: {about}, change {gate['change'] or 'none'}, as {found['you']}")
    return ask_signed(
        home, command, sign, origin=found["origin"], principal=found["you"], task=gate["task"], texts=texts
    )


def check(gate: dict[str, Any], word: str, *, message: str, accepts: Sequence[str], revision: str, budget: str) -> None:
    """What can be said before anything is sent. Raises UsageProblem."""
    if word not in gate["answers"]:
        raise UsageProblem(f"The gate {gate['id']} does not offer {word}.", f"it offers {', '.join(gate['answers'])}")
    if word == "revise" and not message and not revision:
        raise UsageProblem(
            "revise needs a message: what shall be done differently?", f'loom answer {gate["id"]} revise -m "…"'
        )
    for given, name, right in (
        (revision, "--tree", "revise"),
        (budget, "--budget", "raise"),
        (accepts, "--accept", "accept"),
    ):
        if given and word != right:
            raise UsageProblem(f"{name} goes with {right}, not with {word}.")
    named = {each.partition("=")[0].strip() for each in accepts}
    missing = [each["id"] for each in gate["blockers"] if each["id"] not in named]
    if word == "accept" and missing:
        wanted = " ".join(f'--accept {finding}="…"' for finding in missing)
        raise UsageProblem(
            f"{len(missing)} blocking finding{'s are' if len(missing) > 1 else ' is'} open: {', '.join(missing)}. To accept all the same, give a reason for each.",
            f"loom answer {gate['id']} accept {wanted}",
        )


def _accepted(accepts: Sequence[str]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """(acceptances, texts that they name)."""
    from loom.coordinator.client import make_text
    from loom.kernel.values import Acceptance

    named: list[Any] = []
    texts: list[Any] = []
    for each in accepts:
        finding, _, reason = each.partition("=")
        if not finding.strip() or not reason.strip():
            raise UsageProblem(
                f"--accept {each!r} is not of the form FINDING=REASON.", '--accept f1="not reachable from outside"'
            )
        text, sent = make_text(reason.strip())
        named.append(Acceptance(finding=finding.strip(), reason=text))
        texts.extend(sent)
    return tuple(named), tuple(texts)


def own_work(home: Home, gate: dict[str, Any], revision: str) -> tuple[str, str, str]:
    """(commit, tree, digest of the change) of the person's own revision, brought into the home."""
    from loom.transports import projects

    known = reading.read(home, lambda queries: queries.projects())["projects"]
    project = next((each for each in known if each["id"] == gate["project"]), None)
    if project is None or project["kind"] != "git":
        raise UsageProblem("--tree needs a project that is a git repository.")
    fetched = projects.fetch(home.path, project["id"], projects.path_of(project["place"]), revision)
    changed = projects.diff(home.path, project["id"], gate["base"], fetched.commit)
    return fetched.commit, fetched.tree, changed.digest
