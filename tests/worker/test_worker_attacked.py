"""A worker on a catalog that somebody hostile can write to: nothing outside the layers is read,
written or deleted, and honest work goes on.

The attacker writes raw keys, so whatever our own verbs would refuse is tried. `Victim` is a folder
beside the layers with files of every name that the attacks aim at.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from worker_lab import Lab, Tables, finish, rows_of, work

from gigapi_metadata import InvalidName, Layer, StoreError
from gigapi_metadata.cli import main
from gigapi_metadata.worker import Filter

SECRET = "secret.1.parquet"
DAY = "date=2024-01-15"


def outside(victim: Path) -> list[str]:
    """Paths that lead, or might lead, to the victim's file from a table's data folder."""
    up = "../" * 3
    return [
        f"{up}victim/{SECRET}",
        f"{DAY}/../{up}victim/{SECRET}",
        f"{DAY}/hour=00/../../../../../victim/{SECRET}",
        f"{victim}/{SECRET}",
        f"//{victim}/{SECRET}",
        f"{DAY}/link/{SECRET}",  # a folder that is a symbolic link
        f"{DAY}/hour=00/file-link.1.parquet",  # and a file
        f"{DAY}\\..\\..\\..\\..\\victim\\{SECRET}",
        f"{DAY}/%2e%2e/%2e%2e/%2e%2e/victim/{SECRET}",
        f"{DAY}/․․/․․/victim/{SECRET}",
        f"{DAY}／..／..／..／victim／{SECRET}",
        f"{DAY}/hour=00\x00/../../../../victim/{SECRET}",
        f"{DAY}/hour=00/\n../../../../victim/{SECRET}",
        f"file://{victim}/{SECRET}",
        f"{DAY}/{'../' * 2000}{str(victim).lstrip('/')}/{SECRET}",
        f"{DAY}/{'x' * 5000}/{SECRET}",
        f"{DAY}/hour=00/*",
        f"{DAY}/hour=00/[a-z]*.parquet",
        "..",
        ".",
        "",
        "/",
    ]


class Attack:
    """An honest lake with a catalog on Redis, and a victim beside it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.victim = folder / "victim"
        self.victim.mkdir()
        pq.write_table(pa.table({"__timestamp": [1], "password": ["x"]}), self.victim / SECRET)
        (self.victim / "metadata.json").write_text("{}")
        self.lab = Lab(
            folder,
            redis=url,
            layers=(
                Layer(f"file://{folder}/hot", "hot", "fs", 3600),
                Layer(f"file://{folder}/cold", "cold"),
            ),
            merge=((0, 10**9, 1),),
        )
        with Tables(self.lab) as catalog:
            self.lab.add(catalog, 3)
        data = self.lab.data_folder("hot") / DAY
        (data / "link").symlink_to(self.victim)
        (data / "hour=00" / "file-link.1.parquet").symlink_to(self.victim / SECRET)
        self.rows = rows_of(self.lab)
        self.before = self.state()
        self.client: redis.Redis = redis.Redis.from_url(url)

    def state(self) -> dict[str, tuple[bytes, int, int]]:
        """Everything about the victim's files that reading leaves alone and all else changes."""
        return {
            path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_nlink)
            for path in self.victim.iterdir()
        }

    def entry(self, path: str, layer: str = "hot", field: str | None = None) -> None:
        """An entry as a hostile writer stores it; under another path than its own with `field`."""
        document = {
            "layer": layer,
            "writer_id": "",
            "database": "db",
            "table": "readings",
            "path": path,
            "size_bytes": 500,
            "row_count": 1,
            "min": None,
            "max": None,
            "str_min_time": "1",
            "str_max_time": "2",
            "str_chunk_time": "1",
        }
        at = path if field is None else field
        day = at.partition("/")[0]
        self.client.hset(f"files:db:readings:{day}", at, json.dumps(document))
        self.client.hset("folders:db:readings", at.rpartition("/")[0], 1)

    def queue(self, key: str, item: dict[str, Any]) -> None:
        self.client.rpush(
            f"{key}:idle", json.dumps({"id": os.urandom(8).hex(), "time_s": 1} | item)
        )

    def run(self) -> None:
        """Work, then look at what has become of the victim, and of the honest rows."""
        work(self.lab)
        self.check()

    def check(self) -> None:
        assert self.state() == self.before
        for file in self.lab.folder.rglob("*.parquet"):
            if file.is_file() and not file.is_symlink() and self.victim not in file.parents:
                assert "password" not in pq.read_schema(file).names, f"{file} was copied"


