"""`config`: every setting in force, and where it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_lab import Cli, Result

FIELDS = {"key", "value", "source"}
MIB = 1 << 20


def settings(result: Result) -> dict[str, tuple[Any, str]]:
    """Key -> value and source."""
    assert result.code == 0
    assert all(set(each) == FIELDS for each in result.json)
    return {each["key"]: (each["value"], each["source"]) for each in result.json}


def columns(result: Result) -> dict[str, tuple[str, str]]:
    """The same of the text, without its headings."""
    assert result.code == 0
    headings, *lines = result.lines
    assert headings.split() == ["setting", "value", "from"]
    value, source = headings.index("value"), headings.index("from")
    return {
        line[:value].strip(): (line[value:source].strip(), line[source:].strip()) for line in lines
    }


def test_nothing_is_configured(cli: Cli) -> None:
    result = cli("config")
    ladder = "from gigapi.merge_timeout_s"
    assert columns(result) == {
        "gigapi.metadata.type": ("json", "default"),
        "gigapi.metadata.url": ("-", "default"),
        "gigapi.root": ("-", "default"),
        "gigapi.merge_timeout_s": ("10", "default"),
        "merge_configurations[0]": (f"[10, {100 * MIB}, 1]", ladder),
        "merge_configurations[1]": (f"[100, {400 * MIB}, 2]", ladder),
        "merge_configurations[2]": (f"[1000, {4000 * MIB}, 3]", ladder),
        "merge_configurations[3]": (f"[4200, {4000 * MIB}, 4]", ladder),
    }
    assert result.err == (
        "no catalog is named: commands use the SQLite catalog of the folder worked on\n"
    )
    result = cli("config", "--json")
    assert settings(result)["gigapi.metadata.url"] == (None, "default")
    assert settings(result)["merge_configurations[0]"] == ([10, 100 * MIB, 1], ladder)


def test_each_value_names_its_source(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.toml").write_text(
        "catalog = 'file.db'\nroot = '/from-file'\nmerge_timeout_s = 5\n"
        "[[layers]]\nname = 'hot'\nurl = '/hot'\nglobal = true\nttl = '90s'\n"
    )
    monkeypatch.setenv("GIGAPI_ROOT", "/from-environment")
    result = cli("config", "--config", "c.toml", "--catalog", "lake.db", "--merge", "1m,1MiB")
    assert result.err == ""
    shown = columns(result)
    assert shown == {
        "gigapi.metadata.type": ("-", "from gigapi.metadata.url"),
        "gigapi.metadata.url": ("lake.db", "argument"),
        "gigapi.root": ("/from-environment", "environment: GIGAPI_ROOT"),
        "gigapi.merge_timeout_s": ("5", "file: c.toml: merge_timeout_s"),
        "gigapi.layers[0].name": ("hot", "file: c.toml: layers[0].name"),
        "gigapi.layers[0].type": ("fs", "from gigapi.layers[0].url"),
        "gigapi.layers[0].global": ("true", "file: c.toml: layers[0].global"),
        "gigapi.layers[0].url": ("/hot", "file: c.toml: layers[0].url"),
        "gigapi.layers[0].ttl": ("1m30s", "file: c.toml: layers[0].ttl"),
        "merge_configurations[0]": (f"[60, {MIB}, 1]", "argument"),
    }
    as_json = settings(cli("config", "--json", "--config", "c.toml", "--catalog", "lake.db"))
    assert as_json["gigapi.metadata.type"] == (None, "from gigapi.metadata.url")
    assert as_json["gigapi.layers[0].global"] == (True, "file: c.toml: layers[0].global")
    assert as_json["gigapi.merge_timeout_s"] == (5, "file: c.toml: merge_timeout_s")


def test_layers_and_merges_of_the_command_line(cli: Cli) -> None:
    shown = columns(cli("config", "--layers", "a=/a", "--layers", "b=/b,ttl=90", "--merge", "none"))
    assert shown["gigapi.layers[1].url"] == ("/b", "argument")
    assert shown["gigapi.layers[1].ttl"] == ("1m30s", "argument")
    assert shown["merge_configurations"] == ("[]", "argument")


def test_gigapis_own_file(cli: Cli) -> None:
    Path("c.yaml").write_text(
        "gigapi:\n  root: /data\n  metadata: {type: redis, url: 'redis://h:6379/0'}\n  mode: all\n"
    )
    result = cli("config", "--config", "c.yaml")
    shown = columns(result)
    assert shown["gigapi.metadata.type"] == ("redis", "file: c.yaml: gigapi.metadata.type")
    assert shown["gigapi.layers[0].url"] == ("/data", "from gigapi.root")
    assert result.err == ""


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_secrets_are_hidden(cli: Cli, monkeypatch: pytest.MonkeyPatch, as_json: list[str]) -> None:
    rows = [{"name": "a", "url": "s3://k:hunter2@h/b"}]
    rows.append({"name": "b", "url": "s3://h/b", "auth": {"key": "k", "secret": "hunter2"}})
    Path("c.json").write_text(json.dumps({"layers": rows}))
    monkeypatch.setenv("GIGAPI_METADATA_URL", "redis://u:hunter2@h:6379/0")
    for words in (
        ["--config", "c.json"],
        ["--catalog", "redis://u:hunter2@h", "--layers", "a=s3://k:hunter2@h/b"],
    ):
        result = cli("config", *words, *as_json)
        assert result.code == 0
        assert "hunter2" not in result.out + result.err
        assert "redis://u:***@h" in result.out
        assert "s3://***:***@h/b" in result.out
    shown = settings(cli("config", "--config", "c.json", "--json"))
    place = "file: c.json: layers[1].auth.secret"
    assert shown["gigapi.layers[1].auth.secret"] == ("***", place)


def test_what_nobody_knows_is_noted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAPI_RROT", "/x")
    monkeypatch.setenv("GIGAPI_XYZZY", "hunter2")
    monkeypatch.setenv("GIGAPI_MODE", "all")
    Path("c.toml").write_text("catalog = 'x.db'\ncolour = 'hunter2'\n")
    result = cli("config", "--config", "c.toml", "--json")
    assert settings(result)["gigapi.metadata.url"][0] == "x.db"
    assert result.err.splitlines() == [
        "unknown, and not used: c.toml: colour",
        "unknown, and not used: GIGAPI_RROT (did you mean GIGAPI_ROOT?)",
        "unknown, and not used: GIGAPI_XYZZY",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("METADATA_TYPE", "sqlite", "is 'sqlite'; it must be json or redis"),
        ("METADATA_URL", "foo://u:pw@h", "is 'foo://u:***@h'; it must be redis://, rediss://"),
        ("ROOT", "s3://k:pw@h/b", "is 's3://***:***@h/b'; it must be the path of a folder"),
        ("MERGE_TIMEOUT_S", "10s", "is '10s'; it must be whole seconds, from 1 to"),
        ("LAYERS_0_URL", "/data", "GIGAPI_LAYERS_0_NAME is missing: each layer must have a name"),
        ("LAYERS_0_COLOUR", "pw", "GIGAPI_LAYERS_0_COLOUR is no setting; "),
    ],
)
def test_a_wrong_variable_is_one_clear_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"GIGAPI_{name}", value)
    result = cli("config")
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    text = message if message.startswith("GIGAPI_") else f"GIGAPI_{name} {message}"
    assert result.err.startswith(f"gigapi-metadata: error: {text}")
    assert "pw" not in result.err


def test_a_wrong_value_in_a_file_is_one_clear_line(cli: Cli) -> None:
    Path("c.yaml").write_text("gigapi:\n  layers:\n  - {name: hot, url: /data, ttl: 600}\n")
    result = cli("config", "--config", "c.yaml")
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    where = "c.yaml: gigapi.layers[0].ttl"
    assert result.err.startswith(
        f"gigapi-metadata: error: {where} is 600; it must be a Go duration, such as 90s"
    )
