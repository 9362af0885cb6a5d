"""A table that moves from one node of a cluster to another."""

from __future__ import annotations

from contextlib import suppress

import redis
from fix_redis import RedisServer
from fix_topologies import Cluster
from redis.cluster import key_slot


class Move:
    """A slot on its way from its node to another, as redis-cli --cluster reshard does it: key by
    key, while others write."""

    def __init__(self, cluster: Cluster, tag: str, to: RedisServer | None = None) -> None:
        self._cluster, self._slot = cluster, key_slot(tag.encode())
        self.source = cluster.owner(tag)
        self._to = to or next(server for server in cluster.masters if server is not self.source)
        source_id, self._id = cluster.id_of(self.source), cluster.id_of(self._to)
        with self.source.client() as old, self._to.client() as new:
            new.execute_command("CLUSTER SETSLOT", self._slot, "IMPORTING", source_id)
            old.execute_command("CLUSTER SETSLOT", self._slot, "MIGRATING", self._id)

    def left(self) -> list[bytes]:
        """The keys that are still to be moved."""
        with self.source.client() as old:
            found = old.execute_command("CLUSTER GETKEYSINSLOT", self._slot, 1000)
        return [key.encode() if isinstance(key, str) else key for key in found]

    def take(self, key: bytes) -> None:
        """Move one key."""
        with self.source.client() as old:
            old.execute_command("MIGRATE", "127.0.0.1", self._to.port, "", 0, 5000, "KEYS", key)

    def finish(self) -> None:
        """Move what is left, and tell all nodes."""
        while found := self.left():
            self.take(found[0])
        for server in (self._to, self.source, *self._cluster.masters):
            with server.client() as client, suppress(redis.ResponseError):
                client.execute_command("CLUSTER SETSLOT", self._slot, "NODE", self._id)
