"""Rows that no disk could store are told from a disk that refuses."""

from pathlib import Path

import pyarrow as pa
import pytest

from collector.store.base import Commit
from collector.store.duckdb import DuckDBStore
from detectors.model import Tick


def test_rows_at_fault_are_not_worth_a_retry_and_leave_the_store_usable(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store.append(Commit(seq=1, arrival_ns=None, events=[Tick(seq=1, at_ns=1)]))
    columns = ("id", "session", "detector", "severity", "at_ns", "body")
    rows = pa.table({"emission": pa.array(["a secret"]), **{name: pa.array(["x"]) for name in columns}})
    with pytest.raises(ValueError, match="a row cannot be stored as it is") as raised:
        store._write({"findings": rows})
    assert "secret" not in str(raised.value)
    store.append(Commit(seq=2, arrival_ns=None, events=[Tick(seq=2, at_ns=2)]))
    assert [event.seq for event in store.tail(9)] == [1, 2]
    store.close()
