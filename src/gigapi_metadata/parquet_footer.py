"""The footer of a Parquet file: bytes -> columns, row groups and their raw statistics.

Pure: no I/O, no pyarrow. Why not pyarrow's own metadata classes: they end the whole process
(`std::terminate`, seen in pyarrow 26) on a column encrypted under a plaintext footer and on some
damaged footers, and they don't show whether a bound is exact. A catalog that reads other people's
files can afford neither. Here any bytes give a `Footer` or `FooterError`, nothing else, in time
and memory linear in the bytes.

What is read is the Thrift compact protocol and the part of `parquet.thrift` that bounds need;
fields that are not known are passed over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Fields = dict[int, Any]
"""A Thrift struct: field id -> value (bool, int, float, bytes, list or Fields)."""

# Physical types.
BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY = range(8)
_PHYSICAL_NAMES = ("boolean", "int32", "int64", "int96", "float", "double", "binary")

# Logical types: the fields of the LogicalType union.
NO_LOGICAL, STRING, _MAP_TYPE, _LIST_TYPE, ENUM, DECIMAL, DATE, TIME, TIMESTAMP = range(9)
INTEGER, _NULL, JSON, _BSON, _UUID_TYPE, FLOAT16 = range(10, 16)
_LOGICAL_NAMES = {
    STRING: "string",
    _MAP_TYPE: "map",
    _LIST_TYPE: "list",
    ENUM: "enum",
    DECIMAL: "decimal",
    DATE: "date",
    TIME: "time of day",
    TIMESTAMP: "timestamp",
    _NULL: "null",
    JSON: "JSON text",
    _BSON: "BSON",
    _UUID_TYPE: "UUID",
    FLOAT16: "float16",
}
MILLIS, MICROS, NANOS = 1, 2, 3  # fields of the TimeUnit union

# What older writers have instead: ConvertedType -> logical type and its detail.
_INTERVAL = -1  # never became a logical type
_OF_CONVERTED: dict[int, tuple[int, Any]] = {
    0: (STRING, None),
    1: (_MAP_TYPE, None),
    2: (_MAP_TYPE, None),
    3: (_LIST_TYPE, None),
    4: (ENUM, None),
    6: (DATE, None),
    7: (TIME, MILLIS),
    8: (TIME, MICROS),
    9: (TIMESTAMP, MILLIS),
    10: (TIMESTAMP, MICROS),
    **{11 + log: (INTEGER, (8 << log, False)) for log in range(4)},
    **{15 + log: (INTEGER, (8 << log, True)) for log in range(4)},
    19: (JSON, None),
    20: (_BSON, None),
    21: (_INTERVAL, None),
}
_CONVERTED_DECIMAL = 5

# Kinds of values in Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = range(
    1, 14
)
_FIXED_SIZE = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8, _UUID: 16}

_MAX_DEPTH = 100
_REPEATED = 2
_TYPE_DEFINED_ORDER = 1
# Arrow before 1.0 calls itself so; its order of decimals was wrong (PARQUET-1655).
_MISORDERED = b"parquet-cpp version "


class FooterError(ValueError):
    """The bytes are not a Parquet footer. The message says what was found, not in which file."""


class Column(NamedTuple):
    """A leaf of the schema, the only kind of column that holds values."""

    path: tuple[str, ...]
    physical: int
    kind: int
    """The logical type; NO_LOGICAL for none, and whatever else the file says for newer ones."""
    detail: Any
    """A decimal's scale, a time's or timestamp's unit, an integer's (bits, signed), or None."""
    repeated: bool
    """Whether a row can hold several values: the column or a group around it repeats."""
    ordered: bool
    """Whether the file promises the type's own sort order for `min_value` and `max_value`."""

    @property
    def type_name(self) -> str:
        """The column's type as people call it."""
        if self.kind == INTEGER:
            return f"{'int' if self.detail[1] else 'uint'}{self.detail[0]}"
        if self.kind in _LOGICAL_NAMES:
            return _LOGICAL_NAMES[self.kind]
        return _PHYSICAL_NAMES[self.physical] if 0 <= self.physical < 7 else "fixed-size binary"


