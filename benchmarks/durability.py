"""Kills the service in the middle of load, again and again, and counts: every acknowledged item stored once, charged once.

After each kill a copy of the store is opened as the crash left it: what was acknowledged must be there. Then the service is
started again, everything that was not acknowledged is sent again, and so is a part of what was, as exporters do whose answer
got lost. At the end the store and the sums of the sessions are compared with what was made.
"""

import json
import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.load import Mix, Recycled, build
from benchmarks.logs import LogRequest, LogSession
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load, Send, sender
from benchmarks.service import Service
from collector.store.duckdb import DuckDBStore
from collector.store.partitions import opened

_SPAN_SENDERS: Final = 3
_RECORDS: Final = 20
_RATE: Final = 4_000.0
"""Spans a second at most: all that was sent is kept here to be compared."""
_SENT_AGAIN: Final = 0.2
"""Share of acknowledged requests that are sent once more."""
_RESEND_TRIES: Final = 50


@dataclass
class _Item:
    """One request and whether it was ever acknowledged."""

    signal: str
    body: bytes
    log: LogRequest | None = None
    acknowledged: bool = False


@dataclass
class _Made:
    """What was sent, over all rounds."""

    spans: Counter[tuple[str, str]] = field(default_factory=Counter)
    logs: int = 0
    session_calls: Counter[str] = field(default_factory=Counter)
    session_tokens: Counter[str] = field(default_factory=Counter)

    def take(self, items: list[_Item]) -> None:
        for item in items:
            if item.log is not None:
                self.logs += len(item.log.sequences)
                self.session_calls[item.log.session] += len(item.log.sequences)
                self.session_tokens[item.log.session] += item.log.input_tokens
                continue
            for resource in ExportTraceServiceRequest.FromString(item.body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.spans[span.trace_id.hex(), span.span_id.hex()] += 1
                        known = {pair.key: pair.value for pair in span.attributes}
                        session = known["gen_ai.conversation.id"].string_value
                        self.session_calls[session] += not span.name.startswith("invoke_agent")  # it stands for its calls
                        if "gen_ai.usage.input_tokens" in known:
                            self.session_tokens[session] += known["gen_ai.usage.input_tokens"].int_value


def _keys(items: list[_Item]) -> tuple[set[tuple[str, str]], set[tuple[str, int]]]:
    spans: set[tuple[str, str]] = set()
    logs: set[tuple[str, int]] = set()
    for item in items:
        if item.log is not None:
            logs |= {(item.log.session, sequence) for sequence in item.log.sequences}
        else:
            for resource in ExportTraceServiceRequest.FromString(item.body).resource_spans:
                spans |= {(span.trace_id.hex(), span.span_id.hex()) for scope in resource.scope_spans for span in scope.spans}
    return spans, logs


def _stored(path: Path) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, int]]]:
    with opened(path) as connection:
        spans = connection.execute("SELECT trace_id, span_id, count(*) FROM spans GROUP BY ALL").fetchall()
    store = DuckDBStore(path)
    logs = [json.loads(record["attributes"]) for record in store.logs()]
    store.close()
    return (
        Counter({(str(trace), str(span)): int(count) for trace, span, count in spans}),
        Counter((str(said["session.id"]), int(said["event.sequence"])) for said in logs),
    )


class _Senders:
    """Sends until told to stop, and remembers every request and whether it was acknowledged."""

    def __init__(self, service: Service, recycled: Recycled, dice: random.Random) -> None:
        self.items: list[_Item] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        self._taken = 0
        self._address = service.grpc
        self._stream = recycled.stream(lambda: not self._stop.is_set())
        self._logs = [LogSession() for _ in range(10)]
        self._dice = dice
        self._threads = [threading.Thread(target=self._send_spans) for _ in range(_SPAN_SENDERS)]
        self._threads.append(threading.Thread(target=self._send_logs))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send_spans(self) -> None:
        send = sender(Load(endpoint=self._address, timeout=30))
        while not self._stop.is_set():
            with self._lock:
                request = next(self._stream, None)
                if request is None:
                    return
                self._taken += request.spans
                due = self._started + self._taken / _RATE
                item = _Item("traces", request.body)
                self.items.append(item)
            self._stop.wait(max(0.0, due - time.perf_counter()))
            self._deliver(send, item)

    def _send_logs(self) -> None:
        send = sender(Load(endpoint=self._address, timeout=30), "logs")
        while not self._stop.wait(0.02):
            log = self._dice.choice(self._logs).request(_RECORDS)
            item = _Item("logs", log.body, log)
            with self._lock:
                self.items.append(item)
            self._deliver(send, item)

    def _deliver(self, send: Send, item: _Item) -> None:
        if self._stop.is_set():
            return
        try:
            send(item.body)
        except Exception:  # noqa: BLE001 — what is not acknowledged is sent again after the restart
            self._stop.wait(0.05)
        else:
            item.acknowledged = True


