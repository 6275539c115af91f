"""The store under anything that a home can go through: commands, commits, rollbacks, crashes at any moment, rebuilds."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.ledger import BUNDLES, PERSON, SYSTEM, Ledger
from loom.coordinator.rebuild import digests, rebuild, rebuild_projections
from loom.coordinator.store import Store
from loom.kernel import commands as c
from loom.kernel.fold import evolve
from loom.kernel.home import evolve_home
from loom.kernel.state import HomeState, TaskState
from loom.kernel.values import Principal, PrincipalKind, SpawnStatus, Status


class StoreMachine(RuleBasedStateMachine):
    """`ledger.kept` is the model: what was committed, and nothing else, is there after every crash."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.lives = 0
        self.ledger = Ledger(Store.create(self._path))

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.lives}" / "state.db" if self.lives else self.folder / "state.db"

    def teardown(self) -> None:
        self.ledger.store.close()
        shutil.rmtree(self.folder)

    @initialize(bundle=st.integers(0, len(BUNDLES) - 1))
    def begin(self, bundle: int) -> None:
        self.ledger.create_home()
        self.ledger.submit(bundle)
        self.ledger.commit()

    @rule(bundle=st.integers(0, len(BUNDLES) - 1), preset=st.sampled_from(["autonomous", "on-blockers", "supervised"]))
    def submit(self, bundle: int, preset: str) -> None:
        self.ledger.submit(bundle, preset)

    @rule(picks=st.lists(st.integers(0, 10_000), min_size=1, max_size=12))
    def advance(self, picks: list[int]) -> None:
        for pick in picks:
            self.ledger.advance(pick)

    @rule(name=st.sampled_from(["a", "b"]), value=st.sampled_from(["", "1", "2"]))
    def change_setting(self, name: str, value: str) -> None:
        self.ledger.about_home(c.ChangeSetting(name, value))

    @rule(name=st.sampled_from(["p1", "p2"]))
    def change_project(self, name: str) -> None:
        if any(project.id == name for project in self.ledger.home.projects):
            self.ledger.about_home(c.RemoveProject(name))
        else:
            self.ledger.about_home(c.AddProject(name, name, "/somewhere", "git"))

    @rule(kind=st.sampled_from(list(PrincipalKind)), number=st.integers(0, 2))
    def enrol(self, kind: PrincipalKind, number: int) -> None:
        who = Principal(f"{kind}{number}", kind, "cli")
        self.ledger.about_home(c.EnrolPrincipal(who, f"digest-{kind}-{number}", ("fast",)))

    @rule(number=st.integers(0, 3), person=st.booleans())
    def change_key(self, number: int, person: bool) -> None:
        home = self.ledger.home
        key = f"key{number}.{sum(each.startswith(f'key{number}.') for each in home.revoked)}"
        signs = replace(PERSON, assurance="A2")
        if any(key == known for known, _ in (*home.signers, *home.hands)):
            self.ledger.about_home(c.RevokeKey(key), signs)
        elif person:
            self.ledger.about_home(c.EnrolKey("ada", PrincipalKind.PERSON, key), signs)
        else:
            self.ledger.about_home(c.EnrolKey("w1", PrincipalKind.WORKER, key), SYSTEM)

    @rule(number=st.integers(0, 2))
    def change_the_logs_name(self, number: int) -> None:
        home = self.ledger.home
        self.ledger.about_home(c.RotateLogKey(f"{home.log_key[:20]}{self.ledger.edge.size}", "note"))
        if number == 2:
            self.ledger.about_home(
                c.Restore(f"o{self.ledger.edge.size}", "k", home.origin, self.ledger.edge.size, "note")
            )

    @rule()
    def commit(self) -> None:
        self.ledger.commit()

    @rule()
    def roll_back(self) -> None:
        self.ledger.rollback()

    @rule()
    def crash(self) -> None:
        """The files as they lie on the disk at this moment are all that the next coordinator has."""
        old = self._path.parent
        self.lives += 1
        new = self._path.parent
        new.mkdir()
        for name in ("state.db", "state.db-wal"):
            if (old / name).exists():
                shutil.copy(old / name, new / name)
        self.ledger.store.close()
        self.ledger = Ledger(Store.open(self._path), self.ledger.kept, self.ledger.now_ms)

    @precondition(lambda self: self.ledger.edge == self.ledger.kept.edge)
    @rule(lose=st.booleans())
    def rebuild(self, lose: bool) -> None:
        """The same rows come out of the entries, whether the old ones are there or not."""
        self.ledger.rollback()
        connection = self.ledger.store._connection
        before = digests(connection)
        if lose:
            for table in before:
                connection.execute(f"DELETE FROM {table}")
        rebuilt = rebuild_projections(connection)
        assert before == rebuilt.after
        assert lose or rebuilt.different == ()

    @invariant()
    def the_log_stands_where_it_was_left(self) -> None:
        if self.ledger.edge == self.ledger.kept.edge and self.ledger.edge.size:
            position = self.ledger.store.head()
            assert self.ledger.kept.edge == position.edge
            assert self.ledger.kept.home.epoch == position.epoch

    @invariant()
    def folds_are_the_states(self) -> None:
        """Also inside a transaction: what a tick would read is what was appended."""
        self.ledger.flush()
        home = HomeState()
        for happened in self.ledger.store.home_events():
            home = evolve_home(home, happened.events)
        assert self.ledger.home == home
        for task, state in self.ledger.tasks.items():
            folded: TaskState | None = None
            for happened in self.ledger.store.load_events(task):
                folded = evolve(folded, happened.events, happened.now_ms)
            assert state == folded

    @invariant()
    def rows_are_the_states(self) -> None:
        """What a restart scans is what the states say."""
        open_states = [state for state in self.ledger.tasks.values() if state.status is Status.OPEN]
        store = self.ledger.store
        assert {state.spec.task for state in open_states} == set(store.open_tasks())
        for status, scanned in (
            (SpawnStatus.READY, store.ready_spawns()),
            (SpawnStatus.GRANTED, store.granted_spawns()),
        ):
            expected = {
                (s.id, s.attempt, s.fence if status is SpawnStatus.GRANTED else 0, s.binding, s.worker, s.not_before_ms)
                for state in open_states
                for s in state.spawns
                if s.status is status
            }
            found = {
                (
                    s.spawn,
                    s.attempt,
                    s.fence if status is SpawnStatus.GRANTED else 0,
                    s.binding,
                    s.worker,
                    s.not_before_ms,
                )
                for s in scanned
            }
            assert expected == found
        wakes = {(state.spec.task, name, due) for state in open_states for name, due in state.wakes}
        assert wakes == {(wake.task, wake.name, wake.due_ms) for wake in store.wakes()}
        self._task_rows()

    def _task_rows(self) -> None:
        query = "SELECT task, status, verdict, stage, n, attempts, tokens, cost, reserved, round, paused FROM task"
        expected = {
            (
                s.spec.task, s.status.value, s.verdict.value, s.stage, s.n, s.spent.attempts, s.spent.tokens, s.spent.cost,
                s.spent.reserved, s.round, int(s.paused),
            )
            for s in self.ledger.tasks.values()
        }  # fmt: skip
        assert expected == set(self.ledger.store._connection.execute(query))


StoreMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStore = StoreMachine.TestCase


def test_every_kind_of_event_was_written(tmp_path: Path) -> None:
    """A long history of all toys meets the events that projections are made of, and rebuilds to the same rows."""
    store = Store.create(tmp_path / "state.db")
    ledger = Ledger(store)
    ledger.create_home()
    for bundle in range(3 * len(BUNDLES)):
        ledger.submit(bundle, ("autonomous", "on-blockers", "supervised")[bundle % 3])
    for pick in range(1_500):
        ledger.advance(pick * 7919 + pick // 3)
        if pick % 64 == 0:
            ledger.commit()
    ledger.submit(0)
    ledger.commit()
    kinds = {
        kind
        for happened in map(store.load_events, ledger.tasks)
        for each in happened
        for kind in map(type, each.events)
    }
    counts = dict(
        store._connection.execute(
            " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in digests(store._connection))
        )
    )
    store.close()
    assert 27 <= len(kinds), kinds
    empty = {name for name, count in counts.items() if count == 0}
    assert {
        "approval",
        "artifact",
        "bundle",
        "invitation",
        "principal",
        "project",
        "setting",
        "signer",
        "token",
        "worker",
    } >= empty, counts
    assert () == rebuild(tmp_path / "state.db").different
