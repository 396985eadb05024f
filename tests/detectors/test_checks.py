"""Every registered detector keeps the promises of `detectors.base`."""

from collections.abc import Callable

import pytest

from detectors import DETECTORS, WORKFLOW_DETECTORS
from detectors.checks import CHECKS, AnyDetector

EVERY = tuple(dict.fromkeys((*DETECTORS, *WORKFLOW_DETECTORS)))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
def test_detector_keeps_its_promises(kind: AnyDetector, check: Callable[[AnyDetector], None]) -> None:
    check(kind)


def test_names_are_unique() -> None:
    names = [kind.name for kind in EVERY]
    assert len(names) == len(set(names))
