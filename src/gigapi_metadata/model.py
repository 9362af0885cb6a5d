"""The values that the catalog speaks in: entries, query options, layers and plans.

Plain and immutable (msgspec structs): no I/O, no knowledge of stores. All times are int nanoseconds
since the epoch unless a name ends in `_s` or `_sec` (seconds).

Building a value checks nothing, so that whatever a foreign writer left behind can be read;
validation.py is what every write goes through.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.names import check_name
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN
from gigapi_metadata.urls import hide

Stats = dict[str, Any]
"""Column name -> value: whatever JSON can hold."""

DOCUMENT_NAMES = {
    "min_time": "str_min_time",
    "max_time": "str_max_time",
    "chunk_time": "str_chunk_time",
    "min_data": "min",
    "max_data": "max",
}
"""What an entry's fields are called in GigAPI's documents, where that differs."""

Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]
"""What GigAPI keeps in 64 bits. Decoding a larger number fails."""

TIME_COLUMNS = ("__timestamp", "time", "timestamp", "ts")
"""The time column of a file is the first of these that it has, unless one is named."""


class IndexEntry(msgspec.Struct, frozen=True, gc=False, rename=DOCUMENT_NAMES):
    """The record of one data file.

    `path` is relative to the table's data folder; `min_time`/`max_time` are the file's own time
    bounds, inclusive; `chunk_time` is when its data arrived and starts its layer's clock.

    To msgspec its fields are named as in GigAPI's documents, so that those are decoded into entries
    directly (`msgspec.structs.asdict` has the names below).
    """

    database: str
    table: str
    path: str
    size_bytes: Int64
    min_time: Int64
    max_time: Int64
    layer: str = ""
    row_count: Int64 = 0
    chunk_time: Int64 = 0
    min_data: Stats | None = None
    max_data: Stats | None = None
    writer_id: str = ""

    @property
    def min(self) -> Stats | None:
        """Column -> smallest value; None or {} when unknown."""
        return self.min_data

    @property
    def max(self) -> Stats | None:
        """Column -> largest value; None or {} when unknown."""
        return self.max_data

    @classmethod
    def from_parquet(
        cls,
        file: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str],
        database: str,
        table: str,
        time_column: str | None = None,
        layer: str = "",
        writer_id: str = "",
        chunk_time: int | None = None,
    ) -> IndexEntry:
        """The entry of a Parquet file, from its footer. See `gigapi_metadata.parquet`.

        Raises:
            InvalidEntry: the file is not readable Parquet, or has no usable time column.
            MissingExtra: the time column must be read, and pyarrow is not installed.
        """
        from gigapi_metadata.parquet import entry_from_parquet

        return entry_from_parquet(
            file,
            root=root,
            database=database,
            table=table,
            time_column=time_column,
            layer=layer,
            writer_id=writer_id,
            chunk_time=chunk_time,
        )


class QueryOptions(msgspec.Struct, frozen=True):
    """What to look for. Both bounds are inclusive; "" and 0 mean "any".

    `after`/`before`: a datetime (local time when it has no zone), int nanoseconds or None.
    """

    folder: str = ""
    after: datetime | int | None = None
    before: datetime | int | None = None
    iteration: int = 0


class Layer(msgspec.Struct, frozen=True):
    """A storage tier. Files leave for the next layer `ttl_sec` seconds after their `chunk_time`
    (0: never); after the last layer they expire. Its repr hides the URL's credentials."""

    url: str
    name: str
    type: Literal["fs", "s3"] = "fs"
    ttl_sec: int = 0

    def __repr__(self) -> str:
        fields = ", ".join(f"{field}={value!r}" for field, value in self.__rich_repr__())
        return f"Layer({fields})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # Named by msgspec's own protocol for rich, which would show the URL as it is.
        return [(f, hide(v) if f == "url" else v) for f, v in msgspec.structs.asdict(self).items()]


class MergeConfiguration(msgspec.Struct, frozen=True, array_like=True):
    """How files of one iteration are gathered: for at most `timeout_sec` seconds, up to `max_size`
    bytes a merge."""

    timeout_sec: int
    max_size: int
    iteration: int


DEFAULT_MERGE_CONFIGURATIONS = (MergeConfiguration(10, 10 * 1024 * 1024, 1),)


