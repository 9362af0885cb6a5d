"""What to do when sending a request has failed: once more, or which error. No I/O."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MaxConnectionsError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.sentinel import MasterNotFoundError

from gigapi_metadata.errors import (
    CorruptState,
    MetadataError,
    OutcomeUnknown,
    StoreError,
    Unavailable,
)
from gigapi_metadata.stores.redis.durability import Unconfirmed
from gigapi_metadata.stores.redis.encryption import WRONG_CERTIFICATE
from gigapi_metadata.stores.redis.scripts import Call, Request, Scan

RETRY_PAUSES_S = (0.02, 0.1, 0.4)
"""Before each further attempt, shortened at random so that clients do not come back in step."""

FAILOVER_PAUSES_S = (*RETRY_PAUSES_S, 1.0, 1.0, *[2.0] * 14)
"""The same where another server takes over from one that fails."""

CALL_S = 25.0
"""How long after a call has begun a further attempt may begin, and is given to be answered. Time
enough for a replica to take over. Receipts live for longer by far (session.py): an attempt
must not find that of an earlier one expired."""

LATER_ANSWER_S = 7.0
"""How long an answer may take once an attempt has failed; the first is given the socket_timeout.
Above WAIT_S, which the server may take."""

HALF_MOVED_PAUSE_S = 0.1
"""Before a table is tried again that is on its way to another node."""

FAILURES = (RedisError, OSError, RedisClusterException)
"""What redis-py raises; the last of them is no RedisError."""


class Attempts:
    """What to do when sending a request has failed. Decides, does no I/O.

    A request that may have reached the server is sent again all the same: reads change nothing, and
    a write carries a receipt. When the attempts are used up, the error tells the two cases apart.
    """

    def __init__(
        self,
        request: Request,
        shown_url: str,
        *,
        failover: bool = False,
        call_s: float = CALL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._url = shown_url
        self._failover = failover
        self._pauses = iter(FAILOVER_PAUSES_S if failover else RETRY_PAUSES_S)
        self._clock = clock
        self._call_s = call_s
        self._until: float | None = None
        self._hasty = False
        self.unknown_script = False
        self._maybe_done = False

    def begin(self) -> None:
        """The first attempt begins; waiting for a connection is over. The time of a scan, of which
        each step may be the last, begins with its first failure."""
        if self._until is None and not isinstance(self._request, Scan):
            self._until = self._clock() + self._call_s

    def answer_s(self, longest: float) -> float | None:
        """How long an answer to the next attempt may take; None: as long as ever, `longest`."""
        if not self._hasty or self._until is None:
            return None
        return min(longest, LATER_ANSWER_S, max(self._until - self._clock(), 1.0))

    def failed(self, error: Exception) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            MetadataError: there is no next attempt.
        """
        error = _of_nodes(error)
        if isinstance(error, NoScriptError) and not self.unknown_script:
            self.unknown_script = True
            return 0.0
        if isinstance(error, (AuthenticationError, AuthorizationError)):
            refusal: MetadataError = StoreError(f"{self._url} refuses the login: {error}")
            raise self._refused(error, refusal) from error
        if isinstance(error, (AskError, ClusterCrossSlotError)) and not self._failover:
            raise node_of_cluster(self._url) from error
        if isinstance(error, ResponseError) and not self._may_pass(error):
            raise self._refused(error, _mapped(error, self._url)) from error
        if not _never_sent(error):
            self._maybe_done = True
        wrong = WRONG_CERTIFICATE in str(error) and not isinstance(error, MasterNotFoundError)
        if wrong or ("Timeout connecting" in str(error) and not self._failover):
            # It would not help: somebody who is not whom we want, or nobody, or one who is silent.
            raise self._given_up(error) from error
        self._hasty = True
        pause = self._pause(error)
        if self._until is None:
            self._until = self._clock() + self._call_s
        if pause is None or self._clock() + pause >= self._until:
            raise self._given_up(error) from error
        return pause

    def _pause(self, error: Exception) -> float | None:
        if not isinstance(error, (*FAILURES, AttributeError)):
            return None  # a fault of the library or ours: it would come again
        longest = (
            HALF_MOVED_PAUSE_S if isinstance(error, TryAgainError) else next(self._pauses, None)
        )
        return None if longest is None else longest * random.uniform(0.5, 1.0)

    def _may_pass(self, error: ResponseError) -> bool:
        """Whether it is worth waiting. Not for what a read can do without."""
        if isinstance(self._request, Call) and not self._request.script.receipt:
            return self._request.script.writes is False and passes(error)
        return passes(error)

    def _refused(self, error: Exception, refusal: MetadataError) -> MetadataError:
        """`refusal`, unless an earlier attempt may have been carried out. A script that finds the
        catalog corrupt has looked at its receipt first: none was."""
        if self._maybe_done and self._request.writes and not isinstance(refusal, CorruptState):
            return self._given_up(error)
        return refusal

    @property
    def doubtful_receipt(self) -> str | None:
        """The key of the write's receipt, if it may have been sent more than once."""
        request = self._request
        if self._maybe_done and isinstance(request, Call) and request.script.receipt:
            return request.keys[0]
        return None

    def _given_up(self, error: Exception) -> MetadataError:
        if not isinstance(error, FAILURES):
            error = RuntimeError(f"{type(error).__name__}: {error}")
        if self._maybe_done and self._request.writes:
            return OutcomeUnknown(
                f"{self._url} did not answer ({error}): the write may have happened. "
                "Repeating the same call is safe."
            )
        if _is_read_only(error):
            return Unavailable(
                f"{self._url} is a read only replica: write to its master. Nothing was written."
            )
        if str(error).startswith("BUSY "):
            return Unavailable(f"{self._url} is busy: {error}")
        return Unavailable(f"{self._url} can't be reached: {error}")


