"""A Parquet file's footer -> an IndexEntry.

The one function here opens a file once and reads its footer. Read themselves are only a time column
that a row group has no usable statistics of, in small batches, and columns of floats that may hold
NaN, if they are not too long. It writes nothing and keeps nothing:
call it from as many threads or processes as you like.

What the footer's bytes mean is in `parquet_footer`, which bounds they give in `parquet_stats`.
pyarrow reads the columns; it is imported when one has to be read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, NoReturn

from gigapi_metadata.errors import InvalidEntry, MissingExtra
from gigapi_metadata.model import TIME_COLUMNS, IndexEntry, Stats
from gigapi_metadata.parquet_footer import DATE, INT96, Column, Footer, FooterError, parse_footer
from gigapi_metadata.parquet_stats import (
    DAY_NS,
    all_null,
    chunk_bounds,
    codec_of,
    column_bounds,
    is_float,
    time_unit_ns,
)
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN
from gigapi_metadata.validation import check_entry

MAGIC = b"PAR1"
_ENCRYPTED_MAGIC = b"PARE"
_TAIL = 16 * 1024  # holds most footers, so one read will do
_MIN_FILE = 12  # two magics and the footer's length
_MAX_FOOTER = 256 * 1024 * 1024  # a larger one is garbage, not to be read into memory
_BATCH_ROWS = 64 * 1024
_BUFFER = 1024 * 1024
_SAYS_NAN = "DuckDB "  # writers whose statistics of a column can be trusted to mean: no NaN
_MAX_NAN_VALUES = 4_000_000  # 32 MB, some 20 ms
_ARROW_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}


class TimesNotRead(InvalidEntry):
    """The footer says nothing of the times, and the column itself can't be read."""


