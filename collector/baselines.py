"""What is normal for an agent type: quantiles over its finished sessions, learned as they finish, published as snapshots.

A snapshot is an event of the stream, so that a replay or a restart meets the same figures. What keeps a runaway from becoming
normal: sessions that were halted or in which something critical was found are no examples; a figure rises by a few per cent a
day at most, and at most doubles in 30 days; below 20 sessions nothing is published.
"""

import base64
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

import datasketches  # type: ignore[import-untyped,unused-ignore]
import msgspec

from collector.errors import ConfigError
from collector.live import Live
from collector.model import Session
from detectors.baseline import Baseline
from detectors.model import BaselineSnapshot

MEASURES: Final = ("steps", "duration_s", "tokens", "cost_usd")
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_DAY_NS: Final = 86_400 * 10**9
_WINDOW_NS: Final = 7 * _DAY_NS
"""After so long a new sketch is begun; the one before still counts."""
_PUBLISH_NS: Final = 3_600 * 10**9
"""Figures are published at most this often once they are settled."""
_SETTLED: Final = 100
"""Sessions from which on figures move slowly: before, each session may still say much."""
_RISE_A_DAY: Final = 0.03
_FALL_A_DAY: Final = 0.10
_RISE_IN_ALL: Final = 2.0
"""Times a figure may grow over what it was when its period of 30 days began."""
_PERIOD_NS: Final = 30 * _DAY_NS
_TYPES: Final = 1_000
_COMPRESSION: Final = 100
"""Of the t-digest: about 2 KB a sketch, and a 99th percentile within a tenth of a per cent in rank."""


class Learned(msgspec.Struct, kw_only=True):
    """What was learned of one agent type, as it is stored. Sketches are serialised t-digests, base64."""

    young: dict[str, str] = {}
    old: dict[str, str] = {}
    window_ns: int = 0
    """Event time at which the young sketches were begun."""
    sessions: int = 0
    """Sessions learned from in all."""
    published: dict[str, dict[str, float]] = {}
    published_ns: int = 0
    published_sessions: int = 0
    anchor: dict[str, dict[str, float]] = {}
    """What was published when the current period began: figures grow to a multiple of it at most."""
    anchor_ns: int = 0


class _Type:
    """What is learned of one agent type, at work."""

    def __init__(self, learned: Learned) -> None:
        self.learned = learned
        self.young = {name: _sketch(learned.young.get(name)) for name in MEASURES}
        self.old = {name: _sketch(learned.old.get(name)) for name in MEASURES}

    def add(self, values: Mapping[str, float], at_ns: int) -> None:
        learned = self.learned
        if not learned.window_ns:
            learned.window_ns = at_ns
        elif at_ns - learned.window_ns >= _WINDOW_NS:
            self.old, self.young = self.young, {name: _sketch(None) for name in MEASURES}
            learned.window_ns = at_ns
        for name, value in values.items():
            self.young[name].update(value)
        learned.sessions += 1

    def quantiles(self) -> dict[str, dict[str, float]]:
        """The figures as they are, before anything holds them back."""
        found: dict[str, dict[str, float]] = {}
        for name in MEASURES:
            both = _sketch(None)
            both.merge(self.old[name])
            both.merge(self.young[name])
            if both.get_total_weight() >= Baseline.MIN_SESSIONS:
                found[name] = {quantile: float(both.get_quantile(rank)) for quantile, rank in QUANTILES.items()}
        return found

    def count(self) -> int:
        return int(self.old["steps"].get_total_weight() + self.young["steps"].get_total_weight())

    def stored(self) -> Learned:
        self.learned.young = {name: _text(sketch) for name, sketch in self.young.items()}
        self.learned.old = {name: _text(sketch) for name, sketch in self.old.items()}
        return self.learned


