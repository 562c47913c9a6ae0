"""Benchmarks, which are not part of the installed package: `python -m benchmarks.run`."""
