"""How soon a loop is found and the runtime told, beside other load.

Probe sessions repeat one tool call until they are halted. Everything is on one clock: the probe notes when it sent the
request that completed the loop, the service's stores hold when that arrived and when the halt was recorded, and a local
HTTP server notes when the webhook came.
"""

import json
import secrets
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.load import Mix, put
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load, LoadProcess, percentiles_ms, sender
from benchmarks.service import Service
from collector.store.partitions import opened

RATES: Final = (0, 2_000, 10_000)
_DETECTOR: Final = "exact_loop"
_FIRST_CALLS: Final = 6
"""Equal calls sent in one request at first, fewer than halt a session."""
_MAX_CALLS: Final = 40
_PAUSE_S: Final = 0.1
_AFTER_S: Final = 5.0


class Webhooks:
    """A runtime on loopback that notes when each session is to be halted, and confirms."""

    def __init__(self) -> None:
        self.came_ns: dict[str, int] = {}
        self.others = 0
        noted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                now_ns = time.time_ns()
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                noted.note(message, now_ns)
                answer = b'{"status": "stopped"}'
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the name in http.server
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def note(self, message: dict[str, Any], now_ns: int) -> None:
        session = str(message.get("data", {}).get("session_id"))
        if message.get("type") == "session.halt" and session.startswith("probe-"):
            self.came_ns.setdefault(session, now_ns)
        else:
            self.others += 1

    @property
    def config(self) -> dict[str, Any]:
        """The service's `actions` section that names this runtime."""
        url = f"http://127.0.0.1:{self._server.server_address[1]}/halts"
        return {"runtimes": [{"agent_types": ["*"], "url": url, "secret": secrets.token_urlsafe(32)}]}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class _Probe:
    """One session that loops."""

    session: str = field(default_factory=lambda: f"probe-{secrets.token_hex(8)}")
    trace: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    root: bytes = field(default_factory=lambda: secrets.token_bytes(8))
    sent_ns: dict[str, int] = field(default_factory=dict)
    """By span id."""

    def run(self, send: Callable[[bytes], bytes], halted: Callable[[str], bool]) -> None:
        """Repeats its call until it is halted."""
        self._request(send, _FIRST_CALLS)
        for _ in range(_MAX_CALLS - _FIRST_CALLS):
            if halted(self.session):
                return
            self._request(send, 1)

    def _request(self, send: Callable[[bytes], bytes], calls: int) -> None:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "probe"
        scope = resource.scope_spans.add()
        ids = []
        now_ns = time.time_ns()
        for number in range(calls):
            ids.append(secrets.token_bytes(8))
            self._call(scope.spans.add(), ids[-1], now_ns + number)
        body = request.SerializeToString()
        sent_ns = time.time_ns()
        self.sent_ns |= {span_id.hex(): sent_ns for span_id in ids}
        send(body)

    def _call(self, span: Span, span_id: bytes, now_ns: int) -> None:
        span.trace_id, span.span_id, span.parent_span_id = self.trace, span_id, self.root
        span.name, span.kind = "execute_tool read_file", Span.SPAN_KIND_INTERNAL
        span.start_time_unix_nano, span.end_time_unix_nano = now_ns - 1_000_000, now_ns
        put(span, "gen_ai.conversation.id", self.session)
        put(span, "gen_ai.agent.name", "probe")
        put(span, "gen_ai.operation.name", "execute_tool")
        put(span, "gen_ai.tool.name", "read_file")
        put(span, "gen_ai.tool.call.id", f"call_{span_id.hex()}")
        put(span, "gen_ai.tool.call.arguments", '{"path": "notes/today.md"}')
        put(span, "gen_ai.tool.call.result", "Monday: order paper; water the plants.")


def _probe_for(seconds: float, service: Service, webhooks: Webhooks, probes: list[_Probe]) -> list[str]:
    """Runs one probe after the other; returns what went wrong."""
    send = sender(Load(endpoint=service.grpc))
    stop_at = time.perf_counter() + seconds
    troubles = []
    while time.perf_counter() < stop_at:
        probe = _Probe()
        probes.append(probe)
        try:
            probe.run(send, lambda session: session in webhooks.came_ns)
        except Exception as error:  # noqa: BLE001 — a probe that was refused is counted, the others go on
            troubles.append(f"{type(error).__name__}: {error}"[:100])
        time.sleep(_PAUSE_S)
    return troubles


