"""Benchmarks against the performance goals: `python -m tests.bench`, see `tests.bench.__main__`."""
