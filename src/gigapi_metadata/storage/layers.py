"""A catalog's layers -> the files of a table in each of them (FORMAT, "Around it")."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from gigapi_metadata.errors import InvalidConfiguration, InvalidName, StorageError, UnknownLayer
from gigapi_metadata.model import Layer, check_layers
from gigapi_metadata.names import check_name
from gigapi_metadata.storage.local import LocalStorage
from gigapi_metadata.storage.s3 import S3Bucket, S3Storage
from gigapi_metadata.storage.url import S3URL, FolderURL, parse_layer_url


def _names(storage: LocalStorage | S3Storage) -> list[str]:
    found = []
    for name in storage.folders():
        with suppress(InvalidName):
            if not name.startswith("."):
                found.append(check_name("folder", name))
    return found


class Storages:
    """Where each layer's files are. May be shared by threads.

    layers: as the catalog has them.
    root: without layers, the folder of the one layer "" that there is then.
    """

    def __init__(
        self, layers: Iterable[Layer] | None = None, root: str | os.PathLike[str] | None = None
    ) -> None:
        self._places: dict[str, FolderURL | S3URL] = {}
        for layer in check_layers(layers):
            place = parse_layer_url(layer.name, layer.url)
            if isinstance(place, S3URL) != (layer.type == "s3"):
                kind = "s3" if isinstance(place, S3URL) else "fs"
                raise InvalidConfiguration(
                    f"layer {layer.name!r} is of type {layer.type!r}, but its URL is one of type "
                    f"{kind!r}"
                )
            self._places[layer.name] = place
        if not self._places and root is not None:
            self._places[""] = FolderURL(Path(root))
        self._buckets: dict[str, S3Bucket] = {}
        self._lock = Lock()

    def table(self, layer: str, database: str, table: str) -> LocalStorage | S3Storage:
        """The files of a table in `layer`. Nothing is read or written.

        Raises:
            UnknownLayer: there is no such layer, or for "" no root.
        """
        check_name("database", database)
        check_name("table", table)
        place = self._places.get(layer)
        if place is None:
            if not self._places:
                raise UnknownLayer(
                    "the catalog has no layers, so it does not say where the files are; name "
                    "their folder (root=..., --root) or configure layers"
                )
            known = ", ".join(map(repr, self._places))
            raise UnknownLayer(f"layer {layer!r} is unknown; the layers are {known}")
        if isinstance(place, FolderURL):
            return LocalStorage(layer, place.path, (database, table, "data"))
        with self._lock:
            bucket = self._buckets.get(layer)
            if bucket is None:
                bucket = self._buckets[layer] = S3Bucket(layer, place)
        return S3Storage(bucket, (database, table))

    @property
    def layers(self) -> list[str]:
        """The names of the layers, in order; without any, "" if there is a root."""
        return list(self._places)

    def reach(self, layer: str) -> None:
        """Make sure that a layer is there: a folder that is not looks like one without files.

        Raises:
            StorageError: its folder or bucket is not there, or can't be listed.
            UnknownLayer: there is no such layer.
        """
        place = self._places.get(layer)
        if place is None:
            raise UnknownLayer(f"layer {layer!r} is unknown")
        if isinstance(place, FolderURL) and not place.path.is_dir():
            raise StorageError(
                f"layer {layer!r}: its folder {os.fspath(place.path)!r} is not there; mount it, or "
                "make the folder if the layer is empty"
            )
        if isinstance(place, FolderURL):
            LocalStorage(layer, place.path, ()).folders()
        else:
            self.table(layer, "x", "x")  # opens the bucket
            S3Storage(self._buckets[layer], ()).folders()

    def tables(self, layer: str) -> list[tuple[str, str]]:
        """(database, table) of whatever lies in `layer` where a table's files would, sorted; what
        can't be a name is left out. StorageError, UnknownLayer."""
        place = self._places.get(layer)
        if place is None:
            raise UnknownLayer(f"layer {layer!r} is unknown")
        if isinstance(place, FolderURL):
            top = LocalStorage(layer, place.path, ())
            below = {name: LocalStorage(layer, place.path, (name,)) for name in _names(top)}
            return [
                (database, table)
                for database, storage in below.items()
                for table in _names(storage)
                if LocalStorage(layer, place.path, (database, table)).folders().count("data")
            ]
        self.table(layer, "x", "x")  # opens the bucket
        bucket = self._buckets[layer]
        return [
            (database, table)
            for database in _names(S3Storage(bucket, ()))
            for table in _names(S3Storage(bucket, (database,)))
        ]

    def __repr__(self) -> str:
        return f"<Storages {', '.join(map(repr, self._places))}>"
