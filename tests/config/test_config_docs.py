"""docs/configuration.md: its examples are read, and every variable is in its table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gigapi_metadata.config import load
from gigapi_metadata.config.files import LAYER_FIELDS
from gigapi_metadata.config.loading import _VARIABLES
from gigapi_metadata.model import Layer

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_table_has_every_setting() -> None:
    table = dict(re.findall(r"^\| `(GIGAPI_\w+(?:<i>_\w+)?)` \| `(gigapi\.[^`]+)`", PAGE, re.M))
    expected = {variable: f"gigapi.{key}" for key, variable in _VARIABLES.items()}
    for field in LAYER_FIELDS:
        name = field.upper().replace(".", "_")
        expected[f"GIGAPI_LAYERS_<i>_{name}"] = f"gigapi.layers[i].{field}"
    assert table == expected


@pytest.mark.parametrize(
    ("language", "url", "layers"),
    [
        (
            "yaml",
            "redis://localhost:6379/0",
            [
                Layer("file:///data/hot", "hot", "fs", 600),
                Layer(
                    "s3://minio:minio123@localhost:9000/bucket/prefix?secure=false", "cold", "s3"
                ),
            ],
        ),
        ("toml", "sqlite:///lake.db", [Layer("./data", "hot", "fs", 5400)]),
    ],
)
def test_the_examples(tmp_path: Path, language: str, url: str, layers: list[Layer]) -> None:
    example = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
    assert example
    file = tmp_path / f"lake.{language}"
    file.write_text(example[1])
    settings = load(file, {})
    assert settings.catalog_url() == url
    assert settings.layers == layers
    assert settings.unknown == []
