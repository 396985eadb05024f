import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from collector.cli.main import main
from tests.core.agents import agent, llm, loop, request, tool
from tests.e2e.programs import Service


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Ran]


@pytest.fixture
def overcurrent(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process, with nothing of the environment laid over it."""
    for name in ("OVERCURRENT_URL", "OVERCURRENT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ran:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsysbinary.readouterr()
        status = stopped.value.code
        assert isinstance(status, int)
        return Ran(status, captured.out.decode(), captured.err.decode())

    return run


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service that has seen a healthy session, one that loops, and two that share an id."""
    with Service(tmp_path_factory.mktemp("cli"), {}) as running:
        running.send(request(llm("a", session="healthy", agent="planner"), tool("b", "search", {"q": 1}, "found", session="healthy", at=2)))
        for made in loop("t", session="looping", rounds=12):
            running.send(request(made))
        running.send(request(llm("x", trace="x", session="twin"), llm("y", trace="y", session="twin", namespace="dev")))
        running.send(request(agent("end", trace="z", session="odd \x1b[31m/id"), llm("z", trace="z", session="odd \x1b[31m/id")))
        yield running
