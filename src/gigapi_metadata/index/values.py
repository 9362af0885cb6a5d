"""Keys and values, blocking and awaitable."""

from __future__ import annotations

from gigapi_metadata.errors import InvalidEntry, InvalidName
from gigapi_metadata.index.base import AsyncConnectionT, AsyncShell, ConnectionT, Shell
from gigapi_metadata.stores.base import Steps, Store


class ValueVerbs:
    """Keys and values."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(self, key: str) -> Steps[bytes | None]:
        """See `KVStore.get`."""
        return (yield from self.store.kv_get(self._key(key)))

    def put(self, key: str, value: bytes) -> Steps[None]:
        """See `KVStore.put`."""
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise InvalidEntry(f"the value of {key!r} must be bytes, not {type(value).__name__}")
        yield from self.store.kv_put(self._key(key), bytes(value))

    def delete(self, key: str) -> Steps[None]:
        """See `KVStore.delete`."""
        yield from self.store.kv_delete(self._key(key))

    def _key(self, key: str) -> str:
        if not isinstance(key, str) or not key:
            raise InvalidName(f"a key must be a string that is not empty, not {key!r}")
        try:
            key.encode()
        except UnicodeEncodeError:
            raise InvalidName(f"the key {key!r} is not valid Unicode text") from None
        return key


class KVStore(Shell[ConnectionT]):
    """Raw bytes under keys that the caller names."""

    def __init__(self, connection: ConnectionT, owned: bool, store: Store) -> None:
        super().__init__(connection, owned)
        self._verbs = ValueVerbs(store)

    def get(self, key: str) -> bytes | None:
        """The value under `key`, None when there is none."""
        return self._run(self._verbs.get(key))

    def put(self, key: str, value: bytes) -> None:
        """Set `key`. Atomic; safe to repeat."""
        self._run(self._verbs.put(key, value))

    def delete(self, key: str) -> None:
        """Remove `key` if it is there. Atomic; safe to repeat."""
        self._run(self._verbs.delete(key))


class AsyncKVStore(AsyncShell[AsyncConnectionT]):
    """As KVStore, awaitable."""

    def __init__(self, connection: AsyncConnectionT, owned: bool, store: Store) -> None:
        super().__init__(connection, owned)
        self._verbs = ValueVerbs(store)

    async def get(self, key: str) -> bytes | None:
        """See `KVStore.get`."""
        return await self._run(self._verbs.get(key))

    async def put(self, key: str, value: bytes) -> None:
        """See `KVStore.put`."""
        await self._run(self._verbs.put(key, value))

    async def delete(self, key: str) -> None:
        """See `KVStore.delete`."""
        await self._run(self._verbs.delete(key))
