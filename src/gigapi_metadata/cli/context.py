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

_MERGE_RULE = "TIMEOUT,SIZE such as 10s,100MiB, or none"


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
            args.config,
            environ,
            catalog=args.catalog,
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
    with _as_wrong_usage():
        url = found.catalog_url(default="")
    source = found.catalog_source() if url else ""
    if not url:
        # A folder's name may look like a URL or a database; what we choose ourselves is a path.
        url = os.path.join(os.path.abspath(folder), "")
    with _as_wrong_usage(source):
        target = parse(url)
        if target.module == "sqlite" and not writes and not os.path.exists(target.address):
            raise Failed(_missing(source, folder, target.address))
        return connect(url, found.layers, found.merge_configurations)


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


def _layers(texts: Iterable[str]) -> list[Layer]:
    """The values of --layers. They are not shown in errors: a URL may hold a password."""
    from gigapi_metadata.config import parse_layer

    option = "argument --layers"
    found: list[Layer] = []
    for text in texts:
        found += _layer_file(text[1:]) if text.startswith("@") else [parse_layer(text, option)]
    return found


def _layer_file(name: str) -> list[Layer]:
    import msgspec

    from gigapi_metadata.model import Layer

    option = f"argument --layers: {name}"
    try:
        with open(name, "rb") as file:
            value = msgspec.json.decode(file.read())
        if isinstance(value, dict) and set(value) == {"layers"}:
            value = value["layers"]
        return msgspec.convert(value, list[Layer])
    except OSError as fault:
        raise WrongUsage(f"{option}: {fault.strerror}") from fault
    except msgspec.ValidationError as fault:
        raise WrongUsage(f"{option}: {fault}; a layer has name, url, type and ttl_sec") from fault
    except ValueError as fault:
        raise WrongUsage(f"{option} can't be understood: {fault}") from fault


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
            seconds = int(timeout) if _is_plain(timeout) else parse_duration(timeout)
            rows.append([seconds, parse_size(size), iteration])
    return rows


def _is_plain(text: str) -> bool:
    return re.fullmatch("[0-9]{1,10}", text) is not None
