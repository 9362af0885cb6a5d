"""What an acknowledged write is to survive, and how the server is asked to confirm that it does.

The question, WAIT or WAITAOF, is about the last write of the connection that it is sent on. A write
that was sent before and is now answered by its receipt writes nothing, and would be confirmed
unseen. So the receipt is renewed in between: that is a write behind the one in question, and its
answer says whether that one is on this server at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Self

import msgspec

from gigapi_metadata.errors import InvalidConfiguration

WAIT_S = 5.0
"""How long a server is given to confirm a write."""

_FORMS = "local, replicated:N (N replicas, 1 or more) or fsynced"


class Durability(msgspec.Struct, frozen=True):
    """What has to have a write before it is acknowledged: the server's memory, those of `replicas`
    of its replicas too, or its disk."""

    replicas: int = 0
    fsynced: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "local", "replicated:N" or "fsynced".

        Raises:
            InvalidConfiguration: it is none of them.
        """
        if text == "local":
            return cls()
        if text == "fsynced":
            return cls(fsynced=True)
        match = (
            re.fullmatch("replicated:([1-9][0-9]{0,2})", text) if isinstance(text, str) else None
        )
        if match is None:
            raise InvalidConfiguration(f"durability must be {_FORMS}, not {text!r}")
        return cls(replicas=int(match[1]))

    def __str__(self) -> str:
        if self.fsynced:
            return "fsynced"
        return f"replicated:{self.replicas}" if self.replicas else "local"

    @property
    def question(self) -> tuple[str, ...]:
        """The command that waits until the last write is as safe as asked, and counts."""
        milliseconds = str(round(WAIT_S * 1000))
        if self.fsynced:
            return ("WAITAOF", "1", "0", milliseconds)
        return ("WAIT", str(self.replicas), milliseconds)

    @property
    def trial(self) -> tuple[str, ...]:
        """The same for no write, answered at once: an error where it can't be asked."""
        return ("WAITAOF", "1", "0", "1") if self.fsynced else ("WAIT", "0", "1")

    @property
    def remedy(self) -> str:
        """What a server needs that answers `trial` with an error."""
        if self.fsynced:
            return (
                "needs Redis 7.2 or newer or Valkey, `appendonly yes`, and the right to WAITAOF "
                "and GETEX (ACL SETUSER <user> +waitaof +getex)"
            )
        return (
            "needs the right to WAIT and GETEX (ACL SETUSER <user> +wait +getex), on a server that "
            "is no replica"
        )


LOCAL = Durability()
"""What is asked for when nothing is said."""


class Confirm(msgspec.Struct, frozen=True):
    """How a write is confirmed. `receipt`: its key, the token in it, and how many seconds it is
    kept from now on; None of a write that leaves none, and is a write each time it is sent."""

    durability: Durability
    receipt: tuple[str, str, int] | None = None

    @property
    def trials(self) -> list[tuple[str, ...]]:
        """`commands` for no write, answered at once: errors where they can't be sent."""
        if self.receipt is None:
            return [self.durability.trial]
        key, _, seconds = self.receipt
        return [self.durability.trial, ("GETEX", key, "EX", str(seconds))]

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """What is sent behind the write, on the same connection."""
        if self.receipt is None:
            return [self.durability.question]
        key, _, seconds = self.receipt
        return [("GETEX", key, "EX", str(seconds)), self.durability.question]

    def fault(self, written: Any, answers: Sequence[Any]) -> str:
        """What is wrong by the answers to `commands`, errors among them; "" if nothing is.
        `written`: the answer to the write itself."""
        for answer in answers:
            if isinstance(answer, Exception):
                return f"the server would not confirm it: {answer}"
        if self.receipt is not None:
            kept = answers[0]
            if kept is None or not kept.startswith(self.receipt[1].encode()):
                if _changed_nothing(written):
                    return ""
                # It may be an earlier sending of the write that was answered from the receipt: this
                # connection would have written nothing, and WAIT said so at once.
                return "its receipt is gone: does the server delete keys (maxmemory-policy)?"
        reached = answers[-1]
        if self.durability.fsynced:
            return "" if reached[0] >= 1 else f"it was not on disk within {WAIT_S:g} s"
        if reached >= self.durability.replicas:
            return ""
        return f"{reached} of {self.durability.replicas} replicas had it within {WAIT_S:g} s"


def _changed_nothing(written: Any) -> bool:
    """Whether a script has refused the write, by its answer; then it leaves no receipt."""
    return isinstance(written, list) and written[:1] in ([b"LOST"], [b"GONE"])


class Unconfirmed(Exception):
    """A write is there, and not as safe as asked; says why."""
