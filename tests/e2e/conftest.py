from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agent import Agent, exporter
from tests.e2e.programs import Alertmanager, Generated, Prometheus, Service
from tests.e2e.runtime import SECRET, Runtime


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends whatever a test started, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def runtime(stack: ExitStack) -> Runtime:
    return stack.enter_context(Runtime())


@pytest.fixture
def start_agent(stack: ExitStack, runtime: Runtime) -> Callable[..., Agent]:
    """Starts an agent that sends over `protocol` to `address`; the runtime answers for it."""

    def start(protocol: str, address: str, **about: Any) -> Agent:
        agent = stack.enter_context(Agent(exporter(protocol, address), **about))
        runtime.adopt(agent)
        return agent

    return start


def config(runtime_url: str, **modes: str) -> dict[str, Any]:
    """A service that knows the runtime, with these modes of its detectors; the others stay in shadow."""
    return {
        "detectors": {name: {"mode": mode} for name, mode in modes.items()},
        "actions": {"runtimes": [{"agent_types": ["*"], "url": runtime_url, "secret": SECRET}]},
    }


@pytest.fixture
def start_service(stack: ExitStack, runtime: Runtime, tmp_path: Path) -> Callable[..., Service]:
    """Starts the service with these modes of its detectors."""

    def start(**modes: str) -> Service:
        return stack.enter_context(Service(tmp_path, config(runtime.url, **modes)))

    return start


class Watch:
    """Prometheus and Alertmanager, wired to a service by what `overcurrent generate` wrote."""

    def __init__(self, folder: Path, service: Service, stack: ExitStack) -> None:
        generated = Generated(folder, service)
        self.alertmanager = stack.enter_context(Alertmanager(folder, generated))
        self.prometheus = stack.enter_context(Prometheus(folder, generated))


@pytest.fixture
def start_watch(stack: ExitStack, tmp_path: Path) -> Callable[[Service], Watch]:
    return lambda service: Watch(tmp_path, service, stack)
