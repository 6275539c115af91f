"""The simulator: whole histories of loom from one seed each.

    world       clock, events, network          plan        what a seed is about
    disk        the database's bytes, texts     coordinator, worker, hands, people     the nodes
    simulation  one history                     witness, laws     what must hold on the way and at the end
    story       what happened, to be read       planted     protocol bugs that must be found

`python -m harness.sim SEED` (or `make sim SEED=7`) runs one; see docs/simulation.md.
"""

from __future__ import annotations
