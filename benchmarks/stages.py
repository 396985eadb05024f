"""Where the CPU time of a span goes: the real core on prepared requests, in this process, with clocks around its stages.

The receivers are measured by themselves, in a process that answers at once.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.clocks import Clocks
from benchmarks.load import Mix, Prepared, Recycled, build
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load, LoadProcess
from benchmarks.service import usage
from collector.app import App, collect_rarely
from collector.config import Config
from collector.errors import OvercurrentError
from collector.model import Request

PLACES: Final = (
    ("decode", "collector.translate:decode"),
    ("dialect", "collector.translate:fragments_of"),
    ("dialect", "collector.translate:fragments_of_logs"),
    ("columns", "collector.translate:span_columns"),
    ("columns", "collector.translate:log_columns"),
    ("duplicates", "collector.pipeline:_new"),
    ("assembly", "collector.assembly:Assembler.add"),
    ("assembly", "collector.assembly:Assembler.take"),
    ("sessions", "collector.sessions:Sessions.apply"),
    ("features", "detectors.features:FeatureState.observe"),
    ("detectors", "detectors.host:DetectorHost.observe"),
    ("fleet detectors", "detectors.fleet.host:FleetHost.observe"),
    ("store", "collector.store.duckdb:DuckDBStore.append"),
    ("store", "collector.store.duckdb:DuckDBStore.append_findings"),
    ("session index", "collector.store.session_index:SessionIndex.write"),
    ("policy", "collector.halting:Halting.enforce"),
    ("metrics", "collector.telemetry.counts:BatchCounts.step"),
    ("metrics", "collector.core:Core.committed"),
    ("metrics", "collector.core:Core.found"),
    ("metrics", "collector.core:gauges"),
    ("the rest of the pipeline", "collector.pipeline:Pipeline.process"),
    ("the rest of the second's tick", "collector.core:Core.tick"),
)
"""Stage and function. A function that is not there any more is named in the notes; its time is in `rest of the pipeline`."""

BUDGET: Final[tuple[tuple[str, float, tuple[str, ...]], ...]] = (
    ("receive and decode", 20.0, ("receive", "decode")),
    ("dialect", 20.0, ("dialect",)),
    ("store", 20.0, ("columns", "duplicates", "store", "DuckDB's own threads", "session index")),
    (
        "session, features, detectors",
        25.0,
        (
            "assembly",
            "sessions",
            "features",
            "detectors",
            "fleet detectors",
            "policy",
            "the rest of the pipeline",
            "the rest of the second's tick",
        ),
    ),
    ("metrics", 5.0, ("metrics",)),
)
_SPANS_PER_TICK: Final = 10_000
"""The service ticks once a second; here once in as many spans as it takes in a second."""


def _requests(mix: Mix, spans: int) -> list[Prepared]:
    found: list[Prepared] = []
    left = spans
    for request in Recycled(build(mix)).stream(lambda: True):
        if left <= 0:
            break
        found.append(request)
        left -= request.spans
    return found


def _feed(app: App, prepared: list[Prepared], group: int) -> tuple[int, int]:
    """Feeds all requests, `group` to a commit. Returns CPU nanoseconds of this thread and of the process."""
    since_tick = 0
    thread_ns, process_ns = 0, 0
    for first in range(0, len(prepared), group):
        several = prepared[first : first + group]
        requests = [
            Request(signal="traces", encoding="protobuf", body=one.body, protocol="grpc", arrival_ns=time.time_ns()) for one in several
        ]
        started, started_all = time.thread_time_ns(), time.process_time_ns()
        outcomes = app.core.process(requests)
        since_tick += sum(one.spans for one in several)
        if since_tick >= _SPANS_PER_TICK:
            since_tick = 0
            app.core.tick()
        thread_ns += time.thread_time_ns() - started
        process_ns += time.process_time_ns() - started_all
        refused = [outcome for outcome in outcomes if isinstance(outcome, OvercurrentError) or outcome.rejected]
        if refused:
            raise RuntimeError(f"a request was not taken whole: {refused[0]}")
    return thread_ns, process_ns


def _core(spans: int, prepared: list[Prepared], group: int, clocks: Clocks | None) -> tuple[float, float, int]:
    """CPU seconds a span of this thread, and of other threads of the process, and spans counted; after a warm-up of a fifth."""
    with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder:
        app = App(Config.load(None, {}, {"storage.data_dir": str(Path(folder) / "data")}))
        try:
            warm = next(place for place in range(len(prepared)) if sum(one.spans for one in prepared[: place + 1]) >= spans // 5) + 1
            _feed(app, prepared[:warm], group)
            if clocks is not None:
                clocks.reset()
            thread_ns, process_ns = _feed(app, prepared[warm:], group)
            count = sum(one.spans for one in prepared[warm:])
        finally:
            app.core.close()
    return thread_ns / count / 1e9, max(0, process_ns - thread_ns) / count / 1e9, count


def receive(mix: Mix, protocol: str, seconds: float) -> tuple[float, float]:
    """CPU seconds a span and spans a second of the receiver alone."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.receive_only"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("the receivers have no output")
        addresses = json.loads(process.stdout.readline())
        with LoadProcess(Load(endpoint=addresses[protocol], protocol=protocol, seconds=seconds), mix) as load:
            before = usage(process.pid).cpu_s
            load.begin()
            sent = load.result()
            return (usage(process.pid).cpu_s - before) / max(1, sent.acknowledged), sent.spans_per_second
    finally:
        process.terminate()
        process.communicate()


def stages(spans: int, seconds: float, *, mix: Mix | None = None, group: int = 4) -> list[Table]:
    """The table of stages beside the budget."""
    mix = mix or Mix()
    progress("stages: the receivers alone")
    by_protocol = {protocol: receive(mix, protocol, seconds) for protocol in ("grpc", "http")}
    collect_rarely()
    progress(f"stages: the core on {spans:,} spans, twice")
    prepared = _requests(mix, spans + spans // 5)
    bare, bare_others, _ = _core(spans, prepared, group, None)
    clocks = Clocks()
    with clocks.around(PLACES):
        clocked, others, count = _core(spans, prepared, group, clocks)
    per_span = {stage: seconds_ / count * 1e6 for stage, seconds_ in clocks.seconds().items()}
    per_span |= {"receive": by_protocol["grpc"][0] * 1e6, "DuckDB's own threads": others * 1e6}
    rows: list[dict[str, Cell]] = []
    for name, budget, parts in BUDGET:
        rows.append({"stage": name, "CPU µs/span": sum(per_span.get(part, 0.0) for part in parts), "budget": budget})
        rows += [{"stage": f"    {part}", "CPU µs/span": per_span.get(part), "budget": None} for part in parts if len(parts) > 1]
    rows.append({"stage": "all", "CPU µs/span": sum(per_span.values()), "budget": sum(budget for _, budget, _ in BUDGET)})
    notes = [
        f"the core without clocks: {bare * 1e6:.1f} µs a span on its thread and {bare_others * 1e6:.1f} on DuckDB's",
        f"with clocks: {clocked * 1e6:.1f} and {others * 1e6:.1f}; what the clocks themselves cost is taken off above",
        *(f"receive over {protocol}: {cpu * 1e6:.1f} µs a span at {rate:,.0f} spans/s" for protocol, (cpu, rate) in by_protocol.items()),
        f"batch {mix.batch}, {group} requests a commit, every span a step; a tick in {_SPANS_PER_TICK:,} spans",
    ]
    if clocks.missing:
        notes.append(f"NOT FOUND, so counted in the rest: {', '.join(clocks.missing)}")
    return [Table("stages", "CPU time by stage", rows, notes)]
