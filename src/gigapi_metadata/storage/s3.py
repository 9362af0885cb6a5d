"""Files in an S3 bucket, through obstore.

Requests that fail in passing (time-outs, 5xx, cut connections) are repeated by obstore for up to
RETRY_S seconds; a transfer that breaks off later is begun again here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gigapi_metadata.errors import FileExists, FileMissing, MissingExtra, StorageError
from gigapi_metadata.names import check_path, dir_of
from gigapi_metadata.storage.base import TEMP_PREFIX, FileInfo
from gigapi_metadata.storage.s3_listing import list_below, list_folder
from gigapi_metadata.storage.url import S3URL

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Store

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30  # without a single byte
REQUEST_TIMEOUT_S = 3600  # a whole transfer; obstore's own 30 s would cut large ones
RETRIES = 5
RETRY_S = 60
TRANSFERS = 3
"""How often a transfer is begun before it is given up."""

PART_BYTES = 16 * 1024 * 1024
PARTS_AT_ONCE = 4
_CHUNK = 4 * 1024 * 1024


class S3Bucket:
    """A layer's bucket: the client, and errors without credentials."""

    def __init__(self, layer: str, url: S3URL) -> None:
        self.layer = layer
        self.prefix = url.prefix
        self._url = url
        self.store = _client(url)

    def perform(self, path: str, request: Callable[[], T]) -> T:
        """The answer to a request about `path`.

        Raises:
            StorageError: in place of what obstore raised.
        """
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            NotFoundError,
            PermissionDeniedError,
            PreconditionError,
            UnauthenticatedError,
        )

        try:
            return request()
        except (BaseError, OSError, ValueError) as fault:
            shown = f"{self!r}: {path!r}"
            # The cause is left behind, for its text may hold what must not be shown.
            if isinstance(fault, (NotFoundError, FileNotFoundError)):
                raise FileMissing(f"{shown} is not there") from None
            if isinstance(fault, (AlreadyExistsError, PreconditionError)):
                raise FileExists(f"{shown} is there already") from None
            reason = self._scrub(str(fault))
            if isinstance(fault, (PermissionDeniedError, UnauthenticatedError)):
                raise StorageError(f"{shown}: access denied: {reason}") from None
            raise StorageError(f"{shown}: {reason}") from None

    def _scrub(self, text: str) -> str:
        """`text` on one line, not too long, without credentials and signatures."""
        text = text.partition("\n\nDebug source:")[0]
        told = re.search(r"<Code>([^<]+)</Code>.*?<Message>([^<]+)</Message>", text, re.DOTALL)
        if told:  # S3's own words, without the XML and the URL around them
            text = f"bucket {self._url.bucket!r}: {told[1]}: {told[2]}"
        for secret in (self._url.secret, self._url.key):
            if secret:
                text = text.replace(secret, "***")
        text = re.sub(r"(?i)(x-amz-[a-z-]+|awsaccesskeyid|signature)=[^&\s\"')]+", r"\1=***", text)
        text = re.sub(r"//[^/@\s]+@", "//***@", text)
        return " ".join(text.split())[:500]

    def __repr__(self) -> str:
        return f"layer {self.layer!r}"


