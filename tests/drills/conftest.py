from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.programs import Service, wait_for
from tests.receiver.wire import Story, Wire

from .disk import Disk


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends whatever a drill started, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_disk(stack: ExitStack, tmp_path: Path) -> Callable[[int], Disk]:
    """A disk of so many MiB."""
    return lambda mib: stack.enter_context(Disk(tmp_path, mib=mib))


class Drilled(Service):
    """A service whose data may be elsewhere, and its senders."""

    def __init__(self, folder: Path, data_dir: Path, config: dict[str, Any]) -> None:
        super().__init__(folder, config)
        self.data_dir = data_dir

    def start(self, config: Mapping[str, Any] | None = None) -> None:
        """Starts it again as it was configured."""
        super().start(self._config if config is None else config)

    def wire(self, wire: str = "grpc") -> Wire:
        return Wire(wire, grpc_address=self.grpc, http_address=self.http)

    def not_ready(self) -> str:
        """What /readyz complains of; empty where it does not."""
        answer = self.client.get(f"{self.url}/readyz")
        return "" if answer.is_success else str(answer.json()["detail"])

    def holds(self, told: Story) -> bool:
        session = self.session(told.session)
        return session is not None and {name: session[name] for name in told.sums} == told.sums

    def exact(self, *stories: Story) -> None:
        for told in stories:
            wait_for(f"{told.session} is exact", lambda told=told: self.holds(told))  # type: ignore[misc]


@pytest.fixture
def make_service(stack: ExitStack, tmp_path: Path) -> Callable[..., Drilled]:
    def make(data_dir: Path | None = None, **config: Any) -> Drilled:
        return stack.enter_context(Drilled(tmp_path, data_dir or tmp_path / "data", config))

    return make
