"""`overcurrent replay`: recorded telemetry through the same pipeline, off-line and deterministic."""

import sys
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from collector.assembly import Assembler
from collector.baselines import read_baselines
from collector.cli.main import EXIT_NO, format_option
from collector.cli.tables import print_findings, print_session, print_steps
from collector.config import Config
from collector.errors import NotFound, OvercurrentError
from collector.model import Session, Signal
from collector.pipeline import Pipeline
from collector.recordings import requests
from collector.session_policy import ConfiguredPolicy, prices_of
from collector.session_sums import steps_of
from collector.sessions import Sessions
from collector.store.history import RecordedHistory
from collector.store.memory import MemoryStore
from collector.web.render import finding_json, session_json, step_json
from detectors.model import Event, Finding, SessionKey, Severity, Step
from detectors.step_features import StepFeatures


class Replay:
    """One run of the pipeline over recordings, without a service and without actions."""

    def __init__(self, config: Config) -> None:
        self.store = MemoryStore()
        self.findings: list[Finding] = []
        self._features: dict[int, StepFeatures] = {}
        prices = prices_of(config)
        policy = ConfiguredPolicy(config, prices_version=prices.version)
        history = RecordedHistory(self.store, known=self.store.known)
        self.sessions = Sessions(policy=policy, history=history, idle_timeout_ns=int(config.sessions.idle_timeout * 1e9), seen=self._saw)
        self.pipeline = Pipeline(store=self.store, assembler=Assembler(price=prices.charge), sessions=self.sessions)

    def _saw(self, step: Step, _agent_type: str, features: StepFeatures, _cost_slope: float | None) -> None:
        self._features[step.seq] = features

    def run(self, paths: tuple[Path, ...], signal: Signal | None) -> list[tuple[str, OvercurrentError]]:
        """Puts every request through the pipeline. Returns (where, error) of those that could not be read."""
        failed: list[tuple[str, OvercurrentError]] = []
        for path in paths:
            number = 0
            for number, request in enumerate(requests(path, signal=signal), 1):
                outcome = self.pipeline.process([request])[0]
                if isinstance(outcome, OvercurrentError):
                    failed.append((f"{path} request {number}", outcome))
            if not number:
                failed.append(
                    (str(path), NotFound("no recorded telemetry here (expected *.traces.pb, *.logs.json, *.jsonl …, also .gz and .zst)"))
                )
        self.store.append_findings(self.sessions.catch_up())
        return failed

    def final(self) -> list[tuple[Session, list[Step]]]:
        """Every session under its final name with its steps in event order, in order of first appearance."""
        final: dict[SessionKey, Session] = {}
        events: dict[SessionKey, list[Event]] = {}
        gone = [*self.sessions.residence.evicted.values(), *(live.session for live in self.sessions.live.values())]
        for session in gone:
            if self.now(session.key) == session.key:
                final[session.key] = session
        for key in self.store.sessions_after(0):
            events.setdefault(self.now(key), []).extend(self.store.events([key]))
        return [
            (session, sorted(steps_of(sorted(events[key], key=lambda e: e.seq)), key=lambda step: (step.started_ns, step.seq)))
            for key, session in sorted(final.items(), key=lambda item: item[1].first_seq)
            if key in events
        ]

    def now(self, key: SessionKey) -> SessionKey:
        """The final name of a session."""
        return self.pipeline.assembler.survivor(key)

    def step_json(self, session: Session, number: int, step: Step) -> dict[str, Any]:
        return step_json(step, session_id=session.key.session_id, number=number, features=self._features.get(step.seq))


@click.command(name="replay")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--steps", "with_steps", is_flag=True, help="Print the steps of every session too.")
@click.option("--signal", type=click.Choice(["traces", "logs", "metrics"]), help="What the files hold, where their names do not say.")
@click.option(
    "--baselines",
    "baselines_file",
    type=click.Path(path_type=Path),
    help='What is normal, as JSON: {"AGENT TYPE": {"sessions": 200, "measures": {"steps": {"p50": 6, "p95": 9, "p99": 10}}}}.',
)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration: agent types, detectors, prices.")
@format_option
def command(
    paths: tuple[Path, ...], with_steps: bool, signal: Signal | None, baselines_file: Path | None, config_file: Path | None, format_: str
) -> int:
    """Puts recorded telemetry through the pipeline, off-line; cold, unless it is told what is normal.

    Takes request bodies (*.traces.pb, *.logs.json …), the Collector's file-exporter JSON lines, .gz and .zst of these,
    and folders of them. Exit status 1 where something critical was found.
    """
    replay = Replay(Config.load(config_file, {}))
    if baselines_file is not None:
        for snapshot in read_baselines(baselines_file):
            replay.sessions.knowledge.learn(snapshot)
    failed = replay.run(paths, signal)
    for where, error in failed:
        print(f"overcurrent: {where}: {error.message}", file=sys.stderr)
    findings = replay.store.emitted
    if format_ == "json":
        _print_json(replay, findings, with_steps=with_steps)
    else:
        _print_text(replay, findings, with_steps=with_steps)
    return EXIT_NO if any(finding.severity is Severity.CRITICAL for finding in findings) else 0


def _print_text(replay: Replay, findings: list[Finding], *, with_steps: bool) -> None:
    console = Console()
    for session, steps in replay.final():
        print_session(console, session_json(session))
        if with_steps:
            print_steps(console, [replay.step_json(session, number, step) for number, step in enumerate(steps, 1)])
        print_findings(console, [finding_json(f) for f in findings if f.session is not None and replay.now(f.session) == session.key])


def _print_json(replay: Replay, findings: list[Finding], *, with_steps: bool) -> None:
    out = sys.stdout.buffer
    for finding in findings:
        out.write(orjson.dumps({"type": "finding", **finding_json(finding)}) + b"\n")
    for session, steps in replay.final():
        if with_steps:
            for number, step in enumerate(steps, 1):
                out.write(orjson.dumps({"type": "step", **replay.step_json(session, number, step)}) + b"\n")
        out.write(orjson.dumps({"type": "session", **session_json(session)}) + b"\n")
    out.flush()
