"""A YAML, TOML or JSON file -> its values by key, such as ``layers[0].name``.

Keys are GigAPI's without the leading ``gigapi.``, which may be left out in the file as well; their
case does not matter. What GigAPI keeps in the same file for itself is passed over; what looks like
one of our keys misspelt is an error. No message quotes the file, for it may hold secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from gigapi_metadata.config.values import Found, Level, kind_of
from gigapi_metadata.errors import InvalidConfiguration, MissingExtra

LAYER_FIELDS = ("name", "type", "global", "url", "ttl", "auth.key", "auth.secret")
"""What a layer has, in GigAPI's words; `ttl_sec`, `auth_key` and `auth_secret` are ours."""

OTHERS = frozenset(
    ("save_timeout_s", "no_merges", "ui", "mode", "http", "flightsql", "loglevel", "basic_auth")
)
"""Settings of GigAPI that are none of our business, so never a misspelling of ours."""

_ALIASES = {"catalog": "metadata.url"}
_TEXTS = ("metadata.type", "metadata.url", "catalog", "root", "merge_timeout_s")
_WHOLE = "merge_configurations"  # the one value that is a list itself
_TOP = ("gigapi", "metadata", "layers", "catalog", "root", "merge_timeout_s", _WHOLE)
_IN_LAYER = (*LAYER_FIELDS, "ttl_sec", "auth_key", "auth_secret")
_LAYER = re.compile(r"layers\[(0|[1-9][0-9]{0,3})\](?:\.(.+))?")
_SUFFIXES = {".yaml": "YAML", ".yml": "YAML", ".toml": "TOML", ".json": "JSON"}
_MAX_BYTES = 1024 * 1024
_MAX_VALUES = 10_000  # YAML's aliases can say a great deal in few bytes
_MAX_DEPTH = 16
_MAX_SHOWN = 200  # characters of a key in a message


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Found], list[str]]:
    """The values of the file by key, and the keys that neither we nor GigAPI know.

    Raises:
        InvalidConfiguration: the file can't be read, is not what its suffix says, or holds a key
            twice, misspelt, or with the wrong kind of value. The message names file and key.
        MissingExtra: it is YAML, and PyYAML is not installed.
    """
    name = os.fsdecode(path)
    content = _parse(name, _text_of(name))
    if content is None:
        return {}, []
    if not isinstance(content, dict):
        raise InvalidConfiguration(
            f"{name} holds {kind_of(content)}; it must hold keys, such as gigapi.root"
        )
    values: dict[str, Found] = {}
    unknown = []
    for number, (written, value) in enumerate(_leaves(name, content, "", 0), 1):
        if number > _MAX_VALUES:
            raise InvalidConfiguration(f"{name} holds more than {_MAX_VALUES} values")
        key = written.lower().removeprefix("gigapi.")
        if value is None or value == "" or _is_empty_group(key, value):
            continue
        if not _is_known(name, written, key):
            if re.split(r"[.\[]", key)[0] not in OTHERS:
                unknown.append(f"{name}: {written}")
            continue
        key = re.sub(r"\]\.auth_(key|secret)$", r"].auth.\1", _ALIASES.get(key, key))
        found = Found(value, f"{name}: {written}", f"file: {name}: {written}", Level.FILE)
        if key in values:
            raise InvalidConfiguration(
                f"{found.where} and {values[key].where} are the same setting; keep one of them"
            )
        values[key] = found
    return values, unknown


