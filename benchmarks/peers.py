"""The same load against Phoenix and MLflow, in the same minutes on the same machine: rows really stored, beside ours.

Each is installed into an environment of its own and run as its documentation says for one machine: one process, SQLite.
They do something else with spans than we do; this compares only how many of them end up stored.
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx2

from benchmarks.load import Mix
from benchmarks.report import Cell, Table, progress
from benchmarks.sending import Load, LoadProcess
from benchmarks.service import environment, usage
from benchmarks.throughput import measure

_INSTALL_S: Final = 900.0
_START_S: Final = 180.0
_DRAIN_S: Final = 120.0
"""How long after the load stored rows may still appear: a peer that answers before it stores is given the time."""
_QUIET_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How one of them is installed, started, fed and counted. Placeholders: {port}, {grpc}, {folder}."""

    name: str
    package: str
    command: tuple[str, ...]
    variables: dict[str, str]
    health: str
    protocol: str
    database: str
    experiment: str | None = None
    """Path of the API that makes what spans must belong to."""


PEERS: Final = (
    Peer(
        name="Phoenix",
        package="arize-phoenix",
        command=("phoenix", "serve"),
        variables={
            "PHOENIX_WORKING_DIR": "{folder}",
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": "{port}",
            "PHOENIX_GRPC_PORT": "{grpc}",
            "PHOENIX_TELEMETRY_ENABLED": "false",
        },
        health="/healthz",
        protocol="grpc",
        database="phoenix.db",
    ),
    Peer(
        name="MLflow",
        package="mlflow",
        command=("mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--backend-store-uri", "sqlite:///{folder}/mlflow.db"),
        variables={"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
        health="/health",
        protocol="http",
        database="mlflow.db",
        experiment="/api/2.0/mlflow/experiments/create",
    ),
)


class PeerError(Exception):
    """A peer could not be installed, started or counted; the message says which."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _run(command: list[str], what: str, seconds: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{what}: {error}") from error
    if done.returncode != 0:
        raise PeerError(f"{what}: exit {done.returncode}: {done.stderr.strip()[-300:]}")


def _install(peer: Peer, venv: Path) -> str:
    """Returns the version that was installed, or that is there already."""
    python = venv / "bin" / "python"
    version = [str(python), "-c", f"from importlib.metadata import version; print(version('{peer.package}'))"]
    if not python.exists() or subprocess.run(version, capture_output=True, check=False).returncode:
        progress(f"peers: installing {peer.package}")
        _run([sys.executable, "-m", "venv", str(venv)], "making an environment", _INSTALL_S)
        _run([str(python), "-m", "pip", "install", "--quiet", peer.package], f"installing {peer.package}", _INSTALL_S)
    return subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()


def _rows(database: Path) -> int:
    """Rows in its table of spans."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        row = connection.execute("SELECT count(*) FROM spans").fetchone()
    return int(row[0]) if row else 0


def _wait_until(what: str, seconds: float, look: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        try:
            if look():
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.25)
    raise PeerError(f"{what}: not after {seconds:g} s")


def _measure(peer: Peer, folder: Path, venv: Path, mix: Mix, load: Load) -> dict[str, Cell]:
    version = _install(peer, venv)
    data = folder / "data"
    data.mkdir()
    values = {"port": str(_free_port()), "grpc": str(_free_port()), "folder": str(data)}
    command = [part.format(**values) for part in peer.command]
    command[0] = str(venv / "bin" / command[0])
    path = f"{venv / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    variables = environment() | {key: value.format(**values) for key, value in peer.variables.items()} | {"PATH": path}
    progress(f"peers: starting {peer.name} {version}")
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=data, env=variables, start_new_session=True
        )
    try:
        base = f"http://127.0.0.1:{values['port']}"
        _wait_until(f"{peer.name} answers", _START_S, lambda: process.poll() is not None or httpx2.get(base + peer.health).is_success)
        if process.poll() is not None:
            said = (folder / "output.log").read_text(encoding="utf8", errors="replace")
            raise PeerError(f"{peer.name} ended while it started: {said.strip()[-300:]}")
        headers = {}
        if peer.experiment is not None:
            made = httpx2.post(base + peer.experiment, json={"name": "load"})
            headers["x-mlflow-experiment-id"] = str(json.loads(made.text)["experiment_id"])
        endpoint = f"127.0.0.1:{values['grpc'] if peer.protocol == 'grpc' else values['port']}"
        return _feed(peer, version, process.pid, data / peer.database, mix, replace(load, endpoint=endpoint, headers=headers))
    finally:
        _end(process)


