import shutil
from pathlib import Path

import pytest

from collector import assets
from collector.errors import ConfigError, NotFound
from collector.taxonomy import HALT_REASONS, Raised, load, taxonomy


def test_the_nineteen_reasons_are_there() -> None:
    assert set(HALT_REASONS) == {
        "completed", "error", "timeout", "max_steps", "cost_ceiling_task", "cost_ceiling_session", "cost_ceiling_fleet",
        "exact_loop", "soft_loop", "ping_pong", "retry_storm", "no_progress", "context_overflow", "cost_runaway",
        "schema_drift", "credential_failure", "approval_denied", "operator", "abandoned",
    }  # fmt: skip
    assert len(HALT_REASONS) == 19


def test_what_a_reason_demands_of_people() -> None:
    reasons = taxonomy().reasons
    for name in ("cost_ceiling_task", "cost_ceiling_session", "cost_ceiling_fleet"):
        assert reasons[name].respond_within == "now"
    assert reasons["max_steps"].respond_within == "15m"
    assert reasons["schema_drift"].respond_within == "1h"


def test_every_reason_has_a_whole_runbook() -> None:
    for reason in taxonomy().reasons.values():
        book = reason.runbook
        assert all((book.symptom, book.diagnosis, book.remediation, book.escalation)), reason.name
        assert all(line.strip() for line in (*book.diagnosis, *book.remediation)), reason.name


def test_only_reasons_that_a_detector_raises_have_one() -> None:
    for reason in taxonomy().reasons.values():
        assert reason.detector == (reason.name if reason.raised is Raised.DETECTOR else None)


def test_an_unknown_reason_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown halt reason 'loop'; it is one of: completed, error"):
        taxonomy().reason("loop")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("taxonomy.yml", "conditions.yml"):
        shutil.copy(assets.rules() / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("taxonomy.yml", "severity: info", "severity: mild", r"taxonomy.yml: reasons.completed: Invalid enum value 'mild'"),
        ("taxonomy.yml", "raised: agent", "raise: agent", r"taxonomy.yml: reasons.completed: .*(missing|unknown field)"),
        ("taxonomy.yml", "respond_within: 1d", "respond_within: 2d", r"taxonomy.yml: reasons.error.respond_within: unknown response '2d'"),
        ("taxonomy.yml", "    warn_within: 1h\n", "", r"taxonomy.yml: reasons.\w+: .* needs respond_within and warn_within"),
        (
            "taxonomy.yml",
            "runbook: disobeyed",
            "runbook: x",
            r"taxonomy.yml: patterns.zombie.runbook: there is no runbook",
        ),
        ("taxonomy.yml", "    warn_within: 15m\n    respond_within: now\n    reach", "    reach", r"patterns.zombie: .*missing"),
        ("taxonomy.yml", "  zombie:\n", "  error:\n", r"reasons and patterns: error stands there twice"),
        ("taxonomy.yml", "responses:", "answers:", r"taxonomy.yml: responses is missing"),
        ("taxonomy.yml", "responses:", "extra: 1\nresponses:", r"taxonomy.yml: extra: unknown key"),
        ("taxonomy.yml", "responses:", "responses: [", r"taxonomy.yml: not YAML"),
        (
            "conditions.yml",
            "runbook: down",
            "runbook: up",
            r"conditions.yml: OvercurrentDown.runbook: there is no runbook and no reason 'up'",
        ),
        ("conditions.yml", "group: health", "team: x", r"conditions.yml: alerts\[0\]: .*(missing|unknown field)"),
        (
            "conditions.yml",
            "alert: OvercurrentDown",
            "alert: OvercurrentStuck",
            r"conditions.yml: alerts: OvercurrentStuck stands there twice",
        ),
        ("conditions.yml", "  watchdog:\n", "  operator:\n", r"there is no runbook and no reason 'watchdog'"),
    ],
)
def test_a_mistake_is_told_with_file_and_key(folder: Path, file: str, old: str, new: str, message: str) -> None:
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load(folder)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_a_file_that_holds_no_mapping_is_told(tmp_path: Path) -> None:
    (tmp_path / "taxonomy.yml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="must be a mapping"):
        load(tmp_path)


def test_a_runbook_is_found_by_name_and_by_nothing_else() -> None:
    assert assets.runbook("exact_loop").startswith("# Exact loop")
    for name in ("nothing", "../taxonomy", "exact_loop.md", ""):
        with pytest.raises(NotFound, match="no runbook"):
            assets.runbook(name)
