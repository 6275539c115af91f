"""`loom bundle`: the bundles that there are, their flows, and the model checker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from loom.transports.cli import output
from loom.transports.cli.options import as_json
from loom.transports.errors import UsageProblem

if TYPE_CHECKING:
    from loom.bundles.checking.checker import Report, Row, Trace
    from loom.kernel.flow import Bundle

PROVED, REFUTED = 0, 1
CHOSEN = "(chosen)"
"""How a task is shown whose flow nobody pinned."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bundle() -> None:
    """The bundles that there are, their flows, and what is proved about them."""


@bundle.command(name="list")
@as_json
def list_(as_json: bool) -> int:
    """The bundles that are installed."""
    from loom.bundles import registry
    from loom.transports import catalogue

    found = [catalogue.load(name) for name in registry.names()]
    if as_json:
        rows = [{"name": b.name, "version": b.version, "digest": b.digest, "summary": b.summary} for b in found]
        output.print_json({"bundles": rows})
    else:
        for one in found:
            output.say(f"{one.name} {one.version}  {one.digest[:12]}  {one.summary}")
    return PROVED


@bundle.command()
@click.argument("ref", metavar="NAME|PATH")
@click.option("--mermaid", is_flag=True, help="As Mermaid charts instead of text.")
def show(ref: str, mermaid: bool) -> int:
    """The flows of a bundle, drawn from its table."""
    from loom.bundles import picture
    from loom.transports import catalogue

    found = catalogue.load(ref)
    for flow in found.flows:
        output.say(picture.mermaid(flow) if mermaid else picture.text(found, flow))
    return PROVED


@bundle.command()
@click.argument("refs", metavar="[NAME|PATH]...", nargs=-1)
@click.option(
    "--trace",
    "trace",
    metavar="FILE",
    default="",
    help="Keep the commands of the first refutation, for loom replay --commands.",
)
@click.option("--property", "wanted", metavar="NAME", default="", help="With --trace: the refutation of this property.")
@as_json
def check(refs: tuple[str, ...], trace: str, wanted: str, as_json: bool) -> int:
    """Walk everything that a task of a bundle can come to, and prove or refute its properties. Without a name: every shipped bundle."""
    from loom.bundles import registry
    from loom.bundles.checking.properties import PROPERTIES
    from loom.transports import catalogue

    if wanted and (wanted not in PROPERTIES or not trace):
        raise UsageProblem(f"--property goes with --trace and is one of {', '.join(PROPERTIES)}.")
    if trace and len(refs) != 1:
        raise UsageProblem("--trace keeps a trace of one bundle: name it.")
    found: list[dict[str, Any]] = []
    refuted = False
    for ref in refs or (*registry.names(), *registry.INTERNAL):
        table = catalogue.load(ref)
        report = _checked(table, quiet=as_json)
        refuted = refuted or bool(report.traces)
        if trace:
            _keep(Path(trace), ref, table, report, wanted)
        if as_json:
            found.append(_as_json(table, report))
        else:
            _say(table, report)
    if as_json:
        output.print_json({"bundles": found})
    return REFUTED if refuted else PROVED


def _checked(table: Bundle, *, quiet: bool) -> Report:
    """The check. Nothing of it is garbage before its end, and looking for some takes a fifth of the time."""
    import gc

    from loom.bundles.checking import checker

    if not quiet:
        output.say(f"{table.name} {table.version}, digest {table.digest[:12]}")
        output.say(f"  {'flow':<12} {'preset':<14} {'states':>7} {'edges':>7} {'seconds':>8}  attempts to an end")
    gc.disable()
    try:
        return checker.check(table, (lambda row: None) if quiet else _say_row)
    except ValueError as error:
        raise UsageProblem(f"The bundle {table.name} cannot be checked: {error}.") from error
    finally:
        gc.enable()


def _say_row(row: Row) -> None:
    fewest = "none" if row.attempts < 0 else f"{row.attempts}"
    output.say(
        f"  {row.flow or CHOSEN:<12} {row.preset:<14} {row.places:>7} {row.edges:>7} {row.seconds:>8.2f}  {fewest}"
    )


def _say(table: Bundle, report: Report) -> None:
    output.say(f"  {report.places} states in all, {report.ticks} ticks of the kernel, {report.seconds:.1f} s")
    for note in report.notes:
        output.say(f"  note     {output.clean(note)}")
    output.say(f"  proved   {', '.join(report.proved) or 'nothing'}")
    for one in report.traces:
        at = f"flow {one.refutation.flow or CHOSEN}, preset {one.refutation.preset}"
        output.say(
            f"  refuted  {one.refutation.property}: {output.clean(one.refutation.sentence)} ({at}, {len(one.commands)} commands)"
        )


def _keep(path: Path, ref: str, table: Bundle, report: Report, wanted: str) -> None:
    from loom.transports import traces

    chosen = [one for one in report.traces if wanted in ("", one.refutation.property)]
    if not chosen:
        output.note(f"  nothing to keep: {wanted or 'everything'} is proved")
        return
    first = chosen[0]
    traces.write(path, ref, table.digest, (first.refutation.property, first.refutation.sentence), first.commands)
    output.note(f"  loom replay --commands {path} shows the refutation of {first.refutation.property}")


def _as_json(table: Bundle, report: Report) -> dict[str, Any]:
    return {
        "bundle": table.name,
        "digest": table.digest,
        "states": report.places,
        "ticks": report.ticks,
        "seconds": round(report.seconds, 3),
        "graphs": [
            {
                "flow": row.flow,
                "preset": row.preset,
                "states": row.places,
                "edges": row.edges,
                "seconds": round(row.seconds, 3),
                "attempts_to_an_end": row.attempts,
            }
            for row in report.rows
        ],
        "proved": list(report.proved),
        "refuted": [_refuted(one) for one in report.traces],
        "notes": list(report.notes),
    }


def _refuted(one: Trace) -> dict[str, Any]:
    refutation = one.refutation
    return {
        "property": refutation.property,
        "flow": refutation.flow,
        "preset": refutation.preset,
        "sentence": refutation.sentence,
        "commands": len(one.commands),
    }
