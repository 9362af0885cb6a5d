"""Arguments, environment and file -> Settings, each value from the highest of them that has it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gigapi_metadata.config.layers import PREFIX, LayerSettings, is_layer_variable, read_layers
from gigapi_metadata.config.settings import MetadataType, Setting, Settings
from gigapi_metadata.config.values import (
    SIZE_RULE,
    Found,
    Level,
    choice,
    format_duration,
    parse_size,
    seconds,
    text,
    whole,
    wrong,
)
from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import Layer, MergeConfiguration, check_layers
from gigapi_metadata.model import merge_configurations as check_rows
from gigapi_metadata.timerange import INT64_MAX
from gigapi_metadata.urls import REDIS_SCHEMES, hide

DEFAULT_MERGE_TIMEOUT_S = 10

_MAX_MERGE_TIMEOUT_S = 2**31 - 1
_MIB = 1024 * 1024
_LADDER = ((1, 100 * _MIB), (10, 400 * _MIB), (100, 4000 * _MIB), (420, 4000 * _MIB))
"""GigAPI's ingester: (multiple of the merge timeout, largest merge in bytes) for each iteration."""

_VARIABLES = {
    "metadata.type": "GIGAPI_METADATA_TYPE",
    "metadata.url": "GIGAPI_METADATA_URL",
    "root": "GIGAPI_ROOT",
    "merge_timeout_s": "GIGAPI_MERGE_TIMEOUT_S",
}
_OF_THE_COMMAND_LINE = ("GIGAPI_METADATA_TRACEBACK",)
_DEFAULT_LAYER = "default"


def load(
    config_file: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    catalog: str | os.PathLike[str] | None = None,
    layers: Iterable[Layer] | None = None,
    merge_configurations: Sequence[MergeConfiguration | Sequence[int]] | None = None,
    catalog_name: str = "the catalog's URL",
) -> Settings:
    """What is in force. Reads the file, and os.environ unless `environ` is given; writes nothing.

    An argument goes before the environment, that before the file, that before the default. An empty
    variable is as good as none. Without layers there is `default` at the root, if there is a root
    or a metadata type, and unless `catalog` is given: who names a catalog means that one only.
    `catalog_name` is what errors call `catalog`.

    Raises:
        InvalidConfiguration: a value is wrong. The message names the variable, or file and key,
            and what it may be; it shows no secret.
        MissingExtra: the file is YAML, and PyYAML is not installed.
    """
    environment = os.environ if environ is None else environ
    variables = {
        name: value
        for name, value in environment.items()
        if name.startswith("GIGAPI_") and value != ""
    }
    file: dict[str, Found] = {}
    unknown: list[str] = []
    if config_file is not None:
        from gigapi_metadata.config.files import read  # loads what nobody else needs

        file, unknown = read(config_file)
    argument = None
    if catalog is not None:
        argument = Found(os.fspath(catalog), catalog_name, "argument", Level.ARGUMENT)

    def find(key: str) -> Found | None:
        name = _VARIABLES[key]
        if name in variables:
            return Found(variables[name], name, f"environment: {name}", Level.ENVIRONMENT)
        return file.get(key)

    place = _catalog(find("metadata.type"), argument or find("metadata.url"))
    root = _root(find("root"))
    merge_timeout_s = _merge_timeout(find("merge_timeout_s"))
    tiers = read_layers(variables, file)
    if layers is not None:
        tiers = [_given_layer(index, layer) for index, layer in enumerate(check_layers(layers))]
    elif not tiers and catalog is None and (root.value is not None or place.type_is_given):
        tiers = [_default_layer(root)]
    rows, source = _merge_rows(merge_configurations, file, merge_timeout_s.value)
    return Settings(
        metadata_type=place.type,
        metadata_url=place.url,
        root=root.value,
        merge_timeout_s=merge_timeout_s.value,
        layers=[tier.layer for tier in tiers],
        global_layers=[tier.layer.name for tier in tiers if tier.is_global],
        merge_configurations=rows,
        shown=[
            *place.shown,
            root.shown,
            merge_timeout_s.shown,
            *(setting for tier in tiers for setting in tier.shown),
            *_show_rows(rows, source),
        ],
        unknown=unknown + _unknown(variables),
    )


