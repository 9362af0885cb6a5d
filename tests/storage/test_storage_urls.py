"""What a layer's URL says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigapi_metadata import InvalidConfiguration, Layer, UnknownLayer
from gigapi_metadata.errors import InvalidName
from gigapi_metadata.storage import LocalStorage, Storages
from gigapi_metadata.storage.url import S3URL, FolderURL, parse_layer_url


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///srv/lake", "/srv/lake"),
        ("file://localhost/srv/lake", "/srv/lake"),
        ("file://./lake", "lake"),
        ("file://../lake", "../lake"),
        ("file:///srv/my%20lake", "/srv/my lake"),
        ("/srv/lake", "/srv/lake"),
        ("lake", "lake"),
    ],
)
def test_folders(url: str, folder: str) -> None:
    assert parse_layer_url("hot", url) == FolderURL(Path(folder))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "s3://key:se%2Fcret@minio:9000/bucket/a/b?secure=false&region=eu-central-1",
            S3URL("bucket", "a/b", "http://minio:9000", "eu-central-1", True, "key", "se/cret"),
        ),
        (
            "s3://key:secret@s3.example.com/bucket?url-style=vhost",
            S3URL("bucket", "", "https://s3.example.com", "", False, "key", "secret"),
        ),
        ("s3://localhost/bucket", S3URL("bucket", "", "https://localhost", "", True, "", "")),
        ("s3://minio/bucket?secure=false", S3URL("bucket", "", "http://minio", "", True, "", "")),
        ("s3://bucket/a/b/", S3URL("bucket", "a/b", "", "", True, "", "")),
        ("s3://[::1]:9000/bucket", S3URL("bucket", "", "https://[::1]:9000", "", True, "", "")),
    ],
)
def test_buckets(url: str, expected: S3URL) -> None:
    assert parse_layer_url("cold", url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "has no URL"),
        ("ftp://host/x", "ftp"),
        ("file://host/x", "names a host"),
        ("s3://key:hidden@host:9000", "no bucket"),
        ("s3://key:hidden@host:9000/bucket?secure=maybe", "secure must be true or false"),
        ("s3://key:hidden@host:9000/bucket?regoin=x", "unknown option 'regoin'"),
        ("s3://key:s@host/bucket?hidden=1@host", "unknown option"),  # a ? in the secret
        ("s3://key:s@host/bucket?secure=hidden@host", "secure must be true or false"),
        ("s3://key:hidden@host:port/bucket", "can't be read"),
        ("s3://key:hidden@host/bucket/../other", "'..'"),
    ],
)
def test_what_is_none(url: str, reason: str) -> None:
    with pytest.raises(InvalidConfiguration, match=reason.replace(".", r"\.")) as caught:
        parse_layer_url("cold", url)
    assert "hidden" not in str(caught.value)


def test_a_bucket_url_does_not_show_its_credentials() -> None:
    found = parse_layer_url("cold", "s3://key:secret@host:9000/bucket/prefix")
    assert repr(found) == "s3://host:9000/bucket/prefix"


def test_storages() -> None:
    storages = Storages([Layer("file:///srv/hot", "hot"), Layer("/srv/warm", "warm")])
    local = storages.table("warm", "db", "t")
    assert isinstance(local, LocalStorage)
    assert local.folder == Path("/srv/warm/db/t/data")
    with pytest.raises(UnknownLayer, match="the layers are 'hot', 'warm'"):
        storages.table("cold", "db", "t")
    with pytest.raises(UnknownLayer, match="--root"):
        Storages().table("", "db", "t")
    with pytest.raises(InvalidName):
        storages.table("hot", "..", "t")
    with pytest.raises(InvalidConfiguration, match="type 's3'"):
        Storages([Layer("/srv/x", "x", "s3")])
