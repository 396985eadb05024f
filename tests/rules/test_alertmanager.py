import pytest
import yaml

from collector import assets
from collector.generate import alerts
from tests.rules.programs import run

CONFIG = assets.rules() / "alertmanager.yml"


@pytest.mark.slow
def test_configuration_is_accepted() -> None:
    run("amtool", "check-config", str(CONFIG))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=OvercurrentExactLoopHalt action=halt severity=critical agent_type=research detector=exact_loop", "overcurrent-halt"),
        ("alertname=OvercurrentWatchdog severity=info", "dead-mans-switch"),
        ("alertname=OvercurrentDown severity=critical respond_within=now", "page"),
        ("alertname=OvercurrentExactLoopCritical severity=critical respond_within=15m", "page"),
        ("alertname=OvercurrentExactLoopWarning severity=warning respond_within=1h", "ticket"),
        ("alertname=OvercurrentSpendUnmetered severity=warning respond_within=1d", "ticket"),
        ("alertname=OvercurrentUnattendedNow severity=critical respond_within=now escalation=second-line", "page-second-line"),
        ("alertname=SomebodyElses severity=critical", "ticket"),
    ],
)
def test_alert_reaches_its_receiver_and_no_other(labels: str, receiver: str) -> None:
    run("amtool", "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *labels.split())


def test_halts_reach_the_service_within_seconds_and_are_repeated_for_later_sessions() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    (route,) = [route for route in config["route"]["routes"] if route["receiver"] == "overcurrent-halt"]
    assert (route["group_wait"], route["group_interval"], route["repeat_interval"]) == ("0s", "10s", "1m")
    (receiver,) = [receiver for receiver in config["receivers"] if receiver["name"] == "overcurrent-halt"]
    (webhook,) = receiver["webhook_configs"]
    assert webhook["url"] == "http://127.0.0.1:4319/api/v1/alertmanager"
    assert webhook["send_resolved"] is True


def test_an_alert_that_asks_for_a_halt_neither_silences_nor_is_silenced() -> None:
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        for side in ("source_matchers", "target_matchers"):
            # Halt alerts have a detector and no condition.
            assert 'action!="halt"' in rule[side] or 'condition=~".+"' in rule[side]
    assert not [alert.name for alert in alerts() if alert.labels.get("action") == "halt" and "condition" in alert.labels]


def test_a_critical_alert_silences_warnings_of_its_own_kind_only() -> None:
    # A label that both alerts lack counts as equal, so each rule must insist on one that both have.
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        present = [matcher.split("=~")[0] for matcher in rule["source_matchers"] if matcher.endswith('=~".+"')]
        assert present
        assert set(present) <= set(rule["equal"])
        assert all(f'{label}=~".+"' in rule["target_matchers"] for label in present)
