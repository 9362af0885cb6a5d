"""Fixtures are plugins by concern: see the docstring of each."""

import signal

pytest_plugins = [
    "pytester",
    "fix_async",
    "fix_redis",
    "fix_golden",
    "fix_stores",
    "fix_topologies",
]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has started us in the background. Programs that are tested would inherit it, and not
    # notice an interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
