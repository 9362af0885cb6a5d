"""Reads what there is to read about a catalog, and has it judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gigapi_metadata.catalog import Catalog
from gigapi_metadata.doctor import cluster, json, layers, redis, sentinels, sqlite
from gigapi_metadata.doctor.finding import Finding, error
from gigapi_metadata.doctor.redis_facts import Silent
from gigapi_metadata.doctor.together import together
from gigapi_metadata.errors import MetadataError


class Doctor(msgspec.Struct, frozen=True):
    """What to look at.

    allow_eviction: an eviction policy is no error. write_probe: write, and delete, a file in each
    layer. root: where files lie when there are no layers.
    """

    allow_eviction: bool = False
    write_probe: bool = False
    root: str | None = None


def examine(catalog: Catalog, url: str, doctor: Doctor | None = None) -> Iterator[Finding]:
    """What is wrong with `catalog`, which was opened by `url`, and what is right. Read-only, but
    for the probe when that is asked for. Raises nothing: what fails is a finding."""
    doctor = doctor or Doctor()
    try:
        yield from _of_store(catalog.connection, url, doctor)
    except MetadataError as fault:
        yield error("catalog", str(fault))
    from gigapi_metadata.doctor.reading import layers as storages

    for each in storages.read(catalog.layers, doctor.root, write_probe=doctor.write_probe):
        yield from layers.findings(each)


def _of_store(connection: Any, url: str, doctor: Doctor) -> Iterator[Finding]:
    """By the kind of connection. What only one kind needs is loaded when there is one."""
    from gigapi_metadata.stores.json.connection import JSONConnection
    from gigapi_metadata.stores.sqlite.connection import SQLiteConnection

    if isinstance(connection, SQLiteConnection):
        from gigapi_metadata.doctor.reading import sqlite as sqlite_reading

        yield from sqlite.findings(sqlite_reading.read(str(connection.path)))
    elif isinstance(connection, JSONConnection):
        from gigapi_metadata.doctor.reading import json as json_reading

        yield from json.findings(json_reading.read(connection))
    else:
        yield from _of_redis(connection, url, doctor)


def _of_redis(connection: Any, url: str, doctor: Doctor) -> Iterator[Finding]:
    """A server; or sentinels or a cluster, and then each of their servers."""
    from gigapi_metadata.doctor.reading import groups
    from gigapi_metadata.doctor.reading import redis as redis_reading

    evict = doctor.allow_eviction
    kind = connection.target.topology.kind
    if kind == "server":
        with groups.alone(connection) as asked:
            facts = redis_reading.read(asked, url, redis_reading.NOWHERE)
        yield from redis.findings(facts, allow_eviction=evict)
        return
    everywhere = ""
    if kind == "cluster":
        servers, of_cluster = groups.read_cluster(connection, url)
        yield from cluster.findings(of_cluster)
        everywhere = f"redis-cli --cluster call {min(servers)} " if servers else ""
    else:
        servers, sentinel_group = groups.read_sentinels(connection, url)
        yield from sentinels.findings(connection.target.topology.service, sentinel_group)
    found = {
        name: list(
            redis.silent(facts)
            if isinstance(facts, Silent)
            else redis.findings(facts, allow_eviction=evict)
        )
        for name, facts in servers.items()
    }
    yield from together(found, everywhere)
