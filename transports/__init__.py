"""The outer wires: thin client processes that parse, ask the coordinator, and render."""
