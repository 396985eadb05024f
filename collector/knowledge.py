"""What is known beside a session: what is normal for its agent type, and the schemas of its tools. Made of the stream alone.

A session that is made again from its recorded events must meet what was known then, not what is known now: `as_of` says.
"""

from bisect import bisect_right
from collections import ChainMap, OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from detectors.baseline import Baseline, Quantiles
from detectors.model import BaselineSnapshot, Event, SchemaRegistered

_TYPES: Final = 1_000
"""Agent types of which something is known."""
_TOOLS: Final = 500
"""Tools known of one agent type."""
_VERSIONS: Final = 32
"""Earlier versions kept of each baseline and schema."""
_SCHEMA_CHARS: Final = 65_536
"""Longer schemas are not kept: nothing could be checked against them in time."""
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Known(NamedTuple):
    """A baseline and the name of the snapshot it came with."""

    version: str
    baseline: Baseline


class _Type:
    """What is known of one agent type, now and as it became known."""

    def __init__(self) -> None:
        self.baseline: Known | None = None
        self.baselines: list[tuple[int, Known]] = []
        self.schemas: dict[str, str] = {}
        self.fingerprints: dict[str, str] = {}
        self.versions: dict[str, list[tuple[int, str]]] = {}
        self.changed: list[int] = []
        """Numbers of the events that changed a schema."""


class Knowledge:
    """Baselines by agent type, schemas by agent type and tool. Bounded; what was not heard of longest is forgotten."""

    def __init__(self) -> None:
        self._types: OrderedDict[str, _Type] = OrderedDict()

    def learn(self, event: Event) -> None:
        """Takes in a schema or a baseline; other events say nothing here."""
        if isinstance(event, BaselineSnapshot):
            known = Known(event.version, baseline_of(event))
            about = self._about(event.agent_type)
            about.baseline = known
            about.baselines = [*about.baselines[1 - _VERSIONS :], (event.seq, known)]
        elif isinstance(event, SchemaRegistered) and len(event.schema) <= _SCHEMA_CHARS:
            about = self._about(event.agent_type)
            if event.tool not in about.schemas and len(about.schemas) >= _TOOLS:
                return
            about.schemas[event.tool] = event.schema
            about.fingerprints[event.tool] = event.fingerprint
            about.versions[event.tool] = [*about.versions.get(event.tool, [])[1 - _VERSIONS :], (event.seq, event.schema)]
            about.changed = [*about.changed[1 - _TOOLS :], event.seq]

    def _about(self, agent_type: str) -> _Type:
        about = self._types.get(agent_type)
        if about is None:
            about = self._types[agent_type] = _Type()
            if len(self._types) > _TYPES:
                self._types.popitem(last=False)
        self._types.move_to_end(agent_type)
        return about

    def baseline(self, agent_type: str) -> Known | None:
        """What is normal for the type, if that is known."""
        about = self._types.get(agent_type)
        return None if about is None else about.baseline

    def baselines(self) -> dict[str, Known]:
        """Every baseline there is, by agent type."""
        return {name: about.baseline for name, about in self._types.items() if about.baseline is not None}

    def schemas(self, agent_types: tuple[str, ...]) -> Mapping[str, str]:
        """Tool → schema for a session in which agents of these types run, the first one's first. It follows what is learned."""
        found = [about.schemas for name in agent_types if (about := self._types.get(name)) is not None and about.schemas]
        return _NOTHING if not found else found[0] if len(found) == 1 else ChainMap(*found)

    def fingerprint(self, agent_type: str, tool: str) -> str | None:
        about = self._types.get(agent_type)
        return None if about is None else about.fingerprints.get(tool)

    def as_of(self) -> "Past":
        """A reader of what was known at earlier events."""
        return Past(self._types)


class Past:
    """What was known at event `seq`, which the owner moves on."""

    def __init__(self, types: Mapping[str, _Type]) -> None:
        self._types = types
        self.seq = 0
        self._read: dict[tuple[str, ...], tuple[tuple[int, ...], Mapping[str, str]]] = {}

    def baseline(self, agent_type: str) -> Known | None:
        about = self._types.get(agent_type)
        if about is None or not about.baselines:
            return None
        place = bisect_right(about.baselines, self.seq, key=_number)
        return about.baselines[place - 1][1] if place else None

    def schemas(self, agent_types: tuple[str, ...]) -> Mapping[str, str]:
        found = [about for name in agent_types if (about := self._types.get(name)) is not None and about.schemas]
        if not found:
            return _NOTHING
        place = tuple(bisect_right(about.changed, self.seq) for about in found)
        read = self._read.get(agent_types)
        if read is None or read[0] != place:
            read = self._read[agent_types] = (place, ChainMap(*(_then(about, self.seq) for about in found)))
        return read[1]


def _number(entry: tuple[int, Known]) -> int:
    return entry[0]


def _then(about: _Type, seq: int) -> dict[str, str]:
    found = {}
    for tool, versions in about.versions.items():
        known = [schema for number, schema in versions if number <= seq]
        if known:
            found[tool] = known[-1]
    return found


def baseline_of(snapshot: BaselineSnapshot) -> Baseline:
    """The baseline that a snapshot tells of; measures without all three quantiles are left out."""
    measures = {}
    for measure, values in snapshot.measures.items():
        try:
            measures[measure] = msgspec.convert(values, Quantiles)
        except msgspec.ValidationError:
            continue
    return Baseline(sessions=snapshot.sessions, measures=measures)
