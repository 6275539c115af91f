"""The workload on LangGraph with its SQLite checkpointer, durability "sync": written before the next superstep starts."""

from __future__ import annotations

import operator
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, TypedDict

import psutil
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from workload import AFTER, ANSWER, BEFORE, REVIEWERS, Meter, loads


class State(TypedDict):
    """The reviewers write beside each other, so results are merged, not replaced."""

    results: Annotated[dict[str, str], operator.or_]


def node(name: str) -> Callable[[State], State]:
    """A call."""
    return lambda state: {"results": {name: ANSWER}}


def main() -> None:
    """Prints the figures."""
    graph = StateGraph(State)
    for name in (*BEFORE, *REVIEWERS, *AFTER):
        graph.add_node(name, node(name))
    for first, second in zip((START, *BEFORE[:-1]), BEFORE, strict=True):
        graph.add_edge(first, second)
    for reviewer in REVIEWERS:
        graph.add_edge(BEFORE[-1], reviewer)
    graph.add_edge(list(REVIEWERS), AFTER[0])
    graph.add_edge(AFTER[0], AFTER[1])
    graph.add_edge(AFTER[1], END)
    with tempfile.TemporaryDirectory(prefix="loom-peer-") as folder:
        connection = sqlite3.connect(Path(folder) / "langgraph.db", check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")  # SQLite's default: said, so that no build differs
        compiled = graph.compile(checkpointer=SqliteSaver(connection))
        meter = Meter([psutil.Process()])

        def one(name: str) -> None:
            found = compiled.invoke({"results": {}}, {"configurable": {"thread_id": name}}, durability="sync")
            assert len(found["results"]) == 9

        one("warm")
        for in_flight, tasks in loads(sys.argv).items():
            with ThreadPoolExecutor(in_flight) as pool:
                names = [f"{in_flight}-{number}" for number in range(tasks)]
                meter.take(in_flight, tasks, lambda pool=pool, names=names: list(pool.map(one, names)) and None)
        connection.close()
    meter.report(
        f"langgraph {version('langgraph')}, SqliteSaver (WAL, synchronous=FULL), durability='sync', threads in one process"
    )


main()
