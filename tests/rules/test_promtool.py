import re
from typing import Any

import pytest
import yaml

from collector import assets
from collector.generate import alerts
from tests.rules.programs import run

RULES = assets.rules()
SUITES = sorted(RULES.glob("*_test.yml"))

NEVER_QUIET = {"OvercurrentWatchdog": "fires always, that is its purpose"}


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_quiet_as_their_suite_says(suite: Any) -> None:
    run("promtool", "test", "rules", str(suite))


@pytest.mark.slow
def test_rules_are_accepted() -> None:
    run("promtool", "check", "rules", str(RULES / "alerts.yml"), str(RULES / "recording.yml"))


@pytest.mark.slow
def test_prometheus_configuration_is_accepted_and_finds_its_rules() -> None:
    assert "2 rule files found" in run("promtool", "check", "config", str(RULES / "prometheus.yml"))


def _cases() -> tuple[set[str], set[str]]:
    """Alerts that some case expects to fire, and those that some case expects to be quiet."""
    firing: set[str] = set()
    quiet: set[str] = set()
    for suite in SUITES:
        for case in yaml.safe_load(suite.read_text())["tests"]:
            for check in case.get("promql_expr_test", []):
                (name,) = re.findall(r'alertname="(\w+)"', check["expr"])
                (firing if check["exp_samples"] else quiet).add(name)
            for check in case.get("alert_rule_test", []):
                (firing if check["exp_alerts"] else quiet).add(check["alertname"])
    return firing, quiet


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    firing, quiet = _cases()
    names = {alert.name for alert in alerts()}
    assert names - firing == set()
    assert names - quiet == set(NEVER_QUIET)
    assert (firing | quiet) - names == set()
