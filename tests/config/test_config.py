from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from collector.config import Address, Config, reference
from collector.config.model import MAX_CACHED_AGENT_TYPES
from collector.config.problems import sections
from collector.errors import ConfigError
from detectors import DETECTORS, WORKFLOW_DETECTORS
from detectors.fleet import FLEET_DETECTORS

EVERY = (*dict.fromkeys((*DETECTORS, *WORKFLOW_DETECTORS)), *FLEET_DETECTORS)

GOOD = Path(__file__).parent / "good"


def load(text: str, tmp_path: Path, env: dict[str, str] | None = None) -> Config:
    path = tmp_path / "overcurrent.yaml"
    path.write_text(text)
    return Config.load(path, env or {})


def test_defaults() -> None:
    config = Config.load(None, {})
    assert config == Config()
    assert str(config.receivers.otlp_grpc) == "127.0.0.1:4317"
    assert config.receivers.max_request_bytes == 16 * 2**20
    assert config.receivers.queue_bytes == 256 * 2**20
    assert config.sessions.idle_timeout == 1800
    assert config.gate.timeout == 0.25
    assert config.storage.max_bytes == 50 * 2**30
    assert config.budgets_mode == "shadow"
    assert {name: one.mode for name, one in config.detectors.items()} == {detector.name: "shadow" for detector in EVERY}


def test_the_file_of_the_contract_loads() -> None:
    config = Config.load(GOOD / "contract.yaml", {})
    assert config.policy_for("research").budgets.fleet_usd_per_day == 200
    assert config.detector("soft_loop").params.max_novelty == 0.3  # type: ignore[attr-defined]
    (runtime,) = config.actions.runtimes
    assert runtime.agent_types == ("research",)
    assert runtime.secret is not None
    assert runtime.secret.get_secret_value() == "not-a-real-secret"


@pytest.mark.parametrize("name", ["empty", "empty_sections"])
def test_what_is_not_said_is_default(name: str) -> None:
    assert Config.load(GOOD / f"{name}.yaml", {}) == Config()


def test_command_line_over_environment_over_file(tmp_path: Path) -> None:
    path = tmp_path / "overcurrent.yaml"
    path.write_text("web: {listen: '127.0.0.1:1'}\ngate: {timeout: 1s, fail: closed}\nstorage: {retention_days: 7}")
    env = {"OVERCURRENT_WEB__LISTEN": "127.0.0.1:2", "OVERCURRENT_GATE__TIMEOUT": "2s", "HOME": "/root"}
    config = Config.load(path, env, {"web.listen": "127.0.0.1:3", "storage.data_dir": None, "gate": {"timeout": "3s"}})
    assert config.web.listen == Address("127.0.0.1", 3)
    assert config.gate.timeout == 3
    assert config.gate.fail == "closed"
    assert config.storage.retention_days == 7


def test_every_kind_of_value_can_come_from_the_environment() -> None:
    config = Config.load(
        None,
        {
            "OVERCURRENT_BUDGETS_MODE": "halt",
            "OVERCURRENT_RECEIVERS__INSECURE": "true",
            "OVERCURRENT_SESSIONS__MAX_LIVE": "7",
            "OVERCURRENT_AGENT_TYPES__RESEARCH__BUDGETS__SESSION_USD": "0.1",
            "OVERCURRENT_DETECTORS__SOFT_LOOP__MODE": "halt",
            "OVERCURRENT_DETECTORS__SOFT_LOOP__WINDOW_CALLS": "9",
            "OVERCURRENT_SECURITY__ALLOWED_HOSTS": "[a.example, b.example]",
            "OVERCURRENT_SECURITY__TOKENS__0__NAME": "ci",
            "OVERCURRENT_SECURITY__TOKENS__0__TOKEN": "abc",
            "OVERCURRENT_SECURITY__TOKENS__0__SCOPES": "[ingest]",
            "OVERCURRENT_ACTIONS__ALERTMANAGER_URL": "null",
        },
    )
    assert config.budgets_mode == "halt"
    assert config.receivers.insecure
    assert config.sessions.max_live == 7
    assert config.policy_for("research").budgets.session_usd == Decimal("0.1")
    assert config.detector("soft_loop").mode == "halt"
    assert config.detector("soft_loop").params.window_calls == 9  # type: ignore[attr-defined]
    assert config.security.allowed_hosts == ("a.example", "b.example")
    assert config.security.tokens[0].name == "ci"


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_not_ours() -> None:
    env = {
        "OVERCURRENT_PORT": "tcp://10.0.0.1:4317",
        "OVERCURRENT_SERVICE_HOST": "10.0.0.1",
        "OVERCURRENT_PORT_4317_TCP_ADDR": "10.0.0.1",
        "OVERCURRENT_CONFIG": "/etc/overcurrent.yaml",
    }
    assert Config.load(None, env) == Config()


def test_secrets_come_from_files_beside_the_configuration_and_never_show(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    config = load("security: {tokens: [{name: ci, token_file: token, scopes: [read]}]}", tmp_path)
    token = config.security.tokens[0]
    assert token.token is not None
    assert token.token.get_secret_value() == "hunter2"
    for text in (repr(config), str(config), config.model_dump_json(), config.fingerprint, repr(config.model_dump())):
        assert "hunter2" not in text


def test_a_secret_of_a_later_layer_replaces_the_file_of_an_earlier_one(tmp_path: Path) -> None:
    text = "security: {tokens: [{name: ci, token_file: absent, scopes: [read]}]}"
    config = load(text, tmp_path, {"OVERCURRENT_SECURITY__TOKENS__0__TOKEN": "abc"})
    assert config.security.tokens[0].token_file is None


def test_a_reachable_address_needs_tokens_and_tls_or_the_word_insecure(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    listen = "receivers: {otlp_grpc: '0.0.0.0:4317'}\n"
    tokens = "tokens: [{name: ci, token: abc, scopes: [ingest]}]"
    tls = "tls: {cert_file: cert.pem, key_file: key.pem}"
    load(f"{listen}security: {{{tokens}, {tls}}}", tmp_path)
    load("receivers: {otlp_grpc: '0.0.0.0:4317', insecure: true}", tmp_path)
    for security in (tokens, tls):
        with pytest.raises(ConfigError, match="is reachable from outside"):
            load(f"{listen}security: {{{security}}}", tmp_path)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False), ("box:1", False)],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert Address.parse(address).is_loopback is loopback
    assert str(Address.parse(address)) == address


