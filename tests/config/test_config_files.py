"""YAML, TOML and JSON files, GigAPI's and ours, well-formed and not."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gigapi_metadata.config import load
from gigapi_metadata.config.files import read
from gigapi_metadata.errors import InvalidConfiguration, MissingExtra
from gigapi_metadata.model import Layer

SECRET = "hunter2"
MIB = 2**20

GIGAPI = {
    "gigapi": {
        "root": "/data",
        "merge_timeout_s": 15,
        "save_timeout_s": 2.5,
        "no_merges": True,
        "ui": True,
        "mode": "aio",
        "metadata": {"type": "redis", "url": f"redis://me:{SECRET}@h/0"},
        "layers": [
            {"name": "hot", "type": "fs", "global": False, "url": "file:///hot", "ttl": "10m"},
            {
                "name": "cold",
                "type": "s3",
                "global": True,
                "url": "s3://h/b",
                "auth": {"key": "k", "secret": SECRET},
            },
        ],
    },
    "http": {"port": 8080, "host": "127.0.0.1", "basic_auth": {"username": "a", "password": "b"}},
    "flightsql": {"port": 9090, "enable": True},
    "loglevel": "debug",
}
YAML = f"""
gigapi:
  root: "/data"
  merge_timeout_s: 15
  no_merges: true
  metadata: {{type: redis, url: "redis://me:{SECRET}@h/0"}}
  layers:
    - &layer
      name: hot
      type: fs
      global: false
      url: file:///hot
      ttl: 10m
    - name: cold
      type: s3
      global: true
      url: s3://h/b
      ttl: ~
      auth:
        key: k
        secret: {SECRET}
http:
  port: 8080