class Baselines:
    """Learns from finished sessions. One instance, one thread; times are event times."""

    def __init__(self, load: Callable[[], Mapping[str, Learned]] | None = None) -> None:
        self._types = {name: _Type(learned) for name, learned in (load() if load is not None else {}).items()}
        self.changed: set[str] = set()
        """Agent types of which something was learned since the owner last stored them."""
        self._fresh: set[str] = set()

    def learn(self, live: Live) -> None:
        """Takes in a session that is over. One that went wrong says nothing about what is normal."""
        session = live.session
        if live.flagged or session.generation or session.halt_reason is not None or not session.steps:
            return
        about = self._types.get(session.agent_type)
        if about is None:
            if len(self._types) >= _TYPES:
                return
            about = self._types[session.agent_type] = _Type(Learned())
        about.add(measured(session), session.last_seen_ns)
        self.changed.add(session.agent_type)
        self._fresh.add(session.agent_type)

    def missing(self, published: Collection[str]) -> None:
        """Has those published again whose snapshot is no longer in the stream: it was old and expired."""
        for name, about in self._types.items():
            if about.learned.published and name not in published:
                about.learned.published_ns = 0
                self._fresh.add(name)

    def due(self, now_ns: int) -> list[BaselineSnapshot]:
        """Snapshots of what changed enough to be published; the owner numbers them."""
        made: list[BaselineSnapshot] = []
        for name in sorted(self._fresh):
            about = self._types[name]
            learned, sessions = about.learned, about.count()
            if sessions < Baseline.MIN_SESSIONS:
                self._fresh.discard(name)
                continue
            growing = learned.sessions >= 1.2 * learned.published_sessions and learned.published_sessions < _SETTLED
            if learned.published and not growing and now_ns - learned.published_ns < _PUBLISH_NS:
                continue
            self._fresh.discard(name)
            self._publish(learned, about.quantiles(), now_ns)
            self.changed.add(name)
            made.append(
                BaselineSnapshot(
                    seq=0,
                    agent_type=name,
                    version=f"{name}-{learned.sessions}",
                    sessions=sessions,
                    measures={measure: dict(values) for measure, values in learned.published.items()},
                    at_ns=now_ns,
                )
            )
        return made

    @staticmethod
    def _publish(learned: Learned, now: dict[str, dict[str, float]], now_ns: int) -> None:
        settled = learned.published_sessions >= _SETTLED
        days = max(0.0, (now_ns - learned.published_ns) / _DAY_NS) if learned.published_ns else 0.0
        if settled:
            now = {name: held(values, learned.published.get(name), learned.anchor.get(name), days) for name, values in now.items()}
        learned.published, learned.published_ns, learned.published_sessions = now, now_ns, learned.sessions
        if not settled or now_ns - learned.anchor_ns >= _PERIOD_NS:
            learned.anchor, learned.anchor_ns = {name: dict(values) for name, values in now.items()}, now_ns

    def stored(self) -> dict[str, Learned]:
        """What changed since it was last stored. The owner clears `changed` once it is."""
        return {name: self._types[name].stored() for name in self.changed}


def held(
    values: Mapping[str, float], before: Mapping[str, float] | None, anchor: Mapping[str, float] | None, days: float
) -> dict[str, float]:
    """Holds figures back to what `days` allow them to move from `before`, and to a multiple of `anchor`.

    >>> held({"p99": 100.0}, {"p99": 10.0}, {"p99": 10.0}, days=1)
    {'p99': 10.3}
    >>> held({"p99": 100.0}, {"p99": 19.9}, {"p99": 10.0}, days=30)
    {'p99': 20.0}
    """
    if before is None:
        return dict(values)
    bounded = {}
    for name, value in values.items():
        known = before.get(name, value)
        highest = min(known * (1 + _RISE_A_DAY) ** days, (anchor or before).get(name, known) * _RISE_IN_ALL)
        lowest = known * (1 - _FALL_A_DAY) ** days
        bounded[name] = round(max(min(value, max(highest, min(known, value))), lowest), 9)
    return bounded


def measured(session: Session) -> dict[str, float]:
    """What a finished session came to; what is not known of it is left out."""
    values = {"steps": float(session.steps), "duration_s": max(0.0, (session.last_seen_ns - session.started_ns) / 1e9)}
    tokens = [count for count in (session.input_tokens, session.output_tokens) if count is not None]
    if tokens:
        values["tokens"] = float(sum(tokens))
    if session.cost_usd is not None:
        values["cost_usd"] = float(session.cost_usd)
    return values


def _sketch(text: str | None) -> datasketches.tdigest_double:
    return datasketches.tdigest_double(_COMPRESSION) if not text else datasketches.tdigest_double.deserialize(base64.b64decode(text))


def _text(sketch: datasketches.tdigest_double) -> str:
    return base64.b64encode(sketch.serialize()).decode()


def read_baselines(path: Path) -> list[BaselineSnapshot]:
    """Reads what is normal from a file, for a replay. Raises ConfigError."""
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, Baseline])
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: not readable as baselines: {error}") from error
    return [
        BaselineSnapshot(
            seq=0,
            agent_type=name,
            version=f"{path.name}:{name}",
            sessions=baseline.sessions,
            measures={measure: msgspec.to_builtins(spread) for measure, spread in baseline.measures.items()},
            at_ns=0,
        )
        for name, baseline in known.items()
    ]
