"""The awaitable classes: the methods of sync.py, where they are described."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar, Unpack

from gigapi_metadata.index.arrow import as_table
from gigapi_metadata.index.base import (
    STREAM_SIZE,
    AsyncConnectionT,
    Rows,
    TableShell,
    query_options,
    require,
)
from gigapi_metadata.index.entries import Entries
from gigapi_metadata.index.plans import AsyncPlans
from gigapi_metadata.index.verbs import TableVerbs
from gigapi_metadata.model import (
    IndexEntry,
    QueryOptions,
)
from gigapi_metadata.stores.base import aparts

if TYPE_CHECKING:
    import asyncio

    import pandas
    import polars
    import pyarrow

    from gigapi_metadata.index.groups_aio import TaskCommitter
    from gigapi_metadata.pruning import Explanation, Where
    from gigapi_metadata.sql import Relation

T = TypeVar("T")


class AsyncIndex(TableShell, AsyncPlans[AsyncConnectionT]):
    """As Index, with awaitable methods. For one event loop."""

    def __init__(self, connection: AsyncConnectionT, owned: bool, verbs: TableVerbs) -> None:
        super().__init__(connection, owned)
        self._verbs = verbs
        self._committer: TaskCommitter | None = None

    async def close(self) -> None:
        """See `Index.close`."""
        if self._committer is not None:
            await self._committer.close()
        await super().close()

    async def batch(
        self,
        add_entries: Iterable[IndexEntry] | None,
        rm_entries: Iterable[IndexEntry | str] | None = None,
    ) -> int:
        """See `Index.batch`."""
        return await self._run(self._verbs.batch(add_entries, rm_entries))

    def submit(
        self,
        add_entries: Iterable[IndexEntry] | None,
        rm_entries: Iterable[IndexEntry | str] | None = None,
    ) -> asyncio.Future[int]:
        """See `Index.submit`. To be awaited; giving that up does not undo the change."""
        return self._commits().submit(add_entries, rm_entries)

    def _commits(self) -> TaskCommitter:
        if self._committer is None:
            from gigapi_metadata.index.groups_aio import TaskCommitter  # costs a command line 10 ms

            self._committer = TaskCommitter(self._verbs, self._run)
        return self._committer

    async def get(self, path: str, layer: str | None = None) -> IndexEntry | None:
        """See `Index.get`."""
        return await self._run(self._verbs.get(path, layer))

    async def query(
        self,
        options: QueryOptions | None = None,
        *,
        after: datetime | int | None = None,
        before: datetime | int | None = None,
        folder: str | None = None,
        iteration: int | None = None,
        layer: str | None = None,
        where: Where | None = None,
        time_column: str | None = None,
        explain: bool = False,
    ) -> list[IndexEntry]:
        """See `Index.query`."""
        options = query_options(options, after, before, folder, iteration)
        if explain:
            return await self._run(self._verbs.explain(options, layer, where, time_column))
        return Entries(await self._run(self._verbs.query(options, layer, where, time_column)))

    async def explain(
        self,
        options: QueryOptions | None = None,
        *,
        after: datetime | int | None = None,
        before: datetime | int | None = None,
        folder: str | None = None,
        iteration: int | None = None,
        layer: str | None = None,
        where: Where | None = None,
        time_column: str | None = None,
    ) -> Explanation:
        """See `Index.explain`."""
        options = query_options(options, after, before, folder, iteration)
        return await self._run(self._verbs.explain(options, layer, where, time_column))

    async def iter_query(
        self,
        options: QueryOptions | None = None,
        *,
        after: datetime | int | None = None,
        before: datetime | int | None = None,
        folder: str | None = None,
        iteration: int | None = None,
        layer: str | None = None,
        size: int = STREAM_SIZE,
    ) -> AsyncIterator[IndexEntry]:
        """See `Index.iter_query`. Left before its end, it is closed with `aclose()`."""
        options = query_options(options, after, before, folder, iteration)
        steps = self._verbs.stream(options, layer, size)
        async with aclosing(aparts(steps, self.connection.perform)) as found:
            async for part in found:
                for entry in part:
                    yield entry

    async def query_arrow(
        self,
        options: QueryOptions | None = None,
        *,
        after: datetime | int | None = None,
        before: datetime | int | None = None,
        folder: str | None = None,
        iteration: int | None = None,
        layer: str | None = None,
    ) -> pyarrow.Table:
        """See `Index.query_arrow`."""
        options = query_options(options, after, before, folder, iteration)
        columns = await self._run(self._verbs.columns(options, layer))
        return as_table(self._verbs.ref, columns)

    async def get_all(self) -> list[IndexEntry]:
        """See `Index.get_all`."""
        return Entries(await self._run(self._verbs.query(QueryOptions(), None)))

    async def paths(self) -> list[str]:
        """See `Index.paths`."""
        return await self._run(self._verbs.paths())

    async def to_arrow(self, **asked: Unpack[Rows]) -> pyarrow.Table:
        """See `Index.to_arrow`. The rows are read in a thread; cancelled, that is stopped."""
        return await self._rows(asked, lambda relation: relation.to_arrow_table())

    async def to_polars(self, **asked: Unpack[Rows]) -> polars.DataFrame:
        """See `Index.to_polars`, and `to_arrow`."""
        require("polars")
        return await self._rows(asked, lambda relation: relation.pl())

    async def to_pandas(self, **asked: Unpack[Rows]) -> pandas.DataFrame:
        """See `Index.to_pandas`, and `to_arrow`."""
        require("pandas")
        return await self._rows(asked, lambda relation: relation.df())

    async def _rows(self, asked: Rows, finish: Callable[[Relation], T]) -> T:
        from gigapi_metadata.sql.awaiting import rows_of_table
        from gigapi_metadata.sql.frames import Asked

        return await rows_of_table(self, Asked(**asked), finish)

    async def import_entries(self, entries: Iterable[IndexEntry]) -> None:
        """See `Index.import_entries`."""
        await self._run(self._verbs.import_entries(entries))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.database}.{self.table} on {self.connection!r}>"
