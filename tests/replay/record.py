"""Record the histories anew: `make histories`, or `make histories ARGS='gates stall'` for some of them.

Each scenario of tests/harness/scenarios.py is run for real, replayed, and written to tests/replay/histories/. `ARGS=tutorial`
makes the two hundred runs of docs/tutorials/what-if.md, in a few minutes. A history of a released version is never written
again: it must replay for ever (docs/living-with-change.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.many_runs import run_many, shop
from harness.scenarios import SCENARIOS, started
from loom.transports.histories import HomeRuns, save

FOLDER = Path(__file__).parent / "histories"
TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "what-if" / "runs.history"
RUNS = 200


def main(names: list[str]) -> None:
    if names == ["tutorial"]:
        return tutorial()
    unknown = sorted(set(names) - set(SCENARIOS))
    if unknown:
        sys.exit(f"there is no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    for name in names or SCENARIOS:
        scenario = SCENARIOS[name]
        with started() as stage:
            task = scenario(stage)
            replayed = stage.loom("replay", task, cwd=stage.project)
            assert replayed.code == 0, replayed
            path = FOLDER / f"{name}.history"
            entries = stage.save(task, path, (scenario.__doc__ or "").strip())
        print(f"{path.name:24} {entries:>4} entries {path.stat().st_size:>7} bytes")


def tutorial() -> None:
    with started() as place:
        stage = shop(place.loom, place.loom.root / "shop")
        tasks = run_many(stage, RUNS)
        replayed = stage.loom("replay", "--all", cwd=stage.project)
        assert replayed.code == 0, replayed
        with HomeRuns(stage.home, tasks) as runs:
            entries = save(TUTORIAL, runs, f"{RUNS} runs in a shop's repository.")
    print(f"{TUTORIAL.name:24} {entries:>4} entries {TUTORIAL.stat().st_size:>7} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
