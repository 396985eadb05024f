"""Rows that no disk could store are told from a disk that refuses."""

from pathlib import Path

import pyarrow as pa
import pytest

from collector.store.base import Commit
from collector.store.columns import span_columns
from collector.store.duckdb import DuckDBStore
from collector.telemetry_data import Span
from detectors.model import Tick


def test_rows_at_fault_are_not_worth_a_retry_and_leave_the_store_usable(tmp_path: Path) -> None:
    store = DuckDBStore(tmp_path / "telemetry.duckdb")
    store.append(Commit(seq=1, arrival_ns=None, events=[Tick(seq=1, at_ns=1)]))
    rows = span_columns("default", [Span(trace_id="a" * 32, span_id="b" * 16)])
    rows = rows.set_column(rows.schema.get_field_index("kind"), "kind", pa.array(["a secret"]))
    with pytest.raises(ValueError, match="a row cannot be stored as it is") as raised:
        store.append(Commit(seq=2, arrival_ns=None, spans=[rows]))
    assert "secret" not in str(raised.value)
    store.append(Commit(seq=2, arrival_ns=None, events=[Tick(seq=2, at_ns=2)]))
    assert [event.seq for event in store.tail(9)] == [1, 2]
    store.close()
