"""Sends load in a process of its own, so that neither side waits for the other's interpreter lock.

`python -m benchmarks.sending HOST:PORT` prepares, says so, waits for a line, sends, and prints one JSON line.
"""

import argparse
import gzip
import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from types import TracebackType
from typing import Any, Final, Self

import grpc
import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from benchmarks.load import Mix, Prepared, Recycled, build

METHODS: Final = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
Send = Callable[[bytes], bytes]
"""Sends one request and returns the response's bytes once it is acknowledged; raises where it was not."""


class NotAcknowledgedError(Exception):
    """The service answered with something other than success."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a mix is sent."""

    endpoint: str
    protocol: str = "grpc"
    compressed: bool = False
    rate: float = 0.0
    """Spans a second; 0 means as fast as they are acknowledged."""
    seconds: float = 5.0
    connections: int = 4
    """Requests under way at the same time, each on a connection of its own."""
    headers: Mapping[str, str] = field(default_factory=dict)
    retries: int = 20
    timeout: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of it. Times in seconds unless the name says otherwise."""

    seconds: float = 0.0
    requests: int = 0
    spans: int = 0
    """Spans in requests that were taken up for sending."""
    acknowledged: int = 0
    rejected: int = 0
    wire_bytes_per_span: float = 0.0
    """Before compression."""
    ack_ms_p50: float | None = None
    ack_ms_p99: float | None = None
    retries: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    sender_cpu_s: float = 0.0

    @property
    def spans_per_second(self) -> float:
        return self.acknowledged / self.seconds if self.seconds else 0.0


def sender(load: Load, signal: str = "traces") -> Send:
    """A connection of its own to the endpoint."""
    return _grpc_sender(load, METHODS[signal]) if load.protocol == "grpc" else _http_sender(load, f"/v1/{signal}")


def _grpc_sender(load: Load, method: str) -> Send:
    channel = grpc.insecure_channel(
        load.endpoint,
        options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)],
        compression=grpc.Compression.Gzip if load.compressed else grpc.Compression.NoCompression,
    )
    call: Any = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
    metadata = [(key.lower(), value) for key, value in load.headers.items()] or None

    def send(body: bytes) -> bytes:
        return bytes(call(body, timeout=load.timeout, metadata=metadata))

    return send


def _http_sender(load: Load, path: str) -> Send:
    host, _, port = load.endpoint.rpartition(":")
    headers = {"Content-Type": "application/x-protobuf", **({"Content-Encoding": "gzip"} if load.compressed else {}), **load.headers}
    connection = http.client.HTTPConnection(host, int(port), timeout=load.timeout)

    def send(body: bytes) -> bytes:
        try:
            connection.request("POST", path, gzip.compress(body, 6) if load.compressed else body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens it again
            raise
        if not 200 <= response.status < 300:
            raise NotAcknowledgedError(f"HTTP {response.status} {answer[:80]!r}")
        is_protobuf = (response.getheader("content-type") or "").startswith("application/x-protobuf")
        return answer if is_protobuf else b""

    return send


def cause(error: Exception) -> str:
    """A short name of what went wrong, to count by."""
    if isinstance(error, grpc.RpcError):
        code = getattr(error, "code", None)
        return str(code().name) if callable(code) else "RpcError"
    return f"{type(error).__name__}: {error}"[:100]


class _Run:
    def __init__(self, load: Load, prepared: list[Prepared]) -> None:
        self._load = load
        self._stream = Recycled(prepared).stream(lambda: time.perf_counter() < self._stop_at)
        self._mean = sum(len(one.body) for one in prepared) / sum(one.spans for one in prepared)
        self._lock = threading.Lock()
        self._latencies: list[float] = []
        self._errors: Counter[str] = Counter()
        self._started = self._stop_at = 0.0
        self._taken = self._acknowledged = self._rejected = self._retries = 0

    def __call__(self) -> Sent:
        cpu = sum(os.times()[:2])
        self._started = time.perf_counter()
        self._stop_at = self._started + self._load.seconds
        threads = [threading.Thread(target=self._work) for _ in range(self._load.connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - self._started
        p50, p99 = percentiles_ms(self._latencies)
        return Sent(
            seconds=took,
            requests=len(self._latencies),
            spans=self._taken,
            acknowledged=self._acknowledged,
            rejected=self._rejected,
            wire_bytes_per_span=self._mean,
            ack_ms_p50=p50,
            ack_ms_p99=p99,
            retries=self._retries,
            errors=dict(self._errors),
            sender_cpu_s=sum(os.times()[:2]) - cpu,
        )

    def _work(self) -> None:
        send = sender(self._load)
        while True:
            with self._lock:
                request = next(self._stream, None)
                if request is None:
                    return
                self._taken += request.spans
                due = self._started + self._taken / self._load.rate if self._load.rate else 0.0
            time.sleep(max(0.0, due - time.perf_counter()))
            self._deliver(send, request)

    def _deliver(self, send: Send, request: Prepared) -> None:
        for attempt in itertools.count():
            started = time.perf_counter()
            try:
                answer = send(request.body)
            except Exception as error:  # noqa: BLE001 — whatever it was is counted by its name
                with self._lock:
                    self._errors[cause(error)] += 1
                if attempt >= self._load.retries:
                    return
                with self._lock:
                    self._retries += 1
                time.sleep(min(2.0, 0.05 * 2**attempt))
            else:
                rejected = ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans if answer else 0
                with self._lock:
                    self._latencies.append(time.perf_counter() - started)
                    self._acknowledged += request.spans - rejected
                    self._rejected += rejected
                return


def percentiles_ms(seconds: list[float]) -> tuple[float | None, float | None]:
    """Median and 99th percentile in milliseconds; None without observations."""
    if not seconds:
        return None, None
    p50, p99 = np.percentile(np.array(seconds), [50, 99])
    return float(p50) * 1e3, float(p99) * 1e3


class LoadProcess:
    """The sender as a child process. It has prepared its requests when the `with` begins."""

    def __init__(self, load: Load, mix: Mix) -> None:
        order = {"load": {**asdict(load), "headers": dict(load.headers)}, "mix": asdict(mix)}
        self._patience = load.seconds + load.timeout * 3
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sending", json.dumps(order)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        if self._process.stdout is None or self._process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the sender did not start (exit {self._process.poll()})")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def begin(self) -> None:
        """Starts sending."""
        if self._process.stdin is None:
            raise RuntimeError("the sender has no input")
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> Sent:
        """Waits for the end."""
        output, _ = self._process.communicate(timeout=self._patience)
        found = json.loads(output)
        return Sent(**{one.name: found[one.name] for one in fields(Sent)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("order", help="JSON with `load` and `mix`, or the address to send to with all defaults")
    given = parser.parse_args().order
    order = json.loads(given) if given.startswith("{") else {"load": {"endpoint": given}}
    run = _Run(Load(**order["load"]), build(Mix(**order.get("mix", {}))))
    print("ready", flush=True)
    if sys.stdin.readline():
        print(json.dumps(asdict(run())), flush=True)


if __name__ == "__main__":
    main()
