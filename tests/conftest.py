"""Fixtures are plugins by concern: see the docstring of each."""

pytest_plugins = [
    "pytester",
    "fix_async",
    "fix_redis",
    "fix_golden",
    "fix_stores",
    "fix_topologies",
]
