"""A real `overcurrent serve` on free ports, stopped by its own id."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from collector.model import Request

_PATIENCE_S = 60.0
_ADDRESSES = {"otlp": r"^OTLP/HTTP +(http://\S+)/v1/traces$", "api": r"^API +(http://\S+)/api/v1/sessions$"}


class Service:
    """The process, and where it listens."""

    def __init__(self, data_dir: Path, *, config: Path | None = None) -> None:
        self.data_dir = data_dir
        self.output = data_dir.with_suffix(".log")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERCURRENT_")}
        ports = [part for option in ("--otlp-grpc", "--otlp-http", "--listen") for part in (option, "127.0.0.1:0")]
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "collector.cli", "serve", "--data-dir", str(data_dir), *ports, "--log-level", "warning"),
                    *(("--config", str(config)) if config else ()),
                ],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        found = self._addresses()
        self.url, self.otlp = found["api"], found["otlp"]
        self.http = httpx2.Client(trust_env=False, timeout=30)

    def _addresses(self) -> dict[str, str]:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            text = self.output.read_text()
            found = {name: match[1] for name, pattern in _ADDRESSES.items() if (match := re.search(pattern, text, re.MULTILINE))}
            if len(found) == len(_ADDRESSES) and "armed " in text:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.process.kill()
        self.process.wait()
        raise AssertionError(f"the service did not start:\n{self.output.read_text()}")

    def send(self, request: Request) -> None:
        """Returns when the service has acknowledged."""
        headers = {"Content-Type": "application/x-protobuf"}
        answer = self.http.post(f"{self.otlp}/v1/{request.signal}", content=request.body, headers=headers)
        answer.raise_for_status()

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"{self.url}/api/v1/{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    def kill(self) -> None:
        """What a power cut does to the process."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(_PATIENCE_S)
        self.http.close()

    def stop(self) -> int:
        """What an operator does; returns the exit status."""
        self.process.terminate()
        status = self.process.wait(_PATIENCE_S)
        self.http.close()
        return status


@contextmanager
def serving(data_dir: Path, *, config: Path | None = None) -> Iterator[Service]:
    service = Service(data_dir, config=config)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()