@dataclass
class _Latencies:
    """Seconds, of each probe that was halted."""

    arrival_to_verdict: list[float] = field(default_factory=list)
    sent_to_verdict: list[float] = field(default_factory=list)
    arrival_to_webhook: list[float] = field(default_factory=list)
    sent_to_webhook: list[float] = field(default_factory=list)


def _read(data: Path, probes: list[_Probe], webhooks: Webhooks) -> _Latencies:
    """What the stores of a stopped service say about the probes."""
    found = _Latencies()
    with sqlite3.connect(data / "control.sqlite") as control:
        halts = {
            str(key).rpartition("/")[2]: int(at) for key, at in control.execute("SELECT session, min(requested_ns) FROM halts GROUP BY 1")
        }
    control.close()
    with opened(data / "telemetry.duckdb") as store:
        for probe in probes:
            verdict_ns, came_ns = halts.get(probe.session), webhooks.came_ns.get(probe.session)
            if verdict_ns is None or came_ns is None:
                continue
            # The next call is sent only after the one before was answered, so the latest that had arrived completed the loop.
            row = store.execute(
                "SELECT span_id, arrival_ns FROM spans WHERE trace_id = ? AND arrival_ns <= ? "
                "ORDER BY arrival_ns DESC, end_ns DESC LIMIT 1",
                [probe.trace.hex(), verdict_ns],
            ).fetchone()
            if row is None:
                continue
            sent_ns, arrival_ns = probe.sent_ns[str(row[0])], int(row[1])
            found.arrival_to_verdict.append((verdict_ns - arrival_ns) / 1e9)
            found.sent_to_verdict.append((verdict_ns - sent_ns) / 1e9)
            found.arrival_to_webhook.append((came_ns - arrival_ns) / 1e9)
            found.sent_to_webhook.append((came_ns - sent_ns) / 1e9)
    return found


def _measure(rate: float, seconds: float, connections: int, mix: Mix) -> tuple[list[dict[str, Cell]], list[str]]:
    probes: list[_Probe] = []
    with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder, Webhooks() as webhooks:
        service = Service(Path(folder), {"detectors": {_DETECTOR: {"mode": "halt"}}, "actions": webhooks.config})
        with service:
            if rate:
                load = Load(endpoint=service.grpc, rate=rate, seconds=seconds + 1.5, connections=connections)
                with LoadProcess(load, mix) as process:
                    process.begin()
                    time.sleep(1.0)
                    troubles = _probe_for(seconds, service, webhooks, probes)
                    achieved = process.result().spans_per_second
            else:
                troubles, achieved = _probe_for(seconds, service, webhooks, probes), 0.0
            deadline = time.perf_counter() + _AFTER_S
            while time.perf_counter() < deadline and any(probe.session not in webhooks.came_ns for probe in probes):
                time.sleep(0.05)
        found = _read(service.data, probes, webhooks)
    rows: list[dict[str, Cell]] = []
    for name, seconds_ in vars(found).items():
        p50, p99 = percentiles_ms(seconds_)
        rows.append(
            {
                "load wanted": f"{rate:,.0f} spans/s",
                "load taken": achieved,
                "loops": len(probes),
                "halted": len(found.sent_to_webhook),
                "from, to": name.replace("_", " "),
                "p50 ms": p50,
                "p99 ms": p99,
                "slowest ms": max(seconds_, default=0.0) * 1e3,
            }
        )
    notes = [f"{rate:,.0f} spans/s: {len(troubles)} probes were refused, the first with {troubles[0]}"] if troubles else []
    if webhooks.others:
        notes.append(f"{rate:,.0f} spans/s: {webhooks.others} webhooks about sessions of the background load")
    return rows, notes


def latency(seconds: float, connections: int, rates: tuple[float, ...] = RATES, *, mix: Mix | None = None) -> list[Table]:
    """A table with a row for each background rate of `mix`."""
    mix = mix or Mix()
    rows: list[dict[str, Cell]] = []
    notes: list[str] = []
    for rate in rates:
        progress(f"latency: {rate:,.0f} spans/s beside")
        measured, said = _measure(rate, seconds, connections, mix)
        rows += measured
        notes += said
    notes.append("`sent` counts from before the probe hands the request to gRPC, `arrival` from the service's own stamp")
    notes.append("a loop is halted at its eighth equal call; where few loops ran, p99 is their slowest")
    beside = f"beside batches of {mix.batch} spans, {mix.step_share:.0%} of them steps"
    return [Table("latency", f"Arrival to verdict and to webhook {beside}, {seconds:g} s a row", rows, notes)]
