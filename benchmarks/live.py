"""Bytes a live session takes: memory of a service that follows many, less that of one that took the same spans for few."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.load import Mix, Prepared, build
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load, sender
from benchmarks.service import Service

SIZES: Final = (1_000, 10_000, 100_000)
_FEW: Final = 50
_SETTLE_S: Final = 6.0
"""Longer than the service waits between two looks at its sessions when there are many."""
_AT_A_TIME: Final = 2_000


def _take_in(service: Service, sessions: int, steps: int, span_bytes: int) -> tuple[int, float]:
    """Sends `sessions` sessions of `steps` spans; returns spans, and sessions live afterwards by the service's own count."""
    send = sender(Load(endpoint=service.grpc))
    spans = 0
    base = Mix(spans_per_session=steps, span_bytes=span_bytes)
    for first in range(0, sessions, _AT_A_TIME):
        count = min(_AT_A_TIME, sessions - first)
        for request in _fresh(replace(base, sessions=count)):
            send(request.body)
            spans += request.spans
    time.sleep(_SETTLE_S)
    return spans, service.metrics().get("overcurrent_sessions_live", 0.0)


def _fresh(mix: Mix) -> list[Prepared]:
    bounded = mix.bounded().sessions
    made: list[Prepared] = []
    left = mix.sessions
    while left > 0:
        made += build(replace(mix, sessions=min(bounded, left)))
        left -= bounded
    return made


def _memory(sessions: int, steps: int, span_bytes: int) -> tuple[int, int, float]:
    with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder:
        config = {"sessions": {"max_live": 2 * max(SIZES)}}
        with Service(Path(folder), config) as service:
            before = service.usage().rss
            spans, live = _take_in(service, sessions, steps, span_bytes)
            return service.usage().rss - before, spans, live


def live(sizes: Sequence[int] = SIZES, steps: int = 5, span_bytes: int = 1_500) -> list[Table]:
    """A row for each number of sessions."""
    rows: list[dict[str, Cell]] = []
    for size in sizes:
        progress(f"live: {size:,} sessions of {steps} steps")
        many, spans, seen = _memory(size, steps, span_bytes)
        progress(f"live: as many spans in {_FEW} sessions")
        few, _, _ = _memory(_FEW, max(steps, spans // _FEW), span_bytes)
        rows.append(
            {
                "sessions": size,
                "live by its metrics": round(seen),
                "spans": spans,
                "memory grew MiB": many / 2**20,
                f"with {_FEW} sessions MiB": few / 2**20,
                "bytes a session": many / max(1, size),
                "of these above the few": (many - few) / max(1, size),
            }
        )
    notes = [
        f"sessions of {steps} steps with {span_bytes:,} bytes a span; growth from just after the start",
        "growth holds what any load leaves behind, such as the memory of recent ids and DuckDB's buffers; the last column is without it",
    ]
    return [Table("live", "Memory of live sessions", rows, notes)]