class _Place(msgspec.Struct, frozen=True):
    type: MetadataType | None
    type_is_given: bool
    url: str | None
    shown: tuple[Setting, Setting]


class _Root(msgspec.Struct, frozen=True):
    value: str | None
    shown: Setting


class _Seconds(msgspec.Struct, frozen=True):
    value: int
    shown: Setting


def _catalog(type_: Found | None, url: Found | None) -> _Place:
    """The metadata type and URL that are in force. They say the same thing twice: where they
    disagree, the one from the higher level counts, and on the same level that is an error."""
    said: MetadataType | None = None
    if type_ is not None:
        said = "redis" if choice(type_, ("json", "redis")) == "redis" else "json"
    told = None if url is None else _kind(url)
    if said and type_ and url and said != told:
        if type_.level == url.level:
            raise InvalidConfiguration(
                f"{type_.where} is {said}, but {url.where} is {_shown(url)!r}, which is not; "
                "change one of them, or leave the type out"
            )
        if type_.level > url.level:
            url = None
        else:
            said = type_ = None
    kind = said or (told if url else "json")
    source = "from gigapi.metadata.url" if url else "default"
    return _Place(
        kind,
        type_ is not None,
        None if url is None else text(url),
        (
            Setting("gigapi.metadata.type", kind, type_.source if type_ else source),
            Setting("gigapi.metadata.url", url and _shown(url), url.source if url else "default"),
        ),
    )


def _shown(url: Found) -> str:
    return hide(str(url.value))


def _kind(url: Found) -> MetadataType | None:
    """Which of GigAPI's kinds of catalog a URL names; None for SQLite."""
    rule = (
        f"{', '.join(f'{scheme}://' for scheme in REDIS_SCHEMES if '+' not in scheme)}, "
        "redis+sentinel://, redis+cluster://, sqlite:///lake.db, "
        "json:///folder or the path of a folder"
    )
    scheme, found, _ = text(url, rule).partition("://")
    if not found and url.value:
        return None
    if scheme in REDIS_SCHEMES:
        return "redis"
    if scheme not in ("json", "sqlite"):
        raise wrong(url, rule)
    return "json" if scheme == "json" else None


def _root(found: Found | None) -> _Root:
    if found is None:
        return _Root(None, Setting("gigapi.root", None, "default"))
    rule = "the path of a folder"
    root = text(found, rule)
    if "://" in root:
        raise wrong(found, rule)
    return _Root(root, Setting("gigapi.root", root, found.source))


def _merge_timeout(found: Found | None) -> _Seconds:
    key = "gigapi.merge_timeout_s"
    if found is None:
        return _Seconds(DEFAULT_MERGE_TIMEOUT_S, Setting(key, DEFAULT_MERGE_TIMEOUT_S, "default"))
    value = whole(
        found,
        1,
        _MAX_MERGE_TIMEOUT_S,
        f"whole seconds, from 1 to {_MAX_MERGE_TIMEOUT_S}; leave it out for the default, "
        f"{DEFAULT_MERGE_TIMEOUT_S}",
    )
    return _Seconds(value, Setting(key, value, found.source))


def _given_layer(index: int, layer: Layer) -> LayerSettings:
    key = f"gigapi.layers[{index}]"
    shown = [
        Setting(f"{key}.name", layer.name, "argument"),
        Setting(f"{key}.type", layer.type, "argument"),
        Setting(f"{key}.url", hide(layer.url), "argument"),
        Setting(f"{key}.ttl", format_duration(layer.ttl_sec), "argument"),
    ]
    return LayerSettings(layer, False, shown)


