"""The layers, from ``GIGAPI_LAYERS_<i>_*`` and from a file's ``gigapi.layers[i]``.

As in GigAPI, a layer that the environment names takes the place of the file's with the same number.
One that it does not name is the file's, with single values changed: secrets, most of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

from gigapi_metadata.config.files import LAYER_FIELDS, misspelt
from gigapi_metadata.config.settings import Setting
from gigapi_metadata.config.values import (
    Found,
    Level,
    choice,
    format_duration,
    seconds,
    text,
    truth,
    whole,
    wrong,
)
from gigapi_metadata.errors import InvalidConfiguration, InvalidName
from gigapi_metadata.model import Layer
from gigapi_metadata.names import check_name
from gigapi_metadata.urls import HIDDEN, has_bad_port, has_credentials, hide, with_credentials

PREFIX = "GIGAPI_LAYERS_"

_VARIABLE = re.compile(PREFIX + r"([0-9]+)_(.*)", re.DOTALL)
_INDEX = re.compile("0|[1-9][0-9]{0,3}")
_KEY = re.compile(r"layers\[([0-9]+)\]\.(.+)")
_FIELDS = {field.upper().replace(".", "_"): field for field in LAYER_FIELDS}
_LAYER_OPTION = re.compile(r"(.*),(ttl|type)=([^,=]*)", re.DOTALL)
_MAX_TTL_S = 9_223_372_037  # what a Go duration holds, 292 years

Fields = dict[str, Found]


class LayerSettings(NamedTuple):
    """A layer, whether all writers share it, and its values to be shown."""

    layer: Layer
    is_global: bool
    shown: list[Setting]


def read_layers(environ: Mapping[str, str], file: Mapping[str, Found]) -> list[LayerSettings]:
    """The layers, hottest first; none if neither source names one.

    Raises:
        InvalidConfiguration: one is incomplete or wrong, a number is left out, two share a name.
    """
    in_file = _of_file(file)
    in_environment = _of_environment(environ)
    layers = dict(in_file)
    for index, fields in in_environment.items():
        layers[index] = fields if "name" in fields else {**in_file.get(index, {}), **fields}
    result: list[LayerSettings] = []
    names: dict[str, Found] = {}
    for position, index in enumerate(sorted(layers)):
        fields = layers[index]
        if position != index:
            raise InvalidConfiguration(
                f"{_where(fields, position, 'name')} is missing, yet there is a layer {index}; "
                "layers are numbered from 0 without a gap"
            )
        settings = _layer(index, fields)
        earlier = names.setdefault(settings.layer.name, fields["name"])
        if earlier is not fields["name"]:
            raise InvalidConfiguration(
                f"{earlier.where} and {fields['name'].where} are both {settings.layer.name!r}; "
                "each layer must have a name of its own"
            )
        result.append(settings)
    return result


def parse_layer(text: str, where: str = "the layer") -> Layer:
    """The layer of a command line's ``NAME=URL[,ttl=10m][,type=fs]``; a ttl without a unit is in
    seconds. `where` names the option in errors.

    Raises:
        InvalidConfiguration: it is not of that form, or one of its parts is wrong.
    """
    name, _, url = text.partition("=")
    written = {"name": name}
    while match := _LAYER_OPTION.fullmatch(url):  # from the end: a URL may hold commas
        url, field, value = match.groups()
        if field in written:
            raise InvalidConfiguration(f"{where}: {field} is there twice in {hide(text)!r}")
        written[field] = value
    written["url"] = url
    if not name or not url:
        whole_text = Found(text, where, "argument", Level.ARGUMENT)
        raise wrong(whole_text, "NAME=URL[,ttl=10m], such as hot=file:///data,ttl=1h")
    if re.fullmatch("[0-9]+", written.get("ttl", "")):
        written["ttl"] += "s"
    fields = {
        field: Found(value, f"{where}: {field}", "argument", Level.ARGUMENT)
        for field, value in written.items()
    }
    return _layer(0, fields).layer


def _of_environment(environ: Mapping[str, str]) -> dict[int, Fields]:
    result: dict[int, Fields] = {}
    for variable, value in environ.items():
        match = _VARIABLE.fullmatch(variable)
        if match is None:
            continue
        if not _INDEX.fullmatch(match[1]):
            raise InvalidConfiguration(
                f"{variable[:100]} is no setting: layers are numbered {PREFIX}0_NAME, "
                f"{PREFIX}1_NAME and so on"
            )
        field = _FIELDS.get(match[2])
        if field is None:
            prefix = f"{PREFIX}{match[1]}_"
            raise misspelt(variable, variable, [prefix + name for name in _FIELDS])
        found = Found(value, variable, f"environment: {variable}", Level.ENVIRONMENT)
        result.setdefault(int(match[1]), {})[field] = found
    return result


def _of_file(file: Mapping[str, Found]) -> dict[int, Fields]:
    result: dict[int, Fields] = {}
    for key, found in file.items():
        match = _KEY.fullmatch(key)
        if match:
            result.setdefault(int(match[1]), {})[match[2]] = found
    return result


def _where(fields: Fields, index: int, field: str) -> str:
    """What to call `field` of layer `index` when it is missing, after a field that is there."""
    neighbour = fields["name"] if "name" in fields else next(iter(fields.values()))
    if neighbour.level == Level.ENVIRONMENT:
        return f"{PREFIX}{index}_{field.upper().replace('.', '_')}"
    return re.sub(r"\[[0-9]+\][^\]]*$", f"[{index}].{field}", neighbour.where)


def _layer(index: int, fields: Fields) -> LayerSettings:
    for field, meaning in (("name", "a name"), ("url", "the place of its files")):
        if field not in fields:
            raise InvalidConfiguration(
                f"{_where(fields, index, field)} is missing: each layer must have {meaning}"
            )
    name = text(fields["name"])
    try:
        check_name("layer", name)
    except InvalidName as fault:
        raise InvalidConfiguration(f"{fields['name'].where}: {fault}") from fault
    url = text(fields["url"], "a URL or the path of a folder")
    kind = _type(fields, url)
    is_global = truth(fields["global"]) if "global" in fields else False
    ttl_s = _ttl(fields)
    ttl = fields.get("ttl") or fields.get("ttl_sec")
    key = f"gigapi.layers[{index}]"
    shown = [
        Setting(f"{key}.name", name, fields["name"].source),
        Setting(f"{key}.type", kind, _source(fields.get("type"), f"from {key}.url")),
        Setting(f"{key}.global", is_global, _source(fields.get("global"))),
        Setting(f"{key}.url", hide(url), fields["url"].source),
        Setting(f"{key}.ttl", format_duration(ttl_s), _source(ttl)),
    ]
    login, remark = _login(fields, index, url, kind)
    shown += [
        Setting(f"{key}.{field}", HIDDEN, fields[field].source + remark)
        for field in ("auth.key", "auth.secret")
        if field in fields
    ]
    if login:
        url = with_credentials(url, *login)
    return LayerSettings(Layer(url, name, kind, ttl_s), is_global, shown)


def _source(found: Found | None, otherwise: str = "default") -> str:
    return found.source if found else otherwise


def _type(fields: Fields, url: str) -> Literal["fs", "s3"]:
    """The layer's type, which its URL tells if nothing else does; they must agree."""
    place = fields["url"]
    scheme, found, rest = url.partition("://")
    if found and scheme not in ("file", "s3"):
        raise wrong(place, "s3://…, file:///folder, file://./folder or the path of a folder")
    by_url = "s3" if found and scheme == "s3" else "fs"
    kind = choice(fields["type"], ("fs", "s3")) if "type" in fields else by_url
    if kind != by_url:
        is_a = "an s3:// URL" if by_url == "s3" else "no s3:// URL"
        raise InvalidConfiguration(
            f"{fields['type'].where} is {kind}, but {place.where} is {is_a}: {hide(url)!r}"
        )
    if found and not rest.strip("/"):
        raise wrong(place, "a URL that names a place")
    if kind == "s3" and has_bad_port(url):
        raise wrong(place, "s3://key:secret@host:port/bucket/prefix; a / in the secret is %2F")
    return cast('Literal["fs", "s3"]', kind)