def _send_again(service: Service, items: list[_Item], dice: random.Random) -> int:
    """Sends what was not acknowledged, and some of what was; returns how many requests are still not acknowledged."""
    sends = {signal: sender(Load(endpoint=service.grpc), signal) for signal in ("traces", "logs")}
    missing = 0
    for item in items:
        if item.acknowledged and dice.random() >= _SENT_AGAIN:
            continue
        for _ in range(_RESEND_TRIES):
            try:
                sends[item.signal](item.body)
            except Exception:  # noqa: BLE001 — refused for now
                time.sleep(0.2)
            else:
                break
        else:
            missing += 1
    return missing


def _round(service: Service, recycled: Recycled, seconds: float, dice: random.Random, made: _Made) -> dict[str, Cell]:
    senders = _Senders(service, recycled, dice)
    lived = dice.uniform(0.3, max(0.4, seconds))
    time.sleep(lived)
    service.kill()
    senders.stop()
    acknowledged = [item for item in senders.items if item.acknowledged]
    left = service.folder / "as-the-crash-left-it"
    shutil.copytree(service.data, left)
    spans, logs = _stored(left / "telemetry.duckdb")
    shutil.rmtree(left)
    wanted_spans, wanted_logs = _keys(acknowledged)
    made.take(senders.items)
    service.start()
    unsent = _send_again(service, senders.items, dice)
    return {
        "killed after s": lived,
        "requests": len(senders.items),
        "acknowledged spans": len(wanted_spans),
        "acknowledged log records": len(wanted_logs),
        "lost": sum(key not in spans for key in wanted_spans) + sum(key not in logs for key in wanted_logs),
        "stored twice": sum(count > 1 for count in [*spans.values(), *logs.values()]),
        "ready again s": service.seconds_to_ready,
        "never acknowledged": unsent,
    }


def _final(service: Service, made: _Made) -> tuple[dict[str, Cell], list[str]]:
    spans, logs = _stored(service.data / "telemetry.duckdb")
    with closing(sqlite3.connect(service.data / "control.sqlite")) as control:
        bodies = {str(key): json.loads(body) for key, body in control.execute("SELECT session_id, body FROM sessions")}
    wrong = []
    for session, calls in made.session_calls.items():
        body = bodies.get(session)
        if body is None:
            wrong.append(f"{session} is not in the index")
        elif (body["llm_calls"] + body["tool_calls"], body["input_tokens"] or 0) != (calls, made.session_tokens[session]):
            wrong.append(
                f"{session}: {body['llm_calls']} + {body['tool_calls']} calls and {body['input_tokens']} input tokens, "
                f"{calls} and {made.session_tokens[session]} were sent"
            )
    return {
        "spans made": len(made.spans),
        "stored": sum(spans.values()),
        "lost": sum(key not in spans for key in made.spans),
        "log records made": made.logs,
        "log records stored": sum(logs.values()),
        "stored twice": sum(count > 1 for count in [*spans.values(), *logs.values()]),
        "never made": sum(key not in made.spans for key in spans),
        "sessions": len(made.session_calls),
        "sessions charged wrong": len(wrong),
    }, wrong[:5]


def durability(rounds: int, seconds: float, seed: int | None = None, minutes: float | None = None) -> list[Table]:
    """A row for each kill, and the sums at the end. After `minutes` no further round is begun."""
    dice = random.Random(time.time_ns() if seed is None else seed)  # noqa: S311 — decides when to kill
    made, rows = _Made(), []
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder:
        service = Service(Path(folder))
        with service:
            for number in range(rounds):
                if time.monotonic() > deadline:
                    break
                progress(f"durability: round {number + 1} of {rounds}")
                recycled = Recycled(build(Mix(batch=64, sessions=40, span_bytes=1_200)))
                rows.append({"round": number + 1, **_round(service, recycled, seconds, dice, made)})
        final, wrong = _final(service, made)
    notes = [
        "lost and stored twice: in a copy of the store as the crash left it, of what was acknowledged in this round",
        f"then the service starts again, everything not acknowledged is sent again, and {_SENT_AGAIN:.0%} of what was",
    ]
    return [
        Table("durability", f"Kill -9 under load, {len(rows)} rounds", rows, notes),
        Table("durability_sums", "After all rounds", [final], wrong),
    ]
