"""The single writer: turns commands into committed entries, schedules work, proves the log."""