@pytest.fixture
def attack(tmp_path: Path, redis_url: str) -> Attack:
    return Attack(tmp_path, redis_url)


def test_drops_of_files_outside(attack: Attack) -> None:
    for path in outside(attack.victim):
        attack.queue("drop:db:readings:hot:", {"path": path, "layer": "hot"})
        attack.queue("drop:db:readings:cold:", {"path": path, "layer": "../victim"})
    attack.run()
    assert rows_of(attack.lab) == attack.rows


def test_moves_of_files_outside(attack: Attack) -> None:
    for path in outside(attack.victim):
        attack.entry(path)
        for path_to in (f"{DAY}/hour=00/{os.urandom(4).hex()}.1.parquet", path):
            attack.queue(
                "move:db:readings:hot:",
                {"path_from": path, "layer_from": "hot", "path_to": path_to, "layer_to": "cold"},
            )
    attack.run()


def test_moves_to_places_outside(attack: Attack) -> None:
    with Tables(attack.lab) as catalog:
        paths = [entry.path for entry in catalog.index().get_all()]
    for number, path_to in enumerate(outside(attack.victim)):
        for layer_to in ("cold", "hot", "../victim", "nowhere", f"{attack.victim}", "hot/../.."):
            attack.queue(
                "move:db:readings:hot:",
                {
                    "path_from": paths[number % len(paths)],
                    "layer_from": "hot",
                    "path_to": path_to,
                    "layer_to": layer_to,
                },
            )
    attack.run()
    assert rows_of(attack.lab) == attack.rows


def test_merges_of_files_outside(attack: Attack) -> None:
    attack.client.delete(*attack.client.keys("merge:*"))
    for path in outside(attack.victim):
        attack.entry(path)
        attack.queue(
            f"merge:db:readings:1:{DAY}/hour=00:hot:", {"paths": [path, path + "x"], "size": 1}
        )
    attack.run()


def test_merges_into_places_outside(attack: Attack) -> None:
    with Tables(attack.lab) as catalog:
        paths = [entry.path for entry in catalog.index().get_all()]
    attack.client.delete(*attack.client.keys("merge:*"))
    for number, path in enumerate(outside(attack.victim)):
        dir = path.rpartition("/")[0]
        attack.client.hset("folders:db:readings", dir, 1)
        attack.queue(
            f"merge:db:readings:1:{dir}:hot:",
            {"id": f"../../{number}", "paths": [paths[0], paths[1]], "size": 1},
        )
    attack.run()
    assert rows_of(attack.lab) == attack.rows


def test_entries_that_say_another_path_than_their_key(attack: Attack) -> None:
    attack.client.delete(*attack.client.keys("merge:*"))
    for number, path in enumerate(outside(attack.victim)):
        for kind in ("one", "two"):
            field = f"{DAY}/hour=00/{kind}-{number}.1.parquet"
            attack.entry(path, field=field)
        attack.queue(
            f"merge:db:readings:1:{DAY}/hour=00:hot:",
            {"paths": [f"{DAY}/hour=00/{kind}-{number}.1.parquet" for kind in ("one", "two")]},
        )
        attack.queue(
            "move:db:readings:hot:",
            {
                "path_from": f"{DAY}/hour=00/one-{number}.1.parquet",
                "layer_from": "hot",
                "path_to": f"{DAY}/hour=00/{os.urandom(4).hex()}.1.parquet",
                "layer_to": "cold",
            },
        )
    attack.run()


TABLES = [
    ("..", "victim"),
    ("../victim", "x"),
    (".", ".."),
    ("db", ".."),
    ("db", "readings/../../../victim"),
    ("db\x00", "t"),
    ("db\n", "t"),
    ("*", "*"),
    ("", ""),
    ("x" * 4000, "t"),
]


