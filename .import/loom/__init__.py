"""loom drives multi-step agent work as a replay-deterministic state machine."""

__version__ = "0.1.0.dev0"
