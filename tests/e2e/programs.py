"""Starts the real programs on ports of this machine, and stops each by its own id."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from collector.model import Request
from tests.rules.programs import program

T = TypeVar("T")

OVERCURRENT: Final = str(Path(sys.executable).with_name("overcurrent"))
PATIENCE_S: Final = 60.0
"""How long a test waits for what must happen. What happens takes a second or two; a loaded machine takes longer."""


def wait_for(what: str, look: Callable[[], T | None], *, patience_s: float = PATIENCE_S) -> T:
    """What `look` returns once that is true; fails the test with `what` and the last look where time runs out."""
    deadline = time.monotonic() + patience_s
    seen: object = None
    while time.monotonic() < deadline:
        try:
            found = look()
        except httpx2.TransportError as error:
            seen = error
        else:
            if found:
                return found
            seen = found
        time.sleep(0.05)
    pytest.fail(f"waited {patience_s:g} s for: {what} (last seen: {seen!r})", pytrace=False)


def free_port() -> int:
    """A port nobody listens on. Another program may take it before it is used: rare enough here."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def environment() -> dict[str, str]:
    """The environment of this process without what would configure the programs behind our back."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OVERCURRENT_", "OTEL_", "ROTEL_"))}


def overcurrent(*arguments: str, cwd: Path | None = None) -> str:
    """Runs a command to its end and returns what it printed; fails the test where it fails."""
    done = subprocess.run([OVERCURRENT, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env=environment())
    if done.returncode != 0:
        pytest.fail(f"overcurrent {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


class Program(ABC):
    """A process whose output goes to a file. The `with` starts and stops it."""

    def __init__(self, name: str, folder: Path, *, base_url: str = "") -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.output = self.folder / "output.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx2.Client(base_url=base_url, trust_env=False, timeout=20)

    @abstractmethod
    def launch(self) -> None:
        """Starts it and returns when it answers."""

    def __enter__(self) -> Self:
        try:
            self.launch()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            self.client.close()

    def begin(self, *command: str) -> None:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder, env=environment()
            )

    def said(self) -> str:
        return self.output.read_text(encoding="utf8", errors="replace")

    def ready(self, what: str, look: Callable[[], T | None]) -> T:
        """Waits, and fails at once with its output where the process has ended."""

        def alive() -> T | None:
            if self.process is not None and self.process.poll() is not None:
                self.died()
            return look()

        return wait_for(f"{self.name}: {what}", alive)

    def died(self) -> NoReturn:
        pytest.fail(f"{self.name} ended by itself\n{self.said()[-4000:]}", pytrace=False)

    def stop(self) -> int | None:
        """Sends SIGTERM and waits; returns the exit status. Harmless when repeated."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