"""
TOML = f"""
[gigapi]
root = "/data"
merge_timeout_s = 15
[gigapi.metadata]
type = "redis"
url = "redis://me:{SECRET}@h/0"
[[gigapi.layers]]
name = "hot"
type = "fs"
global = false
url = "file:///hot"
ttl = "10m"
[[gigapi.layers]]
name = "cold"
type = "s3"
global = true
url = "s3://h/b"
auth = {{key = "k", secret = "{SECRET}"}}
[http]
port = 8080
"""
FLAT = {
    "GIGAPI.Root": "/data",
    "gigapi.merge_timeout_s": "15",
    "gigapi.metadata.type": "redis",
    "gigapi.metadata.url": f"redis://me:{SECRET}@h/0",
    "gigapi.layers[0].name": "hot",
    "gigapi.layers[0].url": "file:///hot",
    "gigapi.layers[0].TTL": "10m",
    "gigapi.layers[1].name": "cold",
    "gigapi.layers[1].global": "true",
    "gigapi.layers[1].url": "s3://h/b",
    "gigapi.layers[1].auth.key": "k",
    "gigapi.layers[1].auth.secret": SECRET,
}
OURS = f"""
catalog = "redis://me:{SECRET}@h/0"
metadata.type = "redis"
root = "/data"
merge_timeout_s = 15
merge_configurations = [[15, 104857600, 1], ["2m30s", "400MiB", 2]]
[[layers]]
name = "hot"
url = "file:///hot"
ttl_sec = 600
[[layers]]
name = "cold"
url = "s3://h/b"
global = true
auth_key = "k"
auth_secret = "{SECRET}"
"""

Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> str:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return os.fspath(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.yaml", YAML),
        ("x.yml", YAML.replace("\n", "\r\n")),
        ("x.YAML", json.dumps(GIGAPI)),
        ("x.toml", TOML),
        ("x.json", json.dumps(GIGAPI)),
        ("bom.json", "\ufeff" + json.dumps(GIGAPI)),
        ("bom.yaml", "\ufeff" + YAML),
        ("bom.toml", "\ufeff" + TOML),
        ("upper.json", json.dumps(GIGAPI).replace("layers", "Layers").replace("ttl", "TTL")),
        ("flat.json", json.dumps(FLAT)),
        ("flat.yaml", json.dumps(FLAT)),
        ("ours.toml", OURS),
    ],
)
def test_a_file(write: Write, name: str, content: str) -> None:
    found = load(write(name, content), {})
    assert found.metadata_type == "redis"
    assert found.catalog_url() == f"redis://me:{SECRET}@h/0"
    assert found.root == "/data"
    assert found.merge_timeout_s == 15
    assert found.layers == [
        Layer("file:///hot", "hot", "fs", 600),
        Layer(f"s3://k:{SECRET}@h/b", "cold", "s3", 0),
    ]
    assert found.global_layers == ["cold"]
    assert [(row.timeout_sec, row.max_size) for row in found.merge_configurations[:2]] == [
        (15, 100 * MIB),
        (150, 400 * MIB),
    ]
    assert found.unknown == []
    assert SECRET not in repr(found)


def test_the_source_is_the_file_and_the_key_as_written(write: Write) -> None:
    path = write("x.json", '{"GigAPI": {"Layers": [{"Name": "a", "Url": "/a"}]}, "root": "/r"}')
    found = load(path, {})
    assert found.source("gigapi.layers[0].name") == f"file: {path}: GigAPI.Layers[0].Name"
    assert found.source("gigapi.root") == f"file: {path}: root"
    assert found.source("gigapi.layers[0].ttl") == "default"


def test_the_environment_goes_before_the_file(write: Write) -> None:
    path = write("x.toml", TOML)
    found = load(path, {"GIGAPI_ROOT": "/other", "GIGAPI_MERGE_TIMEOUT_S": "1"})
    assert (found.root, found.merge_timeout_s) == ("/other", 1)
    assert found.source("gigapi.root") == "environment: GIGAPI_ROOT"
    assert found.metadata_type == "redis"


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"GIGAPI_METADATA_TYPE": "json"}, "json:///data"),
        ({"GIGAPI_METADATA_URL": "sqlite:///x.db"}, "sqlite:///x.db"),
        ({"GIGAPI_METADATA_URL": "redis://other"}, "redis://other"),
        ({"GIGAPI_METADATA_TYPE": "redis"}, f"redis://me:{SECRET}@h/0"),
    ],
)
def test_the_environment_can_undo_half_of_what_the_file_says(
    write: Write, variables: dict[str, str], url: str
) -> None:
    assert load(write("x.toml", TOML), variables).catalog_url() == url


def test_a_layer_of_the_environment_takes_the_place_of_the_files(write: Write) -> None:
    path = write("x.toml", TOML)
    mine = {"GIGAPI_LAYERS_0_NAME": "mine", "GIGAPI_LAYERS_0_URL": "/mine"}
    assert load(path, mine).layers == [
        Layer("/mine", "mine"),  # with no ttl: nothing is left of the file's layer 0
        Layer(f"s3://k:{SECRET}@h/b", "cold", "s3"),
    ]
    third = {"GIGAPI_LAYERS_2_NAME": "ice", "GIGAPI_LAYERS_2_URL": "/ice"}
    assert [each.name for each in load(path, third).layers] == ["hot", "cold", "ice"]


def test_the_environment_can_hold_the_secret_of_a_files_layer(write: Write) -> None:
    path = write("x.toml", '[[layers]]\nname = "cold"\nurl = "s3://h/b"\nauth_key = "k"')
    with pytest.raises(InvalidConfiguration, match=r"x.toml: layers\[0\].auth.secret is missing"):
        load(path, {})
    found = load(path, {"GIGAPI_LAYERS_0_AUTH_SECRET": SECRET, "GIGAPI_LAYERS_0_TTL": "1m"})
    assert found.layers == [Layer(f"s3://k:{SECRET}@h/b", "cold", "s3", 60)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.yaml", ""),
        ("x.yaml", "# nothing\n---\n"),
        ("x.toml", ""),
        ("x.json", "{}"),
        ("x.json", "null"),
        (
            "x.json",
            '{"gigapi": {"metadata": {}, "layers": [], "root": "", "merge_timeout_s": null}}',
        ),
        ("x.json", '{"gigapi": null, "layers": null, "metadata": null}'),
        ("x.json", '{"gigapi": {}, "http": {"port": 1}, "basic_auth": 1}'),
    ],
)
def test_a_file_that_says_nothing(write: Write, name: str, content: str) -> None:
    assert load(write(name, content), {}) == load(None, {})


def test_no_merges_at_all(write: Write) -> None:
    assert load(write("x.toml", "merge_configurations = []"), {}).merge_configurations == []


def test_unknown_keys_are_named(write: Write) -> None:
    path = write("x.json", '{"gigapi": {"wal": {"size": 1}, "mode": "aio"}, "extra": 1, "ui": 1}')
    assert load(path, {}).unknown == [f"{path}: gigapi.wal.size", f"{path}: extra"]


# Wrong values

LAYER = '{"name": "a", "url": "/a", %s}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds a list; it must hold keys, such as gigapi.root"),
        ('"text"', "holds a value of type str; it must hold keys"),
        ("5", "holds a number; it must hold keys"),
        ('{"gigapi": 5}', "gigapi: gigapi must be a group of keys"),
        ('{"gigapi": [1]}', r"gigapi\[0\]: gigapi must be a group of keys"),
        ('{"gigapi": {"metadata": "redis"}}', "gigapi.metadata: metadata must be a group"),
        ('{"gigapi": {"metadata": []}}', "gigapi.metadata: metadata must be a group"),
        ('{"metadata": {"typ": "x"}}', "metadata.typ is no setting; did you mean type?"),
        ('{"metadata": {"zzz": 1}}', "metadata.zzz is no setting; known are type, url"),
        ('{"gigapi": {"root": 5}}', "gigapi.root is 5; it must be the path of a folder"),
        ('{"gigapi": {"root": ["a"]}}', r"gigapi.root\[0\]: root must be a single value"),
        (
            '{"gigapi": {"root": {}}}',
            "gigapi.root is a group of keys; it must be",
        ),
        ('{"gigapi": {"root": {"a": 1}}}', "gigapi.root.a: root must be a single value"),
        ('{"catalog": true}', "catalog is True; it must be redis://"),
        ('{"merge_timeout_s": true}', "merge_timeout_s is True; it must be whole seconds"),
        ('{"merge_timeout_s": 1.5}', "merge_timeout_s is 1.5; it must be whole seconds"),
        ('{"merge_timeout_s": 1e400}', "merge_timeout_s is a number; it must be whole seconds"),
        ('{"merge_timeout_s": NaN}', "merge_timeout_s is a number; it must be whole seconds"),
        ('{"merge_timeout_s": %s}' % ("9" * 4000), "is a number; it must be whole seconds"),
        ('{"merge_timeout_s": %s}' % ("9" * 5000), "not valid JSON: a number or date"),
        ('{"gigapi": {"merge_timeout": 5}}', "merge_timeout is no.*mean merge_timeout_s?"),
        ('{"gigapi": {"layer": []}}', "gigapi.layer is no setting; did you mean layers?"),
        ('{"GIGAPI_ROOT": "/data"}', "GIGAPI_ROOT is no setting; did you mean root?"),
        ('{"metdata": {"type": "json"}}', "metdata.type is no setting; did you mean metadata?"),
        ('{"catalog": "a", "metadata": {"url": "b"}}', "metadata.url and .*catalog are the same"),
        ('{"root": "a", "gigapi": {"Root": "b"}}', "gigapi.Root and .*root are the same setting"),
        ('{"root": "a", "root": "b"}', "not valid JSON: the key 'root' stands twice"),
        ('{"layers": "a"}', "layers: layers must be a list of layers"),
        ('{"layers": {"name": "a"}}', "layers.name: layers must be a list of layers"),
        ('{"layers": {}}', "layers: layers must be a list of layers"),
        ('{"layers": ["a"]}', r"layers\[0\]: a layer must be a group of keys"),
        ('{"layers": [[1]]}', r"layers\[0\]\[0\]: layers must be a list of layers"),
        ('{"layers": [{}]}', r"layers\[0\]: a layer must be a group of keys"),
        ('{"layers[01].name": "a"}', "layers must be a list of layers"),
        ('{"layers": [null, {"name": "a", "url": "/"}]}', r"layers\[0\].name is missing, yet"),
        ('{"layers": [{"name": "a"}]}', r"layers\[0\].url is missing: each layer must have"),
        ('{"layers": [{"url": "a"}]}', r"layers\[0\].name is missing: each layer must have"),
        ('{"layers": [{"name": 5, "url": "a"}]}', r"layers\[0\].name is 5; .* text, in quotes"),
        ('{"layers": [%s]}' % (LAYER % '"ttl": 600'), r"\[0\].ttl is 600; .* a Go duration"),
        ('{"layers": [%s]}' % (LAYER % '"ttl": -1'), r"\[0\].ttl is -1; .* a Go duration"),
        ('{"layers": [%s]}' % (LAYER % '"ttl": true'), r"\[0\].ttl is True; .* a Go duration"),
        ('{"layers": [%s]}' % (LAYER % '"ttl_sec": "10m"'), r"\[0\].ttl_sec is '10m'; .* seconds"),
        ('{"layers": [%s]}' % (LAYER % '"ttl": "1m", "ttl_sec": 60'), "are the same setting"),
        ('{"layers": [%s]}' % (LAYER % '"global": 2'), r"\[0\].global is 2; .* true or false"),
        ('{"layers": [%s]}' % (LAYER % '"type": ["fs"]'), r"type\[0\]: type must be a single"),
        ('{"layers": [%s]}' % (LAYER % '"auth": "k"'), "auth: auth must be a group of keys"),
        ('{"layers": [%s]}' % (LAYER % '"auth": {"k": 1}'), "auth.k is no setting"),
        ('{"layers": [%s]}' % (LAYER % '"tll": "1m"'), "tll is no setting; did you mean ttl"),
        ('{"layers": [%s]}' % (LAYER % '"auth": {"secret": 5}'), r"auth.secret is \*\*\*"),
        (
            '{"layers": [%s]}' % (LAYER % '"auth": {"key": "k"}, "auth_key": "k"'),
            "auth_key and .*auth.key are the same setting",
        ),
        (
            '{"layers": [%s, {"name": "a", "url": "/b"}]}' % (LAYER % '"ttl": 0'),
            r"layers\[0\].name and .*layers\[1\].name are both 'a'",
        ),
        ('{"merge_configurations": 5}', "merge_configurations is 5; it must be a list of rows"),
        ('{"merge_configurations": {"a": 1}}', "is a group of keys; it must be a list of rows"),
        ('{"merge_configurations": [5]}', r"merge_configurations\[0\] is 5; it must be a row"),
        ('{"merge_configurations": [[1, 2]]}', r"\[0\] is a list; it must be a row"),
        ('{"merge_configurations": [[1, 2, 2]]}', r"\[0\]: row 1 is for iteration 1"),
        ('{"merge_configurations": [[1, 2, true]]}', r"\[0\]: row 1 is for iteration 1"),
        ('{"merge_configurations": [[-1, 2, 1]]}', r"\[0\] is -1; it must be a timeout"),
        ('{"merge_configurations": [["x", 2, 1]]}', r"\[0\] is 'x'; it must be a Go duration"),
        ('{"merge_configurations": [[1, "2MX", 1]]}', r"\[0\] is '2MX'; it must be a number of b"),
        ('{"merge_configurations": [[1, -2, 1]]}', r"\[0\] is -2; it must be a number of bytes"),
        ('{"merge_configurations": [[1, 1.5, 1]]}', r"\[0\] is 1.5; it must be a number of byt"),
        ('{"merge_configurations": [[1, null, 1]]}', r"\[0\] is nothing; it must be a number"),
    ],
)
def test_a_wrong_value(write: Write, content: str, message: str) -> None:
    path = write("x.json", content)
    with pytest.raises(InvalidConfiguration, match=message) as caught:
        load(path, {})
    assert path in str(caught.value)
    assert len(str(caught.value)) < len(path) * 2 + 400


# Files that can't be read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "", "x.json is not valid JSON: line 1 column 1"),
        ("x.json", '{\n "a": hunter2}', "not valid JSON: line 2 column 7"),
        ("x.json", "[" * 100_000, "nested too deep"),
        ("x.yaml", "[" * 10_000, "nested too deep"),
        ("x.toml", "a = " + "[" * 10_000, "nested too deep"),
        ("x.json", '{"a": ' + "[" * 20 + "1" + "]" * 20 + "}", "nested too deep"),
        ("x.toml", "a = hunter2", "not valid TOML: line 1, column 5"),
        ("x.toml", "a = ", "not valid TOML: "),
        ("x.toml", 'root = "a"\nroot = "b"', "not valid TOML: "),
        ("x.yaml", "a: *hunter2", r"not valid YAML: line 1, column 4 \(found undefined alias\)"),
        ("x.yaml", "a: !hunter2 b", r"not valid YAML: line 1, column 4 \(could not determine"),
        ("x.yaml", "a: b: hunter2", r"line 1, column 5 \(mapping values are not allowed here\)"),
        ("x.yaml", "a: [hunter2", "not valid YAML: line 1, column"),
        ("x.yaml", "a: hunter2\n--- \nb: 1", "not valid YAML: line 2, column 1"),
        ("x.yaml", "a: \x07hunter2", "not valid YAML: unreadable characters"),
        ("x.yaml", "a: !!bool hunter2", "not valid YAML: a value does not fit its tag"),
        ("x.yaml", "a: !!timestamp hunter2", "not valid YAML: a value does not fit its tag"),
        ("x.yaml", "a: !!int hunter2", "not valid YAML: a number or date can't be read"),
        ("x.yaml", "a: 2024-99-99", "not valid YAML: a number or date can't be read"),
        ("x.yaml", "a: !!python/object/apply:os.system [hunter2]", "not valid YAML: line 1"),
        ("x.yaml", "? [a]\n: hunter2", "not valid YAML: line 1"),
        ("x.yaml", "gigapi: {root: a}\ngigapi: {root: b}", "the key 'gigapi' stands twice"),
        ("x.yaml", "a: &a [*a]", "nested too deep"),
        ("x.yaml", "a: &a {b: *a}", "nested too deep"),
        ("x.json", b'{"root": "\xff hunter2"}', r"not UTF-8 \(byte 11\)"),
        ("x.json", '{"root": "hunter2"}'.encode("utf-16"), "not UTF-8"),
        ("x.json", " " * (1024 * 1024 + 1), "larger than 1 MiB"),
        ("x.ini", "root=hunter2", "must end in .yaml, .yml, .toml, .json"),
        ("config", "root=hunter2", "must end in"),
        (".json", "{}", "must end in"),
        ("x.json", json.dumps({"extra": list(range(10_001))}), "more than 10000 values"),
    ],
)
def test_a_broken_file(write: Write, name: str, content: str | bytes, message: str) -> None:
    path = write(name, content)
    with pytest.raises(InvalidConfiguration, match=message) as caught:
        load(path, {})
    printed = "".join(traceback.format_exception(caught.value, chain=True))
    assert path in str(caught.value)
    # The test's own source line may be in it; the file's text may not.
    assert SECRET not in re.sub(r"(?m)^  File .*\n(    .*\n)*", "", printed)


def test_a_bomb_of_aliases(write: Write) -> None:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    lines.insert(0, "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]")
    with pytest.raises(InvalidConfiguration, match="more than 10000 values"):
        load(write("x.yaml", "\n".join(lines)), {})


def test_yaml_merges_groups(write: Write) -> None:
    text = "base: &b {url: /a, ttl: 1m}\nlayers:\n- {<<: *b, name: a}\n- {<<: *b, name: b, url: /b}"
    assert load(write("x.yaml", text), {}).layers == [
        Layer("/a", "a", ttl_sec=60),
        Layer("/b", "b", ttl_sec=60),
    ]


def test_no_file(tmp_path: Path) -> None:
    missing = tmp_path / "no.toml"
    with pytest.raises(InvalidConfiguration, match=r"no.toml': No such file") as caught:
        load(missing, {})
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InvalidConfiguration, match=r"folder.toml': Is a directory"):
        load(tmp_path / "folder.toml", {})
    with pytest.raises(InvalidConfiguration, match="null byte"):
        load("x\0.toml", {})
    with pytest.raises(InvalidConfiguration, match="No such file"):
        load("", {})


def test_yaml_without_pyyaml(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtra, match=r"pip install 'gigapi-metadata\[yaml\]'"):
        load(write("x.yaml", YAML), {})
    assert load(write("x.toml", TOML), {}).root == "/data"


KEYS = ["gigapi", "layers", "name", "url", "ttl", "auth", "key", "secret", "root", "metadata"]
KEYS += ["type", "catalog", "global", "merge_configurations"]
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.text(max_size=3),
                st.sampled_from(KEYS),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_any_json_is_read_or_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value))
    with suppress(InvalidConfiguration):
        load(path, {})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from([".json", ".toml", ".yaml"]), data=st.data())
def test_any_bytes_are_read_or_refused(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    text = st.text("ab:-[]{}&*!?|>'\"%@`#=, \n\t0123.<~y", max_size=30).map(str.encode)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data.draw(st.one_of(st.binary(), text)))
    with suppress(InvalidConfiguration):
        read(path)
