"""`loom torture`: faults of every kind against a home of its own, on this disk, and what must be true afterwards."""

from __future__ import annotations

from loom.transports.cli.torture.command import torture

__all__ = ["torture"]
