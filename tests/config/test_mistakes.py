"""Each file in `bad/` holds one mistake; its leading comments are the exact message."""

from pathlib import Path

import pytest

from collector.config import Config
from collector.errors import ConfigError

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_mistake_is_named_with_its_place_and_its_fix(path: Path) -> None:
    leading = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    expected = [line[2:].replace("{file}", str(path)).replace("{dir}", str(path.parent)) for line in leading]
    with pytest.raises(ConfigError) as caught:
        Config.load(path, {})
    assert sorted(caught.value.message.splitlines()) == sorted(expected)
    assert "hunter" not in caught.value.message


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            {"OVERCURRENT_RECIEVERS__OTLP_GRPC": "127.0.0.1:1"},
            "OVERCURRENT_RECIEVERS__OTLP_GRPC: recievers: unknown key, did you mean receivers?",
        ),
        (
            {"OVERCURRENT_WEB__LISTN": "127.0.0.1:1"},
            "OVERCURRENT_WEB__LISTN: web.listn: unknown key, did you mean listen?",
        ),
        (
            {"OVERCURRENT_BUDGET_MODE": "halt"},
            "OVERCURRENT_BUDGET_MODE: budget_mode: unknown key, did you mean budgets_mode?",
        ),
        (
            {"OVERCURRENT_SECURITY__REDACT": "[unclosed"},
            "OVERCURRENT_SECURITY__REDACT: security.redact: is neither plain text nor a YAML list or mapping",
        ),
        (
            {"OVERCURRENT_SECURITY__TOKENS__1__NAME": "ci"},
            "OVERCURRENT_SECURITY__TOKENS__1__NAME: security.tokens[1].name: lists are numbered from 0 without gaps",
        ),
        (
            {"OVERCURRENT_SECURITY__TOKENS": '[{name: ci, token: "hunter 2", scopes: [read]}]'},
            "OVERCURRENT_SECURITY__TOKENS: security.tokens[0].token: must be printable ASCII without spaces, since it travels in a header",
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(None, env)
    assert caught.value.message == message


def test_a_mistake_on_the_command_line_says_so() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(None, {}, {"web.listen": "here"})
    assert caught.value.message == "command line: web.listen: must be host:port, such as 127.0.0.1:4317, got 'here'"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot read: No such file or directory"):
        Config.load(tmp_path / "absent.yaml", {})


def test_an_empty_secret_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    (tmp_path / "overcurrent.yaml").write_text("security: {tokens: [{name: ci, token_file: token, scopes: [read]}]}")
    with pytest.raises(ConfigError, match=r"security.tokens\[0\].token_file: .*/token must hold the secret and nothing else"):
        Config.load(tmp_path / "overcurrent.yaml", {})
