"""What a working tree costs, made anew and renewed from the pool: `python -m harness.bench_pool [FILES]`, from tests/.

Real git on this disk. Each round is what an attempt does around its agent: a tree for a commit, then the tree's end. The
agent between them changes a hundredth of the files, adds as many, and leaves as many ignored ones. The two kinds take turns, so that
whatever else the machine does meets both.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from harness.repositories import make_repository, write
from loom.workers.protocol import WorkspaceRef
from loom.workers.workspaces import Pool, Workspace, dispose, fetch_project, prepare

FILES = 2_000
FOLDERS = 100
ROUNDS = 15


async def measure(files: int, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Milliseconds of each part in each round."""
    taken: dict[str, list[float]] = {"new": [], "new, its end": [], "renewed": [], "renewed, its end": []}
    with tempfile.TemporaryDirectory(prefix="bench-pool-") as name:
        root = Path(name)
        commit = make_repository(root / "user", dict(_files(files)))
        fetched = await fetch_project(root / "home", "p1", root / "user")
        ref = WorkspaceRef(source=str(fetched.repository), commit=commit, base=commit, publish="refs/loom/T1/s/1")
        pool = Pool(root / "pool")
        await _round(ref, root / "first", pool, files, {})
        for number in range(rounds):
            await _round(ref, root / f"new-{number}", None, files, taken)
            await _round(ref, root / f"renewed-{number}", pool, files, taken)
    return taken


async def _round(
    ref: WorkspaceRef, scratch: Path, pool: Pool | None, files: int, taken: dict[str, list[float]]
) -> None:
    kind = "renewed" if pool else "new"
    start = time.perf_counter()
    workspace = await prepare(ref, scratch, pool=pool)
    taken.setdefault(kind, []).append((time.perf_counter() - start) * 1000)
    _work(workspace, files)
    start = time.perf_counter()
    if pool and not await pool.give(workspace.repository, workspace.commit, workspace.tree):
        raise SystemExit("the pool did not keep the tree: see the limits in workers/workspaces/pool.py")
    await dispose(workspace)
    taken.setdefault(f"{kind}, its end", []).append((time.perf_counter() - start) * 1000)


def _files(count: int) -> list[tuple[str, str]]:
    """Files of about 2 KB in nested folders."""
    return [
        (f"part{n % FOLDERS // 10}/room{n % FOLDERS}/module{n}.py", f"value = {n}\n" + f"# line {n} of text\n" * 100)
        for n in range(count)
    ]


def _work(workspace: Workspace, count: int) -> None:
    some = _files(count)[:: max(count // (count // 100 or 1), 1)]
    write(workspace.tree, {path: "changed\n" for path, _ in some})
    write(workspace.tree, {path + ".new": "new\n" for path, _ in some})
    write(workspace.tree, {f".cache/{number}": "x" for number in range(len(some))})


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    taken = asyncio.run(measure(files))
    middle = {name: statistics.median(values) for name, values in taken.items()}
    for name, value in middle.items():
        print(f"{name:18} {value:8.1f} ms (least {min(taken[name]):.1f})")
    both = (middle["new"] + middle["new, its end"]) / (middle["renewed"] + middle["renewed, its end"])
    print(
        f"{files} files: renewed is {middle['new'] / middle['renewed']:.1f} times quicker, with its end {both:.1f} times"
    )


if __name__ == "__main__":
    main()