class MergePlan(msgspec.Struct, frozen=True):
    """Merge `paths_from` into `path_to`.

    `lease_s` is the Unix second until which the plan is held; it also tells this lease from every
    other one. `attempts` counts how often the plan was given back with an error.
    """

    id: str
    database: str
    table: str
    layer: str
    writer_id: str
    iteration: int
    paths_from: list[str]
    path_to: str
    lease_s: int = 0
    attempts: int = 0


class MovePlan(msgspec.Struct, frozen=True):
    """Move a file to `layer_to`; "" means that it has expired. `lease_s` as in MergePlan."""

    id: str
    database: str
    table: str
    writer_id: str
    path_from: str
    layer_from: str
    path_to: str
    layer_to: str
    lease_s: int = 0
    attempts: int = 0


class DropPlan(msgspec.Struct, frozen=True):
    """Delete a file that no entry names any more. `time_s` is the Unix second from which that was
    allowed, `lease_s` as in MergePlan."""

    id: str
    database: str
    table: str
    layer: str
    writer_id: str
    path: str
    time_s: int
    lease_s: int = 0
    attempts: int = 0


Plan = MergePlan | MovePlan | DropPlan
PlanKind = Literal["merge", "move", "drop"]


class QueuedPlan(msgspec.Struct, frozen=True):
    """A plan as it stands in its queue, for people to look at.

    `state` is "waiting" until it is handed out and "leased" from then on; `due_s` the Unix second
    from which it may be handed out (again). `paths` are as queued: some may be gone by now.
    `path_to` and `layer_to` say where a move goes; they are "" for others.
    """

    kind: PlanKind
    state: Literal["waiting", "leased"]
    id: str
    layer: str
    writer_id: str
    dir: str
    iteration: int
    paths: list[str]
    size_bytes: int
    due_s: int
    attempts: int = 0
    error: str = ""
    path_to: str = ""
    layer_to: str = ""


def merge_configurations(
    rows: Sequence[MergeConfiguration | Sequence[int]] | None,
) -> tuple[MergeConfiguration, ...]:
    """`rows` as MergeConfiguration; None means the default, one row for iteration 1.

    The n-th row governs iteration n, whatever its own `iteration` says: that is how GigAPI reads
    the list (FORMAT, "Names").

    Raises:
        InvalidConfiguration: a row is not three whole numbers, or one of them is negative.
    """
    if rows is None:
        return DEFAULT_MERGE_CONFIGURATIONS
    if not isinstance(rows, Iterable):
        raise InvalidConfiguration(
            "merge_configurations must be a list of [timeout_sec, max_size_bytes, iteration], "
            f"not {rows!r}"
        )
    result = []
    for row in rows:
        if isinstance(row, MergeConfiguration):
            values = [row.timeout_sec, row.max_size, row.iteration]
        else:
            values = list(row) if isinstance(row, Sequence) else []
        if len(values) != 3 or any(type(value) is not int for value in values):
            raise InvalidConfiguration(
                f"merge configuration {row!r} must be [timeout_sec, max_size_bytes, iteration]"
            )
        if min(values) < 0 or max(values) > INT64_MAX:
            raise InvalidConfiguration(
                f"merge configuration {row!r} holds a number that is out of range"
            )
        result.append(MergeConfiguration(*values))
    return tuple(result)


def check_layers(layers: Iterable[Layer] | None) -> tuple[Layer, ...]:
    """`layers` as a tuple; None means none.

    Raises:
        InvalidName: a layer's name is not a legal one.
        InvalidConfiguration: two layers share a name, or one has a bad type or ttl_sec.
    """
    result: dict[str, Layer] = {}
    if layers is not None and not isinstance(layers, Iterable):
        raise InvalidConfiguration(f"layers must be a list of Layer, not {type(layers).__name__}")
    for layer in layers or ():
        if not isinstance(layer, Layer):
            raise InvalidConfiguration(
                f"layers must be a list of Layer; {layer!r} is {type(layer).__name__}"
            )
        check_name("layer", layer.name)
        if layer.name in result:
            raise InvalidConfiguration(f"two layers are named {layer.name!r}")
        if layer.type not in ("fs", "s3"):
            raise InvalidConfiguration(
                f"layer {layer.name!r}: type {layer.type!r} must be 'fs' or 's3'"
            )
        if type(layer.ttl_sec) is not int or not 0 <= layer.ttl_sec <= INT64_MAX:
            raise InvalidConfiguration(
                f"layer {layer.name!r}: ttl_sec {layer.ttl_sec!r} must be a whole number of "
                "seconds, 0 for never"
            )
        result[layer.name] = layer
    return tuple(result.values())
