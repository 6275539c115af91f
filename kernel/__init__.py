"""The machine: pure functions over frozen values; standard library only, no clock, no randomness, no I/O."""
