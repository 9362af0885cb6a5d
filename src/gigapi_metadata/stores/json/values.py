"""Keys and values: one JSON file, an object of base64 texts."""

from __future__ import annotations

import os
import uuid
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

import msgspec

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.stores.json import files, lock
from gigapi_metadata.stores.json.partition import Fault, damaged

# A file and not a folder: GigAPI takes every folder there for a database.
_NAME = ".gigapi-values.json"
_NEW = ".new"

_decode = msgspec.json.Decoder(dict[str, str | None]).decode
_encode = msgspec.json.Encoder().encode


def file_in(root: str) -> str:
    """The file of the catalog in `root`."""
    return os.path.join(root, _NAME)


def file_at(path: str | os.PathLike[str]) -> str:
    """The file that `path` means: itself, or the one in that folder."""
    text = os.path.abspath(os.fspath(path))
    is_file = os.path.isfile(text) or (text.endswith(".json") and not os.path.isdir(text))
    return text if is_file else file_in(text)


def get(file: str, key: str) -> bytes | None:
    """The value under `key`.

    Raises:
        CorruptState: the file is damaged.
    """
    text = _read(file).get(key)
    if text is None:
        return None
    try:
        return b64decode(text, validate=True)
    except Base64Error as error:
        raise CorruptState(f"{file}: the value of {key!r} is no base64: {error}") from error


def put(file: str, key: str, value: bytes | None) -> None:
    """Set `key`, or remove it when `value` is None. Other values stay as they are written."""
    if value is None and not os.path.exists(file):
        return
    folder, name = os.path.split(file)
    prefix = f".{name}."
    with lock.exclusive(os.path.join(folder, f"{prefix}lock")):
        for left in os.listdir(folder):
            if left.startswith(prefix) and left.endswith(_NEW):
                files.remove(os.path.join(folder, left))
        texts = _read(file)
        if value is None:
            if texts.pop(key, None) is None:
                return
        else:
            texts[key] = b64encode(value).decode()
        source = os.path.join(folder, f"{prefix}{uuid.uuid4().hex}{_NEW}")
        files.write_flushed(source, _encode(texts))
        files.rename(source, file)
        files.flush_folder(folder)


def _read(file: str) -> dict[str, str | None]:
    found = files.read(file)
    if found is None:
        return {}
    try:
        return _decode(found[1])
    except Fault as error:
        raise damaged(file, error) from error
