"""The blocking classes: each method is one line over a verb, and says what it promises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Unpack

from gigapi_metadata.index.arrow import as_table
from gigapi_metadata.index.base import (
    STREAM_SIZE,
    ConnectionT,
    Rows,
    TableShell,
    query_options,
    require,
)
from gigapi_metadata.index.entries import Entries, index_html
from gigapi_metadata.index.plans import Plans
from gigapi_metadata.index.verbs import TableVerbs
from gigapi_metadata.model import (
    IndexEntry,
    QueryOptions,
)
from gigapi_metadata.stores.base import parts
from gigapi_metadata.timerange import TimeBound

if TYPE_CHECKING:
    from concurrent.futures import Future

    import pandas
    import polars
    import pyarrow

    from gigapi_metadata.index.groups import ThreadCommitter
    from gigapi_metadata.pruning import Explanation, Where
    from gigapi_metadata.sql import Relation

_starting = Lock()


class Index(TableShell, Plans[ConnectionT]):
    """The catalog of one table: its entries, and the plans to merge, move and drop its files.

    Safe to share between threads. Any call may raise StoreError or one of its kinds; a call that
    raised anything but OutcomeUnknown has changed nothing. Repeating one that raised that is safe
    for two hours, by this object or others of the same connection.
    """

    def __init__(self, connection: ConnectionT, owned: bool, verbs: TableVerbs) -> None:
        super().__init__(connection, owned)
        self._verbs = verbs
        self._committer: ThreadCommitter | None = None

    def close(self) -> None:
        """Wait for what was submitted, and close the connections if they were made for this object.
        May be called again."""
        if self._committer is not None:
            self._committer.close()
        super().close()

    def batch(
        self,
        add_entries: Iterable[IndexEntry] | None,
        rm_entries: Iterable[IndexEntry | str] | None = None,
    ) -> int:
        """Add and remove entries: all of it or nothing. Atomic; safe to repeat.

        Adding a path that is there replaces its entry and plans nothing anew. Removing schedules
        the file's deletion after the grace; removing what is not there has no effect. A path in
        both lists ends up removed, a path given twice is added as given last.

        Returns:
            0.

        Raises:
            InvalidEntry: one of the entries can't be kept; the message names it.
            UnknownLayer: one of them is in a layer that this table does not have.
        """
        return self._run(self._verbs.batch(add_entries, rm_entries))

    def submit(
        self,
        add_entries: Iterable[IndexEntry] | None,
        rm_entries: Iterable[IndexEntry | str] | None = None,
    ) -> Future[int]:
        """As `batch`, without waiting: small changes that several threads submit at a time are made
        in one commit. Each is atomic and has its own outcome; those of one thread are made in
        order. `result()` gives what `batch` would return or raise; `close` and the end of the
        program wait for all.
        """
        return self._commits().submit(add_entries, rm_entries)

    def _commits(self) -> ThreadCommitter:
        if self._committer is None:
            from gigapi_metadata.index.groups import ThreadCommitter  # costs a command line 10 ms

            with _starting:
                if self._committer is None:
                    self._committer = ThreadCommitter(self._verbs, self._run)
        return self._committer

    def get(self, path: str, layer: str | None = None) -> IndexEntry | None:
        """The entry of `path`, if it is there and, when `layer` is given, in that layer."""
        return self._run(self._verbs.get(path, layer))

    def query(
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
        """Every entry whose file overlaps the window and no other, once, by (min_time, path).

        Bounds are inclusive: int nanoseconds, or a datetime (local time when it has no zone).
        Keywords go before `options`. `folder` is a prefix of the path.

        `where` is a condition on rows: SQL text, `("temp", ">", 30)` or a list of such tuples. It
        leaves out files whose statistics prove that no row matches, so the rows of those that are
        left still have to be filtered. `time_column` is the column that the catalog's times are of,
        if it is another than `__timestamp`, or one whose statistics show it.

        With `explain`, the answer is an Explanation, as of `explain`.

        Raises:
            InvalidCondition: `where` is none; the message says where it fails.
            MissingExtra: `where` is SQL and DuckDB is not installed.
        """
        options = query_options(options, after, before, folder, iteration)
        if explain:
            return self._run(self._verbs.explain(options, layer, where, time_column))
        return Entries(self._run(self._verbs.query(options, layer, where, time_column)))

    def explain(
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
        """What `query` does with every file of the table, and why: a list of the same entries, with
        an account that `str` shows. Reads all entries of the table."""
        options = query_options(options, after, before, folder, iteration)
        return self._run(self._verbs.explain(options, layer, where, time_column))

    def iter_query(
        self,
        options: QueryOptions | None = None,
        *,
        after: datetime | int | None = None,
        before: datetime | int | None = None,
        folder: str | None = None,
        iteration: int | None = None,
        layer: str | None = None,
        size: int = STREAM_SIZE,
    ) -> Iterator[IndexEntry]:
        """As `query`, without holding all that is found: `size` entries are read at a time.

        On SQLite the entries are all of one moment; on Redis those of a day are, and what is added
        after the first was given may or may not be among them. Closing the iterator ends the read.
        """
        options = query_options(options, after, before, folder, iteration)
        steps = self._verbs.stream(options, layer, size)
        for part in parts(steps, self.connection.perform):
            yield from part

    def query_arrow(
        self,
        options: QueryOptions | None = None,
        *,
        after: datetime | int | None = None,
        before: datetime | int | None = None,
        folder: str | None = None,
        iteration: int | None = None,
        layer: str | None = None,
    ) -> pyarrow.Table:
        """As `query`, as a pyarrow.Table: a row per entry, with the columns database, table, path,
        layer, writer_id, size_bytes, row_count, min_time, max_time, chunk_time (nanoseconds), and
        min and max as JSON texts. No entry is made on the way.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        options = query_options(options, after, before, folder, iteration)
        columns = self._run(self._verbs.columns(options, layer))
        return as_table(self._verbs.ref, columns)

    def get_all(self) -> list[IndexEntry]:
        """Every entry, by (min_time, path)."""
        return Entries(self._run(self._verbs.query(QueryOptions(), None)))

    def paths(self) -> list[str]:
        """The folders that hold files, sorted."""
        return self._run(self._verbs.paths())

    def to_duckdb(
        self,
        *,
        after: TimeBound = None,
        before: TimeBound = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        time_column: str | None = None,
    ) -> Relation:
        """The table's rows as a relation of DuckDB, which has not read them yet.

        after, before: bounds of the rows' own times, as for `query`; rows without a time are left
            out by them.
        columns: only these, in this order.
        where: only rows for which this is true; as for `query`.
        time_column: which column the times are in, if it is none of the usual ones.

        Files, row groups and rows are left out as early as it can be told. See `Catalog.sql` for
        what happens when a worker replaces a file in the meantime.

        Raises:
            QueryFailed: there is no such column, the table is empty, or its time column unknown.
            InvalidCondition: `where` is no condition.
            StorageError: a file can't be read.
            MissingExtra: a library is not installed.
        """
        from gigapi_metadata.sql.frames import Asked, read

        return read(self, Asked(after, before, columns, where, time_column))

    def to_arrow(self, **asked: Unpack[Rows]) -> pyarrow.Table:
        """As `to_duckdb`, the rows read into a pyarrow table."""
        found: pyarrow.Table = self.to_duckdb(**asked).to_arrow_table()
        return found

    def to_polars(self, **asked: Unpack[Rows]) -> polars.DataFrame:
        """As `to_duckdb`, the rows read into a frame of Polars, which must be installed."""
        require("polars")
        found: polars.DataFrame = self.to_duckdb(**asked).pl()
        return found

    def to_pandas(self, **asked: Unpack[Rows]) -> pandas.DataFrame:
        """As `to_duckdb`, the rows read into a frame of pandas, which must be installed."""
        require("pandas")
        found: pandas.DataFrame = self.to_duckdb(**asked).df()
        return found

    def import_entries(self, entries: Iterable[IndexEntry]) -> None:
        """Add entries as another catalog has them: in whatever layer, and without planning
        anything for them. All of it or nothing; safe to repeat. See `gigapi_metadata.copying`.

        Raises:
            InvalidEntry: one of the entries can't be kept; the message names it.
            UnknownLayer: a JSON catalog was not told the folder of one's layer.
        """
        self._run(self._verbs.import_entries(entries))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.database}.{self.table} on {self.connection!r}>"

    def _repr_html_(self) -> str:
        return index_html(self, len(self.paths()))
