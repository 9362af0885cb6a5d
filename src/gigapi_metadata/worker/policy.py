"""What becomes of a plan whose job has failed. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from gigapi_metadata.errors import (
    InvalidEntry,
    InvalidName,
    MissingExtra,
    SchemaConflict,
    UnknownLayer,
)
from gigapi_metadata.planning import SET_ASIDE_S

_HOPELESS = (SchemaConflict, InvalidEntry, InvalidName)
_OURS = (MissingExtra, UnknownLayer)


class Verdict(NamedTuple):
    """When the plan may be tried again, and whether it is set aside until somebody asks for it."""

    delay_s: int
    set_aside: bool


class RetryPolicy(NamedTuple):
    """Wait `first_s`, then `factor` times as long after each further failure; set a plan aside
    when it has failed `max_attempts` times. `jitter` gives a number from 0 to 1."""

    first_s: float = 10
    factor: float = 4
    max_attempts: int = 5
    jitter: Callable[[], float] = random.random

    def after(self, attempts: int, error: BaseException) -> Verdict:
        """The verdict on a plan that failed with `error`, `attempts` failures counting that one.

        What the files themselves forbid is set aside at once. What this worker lacks (a package, a
        layer's URL) is never held against the plan: another worker may have it.
        """
        delay = self.first_s * self.factor ** min(attempts - 1, 20)
        delay_s = max(1, round(delay * (0.75 + self.jitter() / 2)))
        if isinstance(error, _OURS):
            return Verdict(min(delay_s, 600), set_aside=False)
        if attempts >= self.max_attempts or isinstance(error, _HOPELESS):
            return Verdict(SET_ASIDE_S, set_aside=True)
        return Verdict(delay_s, set_aside=False)
