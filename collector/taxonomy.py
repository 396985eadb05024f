"""The taxonomy of halt reasons, and the conditions that alert without a detector: loaded and checked, never guessed.

`rules/taxonomy.yml` is the one source of reasons; `rules/conditions.yml` of the other alerts. Everything that names a
reason (metric labels, alerts, routes, runbooks, the API's documentation) asks here.
"""

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from collector import assets
from collector.errors import ConfigError
from detectors.model import Severity

S = TypeVar("S", bound=msgspec.Struct)


class Raised(StrEnum):
    """Who gives a reason today. What is planned is claimed nowhere."""

    DETECTOR = "detector"
    AGENT = "agent"
    OPERATOR = "operator"
    PLANNED = "planned"


class Runbook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do. `{{ listen }}` in a text stands for the service's own address."""

    symptom: str
    diagnosis: list[str]
    remediation: list[str]
    escalation: str
    title: str = ""


class Response(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How soon somebody must look, and what Alertmanager makes of it. Times in Prometheus' notation."""

    description: str
    receiver: str
    group_wait: str
    group_interval: str
    repeat_interval: str
    escalate_after: str | None


class Reach(StrEnum):
    """What one finding is about."""

    SESSION = "session"
    WORKFLOW = "workflow"
    """All sessions of one piece of work."""
    FLEET = "fleet"
    """One cause, however many sessions meet it: nothing that could be halted."""


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a session ended or was halted. `respond_within` is for the critical alert, `warn_within` for the warning before it."""

    name: str
    title: str
    description: str
    raised: Raised
    severity: Severity
    respond_within: str | None
    runbook: Runbook
    warn_within: str | None = None
    reach: Reach = Reach.SESSION

    @property
    def detector(self) -> str | None:
        """The detector that raises it, by the same name; None where none does."""
        return self.name if self.raised is Raised.DETECTOR else None


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a detector finds that is no reason to halt by that name. `runbook` names the one that helps.

    `respond_within` is for the critical alert: null where the detector never is critical.
    """

    name: str
    title: str
    description: str
    runbook: str
    warn_within: str
    respond_within: str | None
    reach: Reach


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An alert on a metric, without a detector. `runbook` names a reason or a runbook of its own."""

    alert: str
    group: str
    expr: str
    severity: Severity
    respond_within: str | None
    runbook: str
    summary: str
    description: str
    hold: str | None = msgspec.field(default=None, name="for")
    condition: str | None = None
    panel: str | None = None
    """The dashboard panel that shows it."""


class Taxonomy(msgspec.Struct, frozen=True, kw_only=True):
    """Reasons and conditions, checked against each other."""

    responses: dict[str, Response]
    reasons: dict[str, Reason]
    patterns: dict[str, Pattern]
    conditions: tuple[Condition, ...]
    runbooks: dict[str, Runbook]
    """Of the patterns and conditions; a reason brings its own."""

    @property
    def detected(self) -> tuple[Reason, ...]:
        """The reasons that a detector of the same name raises."""
        return tuple(reason for reason in self.reasons.values() if reason.raised is Raised.DETECTOR)

    @property
    def found(self) -> tuple[Reason | Pattern, ...]:
        """What there is to know of each detector, for its alerts."""
        return (*self.detected, *self.patterns.values())

    def reason(self, name: str) -> Reason:
        """The reason of that name. Raises ConfigError with those there are."""
        if name not in self.reasons:
            raise ConfigError(f"unknown halt reason {name!r}; it is one of: {', '.join(self.reasons)}")
        return self.reasons[name]

    def runbook(self, name: str) -> Runbook:
        """The runbook an alert links to."""
        return self.runbooks[name] if name in self.runbooks else self.reason(name).runbook


def load(folder: Path) -> Taxonomy:
    """Reads `taxonomy.yml` and `conditions.yml` in `folder`.

    Raises ConfigError that names the file and the key.
    """
    path = folder / "taxonomy.yml"
    content = _read(path)
    _only(content, {"responses", "reasons", "patterns"}, path.name)
    responses = {str(name): _convert(body, Response, f"{path.name}: responses.{name}") for name, body in content["responses"].items()}
    reasons: dict[str, Reason] = {}
    for name, body in content["reasons"].items():
        key = f"{path.name}: reasons.{name}"
        reason = _convert({"name": name} | (body if isinstance(body, dict) else {}), Reason, key)
        _check_response(reason.respond_within, responses, f"{key}.respond_within")
        _check_response(reason.warn_within, responses, f"{key}.warn_within")
        if reason.detector and not (reason.respond_within and reason.warn_within):
            raise ConfigError(f"{key}: a reason that a detector raises needs respond_within and warn_within")
        reasons[name] = reason
    patterns: dict[str, Pattern] = {}
    for name, body in content["patterns"].items():
        key = f"{path.name}: patterns.{name}"
        pattern = patterns[name] = _convert({"name": name} | (body if isinstance(body, dict) else {}), Pattern, key)
        _check_response(pattern.respond_within, responses, f"{key}.respond_within")
        _check_response(pattern.warn_within, responses, f"{key}.warn_within")

    path = folder / "conditions.yml"
    content = _read(path)
    _only(content, {"alerts", "runbooks"}, path.name)
    runbooks = {name: _convert(body, Runbook, f"{path.name}: runbooks.{name}") for name, body in content["runbooks"].items()}
    conditions: list[Condition] = []
    for index, body in enumerate(content["alerts"]):
        condition = _convert(body, Condition, f"{path.name}: alerts[{index}]")
        key = f"{path.name}: {condition.alert}"
        _check_response(condition.respond_within, responses, f"{key}.respond_within")
        _check_runbook(condition.runbook, (*runbooks, *reasons), key)
        conditions.append(condition)
    for pattern in patterns.values():
        _check_runbook(pattern.runbook, (*runbooks, *reasons), f"taxonomy.yml: patterns.{pattern.name}")
    _no_twins((*reasons, *patterns), "taxonomy.yml: reasons and patterns")
    _no_twins((condition.alert for condition in conditions), f"{path.name}: alerts")
    _no_twins((*runbooks, *reasons), f"{path.name}: runbooks")
    return Taxonomy(responses=responses, reasons=reasons, patterns=patterns, conditions=tuple(conditions), runbooks=runbooks)


@cache
def taxonomy() -> Taxonomy:
    """The taxonomy that the program was shipped with."""
    return load(assets.rules())


def _read(path: Path) -> dict[str, Any]:
    try:
        # The C loader, where libyaml is there, reads this in a tenth of the time; both are safe loaders.
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: must be a mapping")
    return content


def _only(content: dict[str, Any], keys: set[str], where: str) -> None:
    if missing := sorted(keys - content.keys()):
        raise ConfigError(f"{where}: {missing[0]} is missing")
    if unknown := sorted(content.keys() - keys):
        raise ConfigError(f"{where}: {unknown[0]}: unknown key; expected {', '.join(sorted(keys))}")


def _convert(body: Any, kind: type[S], key: str) -> S:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{key}: {error}") from error


def _check_response(name: str | None, responses: dict[str, Response], key: str) -> None:
    if name is not None and name not in responses:
        raise ConfigError(f"{key}: unknown response {name!r}; it is one of: {', '.join(responses)}")


def _check_runbook(name: str, known: Iterable[str], key: str) -> None:
    if name not in known:
        raise ConfigError(f"{key}.runbook: there is no runbook and no reason {name!r}")


def _no_twins(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"{where}: {name} stands there twice")
        seen.add(name)


HALT_REASONS: Final[tuple[str, ...]] = tuple(taxonomy().reasons)
"""Every reason by name, in the order of the file: the values of the metric label and of the API's field."""
