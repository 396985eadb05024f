"""Which detectors a session has, and what each is shown: worked out once for all sessions that have the same."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec

from detectors.base import Answer, Context, Detector, Need
from detectors.model import Step, StepKind
from detectors.step_features import StepFeatures


class Gone(Detector[Any]):
    """Stands where a detector was that raised."""

    name = "gone"
    halt_reason = None
    Config = msgspec.Struct

    __slots__ = ()

    def observe(self, step: Step, features: StepFeatures, context: Context) -> Answer:  # noqa: ARG002
        return None


GONE: Final = Gone(msgspec.Struct())
BASELINE: Final = 1
HALT: Final = 2
_NEEDS: Final[Mapping[Need | None, int]] = {None: 0, "baseline": BASELINE, "halt": HALT}


class Plan:
    """Which detectors there are and what each is shown: the same for every session that has the same."""

    __slots__ = ("kinds", "places", "shown", "ticking")

    def __init__(self, kinds: tuple[type[Detector[Any]], ...]) -> None:
        self.kinds = kinds
        self.places = {kind.name: place for place, kind in enumerate(kinds)}
        self.ticking = tuple(place for place, kind in enumerate(kinds) if kind.tick is not Detector.tick)
        self.shown = tuple(
            {
                step: tuple(
                    place for place, kind in enumerate(kinds) if step in kind.kinds and _NEEDS[kind.needs] & known == _NEEDS[kind.needs]
                )
                for step in StepKind
            }
            for known in range(4)
        )
        """By what is known of the session (`_NEEDS`, added up), then by kind of step: places in `kinds`."""


plan_of: Final = cache(Plan)