@pytest.mark.parametrize(
    ("agent_name", "service_name", "expected"),
    [
        ("research-eu", None, "research"),
        ("ops-night", "webchat", "operational"),
        (None, "webchat", "conversational"),
        ("billing", "webshop", "billing"),
        ("", "webshop", "webshop"),
        (None, None, "unknown"),
    ],
)
def test_agent_type(agent_name: str | None, service_name: str | None, expected: str) -> None:
    config = Config()
    assert config.agent_type_of(agent_name, service_name) == expected
    assert config.agent_type_of(agent_name, service_name) == expected


def test_own_agent_types_match_before_built_in_ones_and_both_patterns_must_hold(tmp_path: Path) -> None:
    config = load("agent_types: {deep: {match: {agent_name: 'research-*', service_name: lab}}}", tmp_path)
    assert config.agent_type_of("research-deep", "lab") == "deep"
    assert config.agent_type_of("research-deep", "office") == "research"


def test_names_of_agents_are_bounded() -> None:
    config = Config()
    assert len(config.agent_type_of("a" * 10_000, None)) == 200
    for number in range(MAX_CACHED_AGENT_TYPES + 10):
        config.agent_type_of(f"agent-{number}", None)
    assert len(config._agent_type_cache) <= MAX_CACHED_AGENT_TYPES
    assert config == Config()


def test_policy_takes_absent_parts_from_default(tmp_path: Path) -> None:
    config = load(
        "agent_types: {default: {tools: {irreversible: [delete_*], polling: [wait]}}, mine: {budgets: {task_usd: 1}}}",
        tmp_path,
    )
    mine, other = config.policy_for("mine"), config.policy_for("never heard of")
    assert mine.budgets.task_usd == 1
    assert mine.budgets.session_usd is None
    assert mine.is_irreversible("delete_all")
    assert not mine.is_irreversible("undelete_all")
    assert mine.polling_tools == {"wait"}
    assert other.agent_type == "never heard of"
    assert other.budgets.session_usd == 5


def test_built_in_agent_types_are_changed_key_by_key_and_removed_by_null(tmp_path: Path) -> None:
    config = load("agent_types: {research: {budgets: {session_usd: 9}}, operational: null}", tmp_path)
    assert config.agent_type_of("research-eu", None) == "research"
    assert config.policy_for("research").budgets.session_usd == 9
    assert "operational" not in config.agent_types
    assert config.policy_for("conversational").budgets.turn_usd == Decimal("0.10")


def test_the_fingerprint_names_the_policy_and_nothing_else(tmp_path: Path) -> None:
    base = Config().fingerprint
    assert len(base) == 12
    assert load("web: {listen: '127.0.0.1:1'}", tmp_path).fingerprint == base
    assert load("security: {tokens: [{name: a, token: b, scopes: [read]}]}", tmp_path).fingerprint == base
    assert load("detectors: {soft_loop: {mode: halt}}", tmp_path).fingerprint != base
    assert load("detectors: {soft_loop: {window_calls: 9}}", tmp_path).fingerprint != base
    assert load("agent_types: {research: {budgets: {session_usd: 6}}}", tmp_path).fingerprint != base


def test_a_changed_copy_is_checked_and_forgets_what_was_matched() -> None:
    config = Config()
    assert config.agent_type_of("billing", None) == "billing"
    changed = config.with_changes(agent_types={"money": {"match": {"agent_name": "bill*"}}})
    assert changed.agent_type_of("billing", None) == "money"
    assert changed.fingerprint != config.fingerprint
    assert changed.with_changes(detectors={"soft_loop": {"mode": "halt"}}).detector("soft_loop").mode == "halt"
    with pytest.raises(ValidationError):
        config.with_changes(detectors={"soft_loop": {"mode": "kill"}})


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError):
        Config().budgets_mode = "halt"  # type: ignore[misc]


def test_merge_keys_and_anchors_work(tmp_path: Path) -> None:
    config = load(
        "agent_types:\n  a: &a {budgets: {session_usd: 1}, tools: {polling: [wait]}}\n  b:\n    <<: *a\n    budgets: {session_usd: 2}",
        tmp_path,
    )
    assert config.policy_for("b").budgets.session_usd == 2
    assert config.policy_for("b").polling_tools == {"wait"}


def test_every_key_is_described() -> None:
    for path, section in sections(Config):
        for name, field in section.model_fields.items():
            assert field.description, f"{'.'.join((*path, name))} has no description"
    keys = {key.name: key for key in reference()}
    assert keys["receivers.queue_bytes"].default == "256MiB"
    assert keys["gate.timeout"].default == "250ms"
    assert keys["web.listen"].env == "OVERCURRENT_WEB__LISTEN"
    assert keys["security.tokens[].scopes"].default is None
    assert keys["security.tokens[].scopes"].env == ""
    assert all(key.help for key in keys.values())


def test_every_documented_variable_is_understood() -> None:
    env = {key.env: key.default for key in reference() if key.env and key.default and key.default != "{}"}
    assert Config.load(None, env) == Config()