def entry_from_parquet(
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
    """The entry of the Parquet file `file`, fit to be added to the index of `database`.`table`.

    `path` is the file's path below `root`, the table's data folder. `min_time` and `max_time` are
    the exact first and last time in the file, in nanoseconds since the epoch; nulls don't count.
    Timestamps without a zone are UTC. A date means its whole day: `max_time` is the last nanosecond
    of the last day. `min` and `max` are the bounds of every column that has statistics, see
    `parquet_stats`; `max` leaves out a column that may hold NaN, which counts as the greatest
    number. `chunk_time`, nanoseconds, is by default when the file was last modified.

    `time_column` is the exact name of a top-level column: a timestamp, a date, or an int64 or
    uint64, which count nanoseconds. By default it is the first of `TIME_COLUMNS` that there is.

    Raises:
        InvalidEntry: the file is missing, unreadable, outside `root`, not Parquet, cut short,
            damaged or encrypted, has no rows, or no usable time column. The message names it.
        MissingExtra: the time column must be read, for want of statistics, and pyarrow is not
            installed.
    """
    name = os.fsdecode(file)
    with _opened(name) as descriptor:
        path = _path_below(name, os.fsdecode(root))
        return entry_from_opened(
            descriptor, name, path, database, table, time_column, layer, writer_id, chunk_time
        )


def entry_from_opened(
    descriptor: int,
    name: str,
    path: str,
    database: str,
    table: str,
    time_column: str | None,
    layer: str,
    writer_id: str,
    chunk_time: int | None = None,
) -> IndexEntry:
    """As `entry_from_parquet`, of a file that is open: nothing is opened by its name.

    path: below the table's data folder. name: for messages.
    """
    data, status = read_footer(descriptor, name)
    try:
        footer = parse_footer(data)
    except FooterError as fault:
        raise InvalidEntry(f"{name!r}: {fault}; write the file again") from fault
    if footer.num_rows == 0:
        raise InvalidEntry(f"{name!r} has no rows, there is no time to index it by; leave it out")
    min_time, max_time = _time_bounds(descriptor, name, footer, time_column)
    lowest, highest = column_bounds(footer)
    for column in _with_nan(descriptor, footer, highest):
        del highest[column]
    entry = IndexEntry(
        database=database,
        table=table,
        path=path,
        size_bytes=status.st_size,
        min_time=min_time,
        max_time=max_time,
        layer=layer,
        row_count=footer.num_rows,
        chunk_time=status.st_mtime_ns if chunk_time is None else chunk_time,
        min_data=lowest,
        max_data=highest,
        writer_id=writer_id,
    )
    return check_entry(entry, database, table)


def _pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as fault:
        raise MissingExtra(
            "reading Parquet files needs pyarrow; pip install 'gigapi-metadata[parquet]'"
        ) from fault
    return pyarrow, pyarrow.parquet


def _path_below(file: str, root: str) -> str:
    """`file` relative to `root`, with `/` between folders.

    The path as it is written counts: a symbolic link below `root` keeps its own name, since that
    is where readers will look. Only if that leads outside (`root` may be a link itself, or hold
    `..`) links are followed, but for a link that is the file.
    """
    folder, base = os.path.split(file)
    # What `..` means depends on the links before it, so it can't be taken as written.
    plain = ".." not in (file + os.sep + root).split(os.sep)
    for resolve in (os.path.abspath, os.path.realpath) if plain else (os.path.realpath,):
        above = os.path.join(resolve(root), "")
        path = os.path.join(resolve(folder), base)
        if path.startswith(above):
            return path[len(above) :].replace(os.sep, "/")
    raise InvalidEntry(
        f"{file!r} is not below {root!r}; `root` must be the folder that holds the table's files"
    )


def read_footer(descriptor: int, name: str) -> tuple[bytes, os.stat_result]:
    """The footer's bytes, and size and times of the file they were read from.

    Raises:
        InvalidEntry: it is no Parquet file, or can't be read.
    """
    try:
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            status = os.fstat(descriptor)
            return _footer_bytes(name, file, status.st_size), status
    except OSError as fault:
        raise InvalidEntry(f"{name!r} can't be read: {fault}") from fault


@contextmanager
def _opened(name: str) -> Iterator[int]:
    try:
        # Asked before opening: to open a pipe is to wait for its writer.
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise InvalidEntry(f"{name!r} is a folder or device, not a file")
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as fault:
        raise InvalidEntry(f"{name!r} does not exist") from fault
    except PermissionError as fault:
        raise InvalidEntry(f"{name!r} can't be read: permission denied") from fault
    except (OSError, ValueError) as fault:
        raise InvalidEntry(f"{name!r} can't be read: {fault}") from fault
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _footer_bytes(name: str, file: BinaryIO, size: int) -> bytes:
    tail = _read_at(name, file, max(0, size - _TAIL), min(size, _TAIL))
    if not ends_as_parquet(size, tail):
        _raise_not_parquet(name, file, size, tail)
    length = footer_length(name, size, tail)
    if length + 8 <= len(tail):
        return tail[-8 - length : -8]
    return _read_at(name, file, size - 8 - length, length)


def ends_as_parquet(size: int, tail: bytes) -> bool:
    """Whether a file of `size` bytes that ends in `tail` may be a Parquet file."""
    return size >= _MIN_FILE and tail[-4:] == MAGIC


def footer_length(name: str, size: int, tail: bytes) -> int:
    """How many bytes the footer of a file has that `ends_as_parquet`; never more than is sensible.

    Raises:
        InvalidEntry: it says more than there are, or than a footer has.
    """
    length = int.from_bytes(tail[-8:-4], "little")
    if length > min(size - _MIN_FILE, _MAX_FOOTER):
        raise InvalidEntry(
            f"{name!r} is damaged or cut short: its footer claims {length} bytes of a file of "
            f"{size}; write the file again"
        )
    return length


def _raise_not_parquet(name: str, file: BinaryIO, size: int, tail: bytes) -> NoReturn:
    if size == 0:
        raise InvalidEntry(f"{name!r} is empty, not a Parquet file")
    if tail[-4:] == _ENCRYPTED_MAGIC:
        raise InvalidEntry(
            f"{name!r} has an encrypted footer; write it with a plaintext footer and time column, "
            "or build its entry yourself"
        )
    if _read_at(name, file, 0, min(size, 4)) in (MAGIC, _ENCRYPTED_MAGIC):
        raise InvalidEntry(
            f"{name!r} is cut short: it begins as a Parquet file but its footer is missing; "
            "let its writer finish, or write it again"
        )
    raise InvalidEntry(f"{name!r} is not a Parquet file")


def _read_at(name: str, file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise InvalidEntry(f"{name!r} changed while it was read; index it when it is complete")
    return data


def _time_bounds(descriptor: int, name: str, footer: Footer, wanted: str | None) -> tuple[int, int]:
    """First and last nanosecond of the file's time column."""
    index = _find_time_column(name, footer.columns, wanted)
    column = footer.columns[index]
    title = f"{name!r}: time column {column.path[0]!r}"
    unit = time_unit_ns(column)
    if column.repeated or (unit is None and column.physical != INT96):
        raise InvalidEntry(
            f"{title} is of type {'repeated ' if column.repeated else ''}{column.type_name}; it "
            "must be a timestamp, a date or int64 nanoseconds; name another with time_column=..."
        )
    codec = codec_of(column)
    found: list[tuple[int, int]] = []
    unread: list[int] = []
    for number, group in enumerate(footer.row_groups):
        chunk = group.chunks[index]
        if group.num_rows == 0 or all_null(chunk):
            continue
        bounds = None if codec is None else chunk_bounds(column, codec, chunk)
        if bounds and bounds.exact and bounds.min is not None and bounds.max is not None:
            found.append(_in_nanoseconds(title, column, bounds.min, bounds.max, unit or 1))
        elif chunk.encrypted:
            raise InvalidEntry(
                f"{title} is encrypted; leave it in plaintext, or build the entry yourself"
            )
        else:
            unread.append(number)
    if unread:
        found.extend(_read_times(title, descriptor, column, unread))
    if not found:
        raise InvalidEntry(f"{title} holds nothing but nulls; name another with time_column=...")
    return min(low for low, _ in found), max(high for _, high in found)


def _find_time_column(name: str, columns: list[Column], wanted: str | None) -> int:
    for candidate in TIME_COLUMNS if wanted is None else (wanted,):
        found = [index for index, column in enumerate(columns) if column.path == (candidate,)]
        if len(found) > 1:
            raise InvalidEntry(f"{name!r} has two columns {candidate!r}; rename one of them")
        if found:
            return found[0]
    top = [column.path[0] for column in columns if len(column.path) == 1]
    shown = ", ".join(map(repr, top[:20])) + (", ..." if len(top) > 20 else "")
    if wanted is None:
        missing = f"no time column ({', '.join(TIME_COLUMNS)}); name one with time_column=..."
    else:
        missing = f"no top-level column {wanted!r}"
    raise InvalidEntry(f"{name!r} has {missing}; its columns are {shown or 'all nested'}")


def _with_nan(descriptor: int, footer: Footer, highest: Stats) -> list[str]:
    """The columns among `highest` that hold NaN, or may.

    A footer does not tell: most writers leave NaN out of their statistics, without a word. DuckDB
    writes no statistics for such a column. Otherwise the column itself is read, unless that would
    take long.
    """
    floats = [".".join(column.path) for column in footer.columns if is_float(column)]
    suspects = [column for column in floats if column in highest]
    if not suspects or footer.created_by.startswith(_SAYS_NAN):
        return []
    plain = [column for column in footer.columns if len(column.path) == 1]
    top = {column.path[0] for column in plain if not column.repeated} & set(suspects)
    if not top or len(top) * footer.num_rows > _MAX_NAN_VALUES:
        return suspects
    try:
        pa, pq = _pyarrow()
    except MissingExtra:
        return suspects
    try:
        clean = top - _columns_of_nan(pa, pq, descriptor, sorted(top))
    except (pa.ArrowException, OSError):
        return suspects
    return [column for column in suspects if column not in clean]


def _columns_of_nan(pa: Any, pq: Any, descriptor: int, columns: list[str]) -> set[str]:
    import pyarrow.compute as pc

    with _source(pa, descriptor) as source, pq.ParquetFile(source) as file:
        table = file.read(columns=columns, use_threads=False)
    return {column for column in columns if pc.any(pc.is_nan(table[column])).as_py()}


_UNITS = {
    1: "nanoseconds",
    10**3: "microseconds",
    10**6: "milliseconds",
    10**9: "seconds",
    DAY_NS: "days",
}


def _in_nanoseconds(title: str, column: Column, low: int, high: int, unit: int) -> tuple[int, int]:
    """The first and last nanosecond that a column's smallest and largest value cover."""
    for value in (low, high):
        if not INT64_MIN <= value * unit <= INT64_MAX:
            raise InvalidEntry(
                f"{title} holds a time {value} {_UNITS.get(unit, f'times {unit} nanoseconds')} "
                "from 1970, outside the years 1677 to 2262 that the catalog covers; correct the "
                "value or write a null"
            )
    last = high * unit
    if column.kind == DATE:  # all of the last day, or what int64 has of it
        last = min(last + DAY_NS - 1, INT64_MAX)
    return low * unit, last


def _read_times(
    title: str, descriptor: int, column: Column, row_groups: list[int]
) -> Iterator[tuple[int, int]]:
    """The bounds of each batch of the column's values; nothing for a batch of nulls."""
    pa, _ = _pyarrow()
    try:
        if column.physical == INT96:
            # Read as nanoseconds, what is out of their range would silently wrap around.
            for low, high, unit in _read_batches(descriptor, column.path[0], row_groups, "us"):
                _in_nanoseconds(title, column, low, high, unit)
        for low, high, unit in _read_batches(descriptor, column.path[0], row_groups, "ns"):
            yield _in_nanoseconds(title, column, low, high, unit)
    except (pa.ArrowException, OSError) as fault:
        raise TimesNotRead(f"{title} can't be read: {fault}; write the file again") from fault


def _source(pa: Any, descriptor: int) -> Any:
    """The file for pyarrow, which closes what it is given."""
    return pa.PythonFile(open(os.dup(descriptor), "rb", buffering=0))


class _Extent(NamedTuple):
    low: int
    high: int
    unit: int


def _read_batches(
    descriptor: int, column: str, row_groups: list[int], int96_unit: str
) -> Iterator[_Extent]:
    """Smallest and largest value of each batch, in units of so many nanoseconds."""
    pa, pq = _pyarrow()
    import pyarrow.compute as pc

    with _source(pa, descriptor) as source:
        file = pq.ParquetFile(source, buffer_size=_BUFFER, coerce_int96_timestamp_unit=int96_unit)
        for batch in file.iter_batches(
            batch_size=_BATCH_ROWS, row_groups=row_groups, columns=[column], use_threads=False
        ):
            values = batch.column(column)
            unit = _arrow_unit_ns(values.type)
            # Plain integers: pyarrow's datetimes lose nanoseconds or refuse them.
            if not pa.types.is_integer(values.type):
                values = values.view(f"int{values.type.bit_width}")
            extent = pc.min_max(values)
            if extent["min"].is_valid:
                yield _Extent(extent["min"].as_py(), extent["max"].as_py(), unit)


def _arrow_unit_ns(kind: Any) -> int:
    """Nanoseconds in one unit of an arrow type."""
    pa, _ = _pyarrow()
    if pa.types.is_timestamp(kind):
        return _ARROW_UNIT_NS[kind.unit]
    if pa.types.is_date(kind):
        return DAY_NS if kind.bit_width == 32 else 10**6
    return 1
