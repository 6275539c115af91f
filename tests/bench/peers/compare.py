"""loom beside its peers in one run, on the same work: `make bench PEERS=1`.

Each peer runs in `.venv-peers`, never in loom's own environment; what is installed there is the dependency group `peers` of
pyproject.toml. Restate's server comes by npm, into the user's cache. A peer that cannot be installed or does not run is
said, and the others go on. loom is measured before and after the peers; the middle of the two stands in the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import platformdirs

from loom import __version__
from loom.transports.cli.bench.rig import Rig
from loom.transports.stubbed import CALLS, STAGES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PEERS = {"LangGraph": "langgraph_peer.py", "DBOS": "dbos_peer.py", "Restate": "restate_peer.py"}
RESTATE = "@restatedev/restate-server@1.7.12"
BARS = {"LangGraph": 10.0, "DBOS": 20.0, "Restate": 3.0}
"""How many times a peer's steps/s at 128 in flight loom is to reach."""
LOOM_TASKS, LOOM_QUICK = {1: 40, 16: 240, 128: 640}, {1: 10, 16: 64, 128: 256}
INSTALL_S, RUN_S = 900, 900
SAID = 600
"""So many characters of what a peer said are shown when it fails."""

Figures = dict[str, Any]


class Missing(Exception):
    """A peer that cannot be had here, and why."""


def main() -> int:
    """Runs them all, prints a table or JSON; 0 unless loom itself could not be measured."""
    parser = argparse.ArgumentParser(prog="make bench PEERS=1", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the work: rougher figures")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    before = loom(options.quick)
    found: dict[str, Figures] = {}
    missing: dict[str, str] = {}
    for name, script in PEERS.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            found[name] = peer(script, options.quick, server() if name == "Restate" else "")
        except Missing as reason:
            missing[name] = str(reason)
    figures = {"loom": middle(before, loom(options.quick)), **found}
    if options.json:
        print(json.dumps({"figures": figures, "missing": missing, "ratios": ratios(figures)}, indent=2))
    else:
        show(figures, missing)
    return 0


def loom(quick: bool) -> Figures:
    """loom on the same loads; CPU of the coordinator and its workers."""
    print("loom …", file=sys.stderr, flush=True)
    steps: dict[str, float] = {}
    cpu = 0.0
    with Rig() as rig:
        rig.run(8, 8)
        for in_flight, tasks in (LOOM_QUICK if quick else LOOM_TASKS).items():
            used = rig.cpu_s()
            steps[str(in_flight)] = round(CALLS * tasks / rig.run(tasks, in_flight), 1)
            cpu = (rig.cpu_s() - used) / (CALLS * tasks) * 1_000
    return {
        "steps_per_s": steps,
        "cpu_s_per_1000_steps": round(cpu, 3),
        "ms_a_stage": round(CALLS / STAGES / steps["1"] * 1_000, 2),
        "settings": f"loom {__version__}, WAL, synchronous=FULL, two worker processes, rules, projections, log and leases on",
    }


def middle(one: Figures, other: Figures) -> Figures:
    """The mean of two measurements, figure by figure."""
    mean = statistics.mean
    return {
        "steps_per_s": {
            load: round(mean((one["steps_per_s"][load], other["steps_per_s"][load])), 1) for load in one["steps_per_s"]
        },
        "cpu_s_per_1000_steps": round(mean((one["cpu_s_per_1000_steps"], other["cpu_s_per_1000_steps"])), 3),
        "ms_a_stage": round(mean((one["ms_a_stage"], other["ms_a_stage"])), 2),
        "settings": one["settings"],
        "runs": [one["steps_per_s"], other["steps_per_s"]],
    }


def peer(script: str, quick: bool, restate: str) -> Figures:
    """What a peer's program found. Raises Missing."""
    python = interpreter()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LOOM_", "LANGSMITH_"))}
    environment |= {"LANGSMITH_TRACING": "false", "RESTATE_SERVER": restate, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), str(HERE / script), *["--quick"] * quick]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"it took more than {RUN_S} s") from None
    if done.returncode:
        raise Missing(f"it ended with code {done.returncode}: {done.stderr.strip()[-SAID:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def interpreter() -> Path:
    """The peers' own Python, with what pyproject.toml says installed. Raises Missing."""
    folder = ROOT / ".venv-peers"
    wanted: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"][
        "peers"
    ]
    stamp = folder / ".installed"
    if not (stamp.exists() and stamp.read_text() == repr(wanted)):
        print(f"installing the peers into {folder} …", file=sys.stderr, flush=True)
        run(sys.executable, "-m", "venv", "--clear", str(folder))
        run(str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
        stamp.write_text(repr(wanted))
    return folder / "bin" / "python"


def server() -> str:
    """The path of Restate's server. Raises Missing."""
    if shutil.which("npm") is None:
        raise Missing("npm is not on this machine")
    folder = platformdirs.user_cache_path("loom", appauthor=False) / "peers" / RESTATE.rpartition("@")[2]
    program = folder / "node_modules" / ".bin" / "restate-server"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error", RESTATE)
    return str(program)


def run(*command: str) -> None:
    """Raises Missing with the end of what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from None
    if done.returncode:
        raise Missing(f"{' '.join(command[:4])} … ended with code {done.returncode}: {done.stderr.strip()[-SAID:]}")


def ratios(figures: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Peer → load → how many times its steps/s loom makes."""
    ours = figures["loom"]["steps_per_s"]
    return {
        name: {load: round(ours[load] / steps, 1) for load, steps in each["steps_per_s"].items()}
        for name, each in figures.items()
        if name != "loom"
    }


def show(figures: dict[str, Figures], missing: dict[str, str]) -> None:
    """The table, the settings, and what is missing."""
    found = ratios(figures)
    print(f"{'':<12}{'steps/s 1':>10}{'16':>8}{'128':>8}{'CPU s/1,000':>13}{'ms a stage':>12}{'loom is':>26}{'bar':>6}")
    for name, each in figures.items():
        steps = each["steps_per_s"]
        times = " · ".join(f"{ratio:g}×" for ratio in found[name].values()) if name in found else ""
        bar = f"{BARS[name]:g}×" if name in found else ""
        row = f"{steps['1']:>10.0f}{steps['16']:>8.0f}{steps['128']:>8.0f}{each['cpu_s_per_1000_steps']:>13.3f}"
        print(f"{name:<12}{row}{each['ms_a_stage']:>12.2f}{times:>26}{bar:>6}")
    for name, each in figures.items():
        print(f"{name}: {each['settings']}")
    print(f"loom before and after the peers: {figures['loom']['runs']}")
    for name, reason in missing.items():
        print(f"{name} is missing: {reason}")


if __name__ == "__main__":
    sys.exit(main())
