"""Durations, sizes and the other values, as text."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata.config import format_duration, parse_duration, parse_layer, parse_size
from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import Layer

UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9}
UNITS_NS |= {"m": 60 * 10**9, "h": 3600 * 10**9}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("500ms", 1),
        ("2h45m30.5s", 9931),
        ("0", 0),
        ("+0", 0),
        ("0s", 0),
        ("0.0h", 0),
        ("1ns", 1),
        ("1000000000ns", 1),
        ("1000000001ns", 2),
        ("1us1µs1μs", 1),
        (".5s", 1),
        ("1.s", 1),
        ("+5s", 5),
        (" 10m\t", 600),
        ("1m1m", 120),
        ("1s1h", 3601),
        ("0.1s0.9s", 1),  # exact: as floats the sum might be more than 1
        ("2562047h47m16.854775807s", 9_223_372_037),
        ("0.000000001s", 1),
    ],
)
def test_a_duration(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "00",
        "-0",
        "-5s",
        "+-5s",
        "++5s",
        "1d",
        "1w",
        "s",
        ".s",
        ".",
        "1 s",
        "1h 30m",
        "1H",
        "1S",
        "1e3s",
        "1,5h",
        "1_000s",
        "1.2.3s",
        "90s ago",
        "forever",
        "٣s",
        "2562047h47m16.854775808s",
        "9223372036854775808ns",
        "9" * 99 + "h",
        "1" * 5000 + "s",
        "1s" * 100,
        "0x1s",
        "\x00",
        "1s\n1s",
    ],
)
def test_no_duration(text: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"must be a Go duration, such as 90s.*or 0$"):
        parse_duration(text)


parts = st.tuples(
    st.integers(0, 10**6),
    st.one_of(st.none(), st.text("0123456789", max_size=12)),
    st.sampled_from(sorted(UNITS_NS)),
)


@given(st.lists(parts, min_size=1, max_size=4))
def test_a_duration_is_exact_and_rounded_up(written: list[tuple[int, str | None, str]]) -> None:
    text, exact = "", Fraction(0)
    for number, fraction, unit in written:
        text += f"{number}{'' if fraction is None else '.' + fraction}{unit}"
        exact += Fraction(f"{number}.{fraction or 0}") * UNITS_NS[unit]
    if exact > 2**63 - 1:
        with pytest.raises(InvalidConfiguration):
            parse_duration(text)
    else:
        assert parse_duration(text) == -(-exact // 10**9)


@given(st.integers(0, 9_223_372_036))
def test_a_duration_survives_the_round_trip(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.one_of(st.text(), st.text("0123456789.+-hmsnuµ ", max_size=12)))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with suppress(InvalidConfiguration):
        assert 0 <= parse_duration(text) < 2**34


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (59, "59s"), (90, "1m30s"), (3600, "1h"), (90061, "25h1m1s")]
)
def test_a_duration_is_written_short(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100MiB", 100 * 2**20),
        ("100 MiB", 100 * 2**20),
        ("100mib", 100 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("500MB", 500_000_000),
        ("1kB", 1000),
        ("7B", 7),
        (" 1TiB ", 2**40),
        ("7PiB", 7 * 2**50),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "MiB", "-1", "1.5", "0.1KiB", "100M", "100 bytes", "1EiB", "8192PiB", "9" * 200, "1  MiB"],
)
def test_no_size(text: str) -> None:
    with pytest.raises(InvalidConfiguration, match="must be"):
        parse_size(text)


@given(st.one_of(st.text(), st.text("0123456789.KMGTPiB ", max_size=9)))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    with suppress(InvalidConfiguration):
        assert 0 <= parse_size(text) < 2**63


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("hot=/data", Layer("/data", "hot")),
        ("hot=file:///data,ttl=10m", Layer("file:///data", "hot", ttl_sec=600)),
        ("cold=s3://k:s@h/b?region=x", Layer("s3://k:s@h/b?region=x", "cold", "s3")),
        ("hot=/data,ttl=600", Layer("/data", "hot", ttl_sec=600)),
        ("hot=/data,type=fs,ttl=0", Layer("/data", "hot")),
        ("a=s3://h/b,c,ttl=1h,type=s3", Layer("s3://h/b,c", "a", "s3", 3600)),
        ("a=/x=y,z", Layer("/x=y,z", "a")),
    ],
)
def test_a_layer_of_a_command_line(text: str, layer: Layer) -> None:
    assert parse_layer(text, "--layers") == layer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"--layers is ''; it must be NAME=URL\[,ttl=10m\], such"),
        ("=", "--layers is '='; it must be"),
        ("hot", "--layers is 'hot'; it must be"),
        ("hot=,ttl=1s", "--layers is 'hot=,ttl=1s'; it must be"),
        ("=/data", "--layers is '=/data'; it must be"),
        ("a:b=/data", "^--layers: layer name 'a:b' holds one of"),
        ("hot=/data,ttl=", "^--layers: layer 'hot': ttl is ''; it must be a Go duration"),
        ("hot=/data,ttl=-5", "^--layers: layer 'hot': ttl is '-5'; it must be a Go duration"),
        ("hot=/data,ttl=99999999999", "layer 'hot': ttl is '99999999999s'; it must be a Go"),
        ("hot=/data,ttl=1,ttl=2", "^--layers: layer 'hot': ttl is there twice in 'hot="),
        ("hot=/data,type=s3", "^--layers: layer 'hot': type is s3, but url is no s3"),
        (
            "hot=ftp://u:hunter2@h",
            r"^--layers: layer 'hot': url is 'ftp://u:\*\*\*@h'; it must be s3://",
        ),
        ("s3://key:hunter2@h/b", r"--layers is 's3://\*\*\*:\*\*\*@h/b'; it must be NAME=URL"),
        (
            "s3://key:hunter2@h/b?a=b",
            r"^--layers is 's3://\*\*\*:\*\*\*@h/b\?a=b'; it must be NAME",
        ),
    ],
)
def test_no_layer_of_a_command_line(text: str, message: str) -> None:
    with pytest.raises(InvalidConfiguration, match=message) as caught:
        parse_layer(text, "--layers")
    assert "hunter2" not in str(caught.value)


def test_the_option_may_be_left_out() -> None:
    with pytest.raises(InvalidConfiguration, match=r"^layer 'hot': ttl is 'soon'; it must be a"):
        parse_layer("hot=/data,ttl=soon")
    with pytest.raises(InvalidConfiguration, match=r"^the layer is 'hot'; it must be NAME=URL"):
        parse_layer("hot")
