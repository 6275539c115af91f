"""SQL stands in named files: `-- :name` in a line of its own starts a statement, which ends at the next name."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"^-- :(\w+)(?:[^\n]*)\n", re.MULTILINE)
FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, str]:
    """name → statement, of `sql/<name>.sql`. Prose before the first name is not part of any."""
    text = (FOLDER / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    names, statements = parts[::2], [part.strip().removesuffix(";") for part in parts[1::2]]
    if len(set(names)) != len(names):
        raise ValueError(f"a name stands twice in sql/{name}.sql")
    return dict(zip(names, statements, strict=True))
