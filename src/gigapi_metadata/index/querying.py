"""A query, from its options and condition to the files: the time index narrows, statistics prune.

Generators like all verbs, in terms of the store's `select` and `folders`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import TIME_COLUMNS, IndexEntry, QueryOptions
from gigapi_metadata.stores.base import Selection, Steps, Store, TableRef
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN, Window, window

if TYPE_CHECKING:
    from gigapi_metadata.pruning import Condition, Explanation, Where


class Query(NamedTuple):
    """What is asked of one table. Everything in it has been checked."""

    selection: Selection
    condition: Condition | None
    time_column: str | None

    def select(self, store: Store, table: TableRef) -> Steps[list[IndexEntry]]:
        """The entries whose files may hold what is asked for, by (min_time, path)."""
        if self.condition is None:
            return (yield from _select(store, table, self.selection))
        column, narrow = self._narrowed(self.condition)
        found = yield from _select(store, table, narrow)
        if narrow is not self.selection and not (
            yield from self._is_time_column(store, table, column, found)
        ):
            found = yield from _select(store, table, self.selection)
        return [entry for entry in found if self.condition.may_match(entry, self.time_column)]

    def explain(self, store: Store, table: TableRef) -> Steps[Explanation]:
        """What `select` does with every entry of the table, and why."""
        from gigapi_metadata.pruning import Decision, Explanation

        every = yield from store.select(table, Selection())
        options, condition = self.selection, self.condition
        narrow = options
        if condition is not None:
            column, narrow = self._narrowed(condition)
            seen = [entry for entry in every if _matches(narrow, entry)]
            if narrow is not options and not (
                yield from self._is_time_column(store, table, column, seen)
            ):
                narrow = options
        decisions = tuple(Decision(entry, self._reason(entry, narrow)) for entry in every)
        return Explanation(f"{table.database}.{table.table}", self._question(), decisions)

    def _narrowed(self, condition: Condition) -> tuple[str, Selection]:
        """The column that the condition bounds in time, and the selection within those bounds."""
        wanted = self.selection.window
        for column in TIME_COLUMNS if self.time_column is None else (self.time_column,):
            implied = condition.window(column)
            if not implied.unbounded:
                both = Window(max(wanted.after, implied.after), min(wanted.before, implied.before))
                return column, msgspec.structs.replace(self.selection, window=both)
        return "", self.selection

    def _is_time_column(
        self, store: Store, table: TableRef, column: str, found: list[IndexEntry]
    ) -> Steps[bool]:
        """Whether the catalog's times are those of `column`, as far as `found` shows; of nothing
        found, as one of the table's folders shows."""
        if self.time_column is not None:
            return True
        if not found:
            folders = yield from store.folders(table)
            if not folders:
                return True
            found = yield from store.select(table, Selection(folder=f"{folders[-1]}/"))
        from gigapi_metadata.pruning import is_time_column

        return all(is_time_column(entry, column) for entry in found)

    def _reason(self, entry: IndexEntry, narrow: Selection) -> str:
        """Why `select` leaves the entry out, "" if it does not."""
        from gigapi_metadata.pruning import iso

        options = self.selection
        times = f"its times are {iso(entry.min_time)} to {iso(entry.max_time)}"
        if options.folder and not entry.path.startswith(options.folder):
            reason = f"not below {options.folder!r}"
        elif options.iteration and not entry.path.endswith(options.suffix):
            reason = f"not of iteration {options.iteration}"
        elif options.layer is not None and entry.layer != options.layer:
            reason = f"in layer {entry.layer!r}, not {options.layer!r}"
        elif not options.window.overlaps(entry.min_time, entry.max_time):
            reason = f"outside the time window: {times}"
        else:
            refuted = self.condition and self.condition.why_not(entry, self.time_column)
            outside = "" if _matches(narrow, entry) else f"outside the condition's times: {times}"
            reason = refuted or outside
        return reason

    def _question(self) -> str:
        from gigapi_metadata.pruning import iso

        options = self.selection
        parts = []
        if options.window.after != INT64_MIN:
            parts.append(f"after {iso(options.window.after)}")
        if options.window.before != INT64_MAX:
            parts.append(f"before {iso(options.window.before)}")
        if options.folder:
            parts.append(f"folder {options.folder!r}")
        if options.iteration:
            parts.append(f"iteration {options.iteration}")
        if options.layer is not None:
            parts.append(f"layer {options.layer!r}")
        if self.condition is not None:
            parts.append(f"where {self.condition}")
        return ", ".join(parts) or "every file"


def checked_query(
    options: QueryOptions, layer: str | None, where: Where | None, time_column: str | None
) -> Query:
    """The query that the arguments of `Index.query` mean.

    Raises:
        InvalidConfiguration: an option is not what it must be.
        InvalidCondition: `where` is no condition.
        MissingExtra: `where` is SQL and DuckDB is not installed.
    """
    if type(options.iteration) is not int or options.iteration < 0:
        raise InvalidConfiguration(
            f"iteration must be a whole number, 0 for any, not {options.iteration!r}"
        )
    if not isinstance(options.folder, str):
        raise InvalidConfiguration(f"folder must be a string, not {options.folder!r}")
    if time_column is not None and not isinstance(time_column, str):
        raise InvalidConfiguration(f"time_column must be a column's name, not {time_column!r}")
    try:
        wanted = window(options.after, options.before)
    except TypeError as fault:
        raise InvalidConfiguration(str(fault)) from fault
    condition = None
    if where is not None:
        from gigapi_metadata.pruning import parse_condition

        condition = parse_condition(where)
    selection = Selection(wanted, options.folder, options.iteration, layer)
    return Query(selection, condition, time_column)


def _select(store: Store, table: TableRef, selection: Selection) -> Steps[list[IndexEntry]]:
    if selection.window.after > selection.window.before:
        return []
    return (yield from store.select(table, selection))


def _matches(selection: Selection, entry: IndexEntry) -> bool:
    window = selection.window
    return window.after <= window.before and selection.matches(entry)