class Service(Program):
    """`overcurrent serve`, configured by file. It keeps its ports and its data over a restart."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__("service", folder)
        self.data_dir = self.folder / "data"
        self.grpc = self.http = self.web = "127.0.0.1:0"
        self._config = config

    def launch(self) -> None:
        self.start(self._config)

    @property
    def url(self) -> str:
        return f"http://{self.web}"

    def configure(self, config: Mapping[str, Any]) -> Path:
        """Writes the configuration file anew; a running service reads it at SIGHUP."""
        file = self.folder / "overcurrent.yaml"
        file.touch(mode=0o600)
        everything = {
            "web": {"listen": self.web},
            "storage": {"data_dir": str(self.data_dir)},
            **config,
            "receivers": {"otlp_grpc": self.grpc, "otlp_http": self.http, **config.get("receivers", {})},
        }
        file.write_text(yaml.safe_dump(everything), encoding="utf8")
        return file

    def reload(self, config: Mapping[str, Any]) -> None:
        assert self.process is not None
        self.configure(config)
        reloaded = self.said().count("configuration reloaded")
        self.process.send_signal(signal.SIGHUP)
        wait_for("the configuration is reloaded", lambda: self.said().count("configuration reloaded") > reloaded)

    def start(self, config: Mapping[str, Any]) -> None:
        self.begin(OVERCURRENT, "serve", "--config", str(self.configure(config)))
        said = self.ready("listens", lambda: self.said() if "\narmed " in self.said() else None)
        addresses = dict(re.findall(r"^(OTLP/gRPC|OTLP/HTTP|API) +(?:http://)?([\d.]+:\d+)", said, re.MULTILINE))
        self.grpc, self.http, self.web = addresses["OTLP/gRPC"], addresses["OTLP/HTTP"], addresses["API"]

    def kill(self) -> None:
        """What a power cut does to the process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)
        self.process = None

    def send(self, request: Request) -> None:
        """Returns when the service has acknowledged. Raises httpx2.HTTPError where it does not."""
        headers = {"Content-Type": "application/x-protobuf"}
        self.client.post(f"http://{self.http}/v1/{request.signal}", content=request.body, headers=headers).raise_for_status()

    def get(self, path: str, **query: Any) -> Any:
        response = self.client.get(f"{self.url}/api/v1/{path}", params=query)
        assert response.is_success, response.text
        return response.json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        response = self.client.post(f"{self.url}/api/v1/{path}", json=body)
        assert response.is_success, response.text
        return response.json()

    def session(self, session_id: str) -> dict[str, Any] | None:
        """The session as the API shows it; None while it is unknown."""
        response = self.client.get(f"{self.url}/api/v1/sessions/{session_id}")
        if response.status_code == 404:
            return None
        assert response.is_success, response.text
        return dict(response.json())

    def command(self, *arguments: str) -> Any:
        """What a command of the command line answers in JSON."""
        return json.loads(overcurrent(*arguments, "--url", self.url, "--format", "json"))

    def metric(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of that name that have these labels; None where there is none."""
        text = self.client.get(f"{self.url}/metrics").text
        values = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None


class Generated:
    """What `overcurrent generate` writes, made faster in this copy: seconds become one second, waiting becomes none."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.alertmanager = f"127.0.0.1:{free_port()}"
        self.rules = folder / "generated" / "rules"
        overcurrent("generate", str(folder / "generated"), "--listen", service.web, "--alertmanager", self.alertmanager)
        self._hasten("prometheus.yml", scrape_interval="1s", evaluation_interval="1s")
        self._hasten("alerts.yml", interval="1s")
        self._hasten("alertmanager.yml", group_wait="0s", group_interval="1s", repeat_interval="1s")

    def _hasten(self, name: str, **intervals: str) -> None:
        file = self.rules / name
        text = file.read_text(encoding="utf8")
        for key, value in intervals.items():
            text, changed = re.subn(rf"\b{key}: \w+", f"{key}: {value}", text)
            assert changed, f"{name} has no {key}"
        file.write_text(text, encoding="utf8")


class Prometheus(Program):
    """Scrapes the service by the generated configuration, with exemplar storage as that file advises."""

    def __init__(self, folder: Path, generated: Generated) -> None:
        self._listen = f"127.0.0.1:{free_port()}"
        self._config = generated.rules / "prometheus.yml"
        super().__init__("prometheus", folder, base_url=f"http://{self._listen}")

    def launch(self) -> None:
        self.begin(
            program("prometheus"),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self._listen}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        )
        self.ready("answers", lambda: self.client.get("/-/ready").is_success)

    def api(self, path: str, **parameters: str) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an instant query: `metric` with its labels, `value` with time and number."""
        return list(self.api("query", query=expr)["result"])


class Alertmanager(Program):
    """Routes what Prometheus sends by the generated configuration."""

    def __init__(self, folder: Path, generated: Generated) -> None:
        self._generated = generated
        super().__init__("alertmanager", folder, base_url=f"http://{generated.alertmanager}")

    def launch(self) -> None:
        self.begin(
            shutil.which("alertmanager") or program("prometheus-alertmanager"),  # Debian's name has the prefix
            f"--config.file={self._generated.rules / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self._generated.alertmanager}",
            "--cluster.listen-address=",
            "--log.level=warn",
        )
        self.ready("answers", lambda: self.client.get("/-/ready").is_success)

    def alerts(self, receiver: str) -> list[dict[str, str]]:
        """Labels of the active alerts that this receiver is told of."""
        found = self.client.get("/api/v2/alerts", params={"active": "true"}).json()
        return [alert["labels"] for alert in found if {"name": receiver} in alert["receivers"]]

    def notified(self, *, failed: bool = False) -> float:
        """Webhook notifications sent so far, or those of them that failed."""
        name = f"alertmanager_notifications{'_failed' if failed else ''}_total"
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        return sum(s.value for f in families for s in f.samples if s.name == name and s.labels.get("integration") == "webhook")


class Rotel(Program):
    """The agent between instrumented programs and the service, as sidecars have it."""

    def __init__(self, folder: Path, service: Service, *, protocol: str) -> None:
        super().__init__("rotel", folder)
        self.grpc, self.http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self._protocol = protocol
        self._to = service.grpc if protocol == "grpc" else service.http

    def launch(self) -> None:
        rotel = pytest.importorskip("rotel", reason="not run: rotel is built for Linux on x86-64 only")
        self.begin(
            str(Path(rotel.__file__).with_name("rotel-agent")),
            "start",
            "--exporter=otlp",
            f"--otlp-exporter-protocol={self._protocol}",
            f"--otlp-exporter-endpoint=http://{self._to}",
            f"--otlp-grpc-endpoint={self.grpc}",
            f"--otlp-http-endpoint={self.http}",
            f"--pid-file={self.folder / 'rotel.pid'}",
        )
        self.ready("listens", lambda: all(_listens(address) for address in (self.grpc, self.http)))


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True
