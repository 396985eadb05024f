"""The core on disk, and what it came to."""

import shutil
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from collector.config import Config
from collector.core import Core
from collector.session_sums import steps_of
from collector.store.base import FindingQuery
from collector.telemetry import Telemetry
from detectors.model import SessionKey

from .agents import START_NS, sums

NOW_NS = START_NS + 3_600 * 10**9


def armed(**more: Any) -> Config:
    """A configuration in which loops halt, told to a runtime that nobody reaches."""
    # Time is let pass at will in these tests: silence is not what they are about.
    patient = {"warn_silence_s": 31_536_000, "warn_unfinished_s": 31_536_000}
    detectors = {"exact_loop": {"mode": "halt"}, "soft_loop": {"mode": "halt"}, "abandoned": patient}
    return Config.load(None, {}, {"detectors": detectors, **more})


def core(folder: Path, config: Config | None = None, *, only_read: bool = False) -> Core:
    return Core(config or armed(), folder, Telemetry(CollectorRegistry()), clock_ns=lambda: NOW_NS, only_read=only_read)


def crash(running: Core, to: Path) -> None:
    """Leaves `to` as a machine would find it after losing `running` this instant."""
    source = Path(running.store._path).parent
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("*.tmp"))


def drop(running: Core) -> None:
    """Lets go of the files, writing nothing of what is pending."""
    running._writer.shutdown()
    running.store.close()
    running.control.close()


def outcome(running: Core) -> dict[str, Any]:
    """Everything that must not depend on where it was interrupted: sessions, steps, findings, halts."""
    running.flush()
    sessions = {str(session.key): session for session in running.index.page(limit=1_000)}
    found = running.store.findings(FindingQuery(limit=10_000))
    return {
        "sessions": {key: (*sums(session), session.state, session.agent_type, session.generation) for key, session in sessions.items()},
        "merged": {key: sorted(session.merged_from) for key, session in sessions.items()},
        "steps": {
            key: [(step.kind, step.span_id, step.call_id, step.result) for step in steps_of(running.history.events(session.key))]
            for key, session in sessions.items()
        },
        "findings": sorted((f.id, f.detector, f.severity.value, f.halt_eligible) for f in found),
        "emissions": sorted(running.store.emissions(_all_keys(running))),
        "halts": {
            key: [(halt.verb, halt.halt_reason, halt.generation, halt.finding) for halt in running.control.halts(session.key)]
            for key, session in sessions.items()
        },
    }


def _all_keys(running: Core) -> list[SessionKey]:
    return running.store.sessions_after(0)