def _default_layer(root: _Root) -> LayerSettings:
    """GigAPI's only layer when none is named. Without a root it is the working folder, as there."""
    url = root.value or "."
    source = "from gigapi.root" if root.value else "default"
    shown = [
        Setting("gigapi.layers[0].name", _DEFAULT_LAYER, "default"),
        Setting("gigapi.layers[0].type", "fs", "default"),
        Setting("gigapi.layers[0].global", True, "default"),
        Setting("gigapi.layers[0].url", url, source),
        Setting("gigapi.layers[0].ttl", "0", "default"),
    ]
    return LayerSettings(Layer(url, _DEFAULT_LAYER), True, shown)


def _merge_rows(
    argument: Sequence[MergeConfiguration | Sequence[int]] | None,
    file: Mapping[str, Found],
    timeout_s: int,
) -> tuple[list[MergeConfiguration], str]:
    """The merge configurations and their source."""
    if argument is not None:
        return list(check_rows(argument)), "argument"
    found = file.get("merge_configurations")
    if found is not None:
        return _written_rows(found), found.source
    rows = [
        MergeConfiguration(factor * timeout_s, size, iteration)
        for iteration, (factor, size) in enumerate(_LADDER, 1)
    ]
    return rows, "from gigapi.merge_timeout_s"


def _written_rows(found: Found) -> list[MergeConfiguration]:
    if not isinstance(found.value, list):
        raise wrong(found, 'a list of rows, such as [[10, "100MiB", 1], [100, "400MiB", 2]]')
    result = []
    for number, row in enumerate(found.value, 1):
        here = found._replace(value=row, where=f"{found.where}[{number - 1}]")
        if not isinstance(row, list) or len(row) != 3:
            raise wrong(here, 'a row [timeout, size, iteration], such as [10, "100MiB", 1]')
        timeout, size, iteration = (here._replace(value=value) for value in row)
        if iteration.value != number or type(iteration.value) is not int:
            raise InvalidConfiguration(
                f"{here.where}: row {number} is for iteration {number}, its last value must be so"
            )
        result.append(MergeConfiguration(_timeout(timeout), _size(size), number))
    return result


def _timeout(found: Found) -> int:
    if isinstance(found.value, str):
        return seconds(found)
    return whole(found, 0, INT64_MAX, 'a timeout in whole seconds, or text such as "90s"')


def _size(found: Found) -> int:
    try:
        value = parse_size(found.value) if isinstance(found.value, str) else found.value
    except InvalidConfiguration:
        raise wrong(found, SIZE_RULE) from None
    return whole(found._replace(value=value), 0, INT64_MAX, SIZE_RULE)


def _show_rows(rows: list[MergeConfiguration], source: str) -> list[Setting]:
    if not rows:
        return [Setting("merge_configurations", [], source)]
    return [
        Setting(
            f"merge_configurations[{index}]", [row.timeout_sec, row.max_size, row.iteration], source
        )
        for index, row in enumerate(rows)
    ]


def _unknown(variables: Mapping[str, str]) -> list[str]:
    """The variables that neither we nor GigAPI know, with what may have been meant."""
    known_names = (*_VARIABLES.values(), *_OF_THE_COMMAND_LINE)
    others = [
        name
        for name in sorted(variables)
        if name not in known_names and not is_layer_variable(name)
    ]
    if not others:
        return []
    from gigapi_metadata.config.files import OTHERS, nearest

    result = []
    known = [name.removeprefix("GIGAPI_") for name in _VARIABLES.values()]
    known += [f"{PREFIX.removeprefix('GIGAPI_')}0_{field}" for field in ("NAME", "URL")]
    for name in others:
        field = name.removeprefix("GIGAPI_")
        if field.lower() in OTHERS:
            continue
        close = nearest(field, known)
        result.append(f"{name} (did you mean GIGAPI_{close}?)" if close else name)
    return result
