"""How entries and tables look to a person, in a terminal and in a notebook."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gigapi_metadata.html import table_html
from gigapi_metadata.model import IndexEntry

if TYPE_CHECKING:
    from gigapi_metadata.index.sync import Index

_SHOWN = 20
"""So many entries of a list are shown."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADINGS = ("from", "to", "rows", "bytes", "layer", "path")


class Entries(list[IndexEntry]):
    """A list of entries, which a notebook shows as a table. Its repr is cut; it is equal to any
    list of the same entries."""

    def __repr__(self) -> str:
        if len(self) <= _SHOWN:
            return super().__repr__()
        shown = ",\n ".join(map(repr, self[:_SHOWN]))
        return f"[{shown},\n … {len(self) - _SHOWN:,} more]"

    def _repr_html_(self) -> str:
        rows = [
            (
                _moment(each.min_time),
                _moment(each.max_time),
                f"{each.row_count:,}",
                f"{each.size_bytes:,}",
                each.layer,
                each.path,
            )
            for each in self[:_SHOWN]
        ]
        size = sum(each.size_bytes for each in self)
        noun = "file" if len(self) == 1 else "files"
        cut = f", the first {_SHOWN} shown" if len(self) > _SHOWN else ""
        return table_html(_HEADINGS, rows, f"{len(self):,} {noun}, {size:,} bytes{cut}")


def index_html(index: Index[Any], folders: int) -> str:
    """A table of the catalog: what it is called, where its files are, how it is merged."""
    rows = [
        ("catalog", repr(index.connection)),
        ("folders that hold files", f"{folders:,}"),
        *((f"layer {layer.name}", repr(layer)) for layer in index.layers),
        *(
            (f"merges of level {row.iteration}", f"{row.timeout_sec} s, {row.max_size:,} bytes")
            for row in index.merge_configurations
        ),
    ]
    return table_html((f"{index.database}.{index.table}", ""), rows)


def _moment(time_ns: int) -> str:
    """A time in UTC with all its digits."""
    seconds, rest = divmod(time_ns, 10**9)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
    return f"{text}.{rest:09}".rstrip("0").rstrip(".") + "Z"
