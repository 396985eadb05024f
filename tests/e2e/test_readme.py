"""README's own receiver of halts, run as it stands there, with the configuration that stands there."""

import base64
import os
import re
import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.e2e.agent import Agent, Call, exporter
from tests.e2e.programs import Service, free_port, wait_for

pytestmark = pytest.mark.slow
README: Final = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf8")


def block(language: str, begins: str) -> str:
    """The fenced block of that language that begins so."""
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if text.startswith(begins))


def test_the_receiver_verifies_a_halt_and_acknowledges_it(tmp_path: Path, stack: ExitStack) -> None:
    port = str(free_port())
    config = yaml.safe_load(block("yaml", "# overcurrent.yaml").replace("9000", port))
    (runtime,) = config["actions"]["runtimes"]
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / runtime["secret_file"]).write_text(secret)
    receiver = tmp_path / "receiver.py"
    receiver.write_text(block("python", "from http.server").replace("9000", port))
    process = subprocess.Popen(
        [sys.executable, str(receiver)], stdout=subprocess.PIPE, text=True, env={**os.environ, "OVERCURRENT_WEBHOOK_SECRET": secret}
    )
    stack.enter_context(process)
    stack.callback(process.terminate)
    service = stack.enter_context(Service(tmp_path, config))
    agent = stack.enter_context(Agent(exporter("http", service.http)))
    for _ in range(12):
        agent.call(Call("search", {"q": "x"}, "nothing"))
    agent.flush()

    def acknowledged() -> bool:
        session = service.session(agent.session_id)
        return session is not None and [halt["state"] for halt in session["halts"]] == ["acknowledged"]

    wait_for("the halt is acknowledged", acknowledged)
    assert process.stdout is not None
    assert process.stdout.readline() == f"stop {agent.session_id}\n"
