"""Tries each layer's storage. Writes only when asked to, and takes that away again."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gigapi_metadata.doctor.layers import LayerFacts
from gigapi_metadata.errors import FileExists, MetadataError
from gigapi_metadata.model import Layer
from gigapi_metadata.storage import LocalStorage, S3Storage, Storages
from gigapi_metadata.stores import surroundings
from gigapi_metadata.urls import hide

_PROBE = (".gigapi-doctor", "probe")


def read(layers: Iterable[Layer], root: str | None, *, write_probe: bool) -> list[LayerFacts]:
    """Facts of each layer; without layers, of the root that files lie under, if one is given."""
    known = list(layers)
    names = [layer.name for layer in known] or ([""] if root is not None else [])
    places = {layer.name: hide(layer.url) for layer in known} or {"": root or ""}
    found = []
    for name in names:
        try:
            storage = Storages(known, root).table(name, *_PROBE)
            found.append(_try(name, places[name], storage, write_probe))
        except MetadataError as fault:
            found.append(LayerFacts(name, places[name], read=str(fault)))
    return found


def _try(name: str, place: str, storage: LocalStorage | S3Storage, write_probe: bool) -> LayerFacts:
    under = None
    if isinstance(storage, LocalStorage):
        folder = storage.folder.parents[len(_PROBE)]
        place, under = os.fspath(folder), surroundings.read(os.fspath(folder))
        if not folder.exists():
            return LayerFacts(name, place, exists=False)
        try:
            with os.scandir(folder) as entries:
                next(entries, None)
        except OSError as fault:
            return LayerFacts(name, place, read=fault.strerror or str(fault))
    else:
        storage.list("")
    wrote = _write(storage) if write_probe else None
    return LayerFacts(name, place, write=wrote, disk=under)


def _write(storage: LocalStorage | S3Storage) -> str:
    """Write a probe, see that it is not replaced, delete it: "", or what went wrong."""
    path = f"{uuid.uuid4()}.probe"
    try:
        with tempfile.NamedTemporaryFile(prefix="gigapi-doctor-") as file:
            file.write(b"gigapi-metadata doctor")
            file.flush()
            source = Path(file.name)
            storage.put_if_absent(path, source)
            try:
                storage.put_if_absent(path, source)
                return "a file that was to be kept was replaced"
            except FileExists:
                return "" if storage.delete(path) else "the probe was not found again"
    except (MetadataError, OSError) as fault:
        with suppress(MetadataError):
            storage.delete(path)
        return str(fault)
    finally:
        if isinstance(storage, LocalStorage):
            for folder in (storage.folder, *list(storage.folder.parents)[: len(_PROBE)]):
                with suppress(OSError):  # somebody else's probe is in it
                    folder.rmdir()
