"""Opening the catalog's file and running transactions on it. The only module that imports sqlite3's
error classes; above it there are only errors of our own.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from gigapi_metadata.errors import (
    CorruptState,
    InvalidConfiguration,
    MetadataError,
    StoreError,
    Unavailable,
)
from gigapi_metadata.stores import surroundings
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.broken_off import BrokenOff, Fate, in_thread
from gigapi_metadata.stores.sqlite.streaming import Begin, Fetch, Reading
from gigapi_metadata.stores.watch import Watch

APPLICATION_ID = 0x67696761  # "giga", in the file's header
SCHEMA_VERSION = 2
CHECKPOINT_PAGES = 4000
"""Pages of the write-ahead log (16 MB) that are gathered before one commit takes them over into the
file, which waits for the disk. SQLite's own 1,000 would do so every 230 single-file commits."""

BUSY_TIMEOUT_S = 60.0
"""How long a writer waits for another one. Transactions take milliseconds; this is for crowds."""

Synchronous = Literal["NORMAL", "FULL"]


class Database(sqlite3.Connection):
    """A connection that keeps in mind which number each table has. Numbers stay as they are."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._numbers: dict[TableRef, int] = {}

    def table_id(self, table: TableRef) -> int | None:
        """The table's number; None if nothing was ever written to it."""
        known = self._numbers.get(table)
        if known is None:
            found = self.execute("SELECT id FROM tables WHERE database = ? AND name = ?", table)
            row = found.fetchone()
            if row is None:
                return None
            known = self._numbers[table] = int(row[0])
        return known

    def attempt(self, statement: str, values: tuple[object, ...]) -> bool:
        """Run a statement; False, and nothing is changed, if a constraint forbids it."""
        try:
            self.execute(statement, values)
        except sqlite3.IntegrityError:
            return False
        return True

    def make_table(self, table: TableRef) -> int:
        """Give a new table its number. Not kept in mind: the transaction may be rolled back."""
        made = self.execute("INSERT INTO tables (database, name) VALUES (?, ?)", table).lastrowid
        assert made is not None
        return made


class Transaction(msgspec.Struct, frozen=True):
    """One atomic request: `work` on a connection, inside a transaction of its own.

    creates: with `writes`, the file is made if it is not there; else `work` finds it empty.
    single: `work` runs one statement, which is a transaction by itself.
    fate: is told whether the transaction was made.
    """

    work: Callable[[Database], Any]
    writes: bool = False
    creates: bool = True
    single: bool = False
    fate: Fate | None = None


Request = Transaction | Begin | Fetch


