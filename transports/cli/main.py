"""The console script `loom`. It answers `--version` by itself; everything else is in `app`."""

from __future__ import annotations

import sys

from loom import __version__


def main() -> None:
    """Runs the command line of this process, and exits."""
    if sys.argv[1:] == ["--version"]:  # what scripts ask most, without loading a command line
        print(f"loom {__version__}")
        sys.exit(0)
    from loom.transports.cli.app import invoke

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name may hold what the terminal's encoding cannot
    sys.exit(invoke(sys.argv[1:]))


if __name__ == "__main__":
    main()