class Chunk(NamedTuple):
    """One column's values in one row group."""

    num_values: int
    """Counts nulls too."""
    statistics: Fields
    """Empty when there are none."""
    encrypted: bool


class RowGroup(NamedTuple):
    """`chunks` has one item a column, in the order of `Footer.columns`."""

    num_rows: int
    chunks: list[Chunk]


class Footer(NamedTuple):
    """What a Parquet file says about itself."""

    num_rows: int
    columns: list[Column]
    row_groups: list[RowGroup]
    key_values: dict[bytes, bytes]
    """What its writer has noted beside."""
    created_by: str = ""
    """The program that wrote it, as it says."""


def parse_footer(data: bytes) -> Footer:
    """The footer in `data`: the bytes between a file's last page and its footer length.

    Raises:
        FooterError: they are not one.
    """
    try:
        fields, _ = _read_struct(data, 0, 0)
        orders = fields.get(7) or ()
        if (fields.get(6) or b"").startswith(_MISORDERED):
            orders = ()
        columns = _columns(fields[2], [_TYPE_DEFINED_ORDER in order for order in orders])
        row_groups = [_row_group(group) for group in fields[4]]
        num_rows = fields[3]
        key_values = {pair[1]: pair.get(2, b"") for pair in fields.get(5) or ()}
        created_by = (fields.get(6) or b"").decode(errors="replace")
        if num_rows != sum(group.num_rows for group in row_groups):
            raise FooterError("its row groups do not add up to its number of rows")
    except (LookupError, TypeError, AttributeError, UnicodeDecodeError) as fault:
        # A field is missing, of another type than it should be, or reaches over the end.
        raise FooterError("its footer is damaged") from fault
    if any(len(group.chunks) != len(columns) for group in row_groups):
        raise FooterError("a row group does not have all the columns of the schema")
    return Footer(num_rows, columns, row_groups, key_values, created_by)


def _columns(elements: list[Fields], ordered: list[bool]) -> list[Column]:
    """The leaves of the schema, which is stored as its nodes depth first."""
    columns: list[Column] = []
    # The groups around the next element: (children still to come, path, whether it repeats).
    open_groups: list[tuple[int, tuple[str, ...], bool]] = [(elements[0].get(5) or 0, (), False)]
    for element in elements[1:]:
        while open_groups and open_groups[-1][0] == 0:
            open_groups.pop()
        left, path, repeated = open_groups.pop()
        open_groups.append((left - 1, path, repeated))
        path = (*path, element[4].decode())
        repeated = repeated or element.get(3) == _REPEATED
        children = element.get(5) or 0
        if children > 0:
            if len(path) > _MAX_DEPTH:
                raise FooterError("its schema is nested too deeply")
            open_groups.append((children, path, repeated))
        elif 1 in element:
            kind, detail = _logical_type(element)
            _check_int(element[1], kind, *(detail if kind == INTEGER else (detail or 0,)))
            columns.append(
                Column(
                    path,
                    element[1],
                    kind,
                    detail,
                    repeated,
                    len(columns) < len(ordered) and ordered[len(columns)],
                )
            )
    if any(left for left, _, _ in open_groups):
        raise FooterError("its schema ends early")
    return columns


def _logical_type(element: Fields) -> tuple[int, Any]:
    """The logical type and what matters of its parameters, hashable."""
    union, converted = element.get(10), element.get(6)
    if union:
        kind, content = next(iter(union.items()))
        if kind in (TIME, TIMESTAMP):
            return kind, next(iter(content[2]), None)
        if kind == INTEGER:  # the width is one byte
            return kind, (content[1][0], content[2])
        return kind, (content.get(1) or 0) if kind == DECIMAL else None
    if converted == _CONVERTED_DECIMAL:
        return DECIMAL, element.get(7) or 0
    return (NO_LOGICAL, None) if converted is None else _OF_CONVERTED[converted]


def _check_int(*values: Any) -> None:
    for value in values:
        if not isinstance(value, int):
            raise FooterError("its footer is damaged")


