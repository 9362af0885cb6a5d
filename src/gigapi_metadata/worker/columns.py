"""Which columns a merged file has. Pure: decides over schemas, reads no file.

Types are kept exactly, to the unit of a timestamp. Where files differ, a column takes the narrowest
type that holds every value of theirs; where there is none, that is a SchemaConflict.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from gigapi_metadata import lineage
from gigapi_metadata.errors import SchemaConflict

Engine = Literal["duckdb", "arrow"]

ARROW_SCHEMA = b"ARROW:schema"
"""The footer key under which Arrow keeps what Parquet types can't say."""

_EXACT_IN_FLOAT = 2**53


class Source(NamedTuple):
    """What the footer of one file to be merged says. `name` is for messages.

    `metadata` is the footer's own keys. `special` names what DuckDB would not keep although the
    schema does not show it ("" if nothing). `bounds(column)` is the smallest and largest value of a
    column of integers, None when unknown.
    """

    name: str
    schema: Any
    rows: int
    metadata: Mapping[bytes, bytes]
    special: str
    bounds: Callable[[str], tuple[int, int] | None]


class Layout(NamedTuple):
    """What the merged file looks like and who writes it."""

    schema: Any
    metadata: dict[bytes, bytes]
    engine: Engine
    uniform: bool
    """Whether every source has exactly this schema."""


def plan_layout(sources: Sequence[Source]) -> Layout:
    """The layout of the file that holds the rows of all `sources`.

    Raises:
        SchemaConflict: naming the column, the types and two of the files.
    """
    first = sources[0].schema
    uniform = all(first.equals(source.schema) for source in sources[1:])
    schema = first if uniform else _unified(sources)
    schema = schema.remove_metadata()
    keeps = all(
        uniform or _castable(source.schema, schema) for source in _distinct_schemas(sources)
    )
    special = any(source.special for source in sources)
    engine: Engine = "duckdb" if keeps and not special and duckdb_keeps(schema) else "arrow"
    return Layout(schema, _common_metadata(sources, schema), engine, uniform)


def _distinct_schemas(sources: Sequence[Source]) -> list[Source]:
    found: list[Source] = []
    for source in sources:
        if not any(source.schema.equals(other.schema) for other in found):
            found.append(source)
    return found


def _common_metadata(sources: Sequence[Source], schema: Any) -> dict[bytes, bytes]:
    """The footer keys that all sources agree on; Arrow's schema is written anew."""
    common = dict(sources[0].metadata)
    for source in sources[1:]:
        common = {k: v for k, v in common.items() if source.metadata.get(k) == v}
    common.pop(ARROW_SCHEMA, None)
    common.pop(lineage.KEY, None)
    if any(ARROW_SCHEMA in source.metadata for source in sources):
        # Arrow reads a file's other keys from here too, if this is there.
        told = schema.with_metadata(common or None).serialize()
        common[ARROW_SCHEMA] = base64.b64encode(told.to_pybytes())
    return common


# Widening


def _unified(sources: Sequence[Source]) -> Any:
    import pyarrow as pa

    distinct = _distinct_schemas(sources)
    for source in distinct:
        if len(set(source.schema.names)) != len(source.schema.names):
            raise SchemaConflict(
                f"{source.name!r} has two columns of one name, and other columns than the rest"
            )
    fields: dict[str, Any] = {}
    origin: dict[str, Source] = {}
    for source in distinct:
        for field in source.schema:
            known = fields.get(field.name)
            if known is None:
                fields[field.name], origin[field.name] = field, source
            else:
                kind = _widened(known.type, field.type)
                if kind is None:
                    raise SchemaConflict(
                        f"column {field.name!r} is {known.type} in "
                        f"{origin[field.name].name!r} and {field.type} in {source.name!r}; "
                        "rewrite one of the files"
                    )
                fields[field.name] = pa.field(field.name, kind, True, known.metadata)
    _check_exact(sources, fields)
    return pa.schema(list(fields.values()))


