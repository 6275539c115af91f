"""`loom bench`: what loom costs on this machine and this disk, beside the floors of the same run."""

from __future__ import annotations

from loom.transports.cli.bench.command import bench

__all__ = ["bench"]
