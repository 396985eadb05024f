"""A slice of what `python -m benchmarks.fuzz` runs by the hundred thousand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzz import fuzz
from benchmarks.mutations import CAPTURES, Mutator
from collector import translate
from collector.dialects import fragments_of
from collector.telemetry_data import Span


def test_damaged_requests_crash_nothing(tmp_path: Path) -> None:
    found = fuzz(400, 8, tmp_path)
    assert not found.crashes
    assert found.inputs.total() == 400
    assert found.accepted_items > 400
    assert found.refused.total() > 40
    assert found.rejected.total() > 0
    assert found.shown > 100


def test_what_crashes_is_noticed_and_only_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(spans: Sequence[Span], *rest: Any) -> Any:
        if any(isinstance(value, (bytes, dict)) for span in spans for value in span.attributes.values()):
            raise ValueError("a bug")
        return fragments_of(spans, *rest)

    monkeypatch.setattr(translate, "fragments_of", fragile)
    found = fuzz(400, 7, tmp_path)
    assert found.crashes
    assert all("a bug" in crash for crash in found.crashes)
    assert len(found.crashes) < 60


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, again, other = (Mutator(CAPTURES, seed) for seed in (3, 3, 4))
    made = [first.input() for _ in range(200)]
    assert made == [again.input() for _ in range(200)]
    assert made != [other.input() for _ in range(200)]
