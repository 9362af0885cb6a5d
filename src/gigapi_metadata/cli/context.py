"""Which catalog a command works on, and with which configuration.

The one place that knows where settings come from: an option, else the environment, else the file
given with --config (`gigapi_metadata.config`), else the SQLite catalog of the folder worked on.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gigapi_metadata.cli.errors import Failed, WrongUsage

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.config import Settings
    from gigapi_metadata.model import Layer

_CATALOG = "argument --catalog"
_LAYERS = "argument --layers"
_MERGE_RULE = "TIMEOUT,SIZE such as 10s,100MiB, or none"
_LAYER_FIELDS = ("name", "url", "type", "ttl", "ttl_sec")


def settings(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """The configuration in force for `args`.

    Raises:
        WrongUsage: an option, a variable or the file has a value it may not have.
    """
    from gigapi_metadata.config import load

    layer_texts = (args.layers or []) + getattr(args, "command_layers", [])
    merge_texts = (args.merge or []) + getattr(args, "command_merge", [])
    with _as_wrong_usage():
        return load(
            _config_file(args.config),
            environ,
            catalog=args.catalog,
            catalog_name=_CATALOG,
            layers=_layers(layer_texts) if layer_texts else None,
            merge_configurations=_merge(merge_texts) if merge_texts else None,
        )


def open_catalog(
    args: argparse.Namespace,
    folder: str = ".",
    *,
    writes: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Catalog:
    """The catalog to work on; that of `folder` unless another one is configured.

    Raises:
        WrongUsage: the configuration can't be used.
        Failed: there is no such SQLite file, and the command does not write one.
    """
    from gigapi_metadata.catalog import connect, parse

    found = settings(args, environ)
    url = configured_url(found)
    source = found.catalog_source() if url else ""
    if source == "argument":
        source = _CATALOG
    if not url:
        # A folder's name may look like a URL or a database; what we choose ourselves is a path.
        url = os.path.join(os.path.abspath(folder), "")
    with _as_wrong_usage(source):
        target = parse(url)
        if target.module == "sqlite" and not writes and not os.path.exists(target.address):
            raise Failed(_missing(source, folder, target.address))
        return connect(url, found.layers, found.merge_configurations)


def configured_url(found: Settings) -> str:
    """The catalog that the settings name, "" when they name none. It may hold a password.

    Raises:
        WrongUsage: they say half of it.
    """
    from gigapi_metadata.catalog import check_url

    with _as_wrong_usage():
        url = found.catalog_url(default="")
    if url:
        source = found.catalog_source()
        with _as_wrong_usage(_CATALOG if source == "argument" else source):
            check_url(url)
    return url


@contextmanager
def _as_wrong_usage(source: str = "") -> Iterator[None]:
    from gigapi_metadata.errors import InvalidConfiguration, InvalidName

    try:
        yield
    except (InvalidConfiguration, InvalidName) as fault:
        raise WrongUsage(f"{source}: {fault}" if source else str(fault)) from fault


def _missing(source: str, folder: str, address: str) -> str:
    if not source:
        place = "this folder" if folder == "." else folder
        return (
            f"there is no catalog in {place}; name one with --catalog URL or GIGAPI_METADATA_URL, "
            "or make one with: gigapi-metadata scan ROOT"
        )
    return f"{source}: there is no catalog at {address}; the first scan makes one"


def _config_file(name: str | None) -> str | None:
    if name == "":
        raise WrongUsage("argument --config is ''; it must be a file's name, such as lake.toml")
    return name


def _layers(texts: Iterable[str]) -> list[Layer]:
    """The values of --layers. Errors hide what a URL may hold of passwords."""
    from gigapi_metadata.config import parse_layer
    from gigapi_metadata.model import check_layers

    found: list[Layer] = []
    for text in texts:
        found += _layer_file(text[1:]) if text.startswith("@") else [parse_layer(text, _LAYERS)]
    with _as_wrong_usage(_LAYERS):
        return list(check_layers(found))


def _layer_file(name: str) -> list[Layer]:
    import msgspec

    from gigapi_metadata.config.layers import read_layers
    from gigapi_metadata.config.values import Found, Level

    option = f"{_LAYERS}: @{name}"
    try:
        with open(name, "rb") as file:
            rows = msgspec.json.decode(file.read())
    except OSError as fault:
        raise WrongUsage(f"{option}: {fault.strerror}") from fault
    except ValueError as fault:
        raise WrongUsage(f"{option} is not valid JSON: {fault}") from fault
    if isinstance(rows, dict) and set(rows) == {"layers"}:
        rows = rows["layers"]
    if not isinstance(rows, list) or not all(row and isinstance(row, dict) for row in rows):
        raise WrongUsage(f"{option} must hold a list of layers, each with name and url")
    values = {}
    for index, row in enumerate(rows):
        for field, value in row.items():
            where = f"{option}: layers[{index}].{field}"
            if field not in _LAYER_FIELDS:
                raise WrongUsage(f"{where} is no setting; known are {', '.join(_LAYER_FIELDS)}")
            values[f"layers[{index}].{field}"] = Found(value, where, "argument", Level.ARGUMENT)
    return [each.layer for each in read_layers({}, values)]


def _merge(texts: list[str]) -> list[list[int]]:
    from gigapi_metadata.config import parse_duration, parse_size

    option = "argument --merge"
    if texts == ["none"]:
        return []
    rows = []
    for iteration, text in enumerate(texts, 1):
        timeout, comma, size = text.partition(",")
        if not comma:
            raise WrongUsage(f"{option}: {text!r} must be {_MERGE_RULE}")
        with _as_wrong_usage(option):
            if re.fullmatch("[0-9]+", timeout):
                timeout += "s"
            rows.append([parse_duration(timeout), parse_size(size), iteration])
    return rows
