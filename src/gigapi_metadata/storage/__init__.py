"""Data files: where a layer keeps them, and the few things that can be done to them.

`Storages` turns a catalog's layers into the files of a table; what a storage promises stands in
`base`. This package knows nothing of entries and plans.
"""

from gigapi_metadata.storage.base import FileInfo, Storage
from gigapi_metadata.storage.layers import Storages
from gigapi_metadata.storage.local import LocalStorage
from gigapi_metadata.storage.s3 import S3Storage

__all__ = ["FileInfo", "LocalStorage", "S3Storage", "Storage", "Storages"]
