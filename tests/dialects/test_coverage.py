"""Every dialect and every framework named has golden payloads, and the golden payloads stay small enough to read."""

import pytest

from collector.dialects import DIALECTS
from collector.dialects.base import Dialect
from collector.dialects.reference import FRAMEWORKS
from detectors.model import StepKind
from tests.dialects.captures import FOLDER, SCENARIOS, facts, fragments, name_of

UNSEEN = {"openclaw", "goose", "vscode_copilot", "unknown"}
"""Never recorded: read from their documentation, tested with payloads made from it."""
MAX_BYTES = 200_000
PAIRS = {folder.parent.name for folder in SCENARIOS}


@pytest.mark.parametrize("dialect", [one for one in DIALECTS if one.name not in UNSEEN], ids=lambda dialect: dialect.name)
def test_every_dialect_has_a_golden_payload(dialect: Dialect) -> None:
    names = (fragment.step.dialect for folder in SCENARIOS for fragment in fragments(folder) if fragment.step is not None)
    assert dialect.name in names


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.title)
def test_every_framework_of_the_table_has_its_golden_payloads(framework: object) -> None:
    pairs = getattr(framework, "pairs", ())
    assert pairs or getattr(framework, "dialect", "") in UNSEEN
    assert set(pairs) <= PAIRS


def test_every_golden_payload_belongs_to_a_framework_of_the_table() -> None:
    assert {pair for framework in FRAMEWORKS for pair in framework.pairs} == PAIRS


def test_every_pair_has_a_run_that_went_well() -> None:
    def steps(pair: str) -> bool:
        calls = (fragment.step for folder in SCENARIOS if folder.parent.name == pair for fragment in fragments(folder))
        return any(step is not None and step.kind is StepKind.LLM for step in calls) or any(
            fragment.parts for folder in SCENARIOS if folder.parent.name == pair for fragment in fragments(folder)
        )

    assert [pair for pair in sorted(PAIRS) if not steps(pair)] == ["openai-sdk__otel-v2-latest-responses"], "sends nothing at all"


@pytest.mark.parametrize("folder", SCENARIOS, ids=name_of)
def test_golden_payloads_are_small(folder: object) -> None:
    path = FOLDER / str(folder)
    assert sum(file.stat().st_size for file in path.iterdir()) <= MAX_BYTES
    assert facts(path)["versions"] is not None


def test_all_of_them_are_a_few_megabytes() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 6_000_000
