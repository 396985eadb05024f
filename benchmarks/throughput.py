"""How much a service takes in: spans a second, memory, backlog, CPU a span; and what changes when one thing about the load does."""

import re
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.load import Mix
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load, LoadProcess, Sent
from benchmarks.service import Service, Stored, Watch, stored


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run against one fresh service."""

    sent: Sent
    kept: Stored
    cpu_s: float
    rss: list[int]
    queue: list[float]
    errors_logged: list[str]

    @property
    def exact(self) -> bool:
        """Whether every acknowledged span is stored, none of them twice; without failed requests, also nothing else."""
        once = self.kept.spans == self.kept.distinct_spans
        if not self.sent.errors:
            return once and self.kept.spans == self.sent.acknowledged
        return once and self.sent.acknowledged <= self.kept.spans <= self.sent.spans

    @property
    def cpu_us_per_span(self) -> float | None:
        return self.cpu_s / self.sent.acknowledged * 1e6 if self.sent.acknowledged else None


def measure(mix: Mix, load: Load, config: Mapping[str, Any] | None = None) -> Measured:
    """Starts a service, sends the load, stops the service, and counts what it stored. `load.endpoint` is filled in here."""
    with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder:
        service = Service(Path(folder), config)
        with service:
            measured = run(service, mix, load)
            log = service.log
        kept = stored(service.data)
    sent, cpu_s, watch = measured
    return Measured(sent=sent, kept=kept, cpu_s=cpu_s, rss=watch.rss, queue=watch.queue, errors_logged=_errors_in(log))


def _errors_in(log: str) -> list[str]:
    """Lines that tell of an error, or that end a traceback."""
    return [line for line in log.splitlines() if " ERROR " in line or re.match(r"[\w.]+(Error|Exception)\b", line)]


def run(service: Service, mix: Mix, load: Load) -> tuple[Sent, float, Watch]:
    """Sends the load to a running service; returns what was sent, CPU seconds it took there, and what was seen meanwhile."""
    load = replace(load, endpoint=service.address(load.protocol))
    with LoadProcess(load, mix) as process, Watch(service) as watch:
        before = service.usage().cpu_s
        process.begin()
        sent = process.result()
        cpu_s = service.usage().cpu_s - before
    return sent, cpu_s, watch


def _row(label: str, one: Measured) -> dict[str, Cell]:
    sent = one.sent
    return {
        "load": label,
        "spans/s": sent.spans_per_second,
        "MB/s": sent.spans_per_second * sent.wire_bytes_per_span / 1e6,
        "bytes/span": round(sent.wire_bytes_per_span),
        "CPU µs/span": one.cpu_us_per_span,
        "ack p50 ms": sent.ack_ms_p50,
        "ack p99 ms": sent.ack_ms_p99,
        "acknowledged": sent.acknowledged,
        "stored": one.kept.spans,
        "each once": one.exact,
        "retries": sent.retries,
        "peak MiB": max(one.rss, default=0) / 2**20,
    }


def _errors(label: str, one: Measured) -> list[str]:
    notes = [f"{label}: {count} x {name}" for name, count in one.sent.errors.items()]
    return notes + (
        [f"{label}: {len(one.errors_logged)} errors in the service's log, the last: {one.errors_logged[-1][:200]}"]
        if one.errors_logged
        else []
    )


def sustained(seconds: float, connections: int, mix: Mix) -> list[Table]:
    """A load for a while, with memory and backlog over time."""
    progress(f"throughput: {seconds:g} s as fast as acknowledged")
    one = measure(mix, Load(endpoint="", seconds=seconds, connections=connections))
    rows = [_row(f"batch {mix.batch}, 1.5 KB, {mix.step_share:.0%} steps, gRPC, {connections} connections", one)]
    tail = one.rss[len(one.rss) // 2 :] or [0]
    backlog: list[dict[str, Cell]] = []
    parts = 10
    for part in range(parts):
        queue = _slice(one.queue, part, parts)
        memory = _slice(one.rss, part, parts)
        if queue and memory:
            backlog.append(
                {
                    "part of the run": f"{part * 100 // parts}-{(part + 1) * 100 // parts} %",
                    "queue mean KiB": statistics.fmean(queue) / 1024,
                    "queue max KiB": max(queue) / 1024,
                    "memory MiB": statistics.fmean(memory) / 2**20,
                }
            )
    notes = [
        f"memory: peak {max(one.rss, default=0) / 2**20:,.0f} MiB, median of the second half {statistics.median(tail) / 2**20:,.0f} MiB",
        f"stored: {one.kept.spans:,} spans, {one.kept.steps:,} steps; files {one.kept.file_bytes / 2**20:,.0f} MiB",
        f"sender: {one.sent.sender_cpu_s / max(1, one.sent.acknowledged) * 1e6:.1f} CPU µs a span, on the same cores",
        *_errors("run", one),
    ]
    return [
        Table("throughput", f"Throughput, {seconds:g} s", rows, notes),
        Table("backlog", "Backlog and memory over the run", backlog, ["queue bytes are those of requests not answered yet"]),
    ]


def _slice(values: list[Any], part: int, parts: int) -> list[Any]:
    return values[len(values) * part // parts : len(values) * (part + 1) // parts]


def factors(seconds: float, connections: int) -> list[Table]:
    """One factor at a time around the base load."""
    base_mix = Mix()
    base_load = Load(endpoint="", seconds=seconds, connections=connections)
    variants: list[tuple[str, Mix, Load]] = [
        ("base: batch 256, 1.5 KB, gRPC", base_mix, base_load),
        ("batch 1", replace(base_mix, batch=1), base_load),
        ("batch 1, 64 connections", replace(base_mix, batch=1), replace(base_load, connections=64)),
        ("batch 32", replace(base_mix, batch=32), base_load),
        ("batch 2,048", replace(base_mix, batch=2048), base_load),
        ("HTTP", base_mix, replace(base_load, protocol="http")),
        ("gRPC, gzip", base_mix, replace(base_load, compressed=True)),
        ("HTTP, gzip", base_mix, replace(base_load, compressed=True, protocol="http")),
        ("spans of 10 KB", replace(base_mix, span_bytes=10_000), base_load),
        ("spans of 100 KB", replace(base_mix, span_bytes=100_000), base_load),
        ("50 % of spans are steps", replace(base_mix, step_share=0.5), base_load),
        ("10 % of spans are steps", replace(base_mix, step_share=0.1), base_load),
    ]
    rows, notes = [], []
    for label, mix, load in variants:
        progress(f"factors: {label}")
        one = measure(mix, load)
        batch = mix.bounded().batch
        shown = label if batch == mix.batch else f"{label} (batch {batch})"
        rows.append(_row(shown, one))
        notes += _errors(label, one)
    notes.append("of the base load every span is a step; spans of 100 KB travel in smaller batches, since a request may have 16 MiB")
    notes.append("compression is done by the sender on the same cores")
    return [Table("factors", f"One factor at a time, {seconds:g} s each", rows, notes)]