def _feed(peer: Peer, version: str, pid: int, database: Path, mix: Mix, load: Load) -> dict[str, Cell]:  # noqa: PLR0917 — what one run needs
    before = _rows(database)
    with LoadProcess(load, mix) as process:
        cpu_before, started = usage(pid).cpu_s, time.perf_counter()
        process.begin()
        sent = process.result()
    last, last_change = _rows(database) - before, time.perf_counter()
    while time.perf_counter() - last_change < _QUIET_S and last_change - started < load.seconds + _DRAIN_S:
        time.sleep(0.5)
        now = _rows(database) - before
        if now != last:
            last, last_change = now, time.perf_counter()
    cpu = usage(pid).cpu_s - cpu_before
    return {
        "system": f"{peer.name} {version}",
        "protocol": peer.protocol,
        "acknowledged": sent.acknowledged,
        "stored": last,
        "seconds until stored": last_change - started,
        "stored/s": last / (last_change - started),
        "CPU µs/stored span": cpu / last * 1e6 if last else None,
        "ack p50 ms": sent.ack_ms_p50,
        "errors": sum(sent.errors.values()),
    }


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the peer and the children it started: they are a process group of their own."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            break
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def peers(seconds: float, connections: int, environments: Path | None = None, wanted: tuple[str, ...] = ()) -> list[Table]:
    """A row for us and one for each peer, by protocol. Peers stay installed in `environments`; without it they are thrown away."""
    rows: list[dict[str, Cell]] = []
    notes: list[str] = []
    ours: dict[str, float] = {}
    mix = Mix()
    for peer in PEERS:
        if wanted and peer.name.lower() not in wanted:
            continue
        load = Load(endpoint="", seconds=seconds, connections=connections, protocol=peer.protocol, retries=3)
        if peer.protocol not in ours:
            progress(f"peers: ourselves over {peer.protocol}")
            one = measure(mix, load)
            ours[peer.protocol] = one.kept.spans / one.sent.seconds
            rows.append(
                {
                    "system": "Overcurrent",
                    "protocol": peer.protocol,
                    "acknowledged": one.sent.acknowledged,
                    "stored": one.kept.spans,
                    "seconds until stored": one.sent.seconds,
                    "stored/s": ours[peer.protocol],
                    "CPU µs/stored span": one.cpu_us_per_span,
                    "ack p50 ms": one.sent.ack_ms_p50,
                    "errors": sum(one.sent.errors.values()),
                    "ours is x times": 1.0,
                }
            )
        try:
            with tempfile.TemporaryDirectory(prefix="overcurrent-bench-") as folder:
                venv = (environments or Path(folder)).absolute() / peer.package
                row = _measure(peer, Path(folder), venv, mix, load)
        except (PeerError, OSError, RuntimeError, sqlite3.Error, httpx2.HTTPError, subprocess.SubprocessError) as error:
            notes.append(f"{peer.name} was not measured: {error}")
            continue
        rate = row["stored/s"]
        row["ours is x times"] = ours[peer.protocol] / rate if isinstance(rate, float) and rate else None
        rows.append(row)
    notes.append("a peer's rate counts until its last row appeared; batch 256, 1.5 KB a span, each with its defaults and SQLite")
    return [Table("peers", f"The same load elsewhere, {seconds:g} s", rows, notes)]
