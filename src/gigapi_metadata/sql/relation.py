"""What `catalog.sql` gives: DuckDB's relation, which plans anew when a file is gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gigapi_metadata.errors import FileMissing, QueryFailed, StorageError
from gigapi_metadata.sql.engine import Engine, duckdb
from gigapi_metadata.sql.faults import marked, read_fault
from gigapi_metadata.sql.places import position_in_query
from gigapi_metadata.sql.plan import Plan, Planner

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_PREPARE = "PREPARE query AS "

_OURS = {"FileMissing": FileMissing, "StorageError": StorageError}

Step = Callable[["DuckDBPyRelation"], Any]


class Query:
    """A query over the catalog and the connection that runs it. For one thread at a time.

    Planned when it is made; planned again, once for each run, if a file that it reads is gone: a
    worker has merged it away, so the catalog now names others that hold its rows.
    """

    def __init__(self, planner: Planner, text: str) -> None:
        self._planner = planner
        self._text = text
        self.connection: Any = None
        self.plan: Plan
        self.relation: DuckDBPyRelation
        self.prepare()

    @property
    def engine(self) -> Engine:
        """The engine that runs it."""
        return self._planner.engine

    def prepare(self) -> None:
        """Plan, and bind: every name and type is checked, no row is read.

        Raises:
            QueryFailed: it can't be run.
            StorageError: a file can't be read.
        """
        self.connection = self.engine.connect()
        try:
            self._bind()
        except FileMissing:
            self.engine.schemas.forget()
            self._bind()

    def _bind(self) -> None:
        with_faults(self, self._plan)

    def _plan(self) -> None:
        self.plan = self._planner.plan(self.connection, self._text)
        module = duckdb()
        try:
            self.relation = self.connection.sql(self.plan.sql)
        except module.Error as error:
            if isinstance(error, module.BinderException) and self.plan.tables:
                plan = self._planner.plan(self.connection, self._text, wide=True)
                with suppress(module.Error):
                    self.relation = self.connection.sql(plan.sql)
                    self.plan = plan
                    return
            # Said again where DuckDB tells the place. PREPARE binds and runs nothing.
            self.connection.execute(f"{_PREPARE}{self.plan.sql}").fetchall()
            raise

    def run(self, steps: Callable[[DuckDBPyRelation], Any], *, bound: bool = True) -> Any:
        """What `steps` makes of the relation; again over a new plan if a file is gone.

        Raises:
            QueryFailed: DuckDB can't run it.
            FileMissing: a file is gone that the catalog still names.
            StorageError: a file can't be read.
        """
        try:
            return with_faults(self, lambda: steps(self.relation))
        except FileMissing:
            self.prepare()
            return with_faults(self, lambda: steps(self.relation))


def with_faults(query: Query, work: Callable[[], Any]) -> Any:
    """What `work` gives, its errors in our terms."""
    module = duckdb()
    try:
        return work()
    except module.Error as error:
        fault = read_fault(error)
        if fault.kind in _OURS:
            raise _OURS[fault.kind](fault.message) from None  # its cause shows a traceback
        if isinstance(error, module.IOException) or fault.kind == "IO":
            if "No files found" in fault.message or "No such file" in fault.message:
                raise FileMissing(fault.message) from error
            raise StorageError(fault.message) from error
        if isinstance(error, module.InterruptException):
            raise KeyboardInterrupt from error
        place = None
        if fault.position is not None and hasattr(query, "plan"):
            shift = 0 if hasattr(query, "relation") else len(_PREPARE)
            place = position_in_query(query.connection, query.plan, fault.position - shift)
        text = query.plan.statement.text if place is not None else ""
        raise QueryFailed(marked(fault.message, text, place)) from error


class Relation:
    """DuckDB's relation over a query of the catalog: every method and property of
    `duckdb.DuckDBPyRelation` is there, and what gives a relation gives one of these.

    Lazy: rows are read by `fetchall`, `df`, `to_arrow_table` and so on, each time anew, from the
    files that the catalog named when the query was made. If one of them is gone by then, because a
    worker has merged it, the query is planned once more. A reader of batches that has begun is
    not begun again. It has a connection of its own: relations of two calls can't be joined; join
    in SQL. Errors are this package's: QueryFailed, StorageError.

    `relation` is DuckDB's own object, `plan` says which files it reads.
    """

    def __init__(self, query: Query, steps: Step | None = None) -> None:
        self._query = query
        self._steps: Step = steps or _itself

    @property
    def relation(self) -> DuckDBPyRelation:
        """DuckDB's own relation, over the plan as it stands."""
        found: DuckDBPyRelation = self._query.run(self._steps)
        return found

    @property
    def plan(self) -> Plan:
        """What the query reads."""
        return self._query.plan

    def interrupt(self) -> None:
        """Stop what runs, from another thread: it raises KeyboardInterrupt."""
        self._query.connection.interrupt()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__arrow_c_stream__":
            raise AttributeError(name)
        value = self._do(lambda relation: getattr(relation, name))
        if not callable(value) or isinstance(value, Relation):
            return value

        def method(*args: Any, **options: Any) -> Any:
            given = [arg.relation if isinstance(arg, Relation) else arg for arg in args]
            return self._do(lambda relation: getattr(relation, name)(*given, **options))

        method.__name__, method.__doc__ = name, value.__doc__
        return method

    def __getitem__(self, name: str) -> Any:
        return self._do(lambda relation: relation[name])

    def __len__(self) -> int:
        found: int = self._do(len)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.relation)})

    def __repr__(self) -> str:
        return str(self._do(str))

    def _do(self, step: Step) -> Any:
        earlier = self._steps

        def steps(relation: DuckDBPyRelation) -> Any:
            return step(earlier(relation))

        result = self._query.run(steps)
        if isinstance(result, duckdb().DuckDBPyRelation):
            return Relation(self._query, steps)
        return result


def _itself(relation: DuckDBPyRelation) -> DuckDBPyRelation:
    return relation
