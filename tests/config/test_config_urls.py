"""What of a URL is shown, and credentials put into one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata import InvalidConfiguration, Layer, connect
from gigapi_metadata.config.layers import parse_layer
from gigapi_metadata.storage import Storages
from gigapi_metadata.urls import (
    has_bad_port,
    has_credentials,
    hide,
    looks_mistyped,
    with_credentials,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@h:6379/0", "redis://:***@h:6379/0"),
        ("rediss://me:hunter2@h/0?ssl_ca_certs=/ca", "rediss://me:***@h/0?ssl_ca_certs=/ca"),
        ("redis://hunter2@h", "redis://***@h"),
        ("redis://h/0?password=hunter2&db=1", "redis://h/0?password=***&db=1"),
        ("REDIS://me:hunter2@h", "REDIS://me:***@h"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("s3://key:hunter2@h:9000/b/p?secure=false", "s3://***:***@h:9000/b/p?secure=false"),
        ("s3://key:hun/ter2@h/b", "s3://***:***@h/b"),
        ("s3://key:hun@ter2@h/b", "s3://***:***@h/b"),
        ("s3://key:hun?ter2@h/b", "s3://***:***@h/b"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("s3://h/b?secret_access_key=hunter2&region=x", "s3://h/b?secret_access_key=***&region=x"),
        ("s3://h/b?X-Amz-Security-Token=hunter2", "s3://h/b?X-Amz-Security-Token=***"),
        ("redis://me:hun/ter2@h", "redis://***:***@h"),
        ("redis://[not a host:hunter2@h", "redis://[not a host:***@h"),
        ("sqlite:////data/a@b.db", "sqlite:////data/a@b.db"),
        ("file:///data/a@b", "file:///data/a@b"),
        ("./lake@home", "./lake@home"),
        ("redis:/me:hunter2@h", "redis:***@h"),
        ("redis:me:hunter2@h:6379", "redis:***@h:6379"),
        ("me:hunter2@h:6379", "me:***@h:6379"),
        ("//me:hun@ter2@h", "//me:***@h"),
        (":hunter2@h", ":***@h"),
        ("sqlite://me:hunter2@h/x.db", "sqlite://me:***@h/x.db"),
        ("a=s3:/key:hunter2@h/b", "a=s3:***@h/b"),
        ("12:30 file@home", "12:***@home"),
        ("see s3://key:hunter2@h", "see s3://***:***@h"),
        ("", ""),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert hide(url) == shown
    assert hide(shown) == shown


@given(
    st.sampled_from(["redis", "rediss", "s3", "http", "S3"]),
    st.text(max_size=5),
    st.text("abc/?#@:&=%+ ", max_size=4),
    st.text("abc/?#@:&=%+ ", max_size=4),
)
def test_no_password_is_shown(scheme: str, user: str, before: str, after: str) -> None:
    password = f"{before}hunter2{after}"
    assert "hunter2" not in hide(f"{scheme}://{user}:{password}@host/0")


@given(st.text(min_size=1), st.text(min_size=1))
def test_credentials_come_back_as_they_were(key: str, secret: str) -> None:
    url = with_credentials("s3://h:9000/b/p?x=1", key, secret)
    parts = urlsplit(url)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (key, secret)
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("h", 9000, "/b/p", "x=1")
    assert has_credentials(url)
    assert not has_bad_port(url)
    assert with_credentials(url, "other", "other") == url


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("s3://b/p", "s3://k:s@b/p"),
        ("s3://@b/p", "s3://k:s@b/p"),
        ("s3://:@b/p", "s3://k:s@b/p"),
        ("s3://own@b/p", "s3://own@b/p"),
        ("s3://b/p@q", "s3://k:s@b/p@q"),
        ("no url", "no url"),
    ],
)
def test_only_a_url_without_credentials_gets_some(url: str, result: str) -> None:
    assert with_credentials(url, "k", "s") == result


@pytest.mark.parametrize(
    ("url", "bad"),
    [
        ("s3://h", False),
        ("s3://h:9000/b", False),
        ("s3://k:s@h:9000/b", False),
        ("s3://[::1]:9000/b", False),
        ("s3://[::1]/b", False),
        ("s3://h:/b", False),
        ("s3://key:secret/with/slash@h/b", True),
        ("s3://h:70000/b", True),
        ("s3://h:" + "9" * 5000, True),
        ("s3://h:٣/b", True),
    ],
)
def test_a_port(url: str, bad: bool) -> None:
    assert has_bad_port(url) is bad


@pytest.mark.parametrize(
    ("text", "mistyped"),
    [
        ("s3:/key:secret@h/b", True),
        ("redis:/u:p@h", True),
        ("u:p@h:6379", True),
        ("//u:p@h", True),
        ("lake", False),
        ("./a:b@c", False),
        ("/data/a:b@c", False),
        ("//data/lake", False),
        ("s3://h/b", False),
        ("lake@home", False),
        ("2024:lake", False),
    ],
)
def test_a_mistyped_url_is_no_path(
    text: str, mistyped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looks_mistyped(text) is mistyped
    monkeypatch.chdir(tmp_path)
    if mistyped:
        for refused in (
            lambda: connect(text),
            lambda: connect("json://", layers=[Layer(text, "a")]),
            lambda: Storages([Layer(text, "a")]),
            lambda: parse_layer(f"a={text}"),
        ):
            with pytest.raises(InvalidConfiguration) as fault:
                refused()
            assert "secret" not in str(fault.value)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", [".gigapi", ".gigapi/catalog.db"])
def test_the_catalog_in_a_folder_is_no_link(tmp_path: Path, link: str) -> None:
    path = tmp_path / "lake" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidConfiguration, match="symbolic link"):
        connect(tmp_path / "lake")


@pytest.mark.parametrize("scheme", ["sqlite", "json", "file"])
def test_a_login_in_a_path_is_not_proposed_as_one(scheme: str) -> None:
    url = f"{scheme}://u:hunter2@h/x.db"
    with pytest.raises(InvalidConfiguration) as raised:
        Storages([Layer(url, "a")]) if scheme == "file" else connect(url)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["redis://u:hunter2@[::1/0", "redis://u:hunter2@\u2100host/0"])
def test_no_error_holds_the_url_that_it_is_about(url: str) -> None:
    for call in (
        lambda: connect(url),
        lambda: Storages([Layer(url.replace("redis", "s3"), "a", "s3")]),
    ):
        with pytest.raises(InvalidConfiguration) as raised:
            call()
        fault: BaseException | None = raised.value
        while fault is not None:
            assert "hunter2" not in repr(fault)
            fault = fault.__cause__ or fault.__context__


@given(st.text())
def test_any_text_may_be_shown(text: str) -> None:
    for url in (text, f"s3://{text}", f"redis://{text}"):
        hide(url), has_credentials(url), has_bad_port(url), with_credentials(url, "k", "s")
