"""Options that several commands share, each with the same words everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])


def as_json(command: F) -> F:
    """`--json`: one JSON document on standard output, and nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of words.")(command)


def in_project(command: F) -> F:
    """`--project DIR`, the directory that a command is about."""
    return click.option(
        "--project",
        "directory",
        metavar="DIR",
        default=".",
        help="The project's directory (default: here).",
    )(command)


def for_user(command: F) -> F:
    """`--user`: write to the user's own settings instead of the home's."""
    return click.option("--user", is_flag=True, help="Write it for all your homes, in your own settings.")(command)


def signing(command: F) -> F:
    """`--sign [KEY]`, a person's own SSH key."""
    return click.option(
        "--sign",
        metavar="[KEY]",
        is_flag=False,
        flag_value="-",
        default="",
        help="Sign it with your SSH key (default: the usual one in ~/.ssh).",
    )(command)
