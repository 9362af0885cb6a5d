"""Which value is in force, where it came from, and what is wrong with it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata.config import Setting, Settings, load
from gigapi_metadata.config.values import Found, Level
from gigapi_metadata.errors import InvalidConfiguration, InvalidName
from gigapi_metadata.model import Layer, MergeConfiguration

MIB = 2**20
LADDER = [(10, 100 * MIB, 1), (100, 400 * MIB, 2), (1000, 4000 * MIB, 3), (4200, 4000 * MIB, 4)]
HOT = {"GIGAPI_LAYERS_0_NAME": "hot", "GIGAPI_LAYERS_0_URL": "file:///hot"}
COLD = {"GIGAPI_LAYERS_1_NAME": "cold", "GIGAPI_LAYERS_1_URL": "s3://h:9000/b/p"}
SECRET = "hunter2"


def env(**variables: str) -> dict[str, str]:
    return {f"GIGAPI_{name}": value for name, value in variables.items()}


def shown(settings: Settings) -> dict[str, Any]:
    return {each.key: (each.value, each.source) for each in settings.shown}


def rows(settings: Settings) -> list[tuple[int, int, int]]:
    return [(row.timeout_sec, row.max_size, row.iteration) for row in settings.merge_configurations]


# What is in force


def test_nothing_is_configured() -> None:
    settings = load(environ={})
    assert settings.metadata_type == "json"
    assert settings.metadata_url is settings.root is None
    assert settings.merge_timeout_s == 10
    assert settings.layers == []
    assert settings.global_layers == settings.unknown == []
    assert rows(settings) == LADDER
    assert {each.source for each in settings.shown} == {"default", "from gigapi.merge_timeout_s"}
    with pytest.raises(InvalidConfiguration, match=r"no catalog is .*GIGAPI_METADATA_URL"):
        settings.catalog_url()
    assert settings.catalog_url("./lake") == "./lake"


def test_the_environment_is_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAPI_MERGE_TIMEOUT_S", "7")
    assert load().merge_timeout_s == 7
    assert load(environ={}).merge_timeout_s == 10
    monkeypatch.setenv("GIGAPI_MERGE_TIMEOUT_S", "8")
    assert load().merge_timeout_s == 8


def test_the_environment_given_is_not_changed() -> None:
    environ = env(ROOT="/data") | HOT
    before = dict(environ)
    assert load(environ=environ) == load(environ=environ)
    assert environ == before


def test_an_empty_variable_is_as_good_as_none() -> None:
    names = ["METADATA_TYPE", "METADATA_URL", "ROOT", "MERGE_TIMEOUT_S", "LAYERS_0_NAME"]
    names += ["LAYERS_0_TTL", "LAYERS_3_AUTH_SECRET"]
    assert load(environ=env(**dict.fromkeys(names, ""))) == load(environ={})


@pytest.mark.parametrize(
    ("environ", "kind", "url"),
    [
        (env(ROOT="/data"), "json", "json:///data"),
        (env(ROOT="/da ta/%"), "json", "json:///da%20ta/%25"),
        (env(ROOT="data"), "json", "json://./data"),
        (env(ROOT="./data"), "json", "json://./data"),
        (env(ROOT="../data"), "json", "json://../data"),
        (env(ROOT="."), "json", "json://./."),
        (env(METADATA_TYPE="json", ROOT="/data"), "json", "json:///data"),
        (env(METADATA_TYPE="json", METADATA_URL="json:///other"), "json", "json:///other"),
        (env(METADATA_TYPE="json") | HOT, "json", "json:///hot"),
        (env(METADATA_TYPE="redis", METADATA_URL="redis://h/0"), "redis", "redis://h/0"),
        (env(METADATA_TYPE=" Redis ", METADATA_URL="unix:///s"), "redis", "unix:///s"),
        (env(METADATA_URL="valkeys://h/0", ROOT="/data"), "redis", "valkeys://h/0"),
        (env(METADATA_URL="sqlite:///lake.db"), None, "sqlite:///lake.db"),
        (env(METADATA_URL="./lake"), None, "./lake"),
        (env(METADATA_URL="json:///data"), "json", "json:///data"),
    ],
)
def test_where_the_catalog_is(environ: dict[str, str], kind: str | None, url: str) -> None:
    settings = load(environ=environ)
    assert settings.metadata_type == kind
    assert settings.catalog_url() == url


def test_redis_without_a_url() -> None:
    settings = load(environ=env(METADATA_TYPE="redis", ROOT="/data"))
    with pytest.raises(
        InvalidConfiguration,
        match=r"GIGAPI_METADATA_URL is missing.*\(environment: GIGAPI_METADATA_TYPE\).*redis://",
    ):
        settings.catalog_url("./lake")


def test_folders_without_a_folder() -> None:
    settings = load(environ=env(METADATA_TYPE="json", LAYERS_0_NAME="a", LAYERS_0_URL="s3://b"))
    with pytest.raises(InvalidConfiguration, match="GIGAPI_ROOT"):
        settings.catalog_url()


@pytest.mark.parametrize("kind", ["json", "redis"])
def test_type_and_url_that_disagree(kind: str) -> None:
    other = {"json": f"redis://me:{SECRET}@h/0", "redis": "sqlite:///lake.db"}[kind]
    with pytest.raises(
        InvalidConfiguration, match=f"^GIGAPI_METADATA_TYPE is {kind}, but GIGAPI_METADATA_URL is"
    ) as caught:
        load(environ=env(METADATA_TYPE=kind, METADATA_URL=other))
    assert SECRET not in str(caught.value)


def test_the_merge_configurations_follow_the_timeout() -> None:
    settings = load(environ=env(MERGE_TIMEOUT_S="60"))
    assert settings.merge_timeout_s == 60
    assert rows(settings) == [
        (60, 104857600, 1),
        (600, 419430400, 2),
        (6000, 4194304000, 3),
        (25200, 4194304000, 4),
    ]
    assert shown(settings)["merge_configurations[3]"] == (
        [25200, 4194304000, 4],
        "from gigapi.merge_timeout_s",
    )
    assert shown(settings)["gigapi.merge_timeout_s"] == (60, "environment: GIGAPI_MERGE_TIMEOUT_S")


# Layers


def test_layers() -> None:
    environ = HOT | COLD | env(LAYERS_0_TYPE="fs", LAYERS_0_TTL="1h30m", LAYERS_1_GLOBAL="true")
    environ |= env(LAYERS_1_AUTH_KEY="k/e", LAYERS_1_AUTH_SECRET=f"{SECRET}+/", ROOT="/data")
    settings = load(environ=environ)
    assert settings.layers == [
        Layer("file:///hot", "hot", "fs", 5400),
        Layer(f"s3://k%2Fe:{SECRET}%2B%2F@h:9000/b/p", "cold", "s3", 0),
    ]
    assert settings.global_layers == ["cold"]
    assert {key: value for key, value in shown(settings).items() if "layers" in key} == {
        "gigapi.layers[0].name": ("hot", "environment: GIGAPI_LAYERS_0_NAME"),
        "gigapi.layers[0].type": ("fs", "environment: GIGAPI_LAYERS_0_TYPE"),
        "gigapi.layers[0].global": (False, "default"),
        "gigapi.layers[0].url": ("file:///hot", "environment: GIGAPI_LAYERS_0_URL"),
        "gigapi.layers[0].ttl": ("1h30m", "environment: GIGAPI_LAYERS_0_TTL"),
        "gigapi.layers[1].name": ("cold", "environment: GIGAPI_LAYERS_1_NAME"),
        "gigapi.layers[1].type": ("s3", "from gigapi.layers[1].url"),
        "gigapi.layers[1].global": (True, "environment: GIGAPI_LAYERS_1_GLOBAL"),
        "gigapi.layers[1].url": ("s3://h:9000/b/p", "environment: GIGAPI_LAYERS_1_URL"),
        "gigapi.layers[1].ttl": ("0", "default"),
        "gigapi.layers[1].auth.key": ("***", "environment: GIGAPI_LAYERS_1_AUTH_KEY"),
        "gigapi.layers[1].auth.secret": ("***", "environment: GIGAPI_LAYERS_1_AUTH_SECRET"),
    }


def test_more_than_ten_layers_keep_their_order() -> None:
    environ: dict[str, str] = {}
    for index in reversed(range(12)):
        environ |= {f"GIGAPI_LAYERS_{index}_NAME": f"l{index}"}
        environ |= {f"GIGAPI_LAYERS_{index}_URL": f"/{index}"}
    assert [each.name for each in load(environ=environ).layers] == [f"l{i}" for i in range(12)]


@pytest.mark.parametrize(
    ("variables", "layers"),
    [
        (env(ROOT="/data"), [Layer("/data", "default")]),
        (env(ROOT="/data", METADATA_URL="sqlite:///x.db"), [Layer("/data", "default")]),
        (env(METADATA_TYPE="redis", METADATA_URL="redis://h"), [Layer(".", "default")]),
        (env(METADATA_URL="redis://h"), []),
        (env(METADATA_URL="sqlite:///x.db"), []),
        (env(ROOT="/data") | HOT, [Layer("file:///hot", "hot")]),
    ],
)
def test_the_default_layer(variables: dict[str, str], layers: list[Layer]) -> None:
    settings = load(environ=variables)
    assert settings.layers == layers
    if layers and layers[0].name == "default":
        assert settings.global_layers == ["default"]


def test_the_credentials_of_the_url_win() -> None:
    environ = HOT | COLD | env(LAYERS_1_URL=f"s3://own:{SECRET}@h/b", LAYERS_1_AUTH_KEY="other")
    settings = load(environ=environ)
    assert settings.layers[1].url == f"s3://own:{SECRET}@h/b"
    assert shown(settings)["gigapi.layers[1].auth.key"] == (
        "***",
        "environment: GIGAPI_LAYERS_1_AUTH_KEY (not used: the URL has credentials)",
    )


def test_a_folder_needs_no_credentials() -> None:
    settings = load(environ=HOT | env(LAYERS_0_AUTH_SECRET=SECRET))
    assert settings.layers == [Layer("file:///hot", "hot")]
    assert "not used" in settings.source("gigapi.layers[0].auth.secret")


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "t", " True "])
def test_true(text: str) -> None:
    assert load(environ=HOT | env(LAYERS_0_GLOBAL=text)).global_layers == ["hot"]


@pytest.mark.parametrize("text", ["false", "False", "0", "F"])
def test_false(text: str) -> None:
    assert load(environ=HOT | env(LAYERS_0_GLOBAL=text)).global_layers == []


# Wrong values


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("METADATA_TYPE", "mysql", "json or redis"),
        ("METADATA_URL", f"mysql://me:{SECRET}@h/db", r"redis://, rediss://, .*sqlite:///lake.db"),
        ("METADATA_URL", "redis://h\n", "without line ends"),
        ("METADATA_URL", "REDIS://h", "redis://"),
        ("ROOT", "s3://bucket", "the path of a folder"),
        ("ROOT", "/da\x00ta", "without line ends or control characters"),
        ("ROOT", "/da\udcffta", "in UTF-8"),
        ("MERGE_TIMEOUT_S", "0", "whole seconds, from 1 to 2147483647; leave it out"),
        ("MERGE_TIMEOUT_S", "-1", "whole seconds"),
        ("MERGE_TIMEOUT_S", "10s", "whole seconds"),
        ("MERGE_TIMEOUT_S", "\x1f0", "whole seconds"),
        ("MERGE_TIMEOUT_S", "1.5", "whole seconds"),
        ("MERGE_TIMEOUT_S", "2147483648", "whole seconds"),
        ("MERGE_TIMEOUT_S", "9" * 5000, "whole seconds"),
        ("MERGE_TIMEOUT_S", "٣", "whole seconds"),
        ("MERGE_TIMEOUT_S", f"redis://:{SECRET}@h", "whole seconds"),
        ("LAYERS_0_TYPE", "gcs", "fs or s3"),
        ("LAYERS_0_GLOBAL", "yes please", "true or false"),
        ("LAYERS_0_URL", f"ftp://me:{SECRET}@h", "s3://…, file:///folder"),
        ("LAYERS_0_URL", f"s3://key:{SECRET}/more@h/b", "a / in the secret is %2F"),
        ("LAYERS_0_URL", "s3://", "a URL that names a place"),
        ("LAYERS_0_URL", "file:///", "a URL that names a place"),
        ("LAYERS_0_TTL", "10", "a Go duration, such as 90s"),
        ("LAYERS_0_TTL", "-10s", "a Go duration.*not negative"),
        ("LAYERS_0_TTL", "10d", "a Go duration.*units: ns, us, ms, s, m, h"),
        ("LAYERS_0_AUTH_SECRET", f"{SECRET}\n", "text, in UTF-8 and without line ends"),
    ],
)
def test_a_wrong_value(name: str, value: str, rule: str) -> None:
    with pytest.raises(
        InvalidConfiguration, match=f"(?s)^GIGAPI_{name} is .*; it must be .*{rule}"
    ) as caught:
        load(environ=HOT | env(**{name: value}))
    message = str(caught.value)
    assert SECRET not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (env(LAYERS_0_NAME="hot"), "GIGAPI_LAYERS_0_URL is missing"),
        (env(LAYERS_0_URL="/hot"), "GIGAPI_LAYERS_0_NAME is missing"),
        (env(LAYERS_0_TTL="1s"), "GIGAPI_LAYERS_0_NAME is missing"),
        (COLD, "GIGAPI_LAYERS_0_NAME is missing, yet there is a layer 1"),
        (HOT | env(LAYERS_2_NAME="x", LAYERS_2_URL="/x"), "GIGAPI_LAYERS_1_NAME is missing, yet"),
        (HOT | env(LAYERS_9999_NAME="x"), "GIGAPI_LAYERS_1_NAME is missing, yet"),
        (HOT | COLD | env(LAYERS_1_AUTH_KEY="k"), "GIGAPI_LAYERS_1_AUTH_SECRET is missing"),
        (HOT | COLD | env(LAYERS_1_AUTH_SECRET="s"), "GIGAPI_LAYERS_1_AUTH_KEY is missing"),
        (HOT | COLD | env(LAYERS_1_TYPE="fs"), "LAYERS_1_TYPE is fs, but GIGAPI_LAYERS_1_URL is"),
        (HOT | env(LAYERS_0_TYPE="s3"), "LAYERS_0_TYPE is s3, but GIGAPI_LAYERS_0_URL is no s3"),
        (
            HOT | COLD | env(LAYERS_1_NAME="hot"),
            "GIGAPI_LAYERS_0_NAME and GIGAPI_LAYERS_1_NAME are both 'hot'",
        ),
        (HOT | env(LAYERS_0_NAME="a:b"), "GIGAPI_LAYERS_0_NAME: layer name 'a:b' holds one of"),
        (HOT | env(LAYERS_0_NAME=".."), r"GIGAPI_LAYERS_0_NAME: layer name '\.\.' means"),
        (HOT | env(LAYERS_0_TLL="1s"), "LAYERS_0_TLL is no setting; did you mean .*LAYERS_0_TTL"),
        (HOT | env(LAYERS_0_="1s"), "GIGAPI_LAYERS_0_ is no setting"),
        (HOT | env(LAYERS_00_URL="/x"), "GIGAPI_LAYERS_00_URL is no setting: layers are numbered"),
        (env(LAYERS_99999_NAME="x"), "GIGAPI_LAYERS_99999_NAME is no setting"),
    ],
)
def test_layers_that_are_not_whole(variables: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidConfiguration, match=message):
        load(environ=variables)


def test_unknown_variables_are_named() -> None:
    variables = env(METADATA_ULR="redis://h", LAYER_0_NAME="x", PORT_7971_TCP="x", MODE="aio")
    variables |= env(NO_MERGES="true", UI="false", SAVE_TIMEOUT_S="1", METADATA_TRACEBACK="1") | {
        "HTTP_PORT": "1"
    }
    assert load(environ=variables).unknown == [
        "GIGAPI_LAYER_0_NAME (did you mean GIGAPI_LAYERS_0_NAME?)",
        "GIGAPI_METADATA_ULR (did you mean GIGAPI_METADATA_URL?)",
        "GIGAPI_PORT_7971_TCP",
    ]


# Arguments


def test_an_argument_goes_before_the_environment() -> None:
    environ = env(METADATA_TYPE="redis", METADATA_URL="redis://h", ROOT="/data") | HOT
    settings = load(
        environ=environ,
        catalog=Path("lake.db"),
        layers=[Layer(f"s3://k:{SECRET}@h/b", "mine", "s3", 90)],
        merge_configurations=[[1, 2, 1]],
    )
    assert settings.catalog_url() == "lake.db"
    assert settings.metadata_type is None
    assert settings.layers == [Layer(f"s3://k:{SECRET}@h/b", "mine", "s3", 90)]
    assert settings.merge_configurations == [MergeConfiguration(1, 2, 1)]
    assert SECRET not in repr(settings.shown)
    assert shown(settings)["gigapi.layers[0].ttl"] == ("1m30s", "argument")
    assert settings.source("gigapi.metadata.url") == "argument"
    assert settings.source("merge_configurations[0]") == "argument"
    assert settings.source("gigapi.root") == "environment: GIGAPI_ROOT"


def test_who_names_a_catalog_gets_no_layer_that_nobody_named() -> None:
    assert load(environ=env(ROOT="/data"), catalog="lake.db").layers == []
    assert [each.name for each in load(environ=HOT, catalog="lake.db").layers] == ["hot"]
    assert load(environ=HOT, layers=[]).layers == []
    settings = load(environ={}, merge_configurations=[])
    assert settings.merge_configurations == []
    assert settings.shown[-1] == Setting("merge_configurations", [], "argument")


@pytest.mark.parametrize("catalog", ["", "mysql://h", "redis://h\n"])
def test_a_wrong_catalog(catalog: str) -> None:
    with pytest.raises(
        InvalidConfiguration, match=r"^the catalog's URL is .*; it must be redis://"
    ):
        load(environ={}, catalog=catalog)
    with pytest.raises(InvalidConfiguration, match=r"^--catalog is .*; it must be redis://"):
        load(environ={}, catalog=catalog, catalog_name="--catalog")


def test_wrong_layers() -> None:
    with pytest.raises(InvalidConfiguration, match="two layers"):
        load(environ={}, layers=[Layer("/a", "a"), Layer("/b", "a")])
    with pytest.raises(InvalidName):
        load(environ={}, layers=[Layer("/a", "")])


# Secrets


def test_no_repr_shows_a_secret() -> None:
    environ = HOT | COLD | env(METADATA_URL=f"redis://me:{SECRET}@h/0?password={SECRET}")
    environ |= env(LAYERS_1_AUTH_KEY=SECRET, LAYERS_1_AUTH_SECRET=SECRET)
    environ |= env(LAYERS_0_URL=f"s3://k:{SECRET}@h/b")
    settings = load(environ=environ)
    assert SECRET in settings.catalog_url()
    assert SECRET in settings.layers[0].url
    for text in (repr(settings), str(settings), repr(settings.shown), settings.__rich_repr__()):
        assert SECRET not in str(text)
    assert "gigapi.metadata.url='redis://me:***@h/0?password=***'" in repr(settings)


def test_what_was_found_shows_only_its_source() -> None:
    assert repr(Found(SECRET, "X", "environment: X", Level.ENVIRONMENT)) == "<environment: X>"


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        (env(ROOT="/data"), "environment: GIGAPI_ROOT"),
        (HOT, "environment: GIGAPI_LAYERS_0_URL"),
        (env(METADATA_URL="lake.db", ROOT="/data"), "environment: GIGAPI_METADATA_URL"),
    ],
)
def test_what_said_where_the_catalog_is(environ: dict[str, str], source: str) -> None:
    assert load(environ=environ).catalog_source() == source


def test_a_setting_is_a_plain_value() -> None:
    assert load(environ={}).shown[0] == Setting("gigapi.metadata.type", "json", "default")


FIELDS = ("NAME", "TYPE", "GLOBAL", "URL", "TTL", "AUTH_KEY", "AUTH_SECRET", "X")
NAMES = ["GIGAPI_METADATA_TYPE", "GIGAPI_METADATA_URL", "GIGAPI_ROOT", "GIGAPI_MERGE_TIMEOUT_S"]
NAMES += [f"GIGAPI_LAYERS_{index}_{field}" for index in ("0", "1", "01") for field in FIELDS]
TEXTS = st.one_of(
    st.text(),
    st.sampled_from(["json", "redis", "fs", "s3", "hot", "1h", "true", "10", "/data", "s3://b"]),
    st.builds("{}://{}".format, st.sampled_from(["s3", "redis", "file", "json"]), st.text()),
)


@given(st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text()), TEXTS))
def test_any_environment_is_read_or_refused(environ: dict[str, str]) -> None:
    with suppress(InvalidConfiguration):
        os.fsencode(load(environ=environ).catalog_url("./lake"))
