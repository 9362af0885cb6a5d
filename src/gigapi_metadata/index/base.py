"""What all public classes are made of: a connection, verbs, and who closes what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NamedTuple,
    Protocol,
    Self,
    TypedDict,
    TypeVar,
    runtime_checkable,
)

from gigapi_metadata.errors import InvalidConfiguration, MissingExtra
from gigapi_metadata.index.verbs import TableVerbs, check_seconds
from gigapi_metadata.model import (
    Layer,
    MergeConfiguration,
    QueryOptions,
    check_layers,
    merge_configurations,
)
from gigapi_metadata.planning import DEFAULT_DROP_GRACE_S, DEFAULT_LEASE_S, Rules
from gigapi_metadata.stores.base import Steps, Store, arun, run
from gigapi_metadata.timerange import TimeBound

if TYPE_CHECKING:
    from gigapi_metadata.pruning import Where

T = TypeVar("T")

STREAM_SIZE = 1000
"""How many entries a streaming query reads at a time."""

MergeRows = Sequence[MergeConfiguration | Sequence[int]]


class Connection(Protocol):
    """What a sync shell needs of a connection."""

    def perform(self, request: Any) -> Any: ...
    def close(self) -> None: ...


class AsyncConnection(Protocol):
    """What an async shell needs of a connection."""

    def perform(self, request: Any) -> Awaitable[Any]: ...
    async def close(self) -> None: ...


ConnectionT = TypeVar("ConnectionT", bound=Connection)
AsyncConnectionT = TypeVar("AsyncConnectionT", bound=AsyncConnection)


class Shell(Generic[ConnectionT]):
    """Drives verbs over a connection; closes it if it made it."""

    def __init__(self, connection: ConnectionT, owned: bool) -> None:
        self.connection = connection
        self._owned = owned

    def _run(self, steps: Steps[T]) -> T:
        return run(steps, self.connection.perform)

    def close(self) -> None:
        """Close the connections, if they were made for this object. May be called again."""
        if self._owned:
            self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.connection!r}>"


class AsyncShell(Generic[AsyncConnectionT]):
    """As Shell, awaiting."""

    def __init__(self, connection: AsyncConnectionT, owned: bool) -> None:
        self.connection = connection
        self._owned = owned

    async def _run(self, steps: Steps[T]) -> T:
        return await arun(steps, self.connection.perform)

    async def close(self) -> None:
        """Close the connections, if they were made for this object. May be called again."""
        if self._owned:
            await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.connection!r}>"


@runtime_checkable
class Reindexable(Protocol):
    """What the indexes of a store can do that keeps something beside entries to find them by."""

    def reindex(self) -> None:
        """Make that anew from the entries. Safe at any time."""


class Family(NamedTuple):
    """The classes of one kind of store, for whoever opens stores by URL."""

    connection: Callable[..., Any]
    table: Callable[..., Any]
    databases: Callable[..., Any]
    values: Callable[..., Any]


class TableShell:
    """What sync and async indexes have in common: the table and its configuration.

    `root` is the folder of the data files of a table without layers, for whoever reads them.
    """

    _verbs: TableVerbs
    root: str | None = None

    @property
    def database(self) -> str:
        """The database's name."""
        return self._verbs.ref.database

    @property
    def table(self) -> str:
        """The table's name."""
        return self._verbs.ref.table

    @property
    def layers(self) -> list[Layer]:
        """The table's storage tiers, hottest first."""
        return list(self._verbs.rules.layers)

    @property
    def merge_configurations(self) -> list[MergeConfiguration]:
        """How files are merged: the n-th row governs iteration n. Assigning takes effect with the
        next call; plans that wait already stay as they are."""
        return list(self._verbs.rules.merge_configurations)

    @merge_configurations.setter
    def merge_configurations(self, rows: MergeRows) -> None:
        self._verbs.reconfigure(merge_configurations(rows))


class Rows(TypedDict, total=False):
    """Which rows and columns of a table are asked for; see `Index.to_duckdb`."""

    after: TimeBound
    before: TimeBound
    columns: Sequence[str] | None
    where: Where | None
    time_column: str | None


def require(library: str) -> None:
    """Refuse what needs `library` where it is missing.

    Raises:
        MissingExtra: it is not installed.
    """
    if find_spec(library) is None:
        raise MissingExtra(f"this needs {library}; pip install {library}")


def table_verbs(
    store: Store,
    database: str,
    table: str,
    layers: Iterable[Layer] | None = None,
    rows: MergeRows | None = None,
    lease_s: int = DEFAULT_LEASE_S,
    drop_grace_s: int = DEFAULT_DROP_GRACE_S,
) -> TableVerbs:
    """The verbs of one table under a checked configuration.

    Raises:
        InvalidName: the database, the table or a layer has a name it may not have.
        InvalidConfiguration: the layers, the merge configurations or a number of seconds.
    """
    rules = Rules(
        layers=check_layers(layers),
        merge_configurations=merge_configurations(rows),
        lease_s=check_seconds("lease_s", lease_s, 1),
        drop_grace_s=check_seconds("drop_grace_s", drop_grace_s, 0),
    )
    return TableVerbs(store, database, table, rules)


def query_options(
    options: QueryOptions | None,
    after: datetime | int | None,
    before: datetime | int | None,
    folder: str | None,
    iteration: int | None,
) -> QueryOptions:
    """`options` with whatever else is given put in its place.

    Raises:
        InvalidConfiguration: `options` is something else.
    """
    base = QueryOptions() if options is None else options
    if not isinstance(base, QueryOptions):
        raise InvalidConfiguration(
            f"options must be QueryOptions, not {type(base).__name__}; or use the keywords after, "
            "before, folder and iteration"
        )
    return QueryOptions(
        folder=base.folder if folder is None else folder,
        after=base.after if after is None else after,
        before=base.before if before is None else before,
        iteration=base.iteration if iteration is None else iteration,
    )
