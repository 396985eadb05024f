"""How long a small answer takes beside load: what a check before each call of an agent would wait at least."""

import http.client
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.latency import RATES
from benchmarks.load import Mix
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load, LoadProcess, percentiles_ms
from benchmarks.service import Service

PATHS: Final = ("/healthz", "/api/v1/rules")
_PAUSE_S: Final = 0.003


def _ask(address: str, seconds: float) -> tuple[dict[str, list[float]], int]:
    """Asks for each path in turn on a connection that is kept; returns seconds by path, and failures."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    took: dict[str, list[float]] = {path: [] for path in PATHS}
    failures = 0
    stop_at = time.perf_counter() + seconds
    while time.perf_counter() < stop_at:
        for path in PATHS:
            started = time.perf_counter()
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                failures += 1
            else:
                took[path].append(time.perf_counter() - started)
                failures += response.status != 200
            time.sleep(_PAUSE_S)
    connection.close()
    return took, failures


def gate(seconds: float, connections: int, rates: tuple[float, ...] = RATES) -> list[Table]:
    """A table with a row for each path and background rate."""
    rows: list[dict[str, Cell]] = []
    for rate in rates:
        progress(f"gate: {rate:,.0f} spans/s beside")
        with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder, Service(Path(folder)) as service:
            if rate:
                load = Load(endpoint=service.grpc, rate=rate, seconds=seconds + 1.5, connections=connections)
                with LoadProcess(load, Mix()) as process:
                    process.begin()
                    time.sleep(1.0)
                    took, failures = _ask(service.web, seconds)
                    achieved = process.result().spans_per_second
            else:
                (took, failures), achieved = _ask(service.web, seconds), 0.0
        for path in PATHS:
            p50, p99 = percentiles_ms(took[path])
            rows.append(
                {
                    "path": path,
                    "load wanted": f"{rate:,.0f} spans/s",
                    "load taken": achieved,
                    "answers": len(took[path]),
                    "p50 ms": p50,
                    "p99 ms": p99,
                    "slowest ms": max(took[path], default=0.0) * 1e3,
                    "failures of both": failures,
                }
            )
    return [Table("gate", f"Small HTTP answers beside load, {seconds:g} s a row", rows, ["one sender, one question at a time"])]