class SQLiteConnection:
    """The catalog in the file `path`. Threads and processes may share it.

    Each request has a connection to itself while it runs; idle ones are kept for the next. The
    file is made by the first write: reading a catalog that is not there finds it empty.

    synchronous: "NORMAL" survives a crash of any process; a power cut may take the last commits,
        whole ones, newest first. "FULL" survives that too, at the price of a flush per commit.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, synchronous: Synchronous = "NORMAL"
    ) -> None:
        if synchronous not in ("NORMAL", "FULL"):
            raise InvalidConfiguration(f"synchronous must be NORMAL or FULL, not {synchronous!r}")
        text = os.fspath(path)
        if not isinstance(text, str):
            raise InvalidConfiguration(f"a catalog's path is text or a Path, not {path!r}")
        if not text or text == ":memory:" or text.startswith("file:"):
            raise InvalidConfiguration(
                f"{text!r} can't be a catalog: give the path of a file, which processes can share"
            )
        if "\0" in text or not _is_encodable(text):
            raise InvalidConfiguration(f"{text!a} can't be the path of a file")
        self.path = Path(text).absolute()
        self._synchronous = synchronous
        self._pid = os.getpid()
        self._idle: deque[Database] = deque()
        self._closed = False
        self._watch = Watch("sqlite", str(self.path))
        self.broken_off = BrokenOff()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def perform(self, request: Request) -> Any:
        """Run `request`; all of its writes happen, or, with an exception, none."""
        try:
            if isinstance(request, Transaction):
                result = self._transact(request)
                if request.writes and self._watch.due():
                    self._watch.say(self._harms())
                return result
            if isinstance(request, Begin):
                return self._begin(request)
            return request.reading.fetch(request.size)
        except (sqlite3.Error, OSError) as error:
            raise self._mapped(error) from error

    def _harms(self) -> Iterator[str]:
        files = [f"{self.path}{ending}" for ending in ("", "-wal", "-shm")]
        folder = str(self.path.parent)
        return surroundings.harms(folder, [folder, *files], surroundings.SQLITE_FAR_AWAY)

    def _transact(self, request: Transaction) -> Any:
        connection = self._borrow(request.writes and request.creates)
        if connection is None:
            with closing(_empty_catalog()) as nothing:
                return _in_transaction(nothing, request)
        try:
            return _in_transaction(connection, request)
        finally:
            self._give_back(connection)

    def _begin(self, request: Begin) -> Reading:
        connection = self._borrow(False)
        if connection is None:
            nothing = _empty_catalog()
            return Reading(nothing, request.work(nothing), nothing.close)
        connection.execute("BEGIN")
        return Reading(connection, request.work(connection), partial(self._give_back, connection))

    def _give_back(self, connection: Database) -> None:
        # Closed meanwhile: by whoever did not wait for this transaction to end.
        if connection.in_transaction or self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close all connections. May be called again. Used later, it opens the file each time."""
        self._closed = True
        while self._idle and self._pid == os.getpid():
            self._idle.popleft().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _borrow(self, creates: bool) -> Database | None:
        """A connection to a catalog; None if there is none and it is not to be made."""
        if self._pid != os.getpid():
            # After a fork: using or even closing the parent's connections would break its locks.
            _abandoned.append(self._idle)
            self._idle = deque()
            self._pid = os.getpid()
        try:
            return self._idle.popleft()
        except IndexError:
            if creates:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self._has_content():
                return None
            return self._open(creates)

    def _has_content(self) -> bool:
        try:
            return self.path.stat().st_size > 0
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _open(self, creates: bool) -> Database | None:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=Database,
        )
        try:
            # Looking comes first: somebody else's file must stay as it is.
            if not self._is_catalog(connection):
                if not creates:
                    connection.close()
                    return None
                self._prepare(connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute("PRAGMA cache_size = -16000")
            connection.execute("PRAGMA temp_store = MEMORY")
            # A trigger or view that somebody has put into the file can call nothing that does harm.
            connection.execute("PRAGMA trusted_schema = OFF")
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_catalog(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is a catalog; False if it is empty. Changes nothing.

        Raises:
            CorruptState: it belongs to someone else, or has been tampered with.
            InvalidConfiguration: it is a catalog of another layout than ours.
        """
        # In one statement, and so of one moment: another process may be making the catalog.
        owner, version, found, view = connection.execute(
            """SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master),
                (SELECT name FROM sqlite_master
                 WHERE type = 'view' AND name COLLATE NOCASE IN
                     ('tables', 'files', 'plans', 'plan_files', 'ended', 'kv')
                  OR type = 'trigger' AND name <> 'arrival' LIMIT 1)
               FROM pragma_application_id, pragma_user_version"""
        ).fetchone()
        if owner != APPLICATION_ID:
            if owner or version or found:
                raise CorruptState(f"{self.path} is a SQLite database, but not a catalog")
            return False
        if view is not None:
            # Of somebody else's making: it could answer for ever, or do something else than asked.
            raise CorruptState(
                f"{self.path} has a view or trigger {view!r}, which no catalog has; it is not read"
            )
        if version > SCHEMA_VERSION:
            raise InvalidConfiguration(
                f"{self.path} was made by a newer gigapi-metadata (layout {version}); upgrade "
                "this one"
            )
        if version < SCHEMA_VERSION:
            raise InvalidConfiguration(
                f"{self.path} was made by an earlier gigapi-metadata (layout {version}, this one "
                f"has {SCHEMA_VERSION}): export it with that one and import it with this one, or "
                "scan the lake into a new file"
            )
        return True

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make an empty file a catalog, unless another process has done so."""
        _switch_to_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._is_catalog(connection):
                _create(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _mapped(self, error: sqlite3.Error | OSError) -> MetadataError:
        text = str(error)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unavailable(
                f"{self.path} is locked by another process for over {BUSY_TIMEOUT_S:.0f} s"
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return CorruptState(f"{self.path} is not a readable SQLite database: {text}")
        if code == sqlite3.SQLITE_CANTOPEN:
            return StoreError(f"{self.path} can't be opened: check that its folder may be used")
        if code == sqlite3.SQLITE_READONLY:
            return StoreError(f"{self.path} can't be written: {text}")
        return StoreError(f"{self.path}: {text}")


class AsyncSQLiteConnection:
    """As SQLiteConnection; a transaction runs in a thread while the event loop goes on.

    Cancelling stops the waiting, not a transaction under way: it ends by itself, whole.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, synchronous: Synchronous = "NORMAL"
    ) -> None:
        self._blocking = SQLiteConnection(path, synchronous=synchronous)
        self.path = self._blocking.path
        self.broken_off = self._blocking.broken_off

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    async def perform(self, request: Request) -> Any:
        """As `SQLiteConnection.perform`, awaitable."""
        fate = request.fate if isinstance(request, Transaction) else None
        return await in_thread(self._blocking.perform, request, fate)

    async def close(self) -> None:
        """Close all connections. May be called again."""
        self._blocking.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


# Connections of a parent process: kept from the garbage collector, which would close them.
_abandoned: list[deque[Database]] = []


def _in_transaction(connection: Database, request: Transaction) -> Any:
    before = connection.total_changes
    try:
        if request.single:
            return request.work(connection)
        connection.execute("BEGIN IMMEDIATE" if request.writes else "BEGIN")
        result = request.work(connection)
        connection.execute("COMMIT")
        return result
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
            before = connection.total_changes
        raise
    finally:
        # Asked for like this, it is right also when a signal has raised behind the COMMIT.
        if request.fate is not None:
            request.fate.made = connection.total_changes != before


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite's own timeout does not count for this pragma when another connection is writing."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _create(connection: sqlite3.Connection) -> None:
    from importlib.resources import files  # costs 10 ms, and most files exist already

    # Not executescript(): that would commit the transaction we are in.
    script = files(__package__).joinpath("schema.sql").read_text("utf-8")
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _empty_catalog() -> Database:
    """What a catalog that does not exist yet looks like to a reader."""
    connection = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, factory=Database
    )
    _create(connection)
    return connection
