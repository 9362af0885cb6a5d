"""What a layer's URL says. Pure.

file:///srv/lake    file://./lake    /srv/lake    lake
s3://key:secret@host:port/bucket/prefix?secure=false&region=eu-central-1&url-style=path
s3://bucket/prefix  at Amazon, or at what AWS_ENDPOINT_URL names

What follows `s3://` is a host if it holds a credential, a port or a dot, is `localhost`, or if the
URL has options; a bucket otherwise. Credentials that are not in the URL come from the environment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.urls import hide, looks_mistyped, quoted

_OPTIONS = {
    "secure": ("true", "false"),
    "region": (),
    "url-style": ("path", "vhost"),
}


class FolderURL(NamedTuple):
    """A folder of this machine."""

    path: Path


class S3URL(NamedTuple):
    """A place in an S3 bucket. `endpoint` is "" for Amazon's own; `key` and `secret` are "" when
    the environment has them. Never shown: see `__repr__`."""

    bucket: str
    prefix: str
    endpoint: str
    region: str
    path_style: bool
    key: str
    secret: str

    def __repr__(self) -> str:
        where = f"{self.endpoint}/" if self.endpoint else ""
        return f"s3://{where.partition('://')[2]}{self.bucket}/{self.prefix}".rstrip("/")


def parse_layer_url(name: str, url: str) -> FolderURL | S3URL:
    """What the URL of layer `name` means.

    Raises:
        InvalidConfiguration: nothing that a layer can have. The message shows no credential.
    """
    if not isinstance(url, str) or not url:
        raise InvalidConfiguration(f"layer {name!r} has no URL; give it the folder of its files")
    if "\0" in url or "%00" in url or not _is_text(url):
        raise InvalidConfiguration(f"layer {name!r}: its URL holds a character that none may hold")
    scheme, found, rest = url.partition("://")
    if not found and looks_mistyped(url):
        raise InvalidConfiguration(
            f"layer {name!r}: {hide(url)!r} is no path and no URL; write s3://…, file:///… or "
            f"./{hide(url)}"
        )
    if not found:
        return FolderURL(Path(url))
    if scheme == "file":
        return FolderURL(_folder(name, url, unquote(rest)))
    if scheme == "s3":
        return _s3(name, url)
    raise InvalidConfiguration(
        f"layer {name!r}: {scheme}:// is no kind of layer; use file://, s3:// or a path"
    )


def _is_text(url: str) -> bool:
    try:
        os.fsencode(url)
    except UnicodeEncodeError:
        return False
    return True


def _folder(name: str, url: str, rest: str) -> Path:
    if rest.startswith("localhost/"):
        rest = rest.removeprefix("localhost")
    if not rest.startswith(("/", "./", "../")) and rest not in (".", ".."):
        shown = hide(url).partition("://")[2]
        raise InvalidConfiguration(
            f"layer {name!r}: file://{shown} names a host; write file:///{shown} or file://./{shown}"
        )
    return Path(rest)


def _s3(name: str, url: str) -> S3URL:
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        parts = None
    if parts is None:
        # Not in the clause above: what it caught quotes the URL, and would go with this one.
        raise InvalidConfiguration(
            f"layer {name!r}: the s3:// URL can't be read; its form is "
            "s3://key:secret@host:port/bucket/prefix (write / and @ in a secret as %2F and %40)"
        )
    _check_options(name, options, hide(url))
    host = parts.hostname or ""
    path = [unquote(part) for part in parts.path.split("/") if part]
    login = parts.username is not None
    if login or port or options or "." in host or host == "localhost":
        bucket, *rest = path or [""]
        scheme = "http" if options.get("secure") == "false" else "https"
        shown = f"[{host}]" if ":" in host else host
        endpoint = f"{scheme}://{shown}{f':{port}' if port else ''}"
    else:
        bucket, rest, endpoint = parts.netloc, path, ""
    if not bucket:
        raise InvalidConfiguration(
            f"layer {name!r}: the s3:// URL names no bucket; its form is "
            "s3://key:secret@host:port/bucket/prefix"
        )
    if any(part in (".", "..") for part in (bucket, *rest)):
        raise InvalidConfiguration(f"layer {name!r}: the s3:// URL holds a '.' or '..' folder")
    return S3URL(
        bucket,
        "/".join(rest),
        endpoint,
        options.get("region", ""),
        options.get("url-style", "path") == "path",
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


def _check_options(name: str, options: dict[str, str], shown: str) -> None:
    for option, value in options.items():
        if option not in _OPTIONS:
            raise InvalidConfiguration(
                f"layer {name!r}: unknown option {quoted(option, shown)} in its URL; known are "
                f"{', '.join(_OPTIONS)}"
            )
        allowed = _OPTIONS[option]
        if allowed and value not in allowed:
            raise InvalidConfiguration(
                f"layer {name!r}: {option} must be {' or '.join(allowed)}, "
                f"not {quoted(value, shown)}"
            )