def _text_of(name: str) -> str:
    try:
        with open(name, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as fault:
        reason = (fault.strerror if isinstance(fault, OSError) else None) or str(fault)
        raise InvalidConfiguration(f"configuration file {name!r}: {reason}") from fault
    if len(data) > _MAX_BYTES:
        raise InvalidConfiguration(f"{name} is larger than 1 MiB; it must be a configuration file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise InvalidConfiguration(
            f"{name} is not UTF-8 (byte {fault.start + 1}); save it as UTF-8"
        ) from None


def _parse(name: str, text: str) -> Any:
    kind = _SUFFIXES.get(os.path.splitext(name)[1].lower())
    if kind is None:
        raise InvalidConfiguration(f"{name}: the name must end in {', '.join(_SUFFIXES)}")
    try:
        if kind == "JSON":
            import json

            return json.loads(text, object_pairs_hook=_unique)
        if kind == "TOML":
            import tomllib

            return tomllib.loads(text)
        return _yaml(name, text)
    except MissingExtra:
        raise
    except InvalidConfiguration as fault:
        raise InvalidConfiguration(f"{name} is not valid {kind}: {fault}") from None
    except RecursionError:
        raise InvalidConfiguration(f"{name} is nested too deep") from None
    except ValueError as fault:
        # Only these two messages are known to say nothing of what the file holds.
        place = re.search(r"(?:at )?line [0-9]+,? column [0-9]+|at end of document", str(fault))
        at = place[0].removeprefix("at ") if place else "a number or date can't be read"
        raise InvalidConfiguration(f"{name} is not valid {kind}: {at}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise InvalidConfiguration(f"the key {twice!r} stands twice in one place")
    return result


def _yaml(name: str, text: str) -> Any:
    try:
        import yaml
    except ImportError as fault:
        raise MissingExtra(
            f"reading {name} needs PyYAML; pip install 'gigapi-metadata[yaml]' "
            "(TOML and JSON need nothing)"
        ) from fault
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            _check_unique(yaml, node, set())
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (ArithmeticError, AttributeError, LookupError, TypeError):
        # What PyYAML makes of `!!bool x` and the like.
        raise InvalidConfiguration("a value does not fit its tag") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        # What stands in quotes is from the file: `found undefined alias 'hunter2'`.
        problem = re.split("['\"]", getattr(fault, "problem", None) or "")[0].strip()
        at = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "unreadable characters"
        raise InvalidConfiguration(f"{at}{problem and f' ({problem})'}") from None


def _check_unique(yaml: Any, node: Any, seen: set[int]) -> None:
    """PyYAML lets the last of two equal keys win; GigAPI's reader refuses them, and so do we."""
    if node is None or isinstance(node, yaml.ScalarNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        _unique([(key.value, None) for key in keys if not key.tag.endswith(":merge")])
    for child in node.value:
        for each in child if isinstance(child, tuple) else (child,):
            _check_unique(yaml, each, seen)


def _leaves(name: str, value: Any, key: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Each value that is not made of others, with its key as written."""
    if depth > _MAX_DEPTH:
        raise InvalidConfiguration(f"{name}: {key[:80]} is nested too deep")
    whole = key.lower().removeprefix("gigapi.") == _WHOLE
    if isinstance(value, dict) and value and not whole:
        for part, child in value.items():
            yield from _leaves(name, child, f"{key}.{part}" if key else str(part), depth + 1)
    elif isinstance(value, list) and value and not whole:
        for index, child in enumerate(value):
            yield from _leaves(name, child, f"{key}[{index}]", depth + 1)
    elif key:
        yield key, value


def _is_empty_group(key: str, value: object) -> bool:
    layer = _LAYER.fullmatch(key)
    if key == "layers":
        return value == []
    return value == {} and (key in ("gigapi", "metadata") or bool(layer and layer[2] == "auth"))


def _is_known(name: str, written: str, key: str) -> bool:
    """Whether `key` is one of ours.

    Raises:
        InvalidConfiguration: it is one of ours misspelt, or its value is of the wrong kind.
    """
    layer = _LAYER.fullmatch(key)
    if layer:
        return _is_layer_field(name, written, layer[2])
    if key in _TEXTS or key == _WHOLE:
        return True
    if key == "layers" or key.startswith(("layers.", "layers[")):
        raise _wrong_kind(name, written, "layers", "a list of layers, each with name and url")
    if key in ("gigapi", "metadata") or key.startswith(("metadata[", "gigapi[")):
        raise _wrong_kind(name, written, key.partition("[")[0], "a group of keys")
    for text in _TEXTS:
        if key.startswith((f"{text}.", f"{text}[")):
            raise _wrong_kind(name, written, text, "a single value")
    if key.startswith("metadata."):
        raise misspelt(f"{name}: {written}", key.partition(".")[2], ("type", "url"))
    first = re.split(r"[.\[]", key)[0].removeprefix("gigapi_")
    if first not in OTHERS and nearest(first, _TOP):
        raise misspelt(f"{name}: {written}", first, _TOP)
    return False


def _is_layer_field(name: str, written: str, field: str | None) -> bool:
    if field in _IN_LAYER:
        return True
    if field is None or field == "auth":
        raise _wrong_kind(name, written, field or "a layer", "a group of keys")
    for known in _IN_LAYER:
        if field.startswith((f"{known}.", f"{known}[")):
            raise _wrong_kind(name, written, known, "a single value")
    raise misspelt(f"{name}: {written}", field, _IN_LAYER)


def _wrong_kind(name: str, written: str, key: str, rule: str) -> InvalidConfiguration:
    return InvalidConfiguration(f"{name}: {written[:_MAX_SHOWN]}: {key} must be {rule}")


def nearest(key: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `key` looks like, if any."""
    return next(iter(get_close_matches(key, list(known), 1, 0.75)), None)


def misspelt(where: str, key: str, known: Iterable[str]) -> InvalidConfiguration:
    """The error for `key`, which is none of `known`."""
    names = list(known)
    close = next(iter(get_close_matches(key, names, 1, 0.6)), None)
    remedy = f"did you mean {close}?" if close else f"known are {', '.join(names)}"
    return InvalidConfiguration(f"{where[:_MAX_SHOWN]} is no setting; {remedy}")
