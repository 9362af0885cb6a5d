"""A query over the catalog -> the same query over files.

Each mention of a table is replaced by a call of `read_parquet` on the files that its own conditions
leave. Nothing is run but what the plan needs to know: the catalog is asked for entries, a few
footers are read.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from gigapi_metadata.errors import FileMissing, InvalidName, QueryFailed
from gigapi_metadata.model import TIME_COLUMNS, IndexEntry
from gigapi_metadata.pruning import Condition, condition_from_duckdb
from gigapi_metadata.pruning.conditions import all_of
from gigapi_metadata.pruning.limits import TOO_DEEP
from gigapi_metadata.sql.engine import Engine
from gigapi_metadata.sql.files import arguments, locate
from gigapi_metadata.sql.names import Finder, TableName
from gigapi_metadata.sql.references import Reference, Scope, bare_names, column_of, find_references
from gigapi_metadata.sql.schemas import DataFile, TimeColumn
from gigapi_metadata.sql.syntax import (
    Node,
    Statement,
    deserialized,
    name_expressions,
    parse,
    serialized,
)
from gigapi_metadata.timerange import Window

_FEW, _WIDE = 4, 64
"""Of how many folders files are looked at for columns: for `*`, and for a name that is missing."""


class Entries(Protocol):
    """What is needed of an index: its questions, see `Index`."""

    def query(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        folder: str | None = None,
    ) -> list[IndexEntry]: ...
    def get_all(self) -> list[IndexEntry]: ...
    def paths(self) -> list[str]: ...


class Scanned(NamedTuple):
    """What a query reads for one mention of a table."""

    database: str
    table: str
    files: list[DataFile]
    refuted: list[IndexEntry]
    """In the window, but left out by their statistics: `condition.why_not` says why."""
    condition: Condition
    window: Window
    time_column: str | None
    """None when it is not known, then `window` is unbounded."""


class Plan(NamedTuple):
    """A query, ready to be run by DuckDB."""

    statement: Statement
    sql: str
    tables: list[Scanned]
    short: str
    """`sql` with a short token in place of each list of files."""
    tokens: dict[str, str]


class Planner:
    """Plans queries over one catalog.

    names: finds tables.
    table: opens the index of one.
    time_column: the time column of all of them, if it is not to be found out.
    """

    def __init__(
        self,
        engine: Engine,
        names: Finder,
        table: Callable[[str, str], Entries],
        time_column: str | None = None,
    ) -> None:
        self.engine = engine
        self.names = names
        self.table = table
        self.time_column = time_column

    def time_column_of(self, connection: Any, name: TableName) -> TimeColumn:
        """The time column of a table and its type.

        Raises:
            QueryFailed: it can't be told, or is not there.
        """
        choice = _Choice(self, connection, Reference("", Scope(), {}, *name))
        columns = self.engine.schemas.columns(connection, choice.any_file())
        if self.time_column is not None:
            if self.time_column not in columns:
                raise QueryFailed(f"{name.database}.{name.table} has no column {self.time_column}")
            return TimeColumn(self.time_column, columns[self.time_column])
        found = self.engine.schemas.time_column(connection, name, choice.any_file())
        if not found.name:
            raise QueryFailed(
                f"the time column of {name.database}.{name.table} can't be told: none of "
                f"{', '.join(TIME_COLUMNS)} has the times that its entries have; name it with "
                "time_column=..."
            )
        return found

    def plan(self, connection: Any, text: str, *, wide: bool = False) -> Plan:
        """The plan of the query `text`. If a file is gone by now, the catalog is asked once more.

        wide: look in many other files of each table for columns that those to be read don't have.

        Raises:
            QueryFailed: it can't be parsed, it is no query, or it mentions what is not there.
            StorageError: a file can't be read, or is still missing.
            StoreError: the catalog can't be read.
        """
        try:
            return self._plan(connection, text, wide)
        except FileMissing:
            self.engine.schemas.forget()
            return self._plan(connection, text, wide)
        except RecursionError as fault:
            raise QueryFailed(f"the query can't be parsed: {TOO_DEEP}") from fault

    def _plan(self, connection: Any, text: str, wide: bool) -> Plan:
        statement = parse(connection, text)
        tables, tokens = [], {}
        nonce = secrets.token_hex(8)
        name_expressions(connection, statement.query)
        references = find_references(statement.query)
        chosen = [_Choice(self, connection, reference) for reference in references]
        for number, choice in enumerate(chosen):
            scanned = choice.scan()
            names = []
            for kind, files in (("columns", choice.others(scanned, wide)), ("rows", scanned.files)):
                if files:
                    names.append(f"{kind}_{nonce}_{number}")
                    tokens[f"'{names[-1]}'"] = arguments(connection, self.engine, files)
            _replace(choice.reference.node, _stand_in(connection, names))
            tables.append(scanned)
        short = statement.explain + deserialized(connection, statement.tree)
        sql = short
        for token, call in tokens.items():
            sql = sql.replace(token, call)
        return Plan(statement, sql, tables, short, tokens)


class _Choice:
    """The files for one mention of a table."""

    def __init__(self, planner: Planner, connection: Any, reference: Reference) -> None:
        self.reference = reference
        self._planner = planner
        self._schemas = planner.engine.schemas
        self._connection = connection
        self.name = planner.names.find(reference.database, reference.table)
        self._any: DataFile | None = None

    def scan(self) -> Scanned:
        """The files that may hold rows that the query needs, perhaps none.

        Raises:
            QueryFailed: there is no such table.
        """
        try:
            found = self._scan()
            if not found.files and self._find_any() is None:
                self.name = self._planner.names.other_case(self.name)
                found = self._scan()
        except InvalidName as fault:
            raise QueryFailed(str(fault)) from fault
        return found

    def _scan(self) -> Scanned:
        names = self._own_names()
        guess = self._guess(names)
        condition = self._condition(names, guess)
        found, window = self._entries(condition, guess)
        time = guess and self._time_column(found)
        if time != guess:
            condition = self._condition(names, time)
            found, window = self._entries(condition, time)
        kept: list[IndexEntry] = []
        refuted: list[IndexEntry] = []
        for entry in found:
            (kept if condition.may_match(entry, time) else refuted).append(entry)
        files = locate(self._planner.engine, kept)
        return Scanned(*self.name, files, refuted, condition, window, time)

    # The condition

    def _own_names(self) -> set[str] | None:
        """Columns that mean this table when they stand alone; None when all do."""
        sources = self.reference.scope.sources
        if len(sources) == 1:
            return None
        bare = bare_names(self.reference.conditions)
        others = [source for source in sources if source is not self.reference]
        if not bare or not all(isinstance(other, Reference) for other in others):
            return set()
        theirs: set[str] = set()
        for other in others:
            assert isinstance(other, Reference)
            theirs |= _Choice(self._planner, self._connection, other).columns()
        return bare & self.columns() - (theirs - self.reference.scope.shared)

    def columns(self) -> set[str]:
        """Names of columns of the table, in lower case: those of one of its files."""
        file = self._find_any()
        found = {} if file is None else self._schemas.columns(self._connection, file)
        return {name.lower() for name in found}

    def _condition(self, names: set[str] | None, time: str | None) -> Condition:
        """What holds for every row that the query needs, as far as statistics can tell."""
        reference = self.reference
        aliases = reference.scope.aliases
        if names is None and aliases:
            names = bare_names(reference.conditions)
        if names is not None:
            # What the SELECT gives a name to is meant where no file read has such a column. All
            # files have the time column.
            names = {name for name in names if name == time or name not in aliases}

        def resolve(parts: list[str]) -> str | None:
            return column_of(reference, parts, names)

        return all_of(condition_from_duckdb(each, resolve=resolve) for each in reference.conditions)

    # The time column

    def _guess(self, names: set[str] | None) -> str | None:
        """The time column, as far as it can be told without a file."""
        if self._planner.time_column is not None:
            return self._planner.time_column
        known = self._schemas.known_time_column(self.name)
        if known is not None:
            return known.name or None
        if not self.reference.conditions:
            return None
        bounded = {each.lower() for each in self._condition(names, None).columns}
        # One that the SELECT names anew as well is only taken once it is known.
        bounded |= bare_names(self.reference.conditions) if names is None else names
        return next((name for name in TIME_COLUMNS if name in bounded), None)

    def _time_column(self, entries: Sequence[IndexEntry]) -> str | None:
        """The time column as a file has it: the smallest of `entries`, or any."""
        if self._planner.time_column is not None:
            return self._planner.time_column
        found = self._schemas.known_time_column(self.name)
        if found is None:
            if entries:
                smallest = min(entries, key=lambda entry: entry.size_bytes)
                file = locate(self._planner.engine, [smallest])[0]
            else:
                any_file = self._find_any()
                if any_file is None:
                    return None
                file = any_file
            found = self._schemas.time_column(self._connection, self.name, file)
        return found.name or None

    # Entries

    def _entries(self, condition: Condition, time: str | None) -> tuple[list[IndexEntry], Window]:
        window = Window() if time is None else condition.window((time,))
        found = self._planner.table(*self.name).query(after=window.after, before=window.before)
        return found, window

    def any_file(self) -> DataFile:
        """Any file of the table, for its columns.

        Raises:
            QueryFailed: it has none.
        """
        found = self._find_any()
        if found is None:
            self._planner.names.refuse(self.name)
        return found

    def _find_any(self) -> DataFile | None:
        if self._any is None:
            self._any = next(iter(self._samples(1)), None)
        return self._any

    def others(self, scanned: Scanned, wide: bool) -> list[DataFile]:
        """Files that are to be read for their columns alone: the rows that are asked for are in
        other ones, which may not have all the columns that the table has. They come first: so the
        columns of `*` are in one order, whichever files are read."""
        if wide or (scanned.files and self._is_doubtful(scanned.files[0])):
            found = self._samples(_WIDE)
        elif not scanned.files:
            found = [self.any_file()]
        else:
            found = []
        if self.reference.scope.takes_all:
            found += self._samples(_FEW)
        if not found:
            return []
        prints = self._schemas.fingerprints(self._connection, found)
        there = set(self._schemas.fingerprints(self._connection, scanned.files))
        distinct = dict(zip(prints, found, strict=True))
        if self.reference.scope.takes_all and len(there.union(distinct)) > 1:
            return sorted(distinct.values(), key=_by_time)
        return [file for print_, file in distinct.items() if print_ not in there]

    def _is_doubtful(self, file: DataFile) -> bool:
        doubtful = self.reference.scope.doubtful
        return bool(doubtful) and not doubtful <= {
            name.lower() for name in self._schemas.columns(self._connection, file)
        }

    def _samples(self, most: int) -> list[DataFile]:
        """A file of each kind of columns that statistics show, from at most so many folders spread
        over a large table, or from all of a small one. Remembered for a while."""
        kept = self._schemas.samples(self.name, most)
        if kept is None:
            index = self._planner.table(*self.name)
            folders = index.paths()
            found: dict[frozenset[str], IndexEntry] = {}
            if most > 1 and len(folders) <= _WIDE:
                batches = iter([index.get_all()])
            else:
                chosen = (f"{each}/" if each else "" for each in _spread(folders, most))
                batches = (index.query(folder=folder) for folder in chosen)
            for batch in batches:
                for entry in batch:
                    found.setdefault(frozenset(entry.min_data or ()), entry)
            kept = sorted(locate(self._planner.engine, found.values()), key=_by_time)
            self._schemas.keep_samples(self.name, most, kept)
        return list(kept)


def _by_time(file: DataFile) -> tuple[int, str]:
    return file.entry.min_time, file.entry.path


def _spread(folders: list[str], most: int) -> list[str]:
    """At most so many of the folders: the last one, the first one, and some between."""
    if len(folders) <= most or most < 2:
        return folders[-most:]
    last = len(folders) - 1
    return [folders[last - last * each // (most - 1)] for each in range(most)]


def _stand_in(connection: Any, names: Sequence[str]) -> Node:
    """What stands for a table: a scan of the files with its rows, the last of `names`; and one
    before it for the columns of other files."""
    rows = " UNION ALL BY NAME ".join(
        f"SELECT * FROM read_parquet('{name}')" + " WHERE false" * name.startswith("columns")
        for name in names
    )
    text = f"SELECT * FROM ({rows})" if " " in rows.partition("')")[2] else rows
    tree = serialized(connection, text)
    found: Node = tree["statements"][0]["node"]["from_table"]
    return found


def _replace(node: Node, other: Node) -> None:
    """Put `other` in the place of a table, under the same name."""
    kept = {key: node[key] for key in ("sample", "column_name_alias", "query_location")}
    alias = node["alias"] or node["table_name"]
    node.clear()
    node.update(copy.copy(other), **kept, alias=alias)


__all__ = ["Plan", "Planner", "Scanned", "TableName"]