def _row_group(fields: Fields) -> RowGroup:
    num_rows = fields[3]
    _check_int(num_rows)
    if num_rows < 0:
        raise FooterError("a row group has a negative number of rows")
    return RowGroup(num_rows, [_chunk(chunk) for chunk in fields[1]])


def _chunk(fields: Fields) -> Chunk:
    # Of an encrypted column the plaintext metadata is absent, or stripped of its statistics.
    encrypted = 8 in fields or 9 in fields
    metadata = fields.get(3)
    if metadata is None:
        if not encrypted:
            raise FooterError("a column has no metadata")
        return Chunk(0, {}, True)
    statistics = metadata.get(12) or {}
    _check_int(metadata[5])
    if not isinstance(statistics, dict):
        raise FooterError("its footer is damaged")
    return Chunk(metadata[5], statistics, encrypted)


def _read_struct(data: bytes, pos: int, depth: int) -> tuple[Fields, int]:
    """The struct at `pos` and where it ends. The hot loop, hence the short integers inline."""
    if depth > _MAX_DEPTH:
        raise FooterError("its footer is nested too deeply")
    fields: Fields = {}
    field = 0
    while header := data[pos]:
        pos += 1
        kind = header & 15
        if header > 15:
            field += header >> 4
        else:
            field, pos = _read_int(data, pos)
        if _I32 <= kind <= _I64:
            byte = data[pos]
            if byte < 128:
                pos += 1
                fields[field] = (byte >> 1) ^ -(byte & 1)
            else:
                fields[field], pos = _read_int(data, pos)
        elif kind <= _FALSE:  # a field's boolean is its kind
            fields[field] = kind == _TRUE
        elif kind == _STRUCT:
            fields[field], pos = _read_struct(data, pos, depth + 1)
        else:
            fields[field], pos = _read_value(data, pos, kind, depth)
    return fields, pos + 1


def _read_value(data: bytes, pos: int, kind: int, depth: int) -> tuple[Any, int]:
    """A value as it stands in a list or, but for booleans, in a field."""
    if kind == _BINARY:
        size = data[pos]
        if size < 128:
            pos += 1
        else:
            size, pos = _read_varint(data, pos)
        return _read_bytes(data, pos, size)
    if kind == _STRUCT:
        return _read_struct(data, pos, depth + 1)
    if _I16 <= kind <= _I64:
        return _read_int(data, pos)
    if kind in (_LIST, _SET, _MAP):
        return _read_items(data, pos, kind, depth + 1)
    if kind in _FIXED_SIZE:  # booleans and bytes in lists, doubles, UUIDs: nothing that we use
        return _read_bytes(data, pos, _FIXED_SIZE[kind])
    raise FooterError(f"its footer holds a Thrift value of the unknown kind {kind}")


def _read_items(data: bytes, pos: int, kind: int, depth: int) -> tuple[list[Any], int]:
    """The items of a list or set; the keys and values of a map in turn."""
    if depth > _MAX_DEPTH:
        raise FooterError("its footer is nested too deeply")
    kinds: tuple[int, ...]
    if kind == _MAP:
        size, pos = _read_varint(data, pos)
        kinds = (data[pos] >> 4, data[pos] & 15) if size else ()
        pos += 1 if size else 0
    else:
        size, kinds = data[pos] >> 4, (data[pos] & 15,)
        pos += 1
        if size == 15:
            size, pos = _read_varint(data, pos)
    items = []
    # Every item takes a byte at least: a size that lies ends in IndexError, not in memory.
    for _ in range(size):
        for item_kind in kinds:
            item, pos = _read_value(data, pos, item_kind, depth)
            items.append(item)
    return items, pos


def _read_bytes(data: bytes, pos: int, size: int) -> tuple[bytes, int]:
    end = pos + size
    if end > len(data):
        raise FooterError("its footer ends early")
    return data[pos:end], end


def _read_int(data: bytes, pos: int) -> tuple[int, int]:
    """A signed integer: a varint, zigzag encoded."""
    value, pos = _read_varint(data, pos)
    return (value >> 1) ^ -(value & 1), pos


def _read_varint(data: bytes, pos: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, pos
        shift += 7
        if shift > 63:
            raise FooterError("its footer holds an integer of more than 64 bits")
