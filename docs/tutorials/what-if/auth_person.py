"""Whatever was changed under auth/ is accepted by a person."""

from loom.kernel.facts import BOOL, Any, Fact
from loom.kernel.flow import Measure, Role

MEASURES = (Measure("touches_auth", "paths", BOOL, ("auth/",)),)

ROLES = (
    Role(
        "final",
        floor=("check.test", "check.lint", "check.typecheck"),
        person_when=Any((Fact("tests_changed"), Fact("test_setup_changed"), Fact("empty"), Fact("touches_auth"))),
    ),
)