class S3Storage:
    """One table's files in a bucket. See Storage for what each call promises.

    A put is atomic on S3. A large one goes up in parts; if it is broken off, the bucket keeps its
    parts out of sight until a lifecycle rule (AbortIncompleteMultipartUpload) removes them.
    """

    def __init__(self, bucket: S3Bucket, below: tuple[str, ...]) -> None:
        self._bucket = bucket
        self._base = "/".join(part for part in (bucket.prefix, *below) if part)

    def head(self, path: str) -> FileInfo:
        """See `Storage.head`."""
        key = self._key(path)
        return self._perform(path, lambda obs, store: _info(path, obs.head(store, key)))

    def get(self, path: str, target: Path) -> FileInfo:
        """See `Storage.get`."""
        key = self._key(path)

        def fetch(obs: Any, store: S3Store) -> FileInfo:
            answer = obs.get(store, key)
            info = _info(path, answer.meta)
            with open(target, "wb") as copy:
                for chunk in answer.stream(min_chunk_size=_CHUNK):
                    copy.write(chunk)
                if copy.tell() != info.size:
                    raise OSError(f"{copy.tell()} bytes of {info.size} came")
            return info

        return self._transfer(path, fetch)

    def read(self, path: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` up to `end`, all of them or an error."""
        key = self._key(path)

        def fetch(obs: Any, store: S3Store) -> bytes:
            data = obs.get_range(store, key, start=start, end=end).to_bytes()
            if len(data) != end - start:
                raise OSError(f"{len(data)} bytes of {end - start} came")
            return bytes(data)

        return self._transfer(path, fetch)

    def put(self, path: str, source: Path) -> FileInfo:
        """See `Storage.put`."""
        key = self._key(path)

        def send(obs: Any, store: S3Store) -> FileInfo:
            obs.put(store, key, source, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
            return self._arrived(path, source)

        return self._transfer(path, send)

    def put_if_absent(self, path: str, source: Path) -> FileInfo:
        """See `Storage.put_if_absent`. The file goes up in one piece, through memory.

        When an answer is lost on the way, the repeated request can find the file of the first one:
        then this raises FileExists although it was ours.
        """
        key = self._key(path)

        def send(obs: Any, store: S3Store) -> FileInfo:
            obs.put(store, key, source, mode="create", use_multipart=False)
            return self._arrived(path, source)

        return self._perform(path, send)

    def copy(self, path: str, target: str) -> FileInfo:
        """See `Storage.copy`. S3 copies up to 5 GB."""
        key, target_key = self._key(path), self._key(target)
        self._transfer(path, lambda obs, store: obs.copy(store, key, target_key))
        source, made = self.head(path), self.head(target)
        if source.size != made.size:
            raise StorageError(
                f"{self._bucket!r}: the copy of {path!r} has {made.size} bytes of {source.size}"
            )
        return made

    def delete(self, path: str) -> bool:
        """See `Storage.delete`. That a file is gone can't be said while there is no bucket."""
        key = self._key(path)
        try:
            self.head(path)
            self._transfer(path, lambda obs, store: obs.delete(store, key))
        except FileMissing:
            # Asked for one file, S3 says the same when there is no such bucket at all.
            self._perform(path, lambda obs, store: obs.list_with_delimiter(store, key))
            return False
        return True

    def folders(self) -> list[str]:
        """See `Storage.folders`. One request for a thousand."""

        def look(obs: Any, store: S3Store) -> list[str]:
            return list_folder(obs, store, self._base)[1]

        return self._perform("", look)

    def walk(self, folder: str) -> list[FileInfo]:
        """See `Storage.walk`. One request for a thousand files.

        For each folder with keys that can be no path there is `{folder}//*.parquet`, which is none
        either: whoever goes through the files meets it, and says so.
        """
        key = self._key(folder)

        def look(obs: Any, store: S3Store) -> list[FileInfo]:
            listing = list_below(obs, store, key)
            found = []
            for each in listing.objects.values():
                path = each["path"].removeprefix(f"{self._base}/")
                if "/." not in path[len(folder) : path.rfind("/") + 1]:
                    found.append(_info(path, each))
            for odd in listing.odd:
                path = f"{odd.removeprefix(f'{self._base}/')}//*.parquet"
                found.append(FileInfo(path, 0, "", math.inf))
            return sorted(found)

        return self._transfer(folder, look)

    def list(self, folder: str, prefixes: tuple[str, ...] = ("",)) -> list[FileInfo]:
        """See `Storage.list`. There are no unfinished files, so S3 is not asked for them."""
        key = dir_of(self._key(f"{folder}/x" if folder else "x"))
        if all(prefix.startswith(TEMP_PREFIX) for prefix in prefixes):
            return []

        def look(obs: Any, store: S3Store) -> list[FileInfo]:
            objects, _ = list_folder(obs, store, key)
            return sorted(
                _info(each["path"].removeprefix(f"{self._base}/"), each)
                for each in objects
                if each["path"].rpartition("/")[2].startswith(prefixes)
            )

        return self._transfer(folder, look)

    def end_of(self, path: str, size: int, length: int) -> bytes:
        """The last `length` bytes of a file of `size` bytes. FileMissing when it is not there."""
        key, start = self._key(path), max(0, size - length)
        return self._transfer(
            path, lambda obs, store: bytes(obs.get_range(store, key, start=start, end=size))
        )

    def _key(self, path: str) -> str:
        return f"{self._base}/{check_path(path)}"

    def _arrived(self, path: str, source: Path) -> FileInfo:
        info, size = self.head(path), source.stat().st_size
        if info.size != size:
            raise OSError(f"{info.size} bytes of {size} arrived")
        return info

    def _perform(self, path: str, request: Callable[[Any, S3Store], T]) -> T:
        import obstore

        return self._bucket.perform(path, lambda: request(obstore, self._bucket.store))

    def _transfer(self, path: str, request: Callable[[Any, S3Store], T]) -> T:
        """As `_perform`, begun again when it breaks off; for what may safely be done twice."""
        for _ in range(TRANSFERS - 1):
            try:
                return self._perform(path, request)
            except FileMissing:
                raise
            except StorageError:
                continue
        return self._perform(path, request)

    def __repr__(self) -> str:
        return f"<S3Storage {self._bucket!r}, {self._base}>"


def _info(path: str, meta: Any) -> FileInfo:
    etag = meta["e_tag"] or ""
    return FileInfo(path, meta["size"], etag, meta["last_modified"].timestamp())


def _client(url: S3URL) -> S3Store:
    try:
        from obstore.store import S3Store
    except ImportError as fault:
        raise MissingExtra(
            "files on S3 need obstore; pip install 'gigapi-metadata[sql]', or [worker]"
        ) from fault
    config: S3Config = {
        "virtual_hosted_style_request": not url.path_style,
        "disable_bulk_delete": True,  # which not every S3 knows
    }
    if url.region:
        config["region"] = url.region
    if url.endpoint:
        scheme, _, host = url.endpoint.partition("://")
        endpoint = url.endpoint if url.path_style else f"{scheme}://{url.bucket}.{host}"
        config["endpoint"] = endpoint
        config["aws_endpoint_url_s3"] = endpoint  # else $AWS_ENDPOINT_URL_S3 would go before
    client: ClientConfig = {
        "allow_http": url.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "read_timeout": timedelta(seconds=READ_TIMEOUT_S),
        "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
    }
    retry: RetryConfig = {
        "max_retries": RETRIES,
        "retry_timeout": timedelta(seconds=RETRY_S),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=5),
            "base": 2,
        },
    }
    # Handed over by a function, the key can't be mixed with a token from the environment.
    provider = _credentials(url.key, url.secret) if url.key else None
    return S3Store(
        url.bucket,
        config=config,
        client_options=client,
        retry_config=retry,
        credential_provider=provider,
    )


def _credentials(key: str, secret: str) -> Callable[[], Any]:
    def provide() -> dict[str, str | None]:
        return {
            "access_key_id": key,
            "secret_access_key": secret,
            "token": None,
            "expires_at": None,
        }

    return provide
