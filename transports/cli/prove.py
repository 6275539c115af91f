"""`loom export` and `loom verify`: evidence that somebody else checks, and the check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rich_click as click

from loom.transports.cli import homes, output, reading
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

PROVED, DISPROVED = 0, 1
SIGNS = {"good": ("✓", "green"), "open": ("·", "yellow"), "bad": ("✗", "red")}
LEVELS = {"V1": "integrity", "V2": "authority", "V3": "replay", "V4": "witnessed"}


@click.command()
@click.argument("task", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything in this home.")
@click.option(
    "-o", "--output", "target", metavar="FILE", default="", help="The file to write (default: TASK.loom-evidence)."
)
@click.option(
    "--without-texts", is_flag=True, help="Leave all long texts out; their ids stay, and everything verifies."
)
@click.option("--without", "left_out", multiple=True, metavar="ID", help="Leave this text out, by its id.")
@click.option("--cosigned", metavar="FILE", default="", help="A head that a witness signed, for the file to stand on.")
@as_json
@click.pass_context
def export(
    context: click.Context,
    *,
    task: str | None,
    everything: bool,
    target: str,
    without_texts: bool,
    left_out: Sequence[str],
    cosigned: str,
    as_json: bool,
) -> None:
    """Write an evidence file about TASK, that anybody can verify without this home."""
    if bool(task) == everything:
        raise UsageProblem("Name one task, or --all.", "loom tasks")
    from loom.coordinator.proof.export import export as write

    home = homes.opened(context)
    wanted = reading.read(home, lambda queries: reading.find_task(queries, task)) if task else ""
    path = Path(target or f"{wanted or 'everything'}.loom-evidence").expanduser()
    note = _text(cosigned) if cosigned else ""
    found = write(home, path, task=wanted, leave_out=left_out, texts=not without_texts, cosigned=note)
    if as_json:
        output.print_json({"file": str(path), "task": wanted, "entries": found.entries, "texts": found.texts,
                           "left_out": found.left_out, "size": found.size})  # fmt: skip
        return
    left = f", {found.left_out} left out" if found.left_out else ""
    output.say(f"{path}: {found.entries} entries under the signed head of {found.size}, {found.texts} texts{left}")
    output.note(f"  loom verify {path} --key LOG.PUB   (the key: {home.keys / 'log.pub'}, handed over another way)")


@click.command()
@click.argument("source", metavar="FILE|HOME")
@click.option(
    "--key", metavar="PUB", default="", help="The log's public key (a line, or a file), from elsewhere than FILE."
)
@click.option(
    "--approvers", metavar="FILE", default="", help="Whose SSH keys approve: ssh-keygen's allowed_signers format."
)
@click.option("--witness", "witnesses", multiple=True, metavar="PUB", help="A witness that must have signed the head.")
@click.option("--bundle", "bundles", multiple=True, metavar="REF", help="One more bundle of your own to replay with.")
@click.option("--no-replay", is_flag=True, help="Do not derive the decisions again.")
@as_json
def verify(
    *,
    source: str,
    key: str,
    approvers: str,
    witnesses: Sequence[str],
    bundles: Sequence[str],
    no_replay: bool,
    as_json: bool,
) -> int:
    """Check an evidence file, or a whole home: offline, and without running any code of the file."""
    from loom.coordinator.home import Home
    from loom.coordinator.proof.home_check import verify_home
    from loom.coordinator.proof.verify import verify as verify_file
    from loom.transports import proving

    path = Path(source).expanduser()
    if not path.exists():
        raise UsageProblem(f"There is no {path}.")
    log_key = proving.verifier(key) if key else None
    people = proving.allowed_signers(Path(approvers).expanduser()) if approvers else None
    seconds = tuple(proving.verifier(each) for each in witnesses)
    replay = None if no_replay else proving.replayer(bundles)
    if path.is_dir():
        judgement = verify_home(Home(path.absolute()), key=log_key, approvers=people, witnesses=seconds, replay=replay)
    else:
        judgement = verify_file(path, key=log_key, approvers=people, witnesses=seconds, replay=replay)
    code = DISPROVED if judgement.failed else PROVED
    if as_json:
        from loom.coordinator.proof.judging import Level

        lines = [
            {"level": line.level, "state": line.state, "part": line.part, "said": line.said} for line in judgement.lines
        ]
        levels = {level.value: judgement.state(level).value for level in Level}
        output.print_json({"source": str(path), "levels": levels, "lines": lines, "exit": code})
        return code
    for line in judgement.lines:
        _print(line.level, line.state, f"{line.part}: {line.said}")
    output.say("something is wrong" if code else _summary(judgement.lines))
    return code


def _print(level: str, state: str, said: str) -> None:
    sign, colour = SIGNS[state]
    click.secho(f"{sign} ", fg=colour, nl=False)
    output.say(output.clean(f"{level} {LEVELS[level]:<10} {said}"))


def _summary(lines: Sequence[object]) -> str:
    still = sorted({str(getattr(line, "level", "")) for line in lines if getattr(line, "state", "") == "open"})
    said = f"; not judged: {', '.join(still)}" if still else ""
    return f"nothing is wrong{said}. What it does not prove: docs/proof.md"


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path} cannot be read: {error}.") from error
