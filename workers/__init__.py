"""The actors: they take assignments, run agents and checks in sandboxes, and own no state."""
