"""Experiments on networks: the built-in rooms, branching, and the reproduction of the papers."""