def test_tables_that_are_no_tables(attack: Attack) -> None:
    """Such a name can't be worked on, and does not keep the others from being worked on."""
    for database, table in TABLES:
        for key in (f"drop:{database}:{table}:hot:", f"move:{database}:{table}:hot:"):
            attack.queue(key, {"path": SECRET, "path_from": SECRET, "layer_to": ""})
        attack.client.hset(f"folders:{database}:{table}", "victim", 1)
    with Tables(attack.lab) as catalog:
        waiting = len(catalog.index().plans())
    lab = attack.lab
    with pytest.raises((InvalidName, StoreError)):  # at the end, and once everything else is done
        work(lab, wanted=Filter())
    attack.check()
    with Tables(lab) as catalog:
        left = [plan for plan in catalog.index().plans() if plan.kind == "merge"]
    assert waiting
    assert not left, "the honest table's merges were not carried out"


HOSTILE_ITEMS = [
    '{"id":5,"time_s":1,"path":7}',
    '{"id":"a","time_s":1,"path":{}}',
    '{"id":"b","time_s":1,"path":["x"]}',
    '{"id":"c","time_s":"1e999","path":"date=2024-01-15/x"}',
    '{"id":"d","time_s":-1e308,"path":"date=2024-01-15/x"}',
    '{"id":"e","time_s":nan,"path":"date=2024-01-15/x"}',
    '{"id":null,"time_s":null,"path":null}',
    "[]",
    "{}",
    "5",
    '"text"',
    "{",
    "",
    "\x00",
    "[" * 5000,
    '{"id":"f","time_s":1,"path":' + "[" * 900 + "]" * 900 + "}",
    '{"id":"' + "g" * 100_000 + '","time_s":1,"path":"date=2024-01-15/x"}',
    '{"id":"h","time_s":1,"path":"\\ud800/x"}',
]


@pytest.mark.parametrize("kind", ["drop", "move", "merge"])
def test_items_that_are_no_plans(attack: Attack, kind: str) -> None:
    """They end in an error of ours or are passed over; the honest plans are carried out."""
    path = f"{DAY}/hour=00/victim.1.parquet"
    attack.entry(path)
    attack.client.hset("folders:db:readings", f"{DAY}/hour=01", 1)
    fields = f'"path_from":"{path}","paths":["{path}"],"path_to":5,"path":'
    for number, hostile in enumerate(HOSTILE_ITEMS):
        item = hostile.replace('"path":', fields, 1)
        place = f"1:{DAY}/hour=01:hot" if kind == "merge" else "hot"
        attack.client.rpush(f"{kind}:db:readings:{place}:writer-{number}:idle", item)
    assert main(_words(attack.lab)) in (0, 1)
    assert not attack.client.keys(f"merge:db:readings:1:{DAY}/hour=00:hot::idle")
    attack.check()


def _words(lab: Lab) -> list[str]:
    layers = [f"--layers={layer.name}={layer.url},ttl={layer.ttl_sec}" for layer in lab.layers]
    lab.temporary.mkdir(exist_ok=True)
    return ["--catalog", lab.redis, *layers, "worker", "--once", f"--temporary={lab.temporary}"]


def test_what_a_hostile_catalog_says_can_not_upset_a_terminal(
    attack: Attack, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"{DAY}/hour=00/\x1b]0;owned\x07\x1b[2J.1.parquet"
    attack.entry(path)
    attack.queue("drop:db:readings:hot:\x1b[31m", {"path": path + "\r\n"})
    attack.queue("move:db:readings:hot:", {"path_from": path, "layer_to": "\x1b[31m"})
    for words in (
        _words(attack.lab),
        ["--catalog", attack.lab.redis, "plans", "db.readings"],
        ["--catalog", attack.lab.redis, "plans", "db.readings", "--all"],
        ["--catalog", attack.lab.redis, "files", "db.readings"],
        ["--catalog", attack.lab.redis, "databases"],
        ["--catalog", attack.lab.redis, "paths", "db.readings"],
        [*_words(attack.lab)[:-2], "--dry-run"],
    ):
        main(words)
        shown = capsys.readouterr()
        for text in (shown.out, shown.err):
            assert not {char for char in text if not char.isprintable()} - {"\n"}, words


def test_the_honest_work_is_done_in_the_end(attack: Attack) -> None:
    """After all of it, what is honest merges and moves on as ever."""
    for path in outside(attack.victim)[:6]:
        attack.queue("drop:db:readings:hot:", {"path": path})
    attack.client.delete("drop:db:readings:hot::idle")
    finish(attack.lab)
    attack.check()
    assert rows_of(attack.lab) == attack.rows
