"""`overcurrent demo`: agents that go wrong, and what becomes of them."""

import base64
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import httpx2
import yaml
from rich.console import Console

from collector.cli.client import DEFAULT_URL, Client
from collector.cli.main import EXIT_NO
from collector.cli.tables import clean, print_findings, print_halts, print_session
from collector.demo.agent import Agent
from collector.demo.runtime import Runtime
from collector.demo.scenarios import ARMED, SCENARIOS
from collector.errors import NotFound, StoreUnavailable

_STARTED: Final = ("healthy", "soft-loop")
"""What runs without --scenario, in this order: one session that must be left alone, one that trips."""
_WAIT_S: Final = 30.0


@click.command(name="demo")
@click.option("--scenario", type=click.Choice([*SCENARIOS, "all"]), help="Which story; without it: a healthy one, then one that trips.")
@click.option("--serve", "keep", is_flag=True, help="Keep the service running afterwards, until Ctrl-C.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path("overcurrent-data"),
    show_default=True,
    help="Folder of the stores, where a service has to be started.",
)
@click.option("--pause", "pause_s", type=click.FloatRange(0, 10), default=0.15, show_default=True, help="Seconds between an agent's calls.")
def command(scenario: str | None, keep: bool, data_dir: Path, pause_s: float) -> int:
    """Plays agents, and the runtime that receives the kill.

    Uses the service on the standard ports, or starts one there with its loop detectors armed for the demonstration. Exit
    status 1 where a session that should have been halted was not.
    """
    console = Console()
    names = list(SCENARIOS) if scenario == "all" else [scenario] if scenario else list(_STARTED)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    runtime = Runtime(secret, lambda status, data: _tell(console, status, data))
    try:
        with _service(console, runtime, secret, data_dir) as (client, ours):
            halted = [_play(console, client, runtime, name, pause_s=pause_s, armed=ours) for name in names]
            if keep and ours:
                _stay(console)
    finally:
        runtime.close()
    missed = [name for name, stopped in zip(names, halted, strict=True) if SCENARIOS[name].trips and not stopped]
    return EXIT_NO if ours and missed else 0


def _stay(console: Console) -> None:
    console.rule()
    console.print("The service is still listening: OTLP/gRPC 127.0.0.1:4317, OTLP/HTTP 127.0.0.1:4318, API and metrics 127.0.0.1:4319.")
    program = sys.argv[0] if Path(sys.argv[0]).name == "overcurrent" else "overcurrent"
    console.print(f"Look around from another terminal: {program} sessions, {program} findings, {program} show SESSION.", highlight=False)
    console.print("Ctrl-C stops it.", highlight=False)
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    while not stop.wait(1):
        pass


def _tell(console: Console, status: str, data: dict[str, Any]) -> None:
    what = {
        "stopped": "runtime: signature verified, session stopped",
        "unknown_session": "runtime: not my session",
        "bad_signature": "runtime: signature does not match, ignored",
    }[status]
    console.print(f"  >> {what} ({clean(data.get('session_id'))}: {clean(data.get('halt_reason'))})", style="bold red", highlight=False)


def _play(console: Console, client: Client, runtime: Runtime, name: str, *, pause_s: float, armed: bool) -> bool:
    """Runs one scenario to its end; returns whether the session was halted."""
    scenario = SCENARIOS[name]
    agent = Agent(scenario, "http://127.0.0.1:4318", pause_s=pause_s)
    runtime.adopt(agent)
    console.rule(f"[bold]{name}")
    console.print(f"{scenario.agent} {scenario.story}.", highlight=False)
    agent.run()
    session = _settled(client, agent)
    print_session(console, session)
    print_findings(console, session["findings"])
    print_halts(console, session["halts"])
    if agent.halted.is_set():
        cost = f", at {clean(session['cost_usd'])} USD" if session["cost_usd"] is not None else ""
        console.print(f"  stopped after {agent.calls} calls{cost}; without a halt it would have gone on.", style="bold", highlight=False)
    elif session["findings"] and not armed:
        console.print("  nothing was halted: this service runs its detectors in shadow, or does not know the demonstration's runtime.")
    return agent.halted.is_set()


def _settled(client: Client, agent: Agent) -> dict[str, Any]:
    """The session once the service has seen all of it, and a halt has been answered."""
    deadline = time.monotonic() + _WAIT_S
    session: dict[str, Any] = {}
    while time.monotonic() < deadline:
        with contextlib.suppress(NotFound):
            session = client.get(f"sessions/{agent.session_id}")
            if not agent.halted.is_set() or session["state"] == "halted":
                return session
        time.sleep(0.2)
    return session


@contextlib.contextmanager
def _service(console: Console, runtime: Runtime, secret: str, data_dir: Path) -> Iterator[tuple[Client, bool]]:
    """A service on the standard ports: the one that runs there, or one of our own (second value True)."""
    http = httpx2.Client(base_url=DEFAULT_URL, trust_env=False, timeout=15)
    client = Client(http.request)
    if _answers(http):
        console.print(f"Using the service at {DEFAULT_URL}.", highlight=False)
        yield client, False
        return
    config = {
        "storage": {"data_dir": str(data_dir)},
        "detectors": {name: {"mode": "halt"} for name in ARMED},
        "actions": {"runtimes": [{"agent_types": ["demo-*", "Analyzer", "Verifier"], "url": runtime.url, "secret": secret}]},
    }
    with tempfile.TemporaryDirectory(prefix="overcurrent-demo-") as folder:
        file = Path(folder) / "overcurrent.yaml"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config), encoding="utf8")
        console.print("Starting a service, loop detectors armed for this demonstration (out of the box all are in shadow).")
        process = subprocess.Popen(  # noqa: S603 — our own program
            [sys.executable, "-m", "collector.cli", "serve", "--config", str(file), "--log-level", "warning"],
            env={**os.environ},
            start_new_session=True,  # Ctrl-C reaches us alone; we stop it in order
        )
        try:
            _wait(http, process)
            yield client, True
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(http: httpx2.Client) -> bool:
    try:
        return http.get("/healthz").is_success
    except httpx2.TransportError:
        return False


def _wait(http: httpx2.Client, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _WAIT_S
    while not _answers(http):
        if process.poll() is not None:
            raise StoreUnavailable("the service did not start; its message stands above")
        if time.monotonic() > deadline:
            raise StoreUnavailable("the service did not answer in time")
        time.sleep(0.1)
