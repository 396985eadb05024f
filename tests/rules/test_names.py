"""Nothing names a metric, a label, a runbook or a panel that does not exist."""

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from collector import assets
from collector.generate import alerts
from collector.taxonomy import HALT_REASONS, Reach, taxonomy
from collector.telemetry.catalogue import METRICS, sample_names
from detectors import DETECTORS, WORKFLOW_DETECTORS
from detectors.fleet import FLEET_DETECTORS
from detectors.model import Severity
from tests.rules.dashboard import panel_queries, panels

EVERY = (*dict.fromkeys((*DETECTORS, *WORKFLOW_DETECTORS)), *FLEET_DETECTORS)

RULES = assets.rules()
DASHBOARDS = sorted((assets.grafana() / "dashboards").glob("*.json"))
SAMPLES = {name: metric for metric in METRICS for name in sample_names(metric)}
SCRAPED = {"job", "instance", "le"}
_METRIC = re.compile(r"(?<![\w:])overcurrent_\w+(?!\w*:)")
_SELECTOR = re.compile(r"(?<![\w:])(overcurrent_\w+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
_RECORDED = re.compile(r"\w+:overcurrent_\w+:\w+")


def expressions() -> Iterator[tuple[str, str]]:
    for name in ("alerts.yml", "recording.yml"):
        for group in yaml.safe_load((RULES / name).read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{name}: {rule.get('alert') or rule['record']}", rule["expr"]
    for path in DASHBOARDS:
        for query in panel_queries(json.loads(path.read_text())):
            yield f"{path.name}: {query.panel}", query.expr
    for path in sorted((RULES / "runbooks").glob("*.md")):
        for code in re.findall(r"`([^`]+)`", path.read_text()):
            if "overcurrent_" in code:
                yield f"{path.name}", code


def recorded() -> set[str]:
    groups = yaml.safe_load((RULES / "recording.yml").read_text())["groups"]
    return {rule["record"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize(("where", "expr"), list(expressions()))
def test_metrics_and_labels_exist(where: str, expr: str) -> None:
    assert set(_METRIC.findall(expr)) - SAMPLES.keys() == set(), where
    assert set(_RECORDED.findall(expr)) - recorded() == set(), where
    for name, matchers in _SELECTOR.findall(expr):
        assert set(_MATCHER.findall(matchers)) - set(SAMPLES[name].labels) - SCRAPED == set(), where


def test_every_recording_is_used() -> None:
    used = {name for _, expr in expressions() for name in _RECORDED.findall(expr)}
    assert recorded() - used == set()


def test_no_label_can_hold_an_id() -> None:
    labels = {label for metric in METRICS for label in metric.labels}
    assert not [label for label in labels if label.endswith("_id") or label in {"session", "trace", "span", "workflow"}]


def test_every_alert_links_to_a_runbook_and_a_panel_that_exist() -> None:
    known = {path.stem for path in (RULES / "runbooks").glob("*.md")}
    ids = {panel["id"] for panel in panels(json.loads((assets.grafana() / "dashboards" / "fleet.json").read_text()))}
    for alert in alerts():
        assert alert.annotations["runbook_url"].rsplit("/", 1)[-1] in known, alert.name
        linked = re.search(r"viewPanel=(\d+)", alert.annotations["dashboard"])
        assert linked is None or int(linked.group(1)) in ids, alert.name
    assert {"summary", "description"} <= set.intersection(*(set(alert.annotations) for alert in alerts()))


def test_every_runbook_belongs_to_an_alert_or_a_reason() -> None:
    known = {path.stem for path in (RULES / "runbooks").glob("*.md")}
    assert known == {alert.runbook for alert in alerts()} | set(HALT_REASONS)


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: detector.name)
def test_every_detector_has_alerts_and_a_runbook(detector: type[Any]) -> None:
    of_it = [alert for alert in alerts() if f'detector="{detector.name}"' in alert.expr]
    severities = {severity for severity in Severity if any(alert.labels["severity"] == severity for alert in of_it)}
    assert severities >= raised(detector) - {Severity.INFO}
    may_halt = detector.halt_reason == detector.name and detector.scope != "fleet"
    assert any(alert.labels.get("action") == "halt" for alert in of_it) == may_halt
    assert all(assets.runbook(alert.runbook) for alert in of_it)


def raised(detector: type[Any]) -> set[Severity]:
    """The severities that its module names."""
    return {severity for severity in Severity if f"Severity.{severity.name}" in inspect.getsource(inspect.getmodule(detector) or detector)}


def test_the_taxonomy_knows_each_detector_once() -> None:
    assert sorted(found.name for found in taxonomy().found) == sorted(detector.name for detector in EVERY)


def test_the_taxonomy_claims_no_detector_that_is_not_registered() -> None:
    assert {reason.detector for reason in taxonomy().detected} == {detector.halt_reason for detector in EVERY} - {None}


def test_every_alert_that_asks_for_a_halt_names_a_type_and_a_detector() -> None:
    halting = [alert for alert in alerts() if alert.labels.get("action") == "halt"]
    assert len(halting) == len([reason for reason in taxonomy().detected if reason.reach is Reach.SESSION])
    for alert in halting:
        assert alert.expr.startswith("sum by (agent_type, detector)"), alert.name
        assert alert.hold is None, alert.name


def test_every_alert_for_people_says_how_soon() -> None:
    silent = {alert.name for alert in alerts() if "respond_within" not in alert.labels and "action" not in alert.labels}
    assert silent == {"OvercurrentWatchdog"}
