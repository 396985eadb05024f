"""The files of the telemetry store: one for each stretch of time, written once, compressed once, and dropped whole.

DuckDB compresses the last row group of a table again at each checkpoint, holds commits up meanwhile, and gives no space back when
rows are deleted. So a file is written until it is full or the day is over; then another one begins and the full one is
compressed beside the ingest, never to be written again. Retention unlinks files. docs/adr/016 has the measurements.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import duckdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from collector.errors import StoreUnavailable

logger = logging.getLogger(__name__)

DAY_NS: Final = 86_400 * 10**9
_SUFFIX: Final = ".duckdb"
_COUNT: Final = 400
"""Files that the store may come to by its size: each takes a millisecond at start, and a file handle."""
_LEAST_BYTES: Final = 16 * 2**20
_USUAL_BYTES: Final = 128 * 2**20
"""What a partition of a store of 50 GiB has."""


class Partition(msgspec.Struct):
    """One file. Its name is the first sequence number that it may hold."""

    path: Path
    alias: str
    """What SQL calls the attached file."""
    blocks: int = 0
    last_seq: int = 0
    """The largest number committed to it; 0 where there is none."""
    newest_ns: int | None = None
    """The latest arrival in it; None where none is known."""
    sessions: NDArray[np.int64] | None = None
    """Hashes of the sessions in a full partition, in order; None until somebody asks."""
    synced: bool = False
    """The folder's entries of this file and its log are on disk."""

    @property
    def bytes(self) -> int:
        """What file and write-ahead log take."""
        return _size(self.path) + _size(self.log)

    @property
    def log(self) -> Path:
        """DuckDB's write-ahead log of this file."""
        return self.path.with_name(self.path.name + ".wal")


class Partitions:
    """The partitions in a folder, oldest first, attached to a connection. One thread changes them; others read `held`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, *, limit_bytes: int) -> None:
        """Attaches all; makes the first one. Raises StoreUnavailable naming the file."""
        self._connection = connection
        self._folder = folder
        self._limit = limit_bytes
        self._sealer = ThreadPoolExecutor(1, thread_name_prefix="overcurrent-seal")
        self._sealing: Future[None] | None = None
        self.held: list[Partition] = []
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in sorted(folder.glob("*" + _SUFFIX)):
            self.held.append(self._attach(path))
        if not self.held:
            self._add(1)
        for partition in self.held[:-1]:
            if partition.log.exists():  # a crash came before it was compressed
                self._seal(partition)

    @property
    def current(self) -> Partition:
        """The one that is written."""
        return self.held[-1]

    @property
    def sealing(self) -> bool:
        """Whether a full file is being compressed: until that is done its data is there twice."""
        return self._sealing is not None and not self._sealing.done()

    def full(self, arrival_ns: int | None) -> bool:
        """Whether what arrives now belongs into another file: this one is large, or of another day."""
        current = self.current
        if not current.blocks:
            return False
        later = current.newest_ns is not None and arrival_ns is not None and arrival_ns // DAY_NS > current.newest_ns // DAY_NS
        return later or current.bytes >= self._limit

    def roll(self) -> None:
        """Begins another file; the one before is compressed beside. Waits where an earlier one still is."""
        full = self.current
        self._wait()
        self._add(full.last_seq + 1)
        self._seal(full)

    def drop(self, partition: Partition) -> None:
        """Gives the file's space back. Who is reading it may finish."""
        self.held.remove(partition)
        self._wait()
        self._connection.execute(f"DETACH {partition.alias}")
        partition.path.unlink(missing_ok=True)
        partition.log.unlink(missing_ok=True)

    def sync(self) -> None:
        """After a commit: a file whose name a power cut takes away would take the commit with it."""
        if not self.current.synced:
            sync_folder(self._folder)
            self.current.synced = True

    def close(self) -> None:
        """Waits for what is being compressed."""
        self._sealer.shutdown(wait=True)

    def _add(self, first_seq: int) -> None:
        self.held.append(self._attach(self._folder / f"{first_seq:019d}{_SUFFIX}"))
        sync_folder(self._folder)

    def _attach(self, path: Path) -> Partition:
        alias = f"p{int(path.stem)}"
        try:
            unmade(path)
            self._connection.execute(f"ATTACH {quoted(path)} AS {alias}")
            migrate(self._connection, alias)
            return self._known(path, alias)
        except (duckdb.Error, OSError) as error:
            for undo in ("ROLLBACK", f"DETACH DATABASE IF EXISTS {alias}"):
                with contextlib.suppress(duckdb.Error):
                    self._connection.execute(undo)
            raise unopened(path, error) from error

    def _known(self, path: Path, alias: str) -> Partition:
        [(blocks, last_seq, newest_ns)] = self._connection.execute(
            f"SELECT coalesce(max(block) + 1, 0), coalesce(max(commit_seq), 0), max(arrival_ns) FROM {alias}.blocks"  # noqa: S608 — digits
        ).fetchall()
        return Partition(path=path, alias=alias, blocks=blocks, last_seq=last_seq, newest_ns=newest_ns)

    def _seal(self, partition: Partition) -> None:
        cursor = self._connection.cursor()

        def compress() -> None:
            try:
                with cursor:
                    cursor.execute(f"CHECKPOINT {partition.alias}")
            except duckdb.Error as error:
                # Its log stays and the next start reads it.
                logger.error("%s was not compressed, it stays as it is: %s", partition.path, error)  # noqa: TRY400

        self._sealing = self._sealer.submit(compress)

    def _wait(self) -> None:
        if self._sealing is not None:
            self._sealing.result()


