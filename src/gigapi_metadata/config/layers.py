"""The layers, from ``GIGAPI_LAYERS_<i>_*`` and from a file's ``gigapi.layers[i]``.

As in GigAPI, a layer that the environment names takes the place of the file's with the same number.
One that it does not name is the file's, with single values changed: secrets, most of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, cast

import msgspec

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
from gigapi_metadata.urls import (
    HIDDEN,
    has_bad_port,
    has_credentials,
    hide,
    looks_mistyped,
    with_credentials,
)

PREFIX = "GIGAPI_LAYERS_"

# Not compiled here, and what reads files is imported where it is needed: the command line starts
# with this module, and mostly there is neither a file nor a layer.
_VARIABLE = f"(?s){PREFIX}[0-9]+_.*"
_INDEX = "0|[1-9][0-9]{0,3}"
_KEY = r"layers\[([0-9]+)\]\.(.+)"
_LAYER_OPTION = "(?s)(.*),(ttl|type)=([^,=]*)"
_MAX_TTL_S = 9_223_372_037  # what a Go duration holds, 292 years

Fields = dict[str, Found]


class LayerSettings(msgspec.Struct, frozen=True):
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


def parse_layer(text: str, where: str = "") -> Layer:
    """The layer of a command line's ``NAME=URL[,ttl=10m][,type=fs]``; a ttl without a unit is in
    seconds. `where` names the option in errors, which name the layer too.

    Raises:
        InvalidConfiguration: it is not of that form, or one of its parts is wrong.
    """
    name, _, url = text.partition("=")
    written = {"name": name}
    twice = ""
    while match := re.fullmatch(_LAYER_OPTION, url):  # from the end: a URL may hold commas
        url, field, value = match.groups()
        twice = field if field in written else twice
        written[field] = value
    written["url"] = url
    if not name or not url or "://" in name:
        whole_text = Found(text, where or "the layer", "argument", Level.ARGUMENT)
        raise wrong(whole_text, "NAME=URL[,ttl=10m], such as hot=file:///data,ttl=1h")
    if re.fullmatch("[0-9]+", written.get("ttl", "")):
        written["ttl"] += "s"
    fields = {
        field: Found(value, field, "argument", Level.ARGUMENT) for field, value in written.items()
    }
    place = f"{where}: " if where else ""
    try:
        check_name("layer", name)
    except InvalidName as fault:
        raise InvalidConfiguration(f"{place}{fault}") from fault
    try:
        if twice:
            raise InvalidConfiguration(f"{twice} is there twice in {hide(text)!r}")
        return _layer(0, fields).layer
    except InvalidConfiguration as fault:
        raise InvalidConfiguration(f"{place}layer {name!r}: {fault}") from fault


def _of_environment(environ: Mapping[str, str]) -> dict[int, Fields]:
    variables = [name for name in environ if is_layer_variable(name)]
    if not variables:
        return {}
    from gigapi_metadata.config.files import LAYER_FIELDS, misspelt

    known = {field.upper().replace(".", "_"): field for field in LAYER_FIELDS}
    result: dict[int, Fields] = {}
    for variable in variables:
        number, _, name = variable.removeprefix(PREFIX).partition("_")
        if not re.fullmatch(_INDEX, number):
            raise InvalidConfiguration(
                f"{variable[:100]} is no setting: layers are numbered {PREFIX}0_NAME, "
                f"{PREFIX}1_NAME and so on"
            )
        field = known.get(name)
        if field is None:
            raise misspelt(variable, variable, [f"{PREFIX}{number}_{each}" for each in known])
        value = environ[variable]
        found = Found(value, variable, f"environment: {variable}", Level.ENVIRONMENT)
        result.setdefault(int(number), {})[field] = found
    return result


def _of_file(file: Mapping[str, Found]) -> dict[int, Fields]:
    result: dict[int, Fields] = {}
    for key, found in file.items():
        match = re.fullmatch(_KEY, key)
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
    if not found and looks_mistyped(url):
        raise wrong(place, "s3://…, file:///folder or the path of a folder, as ./name")
    if found and not rest.strip("/"):
        raise wrong(place, "a URL that names a place")
    if kind == "s3" and has_bad_port(url):
        raise wrong(place, "s3://host:port/bucket/prefix, where a / in the secret is %2F")
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
    return name.startswith(PREFIX) and bool(re.fullmatch(_VARIABLE, name))
