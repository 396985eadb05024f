import sqlite3
from pathlib import Path

import pytest

from collector.enforcement.control import ControlStore
from collector.enforcement.database import Database, Migration, shipped_migrations
from collector.errors import ConfigError, StoreUnavailable


def test_a_failed_transaction_leaves_no_trace(path: Path) -> None:
    database = Database(path)
    with pytest.raises(StoreUnavailable), database.transaction() as c:  # noqa: PT012 — the block is what fails
        c.execute("INSERT INTO stances (session) VALUES ('a')")
        c.execute("INSERT INTO nowhere VALUES (1)")
    with database.reading() as c:
        assert c.execute("SELECT count(*) FROM stances").fetchone()[0] == 0
    database.close()
    with pytest.raises(StoreUnavailable), database.transaction():
        pass


def test_a_place_that_cannot_be_opened_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot open"):
        ControlStore(tmp_path / "absent" / "control.sqlite3")
    (tmp_path / "text").write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(StoreUnavailable, match="cannot use"):
        ControlStore(tmp_path / "text")


def test_a_migration_and_its_record_are_one(path: Path) -> None:
    good = Migration(1, "0001_good.sql", "CREATE TABLE a (x);\nCREATE TABLE b (x);")
    torn = Migration(2, "0002_torn.sql", "CREATE TABLE c (x);\nINSERT INTO absent VALUES (1);")
    with pytest.raises(StoreUnavailable):
        Database(path, [good, torn])
    with sqlite3.connect(path) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        applied = [row[0] for row in connection.execute("SELECT name FROM migrations")]
    connection.close()
    assert tables == {"migrations", "a", "b"}
    assert applied == ["0001_good.sql"]
    mended = torn._replace(script="CREATE TABLE c (x)")
    Database(path, [good, mended]).close()
    Database(path, [good, mended]).close()


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    Database(path, [*shipped_migrations(), Migration(9999, "9999_future.sql", "CREATE TABLE future (x);")]).close()
    with pytest.raises(ConfigError, match=r"newer version \(migration 9999_future.sql\)"):
        ControlStore(path)


def test_the_store_is_durable_by_its_pragmas(control: ControlStore) -> None:
    with control.database.reading() as c:
        assert c.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert c.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_nobody_else_may_read_the_file(control: ControlStore, path: Path) -> None:
    control.note("ada", "test", now_ns=1, detail={})
    files = list(path.parent.glob(f"{path.name}*"))
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