def _widened(one: Any, other: Any) -> Any:
    """The narrowest type for both, None when there is none."""
    import pyarrow as pa
    from pyarrow import types

    if one.equals(other):
        return one
    plain_one, plain_other = _decoded(one), _decoded(other)
    if plain_one is not one or plain_other is not other:
        return _widened(plain_one, plain_other)
    if _is_text(one) != _is_text(other) and not (types.is_null(one) or types.is_null(other)):
        return None  # Arrow would make bytes of text
    try:
        return (
            pa.unify_schemas(
                [pa.schema([("x", one)]), pa.schema([("x", other)])], promote_options="permissive"
            )
            .field("x")
            .type
        )
    except (pa.ArrowTypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _decoded(kind: Any) -> Any:
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _check_exact(sources: Iterable[Source], fields: Mapping[str, Any]) -> None:
    """Refuse to turn integers into floats, or unsigned into signed ones, that can't hold them."""
    from pyarrow import types

    for source in sources:
        for field in source.schema:
            target = fields[field.name].type
            if not types.is_integer(field.type) or field.type.equals(target):
                continue
            if types.is_floating(target) and field.type.bit_width == 64:
                low, high = -_EXACT_IN_FLOAT, _EXACT_IN_FLOAT
            elif types.is_uint64(field.type) and types.is_signed_integer(target):
                low, high = 0, 2**63 - 1
            else:
                continue
            bounds = source.bounds(field.name)
            if bounds is None or bounds[0] < low or bounds[1] > high:
                raise SchemaConflict(
                    f"column {field.name!r} is {field.type} in {source.name!r} and holds, or may "
                    f"hold, numbers that {target}, its type in other files, can't; rewrite one of "
                    "the files"
                )


# What DuckDB reads and writes without changing it


def duckdb_keeps(schema: Any) -> bool:
    """Whether DuckDB writes a file of exactly this schema, given the ARROW:schema key."""
    names = [name.lower() for name in schema.names]
    return len(set(names)) == len(names) and all(_kept(field) for field in schema)


def _kept(field: Any) -> bool:
    from pyarrow import types

    kind = field.type
    if (field.metadata or {}).get(b"PARQUET:field_id") not in (None, b"-1"):
        return False
    if types.is_nested(kind):
        return _kept_nested(kind)
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return (
        _scalar_name(kind) is not None
        or types.is_time64(kind)
        or types.is_date(kind)
        or types.is_duration(kind)
    )


def _kept_nested(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        inner = [kind.field(number) for number in range(kind.num_fields)]
        names = {each.name.lower() for each in inner}
        return len(names) == len(inner) > 0 and all(_kept(each) for each in inner)
    if types.is_map(kind):
        return _kept(kind.key_field) and _kept(kind.item_field)
    return types.is_list(kind) and _kept(kind.value_field)


def _castable(source: Any, target: Any) -> bool:
    """Whether `select_list` can turn rows of `source` into rows of `target`."""
    return all(
        field.type.equals(target.field(field.name).type)
        or _scalar_name(target.field(field.name).type) is not None
        for field in source
    )


def _scalar_name(kind: Any) -> str | None:
    """DuckDB's name of a simple type; None for one that it has no equal of."""
    from pyarrow import types

    if types.is_integer(kind):
        sized = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}[kind.bit_width]
        return sized if types.is_signed_integer(kind) else f"U{sized}"
    if types.is_decimal128(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if types.is_timestamp(kind) and kind.unit in ("us", "ns"):
        zone, unit = "TZ" if kind.tz else "", "_NS" if kind.unit == "ns" else ""
        return f"TIMESTAMP{zone}{unit}"
    for matches, name in (
        (types.is_float32, "FLOAT"),
        (types.is_float64, "DOUBLE"),
        (types.is_boolean, "BOOLEAN"),
        (types.is_date32, "DATE"),
        (_is_text, "VARCHAR"),
        (types.is_binary, "BLOB"),
        (types.is_large_binary, "BLOB"),
        (types.is_binary_view, "BLOB"),
    ):
        if matches(kind):
            return name
    return None


def select_list(source: Any, target: Any) -> str:
    """The columns of a SELECT over files of schema `source` that gives rows of `target`."""
    columns = []
    for field in target:
        name = quoted(field.name)
        if field.name not in source.names:
            columns.append(f"NULL AS {name}")
        elif source.field(field.name).type.equals(field.type):
            columns.append(name)
        else:
            columns.append(f"CAST({name} AS {_scalar_name(field.type)}) AS {name}")
    return ", ".join(columns)


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in SQL."""
    return "'" + text.replace("'", "''") + "'"
