"""The service under measurement: started on free ports of loopback in a folder of its own, watched, and ended by its id."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx2
import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from collector.store.partitions import opened

PATIENCE_S: Final = 600.0
"""How long a start may take: with tens of millions of spans stored it is part of what is measured."""
_STOP_S: Final = 60.0


class Usage(NamedTuple):
    """CPU seconds used so far and bytes resident, of the process and its children."""

    cpu_s: float
    rss: int


def usage(pid: int) -> Usage:
    cpu, rss = 0.0, 0
    try:
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            times = process.cpu_times()
            cpu += times.user + times.system
            rss += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return Usage(cpu, rss)


def environment() -> dict[str, str]:
    """The environment of this process without what would configure the service behind our back."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OVERCURRENT_", "OTEL_"))}


class Service:
    """`overcurrent serve`. Leaving the `with` stops it; it may be started again and keeps its data."""

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._config = dict(config or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.grpc = self.http = self.web = "127.0.0.1:0"
        self.seconds_to_ready = 0.0
        self._client = httpx2.Client(trust_env=False, timeout=60)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the service does not run")
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote since it was last started."""
        return (self.folder / "service.log").read_text(encoding="utf8", errors="replace")

    def address(self, protocol: str) -> str:
        return self.grpc if protocol == "grpc" else self.http

    def start(self) -> None:
        """Starts it and waits until /readyz says so; raises RuntimeError with its log where it ends instead."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "overcurrent.yaml"
        config = {
            "receivers": {"otlp_grpc": "127.0.0.1:0", "otlp_http": "127.0.0.1:0"},
            "web": {"listen": "127.0.0.1:0"},
            "storage": {"data_dir": str(self.data)},
        }
        for section, values in self._config.items():
            config[section] = {**config.get(section, {}), **values}
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config), encoding="utf8")
        program = str(Path(sys.executable).with_name("overcurrent"))
        started = time.perf_counter()
        with (self.folder / "service.log").open("wb") as output:
            self._process = subprocess.Popen(
                [program, "serve", "--config", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment(),
            )
        try:
            self._wait_until_ready(started + PATIENCE_S)
        except BaseException:
            self.kill()
            raise
        self.seconds_to_ready = time.perf_counter() - started

    def _wait_until_ready(self, deadline: float) -> None:
        while time.perf_counter() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError(f"the service ended while it started:\n{self.log[-4000:]}")
            said = self.log
            if "\narmed " in said:
                found = dict(re.findall(r"^(OTLP/gRPC|OTLP/HTTP|API) +(?:http://)?([\d.]+:\d+)", said, re.MULTILINE))
                self.grpc, self.http, self.web = found["OTLP/gRPC"], found["OTLP/HTTP"], found["API"]
                if self._client.get(f"http://{self.web}/readyz").is_success:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"the service was not ready after {PATIENCE_S:g} s:\n{self.log[-4000:]}")

    def stop(self) -> None:
        """Stops it as an operator would. Harmless when repeated."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        self._client.close()
        self._client = httpx2.Client(trust_env=False, timeout=60)
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def usage(self) -> Usage:
        return usage(self.pid)

    def metrics(self) -> dict[str, float]:
        """Every metric by name, series added up; histogram buckets by `name{le}`."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self._client.get(f"http://{self.web}/metrics").text):
            for sample in family.samples:
                name = f"{sample.name}{{{sample.labels['le']}}}" if "le" in sample.labels else sample.name
                sums[name] = sums.get(name, 0.0) + sample.value
        return sums


class Watch:
    """Looks at a running service: memory four times a second, and once a second the queue by its own metrics."""

    def __init__(self, service: Service, *, interval_s: float = 0.25) -> None:
        self._service = service
        self._interval = interval_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.rss: list[int] = []
        self.queue: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        turn = 0
        while not self._done.wait(self._interval):
            self.rss.append(self._service.usage().rss)
            if turn % 4 == 0:  # a scrape costs the service some 25 ms of CPU
                try:
                    self.queue.append(self._service.metrics().get("overcurrent_ingest_queue_bytes", 0.0))
                except httpx2.HTTPError:
                    self.queue.append(float("nan"))
            turn += 1


class Stored(NamedTuple):
    """What a stopped service left behind."""

    spans: int
    distinct_spans: int
    steps: int
    file_bytes: int


def stored(data: Path) -> Stored:
    """Counts what is in the store. The service must not run."""
    path = data / "telemetry.duckdb"
    with opened(path) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM spans), (SELECT count(*) FROM (SELECT DISTINCT tenant, trace_id, span_id FROM spans)), "
            "(SELECT sum(steps) FROM blocks)"
        ).fetchone()
    spans, distinct, steps = row if row is not None else (0, 0, 0)
    return Stored(int(spans), int(distinct), int(steps), sum(file.stat().st_size for file in data.rglob("*") if file.is_file()))
