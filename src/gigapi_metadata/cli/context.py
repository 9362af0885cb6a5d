"""Which catalog a command works on, and with which configuration.

The one place that knows where settings come from: an option, else the environment, else the file
given with --config, else the SQLite catalog of the folder worked on.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gigapi_metadata.cli.errors import Failed, WrongUsage

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.model import Layer, MergeConfiguration

URL_VARIABLE = "GIGAPI_METADATA_URL"

_CONFIG_KEYS = ("catalog", "layers", "merge_configurations")
_LAYER_RULE = "NAME=URL[,ttl=10m], such as hot=file:///data,ttl=1h, or @FILE.json"
_MERGE_RULE = "TIMEOUT,SIZE such as 10s,100MiB, or none"
_LAYER_OPTION = re.compile(r"(.+),(ttl|type)=([^,=]*)", re.DOTALL)


class Settings(NamedTuple):
    """What is configured; None where nothing is. `source` says what named the URL, for errors."""

    url: str | None
    source: str
    layers: list[Layer] | None
    merge: list[MergeConfiguration] | None


def settings(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """The configuration in force for `args`.

    Raises:
        WrongUsage: an option, a variable or the file has a value it may not have.
    """
    config = _config_file(args.config) if args.config else {}
    layer_texts = (args.layers or []) + getattr(args, "command_layers", [])
    merge_texts = (args.merge or []) + getattr(args, "command_merge", [])
    layers = merge = None
    if layer_texts:
        found = [layer for text in layer_texts for layer in _layers(text)]
        layers = _checked(found, "argument --layers")
    elif "layers" in config:
        where = f"{args.config}: layers"
        layers = _checked(_layer_list(config["layers"], where), where)
    if merge_texts:
        merge = _merge(merge_texts)
    elif "merge_configurations" in config:
        merge = _merge_rows(config["merge_configurations"], args.config)
    sources = (
        (args.catalog, "argument --catalog"),
        (environ.get(URL_VARIABLE) or None, URL_VARIABLE),
        (config.get("catalog"), f"{args.config}: catalog"),
    )
    for url, source in sources:
        if url is not None:
            if not isinstance(url, str) or not url:
                raise WrongUsage(f"{source} must be the URL of a catalog or a folder")
            return Settings(url, source, layers, merge)
    return Settings(None, "", layers, merge)


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
    from gigapi_metadata.errors import InvalidConfiguration, InvalidName

    found = settings(args, environ)
    # A folder's own name may look like a URL or a database: what we choose ourselves is a path.
    url = os.path.join(os.path.abspath(folder), "") if found.url is None else found.url
    try:
        target = parse(url)
        if target.module == "sqlite" and not writes and not os.path.exists(target.address):
            raise Failed(_missing(found, folder, target.address))
        return connect(url, found.layers, found.merge)
    except (InvalidConfiguration, InvalidName) as fault:
        raise WrongUsage(f"{found.source}: {fault}" if found.source else str(fault)) from fault


def _missing(found: Settings, folder: str, address: str) -> str:
    if found.url is None:
        place = "this folder" if folder == "." else folder
        return (
            f"there is no catalog in {place}; name one with --catalog URL or {URL_VARIABLE}, or "
            "make one with: gigapi-metadata scan ROOT"
        )
    return f"{found.source}: there is no catalog at {address}; the first scan makes one"


def _config_file(name: str) -> dict[str, Any]:
    """The content of a TOML or JSON file, by its ending."""
    parse: Callable[[str], Any]
    if name.endswith(".toml"):
        import tomllib

        parse = tomllib.loads
    elif name.endswith(".json"):
        parse = _from_json
    else:
        raise WrongUsage(f"argument --config: {name!r} must end in .toml or .json")
    content = _content("argument --config", name, parse)
    if not isinstance(content, dict):
        raise WrongUsage(f"{name} must hold an object with {', '.join(_CONFIG_KEYS)}")
    for key in content:
        if key not in _CONFIG_KEYS:
            raise WrongUsage(f"{name}: {key!r} is no setting; there are {', '.join(_CONFIG_KEYS)}")
    return content


def _content(option: str, name: str, parse: Callable[[str], Any]) -> Any:
    try:
        with open(name, encoding="utf-8") as file:
            return parse(file.read())
    except OSError as fault:
        raise WrongUsage(f"{option}: {name}: {fault.strerror}") from fault
    except ValueError as fault:
        raise WrongUsage(f"{option}: {name} can't be understood: {fault}") from fault


def _from_json(text: str) -> Any:
    import msgspec

    return msgspec.json.decode(text)


def _layers(text: str) -> list[Layer]:
    """The value of one --layers. It is not shown in errors: its URL may hold a password."""
    option = "argument --layers"
    if text.startswith("@"):
        return _layer_list(_content(option, text[1:], _from_json), f"{option}: {text[1:]}")
    name, equals, url = text.partition("=")
    if not name or not equals:
        raise WrongUsage(f"{option} must be {_LAYER_RULE}")
    values: dict[str, str] = {}
    while match := _LAYER_OPTION.fullmatch(url):  # from the end: a URL may hold commas
        url = match[1]
        if match[2] in values:
            raise WrongUsage(f"{option}: layer {name!r} has {match[2]} twice")
        values[match[2]] = match[3]
    if not url:
        raise WrongUsage(f"{option}: layer {name!r} has no URL; it must be {_LAYER_RULE}")
    kind = values.get("type", "s3" if url.lower().startswith("s3://") else "fs")
    ttl_sec = _seconds(f"{option}: layer {name!r}: ttl", values.get("ttl", "0"))
    plain = {"name": name, "url": url, "type": kind, "ttl_sec": ttl_sec}
    return _layer_list([plain], option)


def _layer_list(value: Any, where: str) -> list[Layer]:
    import msgspec

    from gigapi_metadata.model import Layer

    if isinstance(value, dict) and set(value) == {"layers"}:
        value = value["layers"]
    try:
        return msgspec.convert(value, list[Layer])
    except msgspec.ValidationError as fault:
        raise WrongUsage(f"{where}: {fault}; a layer has name, url, type and ttl_sec") from fault


def _checked(layers: list[Layer], where: str) -> list[Layer]:
    from gigapi_metadata.errors import InvalidConfiguration, InvalidName
    from gigapi_metadata.model import check_layers

    try:
        return list(check_layers(layers))
    except (InvalidConfiguration, InvalidName) as fault:
        raise WrongUsage(f"{where}: {fault}") from fault


def _merge(texts: list[str]) -> list[MergeConfiguration]:
    from gigapi_metadata.config.values import parse_size
    from gigapi_metadata.errors import InvalidConfiguration

    option = "argument --merge"
    if texts == ["none"]:
        return []
    rows = []
    for iteration, text in enumerate(texts, 1):
        timeout, comma, size = text.partition(",")
        if not comma:
            raise WrongUsage(f"{option}: {text!r} must be {_MERGE_RULE}")
        try:
            max_size = parse_size(size)
        except InvalidConfiguration as fault:
            raise WrongUsage(f"{option}: {fault}") from fault
        rows.append([_seconds(option, timeout), max_size, iteration])
    return _merge_rows(rows, option)


def _merge_rows(value: Any, where: str) -> list[MergeConfiguration]:
    from gigapi_metadata.errors import InvalidConfiguration
    from gigapi_metadata.model import merge_configurations

    if not isinstance(value, list):
        raise WrongUsage(f"{where}: merge_configurations must be a list of rows")
    try:
        return list(merge_configurations(value))
    except InvalidConfiguration as fault:
        raise WrongUsage(f"{where}: {fault}") from fault


def _seconds(where: str, text: str) -> int:
    from gigapi_metadata.config.values import parse_duration
    from gigapi_metadata.errors import InvalidConfiguration

    if re.fullmatch("[0-9]{1,10}", text):
        return int(text)
    try:
        return parse_duration(text)
    except InvalidConfiguration as fault:
        raise WrongUsage(f"{where}: {fault}") from fault
