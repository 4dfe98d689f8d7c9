"""Check a trainer of the user's own: run it golden, interrupted and resumed, and say where the runs part."""
