"""Recorded payloads in any order, item by item and twice come to the same sessions and steps."""

import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.otlp import singles
from detectors.model import StepKind
from tests.core.agents import Run
from tests.dialects.captures import SCENARIOS, name_of, requests, steps


def outcome(run: Run) -> Any:
    """Sessions with their sums; steps without what depends on which of two records of one call came first."""
    told = [
        (
            step.kind,
            run.assembler.survivor(step.session),
            step.arguments,
            step.call_id,
            step.error,
            step.input_tokens,
            step.output_tokens,
            step.cached_input_tokens,
            step.reasoning_tokens,
            step.cost_usd,
            step.name if step.kind is StepKind.TOOL else None,
        )
        for step in steps(run)
        if step.kind is not StepKind.AGENT
    ]
    return sorted(run.sums().values()), sorted(map(_nameless(), told), key=repr)


def _nameless() -> Any:
    """Sessions without an id of their own are named after whichever of their traces came first."""
    order: dict[Any, int] = {}
    return lambda row: (row[0], order.setdefault(row[1], 0), *row[2:])


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_shuffled_and_split_it_comes_to_the_same(folder: Path) -> None:
    expected = outcome(Run().send_each(*requests(folder)))
    items = [one for request in requests(folder) for one in singles(request)]
    random.Random(name_of(folder)).shuffle(items)  # noqa: S311 - repeatable, not secret
    run = Run().send_each(*items)
    assert outcome(run) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_in_many_orders_and_sent_twice(folder: Path, seed: int) -> None:
    expected = outcome(Run().send_each(*requests(folder)))
    items = [one for request in requests(folder) for one in singles(request)]
    random.Random(seed).shuffle(items)  # noqa: S311 - repeatable, not secret
    run = Run()
    while items:
        run.send(*items[: 1 + seed * 5])
        del items[: 1 + seed * 5]
    assert outcome(run) == expected
    assert outcome(run.send_each(*requests(folder))) == expected
