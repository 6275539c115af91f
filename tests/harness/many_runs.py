"""Two hundred real runs for the tutorial of what-if: a shop's repository, in which one change under auth/ slipped through.

Every run goes through the real coordinator, workers, sandbox, checks and policies; only the models' words are written here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.cli import Cli, Script, commit_all, eventually
from harness.scenarios import Stage, verdict

AT_ONCE = 4
REVIEWED = (17, 44, 61, 88, 103, 139, 172)
"""Changes under auth/ that took the way with a security review."""
SLIPPED = 126
"""The one that was taken for trivial."""
FILES = {
    "auth/__init__.py": "",
    "auth/login.py": "def allowed(user, password):\n    return bool(user and password)\n",
    "shop/__init__.py": "",
    "shop/prices.py": "VAT = 19\n",
    "tests/__init__.py": "",
    "tests/test_prices.py": "import unittest\n\nfrom shop.prices import VAT\n\n\nclass T(unittest.TestCase):\n"
    "    def test_vat(self):\n        self.assertEqual(19, VAT)\n",
    ".gitignore": ".loom/\n",
    "loom.toml": '[checks]\nlint = "not applicable"\ntypecheck = "not applicable"\n',
}


def shop(loom: Cli, place: Path) -> Stage:
    """The project, trusted."""
    for name, content in FILES.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    commit_all(place)
    assert 0 == loom("projects", "trust", "--yes", str(place)).code
    return Stage(loom, place)


def script_of(number: int) -> Script:
    """What the agents say in run `number`: a note on the shelf, or another line in auth/login.py."""
    auth = number in (*REVIEWED, SLIPPED)
    path, content = f"shop/note_{number}.py", f"NOTE = {number}\n"
    if auth:
        path, content = "auth/login.py", f"{FILES['auth/login.py']}\n\nATTEMPTS = {number}\n"
    script = Script.empty().say("implementer", "implement", "", calls=[("write", {"path": path, "content": content})])
    script.say("implementer", "implement", {"outcome": "done", "summary": f"Wrote {path}."}, ordinal=1)
    if number not in REVIEWED:
        return script
    script.say("scout", "scout", {"outcome": "done", "summary": "Seen.", "notes": "One function."})
    script.say("planner", "plan", {"outcome": "done", "summary": "Planned.", "plan": "1. Add the line."})
    script.say("plan_reviewer", "plan_review", verdict("plan_reviewer"))
    for agent in ("correctness", "challenger", "security"):
        script.say(agent, "review", verdict(agent))
    return script.say("acceptance", "acceptance", verdict("acceptance"))


def run_many(stage: Stage, count: int) -> list[str]:
    """Runs 1 … count, to their ends; their ids, in the order of their numbers."""

    def one(number: int) -> str:
        replies = script_of(number).write(stage.loom.root / f"replies-{number}.jsonl")
        flow = "medium" if number in REVIEWED else "trivial"
        words = ("--flow", flow, "--policy", "autonomous", "--model", f"*=recorded:{replies}", "--detach")
        done = stage.loom("run", f"Order {number}", *words, cwd=stage.project)
        assert done.code == 0, done
        return done.out.strip()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        tasks = list(pool.map(one, range(1, count + 1)))

    def over() -> bool:
        listed = stage.loom("tasks", "--limit", str(count), "--json", cwd=stage.project).json["tasks"]
        return {"accepted"} == {each["verdict"] if each["status"] == "done" else "" for each in listed}

    eventually(over, within=600, what="the end of every run")
    return tasks