def _ttl(fields: Fields) -> int:
    """Seconds, 0 for never."""
    ttl, ttl_sec = fields.get("ttl"), fields.get("ttl_sec")
    if ttl_sec is None:
        return seconds(ttl) if ttl else 0
    if ttl is not None and ttl.level == ttl_sec.level:
        raise InvalidConfiguration(
            f"{ttl.where} and {ttl_sec.where} are the same setting; keep one of them"
        )
    return seconds(ttl) if ttl else whole(ttl_sec, 0, _MAX_TTL_S, "whole seconds, 0 for never")


def _login(fields: Fields, index: int, url: str, kind: str) -> tuple[tuple[str, str] | None, str]:
    """The key and secret to put into an S3 URL, and why those that are there are not used."""
    key, secret = fields.get("auth.key"), fields.get("auth.secret")
    if key is None and secret is None:
        return None, ""
    texts = [text(each, secret=True) for each in (key, secret) if each]
    if kind != "s3":
        return None, " (not used: only s3 layers have credentials)"
    if has_credentials(url):
        return None, " (not used: the URL has credentials)"
    if len(texts) < 2:
        missing = _where(fields, index, "auth.key" if key is None else "auth.secret")
        raise InvalidConfiguration(f"{missing} is missing: a key and its secret belong together")
    return (texts[0], texts[1]), ""


def is_layer_variable(name: str) -> bool:
    """Whether `name` is a layer's variable, known or not."""
    return bool(_VARIABLE.fullmatch(name))