def node_of_cluster(shown_url: str) -> StoreError:
    """The error of a server that was taken for a catalog of its own."""
    return StoreError(
        f"{shown_url} is a node of a Redis Cluster: write redis+cluster:// for redis://"
    )


def unconfirmed(fault: Unconfirmed, request: Request, shown_url: str) -> OutcomeUnknown:
    """The error of a write that is there, and not as safe as asked."""
    asked = "" if request.confirm is None else f" as {request.confirm.durability}"
    return OutcomeUnknown(
        f"{shown_url}: the write was made, but not confirmed{asked}: {fault}. Repeating the same "
        "call is safe, and asks for it again."
    )


_REFUSED = (
    BusyLoadingError,
    MaxConnectionsError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    AskError,  # and MovedError
)
"""Errors that say that nothing was done, and that it may be later or elsewhere."""

_REFUSED_TEXT = (
    "connecting to",  # what a connection that broke does not say; redis-py has one class for both
    "No connection available",
    "No master found",
    "The previous master is now a",
    "READONLY You can't write against",  # Redis 6 says it in the middle of a script's error
    "NOREPLICAS",
    "BUSY ",  # a script takes its time
    "TTL exhausted",  # as often as that the cluster said MOVED, ASK or TRYAGAIN
)


def passes(error: ResponseError) -> bool:
    """Whether a server's answer says no more than "not now" or "not here"."""
    text = str(error)
    return (
        isinstance(error, _REFUSED)
        or _is_read_only(error)
        or "NOREPLICAS" in text
        or text.startswith("BUSY ")
    )


def _is_read_only(error: BaseException) -> bool:
    # Redis 6.2 wraps what a script met in words of its own.
    return isinstance(error, ReadOnlyError) or "READONLY You can't" in str(error)


def _never_sent(error: BaseException) -> bool:
    if isinstance(error, RedisClusterException):
        return True  # nobody told which node has what (routing.py)
    return isinstance(error, _REFUSED) or any(text in str(error) for text in _REFUSED_TEXT)


def explained(error: Exception) -> bool:
    """Whether an error says why, and not just that nothing was understood."""
    named = (ResponseError, AuthenticationError, AuthorizationError)
    return isinstance(_of_nodes(error), named) or WRONG_CERTIFICATE in str(error)


def _of_nodes(error: Exception) -> Exception:
    """What the nodes of a cluster said when it could not be looked at, if waiting changes nothing
    about that; else the error itself."""
    cause: BaseException | None = error if isinstance(error, RedisClusterException) else None
    while cause is not None:
        cause = cause.__cause__ or cause.__context__
        lasting = (AuthenticationError, AuthorizationError, NoPermissionError)
        if isinstance(cause, lasting) or (
            isinstance(cause, ResponseError) and _NO_CLUSTER in str(cause)
        ):
            return cause
    return error


_NO_CLUSTER = "cluster support disabled"
_NO_RIGHT = re.compile("(?i)no permissions to run the '([^']+)' command|can't run this command")
"""What a server says, and Redis 6.2 of a command in a script. The command is named in small."""

_NO_SENTINEL = re.compile("(?i)unknown command .sentinel")
_NO_KEYS = re.compile("(?i)no permissions to access|can't access")


def lacks(text: str) -> str:
    """What to grant a user by the server's words for a right that it lacks; "" if they are none."""
    if match := _NO_RIGHT.search(text):
        right = f"+{match[1].lower()}" if match[1] else "+<command>"
        return f"grant it (ACL SETUSER <user> {right}); docs/security.md lists what each role needs"
    if _NO_KEYS.search(text):
        return "grant the keys (ACL SETUSER <user> ~<pattern>) that docs/security.md lists"
    return ""


def _mapped(error: ResponseError, url: str) -> MetadataError:
    text = str(error)
    if "CORRUPT " in text:
        return CorruptState(
            text[text.index("CORRUPT ") + len("CORRUPT ") :].partition(" script:")[0]
        )
    if "WRONGTYPE" in text:
        return CorruptState(f"{url}: a key of the catalog holds another type of value: {text}")
    if _NO_CLUSTER in text:
        return StoreError(
            f"{url}: this is no cluster ({text}): write redis:// for redis+cluster://"
        )
    if _NO_SENTINEL.search(text):
        return StoreError(f"{url}: this is no sentinel: write redis:// for redis+sentinel://")
    if remedy := lacks(text):
        return StoreError(f"{url}: the user lacks a right: {text.strip()}: {remedy}")
    return StoreError(f"{url} refused a request: {text}")