def limit_bytes(max_bytes: int) -> int:
    """How large a partition may become in a store of so many bytes: 128 MiB, some two hundred thousand spans, in one of 50 GiB.

    A start after a crash reads so much again, and so much is held in memory until it is compressed.
    """
    return max(_LEAST_BYTES, max_bytes // _COUNT)


def memory_bytes(partition_bytes: int) -> int:
    """What DuckDB may hold with partitions of so many bytes: 416 MiB at the default size.

    One partition is written and another compressed, neither of which it can do without: at 1.3 times their size each. What is left is
    for pages of older ones, which it keeps until there is no room.
    """
    return 3 * max(_USUAL_BYTES, partition_bytes) + 32 * 2**20


def unopened(path: Path, error: Exception) -> StoreUnavailable:
    """What to raise where a file cannot be opened: it names the file and the way out."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return StoreUnavailable(f"{path}: cannot open the telemetry store: {first}; docs/operations.md says what to do")


def unmade(path: Path) -> None:
    """Removes an empty file, which a crash left that came while it was made: DuckDB takes it for somebody else's."""
    if path.exists() and not path.stat().st_size:
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Makes the names of new files survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder_of(path: Path) -> Path:
    """Where the partitions of the store with that main file are."""
    return path.with_suffix("")


def migrate(connection: duckdb.DuckDBPyConnection, partition: str = "") -> None:
    """Brings an attached partition up to date, or the main file: each numbered script and the record of it in one transaction.

    Raises StoreUnavailable where the file has a migration that this version does not know.
    """
    main = connection.execute("SELECT current_database()").fetchall()[0][0]
    connection.execute(f'USE "{partition or main}"')
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (name VARCHAR NOT NULL)")
        done = {row[0] for row in connection.execute("SELECT name FROM migrations").fetchall()}
        known = _scripts("partition" if partition else "")
        if unknown := sorted(done - {script.name for script in known}):
            of_file = "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
            path = Path(connection.execute(of_file).fetchall()[0][0])
            raise unopened(path, ValueError(f"it was written by another version, which knows migration {unknown[-1]}"))
        for script in known:
            if script.name not in done:
                connection.execute("BEGIN")
                connection.execute(script.read_text(encoding="utf8"))
                connection.execute("INSERT INTO migrations VALUES (?)", [script.name])
                connection.execute("COMMIT")
    finally:
        connection.execute(f'USE "{main}"')


def _scripts(folder: str) -> list[Traversable]:
    """In the order of their numbers."""
    found = resources.files("collector.store").joinpath("migrations", folder).iterdir()
    return sorted((each for each in found if each.name.endswith(".sql")), key=lambda each: each.name)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A store that no service has open, to be read with SQL: `spans`, `logs`, `blocks` over all partitions, and `findings`.

    Raises duckdb.Error where a file cannot be opened.
    """
    with duckdb.connect(str(path)) as connection:
        aliases = []
        for file in sorted(folder_of(path).glob("*" + _SUFFIX)):
            aliases.append(f"p{int(file.stem)}")
            connection.execute(f"ATTACH {quoted(file)} AS {aliases[-1]}")
        for table in ("spans", "logs", "blocks"):
            if aliases:
                union = " UNION ALL ".join(f"SELECT * FROM {alias}.{table}" for alias in aliases)  # noqa: S608 — digits
                connection.execute(f"CREATE TEMP VIEW {table} AS {union}")
        yield connection


def quoted(path: Path) -> str:
    """The path as a SQL string; ATTACH takes no parameter."""
    return "'" + str(path).replace("'", "''") + "'"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
