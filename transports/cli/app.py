"""`loom`: a table of commands, each loaded when it is asked for, and the one place where errors become words.

Exit codes: 0 done or accepted · 1 rejected or failed · 2 asked wrongly · 3 waiting for a person · 4 unavailable or refused.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import rich_click as click
from click.exceptions import Abort

from loom import __version__
from loom.transports.errors import Problem

DONE, FAILED, USAGE, WAITING, UNAVAILABLE = 0, 1, 2, 3, 4

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("loom.transports.cli.run:run", "work"),
    "fork": ("loom.transports.cli.fork:fork", "work"),
    "demo": ("loom.transports.cli.demo.command:demo", "work"),
    "status": ("loom.transports.cli.status:status", "see"),
    "tasks": ("loom.transports.cli.look:tasks", "see"),
    "show": ("loom.transports.cli.look:show", "see"),
    "log": ("loom.transports.cli.log:log", "see"),
    "diff": ("loom.transports.cli.look:diff", "see"),
    "why": ("loom.transports.cli.why:why", "see"),
    "gates": ("loom.transports.cli.gates:gates", "decide"),
    "answer": ("loom.transports.cli.gates:answer", "decide"),
    "pause": ("loom.transports.cli.control:pause", "decide"),
    "resume": ("loom.transports.cli.control:resume", "decide"),
    "cancel": ("loom.transports.cli.control:cancel", "decide"),
    "retry": ("loom.transports.cli.control:retry", "decide"),
    "take": ("loom.transports.cli.take:take", "decide"),
    "push": ("loom.transports.cli.push:push", "decide"),
    "replay": ("loom.transports.cli.replay:replay", "prove"),
    "whatif": ("loom.transports.cli.whatif:whatif", "prove"),
    "export": ("loom.transports.cli.prove:export", "prove"),
    "verify": ("loom.transports.cli.prove:verify", "prove"),
    "witness": ("loom.transports.cli.witness:witness", "prove"),
    "keys": ("loom.transports.cli.keys:keys", "set up"),
    "users": ("loom.transports.cli.users:users", "set up"),
    "duties": ("loom.transports.cli.duties:duties", "set up"),
    "backup": ("loom.transports.cli.keep:backup", "set up"),
    "restore": ("loom.transports.cli.keep:restore", "set up"),
    "bundle": ("loom.transports.cli.bundle:bundle", "prove"),
    "projects": ("loom.transports.cli.projects:projects", "set up"),
    "models": ("loom.transports.cli.models:models", "set up"),
    "budgets": ("loom.transports.cli.budgets:budgets", "set up"),
    "secrets": ("loom.transports.cli.secrets:secrets", "set up"),
    "config": ("loom.transports.cli.config:config", "set up"),
    "init": ("loom.transports.cli.projects:init", "set up"),
    "workers": ("loom.transports.cli.workers:workers", "set up"),
    "worker": ("loom.transports.cli.workers:worker", "set up"),
    "daemon": ("loom.transports.cli.daemon:daemon", "set up"),
    "doctor": ("loom.transports.cli.doctor:doctor", "prove"),
    "bench": ("loom.transports.cli.bench:bench", "prove"),
    "torture": ("loom.transports.cli.torture:torture", "prove"),
}
"""Command → where it is, and under which head the help shows it."""

HEADS = ("work", "see", "decide", "prove", "set up")


class Lazy(click.RichGroup):
    """The group whose commands are imported when they are needed, so that a quick command stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (place, _) in COMMANDS.items() if find_spec(place.partition(":")[0])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, _, attribute = COMMANDS.get(cmd_name, ("", ""))[0].partition(":")
        if not module or not find_spec(module):
            return None
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


HELP = {
    "max_width": 100,
    "command_groups": {
        "*": [
            {"name": head, "commands": [name for name, (_, group) in COMMANDS.items() if group == head]}
            for head in HEADS
        ]
    },
}


@click.group(
    cls=Lazy,
    # by the context, not by the decorator rich_config: that one loads rich.console, which is a third of a quick command
    context_settings={"help_option_names": ["-h", "--help"], "rich_help_config": HELP},
    epilog="loom COMMAND --help says more. Exit codes: 0 done · 1 rejected or failed · 2 usage · 3 waiting for you · 4 unavailable",
)
@click.version_option(__version__, "--version", prog_name="loom", message="%(prog)s %(version)s")
@click.option("--home", metavar="DIR", help="The home to use, instead of $LOOM_HOME or the nearest .loom/ upwards.")
@click.pass_context
def cli(context: click.Context, home: str | None) -> None:
    """loom drives agents through work that has to pass reviews: every step recorded, checked by rules, and replayable."""
    context.obj = home


def invoke(arguments: Sequence[str]) -> int:
    """Runs one command line. Returns the exit code; every error has become a sentence on standard error."""
    try:
        code = cli.main(args=list(arguments), prog_name="loom", standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "loom"
        return complain(error.format_message(), f"{where} --help", USAGE)
    except (Abort, KeyboardInterrupt):
        print(file=sys.stderr)
        return 130
    except Problem as problem:
        return complain(problem.sentence, problem.mend, problem.exit_code, problem)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        return complain(*translate(error), error)
    return code if isinstance(code, int) else DONE


def translate(error: Exception) -> tuple[str, str, int]:
    """(sentence, mend, exit code) of an error that no command has put into words."""
    from loom.transports.cli.trouble import words_of

    return words_of(error)


def complain(sentence: str, mend: str, code: int, error: BaseException | None = None) -> int:
    """Says what happened and how to mend it, on standard error. With LOOM_DEBUG, the traceback as well."""
    from loom.transports.cli.output import clean

    if error is not None and os.environ.get("LOOM_DEBUG"):
        import traceback

        traceback.print_exception(error)
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(clean(sentence), err=True)
    if mend:
        click.secho("  try: ", dim=True, nl=False, err=True)
        click.echo(clean(mend), err=True)
    return code
