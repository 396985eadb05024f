"""Labelled stories of many sessions at once: what detectors of the fleet and of workflows are judged on.

A story is told by the events of its sessions in the order of the stream. One that goes wrong names the detector that should find
it; a healthy one names those that it is made to mislead.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from benchmarks.detection.running import Level
from benchmarks.detection.scoring import SLACK, Figures
from benchmarks.detection.writer import DOMAINS, HALVES, Writer
from collector.error_classes import classify
from collector.workflow_host import WorkflowHost
from detectors import WORKFLOW_DETECTORS, testing
from detectors.features import FeatureState
from detectors.fleet import FLEET_DETECTORS
from detectors.fleet.host import FleetHost
from detectors.model import Evaluation, Finding, SchemaRegistered, SessionKey, Severity, Step

Told = Step | Evaluation | SchemaRegistered
Scenario = Callable[["Plot"], None]

GOES_WRONG: Final[dict[str, tuple[str, Scenario]]] = {}
"""Name → the detector that should find it, and the scenario."""
HEALTHY: Final[dict[str, tuple[tuple[str, ...], Scenario]]] = {}
"""Name → detectors that it is made to mislead, and the scenario."""
TOGETHER: Final = {kind.name: kind for kind in (*FLEET_DETECTORS, *WORKFLOW_DETECTORS)}
"""Detectors that watch many sessions at once."""

_EPOCH_NS: Final = 1_767_225_600_000_000_000
_APART_NS: Final = 2_000_000_000


def goes_wrong(detector: str) -> Callable[[Scenario], Scenario]:
    """Registers a scenario that `detector` should find."""

    def register(scenario: Scenario) -> Scenario:
        GOES_WRONG[scenario.__name__] = (detector, scenario)
        return scenario

    return register


def misleads(*detectors: str) -> Callable[[Scenario], Scenario]:
    """Registers a healthy scenario that looks like what `detectors` look for."""

    def register(scenario: Scenario) -> Scenario:
        HEALTHY[scenario.__name__] = (detectors, scenario)
        return scenario

    return register


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """Many sessions with the truth about them."""

    id: str
    half: str
    scenario: str
    expects: str | None
    onset: int | None
    """Index of the event with which the trouble begins."""
    events: tuple[Told, ...]
    workflow: bool
    budget_usd: Decimal | None = None


class Plot:
    """A story being written."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.dice = writer.dice
        self.events: list[Told] = []
        self.onset: int | None = None
        self.budget_usd: Decimal | None = None
        self.sessions = [f"{writer.pick(writer.own['agents'])}-{number}" for number in range(writer.dice.randint(16, 40))]

    def trouble(self) -> None:
        """From the next event on it goes wrong."""
        self.onset = len(self.events)

    def _key(self, session: int | None) -> SessionKey:
        return SessionKey("default", "", self.dice.choice(self.sessions) if session is None else self.sessions[session])

    def step(self, step: Step, session: int | None = None) -> None:
        """A step of one session, any of them where none is named."""
        seq = len(self.events) + 1
        if step.error and step.error_class is None:
            step = msgspec.structs.replace(step, error_class=classify(step.error_type, step.error_message or ""))
        at_ns = _EPOCH_NS + seq * _APART_NS
        fields = {"started_ns": at_ns, "ended_ns": at_ns + _APART_NS // 2, "trace_id": f"{1:032x}", "span_id": f"{seq:016x}"}
        self.events.append(msgspec.structs.replace(step, seq=seq, session=self._key(session), **fields))

    def call(self, tool: str, result: Any = None, *, failed: str | None = None, session: int | None = None, arguments: Any = None) -> None:
        """A tool call; `failed` is its error."""
        error = {"error": False} if failed is None else {"error": True, "error_type": "tool_error", "error_message": failed}
        asked = {self.writer.argument: f"{self.writer.subject()} {self.writer.number()}"} if arguments is None else arguments
        self.step(testing.tool(tool, asked, failed if failed is not None else result, **error), session)

    def judge(self, name: str, *, session: int | None = None, **said: Any) -> None:
        """Somebody's judgement."""
        seq = len(self.events) + 1
        self.events.append(Evaluation(seq=seq, session=self._key(session), name=name, at_ns=_EPOCH_NS + seq * _APART_NS, **said))

    def define(self, tool: str, parameters: Sequence[str]) -> None:
        """A tool's definition as the agents were given it."""
        seq, schema = len(self.events) + 1, msgspec.json.encode({"type": "object", "properties": {one: {} for one in parameters}}).decode()
        at_ns = _EPOCH_NS + seq * _APART_NS
        self.events.append(SchemaRegistered(seq=seq, agent_type="planner", tool=tool, schema=schema, fingerprint=schema, at_ns=at_ns))


def stories(seed: str, each: int) -> Iterator[Story]:
    """Makes every scenario `each` times in both halves, one domain after the other."""
    of_workflows = {kind.name for kind in WORKFLOW_DETECTORS}
    for half in HALVES:
        for name in sorted(GOES_WRONG) + sorted(HEALTHY):
            for number in range(each):
                plot = Plot(Writer(half, DOMAINS[number % len(DOMAINS)], f"{seed}/together/{name}/{number}"))
                expects, scenario = GOES_WRONG[name] if name in GOES_WRONG else (None, HEALTHY[name][1])
                scenario(plot)
                about = {expects} if expects is not None else set(HEALTHY[name][0])
                yield Story(
                    id=f"{half}-{name}-{number}",
                    half=half,
                    scenario=name,
                    expects=expects,
                    onset=plot.onset,
                    events=tuple(plot.events),
                    workflow=bool(about & of_workflows),
                    budget_usd=plot.budget_usd,
                )


def watch(story: Story) -> list[tuple[int, Finding]]:
    """Runs a story through the detectors; returns each finding with the index of the event it came at."""
    if story.workflow:
        return list(_workflow(story))
    host = FleetHost("default", on_error=_raise)
    found: list[tuple[int, Finding]] = []
    for index, event in enumerate(story.events):
        if isinstance(event, Step):
            answers = host.observe(event, "planner")
        else:
            answers = host.registered(event) if isinstance(event, SchemaRegistered) else host.evaluated(event, "planner")
        found += [(index, finding) for finding in answers]
    return found


def _workflow(story: Story) -> Iterator[tuple[int, Finding]]:
    host = WorkflowHost("default", "wf", detectors=WORKFLOW_DETECTORS, on_error=_raise)
    features: dict[SessionKey, FeatureState] = {}
    host.context.ceiling_usd = story.budget_usd
    for index, event in enumerate(story.events):
        if isinstance(event, Step):
            host.context.cost_usd += event.cost_usd or 0
            for finding in host.take(event, features.setdefault(event.session, FeatureState()).observe(event)):
                yield index, finding


def _raise(detector: str, _: object, error: Exception) -> None:
    raise RuntimeError(f"{detector} raised") from error


def reaches(finding: Finding, level: Level) -> bool:
    return finding.halt_eligible if level == "halt" else finding.severity.rank >= Severity(level).rank


def measure(told: Iterable[tuple[Story, list[tuple[int, Finding]]]], detector: str, level: Level) -> tuple[Figures, int]:
    """Judges one detector: on its own stories, and for false alarms on the healthy ones. Also: its stories told once only."""
    figures, once = Figures(), 0
    for story, found in told:
        fired = [(at, one.id) for at, one in found if one.detector == detector and reaches(one, level)]
        if story.expects == detector:
            onset = story.onset or 0
            inside = [at for at, _ in fired if at >= onset - SLACK]
            figures.early += len(inside) < len(fired)
            figures.found += bool(inside)
            figures.missed += not inside
            figures.delays += [inside[0] - onset] if inside else []
            figures.quiet_steps += onset
            once += len({name for _, name in fired}) == 1
        elif story.expects is None:
            figures.false += bool(fired)
            figures.quiet += not fired
            figures.quiet_steps += len(story.events)
    return figures, once
