"""The SQLite file of the control state: one connection, durable transactions, numbered migrations."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from collector.errors import ConfigError, StoreUnavailable

BUSY_S = 0.25
"""How long a statement waits for another process that holds the file. Ingest waits with it, and no other process has business here."""


class Migration(NamedTuple):
    """One numbered script. Once released it is never edited: a correction is the next number."""

    number: int
    name: str
    script: str


def shipped_migrations() -> list[Migration]:
    """Returns the scripts in `collector/enforcement/migrations`, in order of their numbers."""
    scripts = [entry for entry in files("collector.enforcement").joinpath("migrations").iterdir() if entry.name.endswith(".sql")]
    found = [Migration(int(entry.name.split("_", 1)[0]), entry.name, entry.read_text(encoding="utf-8")) for entry in scripts]
    found.sort()
    if len({migration.number for migration in found}) != len(found):
        raise ConfigError(f"two migrations share a number: {[migration.name for migration in found]}")
    return found


class Database:
    """One connection that all threads share under a lock. A transaction that returned survives a power cut."""

    def __init__(self, path: Path | str, migrations: Iterable[Migration] | None = None) -> None:
        """Opens or makes the file and migrates it.

        Raises StoreUnavailable when it cannot be opened, ConfigError when a newer version wrote it.
        """
        self._lock = threading.Lock()
        self._path = str(path)
        try:
            if self._path != ":memory:":
                # Addresses and notes are for the service alone; SQLite gives its side files the mode of this one.
                Path(self._path).touch(mode=0o600)
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"cannot open {self._path}: {error}; docs/operations.md says what to do") from error
        try:
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate(shipped_migrations() if migrations is None else list(migrations))
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreUnavailable(f"cannot use {self._path}: {error}; docs/operations.md says what to do") from error
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is committed together, or not at all. Not re-entrant. Raises StoreUnavailable."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                finally:
                    # Also after a COMMIT that failed (disk full): left open, it would make every later BEGIN fail.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{self._path}: {error}") from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lends the connection for SELECTs. Raises StoreUnavailable."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Closes the file. Harmless to repeat."""
        with self._lock:
            self._connection.close()

    def _migrate(self, migrations: list[Migration]) -> None:
        with self.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL)")
            applied = {int(row["number"]): str(row["name"]) for row in connection.execute("SELECT number, name FROM migrations")}
        unknown = sorted(set(applied) - {migration.number for migration in migrations})
        if unknown:
            raise ConfigError(
                f"{self._path} was written by a newer version (migration {applied[unknown[-1]]}): upgrade, or restore a backup"
            )
        for migration in migrations:
            if migration.number in applied:
                continue
            with self.transaction() as connection:
                for statement in _statements(migration.script):
                    connection.execute(statement)
                connection.execute("INSERT INTO migrations (number, name) VALUES (?, ?)", (migration.number, migration.name))


def _statements(script: str) -> Iterator[str]:
    """Splits a script, since `executescript` would commit before it and so tear the change from its record."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending
