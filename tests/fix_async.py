"""`async def` tests run as they stand, each in an event loop of its own.

Fixtures are ordinary (sync) ones; what has to be awaited is opened by the test itself, with
`async with`. `@hypothesis.given` works too: every example gets a loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    test = pyfuncitem.obj
    if inspect.iscoroutinefunction(test):
        names = pyfuncitem._fixtureinfo.argnames
        _in_a_loop(test)(**{name: pyfuncitem.funcargs[name] for name in names})
        return True
    handle = getattr(test, "hypothesis", None)
    if handle is not None and inspect.iscoroutinefunction(handle.inner_test):
        # Hypothesis calls the test itself, once an example, and refuses coroutines; `inner_test`
        # is the place it offers to plugins for this.
        handle.inner_test = _in_a_loop(handle.inner_test)
    return None


def _in_a_loop(test: AsyncTest) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
