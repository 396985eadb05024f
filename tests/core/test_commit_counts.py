"""What is learned late, or taken back, reaches the metrics too."""

from collections.abc import Sequence
from pathlib import Path

from .agents import Made, llm, plumbing, request
from .services import core

OUTER = llm("outer", session="s", lasts=3, tokens=(100, 10))
BETWEEN = plumbing("between", parent="outer", lasts=2)
INNER = llm("inner", parent="between", session="s", lasts=1, tokens=(100, None))


def counted(folder: Path, spans: Sequence[Made]) -> tuple[float, float]:
    """Output tokens and retracted steps after these spans, each committed by itself."""
    running = core(folder)
    for span in spans:
        running.process([request(span)])
    lines = running.telemetry.render()[0].decode().splitlines()
    running.close()
    found = (("overcurrent_tokens_total", 'type="output"'), ("overcurrent_steps_retracted_total", ""))
    output, retracted = (
        sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and label in line) for name, label in found
    )
    return output, retracted


def test_tokens_learned_later_are_counted(tmp_path: Path) -> None:
    assert counted(tmp_path / "before", [INNER, BETWEEN]) == (0, 0)
    assert counted(tmp_path / "after", [INNER, BETWEEN, OUTER]) == (10, 0)


def test_a_step_that_is_taken_back_is_counted_as_such(tmp_path: Path) -> None:
    # The outer one counted first; then its tokens are those of the inner one, and rates subtract what was retracted.
    assert counted(tmp_path / "before", [OUTER, INNER]) == (10, 0)
    assert counted(tmp_path / "after", [OUTER, INNER, BETWEEN]) == (20, 1)
