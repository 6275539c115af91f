"""No acceptance without a security review when something under auth/ was changed."""

from loom.kernel.facts import BOOL, All, Fact, Not, Shown
from loom.kernel.flow import Measure, Rule

MEASURES = (Measure("touches_auth", "paths", BOOL, ("auth/",)),)

RULES = (
    Rule(
        name="auth needs a security review",
        on=("VerdictReached",),
        sentence="something under auth/ was changed, and no security review approved it",
        never=All((Fact("touches_auth"), Not(Shown("review.security", "approve")))),
    ),
)
