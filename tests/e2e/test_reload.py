"""SIGHUP reads the configuration again."""

import signal
from collections.abc import Callable

import pytest

from tests.e2e.conftest import config
from tests.e2e.programs import Service, wait_for
from tests.e2e.runtime import Runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def mode(service: Service) -> str:
    return str(service.get("rules/soft_loop")["mode"])


def test_a_valid_file_takes_effect_and_an_invalid_one_is_refused(start_service: Callable[..., Service], runtime: Runtime) -> None:
    service = start_service()
    assert mode(service) == "shadow"
    service.reload(config(runtime.url, soft_loop="alert"))
    assert mode(service) == "alert"

    assert service.process is not None
    service.configure(config(runtime.url, soft_lop="halt"))
    service.process.send_signal(signal.SIGHUP)
    said = wait_for("the mistake is named", lambda: service.said() if "not reloaded" in service.said() else None)
    assert "did you mean soft_loop?" in said
    assert mode(service) == "alert"
